//! Agents and people are different principals: a token of the role `agent` belongs to one agent, and never to somebody who is
//! registered as human. It is asked at each request, so that it holds also for whoever is registered later.

use axum::http::request::Parts;

use super::Principal;
use crate::api::Api;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::bus::people;
use crate::documents::Role;
use crate::ids::{Recipient, WorkspaceId};
use crate::recipient::RecipientKind;

/// What producers do is nobody's inbox, and many times a second.
const EVENTS: &str = "/v1/events";

/// The principal of a request, where it is an agent's: of the one workspace that the request is about.
pub(super) async fn checked(principal: Principal, parts: &Parts, api: &Api) -> Result<Principal, Problem> {
    let (Role::Agent, Some(recipient)) = (principal.role, principal.recipient.clone()) else {
        return Ok(principal);
    };
    if parts.uri.path() == EVENTS {
        return Ok(principal);
    }
    let asked = Query::parse(parts.uri.query().unwrap_or_default()).workspace()?;
    let workspace = principal.writes(asked)?;
    if is_human(api, &workspace, &recipient).await? {
        return Err(Problem::forbidden(format!(
            "{recipient} is registered as human, and this token is an agent's: make a token of another role for them, \
             or register them as an agent (PUT /v1/recipients/{{id}} with \"kind\": \"agent\")"
        )));
    }
    Ok(Principal { workspace: Some(workspace), ..principal })
}

/// True for who is registered, and not as an agent.
///
/// # Errors
/// 503 when the broker does not answer.
pub async fn is_human(api: &Api, workspace: &WorkspaceId, recipient: &Recipient) -> Result<bool, Problem> {
    let (_, found) = people::read(&api.bus, workspace, recipient).await?;
    Ok(found.is_some_and(|found| found.kind == RecipientKind::Human))
}

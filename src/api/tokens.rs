//! Tokens: made, listed and revoked by the administrator. A secret is shown once and stored as its hash.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::auth::{Permission, Principal, agents, hash, new_secret};
use super::documents::unique_json;
use super::problem::Problem;
use super::query::Query;
use crate::bus::{BusError, topology};
use crate::clock;
use crate::delivery::ENVELOPE_VERSION;
use crate::documents::{Document, Key, Role, TokenSpec, strict};
use crate::ids::{Recipient, WorkspaceId};
use crate::rule::fault::Fault;
use crate::shelf;

const NAME_CHARS_MAX: usize = 100;
/// A revocation is answered when this process follows it, or after this long.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize, utoipa::ToSchema, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewToken {
    /// For people.
    pub name: String,
    pub role: Role,
    /// Every workspace when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub workspace: Option<WorkspaceId>,
    /// Sees nothing beyond what is this recipient's. A token of the role `agent` must have one.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub recipient: Option<Recipient>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MadeToken {
    pub id: String,
    /// The secret. It is shown this once.
    pub token: String,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    pub id: String,
    pub name: String,
    pub role: Role,
    #[schema(value_type = Option<String>)]
    pub workspace: Option<WorkspaceId>,
    #[schema(value_type = Option<String>)]
    pub recipient: Option<Recipient>,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    pub created_by: String,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TokenList {
    pub tokens: Vec<TokenView>,
}

/// Make a token.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    operation_id = "makeToken",
    tag = "tokens",
    request_body = NewToken,
    responses(
        (status = 201, description = "made", body = MadeToken),
        (status = 400, description = "not valid", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "administrators only", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "an agent's token for a human", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    principal: Principal,
    State(api): State<Shared>,
    body: Bytes,
) -> Result<(StatusCode, Json<MadeToken>), Problem> {
    manages_tokens(&principal)?;
    let new: NewToken = strict(unique_json(&body)?).map_err(Problem::fault)?;
    let name = new.name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
        let message = format!("must have 1 to {NAME_CHARS_MAX} characters");
        return Err(Problem::fault(Fault::new("/name", message)));
    }
    if new.recipient.as_ref().is_some_and(Recipient::is_everybody) {
        let message = "is everybody: leave it out, or name one recipient";
        return Err(Problem::fault(Fault::new("/recipient", message)));
    }
    // Whoever is bound to a workspace hands out no more than that.
    let workspace = principal.reads(new.workspace)?;
    if new.role == Role::Agent {
        check_agent(&api, workspace.as_ref(), new.recipient.as_ref()).await?;
    }
    let (id, secret, now) = (format!("tok_{}", clock::random_id()), new_secret(), clock::now());
    let spec = TokenSpec {
        id: id.clone(),
        name: name.to_owned(),
        role: new.role,
        workspace,
        recipient: new.recipient,
        created_at: now,
    };
    let document = Document {
        v: ENVELOPE_VERSION,
        owner: "api".to_owned(),
        version: 1,
        author: principal.name.clone(),
        updated_at: now,
        spec,
    };
    let bucket = topology::config_bucket(&api.bus).await?;
    shelf::put(&bucket, &Key::Token(hash(&secret)), &document, 0).await?;
    tracing::info!(token = id, role = %new.role, by = principal.name, "token made");
    Ok((StatusCode::CREATED, Json(MadeToken { id, token: secret })))
}

/// An agent is somebody, and nobody human.
async fn check_agent(
    api: &Shared,
    workspace: Option<&WorkspaceId>,
    recipient: Option<&Recipient>,
) -> Result<(), Problem> {
    let Some(recipient) = recipient else {
        let message = "is missing: a token of the role agent belongs to one agent";
        return Err(Problem::fault(Fault::new("/recipient", message)));
    };
    let workspace = workspace.cloned().unwrap_or_default();
    if agents::is_human(api, &workspace, recipient).await? {
        return Err(Problem::conflict(format!(
            "{recipient} is registered as human in the workspace {workspace}: an agent's token is for an agent"
        )));
    }
    Ok(())
}

/// Tokens are nobody's notifications: whoever is bound to a recipient sees and makes none.
fn manages_tokens(principal: &Principal) -> Result<(), Problem> {
    principal.may(Permission::ManageTokens)?;
    match principal.recipient {
        None => Ok(()),
        Some(_) => Err(Problem::forbidden("a token bound to a recipient manages no tokens")),
    }
}

/// List tokens, without their secrets.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    operation_id = "listTokens",
    tag = "tokens",
    responses(
        (status = 200, description = "all of them", body = TokenList),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "administrators only", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
) -> Result<Json<TokenList>, Problem> {
    query.only(&[])?;
    manages_tokens(&principal)?;
    let snapshot = api.directory.snapshot();
    let own = |document: &&Document<TokenSpec>| {
        principal.workspace.is_none() || document.spec.workspace == principal.workspace
    };
    let tokens = snapshot.tokens.values().filter(own).map(view).collect();
    Ok(Json(TokenList { tokens }))
}

fn view(document: &Document<TokenSpec>) -> TokenView {
    let TokenSpec { id, name, role, workspace, recipient, created_at } = document.spec.clone();
    TokenView { id, name, role, workspace, recipient, created_at, created_by: document.author.clone() }
}

/// Revoke a token.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{id}",
    operation_id = "revokeToken",
    tag = "tokens",
    params(("id" = String, Path)),
    responses(
        (status = 204, description = "revoked"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "administrators only", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such token", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn revoke(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    query.only(&[])?;
    manages_tokens(&principal)?;
    let found = shelf::read_all(&api.bus).await?.into_iter().find_map(|(key, held)| match key {
        Key::Token(_) => {
            let spec: TokenSpec = serde_json::from_value(held.document.spec).ok()?;
            let own = principal.workspace.is_none() || spec.workspace == principal.workspace;
            (spec.id == id && own).then_some(key)
        }
        Key::Channel(..)
        | Key::Connection(..)
        | Key::Rule(..)
        | Key::Scope(..)
        | Key::Source(..)
        | Key::Recipient(..)
        | Key::Preferences(..)
        | Key::SealingKey(_)
        | Key::Standing(..) => None,
    });
    let key = found.ok_or_else(|| Problem::not_found(format!("there is no token {id}")))?;
    let bucket = topology::config_bucket(&api.bus).await?;
    bucket.purge(key.to_string()).await.map_err(BusError::request)?;
    let revision = bucket.status().await.map_err(BusError::request)?.info.state.last_sequence;
    if !api.directory.seen(revision, PATIENCE).await {
        tracing::warn!(token = id, "a revocation is stored and not followed here yet");
    }
    tracing::info!(token = id, by = principal.name, "token revoked");
    Ok(StatusCode::NO_CONTENT)
}

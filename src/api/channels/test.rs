//! The test of a channel, made by a worker. It answers success when the provider accepted, and only then.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::{body, built_in, key_in, missing};
use crate::api::Shared;
use crate::api::auth::Principal;
use crate::api::documents::sent;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::documents::{Key, strict};
use crate::errand::{self, AskError, Errand, Of, Refusal, Tested, What};
use crate::ids::Recipient;
use crate::outcome::Reason;
use crate::rule::fault::Fault;
use crate::shelf;

#[derive(Debug, Default, Deserialize, utoipa::ToSchema, schemars::JsonSchema)]
pub struct TestRequest {
    /// For channels that reach people: who gets the test.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub recipient: Option<Recipient>,
}

/// Test a channel: a real message goes out.
///
/// When the provider accepts it, the channel is verified. It is in the history either way; it passes no queue, and is tried once.
#[utoipa::path(
    post,
    path = "/v1/notification-channels/{id}/test",
    operation_id = "testChannel",
    tag = "channels",
    params(("id" = String, Path), ("workspace" = Option<String>, Query)),
    request_body(content = TestRequest, description = "`{recipient?}`; may be empty"),
    responses(
        (status = 200, description = "the provider accepted it", body = Tested),
        (status = 400, description = "not valid, or no recipient where one is needed", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such channel", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "it could not be tried: the channel cannot be used as it is, or the recipient has no address", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "the provider was not reached, or refused it; `detail` says why", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "no worker of its kind answers", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn test(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Tested>, Problem> {
    principal.tests_channels()?;
    let key = key_in(principal.writes(query.only(&["workspace"])?.workspace()?)?, &id)?;
    let fields = if body.is_empty() { serde_json::Map::new() } else { sent(&body)? };
    let request: TestRequest = strict(fields.into()).map_err(Problem::fault)?;
    let spec = match (shelf::get(&api.bus, &key).await?, built_in::spec_of(&key)) {
        (Some(held), _) => body::spec_of(&held, &id)?,
        (None, Some(spec)) => spec.clone(),
        (None, None) => return Err(missing(&id)),
    };
    if request.recipient.is_none() && spec.addressing().is_of_recipients() {
        let message = "is missing: the channel takes its address from a recipient";
        return Err(Problem::fault(Fault::new("/recipient", message)));
    }
    let Key::Channel(workspace, channel) = &key else { return Err(missing(&id)) };
    let of = Of::Channel(channel.clone());
    let errand = Errand { recipient: request.recipient, ..Errand::new(workspace, of, &principal.name) };
    let mut tested: Tested = errand::ask(&api.bus, spec.kind, What::TestChannel, &errand).await?;
    if let Some(revision) = tested.revision.take() {
        api.follow(revision).await;
    }
    if !tested.ok {
        return Err(failed(&tested));
    }
    Ok(Json(tested))
}

fn failed(tested: &Tested) -> Problem {
    let detail = tested.detail.clone().unwrap_or_else(|| tested.reason.to_string());
    Problem { test: Some(Box::new(tested.clone())), ..Problem::undone(is_ours(tested.reason), detail) }
}

/// True when nothing was asked of the provider.
fn is_ours(reason: Reason) -> bool {
    matches!(reason, Reason::Misconfigured | Reason::BlockedAddress | Reason::NoAddress)
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Nobody(_) | AskError::Busy(_) | AskError::Late(_) => {
                Self::unavailable(error.to_string())
            }
            AskError::Refused(Refusal { reason: Reason::UnknownChannel, detail, .. }) => {
                Self::not_found(detail)
            }
            AskError::Refused(Refusal { reason, detail, .. }) => Self::undone(is_ours(reason), detail),
            AskError::Bus(error) => error.into(),
        }
    }
}

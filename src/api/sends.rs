//! Sending without a rule, and taking it back.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State as AxumState};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::auth::{Permission, Principal};
use super::deliveries::find;
use super::documents::unique_json;
use super::problem::Problem;
use super::query::Query;
use super::{Api, Shared};
use crate::bus::StreamName;
use crate::bus::reader::{From, Reader};
use crate::delivery::Delivery;
use crate::ids::{DeliveryId, WorkspaceId};
use crate::outcome::{Outcome, Reason, State};
use crate::send::{self, Cancellation, SendRequest, Sent};

/// So that the state can be asked at once, the answer waits this long for the history.
const RECORD_PATIENCE: Duration = Duration::from_secs(1);
/// `?wait=true`.
const OUTCOME_PATIENCE: Duration = Duration::from_secs(30);

/// Send a notification through a channel, now or later.
///
/// It is stored in the broker when this answers, its times too. The answer's `id` is a delivery:
/// `GET /v1/deliveries/{id}` tells its state. With an `Idempotency-Key` (kept for 24 hours) a repeat sends nothing new.
/// `?wait=true` waits up to 30 seconds for the first try's outcome.
#[utoipa::path(
    post,
    path = "/v1/notifications/send",
    operation_id = "send",
    tag = "sends",
    params(
        ("workspace" = Option<String>, Query), ("wait" = Option<bool>, Query),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 bytes"),
    ),
    request_body = SendRequest,
    responses(
        (status = 202, description = "stored", body = Sent),
        (status = 400, description = "not valid", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "the channel is not verified", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "the key was used with another body", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn send(
    principal: Principal,
    AxumState(api): AxumState<Shared>,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Sent>), Problem> {
    principal.may(Permission::Send)?;
    let query = query.only(&["workspace", "wait"])?;
    let workspace = principal.writes(query.workspace()?)?;
    let key = headers.get("idempotency-key").map(|value| value.to_str()).transpose();
    let key = key.map_err(|_| Problem::invalid("the Idempotency-Key is not ASCII"))?;
    let value = addressed(&principal, unique_json(&body)?)?;
    let watch = if query.flag("wait")? { Some(watch(&api, &workspace).await?) } else { None };
    let mut sent = send::send(&api.bus, &api.texts, &workspace, value, key).await?;
    if let Some(reader) = watch {
        let seen = match known(&api, &sent).await {
            Some(seen) => Some(seen),
            None => first_outcome(reader, &sent).await,
        };
        if let Some((status, reason, detail)) = seen {
            sent = Sent { status, reason, detail, ..sent };
        }
    } else if sent.record > 0
        && let Err(problem) = api.recorded(sent.record, RECORD_PATIENCE).await
    {
        // The database is away: the send is stored all the same.
        tracing::debug!(detail = problem.detail, "a send is answered before it is in the history");
    }
    Ok((StatusCode::ACCEPTED, Json(sent)))
}

/// Whoever is bound to a recipient sends to nobody else.
fn addressed(principal: &Principal, mut request: Value) -> Result<Value, Problem> {
    let (Some(own), Some(fields)) = (&principal.recipient, request.as_object_mut()) else {
        return Ok(request);
    };
    let asked = fields.entry("recipient").or_insert_with(|| own.as_str().into());
    if asked.as_str() != Some(own.as_str()) {
        return Err(Problem::forbidden("a token bound to a recipient sends to that recipient only"));
    }
    Ok(request)
}

/// Where a send stands, and why.
type Seen = (State, Option<Reason>, Option<String>);

/// What an earlier request with the same key led to, where the history knows more than that it was asked for.
async fn known(api: &Api, sent: &Sent) -> Option<Seen> {
    if !sent.repeated {
        return None;
    }
    let row = api.store.get(None, &sent.id).await.ok()??;
    let state = State::parse(&row.status).filter(|state| *state != State::Scheduled)?;
    Some((state, Reason::parse(&row.reason), row.detail))
}

/// Reads outcomes from before the send on.
async fn watch(api: &Api, workspace: &WorkspaceId) -> Result<Reader, Problem> {
    let filter = api.bus.names.outcome_filter(Some(workspace));
    Ok(Reader::open(&api.bus, StreamName::Records, filter, From::New).await?)
}

async fn first_outcome(mut reader: Reader, sent: &Sent) -> Option<Seen> {
    let wait = async {
        loop {
            let entries = reader.next(100).await.ok()?;
            for entry in entries {
                let Ok(outcome) = serde_json::from_slice::<Outcome>(&entry.payload) else { continue };
                if outcome.delivery == sent.id && outcome.state != State::Scheduled {
                    return Some((outcome.state, Some(outcome.reason), outcome.detail));
                }
            }
        }
    };
    tokio::time::timeout(OUTCOME_PATIENCE, wait).await.ok().flatten()
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CancelledSend {
    pub id: String,
    /// suppressed
    pub status: State,
}

/// Cancel a send that has not fired.
///
/// 409 when it is too late: it fired, was sent, or was cancelled before.
#[utoipa::path(
    delete,
    path = "/v1/notifications/send/{id}",
    operation_id = "cancelSend",
    tag = "sends",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "cancelled: it will not be sent", body = CancelledSend),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such send", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "too late", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn cancel(
    principal: Principal,
    AxumState(api): AxumState<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<Json<CancelledSend>, Problem> {
    query.only(&[])?;
    principal.may(Permission::Send)?;
    let missing = || Problem::not_found(format!("there is no send {id}"));
    let parsed = DeliveryId::parse(&id).map_err(|_| missing())?;
    let allowed = |delivery: &Delivery| {
        principal.workspace.as_ref().is_none_or(|workspace| *workspace == delivery.workspace)
            && principal.recipient.as_ref().is_none_or(|own| delivery.recipient.as_ref() == Some(own))
    };
    match send::cancel(&api.bus, &parsed, allowed).await? {
        Cancellation::Done => Ok(Json(CancelledSend { id, status: State::Suppressed })),
        Cancellation::NotPending => {
            let row = find(&api, &principal, &id).await?;
            if row.rule.is_some() {
                return Err(missing());
            }
            Err(Problem::conflict(match row.reason.as_str() {
                "cancelled" => "it was cancelled before".to_owned(),
                _ => format!("it is too late to cancel: the send has fired and is {}", row.status),
            }))
        }
    }
}

//! Recipients: who they are, and where channels reach them. Contacts are personal data: read by those who send, and by the
//! recipient.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;

use super::Shared;
use super::auth::{Permission, Principal};
use super::documents::{answer, answer_written, condition, named, sent};
use super::problem::Problem;
use super::query::Query;
use crate::documents::{Key, strict};
use crate::ids::Recipient;
use crate::recipient::{self, RecipientSpec};
use crate::shelf;

/// Read a recipient.
#[utoipa::path(
    get,
    path = "/v1/recipients/{id}",
    operation_id = "getRecipient",
    tag = "recipients",
    params(("id" = String, Path), ("workspace" = Option<String>, Query)),
    responses(
        (status = 200, description = "the recipient; its ETag names this state of it", body = Object),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "nobody has written anything about them", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = recipient_id(&id)?;
    principal.may_see(&id)?;
    let workspace = principal.writes(query.only(&["workspace"])?.workspace()?)?;
    let missing = || Problem::not_found(format!("there is no recipient {id}"));
    let key = Key::Recipient(workspace, id.clone());
    let held = shelf::get(&api.bus, &key).await?.ok_or_else(missing)?;
    Ok(answer(StatusCode::OK, &key, &held))
}

/// Say who a recipient is and where channels reach them.
#[utoipa::path(
    put,
    path = "/v1/recipients/{id}",
    operation_id = "putRecipient",
    tag = "recipients",
    params(
        ("id" = String, Path), ("workspace" = Option<String>, Query),
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header),
    ),
    request_body(content = Object, description = "`{kind, name, contacts: {email, telegramChatId}, timeZone, unsubscribed: [channel ids]}`; without `unsubscribed` that stays as it is"),
    responses(
        (status = 200, description = "replaced", body = Object),
        (status = 201, description = "made", body = Object),
        (status = 400, description = "not a recipient", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "it is another one by now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn put(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let workspace = principal.writes_documents(&query.only(&["workspace"])?)?;
    let id = recipient_id(&id)?;
    if id.is_everybody() {
        return Err(Problem::invalid(
            "`*` is everybody, and nobody who could be registered: name one recipient",
        ));
    }
    let value = serde_json::to_value(checked(&body, &id)?).map_err(crate::bus::BusError::from)?;
    let key = Key::Recipient(workspace, id);
    // Who copies contacts from elsewhere must not subscribe anybody again.
    let change = |held: Option<&shelf::Held>| {
        let mut value = value.clone();
        let left = held.and_then(|held| held.document.spec.get("unsubscribed"));
        if let (Some(left), None) = (left, value.get("unsubscribed")) {
            value["unsubscribed"] = left.clone();
        }
        Ok::<Value, Problem>(value)
    };
    let written = shelf::write(&api.bus, &key, &principal.name, condition(&headers)?, change).await?;
    tracing::info!(%key, version = written.held.document.version, by = principal.name, "recipient written");
    Ok(answer_written(&key, &written))
}

/// Forget a recipient.
#[utoipa::path(
    delete,
    path = "/v1/recipients/{id}",
    operation_id = "removeRecipient",
    tag = "recipients",
    params(("id" = String, Path), ("workspace" = Option<String>, Query), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 204, description = "forgotten"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "nobody has written anything about them", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let workspace = principal.writes_documents(&query.only(&["workspace"])?)?;
    let key = Key::Recipient(workspace, recipient_id(&id)?);
    shelf::remove(&api.bus, &key, condition(&headers)?).await?;
    tracing::info!(%key, by = principal.name, "recipient removed");
    Ok(StatusCode::NO_CONTENT)
}

/// Let a channel send to a recipient again who has unsubscribed from it.
#[utoipa::path(
    delete,
    path = "/v1/recipients/{id}/unsubscribed/{channel}",
    operation_id = "resubscribeRecipient",
    tag = "recipients",
    params(
        ("id" = String, Path), ("channel" = String, Path), ("workspace" = Option<String>, Query),
        ("If-Match" = Option<String>, Header),
    ),
    responses(
        (status = 204, description = "it may"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "they have not unsubscribed from it", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "it is another one by now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn resubscribe(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path((id, channel)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let workspace = principal.writes_documents(&query.only(&["workspace"])?)?;
    let key = Key::Recipient(workspace, recipient_id(&id)?);
    let missing = || Problem::not_found(format!("{id} has not unsubscribed from {channel}"));
    let change = |held: Option<&shelf::Held>| {
        let mut spec = held.ok_or_else(missing)?.document.spec.clone();
        let left = spec.get_mut("unsubscribed").and_then(Value::as_array_mut).ok_or_else(missing)?;
        let place = left.iter().position(|left| *left == *channel).ok_or_else(missing)?;
        left.remove(place);
        Ok::<Value, Problem>(spec)
    };
    shelf::write(&api.bus, &key, &principal.name, condition(&headers)?, change).await?;
    tracing::info!(%key, channel, by = principal.name, "recipient subscribed again");
    Ok(StatusCode::NO_CONTENT)
}

fn recipient_id(text: &str) -> Result<Recipient, Problem> {
    Recipient::parse(text).map_err(|error| Problem::invalid(error.to_string()))
}

fn checked(body: &[u8], id: &Recipient) -> Result<RecipientSpec, Problem> {
    let fields = named(sent(body)?, "id", id.as_str())?;
    let spec: RecipientSpec = strict(Value::Object(fields)).map_err(Problem::fault)?;
    recipient::check(&spec).map_err(Problem::fault)?;
    Ok(spec)
}

impl Principal {
    /// Whoever sends sees contacts, and each recipient their own.
    fn may_see(&self, id: &Recipient) -> Result<(), Problem> {
        match &self.recipient {
            Some(own) if own == id => Ok(()),
            Some(_) => Err(Problem::forbidden("this token belongs to another recipient")),
            None => self.may(Permission::Send),
        }
    }
}

//! What recipients want to hear of, and when: each writes their own, operators everybody's. Where nobody wrote anything, that is
//! an answer too: all is on.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::Shared;
use super::auth::{Permission, Principal};
use super::documents::{answer, answer_written, condition, merge, named, sent};
use super::problem::Problem;
use super::query::Query;
use crate::clock;
use crate::documents::{Key, strict};
use crate::ids::Recipient;
use crate::preferences::{self, EVERYBODY, PreferencesSpec};
use crate::rule::fault::Fault;
use crate::shelf::{self, Condition, Held, ShelfError};

/// Who a body with one of these fields and no list is about: one row.
const ROW: [&str; 4] = ["type", "project", "channel", "enabled"];
const RECIPIENT: &str = "recipient";

/// Read a recipient's preferences.
///
/// Whoever has none has an empty document.
#[utoipa::path(
    get,
    path = "/v1/notifications/preferences",
    operation_id = "getPreferences",
    tag = "preferences",
    params(
        ("recipient" = Option<String>, Query, description = "a token that is bound to one need not say it"),
        ("workspace" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "`{recipient, preferences: [{type, project, channel, enabled}], quietHours, snoozedUntil, snooze}`; its ETag names this state of it, where there is one", body = Object),
        (status = 400, description = "no recipient is named", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(principal: Principal, State(api): State<Shared>, query: Query) -> Result<Response, Problem> {
    let (key, recipient) = of(&principal, query, Permission::ReadDocuments)?;
    Ok(match shelf::get(&api.bus, &key).await? {
        Some(held) => answer(StatusCode::OK, &key, &held),
        None => Json(json!({ RECIPIENT: recipient, "preferences": [] })).into_response(),
    })
}

/// Say what a recipient wants to hear of, and when.
///
/// The whole document, or one row of it: `{type, project?, channel, enabled}` is set beside the others.
#[utoipa::path(
    put,
    path = "/v1/notifications/preferences",
    operation_id = "putPreferences",
    tag = "preferences",
    params(
        ("recipient" = Option<String>, Query), ("workspace" = Option<String>, Query),
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header),
    ),
    request_body(content = Object, description = "`{preferences, quietHours?, snoozedUntil?, snooze?}`, or `{type?, project?, channel?, enabled}`"),
    responses(
        (status = 200, description = "replaced, or with that row", body = Object),
        (status = 201, description = "made", body = Object),
        (status = 400, description = "no preferences", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "they are others by now", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn put(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let (key, recipient) = of(&principal, query, Permission::WriteDocuments)?;
    let fields = sent(&body)?;
    let is_row =
        fields.keys().any(|name| ROW.contains(&name.as_str())) && !fields.contains_key("preferences");
    let change = |held: Option<&Held>| {
        if is_row { with_row(held, &recipient, fields.clone()) } else { checked(fields.clone(), &recipient) }
    };
    write(&api, &principal, &key, (condition(&headers)?, &change)).await
}

/// Change a recipient's preferences.
///
/// A JSON Merge Patch (RFC 7396): `{"snoozedUntil": "…"}` snoozes, `{"snoozedUntil": null}` wakes up.
#[utoipa::path(
    patch,
    path = "/v1/notifications/preferences",
    operation_id = "patchPreferences",
    tag = "preferences",
    params(
        ("recipient" = Option<String>, Query), ("workspace" = Option<String>, Query),
        ("If-Match" = Option<String>, Header),
    ),
    request_body(content = Object, description = "fields to change; null takes one away"),
    responses(
        (status = 200, description = "changed", body = Object),
        (status = 201, description = "made: there were none", body = Object),
        (status = 400, description = "no preferences", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "they are others by now", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn patch(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let (key, recipient) = of(&principal, query, Permission::WriteDocuments)?;
    let fields = sent(&body)?;
    let change = |held: Option<&Held>| {
        let mut spec = held.map_or_else(|| json!({}), |held| held.document.spec.clone());
        merge(&mut spec, Value::Object(fields.clone()));
        checked(spec.as_object().cloned().unwrap_or_default(), &recipient)
    };
    write(&api, &principal, &key, (condition(&headers)?, &change)).await
}

/// Take a recipient's preferences back: all is on.
#[utoipa::path(
    delete,
    path = "/v1/notifications/preferences",
    operation_id = "resetPreferences",
    tag = "preferences",
    params(
        ("recipient" = Option<String>, Query), ("workspace" = Option<String>, Query),
        ("If-Match" = Option<String>, Header),
    ),
    responses(
        (status = 204, description = "they have none"),
        (status = 400, description = "no recipient is named", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "they are others by now", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn reset(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let (key, _) = of(&principal, query, Permission::WriteDocuments)?;
    let condition = condition(&headers)?;
    match shelf::remove(&api.bus, &key, condition).await {
        Ok(_) => tracing::info!(%key, by = principal.name, "preferences reset"),
        // Whoever has none is where they want to be.
        Err(ShelfError::Missing) if matches!(condition, Condition::None | Condition::Absent) => {}
        Err(ShelfError::Missing) => {
            return Err(Problem::precondition("there are none (any more)"));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(StatusCode::NO_CONTENT)
}

type Change<'a> = &'a (dyn Fn(Option<&Held>) -> Result<Value, Problem> + Sync);

async fn write(
    api: &Shared,
    principal: &Principal,
    key: &Key,
    (condition, change): (Condition, Change<'_>),
) -> Result<Response, Problem> {
    let written = shelf::write(&api.bus, key, &principal.name, condition, change).await?;
    if written.changed {
        tracing::info!(%key, version = written.held.document.version, by = principal.name, "preferences written");
    }
    Ok(answer_written(key, &written))
}

/// Whose preferences are meant: a token's own without any permission, anybody else's with it.
fn of(principal: &Principal, query: Query, permission: Permission) -> Result<(Key, Recipient), Problem> {
    let query = query.only(&[RECIPIENT, "workspace"])?;
    let parse = |text: &str| Recipient::parse(text).map_err(|error| Problem::invalid(error.to_string()));
    let asked = query.get(RECIPIENT).map(parse).transpose()?;
    let recipient = match (&principal.recipient, asked) {
        (Some(own), asked) => match asked.filter(|asked| asked != own) {
            Some(_) => return Err(Problem::forbidden("this token belongs to another recipient")),
            None => own.clone(),
        },
        (None, asked) => {
            principal.may(permission)?;
            asked.ok_or_else(|| Problem::invalid("parameter recipient is missing: whose preferences?"))?
        }
    };
    if recipient.as_str() == EVERYBODY {
        return Err(Problem::invalid("parameter recipient: * is everybody, who has no preferences"));
    }
    let workspace = principal.writes(query.workspace()?)?;
    Ok((Key::Preferences(workspace, recipient.clone()), recipient))
}

fn checked(fields: Map<String, Value>, recipient: &Recipient) -> Result<Value, Problem> {
    let fields = named(fields, RECIPIENT, recipient.as_str())?;
    let spec: PreferencesSpec = strict(Value::Object(fields)).map_err(Problem::fault)?;
    written(preferences::checked(spec, clock::now()))
}

/// What is there, with one row.
fn with_row(
    held: Option<&Held>,
    recipient: &Recipient,
    mut row: Map<String, Value>,
) -> Result<Value, Problem> {
    let named = row.remove(RECIPIENT);
    if named.is_some_and(|named| named.as_str() != Some(recipient.as_str())) {
        return Err(Problem::fault(Fault::new("/recipient", format!("is not {recipient}"))));
    }
    let row = strict(Value::Object(row)).map_err(Problem::fault)?;
    let empty = || json!({ RECIPIENT: recipient, "preferences": [] });
    let spec = held.map_or_else(empty, |held| held.document.spec.clone());
    let spec: PreferencesSpec = serde_json::from_value(spec).map_err(crate::bus::BusError::from)?;
    let spec = preferences::with_row(spec, row).and_then(|spec| preferences::checked(spec, clock::now()));
    written(spec)
}

fn written(spec: Result<PreferencesSpec, Fault>) -> Result<Value, Problem> {
    let spec = spec.map_err(Problem::fault)?;
    Ok(serde_json::to_value(spec).map_err(crate::bus::BusError::from)?)
}

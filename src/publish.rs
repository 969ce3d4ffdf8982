//! Events in, for the API and the command line: checked like any other event, published as a structured CloudEvent.

use async_nats::HeaderMap;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::bus::{Bus, BusError};
use crate::clock;
use crate::event::{DecodeError, Event, HOPS, Incoming, decode};
use crate::ids::{WorkspaceId, digest};

/// The source of an event that names none.
const SOURCE: &str = "bugle:api";
/// The broker did not take it: again later.
pub const SERVICE_UNAVAILABLE: u16 = 503;
/// Longer message ids are hashed: the broker keeps each for two minutes in memory.
const MESSAGE_ID_BYTES_MAX: usize = 200;

/// What became of one event.
#[derive(Debug, Clone, Default, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// As HTTP says it: 202, 400, 413 or 503.
    pub status: u16,
    pub id: String,
    pub source: String,
    /// The event was there already: nothing new happens.
    pub duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Where in the event, as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

/// Who says what an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Others,
}

/// Publishes one event: a CloudEvent in JSON, or `{type, data, id?, source?, time?, severity?, …}`.
pub async fn publish(bus: &Bus, workspace: &WorkspaceId, item: Value) -> Published {
    publish_as(bus, workspace, item, Whose::Others).await
}

/// Publishes what Bugle says about itself.
pub async fn publish_own(bus: &Bus, workspace: &WorkspaceId, item: Value) -> Published {
    publish_as(bus, workspace, item, Whose::Ours).await
}

async fn publish_as(bus: &Bus, workspace: &WorkspaceId, item: Value, whose: Whose) -> Published {
    let id = text(&item, "id").unwrap_or_default();
    let source = text(&item, "source").unwrap_or_default();
    let refused = |status: u16, error: String, pointer: String| {
        let pointer = Some(pointer).filter(|pointer| !pointer.is_empty());
        Published { status, id, source, duplicate: false, error: Some(error), pointer }
    };
    let (event, body) = match whole(bus, workspace, item, whose) {
        Ok(whole) => whole,
        Err(error) => {
            let status = if matches!(error, DecodeError::TooLarge { .. }) { 413 } else { 400 };
            return refused(status, error.to_string(), error.pointer());
        }
    };
    match store(bus, workspace, &event, body).await {
        Ok(duplicate) => {
            let Event { id, source, .. } = event;
            Published { status: 202, id, source, duplicate, error: None, pointer: None }
        }
        Err(error) => refused(SERVICE_UNAVAILABLE, error.to_string(), String::new()),
    }
}

/// The event that an item is, and its bytes as they are published.
fn whole(
    bus: &Bus,
    workspace: &WorkspaceId,
    item: Value,
    whose: Whose,
) -> Result<(Event, Vec<u8>), DecodeError> {
    let Value::Object(fields) = item else { return Err(DecodeError::NotAnObject) };
    let body = complete(fields)?.to_string().into_bytes();
    let bytes_max = bus.event_bytes_max();
    if body.len() > bytes_max {
        return Err(DecodeError::TooLarge { bytes: body.len(), bytes_max });
    }
    let event = checked(workspace, &body)?;
    match whose {
        Whose::Ours => {}
        Whose::Others => not_our_own(&event)?,
    }
    Ok((event, body))
}

fn text(item: &Value, name: &str) -> Option<String> {
    item.get(name)?.as_str().map(str::to_owned)
}

/// Adds what a CloudEvent needs and the sender left out.
fn complete(mut fields: Map<String, Value>) -> Result<Value, DecodeError> {
    if fields.contains_key("workspace") {
        return Err(DecodeError::Workspace);
    }
    let mut default = |name: &str, value: fn() -> String| {
        if fields.get(name).is_none_or(Value::is_null) {
            fields.insert(name.to_owned(), Value::String(value()));
        }
    };
    default("specversion", || "1.0".to_owned());
    default("source", || SOURCE.to_owned());
    default("id", clock::random_id);
    default("time", || clock::now().to_string());
    Ok(Value::Object(fields))
}

fn checked(workspace: &WorkspaceId, body: &[u8]) -> Result<Event, DecodeError> {
    decode(&Incoming {
        workspace: workspace.clone(),
        subject_type: None,
        headers: &[("content-type", "application/cloudevents+json")],
        body,
        fallback_id: "",
        fallback_source: SOURCE,
        received_at: clock::now(),
    })
}

/// Others cannot say what Bugle says about itself.
fn not_our_own(event: &Event) -> Result<(), DecodeError> {
    if event.is_own() { Err(DecodeError::Reserved) } else { Ok(()) }
}

/// The event that publishing this item would make.
///
/// # Errors
/// What is wrong with it.
pub fn imagined(workspace: &WorkspaceId, fields: Map<String, Value>) -> Result<Event, DecodeError> {
    checked(workspace, complete(fields)?.to_string().as_bytes())
}

/// The header that names the source, `<workspace>/<id>`, through which an event came.
pub const THROUGH: &str = "Source-Document";

/// An event that a source made of a message.
pub struct Sourced<'a> {
    pub workspace: &'a WorkspaceId,
    pub fields: &'a Map<String, Value>,
    /// None: made of the event's own identity.
    pub message_id: Option<&'a str>,
    /// The source's name.
    pub through: &'a str,
    /// How often it went out and came in again.
    pub hops: u32,
}

/// Why a source's event was not published.
#[derive(Debug, thiserror::Error)]
pub enum SourcedError {
    #[error("{0}")]
    Refused(DecodeError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Publishes what a source made. True when the broker had it already.
///
/// # Errors
/// What is wrong with the event, or that the broker did not store it; publishing again is safe.
pub async fn publish_sourced(bus: &Bus, sourced: &Sourced<'_>) -> Result<bool, SourcedError> {
    let mut fields = sourced.fields.clone();
    if sourced.hops > 0 {
        fields.insert(HOPS.to_owned(), sourced.hops.into());
    }
    let body = serde_json::to_vec(&fields).map_err(BusError::from)?;
    let bytes_max = bus.event_bytes_max();
    if body.len() > bytes_max {
        return Err(SourcedError::Refused(DecodeError::TooLarge { bytes: body.len(), bytes_max }));
    }
    let event = checked(sourced.workspace, &body).map_err(SourcedError::Refused)?;
    not_our_own(&event).map_err(SourcedError::Refused)?;
    let own_id = message_id(sourced.workspace, &event);
    let mut headers = headers(&event, sourced.message_id.unwrap_or(&own_id));
    headers.insert(THROUGH, sourced.through);
    let subject = bus.names.event(sourced.workspace, event.event_type.as_str());
    Ok(bus.publish(subject, headers, body.into()).await?.duplicate)
}

fn headers(event: &Event, message_id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/cloudevents+json");
    headers.insert(async_nats::header::NATS_MESSAGE_ID, message_id);
    for (name, value) in event.trace_context() {
        headers.insert(name, value);
    }
    headers
}

/// True when the broker had it already.
async fn store(bus: &Bus, workspace: &WorkspaceId, event: &Event, body: Vec<u8>) -> Result<bool, BusError> {
    let headers = headers(event, &message_id(workspace, event));
    let subject = bus.names.event(workspace, event.event_type.as_str());
    Ok(bus.publish(subject, headers, body.into()).await?.duplicate)
}

/// The broker dedupes across the whole stream, so the id says whose it is.
fn message_id(workspace: &WorkspaceId, event: &Event) -> String {
    let id = format!("{workspace}/{}/{}", event.source, event.id);
    let plain = id.len() <= MESSAGE_ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic());
    if plain { id } else { digest(&[workspace.as_str(), &event.source, &event.id]) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_short_form_becomes_a_whole_cloud_event() {
        let Value::Object(fields) = json!({"type": "a.b", "data": {"n": 1}, "tenant": "x"}) else { panic!() };
        let body = serde_json::to_vec(&complete(fields).unwrap()).unwrap();
        let event = checked(&WorkspaceId::default(), &body).unwrap();
        assert_eq!((event.event_type.as_str(), event.source.as_str()), ("a:b", SOURCE));
        assert_eq!(event.attributes.get("tenant").map(String::as_str), Some("x"));
        assert!(!event.id.is_empty());
    }

    #[test]
    fn two_sources_with_one_id_are_two_events() {
        let event = |source: &str| {
            let body = json!({"specversion": "1.0", "type": "a", "id": "1", "source": source}).to_string();
            checked(&WorkspaceId::default(), body.as_bytes()).unwrap()
        };
        let workspace = WorkspaceId::default();
        assert_ne!(message_id(&workspace, &event("s")), message_id(&workspace, &event("t")));
        assert!(message_id(&workspace, &event(&"x".repeat(900))).len() < MESSAGE_ID_BYTES_MAX);
    }
}

//! From a message to events: what its format makes of it, and what the source's templates put over that.
//!
//! A template sees the payload, `_source` (where the message came from) and `_event` (what the format made of it). The
//! result is a CloudEvent that is checked like any other when it is published.

use std::borrow::Cow;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map as Fields, Value, json};

use super::{Format, Source, SourceSpec, alertmanager};
use crate::event::decode::media_type;
use crate::event::{Event, EventType, Incoming, Severity, decode};
use crate::ids::{WorkspaceId, digest};
use crate::route::template::Template;
use crate::rule::condition::Facts;
use crate::rule::fault::Fault;

/// Where templates find what the message came with. A field of this name in the payload is out of reach.
const MESSAGE: &str = "_source";
/// A Unix time above this is in milliseconds.
const SECONDS_MAX: i64 = 100_000_000_000;

/// What events are made of, each a template; what is left out is what the format makes of the message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MapSpec {
    /// The event's type. Of `json` it is the subject, or the source's id for webhooks.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// With the event's source it identifies the event. One that renders empty counts as left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `info`, `warning`, `critical`, or a word that other systems have for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Who it is for, told apart by commas: for rules that name no recipients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<String>,
    /// RFC 3339, or Unix time in seconds or milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// One of the source's `workspaces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Renders JSON, such as `{{issue}}` for an object of the payload. The whole payload where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// The templates of a source, ready to render.
#[derive(Debug, Default)]
pub struct Map {
    event_type: Option<Template>,
    id: Option<Template>,
    severity: Option<Template>,
    recipients: Option<Template>,
    time: Option<Template>,
    workspace: Option<Template>,
    data: Option<Template>,
}

impl Map {
    /// # Errors
    /// The field and the fault.
    pub fn compile(spec: &SourceSpec) -> Result<Self, Fault> {
        let map = spec.map.clone().unwrap_or_default();
        match (map.workspace.is_some(), spec.workspaces.is_empty()) {
            (true, true) => {
                return Err(Fault::new(
                    "/workspace",
                    "needs the list `workspaces` beside `map`, to choose from",
                ));
            }
            (false, false) => {
                return Err(Fault::new(
                    "/workspace",
                    "is missing: without it nothing chooses from `workspaces`",
                ));
            }
            (true, false) | (false, true) => {}
        }
        let template = |place: &str, text: Option<&String>| {
            let compiled = text.map(|text| Template::compile(text)).transpose();
            compiled.map_err(|fault| fault.below(place))
        };
        Ok(Self {
            event_type: template("/type", map.event_type.as_ref())?,
            id: template("/id", map.id.as_ref())?,
            severity: template("/severity", map.severity.as_ref())?,
            recipients: template("/recipients", map.recipients.as_ref())?,
            time: template("/time", map.time.as_ref())?,
            workspace: template("/workspace", map.workspace.as_ref())?,
            data: template("/data", map.data.as_ref())?,
        })
    }
}

/// A message, whichever way it came.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// None for a webhook.
    pub subject: Option<String>,
    /// Without those that hold secrets.
    pub headers: Vec<(String, String)>,
    pub body: bytes::Bytes,
    pub received_at: Timestamp,
    /// The stream, its creation and the place in it; None for a webhook.
    pub place: Option<(std::sync::Arc<str>, u64)>,
}

impl Arrival {
    /// Names this very message: webhooks with the same body are one.
    #[must_use]
    pub fn id(&self) -> String {
        match &self.place {
            Some((epoch, sequence)) => format!("{epoch}-{sequence}"),
            None => digest(&[&String::from_utf8_lossy(&self.body)]),
        }
    }

    fn facts(&self, source: &Source) -> Value {
        let headers: Fields<String, Value> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str().into()))
            .collect();
        let tokens: Vec<&str> = self.subject.iter().flat_map(|subject| subject.split('.')).collect();
        json!({ "id": source.spec.id, "subject": self.subject, "tokens": tokens, "headers": headers })
    }
}

/// An event that is to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    pub workspace: WorkspaceId,
    /// A CloudEvent in JSON.
    pub fields: Fields<String, Value>,
    /// What makes a repeat of the message the same event to the broker; None: the event's own identity.
    pub message_id: Option<String>,
    /// What is the same for longer than the broker remembers: it is published once in [`Source::repeat_after`].
    pub once: Option<String>,
}

/// What a message came to. Several alerts or events come in one message, and some may be broken.
#[derive(Debug, Default)]
pub struct Reading {
    pub drafts: Vec<Draft>,
    pub faults: Vec<Fault>,
}

/// Reads a message as its source says. Faults have places in the payload, or in the source below `/map`.
#[must_use]
pub fn read(source: &Source, arrival: &Arrival) -> Reading {
    let mut reading = Reading::default();
    let raw = match source.format {
        Format::Json => payload(&arrival.body).map(|data| vec![Ok(json_event(source, arrival, data))]),
        Format::CloudEvents => cloud_events(source, arrival),
        Format::Alertmanager => {
            payload(&arrival.body).and_then(|data| alertmanager::read(source, arrival.received_at, &data))
        }
    };
    match raw {
        Err(fault) => reading.faults.push(fault),
        Ok(raw) => {
            let facts = arrival.facts(source);
            for one in raw {
                match one.and_then(|raw| source.map.apply(source, raw, &facts)) {
                    Ok(draft) => reading.drafts.push(draft),
                    Err(fault) => reading.faults.push(fault),
                }
            }
        }
    }
    reading
}

/// What a format makes of a message.
#[derive(Debug)]
pub(super) struct Raw {
    /// A CloudEvent without its data.
    pub fields: Fields<String, Value>,
    pub data: Value,
    pub message_id: Option<String>,
    pub once: Option<String>,
}

fn payload(body: &[u8]) -> Result<Value, Fault> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Fault::here(format!("the body is not JSON: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(Fault::here("the body is JSON but not an object")) }
}

/// The source of events that name none.
pub(super) fn origin(source: &Source) -> Value {
    format!("bugle:source:{}", source.spec.id).into()
}

fn json_event(source: &Source, arrival: &Arrival, data: Value) -> Raw {
    let id = arrival.id();
    let mut fields = Fields::new();
    let event_type = arrival.subject.clone().unwrap_or_else(|| source.spec.id.to_string());
    fields.insert("type".to_owned(), event_type.into());
    fields.insert("source".to_owned(), origin(source));
    fields.insert("time".to_owned(), arrival.received_at.to_string().into());
    let message_id = if arrival.place.is_none() {
        // The same body later on is another event: the broker's memory decides how long it is a repeat.
        fields.insert("id".to_owned(), format!("{id}-{}", arrival.received_at.as_millisecond()).into());
        Some(message_id(source, &id))
    } else {
        fields.insert("id".to_owned(), id.into());
        None
    };
    Raw { fields, data, message_id, once: None }
}

pub(super) fn message_id(source: &Source, id: &str) -> String {
    format!("source/{}", digest(&[source.workspace.as_str(), source.spec.id.as_str(), id]))
}

/// One event, or those of a batch.
fn cloud_events(source: &Source, arrival: &Arrival) -> Result<Vec<Result<Raw, Fault>>, Fault> {
    let is_content_type = |name: &str| name.eq_ignore_ascii_case("content-type");
    let pairs = || arrival.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let declared = pairs().find(|(name, _)| is_content_type(name)).map(|(_, value)| media_type(value));
    if declared.as_deref() != Some("application/cloudevents-batch+json") {
        let headers: Vec<(&str, &str)> = pairs().collect();
        return cloud_event(source, arrival, &headers, &arrival.body).map(|raw| vec![Ok(raw)]);
    }
    let events: Vec<&RawValue> = serde_json::from_slice(&arrival.body)
        .map_err(|error| Fault::here(format!("the body is no JSON list, as a batch is: {error}")))?;
    let mut headers: Vec<(&str, &str)> = pairs().filter(|(name, _)| !is_content_type(name)).collect();
    headers.push(("content-type", "application/cloudevents+json"));
    let one = |(index, event): (usize, &&RawValue)| {
        let raw = cloud_event(source, arrival, &headers, event.get().as_bytes());
        raw.map_err(|fault| fault.below(&format!("/{index}")))
    };
    Ok(events.iter().enumerate().map(one).collect())
}

fn cloud_event(
    source: &Source,
    arrival: &Arrival,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Raw, Fault> {
    let id = arrival.id();
    let event = decode(&Incoming {
        workspace: source.workspace.clone(),
        subject_type: None,
        headers,
        body,
        fallback_id: &id,
        fallback_source: "nats",
        received_at: arrival.received_at,
    });
    let event = event.map_err(|error| Fault::new(error.pointer(), error.to_string()))?;
    Ok(Raw { fields: fields_of(&event), data: event.data, message_id: None, once: None })
}

fn fields_of(event: &Event) -> Fields<String, Value> {
    let mut fields: Fields<String, Value> =
        event.attributes.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    fields.insert("type".to_owned(), event.event_type.as_str().into());
    fields.insert("source".to_owned(), event.source.as_str().into());
    fields.insert("id".to_owned(), event.id.as_str().into());
    fields.insert("time".to_owned(), event.time.to_string().into());
    if let Some(severity) = event.severity {
        fields.insert("severity".to_owned(), severity.as_str().into());
    }
    fields.extend(event.trace_context().map(|(name, value)| (name.to_owned(), value.into())));
    fields
}

/// What templates look at.
struct Seen<'a> {
    data: &'a Value,
    fields: &'a Fields<String, Value>,
}

impl Facts for Seen<'_> {
    fn data(&self) -> &Value {
        self.data
    }

    fn envelope(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.fields.get(name).map(Cow::Borrowed)
    }
}

impl Map {
    fn apply(&self, source: &Source, raw: Raw, message: &Value) -> Result<Draft, Fault> {
        let Raw { mut fields, mut data, mut message_id, once } = raw;
        let hidden = data.as_object_mut().and_then(|data| data.insert(MESSAGE.to_owned(), message.clone()));
        let rendered = self.render(source, &Seen { data: &data, fields: &fields });
        if let Some(data) = data.as_object_mut() {
            data.remove(MESSAGE);
            data.extend(hidden.map(|hidden| (MESSAGE.to_owned(), hidden)));
        }
        let Rendered { workspace, put, remove_severity, data: chosen } = rendered?;
        if put.iter().any(|(name, _)| *name == "id") {
            message_id = None;
        }
        if remove_severity {
            fields.remove("severity");
        }
        fields.extend(put.into_iter().map(|(name, value)| (name.to_owned(), value.into())));
        fields.insert("specversion".to_owned(), "1.0".into());
        fields.insert("data".to_owned(), chosen.unwrap_or(data));
        Ok(Draft { workspace, fields, message_id, once })
    }

    fn render(&self, source: &Source, seen: &Seen<'_>) -> Result<Rendered, Fault> {
        let text = |name: &'static str, template: Option<&Template>| -> Result<Option<String>, Fault> {
            let rendered = template.map(|template| template.render(seen)).transpose();
            let rendered = rendered.map_err(|error| at(name, error.to_string()))?;
            Ok(rendered.map(|text| text.trim().to_owned()))
        };
        let not_empty = |text: &String| !text.is_empty();
        let mut put = Vec::new();
        if let Some(event_type) = text("type", self.event_type.as_ref())? {
            EventType::parse(&event_type).map_err(|error| at("type", error.to_string()))?;
            put.push(("type", event_type));
        }
        put.extend(text("id", self.id.as_ref())?.filter(not_empty).map(|id| ("id", id)));
        put.extend(
            text("recipients", self.recipients.as_ref())?.filter(not_empty).map(|list| ("recipients", list)),
        );
        if let Some(time) = text("time", self.time.as_ref())?.filter(not_empty) {
            let time = moment(&time).ok_or_else(|| at("time", "renders neither RFC 3339 nor a Unix time"))?;
            put.push(("time", time.to_string()));
        }
        let severity = text("severity", self.severity.as_ref())?.filter(not_empty);
        let known = severity.as_ref().and_then(|word| source.severity(word));
        put.extend(known.map(|severity| ("severity", severity.as_str().to_owned())));
        let data = text("data", self.data.as_ref())?.filter(not_empty);
        let data = data.map(|text| serde_json::from_str(&text)).transpose();
        Ok(Rendered {
            workspace: source.workspace_of(text("workspace", self.workspace.as_ref())?)?,
            put,
            remove_severity: severity.is_some() && known.is_none(),
            data: data.map_err(|error| at("data", format!("does not render JSON: {error}")))?,
        })
    }
}

struct Rendered {
    workspace: WorkspaceId,
    put: Vec<(&'static str, String)>,
    remove_severity: bool,
    data: Option<Value>,
}

fn at(field: &str, message: impl Into<String>) -> Fault {
    Fault::new(format!("/map/{field}"), message)
}

fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
    #[expect(clippy::cast_possible_truncation, reason = "out of range is saturated, and then no time")]
    let (whole, thousandths) = (number as i64, (number * 1000.0) as i64);
    Timestamp::from_millisecond(if whole.saturating_abs() > SECONDS_MAX { whole } else { thousandths }).ok()
}

impl Source {
    /// The severity that a word of the sender means. None for a word that nobody knows: the rule's severity counts then.
    #[must_use]
    pub fn severity(&self, word: &str) -> Option<Severity> {
        let own = self.spec.severities.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
        own.map(|(_, severity)| *severity).or_else(|| severity_of(word))
    }

    fn workspace_of(&self, chosen: Option<String>) -> Result<WorkspaceId, Fault> {
        let Some(chosen) = chosen else { return Ok(self.workspace.clone()) };
        let found = self.spec.workspaces.iter().find(|allowed| allowed.as_str() == chosen);
        found.cloned().ok_or_else(|| at("workspace", "renders none of the source's `workspaces`"))
    }
}

/// What other systems call our three.
fn severity_of(word: &str) -> Option<Severity> {
    match word.to_ascii_lowercase().as_str() {
        "critical" | "crit" | "fatal" | "page" | "error" | "err" | "high" | "highest" | "urgent"
        | "severe" | "alert" | "emergency" | "emerg" | "panic" | "major" | "blocker" | "disaster" => {
            Some(Severity::Critical)
        }
        "warning" | "warn" | "medium" | "moderate" | "average" | "minor" => Some(Severity::Warning),
        "info" | "information" | "informational" | "notice" | "low" | "lowest" | "debug" | "trace"
        | "none" | "ok" => Some(Severity::Info),
        _ => None,
    }
}

//! From a delivery to what lies in an inbox: which of an event's fields are its source, its project, its metadata.
//!
//! What a browser must not follow is left out: links and buttons lead to a path of the reader's own site, or to https.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use super::Source;
use crate::delivery::{Action, Delivery, ENVELOPE_VERSION};
use crate::event::{EventRef, Severity, project};
use crate::ids::{DeliveryId, NotificationId, Recipient, WorkspaceId};
use crate::route::texts;
use crate::rule::fault::LeftOut;

/// Longer metadata is left out: an inbox is a list, not a store.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
/// Of an inbox's body; more is for the page behind the link.
pub const BODY_CHARS_MAX: usize = 10_000;
/// Of what a producer calls things.
const WORD_CHARS_MAX: usize = 256;

/// What a worker hands to the recorder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    pub v: u16,
    pub id: NotificationId,
    pub delivery: DeliveryId,
    pub workspace: WorkspaceId,
    pub recipient: Recipient,
    pub event: EventRef,
    pub severity: Severity,
    pub urgency: String,
    pub title: String,
    pub body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub metadata: Value,
    pub source: Source,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
    /// What has the same one is one notification, as long as nobody dismisses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse_id: Option<String>,
    pub at: Timestamp,
}

impl Item {
    /// What a delivery puts into an inbox, and what it leaves out.
    #[must_use]
    pub fn of(delivery: &Delivery, at: Timestamp) -> (Self, Vec<String>) {
        let mut left = LeftOut::default();
        let data: Value = serde_json::from_str(delivery.data.get()).unwrap_or_default();
        let mut body = delivery.body_in_markdown();
        if let Some((end, _)) = body.char_indices().nth(BODY_CHARS_MAX) {
            body.truncate(end);
            body.push('…');
            left.add(|| format!("the body was cut to {BODY_CHARS_MAX} characters"));
        }
        let link = delivery.link.clone().filter(|link| {
            let followed = is_followed(link);
            if !followed {
                left.add(|| "the link was left out: neither a path nor https".to_owned());
            }
            followed
        });
        let mut actions = delivery.actions.clone();
        actions.retain(|action| {
            let followed = is_followed(&action.url);
            if !followed {
                left.add(|| "an action was left out: neither a path nor https".to_owned());
            }
            followed
        });
        let metadata = metadata(&data, &mut left);
        let item = Self {
            v: ENVELOPE_VERSION,
            id: NotificationId::of(&delivery.id),
            delivery: delivery.id.clone(),
            workspace: delivery.workspace.clone(),
            recipient: delivery.recipient.clone().unwrap_or_else(Recipient::everybody),
            event: delivery.event.clone(),
            severity: delivery.severity,
            urgency: urgency(&data, delivery.severity),
            title: title(delivery),
            body,
            link,
            metadata,
            source: source(&data, &delivery.event),
            project: delivery.project.clone().or_else(|| project::named_in(&data)),
            actions,
            collapse_id: delivery.collapse_id.clone(),
            at,
        };
        (item, left.into_notes())
    }
}

/// A path of the reader's own site, or https.
#[must_use]
pub fn is_followed(link: &str) -> bool {
    texts::is_link(link) && (link.starts_with('/') || is_https(link))
}

/// With a host, written as browsers read it, and without a name in front of it that looks like another one.
fn is_https(link: &str) -> bool {
    let written = link.get("https://".len()..).is_some_and(|rest| !rest.starts_with(['/', '\\']));
    let plain = |url: Url| url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
    written && !link.contains(char::is_whitespace) && Url::parse(link).is_ok_and(plain)
}

/// An inbox shows the severity by itself.
fn title(delivery: &Delivery) -> String {
    let title = &delivery.title;
    title.strip_prefix(texts::emoji(delivery.severity)).map_or(title.as_str(), str::trim_start).to_owned()
}

fn metadata(data: &Value, left: &mut LeftOut) -> Value {
    let found = data.get("metadata").filter(|found| found.is_object()).or(Some(data));
    let Some(found) = found.filter(|found| found.is_object()) else { return Value::Object(Map::new()) };
    let bytes = found.to_string().len();
    if bytes > METADATA_BYTES_MAX {
        left.add(|| format!("the metadata was left out: {bytes} bytes, at most {METADATA_BYTES_MAX}"));
        return Value::Object(Map::new());
    }
    found.clone()
}

/// The word of the producer, where there is one.
fn urgency(data: &Value, severity: Severity) -> String {
    let said = ["urgency", "priority", "severity"].iter().find_map(|name| word(data.get(name)?));
    said.unwrap_or_else(|| severity.as_str().to_owned())
}

/// What the event says it is about: its own `source`, else its task, mission, agent or comment, else the event.
fn source(data: &Value, event: &EventRef) -> Source {
    if let Some(named) = data.get("source").and_then(Value::as_object)
        && let (Some(kind), Some(id)) = (named.get("type").and_then(word), named.get("id").and_then(word))
    {
        let more = named.iter().filter(|(name, _)| !matches!(name.as_str(), "type" | "id"));
        return Source { kind, id, more: more.map(|(name, value)| (name.clone(), value.clone())).collect() };
    }
    for kind in ["comment", "task", "mission", "session", "agent"] {
        let object = data.get(kind).and_then(Value::as_object);
        let id = data.get(format!("{kind}Id")).or_else(|| object?.get("id")).and_then(word);
        if let Some(id) = id {
            let known = ["title", "name", "status"];
            let more = object.into_iter().flatten().filter(|(name, _)| known.contains(&name.as_str()));
            let more = more.map(|(name, value)| (name.clone(), value.clone())).collect();
            return Source { kind: kind.to_owned(), id, more };
        }
    }
    Source { kind: "event".to_owned(), id: event.id.clone(), more: Map::new() }
}

/// A short text, or a number.
fn word(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => texts::one_line(text, WORD_CHARS_MAX),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use serde_json::value::to_raw_value;

    use super::*;
    use crate::channel::conformance::sample;

    fn of(data: &Value) -> (Item, Vec<String>) {
        let delivery = Delivery { data: Arc::from(to_raw_value(data).unwrap()), ..sample() };
        Item::of(&delivery, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn what_it_is_about_is_found_in_the_data() {
        for (data, kind, id) in [
            (json!({"source": {"type": "comment", "id": 7, "taskId": "t"}}), "comment", "7"),
            (json!({"taskId": "t-1", "agentId": "a"}), "task", "t-1"),
            (json!({"task": {"id": "t-2", "title": "Fix", "secret": 1}}), "task", "t-2"),
            (json!({"agentId": "a-1"}), "agent", "a-1"),
            (json!({"source": "elsewhere"}), "event", "e-1"),
            (json!(null), "event", "e-1"),
        ] {
            let (item, _) = of(&data);
            assert_eq!((item.source.kind.as_str(), item.source.id.as_str()), (kind, id), "{data}");
        }
        let (item, _) = of(&json!({"task": {"id": "t-2", "title": "Fix", "secret": 1}}));
        assert_eq!(Value::Object(item.source.more), json!({"title": "Fix"}));
    }

    #[test]
    fn project_metadata_and_the_producers_word_come_along() {
        let (item, notes) = of(&json!({"projectId": "p", "urgency": "medium", "n": 1}));
        assert_eq!((item.project.as_deref(), item.urgency.as_str()), (Some("p"), "medium"));
        assert_eq!(item.metadata["n"], 1);
        assert!(notes.is_empty());
        let (item, _) = of(&json!({"project": {"id": 4}, "metadata": {"deep": true}}));
        assert_eq!((item.project.as_deref(), &item.metadata), (Some("4"), &json!({"deep": true})));
        let (item, notes) = of(&json!({"long": "x".repeat(METADATA_BYTES_MAX)}));
        assert_eq!(item.metadata, json!({}));
        assert!(notes[0].contains("metadata was left out"), "{notes:?}");
    }

    #[test]
    fn links_lead_to_the_own_site_or_to_https() {
        for (link, kept) in [
            ("/tasks/1", true),
            ("https://a.example/x", true),
            ("HTTPS://a.example", true),
            ("https://", false),
            ("https:///x", false),
            ("https:a.example", false),
            ("https://a.example/a b", false),
            ("https://bank.example@a.example/x", false),
            ("http://a.example", false),
            ("mailto:a@b", false),
            ("//evil.example", false),
            ("/\\evil.example", false),
            ("javascript:alert(1)", false),
        ] {
            let delivery = Delivery { link: Some(link.to_owned()), ..sample() };
            let (item, notes) = Item::of(&delivery, Timestamp::UNIX_EPOCH);
            assert_eq!(item.link.is_some(), kept, "{link}");
            assert_eq!(notes.is_empty(), kept, "{notes:?}");
        }
    }

    #[test]
    fn the_sign_of_the_severity_is_not_shown_twice() {
        let delivery = Delivery { title: "⚠️ Late".to_owned(), ..sample() };
        assert_eq!(Item::of(&delivery, Timestamp::UNIX_EPOCH).0.title, "Late");
    }
}

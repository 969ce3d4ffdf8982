//! Events as they are stored, for dashboards: what came in, whatever the rules make of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State as AxumState;
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::feed::{self, View};
use super::frames::Frame;
use super::{PARAMETERS, resumed, sse};
use crate::api::Shared;
use crate::api::auth::{Permission, Principal};
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::bus::consumer::Received;
use crate::bus::reader::Entry;
use crate::bus::{Bus, Names, StreamName};
use crate::event::{Event, Severity};
use crate::ids::WorkspaceId;
use crate::metrics::{Followed, Transport};
use crate::route::handler::decoded;
use crate::rule::pattern::Pattern;

/// Follow events live (server-sent events).
///
/// Each event is named `event`, has an `id` and the event as JSON: `{id, type, source, time, workspace, severity?, data}` and
/// its other attributes. `pattern` (up to 20) chooses by type as the patterns of rules do; events about Bugle itself come
/// where a pattern names their first segment (`notification:*`). It resumes and ends as the stream of deliveries does.
#[utoipa::path(
    get,
    path = "/v1/events/stream",
    operation_id = "followEvents",
    tag = "events",
    params(
        ("Last-Event-ID" = Option<u64>, Header), ("lastEventId" = Option<u64>, Query, description = "the same, in the query"),
        ("ticket" = Option<String>, Query, description = "for clients that cannot set headers: from `POST /v1/stream-tickets`"),
        ("token" = Option<String>, Query, description = "the same, where nobody between logs addresses"),
        ("workspace" = Option<String>, Query),
        ("pattern" = Option<Vec<String>>, Query, description = "of event types, such as `task:*`; may be repeated; every type where there is none"),
    ),
    responses(
        (status = 200, description = "the stream", content_type = "text/event-stream"),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn follow(
    principal: Principal,
    AxumState(api): AxumState<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&[&PARAMETERS[..], &FILTERS].concat())?;
    let view = Events::wanted(&principal, &query)?;
    let resume = resumed(&headers, &query)?;
    Ok(sse::response(feed::open(api, &principal, view, resume, Transport::Sse).await?))
}

/// Beside those that every stream takes.
pub const FILTERS: [&str; 1] = ["pattern"];

pub struct Events {
    workspace: Option<WorkspaceId>,
    patterns: Vec<Pattern>,
}

impl Events {
    /// What a client asks for and may see.
    ///
    /// # Errors
    /// 400 for a pattern that is none, 403 for whoever may not see events.
    pub fn wanted(principal: &Principal, query: &Query) -> Result<Self, Problem> {
        principal.may(Permission::ReadEvents)?;
        if principal.recipient.is_some() {
            return Err(Problem::forbidden(
                "events belong to no recipient: this token sees its own recipient only",
            ));
        }
        Ok(Self { workspace: principal.reads(query.workspace()?)?, patterns: query.patterns()? })
    }
}

impl View for Events {
    const STREAM: StreamName = StreamName::Events;
    const FOLLOWED: Followed = Followed::Events;

    fn filter(&self, names: &Names) -> String {
        names.event_filter(self.workspace.as_ref(), None)
    }

    fn show(&self, bus: &Bus, epoch: &Arc<str>, entry: Entry) -> Option<Frame> {
        let id = Some(entry.sequence);
        // What is no event is among the dead letters.
        let event = decoded(bus, &Received::once_more(Arc::clone(epoch), entry)).ok()?;
        if !wants(&self.patterns, &event) {
            return None;
        }
        Some(Frame { name: feed::EVENT, id, data: text(&event)?.into() })
    }
}

/// As rules want events: what Bugle says about itself only where a pattern writes its first segment out.
fn wants(patterns: &[Pattern], event: &Event) -> bool {
    let own = event.is_own();
    let wants = |pattern: &Pattern| {
        (!own || pattern.starts_literally()) && pattern.matches(event.event_type.as_str())
    };
    patterns.iter().any(wants)
}

#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    source: &'a str,
    time: Timestamp,
    workspace: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<Severity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    data: &'a RawValue,
    #[serde(flatten)]
    attributes: BTreeMap<&'a str, &'a str>,
}

/// Attributes that a producer on NATS may have given names of ours.
const TAKEN: [&str; 2] = ["workspace", "data"];

fn text(event: &Event) -> Option<String> {
    let attributes = event.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let shown = Shown {
        id: &event.id,
        event_type: event.event_type.as_str(),
        source: &event.source,
        time: event.time,
        workspace: event.workspace.as_str(),
        severity: event.severity,
        traceparent: event.traceparent.as_deref(),
        data: &event.data_json,
        attributes: attributes.filter(|(name, _)| !TAKEN.contains(name)).collect(),
    };
    // In JSON a line's end stands between values, where a space is as good.
    Some(serde_json::to_string(&shown).ok()?.replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::event::{Incoming, decode};

    fn event(headers: &[(&str, &str)], body: &str) -> Event {
        let incoming = Incoming {
            workspace: WorkspaceId::default(),
            subject_type: Some("task.done"),
            headers,
            body: body.as_bytes(),
            fallback_id: "1",
            fallback_source: "nats",
            received_at: Timestamp::UNIX_EPOCH,
        };
        decode(&incoming).unwrap()
    }

    #[test]
    fn an_event_is_one_line_of_json_with_its_attributes_beside() {
        let body = "{\r\n \"n\": 12345678901234567890123,\n \"text\": \"a\\nb\"\n}";
        let plain = text(&event(&[], body)).unwrap();
        assert!(!plain.contains(['\n', '\r']) && plain.contains("12345678901234567890123"), "{plain}");
        let plain: Value = serde_json::from_str(&plain).unwrap();
        assert_eq!(plain["data"]["text"], "a\nb");
        assert_eq!(plain["type"], "task:done");
        assert!(plain.get("severity").is_none());

        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", "7"),
            ("ce-source", "/s"),
            ("ce-type", "a.b"),
            ("ce-severity", "warning"),
            ("ce-tenant", "x"),
            ("ce-workspace", "another"),
            ("ce-data", "another"),
        ];
        let whole: Value = serde_json::from_str(&text(&event(&headers, "[1]")).unwrap()).unwrap();
        assert_eq!(
            whole,
            json!({ "id": "7", "type": "a:b", "source": "/s", "time": "1970-01-01T00:00:00Z", "workspace": "default",
                "severity": "warning", "data": [1], "tenant": "x" })
        );
    }

    #[test]
    fn own_events_come_where_they_are_named() {
        let own = [
            ("ce-specversion", "1.0"),
            ("ce-id", "7"),
            ("ce-source", "bugle"),
            ("ce-type", "notification.sent"),
        ];
        let (own, other) = (event(&own, "{}"), event(&[], "{}"));
        let wants = |texts: &[&str], event: &Event| {
            wants(&texts.iter().map(|text| Pattern::parse(text).unwrap()).collect::<Vec<_>>(), event)
        };
        assert!(wants(&["*"], &other) && !wants(&["*", "**", "*:sent", "notif*:sent"], &own));
        assert!(wants(&["a:b", "notification:*"], &own) && !wants(&["notification:*"], &other));
    }
}

//! An event: something that happened, as a CloudEvent in either mode or as a bare JSON object.
//!
//! Reading the wire is in [`decode`]; nothing here knows NATS or HTTP. An event is identified by workspace, source and
//! id together; the workspace comes from the subject alone, never from the body.

pub mod decode;
pub mod event_type;
pub mod project;
pub mod traceparent;
pub mod urgency;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

pub use decode::{DecodeError, Incoming, decode};
pub use event_type::EventType;

use crate::ids::WorkspaceId;
use crate::rule::condition::Facts;

/// The source of what Bugle says about itself.
pub const OWN_SOURCE: &str = "bugle";

/// The attribute that counts how often an event went out through a webhook and came in again.
pub const HOPS: &str = "buglehops";
/// Whoever sends more often than this in a circle is stopped.
pub const HOPS_MAX: u32 = 5;

/// How much it matters. The one scale of the system.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    #[default]
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text)
    }
}

/// One decoded event. `data` is held twice: parsed for rules, and as its JSON text, so that a delivery carries it
/// without writing it anew.
#[derive(Debug, Clone)]
pub struct Event {
    pub workspace: WorkspaceId,
    pub source: String,
    pub id: String,
    pub event_type: EventType,
    pub time: Timestamp,
    pub severity: Option<Severity>,
    /// W3C trace context of the producer.
    pub traceparent: Option<String>,
    /// What tracing systems add to it.
    pub tracestate: Option<String>,
    /// The other CloudEvents attributes, by name.
    pub attributes: BTreeMap<String, String>,
    pub data: Value,
    pub data_json: Arc<RawValue>,
}

/// What a delivery and its history keep of their event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRef {
    pub id: String,
    pub source: String,
    #[serde(rename = "type")]
    pub event_type: EventType,
    pub time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// How often it went out through a webhook and came in again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hops: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Event {
    #[must_use]
    pub fn reference(&self) -> EventRef {
        EventRef {
            id: self.id.clone(),
            source: self.source.clone(),
            event_type: self.event_type.clone(),
            time: self.time,
            traceparent: self.traceparent.clone(),
            tracestate: self.tracestate.clone(),
            hops: self.attributes.get(HOPS).and_then(|hops| hops.parse().ok()).unwrap_or(0),
        }
    }

    /// The trace context that it came with, by the names of its headers and attributes.
    pub fn trace_context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let both = [("traceparent", &self.traceparent), ("tracestate", &self.tracestate)];
        both.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    /// True for the events that Bugle emits about itself; only rules that name their first segment literally see them.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.source == OWN_SOURCE || self.event_type.is_own()
    }
}

impl EventRef {
    /// As [`Event::is_own`].
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.source == OWN_SOURCE || self.event_type.is_own()
    }
}

impl Facts for Event {
    fn data(&self) -> &Value {
        &self.data
    }

    fn envelope(&self, name: &str) -> Option<Cow<'_, Value>> {
        let text = match name {
            "id" => self.id.clone(),
            "type" => self.event_type.as_str().to_owned(),
            "source" => self.source.clone(),
            "time" => self.time.to_string(),
            "workspace" => self.workspace.as_str().to_owned(),
            "severity" => self.severity?.as_str().to_owned(),
            "traceparent" => self.traceparent.clone()?,
            other => self.attributes.get(other)?.clone(),
        };
        Some(Cow::Owned(Value::String(text)))
    }
}

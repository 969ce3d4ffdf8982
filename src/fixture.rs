//! Fixtures: events, and what rules must make of them, for the tests of whoever writes rules. They need no server.
//!
//! The rules run on the router's own code, with windows in memory. Nothing depends on the machine: an event without a time
//! happens at [`NOON`], and a channel that is `auto` is on.

mod compare;
pub mod report;
mod run;

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::channel::ChannelSpec;
use crate::documents::{DocumentFile, checked_file, strict};
use crate::event::{Event, Severity};
use crate::explain::Would;
use crate::ids::{ChannelId, Recipient, RuleId, WorkspaceId};
use crate::outcome::Reason;
use crate::publish;
use crate::rule::RuleSpec;
use crate::rule::fault::Fault;
use crate::rule::scope::ScopeSpec;
use crate::source::SourceSpec;
pub use run::Bench;

/// When events happen that say nothing else: Monday, 1 January 2024, 12:00 UTC.
pub const NOON: Timestamp = Timestamp::constant(1_704_110_400, 0);
/// The source of an event that names none.
const SOURCE: &str = "bugle:test";

/// A file of fixtures.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FixtureFile {
    /// For editors; nothing else reads it.
    #[serde(default, rename = "$schema")]
    pub schema: Option<String>,
    /// Files of documents, relative to this one.
    #[serde(default)]
    pub documents: Vec<PathBuf>,
    /// A file of default texts, as `router.texts` names one, relative to this one.
    #[serde(default)]
    pub texts: Option<PathBuf>,
    /// The workspace of the events, and of the documents that stand here.
    #[serde(default)]
    pub workspace: WorkspaceId,
    /// Beside those of the files.
    #[serde(default)]
    pub channels: Vec<ChannelSpec>,
    #[serde(default)]
    pub rules: Vec<RuleSpec>,
    #[serde(default)]
    pub scopes: Vec<ScopeSpec>,
    /// Those that let events bring rules count.
    #[serde(default)]
    pub sources: Vec<SourceSpec>,
    #[schemars(length(min = 1))]
    pub tests: Vec<TestSpec>,
}

/// One event with what is expected of it, or several in their order.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestSpec {
    /// A sentence that states a fact.
    pub name: String,
    #[serde(default)]
    #[schemars(schema_with = "event_schema")]
    pub event: Option<Map<String, Value>>,
    /// When the broker stores it; Monday, 1 January 2024, 12:00 UTC when left out.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub at: Option<Timestamp>,
    /// All that would be sent or fail; what is suppressed may be listed. Empty: nothing goes out.
    #[serde(default)]
    pub expect: Option<Vec<Expected>>,
    /// In place of `event`, `at` and `expect`: several events, which meet the windows that those before them opened.
    #[serde(default)]
    pub events: Option<Vec<StepSpec>>,
}

/// One of several events.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepSpec {
    /// When the broker stores it.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub at: Option<Timestamp>,
    /// So long after the event before it; in place of `at`.
    #[serde(default)]
    pub after_ms: Option<u64>,
    #[schemars(schema_with = "event_schema")]
    pub event: Map<String, Value>,
    /// All that would be sent or fail; what is suppressed may be listed. Empty: nothing goes out.
    pub expect: Vec<Expected>,
}

/// A delivery that there must be. What is left out may be anything.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    pub rule: RuleId,
    pub channel: ChannelId,
    /// `task:T-17`, `mission:release-2` or `global`.
    #[serde(default)]
    pub scope: Option<String>,
    #[serde(default)]
    pub recipient: Option<Recipient>,
    #[serde(default = "send")]
    pub would: Would,
    /// Why it is suppressed, or fails.
    #[serde(default)]
    pub reason: Option<Reason>,
    #[serde(default)]
    pub severity: Option<Severity>,
    #[serde(default)]
    pub title: Option<String>,
    /// As Markdown or as plain text.
    #[serde(default)]
    pub body: Option<String>,
    #[serde(default)]
    pub link: Option<String>,
}

fn send() -> Would {
    Would::Send
}

fn event_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "description": "`{type, data, …}` or a CloudEvent in JSON.",
        "properties": {
            "type": { "type": "string" },
            "data": {},
            "id": { "type": "string" },
            "source": { "type": "string" },
            "time": { "type": "string", "format": "date-time" },
            "severity": { "enum": ["info", "warning", "critical"] },
        },
        "required": ["type"],
        // Other attributes.
        "additionalProperties": true,
    })
}

/// A test that can run.
#[derive(Debug)]
struct Test {
    name: String,
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    at: Timestamp,
    event: Event,
    expect: Vec<Expected>,
}

/// A file of fixtures, and the documents that stand in it.
///
/// # Errors
/// The place and the fault.
pub fn read(value: Value) -> Result<(FixtureFile, DocumentFile), Fault> {
    let inline: Map<String, Value> = ["workspace", "channels", "rules", "scopes", "sources"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), value.get(name)?.clone())))
        .collect();
    let file: FixtureFile = strict(value)?;
    if file.tests.is_empty() {
        return Err(Fault::new("/tests", "is empty: at least one is needed"));
    }
    Ok((file, checked_file(inline.into())?))
}

fn test(workspace: &WorkspaceId, spec: TestSpec) -> Result<Test, Fault> {
    let steps = match (spec.event, spec.expect, spec.events) {
        (Some(event), Some(expect), None) => {
            vec![step(workspace, 0, StepSpec { at: spec.at, after_ms: None, event, expect }, NOON)?]
        }
        (None, None, Some(events)) if spec.at.is_none() => steps(workspace, events)?,
        _ => return Err(Fault::here("has `event` and `expect`, or `events` alone")),
    };
    Ok(Test { name: spec.name, steps })
}

fn steps(workspace: &WorkspaceId, specs: Vec<StepSpec>) -> Result<Vec<Step>, Fault> {
    if specs.is_empty() {
        return Err(Fault::new("/events", "is empty: at least one is needed"));
    }
    let (mut steps, mut before) = (Vec::new(), NOON);
    for (index, spec) in specs.into_iter().enumerate() {
        let place = format!("/events/{index}");
        let first = index == 0;
        let step = step(workspace, index, spec, before).map_err(|fault| fault.below(&place))?;
        if step.at < before && !first {
            return Err(Fault::new(place, format!("happens before the event before it, at {before}")));
        }
        before = step.at;
        steps.push(step);
    }
    Ok(steps)
}

fn step(workspace: &WorkspaceId, index: usize, spec: StepSpec, before: Timestamp) -> Result<Step, Fault> {
    let at = match (spec.at, spec.after_ms) {
        (Some(_), Some(_)) => return Err(Fault::here("has `at` and `afterMs`: one of them is allowed")),
        (Some(at), None) => at,
        (None, after_ms) => {
            let after = SignedDuration::from_millis(after_ms.unwrap_or(0).try_into().unwrap_or(i64::MAX));
            before.checked_add(after).map_err(|error| Fault::new("/afterMs", error.to_string()))?
        }
    };
    let mut fields = spec.event;
    let mut default = |name: &str, value: String| {
        fields.entry(name).or_insert(Value::String(value));
    };
    default("id", format!("event-{}", index + 1));
    default("source", SOURCE.to_owned());
    default("time", at.to_string());
    let event = publish::imagined(workspace, fields)
        .map_err(|error| Fault::new(error.pointer(), error.to_string()).below("/event"))?;
    Ok(Step { at, event, expect: spec.expect })
}

#[cfg(test)]
mod tests;

//! A rule: event patterns and a condition, and what to do when both hold. Parsed and compiled when it is written.
//!
//! A rule that could fail while it runs is refused here, with the place of the fault; running never skips one.

pub mod condition;
pub mod fault;
pub mod hours;
pub mod pattern;
pub mod scope;
pub mod template_spec;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{Event, Severity};
use crate::ids::{ChannelId, Recipient, RuleId};
use crate::route::template::Template;
use condition::{Condition, Path};
use fault::{Fault, field_pointer};
use hours::{Hours, HoursSpec};
use pattern::Pattern;
use template_spec::Templates;

/// Longer windows than this are a switch, not a cooldown.
const WINDOW_MS_MAX: u64 = 365 * 24 * 3600 * 1000;
const LIST_MAX: usize = 100;
const LABELS_MAX: usize = 50;
const LABEL_NAME_BYTES_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 256;

/// A rule's document, as files, the API and the bucket hold it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleSpec {
    pub id: RuleId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Patterns of event types: `*` alone is every type, `task:*` one segment more, `sla:**` any number.
    #[schemars(length(min = 1, max = LIST_MAX), inner(length(min = 1, max = pattern::PATTERN_BYTES_MAX)))]
    pub events: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Condition>")]
    pub condition: Option<Value>,
    #[schemars(length(min = 1, max = LIST_MAX))]
    pub channels: Vec<ChannelId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// One delivery for each, on channels that address people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = LIST_MAX), inner(length(min = 1)))]
    pub recipients: Vec<String>,
    /// After it fired, it stays quiet for this long; what it holds back is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = WINDOW_MS_MAX))]
    pub cooldown_ms: Option<u64>,
    /// A template: one cooldown for each text that it renders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown_key: Option<String>,
    /// What says the same as an earlier event goes out once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe: Option<DedupeSpec>,
    /// What tells of the same thing is shown as one, by whoever can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse: Option<CollapseSpec>,
    /// Outside of these it holds back what it would have sent, and records that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_hours: Option<HoursSpec>,
    /// It reaches its recipients whatever they prefer: it is not muted, and waits for no quiet hours.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mandatory: bool,
    /// From then on it is as if it were switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub expires_at: Option<Timestamp>,
    /// For people and lists; routing does not look at them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Texts in place of the default ones: see [`template_spec`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "template_spec::schema")]
    pub template: Option<Value>,
    /// The path to a list of attachments in the event's data, like `report.files`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachments: Option<String>,
}

/// Events that render the same key within the window are one; one that renders an empty key is like no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DedupeSpec {
    /// A template, not empty.
    #[schemars(length(min = 1))]
    pub key: String,
    #[schemars(range(min = 1, max = WINDOW_MS_MAX))]
    pub window_ms: u64,
}

/// Events that render the same key are one thing; one that renders an empty key is like no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollapseSpec {
    /// A template, not empty.
    #[schemars(length(min = 1))]
    pub key: String,
    /// Counted from the first; without it they stay one for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = WINDOW_MS_MAX))]
    pub window_ms: Option<u64>,
}

fn yes() -> bool {
    true
}

/// A rule ready to run.
#[derive(Debug)]
pub struct Rule {
    pub id: RuleId,
    pub enabled: bool,
    pub patterns: Vec<Pattern>,
    pub condition: Option<Condition>,
    pub channels: Vec<ChannelId>,
    pub severity: Option<Severity>,
    pub recipients: Vec<Recipients>,
    pub cooldown: Option<Cooldown>,
    pub dedupe: Option<Dedupe>,
    pub collapse: Option<Collapse>,
    pub hours: Option<Hours>,
    pub mandatory: bool,
    pub expires_at: Option<Timestamp>,
    pub templates: Templates,
    pub attachments: Option<Path>,
}

/// Whom an entry of `recipients` names.
#[derive(Debug)]
pub enum Recipients {
    One(Recipient),
    /// What it renders is a list, with commas.
    List(Template),
}

#[derive(Debug)]
pub struct Cooldown {
    pub window: Duration,
    /// None: one window for the whole rule.
    pub key: Option<Template>,
}

#[derive(Debug, Clone)]
pub struct Collapse {
    /// None: for ever.
    pub window: Option<Duration>,
    pub key: Template,
}

#[derive(Debug, Clone)]
pub struct Dedupe {
    pub window: Duration,
    pub key: Template,
}

impl Rule {
    /// # Errors
    /// The place and the fault, as a JSON pointer into the document.
    pub fn compile(spec: &RuleSpec) -> Result<Self, Fault> {
        bounded("/events", spec.events.len(), 1)?;
        bounded("/channels", spec.channels.len(), 1)?;
        bounded("/recipients", spec.recipients.len(), 0)?;
        let mut patterns = Vec::new();
        for (index, text) in spec.events.iter().enumerate() {
            let place = || format!("/events/{index}");
            patterns.push(Pattern::parse(text).map_err(|error| Fault::new(place(), error.to_string()))?);
        }
        let condition = spec.condition.as_ref().map(Condition::parse).transpose();
        let hours = spec.active_hours.as_ref().map(Hours::compile).transpose();
        check_labels(&spec.labels)?;
        let mut recipients = Vec::new();
        for (index, text) in spec.recipients.iter().enumerate() {
            recipients.push(recipient(text).map_err(|fault| fault.below(&format!("/recipients/{index}")))?);
        }
        let templates = spec.template.as_ref().map(Templates::compile).transpose();
        let attachments = spec.attachments.as_deref().map(Path::parse).transpose();
        Ok(Self {
            id: spec.id.clone(),
            enabled: spec.enabled,
            patterns,
            condition: condition.map_err(|fault| fault.below("/condition"))?,
            channels: distinct(&spec.channels),
            severity: spec.severity,
            recipients,
            cooldown: cooldown(spec)?,
            dedupe: spec.dedupe.as_ref().map(dedupe).transpose()?,
            collapse: spec.collapse.as_ref().map(collapse).transpose()?,
            hours: hours.map_err(|fault| fault.below("/activeHours"))?,
            mandatory: spec.mandatory,
            expires_at: spec.expires_at,
            templates: templates.map_err(|fault| fault.below("/template"))?.unwrap_or_default(),
            attachments: attachments.map_err(|error| Fault::new("/attachments", error.to_string()))?,
        })
    }

    /// True unless it is switched off or its time is over.
    #[must_use]
    pub fn is_on(&self, at: Timestamp) -> bool {
        self.enabled && self.expires_at.is_none_or(|end| at < end)
    }

    /// True when one of the patterns matches and, for the events that Bugle emits about itself, names them literally.
    #[must_use]
    pub fn matches_type(&self, event: &Event) -> bool {
        let own = event.is_own();
        let matches = |pattern: &Pattern| pattern.matches(event.event_type.as_str());
        self.patterns.iter().any(|pattern| (!own || pattern.starts_literally()) && matches(pattern))
    }
}

fn bounded(place: &str, found: usize, min: usize) -> Result<(), Fault> {
    if found < min {
        return Err(Fault::new(place, "is empty: at least one is needed"));
    }
    if found > LIST_MAX {
        return Err(Fault::new(place, format!("has {found} entries: at most {LIST_MAX} are allowed")));
    }
    Ok(())
}

fn template(place: &str, text: Option<&str>) -> Result<Option<Template>, Fault> {
    text.map(Template::compile).transpose().map_err(|fault| fault.below(place))
}

/// A literal recipient is checked now, a templated one when it is rendered.
fn recipient(text: &str) -> Result<Recipients, Fault> {
    if text.contains("{{") || text.contains("{%") {
        return Template::compile(text).map(Recipients::List);
    }
    Recipient::parse(text.trim()).map(Recipients::One).map_err(|error| Fault::new("", error.to_string()))
}

fn cooldown(spec: &RuleSpec) -> Result<Option<Cooldown>, Fault> {
    let key = template("/cooldownKey", spec.cooldown_key.as_deref())?;
    match spec.cooldown_ms {
        None if key.is_some() => Err(Fault::new("/cooldownKey", "needs cooldownMs beside it")),
        None | Some(0) => Ok(None),
        Some(ms) => Ok(Some(Cooldown { window: window("/cooldownMs", ms)?, key })),
    }
}

fn dedupe(spec: &DedupeSpec) -> Result<Dedupe, Fault> {
    let key = key("/dedupe/key", &spec.key)?;
    Ok(Dedupe { window: positive("/dedupe/windowMs", spec.window_ms)?, key })
}

fn collapse(spec: &CollapseSpec) -> Result<Collapse, Fault> {
    let key = key("/collapse/key", &spec.key)?;
    let window = spec.window_ms.map(|ms| positive("/collapse/windowMs", ms)).transpose()?;
    Ok(Collapse { window, key })
}

/// An event whose key is empty is like no other: an empty template would never do anything.
fn key(place: &str, text: &str) -> Result<Template, Fault> {
    if text.trim().is_empty() {
        return Err(Fault::new(place, "is empty: a template is needed, such as `{{ task.id }}`"));
    }
    Template::compile(text).map_err(|fault| fault.below(place))
}

pub(crate) fn positive(place: &str, ms: u64) -> Result<Duration, Fault> {
    if ms == 0 {
        return Err(Fault::new(place, "must be more than 0"));
    }
    window(place, ms)
}

fn window(place: &str, ms: u64) -> Result<Duration, Fault> {
    if ms > WINDOW_MS_MAX {
        return Err(Fault::new(place, format!("{ms} is more than a year ({WINDOW_MS_MAX})")));
    }
    Ok(Duration::from_millis(ms))
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Fault> {
    if labels.len() > LABELS_MAX {
        return Err(Fault::new(
            "/labels",
            format!("has {} entries: at most {LABELS_MAX} are allowed", labels.len()),
        ));
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    for (name, value) in labels {
        let place = || format!("/labels{}", field_pointer(name));
        if name.is_empty() || name.len() > LABEL_NAME_BYTES_MAX || !name.bytes().all(legal) {
            let message = format!(
                "a label's name has 1 to {LABEL_NAME_BYTES_MAX} of A-Z, a-z, 0-9, `.`, `_`, `-` and `/`"
            );
            return Err(Fault::new(place(), message));
        }
        if value.len() > LABEL_BYTES_MAX || value.chars().any(char::is_control) {
            let message = format!("a label has at most {LABEL_BYTES_MAX} bytes and no control characters");
            return Err(Fault::new(place(), message));
        }
    }
    Ok(())
}

fn distinct(channels: &[ChannelId]) -> Vec<ChannelId> {
    let mut seen = Vec::with_capacity(channels.len());
    for channel in channels {
        if !seen.contains(channel) {
            seen.push(channel.clone());
        }
    }
    seen
}

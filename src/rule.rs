//! A rule: event patterns and a condition, and what to do when both hold. Parsed and compiled when it is written.
//!
//! A rule that could fail while it runs is refused here, with the place of the fault; running never skips one.

pub mod condition;
pub mod fault;
pub mod pattern;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{Event, Severity};
use crate::ids::{ChannelId, Recipient, RuleId};
use crate::route::template::Template;
use condition::Condition;
use fault::Fault;
use pattern::Pattern;

/// Longer windows than this are a switch, not a cooldown.
const COOLDOWN_MS_MAX: u64 = 365 * 24 * 3600 * 1000;
const LIST_MAX: usize = 100;

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
    #[schemars(range(max = COOLDOWN_MS_MAX))]
    pub cooldown_ms: Option<u64>,
    /// A template: one cooldown for each text that it renders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateSpec>,
}

/// A text is the body alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TemplateSpec {
    Body(String),
    Parts(TemplateParts),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateParts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
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
    pub recipients: Vec<Template>,
    pub cooldown: Option<Cooldown>,
    pub title: Option<Template>,
    pub body: Option<Template>,
    pub link: Option<Template>,
}

#[derive(Debug)]
pub struct Cooldown {
    pub window: Duration,
    /// None: one window for the whole rule.
    pub key: Option<Template>,
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
        let mut recipients = Vec::new();
        for (index, text) in spec.recipients.iter().enumerate() {
            recipients.push(recipient(text).map_err(|fault| fault.below(&format!("/recipients/{index}")))?);
        }
        let parts = match &spec.template {
            None => TemplateParts::default(),
            Some(TemplateSpec::Body(body)) => {
                TemplateParts { body: Some(body.clone()), ..TemplateParts::default() }
            }
            Some(TemplateSpec::Parts(parts)) => parts.clone(),
        };
        let body_place =
            if matches!(spec.template, Some(TemplateSpec::Body(_))) { "/template" } else { "/template/body" };
        Ok(Self {
            id: spec.id.clone(),
            enabled: spec.enabled,
            patterns,
            condition: condition.map_err(|fault| fault.below("/condition"))?,
            channels: distinct(&spec.channels),
            severity: spec.severity,
            recipients,
            cooldown: cooldown(spec)?,
            title: template("/template/title", parts.title.as_deref())?,
            body: template(body_place, parts.body.as_deref())?,
            link: template("/template/link", parts.link.as_deref())?,
        })
    }

    /// True when one of the patterns matches and, for the events that Bugle emits about itself, names them literally.
    #[must_use]
    pub fn matches_type(&self, event: &Event) -> bool {
        let own = event.is_own();
        let matches = |pattern: &Pattern| pattern.matches(event.event_type.as_str());
        self.patterns.iter().any(|pattern| (!own || pattern.names_own_events()) && matches(pattern))
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
fn recipient(text: &str) -> Result<Template, Fault> {
    if !text.contains("{{") && !text.contains("{%") {
        Recipient::parse(text).map_err(|error| Fault::new("", error.to_string()))?;
    }
    Template::compile(text)
}

fn cooldown(spec: &RuleSpec) -> Result<Option<Cooldown>, Fault> {
    let key = template("/cooldownKey", spec.cooldown_key.as_deref())?;
    match spec.cooldown_ms {
        None if key.is_some() => Err(Fault::new("/cooldownKey", "needs cooldownMs beside it")),
        None | Some(0) => Ok(None),
        Some(ms) if ms > COOLDOWN_MS_MAX => {
            Err(Fault::new("/cooldownMs", format!("{ms} is more than a year ({COOLDOWN_MS_MAX})")))
        }
        Some(ms) => Ok(Some(Cooldown { window: Duration::from_millis(ms), key })),
    }
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

//! Times at which a recipient wants to be left alone: hours that come again, and a moment until which they snooze.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Facts, PreferencesSpec};
use crate::channel::Kind;
use crate::documents::kinds;
use crate::event::Severity;
use crate::rule::fault::Fault;
use crate::rule::hours::{self, WindowSpec, Windows};

/// As a recipient's document has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuietHoursSpec {
    /// An IANA name; without it that of the recipient's document, or UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// It is quiet in any of them.
    #[schemars(length(min = 1))]
    pub windows: Vec<WindowSpec>,
    /// Kinds of channels that are quiet; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub channels: Option<Vec<String>>,
    /// What is critical goes out all the same.
    #[serde(default = "yes")]
    pub allow_critical: bool,
}

/// What is meant by `snoozedUntil`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnoozeSpec {
    /// Kinds of channels that are quiet; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub channels: Option<Vec<String>>,
    /// What is critical goes out all the same.
    #[serde(default = "yes")]
    pub allow_critical: bool,
}

fn yes() -> bool {
    true
}

/// What they are about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reach {
    /// None: all.
    kinds: Option<Vec<Kind>>,
    allow_critical: bool,
}

impl Reach {
    fn of(channels: Option<&[String]>, allow_critical: bool) -> Self {
        let known = |words: &[String]| words.iter().filter_map(|word| Kind::parse(word)).collect();
        Self { kinds: channels.map(known), allow_critical }
    }

    fn has(&self, facts: &Facts<'_>) -> bool {
        let passes = self.allow_critical && facts.severity == Severity::Critical;
        !passes && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&facts.kind))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quiet {
    /// None: the recipient's own.
    zone: Option<TimeZone>,
    windows: Windows,
    reach: Reach,
}

impl Quiet {
    pub fn compile(spec: &QuietHoursSpec) -> Result<Self, Fault> {
        let zone = spec.time_zone.as_deref().map(hours::zone).transpose();
        Ok(Self {
            zone: zone.map_err(|fault| fault.below("/timeZone"))?,
            windows: Windows::compile(&spec.windows)?,
            reach: Reach::of(spec.channels.as_deref(), spec.allow_critical),
        })
    }

    pub fn needs_zone(&self) -> bool {
        self.zone.is_none()
    }

    /// When they end, where it is quiet at that moment.
    pub fn end(&self, zone: &TimeZone, facts: &Facts<'_>, at: Timestamp) -> Option<Timestamp> {
        let zone = self.zone.as_ref().unwrap_or(zone);
        if !self.reach.has(facts) || !self.windows.contain(at, zone) {
            return None;
        }
        // Such as never end are refused when they are written: they hold nothing.
        self.windows.end(at, zone)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snooze {
    until: Timestamp,
    reach: Reach,
}

impl Snooze {
    pub fn of(spec: &PreferencesSpec) -> Option<Self> {
        let reach = match &spec.snooze {
            Some(snooze) => Reach::of(snooze.channels.as_deref(), snooze.allow_critical),
            None => Reach::of(None, true),
        };
        Some(Self { until: spec.snoozed_until?, reach })
    }

    pub fn end(&self, facts: &Facts<'_>, at: Timestamp) -> Option<Timestamp> {
        (self.until > at && self.reach.has(facts)).then_some(self.until)
    }
}

pub(super) fn check(spec: &QuietHoursSpec) -> Result<(), Fault> {
    let quiet = Quiet::compile(spec)?;
    if quiet.windows.never_end() {
        let message = "never end: leave a minute of the week outside, or mute what you do not want";
        return Err(Fault::new("/windows", message));
    }
    check_channels(spec.channels.as_deref())
}

pub(super) fn check_snooze(spec: &SnoozeSpec) -> Result<(), Fault> {
    check_channels(spec.channels.as_deref())
}

/// An empty list reads like none, and would have to mean all: it is neither.
fn check_channels(words: Option<&[String]>) -> Result<(), Fault> {
    let Some(words) = words else { return Ok(()) };
    if words.is_empty() {
        return Err(Fault::new("/channels", "is empty: name a kind, or leave it out for all of them"));
    }
    match words.iter().position(|word| Kind::parse(word).is_none()) {
        None => Ok(()),
        Some(index) => {
            let message = format!("{:?} is none of {}", words[index], kinds());
            Err(Fault::new(format!("/channels/{index}"), message))
        }
    }
}

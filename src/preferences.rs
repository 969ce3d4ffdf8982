//! What a recipient wants to hear of, through which channels and when: their document, and what it says of a delivery.
//!
//! Pure: what is asked is [`Preferences::judge`], with the moment as an argument. What may not be muted (a rule or a type
//! that is `mandatory`) is never asked about.

mod quiet;
mod rows;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::channel::Kind;
use crate::delivery::{Consent, Delivery};
use crate::event::Severity;
use crate::ids::Recipient;
use crate::outcome::{Reason, State, Verdict};
use crate::rule::fault::Fault;
use quiet::{Quiet, Snooze};
pub use quiet::{QuietHoursSpec, SnoozeSpec};
use rows::Rows;
pub use rows::{PreferenceSpec, Row};

/// So many rows say more than anybody has types, projects and channels.
pub const ROWS_MAX: usize = 500;
/// Whoever wants to hear nothing for longer mutes it.
const SNOOZE_MAX: SignedDuration = SignedDuration::from_hours(366 * 24);
/// A broadcast is for everybody, and nobody's preferences are everybody's.
pub const EVERYBODY: &str = "*";

/// A recipient's document, as the API and the bucket hold it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreferencesSpec {
    pub recipient: Recipient,
    /// What is on and what is off; of those that fit the most specific one counts, and what none fits is on.
    #[serde(default)]
    #[schemars(length(max = ROWS_MAX))]
    pub preferences: Vec<PreferenceSpec>,
    /// What comes in these hours waits for their end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHoursSpec>,
    /// What comes before this moment waits for it, at most a year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub snoozed_until: Option<Timestamp>,
    /// What is meant by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snooze: Option<SnoozeSpec>,
}

/// What is asked about a delivery.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub event_type: &'a str,
    pub project: Option<&'a str>,
    pub kind: Kind,
    pub severity: Severity,
    pub mandatory: bool,
}

impl<'a> Facts<'a> {
    /// None for a delivery without a channel.
    #[must_use]
    pub fn of(delivery: &'a Delivery) -> Option<Self> {
        Some(Self {
            event_type: delivery.event.event_type.as_str(),
            project: delivery.project.as_deref(),
            kind: delivery.kind?,
            severity: delivery.severity,
            mandatory: delivery.consent == Consent::NotNeeded,
        })
    }
}

/// Whom a delivery's preferences are asked of: nobody, where it is for nobody, for everybody, or passes whatever they say.
#[must_use]
pub fn asked(delivery: &Delivery) -> Option<&Recipient> {
    delivery
        .recipient
        .as_ref()
        .filter(|to| to.as_str() != EVERYBODY && delivery.consent != Consent::NotNeeded)
}

/// What a recipient's preferences say of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    Pass,
    /// They do not want it, by this row.
    Muted(Row),
    Hold(Hold),
}

/// They want it later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    pub until: Timestamp,
    /// [`Reason::QuietHours`] or [`Reason::Snoozed`].
    pub reason: Reason,
}

impl Hold {
    /// True for what waits until its recipient wants to hear of it.
    #[must_use]
    pub const fn explains(reason: Reason) -> bool {
        matches!(reason, Reason::QuietHours | Reason::Snoozed)
    }

    /// For the history.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        let why = if self.reason == Reason::Snoozed { "snoozed" } else { "has quiet hours" };
        let detail = format!("the recipient {why}: it waits until {}", self.until);
        Verdict { next_at: Some(self.until), ..Verdict::new(State::Scheduled, self.reason).detail(detail) }
    }
}

/// Ready to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preferences {
    rows: Rows,
    quiet: Option<Quiet>,
    snooze: Option<Snooze>,
}

impl Preferences {
    /// Of what the bucket holds; what this version does not know counts as if it were not there.
    #[must_use]
    pub fn of(spec: &PreferencesSpec) -> Self {
        let quiet = spec.quiet_hours.as_ref().and_then(|hours| Quiet::compile(hours).ok());
        Self { rows: Rows::of(&spec.preferences), quiet, snooze: Snooze::of(spec) }
    }

    /// True when its quiet hours go by the clock on the recipient's own wall.
    #[must_use]
    pub fn needs_zone(&self) -> bool {
        self.quiet.as_ref().is_some_and(Quiet::needs_zone)
    }

    /// What they say of a delivery at this moment. `zone` is the recipient's own.
    #[must_use]
    pub fn judge(&self, zone: &TimeZone, facts: &Facts<'_>, now: Timestamp) -> Judgement {
        if facts.mandatory {
            return Judgement::Pass;
        }
        if let Some(row) = self.rows.mutes(facts) {
            return Judgement::Muted(row);
        }
        let snoozed = self.snooze.as_ref().and_then(|snooze| snooze.end(facts, now));
        // Whoever wakes up in quiet hours waits for their end.
        let awake = snoozed.unwrap_or(now);
        let quiet = self.quiet.as_ref().and_then(|quiet| quiet.end(zone, facts, awake));
        match (snoozed, quiet) {
            (None, None) => Judgement::Pass,
            (None, Some(until)) => Judgement::Hold(Hold { until, reason: Reason::QuietHours }),
            (Some(until), later) => {
                Judgement::Hold(Hold { until: later.unwrap_or(until), reason: Reason::Snoozed })
            }
        }
    }
}

/// Checks preferences as they are written, and gives them their one form: `a.b` is the type `a:b`.
///
/// # Errors
/// The place and the fault.
pub fn checked(mut spec: PreferencesSpec, now: Timestamp) -> Result<PreferencesSpec, Fault> {
    if spec.recipient.as_str() == EVERYBODY {
        return Err(Fault::new("/recipient", "is everybody: only a recipient has preferences"));
    }
    rows::check(&mut spec.preferences)?;
    if let Some(hours) = &spec.quiet_hours {
        quiet::check(hours).map_err(|fault| fault.below("/quietHours"))?;
    }
    if let Some(snooze) = &spec.snooze {
        quiet::check_snooze(snooze).map_err(|fault| fault.below("/snooze"))?;
    }
    let last = now.checked_add(SNOOZE_MAX).unwrap_or(Timestamp::MAX);
    if spec.snoozed_until.is_some_and(|until| until > last) {
        return Err(Fault::new("/snoozedUntil", "is more than a year ahead: mute what you do not want"));
    }
    Ok(spec)
}

/// The preferences with one row set beside the others, or in the place of the one for the same.
///
/// # Errors
/// The place and the fault in the row.
pub fn with_row(mut spec: PreferencesSpec, row: PreferenceSpec) -> Result<PreferencesSpec, Fault> {
    let mut row = [row];
    rows::check(&mut row)
        .map_err(|fault| Fault::new(fault.pointer.replace("/preferences/0", ""), fault.message))?;
    let [row] = row;
    match spec.preferences.iter_mut().find(|other| other.is_for_the_same(&row)) {
        Some(other) => *other = row,
        None => spec.preferences.push(row),
    }
    Ok(spec)
}

#[cfg(test)]
mod tests;

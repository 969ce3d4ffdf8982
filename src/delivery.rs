//! A delivery: one event × one rule × one channel (× one recipient), as it travels to a worker.
//!
//! It carries all that an attempt needs but the channel's own configuration: rendered texts, the event's data, and the
//! number of the attempt, since the broker forgets counts whenever a timer moves a message.

mod begin;
mod consent;

use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::attachment::Attachment;
use crate::channel::Kind;
use crate::channel::markdown::{Document, literal};
use crate::device::reach::Reach;
use crate::event::{EventRef, Severity};
use crate::ids::{ChannelId, DeliveryId, Recipient, RuleId, WorkspaceId};
use crate::outcome::Reason;
pub use consent::Consent;

/// A button that opens a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, utoipa::ToSchema)]
pub struct Action {
    /// One line of 1 to 75 characters.
    pub label: String,
    /// http(s), or a path that begins with `/`.
    pub url: String,
}

/// What a body is written in.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Markdown,
    Html,
}

impl Format {
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "markdown" => Some(Self::Markdown),
            "html" => Some(Self::Html),
            _ => None,
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
    pub(crate) fn is_markdown(&self) -> bool {
        *self == Self::Markdown
    }
}

/// So many buttons every provider that has some shows.
pub const ACTIONS_MAX: usize = 5;
/// Slack's limit, the strictest.
pub const LABEL_CHARS_MAX: usize = 75;

/// The version of every message that one process writes for another. A reader refuses a newer one, aloud.
pub const ENVELOPE_VERSION: u16 = 1;

/// The version of a message of ours; None when it is no such message. It is looked at before anything else: what a newer
/// version means by its other fields is not known.
#[must_use]
pub fn envelope_version(payload: &[u8]) -> Option<u16> {
    #[derive(Deserialize)]
    struct Envelope {
        v: u16,
    }
    serde_json::from_slice(payload).ok().map(|Envelope { v }| v)
}

/// Of a body in HTML as the history keeps it.
const PLAIN_UNITS_MAX: usize = 10_000;

/// The scope of a rule that belongs to the whole workspace.
pub const GLOBAL_SCOPE: &str = "global";

/// Queues that cannot starve each other: each has consumers and slots of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// First attempts of severity `critical`.
    Urgent,
    /// Other first attempts.
    Normal,
    /// Everything that failed at least once, or was put off because its channel was not ready.
    Retry,
}

impl Lane {
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Retry];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
            Self::Retry => "retry",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    pub v: u16,
    pub id: DeliveryId,
    pub workspace: WorkspaceId,
    pub event: EventRef,
    /// None when it was sent without a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleId>,
    pub scope: String,
    pub channel: ChannelId,
    /// None when there is no such channel: a delivery like that is never queued, only kept among the dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Recipient>,
    pub severity: Severity,
    pub title: String,
    /// A small Markdown, unless `format` says otherwise; the channel renders it.
    pub body: String,
    #[serde(default, skip_serializing_if = "Format::is_markdown")]
    pub format: Format,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Buttons, in their order, where the channel has some; links elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
    /// Files that go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// The event's data, word for word.
    pub data: Arc<RawValue>,
    /// What went wrong on the way here without stopping it (a template that could not render).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How many like it the rule's cooldown held back since it let one through.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held_back: u64,
    /// What has the same one is shown as one thing, by whoever can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse_id: Option<String>,
    /// How long the window is that its thing is open for; None: as long as it is told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse_ms: Option<u64>,
    /// After this moment it is given up.
    pub expires_at: Timestamp,
    /// 1 for the first try; a redrive starts at 1 again.
    pub attempt: u32,
    /// How often an operator sent it again after it was given up.
    #[serde(default)]
    pub redrive: u32,
    /// Tries of this attempt that did not end it: they tell its outcomes apart.
    #[serde(default)]
    pub postponed: u32,
    /// What `postponed` was when the last step of a broadcast went well: waits grow by what came since.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stepped: u32,
    /// How often it was put off without a try, in a row.
    #[serde(default)]
    pub held: u32,
    /// The schedule it came from was cancelled: the worker records that and sends nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
    /// It was sent by somebody, not by a rule: the message that claims it first is tried, and no other one. A broker may
    /// fire a timer twice, and a caller repeat a request that was half done.
    #[serde(default, alias = "timed", skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// What it has of its channel's rate: without it, who comes when it is their turn would only get in line again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// The delivery that this one was made in place of, when its channel did not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The project that its event belongs to, where it is for somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(default, skip_serializing_if = "Consent::is_given")]
    pub consent: Consent,
    /// How far it has come among devices; None before its first try, and for channels that address none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Box<Reach>>,
}

/// A delivery in line for its channel's rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// When it got in line first.
    pub since: Timestamp,
    pub slots: Vec<Slot>,
}

/// A moment at which a limit has room for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slot {
    /// The limit as it was then: one that is another by now gives no slots of the old one.
    pub of: String,
    pub at: Timestamp,
}

/// Where a delivery of a fallback channel comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    pub delivery: DeliveryId,
    /// The channels that were tried before, the first one first.
    pub via: Vec<ChannelId>,
}

fn is_zero<T: Default + PartialEq>(count: &T) -> bool {
    *count == T::default()
}

impl Delivery {
    /// The queue it belongs in now.
    #[must_use]
    pub fn lane(&self) -> Lane {
        if self.reach.as_ref().is_some_and(|reach| reach.receipts.is_some()) {
            return Lane::Retry;
        }
        match (self.attempt, self.severity) {
            (2.., _) => Lane::Retry,
            (_, Severity::Critical) => Lane::Urgent,
            // What waits for its channel comes back in bursts: first attempts of other channels must not stand behind them.
            // Who waits for a turn of its own comes one by one, and stays where it is.
            (_, Severity::Info | Severity::Warning) if self.held > 0 => Lane::Retry,
            (_, Severity::Info | Severity::Warning) => Lane::Normal,
        }
    }

    /// True when some of its devices have it.
    #[must_use]
    pub fn has_reached_some(&self) -> bool {
        self.reach.as_ref().is_some_and(|reach| reach.reached > 0)
    }

    /// Its body in Markdown, as the history keeps all bodies: one in HTML without its styles.
    #[must_use]
    pub fn body_in_markdown(&self) -> String {
        match self.format {
            Format::Markdown => self.body.clone(),
            Format::Html => {
                let text = Document::of(self).to_plain(PLAIN_UNITS_MAX);
                literal(&text, &[Range { start: 0, end: text.len() }], false)
            }
        }
    }

    /// The same delivery on its next try.
    #[must_use]
    pub fn next_attempt(&self) -> Self {
        let attempt = self.attempt + 1;
        Self { attempt, postponed: 0, stepped: 0, held: 0, ..self.tried() }
    }

    /// The same attempt once more, after a try that cost none.
    #[must_use]
    pub fn postponed(&self) -> Self {
        Self { postponed: self.postponed.saturating_add(1), held: 0, ..self.tried() }
    }

    fn tried(&self) -> Self {
        Self { once: false, turn: None, consent: self.consent.kept(Consent::Given), ..self.clone() }
    }

    /// The same attempt for the devices that come next, after a step that went well.
    #[must_use]
    pub fn continued(&self) -> Self {
        let next = self.postponed();
        Self { stepped: next.postponed, ..next }
    }

    /// Tries in a row that cost no attempt: the provider or we ourselves were not ready.
    #[must_use]
    pub fn postponed_in_a_row(&self) -> u32 {
        self.postponed.saturating_sub(self.stepped)
    }

    /// The same try, put off once more before it was made.
    #[must_use]
    pub fn put_off(&self) -> Self {
        Self { held: self.held.saturating_add(1), once: false, turn: None, ..self.clone() }
    }

    /// The same try, at the moment until which its recipient wants to be left alone; it lives the longer for it.
    #[must_use]
    pub fn left_until(&self, moment: Timestamp, now: Timestamp) -> Self {
        let lives = self.expires_at.checked_add(moment.duration_since(now)).unwrap_or(Timestamp::MAX);
        Self {
            expires_at: lives.max(self.expires_at),
            consent: self.consent.kept(Consent::Open),
            once: false,
            turn: None,
            ..self.clone()
        }
    }

    /// The same once more: a step of its own in the history, for which no later wait is the longer.
    #[must_use]
    pub fn left_again(&self, moment: Timestamp, now: Timestamp) -> Self {
        let (postponed, stepped) = (self.postponed.saturating_add(1), self.stepped.saturating_add(1));
        Self { postponed, stepped, ..self.left_until(moment, now) }
    }

    /// The same try, when its turn comes.
    #[must_use]
    pub fn in_line(&self, turn: Turn) -> Self {
        Self { turn: Some(turn), once: false, ..self.clone() }
    }

    /// A delivery in place of this one, on another channel.
    #[must_use]
    pub fn handed_over(&self, channel: &ChannelId, kind: Kind, expires_at: Timestamp) -> Self {
        let mut via = self.origin.as_ref().map(|origin| origin.via.clone()).unwrap_or_default();
        via.push(self.channel.clone());
        Self {
            id: self.id.in_place(self.redrive, channel),
            channel: channel.clone(),
            kind: Some(kind),
            attempt: 1,
            redrive: 0,
            postponed: 0,
            stepped: 0,
            held: 0,
            cancelled: false,
            once: false,
            turn: None,
            consent: self.consent.kept(Consent::Open),
            origin: Some(Origin { delivery: self.id.clone(), via }),
            reach: None,
            expires_at,
            ..self.clone()
        }
    }

    /// What it was, without what it said and how far it came: small enough to be kept, whatever it was.
    #[must_use]
    pub fn cut(&self) -> Self {
        Self {
            body: String::new(),
            attachments: Vec::new(),
            data: RawValue::NULL.to_owned().into(),
            note: None,
            reach: None,
            ..self.clone()
        }
    }

    /// A new life for a delivery that was given up.
    #[must_use]
    pub fn redriven(&self, expires_at: Timestamp) -> Self {
        Self {
            attempt: 1,
            postponed: 0,
            stepped: 0,
            held: 0,
            redrive: self.redrive + 1,
            cancelled: false,
            once: false,
            turn: None,
            consent: self.consent.kept(Consent::Given),
            expires_at,
            ..self.clone()
        }
    }
}

/// A delivery given up, kept whole with its cause.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    pub v: u16,
    pub at: Timestamp,
    pub reason: Reason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub delivery: Delivery,
    /// It was too large to be kept: only what it was is left of it, and nothing of what it said but the title.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

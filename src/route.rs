//! Who gets what, and why not: the heart of Bugle, as a pure function of an event and what is written down.
//!
//! [`plan`] knows no clock, no network and no chance. A cooldown needs the fleet's memory, so a firing only says which
//! window it falls into; the handler asks the broker and then takes the firing or leaves it.

pub mod backlog;
pub mod handler;
pub mod ruleset;
pub mod template;
pub mod texts;
pub mod throttle;
mod wording;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::channel::{ChannelSpec, Enabled, Kind};
use crate::delivery::{Delivery, ENVELOPE_VERSION, GLOBAL_SCOPE};
use crate::event::{Event, Severity};
use crate::ids::{ChannelId, DeliveryKey, Recipient, WorkspaceId};
use crate::outcome::Reason;
use crate::rule::Rule;
use ruleset::RuleSet;
use texts::Texts;
use wording::{Text, Wording};

/// How long after its event a delivery is worth sending, unless its channel says otherwise.
pub const EXPIRES_IN: Duration = Duration::from_secs(24 * 3600);

/// The channels, as routing sees them.
pub type Channels = HashMap<(WorkspaceId, ChannelId), Arc<ChannelSpec>>;

/// A rule that fired for an event.
#[derive(Debug)]
pub struct Firing {
    /// The cooldown that it falls into.
    pub window: Option<Window>,
    pub steps: Vec<Step>,
}

/// One cooldown: while it lasts, nothing else that renders the same key goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub key: [String; 3],
    pub length: Duration,
}

/// What is to happen with one delivery.
#[derive(Debug)]
pub enum Step {
    Deliver(Delivery),
    /// Not sent, on purpose.
    Suppress(Delivery, Reason),
    /// Cannot be sent: straight to the dead letters.
    GiveUp(Delivery, Reason, String),
}

impl Step {
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        match self {
            Self::Deliver(delivery) | Self::Suppress(delivery, _) | Self::GiveUp(delivery, _, _) => delivery,
        }
    }
}

/// Every rule that fires, in the order of the rules' ids.
#[must_use]
pub fn plan(event: &Event, rules: &RuleSet, channels: &Channels, texts: &Texts) -> Vec<Firing> {
    let fires =
        |rule: &&Rule| rule.enabled && rule.condition.as_ref().is_none_or(|condition| condition.holds(event));
    rules
        .candidates(event)
        .into_iter()
        .filter(fires)
        .map(|rule| firing(event, rule, channels, texts))
        .collect()
}

fn firing(event: &Event, rule: &Rule, channels: &Channels, texts: &Texts) -> Firing {
    let severity = rule.severity.or(event.severity).unwrap_or_default();
    let mut wording = Wording::new(event, rule, texts, severity);
    let (recipients, bad_recipients) = recipients(event, rule);
    let mut steps = Vec::new();
    for id in &rule.channels {
        let spec = channels.get(&(event.workspace.clone(), id.clone())).map(Arc::as_ref);
        let per_recipient = spec.is_some_and(|spec| spec.kind.per_recipient());
        let addressed: Vec<Option<&Recipient>> = match (per_recipient, recipients.is_empty()) {
            (true, false) => recipients.iter().map(Some).collect(),
            _ => vec![None],
        };
        let text = wording.of(spec.map(|spec| spec.kind));
        for recipient in addressed {
            let draft = Draft { event, rule, severity, text, channel: id, recipient };
            steps.push(step(&draft, spec, &bad_recipients));
        }
    }
    Firing { window: window(event, rule), steps }
}

struct Draft<'a> {
    event: &'a Event,
    rule: &'a Rule,
    severity: Severity,
    text: &'a Text,
    channel: &'a ChannelId,
    recipient: Option<&'a Recipient>,
}

fn step(draft: &Draft<'_>, spec: Option<&ChannelSpec>, bad_recipients: &[String]) -> Step {
    let delivery = draft.delivery(spec, bad_recipients);
    match spec {
        None => {
            let detail =
                format!("rule {} names channel {}, which does not exist", draft.rule.id, draft.channel);
            Step::GiveUp(delivery, Reason::UnknownChannel, detail)
        }
        Some(spec) if spec.enabled != Enabled::On => Step::Suppress(delivery, Reason::ChannelDisabled),
        Some(_) => Step::Deliver(delivery),
    }
}

impl Draft<'_> {
    fn delivery(&self, spec: Option<&ChannelSpec>, bad_recipients: &[String]) -> Delivery {
        let key = DeliveryKey {
            workspace: &self.event.workspace,
            source: &self.event.source,
            event: &self.event.id,
            scope: GLOBAL_SCOPE,
            rule: Some(&self.rule.id),
            channel: self.channel,
            recipient: self.recipient,
        };
        let mut notes: Vec<&str> = self.text.notes.iter().map(String::as_str).collect();
        notes.extend(bad_recipients.iter().map(String::as_str));
        Delivery {
            v: ENVELOPE_VERSION,
            id: key.id(),
            workspace: self.event.workspace.clone(),
            event: self.event.reference(),
            rule: Some(self.rule.id.clone()),
            scope: GLOBAL_SCOPE.to_owned(),
            channel: self.channel.clone(),
            kind: spec.map(|spec| spec.kind),
            recipient: self.recipient.cloned(),
            severity: self.severity,
            title: self.text.title.clone(),
            body: self.text.body.clone(),
            link: self.text.link.clone(),
            data: self.event.data_json.clone(),
            note: (!notes.is_empty()).then(|| notes.join("; ")),
            expires_at: expiry(self.event.time, spec),
            attempt: 1,
            redrive: 0,
            postponed: 0,
            held: 0,
            cancelled: false,
            timed: false,
        }
    }
}

/// When a delivery made at `from` for this channel is no longer worth sending.
#[must_use]
pub fn expiry(from: Timestamp, spec: Option<&ChannelSpec>) -> Timestamp {
    let expires_in = spec.and_then(|spec| spec.expires_in_ms).map_or(EXPIRES_IN, Duration::from_millis);
    SignedDuration::try_from(expires_in)
        .ok()
        .and_then(|span| from.checked_add(span).ok())
        .unwrap_or(Timestamp::MAX)
}

/// The recipients that a rule names for an event, each once, and what is wrong with the others.
fn recipients(event: &Event, rule: &Rule) -> (Vec<Recipient>, Vec<String>) {
    let (mut found, mut bad) = (Vec::new(), Vec::new());
    for template in &rule.recipients {
        let parsed = template.render(event).map_err(|error| error.to_string());
        match parsed.and_then(|text| Recipient::parse(text.trim()).map_err(|error| error.to_string())) {
            Ok(recipient) if found.contains(&recipient) => {}
            Ok(recipient) => found.push(recipient),
            Err(error) => bad.push(format!("a recipient was left out: {error}")),
        }
    }
    (found, bad)
}

fn window(event: &Event, rule: &Rule) -> Option<Window> {
    let cooldown = rule.cooldown.as_ref()?;
    // A key that cannot render falls back to the rule's one window: quieter, never louder.
    let key = cooldown.key.as_ref().and_then(|key| key.render(event).ok()).unwrap_or_default();
    Some(Window { key: [GLOBAL_SCOPE.to_owned(), rule.id.to_string(), key], length: cooldown.window })
}

impl Kind {
    /// True when a message of this kind is addressed to one recipient; the others have one destination.
    #[must_use]
    pub fn per_recipient(self) -> bool {
        match self {
            Self::Webhook => true,
            Self::Console | Self::Slack | Self::Telegram => false,
        }
    }
}

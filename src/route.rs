//! Who gets what, and why not: the heart of Bugle, as a pure function of an event and what is written down.
//!
//! [`plan`] knows no clock, no network and no chance. A cooldown needs the fleet's memory, so a firing only says which
//! window it falls into; the handler asks the broker and then takes the firing or leaves it.

pub mod backlog;
pub mod carried;
pub mod channels;
pub mod explain;
mod firing;
pub mod handler;
mod recipients;
pub mod ruleset;
pub mod scopes;
pub mod template;
pub mod texts;
pub mod throttle;
pub mod windows;
mod wording;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::attachment::{self, Attachment};
use crate::channel::{ChannelSpec, Enabled, Kind};
use crate::delivery::{Consent, Delivery, GLOBAL_SCOPE};
use crate::event::{Event, Severity};
use crate::ids::{ChannelId, DeliveryKey, Recipient};
use crate::outcome::Reason;
use crate::recipient::Addressing;
use crate::rule::Rule;
pub use channels::Channels;
pub use firing::{Firing, Step};
use ruleset::RuleSet;
use scopes::EventScopes;
use texts::{Texts, Traits};
use wording::{Text, Wording};

/// How long after its event a delivery is worth sending, unless its channel says otherwise.
pub const EXPIRES_IN: Duration = Duration::from_secs(24 * 3600);
/// Of what went wrong on the way: it travels with each delivery, and quotes what the event brought.
const NOTE_CHARS_MAX: usize = 2_000;

/// What an event is held against.
#[derive(Clone, Copy)]
pub struct World<'a> {
    pub rules: &'a RuleSet,
    pub scopes: &'a EventScopes,
    pub channels: &'a Channels,
    pub texts: &'a Texts,
    /// When the broker stored the event: handed out again, it is planned in the same way.
    pub at: Timestamp,
}

/// A rule that an event may concern, with the name of its scope.
#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    scope: &'a str,
    rule: &'a Rule,
}

/// Every rule that fires: those of the event's scopes first, each scope's in their own order, then in the order of ids.
#[must_use]
pub fn plan(event: &Event, world: World<'_>) -> Vec<Firing> {
    let fires = |candidate: &Candidate<'_>| {
        let rule = candidate.rule;
        rule.is_on(world.at) && rule.condition.as_ref().is_none_or(|condition| condition.holds(event))
    };
    candidates(event, world)
        .into_iter()
        .filter(fires)
        .map(|candidate| firing(event, candidate, world))
        .collect()
}

/// The rules whose patterns match, as scopes decide: the nearest scope with such a rule, and with `inherit` what the
/// next one up resolves to. A scope without such a rule is as if it were not there.
fn candidates<'a>(event: &Event, world: World<'a>) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    for scope in &world.scopes.0 {
        let before = found.len();
        let matching = scope.rules.iter().filter(|rule| rule.is_on(world.at) && rule.matches_type(event));
        found.extend(matching.map(|rule| Candidate { scope: &scope.name, rule }));
        if found.len() > before && !scope.inherit {
            return found;
        }
    }
    found.extend(
        world.rules.candidates(event).into_iter().map(|rule| Candidate { scope: GLOBAL_SCOPE, rule }),
    );
    found
}

fn firing(event: &Event, candidate: Candidate<'_>, world: World<'_>) -> Firing {
    let (rule, channels) = (candidate.rule, world.channels);
    let asleep = rule.hours.as_ref().is_some_and(|hours| !hours.contain(world.at));
    let traits = world.texts.of(event).map(|entry| &entry.traits);
    let mandatory = rule.mandatory || traits.is_some_and(|traits| traits.mandatory == Some(true));
    let consent = if mandatory { Consent::NotNeeded } else { Consent::Given };
    let mut wording = Wording::new(event, rule, world.texts);
    let (recipients, mut notes) = recipients::of(event, rule);
    let project = if recipients.is_empty() { None } else { event.project() };
    let is_personal = recipients::are_named(event, rule);
    let found = rule.attachments.as_ref().and_then(|path| path.find(event));
    let (attachments, bad) = found.map(|found| attachment::read(&found)).unwrap_or_default();
    notes.extend(bad);
    let mut steps = Vec::new();
    for id in &rule.channels {
        let spec = channels.get(&(event.workspace.clone(), id.clone())).map(Arc::as_ref);
        let fixed = spec.is_none_or(|spec| spec.addressing() == Addressing::Fixed);
        let addressed: Vec<Option<&Recipient>> =
            if fixed || recipients.is_empty() { vec![None] } else { recipients.iter().map(Some).collect() };
        let kind = spec.map(|spec| spec.kind);
        let severity = severity(event, rule, kind, traits);
        let text = wording.of(kind, severity);
        for recipient in addressed {
            let (attachments, project) = (&attachments, project.as_deref().filter(|_| recipient.is_some()));
            let draft = Draft {
                event,
                candidate,
                severity,
                text,
                attachments,
                channel: id,
                is_personal,
                recipient,
                project,
                consent,
            };
            steps.push(match step(&draft, spec, channels, &notes) {
                Step::Deliver(delivery) if asleep => Step::Suppress(delivery, Reason::OutsideHours),
                step @ (Step::Deliver(_) | Step::Hold(..) | Step::Suppress(..) | Step::GiveUp(..)) => step,
            });
        }
    }
    let scope = candidate.scope;
    let (windows, group) = (windows::of(event, scope, rule), windows::group(event, scope, rule));
    let to_inbox = steps.iter().filter_map(Step::outgoing).any(|delivery| delivery.kind == Some(Kind::InApp));
    let inbox = traits.filter(|_| to_inbox).and_then(|traits| windows::inbox(event, rule, traits));
    Firing { windows, group, inbox, steps }.with_windows_if_it_goes_out()
}

/// The rule's word counts first, then the event's; in the inbox then what the producer calls its urgency, and what its type is.
fn severity(event: &Event, rule: &Rule, kind: Option<Kind>, traits: Option<&Traits>) -> Severity {
    let inbox = || {
        kind.filter(|kind| *kind == Kind::InApp)?;
        event.urgency().or_else(|| traits?.urgency.clone()).map(|urgency| urgency.severity)
    };
    rule.severity.or(event.severity).or_else(inbox).unwrap_or_default()
}

struct Draft<'a> {
    event: &'a Event,
    candidate: Candidate<'a>,
    severity: Severity,
    text: &'a Text,
    attachments: &'a [Attachment],
    channel: &'a ChannelId,
    /// It is meant for those who are named, even when that is nobody here.
    is_personal: bool,
    recipient: Option<&'a Recipient>,
    project: Option<&'a str>,
    consent: Consent,
}

fn step(draft: &Draft<'_>, spec: Option<&ChannelSpec>, channels: &Channels, notes: &[String]) -> Step {
    let delivery = draft.delivery(spec, notes);
    let on = spec.is_some_and(|spec| spec.enabled == Enabled::On);
    if let Some(closed) = channels.closed_to(&delivery).filter(|_| on) {
        let note = Some(closed.why.clone());
        return Step::Suppress(Delivery { note, ..delivery }, closed.reason);
    }
    match spec {
        None => {
            let detail = format!(
                "rule {} names channel {}, which does not exist",
                draft.candidate.rule.id, draft.channel
            );
            Step::GiveUp(delivery, Reason::UnknownChannel, detail)
        }
        Some(spec) if spec.enabled != Enabled::On => Step::Suppress(delivery, Reason::ChannelDisabled),
        Some(spec) if draft.is_for_nobody(spec.addressing()) => Step::Suppress(delivery, Reason::NoAddress),
        Some(_) => Step::Deliver(delivery),
    }
}

impl Draft<'_> {
    /// What is personal goes to nobody rather than to everybody.
    fn is_for_nobody(&self, addressing: Addressing) -> bool {
        self.recipient.is_none()
            && match addressing {
                Addressing::Contact(_) => true,
                Addressing::Devices | Addressing::Inbox => self.is_personal,
                Addressing::Fixed | Addressing::Named => false,
            }
    }

    fn delivery(&self, spec: Option<&ChannelSpec>, more_notes: &[String]) -> Delivery {
        let key = DeliveryKey {
            workspace: &self.event.workspace,
            source: &self.event.source,
            event: &self.event.id,
            scope: self.candidate.scope,
            rule: Some(&self.candidate.rule.id),
            channel: self.channel,
            recipient: self.recipient,
        };
        let mut notes: Vec<&str> = self.text.notes.iter().map(String::as_str).collect();
        notes.extend(more_notes.iter().map(String::as_str));
        Delivery {
            rule: Some(self.candidate.rule.id.clone()),
            scope: self.candidate.scope.to_owned(),
            kind: spec.map(|spec| spec.kind),
            recipient: self.recipient.cloned(),
            severity: self.severity,
            title: self.text.title.clone(),
            body: self.text.body.clone(),
            format: self.text.format,
            link: self.text.link.clone(),
            actions: self.text.actions.clone(),
            attachments: self.attachments.to_vec(),
            data: self.event.data_json.clone(),
            note: (!notes.is_empty()).then(|| texts::one_line(&notes.join("; "), NOTE_CHARS_MAX)),
            expires_at: expiry(self.event.time, spec),
            project: self.project.map(str::to_owned),
            consent: self.consent,
            ..Delivery::begin(
                key.id(),
                self.event.workspace.clone(),
                self.event.reference(),
                self.channel.clone(),
            )
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

#[cfg(test)]
mod tests;

//! Who gets what, and why not: the heart of Bugle, as a pure function of an event and what is written down.
//!
//! [`plan`] knows no clock, no network and no chance. A cooldown needs the fleet's memory, so a firing only says which
//! window it falls into; the handler asks the broker and then takes the firing or leaves it.

pub mod backlog;
pub mod carried;
pub mod channels;
pub mod explain;
pub mod handler;
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
use crate::channel::{ChannelSpec, Enabled};
use crate::delivery::{Delivery, ENVELOPE_VERSION, GLOBAL_SCOPE};
use crate::event::{Event, Severity};
use crate::ids::{ChannelId, DeliveryKey, Recipient};
use crate::outcome::Reason;
use crate::recipient::Addressing;
use crate::rule::fault::LeftOut;
use crate::rule::{Recipients, Rule};
pub use channels::Channels;
use ruleset::RuleSet;
use scopes::EventScopes;
use texts::Texts;
use windows::{Group, Window};
use wording::{Text, Wording};

/// How long after its event a delivery is worth sending, unless its channel says otherwise.
pub const EXPIRES_IN: Duration = Duration::from_secs(24 * 3600);
/// The attribute of an event that names who it is for, told apart by commas, and how many of them count.
const RECIPIENTS: &str = "recipients";
const RECIPIENTS_MAX: usize = 100;
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

/// A rule that fired for an event.
#[derive(Debug)]
pub struct Firing {
    /// The windows that it falls into, in the order in which they are asked.
    pub windows: Vec<Window>,
    /// What is shown as one with others.
    pub group: Option<Group>,
    pub steps: Vec<Step>,
}

/// A rule that an event may concern, with the name of its scope.
#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    scope: &'a str,
    rule: &'a Rule,
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

impl Firing {
    /// It goes out in the place of others that the cooldown held back before it, and says how many.
    pub fn stand_for(&mut self, held_back: u64) {
        for step in self.steps.iter_mut().filter(|_| held_back > 0) {
            if let Step::Deliver(delivery) = step {
                delivery.held_back = held_back;
                delivery.title = format!("{} (+{held_back} more)", delivery.title);
            }
        }
    }

    /// Whoever can replace what it said replaces what has the same id.
    pub fn collapse_into(&mut self, id: &str) {
        let window = self.group.as_ref().and_then(|group| group.length);
        for step in &mut self.steps {
            if let Step::Deliver(delivery) = step {
                delivery.collapse_id = Some(id.to_owned());
                delivery.collapse_ms = window.and_then(|window| u64::try_from(window.as_millis()).ok());
            }
        }
    }
}

impl Step {
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        match self {
            Self::Deliver(delivery) | Self::Suppress(delivery, _) | Self::GiveUp(delivery, _, _) => delivery,
        }
    }
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
    let severity = rule.severity.or(event.severity).unwrap_or_default();
    let mut wording = Wording::new(event, rule, world.texts, severity);
    let (recipients, mut notes) = recipients(event, rule);
    let is_personal = !rule.recipients.is_empty() || event.attributes.contains_key(RECIPIENTS);
    let found = rule.attachments.as_ref().and_then(|path| path.find(event));
    let (attachments, bad) = found.map(|found| attachment::read(&found)).unwrap_or_default();
    notes.extend(bad);
    let mut steps = Vec::new();
    for id in &rule.channels {
        let spec = channels.get(&(event.workspace.clone(), id.clone())).map(Arc::as_ref);
        let fixed = spec.is_none_or(|spec| spec.addressing() == Addressing::Fixed);
        let addressed: Vec<Option<&Recipient>> =
            if fixed || recipients.is_empty() { vec![None] } else { recipients.iter().map(Some).collect() };
        let text = wording.of(spec.map(|spec| spec.kind));
        for recipient in addressed {
            let attachments = &attachments;
            let draft =
                Draft { event, candidate, severity, text, attachments, channel: id, is_personal, recipient };
            steps.push(match step(&draft, spec, channels, &notes) {
                Step::Deliver(delivery) if asleep => Step::Suppress(delivery, Reason::OutsideHours),
                step @ (Step::Deliver(_) | Step::Suppress(..) | Step::GiveUp(..)) => step,
            });
        }
    }
    // What goes nowhere must not keep others back.
    let goes_out = steps.iter().any(|step| matches!(step, Step::Deliver(_)));
    let (scope, rule) = (candidate.scope, candidate.rule);
    let windows = if goes_out { windows::of(event, scope, rule) } else { Vec::new() };
    Firing { windows, group: windows::group(event, scope, rule), steps }
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
                Addressing::Devices => self.is_personal,
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
            v: ENVELOPE_VERSION,
            id: key.id(),
            workspace: self.event.workspace.clone(),
            event: self.event.reference(),
            rule: Some(self.candidate.rule.id.clone()),
            scope: self.candidate.scope.to_owned(),
            channel: self.channel.clone(),
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
            held_back: 0,
            collapse_id: None,
            collapse_ms: None,
            expires_at: expiry(self.event.time, spec),
            attempt: 1,
            redrive: 0,
            postponed: 0,
            stepped: 0,
            held: 0,
            cancelled: false,
            once: false,
            turn: None,
            origin: None,
            project: None,
            mandatory: false,
            unasked: false,
            reach: None,
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

/// The recipients that a rule names for an event, or where it names none those that the event names, each once, and
/// what is wrong with the others.
fn recipients(event: &Event, rule: &Rule) -> (Vec<Recipient>, Vec<String>) {
    let (mut found, mut bad) = (Vec::new(), LeftOut::default());
    let mut add = |parsed: Result<Recipient, String>| match parsed {
        Ok(recipient) if found.contains(&recipient) => {}
        Ok(recipient) if found.len() < RECIPIENTS_MAX => found.push(recipient),
        Ok(_) => bad.add(|| format!("recipients were left out: there are more than {RECIPIENTS_MAX}")),
        Err(error) => bad.add(|| format!("a recipient was left out: {error}")),
    };
    let listed = |text: &str| -> Vec<Result<Recipient, String>> {
        let each = text.split(',').map(str::trim).filter(|one| !one.is_empty());
        each.map(|one| Recipient::parse(one).map_err(|error| error.to_string())).collect()
    };
    for named in &rule.recipients {
        match named {
            Recipients::One(recipient) => add(Ok(recipient.clone())),
            Recipients::List(template) => match template.render(event) {
                Ok(text) if text.trim().is_empty() => add(Err("its template is empty here".to_owned())),
                Ok(text) => listed(&text).into_iter().for_each(&mut add),
                Err(error) => add(Err(error.to_string())),
            },
        }
    }
    if rule.recipients.is_empty() {
        let list = event.attributes.get(RECIPIENTS).map(String::as_str).unwrap_or_default();
        listed(list).into_iter().for_each(&mut add);
    }
    (found, bad.into_notes())
}

#[cfg(test)]
mod tests;

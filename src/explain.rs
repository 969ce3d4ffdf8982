//! What an event leads to, and why, in the form in which the API and the command line tell it. Nothing is sent, stored or
//! counted.
//!
//! The judgement is [`crate::route::explain`]; here it gets its words and the state of its windows. Those stand as they are
//! now, also for an event of last week.

pub mod past;
mod wishes;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bus::{Bus, BusError, devices, people};
use crate::channel::Kind;
use crate::delivery::Format;
use crate::event::{Event, EventRef, EventType, Severity};
use crate::ids::{ChannelId, DeliveryId, Recipient, RuleId};
use crate::outcome::{Reason, words};
use crate::recipient::Addressing;
use crate::route::carried::Carried;
use crate::route::explain::{Judged, Verdict, explain};
use crate::route::{Firing, Step, World, throttle};
use crate::rule::condition;
use crate::rule::fault::Fault;
use wishes::{Asked, inbox_windows};

words! {
    /// What would become of a delivery.
    Would {
        Send = "send",
        Suppress = "suppress",
        /// It could not be sent: straight to the dead letters.
        Fail = "fail",
    }
}

/// Every rule whose patterns match an event, and what became of it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The stored event; none for one that never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_at: Option<Timestamp>,
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// The scopes that it falls into, the nearest first.
    pub scopes: Vec<String>,
    /// What is wrong with the rules that the event brings; places are in its data. These rules do not count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub invalid: Vec<Fault>,
    pub rules: Vec<Answer>,
}

/// One rule's part.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    pub id: RuleId,
    pub scope: String,
    pub fired: bool,
    /// `fired`, `condition`, `disabled`, `expired`, `scope`, or the reason of the window that holds it back.
    pub reason: &'static str,
    #[serde(flatten)]
    pub why: Why,
}

#[derive(Debug, Clone, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Why {
    /// It is switched off, or its time is over.
    Off {},
    /// A nearer scope has rules for the event and does not inherit.
    Outscoped {
        decided_by: String,
    },
    Unmet {
        condition: Vec<Leaf>,
    },
    Fired {
        windows: Vec<Window>,
        /// The parts of the key under which it is one thing with others.
        #[serde(skip_serializing_if = "Option::is_none")]
        collapse: Option<Vec<String>>,
        deliveries: Vec<Planned>,
    },
}

/// A comparison that said no or, under `not`, yes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leaf {
    /// Its place in the rule.
    pub pointer: String,
    pub field: String,
    /// What it asks of the field, such as `>= 3`.
    pub test: String,
    pub found: Option<Value>,
    pub missing: bool,
    pub held: bool,
}

/// Where a window stands.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    pub reason: Reason,
    pub key: Vec<String>,
    pub length_ms: Option<u64>,
    pub closed_until: Option<Timestamp>,
    /// This very event opened it: others wait, it does not.
    pub opened_by_this_event: bool,
    pub held_back: u64,
}

/// A delivery that there would be.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    pub id: DeliveryId,
    pub channel: ChannelId,
    pub kind: Option<Kind>,
    pub recipient: Option<Recipient>,
    pub would: Would,
    /// Why it would not go out, or not at once.
    pub reason: Option<Reason>,
    /// Its recipient wants it then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Timestamp>,
    pub severity: Severity,
    pub title: String,
    pub body: String,
    #[serde(skip_serializing_if = "Format::is_markdown")]
    pub format: Format,
    pub link: Option<String>,
    pub note: Option<String>,
    /// What the channel's kind makes of it: a text, or the JSON that its provider gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown: Option<Value>,
}

/// Holds an event against a world. A stored one that goes by its `place` ([`throttle::place`]) is not held back by a
/// window that it opened itself.
///
/// # Errors
/// When the broker does not say how the windows stand.
pub async fn explained(
    bus: &Bus,
    event: &Event,
    world: World<'_>,
    place: Option<&str>,
) -> Result<Explanation, BusError> {
    let mut rules = Vec::new();
    let mut asked = Asked::default();
    for mut judged in explain(event, world) {
        judged.verdict = match judged.verdict {
            Verdict::Fired(firing) => Verdict::Fired(asked.heeded(bus, event, firing).await?),
            other @ (Verdict::Disabled | Verdict::Expired | Verdict::Outscoped(_) | Verdict::Unmet(_)) => {
                other
            }
        };
        let windows = match &mut judged.verdict {
            Verdict::Fired(firing) => {
                inbox_windows(bus, event, firing, place).await?;
                let windows = windows(bus, event, firing, place).await?;
                if !windows.iter().any(Window::holds_back) {
                    let others = windows.iter().filter(|window| !window.opened_by_this_event);
                    firing.stand_for(others.map(|window| window.held_back).sum());
                }
                windows
            }
            Verdict::Disabled | Verdict::Expired | Verdict::Outscoped(_) | Verdict::Unmet(_) => Vec::new(),
        };
        let mut answer = Answer::of(&judged, windows);
        look_up_addresses(bus, event, world, &mut answer).await?;
        rules.push(answer);
    }
    let scopes = world.scopes.0.iter().map(|scope| scope.name.clone()).collect();
    let (event_type, invalid) = (event.event_type.clone(), Vec::new());
    Ok(Explanation { event: None, stored_at: None, event_type, scopes, invalid, rules })
}

impl Explanation {
    /// With what was wrong with the rules that its event brought.
    #[must_use]
    pub fn of_carried(self, carried: Option<&Carried>) -> Self {
        Self { invalid: carried.map(|carried| carried.faults.clone()).unwrap_or_default(), ..self }
    }
}

/// Who has no address gets nothing.
async fn look_up_addresses(
    bus: &Bus,
    event: &Event,
    world: World<'_>,
    answer: &mut Answer,
) -> Result<(), BusError> {
    let Why::Fired { deliveries, .. } = &mut answer.why else { return Ok(()) };
    for planned in deliveries.iter_mut().filter(|planned| planned.would == Would::Send) {
        let spec = world.channels.get(&(event.workspace.clone(), planned.channel.clone()));
        let refused = match (spec.map(|spec| spec.addressing()), &planned.recipient) {
            (Some(Addressing::Contact(contact)), Some(recipient)) => {
                let (_, found) = people::read(bus, &event.workspace, recipient).await?;
                if found.as_ref().is_none_or(|found| contact.of(&found.contacts).is_none()) {
                    Some(Reason::NoAddress)
                } else {
                    found.filter(|found| found.has_left(&planned.channel)).map(|_| Reason::Unsubscribed)
                }
            }
            (Some(Addressing::Devices), recipient) => {
                let of = (&event.workspace, spec.map(|spec| spec.kind), recipient.as_ref());
                devices::page(bus, of, devices::Span::behind(0), 1)
                    .await?
                    .devices
                    .is_empty()
                    .then_some(Reason::NoAddress)
            }
            (Some(Addressing::Contact(_)), None)
            | (Some(Addressing::Fixed | Addressing::Named | Addressing::Inbox) | None, _) => None,
        };
        if refused.is_some() {
            (planned.would, planned.reason) = (Would::Suppress, refused);
        }
    }
    Ok(())
}

async fn windows(
    bus: &Bus,
    event: &Event,
    firing: &Firing,
    place: Option<&str>,
) -> Result<Vec<Window>, BusError> {
    let mut windows = Vec::new();
    for window in &firing.windows {
        let standing = throttle::look(bus, &event.workspace, window, place).await?;
        windows.push(Window {
            reason: window.reason,
            key: window.key.clone(),
            length_ms: u64::try_from(window.length.as_millis()).ok(),
            closed_until: standing.until,
            opened_by_this_event: standing.own,
            held_back: standing.held_back,
        });
    }
    Ok(windows)
}

impl Answer {
    /// The state of the windows is the caller's to know.
    #[must_use]
    pub fn of(judged: &Judged<'_>, windows: Vec<Window>) -> Self {
        let held = windows.iter().find(|window| window.holds_back()).map(|window| window.reason);
        let (reason, why) = match &judged.verdict {
            Verdict::Disabled => ("disabled", Why::Off {}),
            Verdict::Expired => ("expired", Why::Off {}),
            Verdict::Outscoped(scope) => ("scope", Why::Outscoped { decided_by: (*scope).to_owned() }),
            Verdict::Unmet(leaves) => {
                ("condition", Why::Unmet { condition: leaves.iter().map(Leaf::of).collect() })
            }
            Verdict::Fired(firing) => {
                let deliveries = firing.steps.iter().map(|step| Planned::of(step, held)).collect();
                let collapse = firing.group.as_ref().map(|group| group.key.clone());
                (held.map_or("fired", Reason::as_str), Why::Fired { windows, collapse, deliveries })
            }
        };
        let fired = matches!(judged.verdict, Verdict::Fired(_));
        Self { id: judged.rule.id.clone(), scope: judged.scope.to_owned(), fired, reason, why }
    }

    /// The verdict in a line.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.why {
            Why::Off {} if self.reason == "expired" => "its time is over (expiresAt)".to_owned(),
            Why::Off {} => "switched off".to_owned(),
            Why::Outscoped { decided_by } => {
                format!("the rules of {decided_by} decide, which does not inherit")
            }
            Why::Unmet { condition } => condition.iter().map(Leaf::words).collect::<Vec<_>>().join("; "),
            Why::Fired { .. } if self.reason != "fired" => format!("held back: {}", self.reason),
            Why::Fired { .. } if !self.goes_out() => "fires, and nothing goes out".to_owned(),
            Why::Fired { .. } => "fires".to_owned(),
        }
    }

    /// True when something would be sent.
    #[must_use]
    pub fn goes_out(&self) -> bool {
        match &self.why {
            Why::Fired { deliveries, .. } => deliveries.iter().any(|planned| planned.would == Would::Send),
            Why::Off {} | Why::Outscoped { .. } | Why::Unmet { .. } => false,
        }
    }
}

impl Window {
    fn holds_back(&self) -> bool {
        self.closed_until.is_some() && !self.opened_by_this_event
    }

    /// One that holds back, and of which nothing else is known.
    #[must_use]
    pub fn closed(reason: Reason, until: Timestamp) -> Self {
        let (key, length_ms, opened_by_this_event) = (Vec::new(), None, false);
        Self { reason, key, length_ms, closed_until: Some(until), opened_by_this_event, held_back: 0 }
    }
}

impl Leaf {
    #[must_use]
    pub fn of(leaf: &condition::Leaf) -> Self {
        Self {
            pointer: format!("/condition{}", leaf.pointer),
            field: leaf.field.clone(),
            test: leaf.test.clone(),
            found: leaf.found.clone(),
            missing: leaf.found.is_none(),
            held: leaf.held,
        }
    }

    /// `` `to` is "done", not == "failed" (/condition/and/0) ``.
    #[must_use]
    pub fn words(&self) -> String {
        let found = match &self.found {
            None => "is missing".to_owned(),
            Some(value) => format!("is {}", shortened(&value.to_string())),
        };
        let wanted = if self.held { "which is" } else { "not" };
        let (field, test, pointer) = (&self.field, shortened(&self.test), &self.pointer);
        format!("`{field}` {found}, {wanted} {test} ({pointer})")
    }
}

/// So much of a value is shown in a line.
const VALUE_CHARS_MAX: usize = 80;

fn shortened(text: &str) -> String {
    crate::route::texts::one_line(text, VALUE_CHARS_MAX)
}

impl Planned {
    /// What a step comes to when a window, perhaps, holds its firing back.
    #[must_use]
    pub fn of(step: &Step, held: Option<Reason>) -> Self {
        let (would, reason) = match (step, held) {
            // The whole firing is held back, also what would not go out anyhow.
            (_, Some(held)) => (Would::Suppress, Some(held)),
            (Step::Deliver(_), None) => (Would::Send, None),
            (Step::Hold(_, hold), None) => (Would::Send, Some(hold.reason)),
            (Step::Suppress(_, reason), None) => (Would::Suppress, Some(*reason)),
            (Step::GiveUp(_, reason, _), None) => (Would::Fail, Some(*reason)),
        };
        let delivery = step.delivery();
        Self {
            id: delivery.id.clone(),
            channel: delivery.channel.clone(),
            kind: delivery.kind,
            recipient: delivery.recipient.clone(),
            would,
            reason,
            held_until: match (step, held) {
                (Step::Hold(_, hold), None) => Some(hold.until),
                (Step::Hold(..) | Step::Deliver(_) | Step::Suppress(..) | Step::GiveUp(..), _) => None,
            },
            severity: delivery.severity,
            title: delivery.title.clone(),
            body: delivery.body.clone(),
            format: delivery.format,
            link: delivery.link.clone(),
            note: delivery.note.clone(),
            shown: delivery.kind.map(|kind| kind.show(delivery)),
        }
    }
}

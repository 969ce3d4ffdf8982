//! A rule that fired: its deliveries, what becomes of each, and the windows that they share. What recipients prefer is heeded
//! here, before a window is asked.

use std::time::Duration;

use jiff::Timestamp;

use super::windows::{Group, Inbox, Window};
use crate::channel::Kind;
use crate::delivery::Delivery;
use crate::ids::Recipient;
use crate::outcome::Reason;
use crate::preferences::{self, Hold, Judgement};

/// A rule that fired for an event.
#[derive(Debug)]
pub struct Firing {
    /// The windows that it falls into, in the order in which they are asked.
    pub windows: Vec<Window>,
    /// What is shown as one with others.
    pub group: Option<Group>,
    /// What the event's type says of what goes to inboxes.
    pub inbox: Option<Inbox>,
    pub steps: Vec<Step>,
}

/// What is to happen with one delivery.
#[derive(Debug, Clone)]
pub enum Step {
    Deliver(Delivery),
    /// Its recipient wants it later.
    Hold(Delivery, Hold),
    /// Not sent, on purpose.
    Suppress(Delivery, Reason),
    /// Cannot be sent: straight to the dead letters.
    GiveUp(Delivery, Reason, String),
}

impl Firing {
    /// It goes out in the place of others that the cooldown held back before it, and says how many.
    pub fn stand_for(&mut self, held_back: u64) {
        for delivery in self.steps.iter_mut().filter(|_| held_back > 0).filter_map(Step::outgoing_mut) {
            delivery.held_back = held_back;
            delivery.title = format!("{} (+{held_back} more)", delivery.title);
        }
    }

    /// Whoever can replace what it said replaces what has the same id.
    pub fn collapse_into(&mut self, id: &str) {
        let window = self.group.as_ref().and_then(|group| group.length);
        self.steps.iter_mut().for_each(|step| step.collapse_into(id, window));
    }

    /// What goes nowhere must not keep others back.
    pub(super) fn with_windows_if_it_goes_out(mut self) -> Self {
        if !self.steps.iter().any(|step| step.outgoing().is_some()) {
            self.windows.clear();
        }
        self
    }

    /// Changes its deliveries, and leaves those out of which nothing is left.
    #[must_use]
    pub fn reworked(mut self, mut rework: impl FnMut(Delivery) -> Option<Delivery>) -> Self {
        let rework = |step| match step {
            Step::Deliver(delivery) => rework(delivery).map(Step::Deliver),
            Step::Hold(delivery, hold) => rework(delivery).map(|delivery| Step::Hold(delivery, hold)),
            Step::Suppress(delivery, reason) => {
                rework(delivery).map(|delivery| Step::Suppress(delivery, reason))
            }
            Step::GiveUp(delivery, reason, detail) => {
                rework(delivery).map(|delivery| Step::GiveUp(delivery, reason, detail))
            }
        };
        self.steps = self.steps.into_iter().filter_map(rework).collect();
        self.with_windows_if_it_goes_out()
    }

    /// Those whose preferences are to be heeded.
    pub fn asked(&self) -> impl Iterator<Item = &Recipient> {
        self.steps.iter().filter_map(Step::outgoing).filter_map(preferences::asked)
    }

    /// Does as the recipients want: what they muted goes nowhere, and what comes at the wrong time later.
    #[must_use]
    pub fn heeding(mut self, now: Timestamp, judge: impl Fn(&Delivery) -> Judgement) -> Self {
        let heeding = |step| match step {
            Step::Deliver(delivery) if preferences::asked(&delivery).is_some() => {
                match judge(&delivery) {
                    Judgement::Pass => Step::Deliver(delivery),
                    Judgement::Muted(row) => {
                        Step::Suppress(Delivery { note: Some(row.to_string()), ..delivery }, Reason::Muted)
                    }
                    // Its time is over as it is: whoever takes it says so.
                    Judgement::Hold(_) if delivery.expires_at <= now => Step::Deliver(delivery),
                    Judgement::Hold(hold) => Step::Hold(delivery.left_until(hold.until, now), hold),
                }
            }
            other @ (Step::Deliver(_) | Step::Hold(..) | Step::Suppress(..) | Step::GiveUp(..)) => other,
        };
        self.steps = self.steps.into_iter().map(heeding).collect();
        self.with_windows_if_it_goes_out()
    }

    /// The window of the inbox that a step falls into.
    #[must_use]
    pub fn inbox_window(&self, step: &Step) -> Option<Window> {
        let delivery = to_inbox(step)?;
        self.inbox.as_ref()?.window(delivery.recipient.as_ref())
    }

    /// What a step is shown as one with in the inbox, where the rule says nothing.
    #[must_use]
    pub fn inbox_group(&self, step: &Step) -> Option<Group> {
        let delivery = to_inbox(step)?;
        self.inbox.as_ref().filter(|_| self.group.is_none())?.group(delivery.recipient.as_ref())
    }
}

fn to_inbox(step: &Step) -> Option<&Delivery> {
    step.outgoing().filter(|delivery| delivery.kind == Some(Kind::InApp))
}

impl Step {
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        match self {
            Self::Deliver(delivery)
            | Self::Hold(delivery, _)
            | Self::Suppress(delivery, _)
            | Self::GiveUp(delivery, _, _) => delivery,
        }
    }

    /// What goes out, now or later.
    #[must_use]
    pub fn outgoing(&self) -> Option<&Delivery> {
        match self {
            Self::Deliver(delivery) | Self::Hold(delivery, _) => Some(delivery),
            Self::Suppress(..) | Self::GiveUp(..) => None,
        }
    }

    /// It is shown as one with what has the same id.
    pub(super) fn collapse_into(&mut self, id: &str, window: Option<Duration>) {
        if let Some(delivery) = self.outgoing_mut() {
            delivery.collapse_id = Some(id.to_owned());
            delivery.collapse_ms = window.and_then(|window| u64::try_from(window.as_millis()).ok());
        }
    }

    fn outgoing_mut(&mut self) -> Option<&mut Delivery> {
        match self {
            Self::Deliver(delivery) | Self::Hold(delivery, _) => Some(delivery),
            Self::Suppress(..) | Self::GiveUp(..) => None,
        }
    }
}

#[cfg(test)]
mod tests;

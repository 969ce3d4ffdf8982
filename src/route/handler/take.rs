//! What becomes of one step of a firing: published, set a timer for, suppressed, or given up; each under the id of its
//! delivery.

use std::borrow::Cow;

use jiff::Timestamp;

use super::Router;
use crate::bus::{BusError, Stored, schedule};
use crate::clock;
use crate::dead;
use crate::delivery::Delivery;
use crate::metrics;
use crate::outcome::{Outcome, Reason, State, Verdict};
use crate::preferences::Hold;
use crate::route::throttle::{Entrant, Pass};
use crate::route::{Firing, Step};

/// A window of another event.
pub(super) struct Held {
    pub reason: Reason,
    pub until: Timestamp,
}

impl Held {
    fn words(&self) -> String {
        if self.reason == Reason::Duplicate {
            return format!("the same was said before, within a window that ends at {}", self.until);
        }
        format!("the rule is quiet until {}", self.until)
    }
}

/// The firing that a step is taken of.
#[derive(Clone, Copy)]
pub(super) struct Taken<'a> {
    pub firing: &'a Firing,
    /// What holds all of it back.
    pub held: Option<&'a Held>,
    pub entrant: Entrant<'a>,
}

impl Router {
    /// True when it goes out.
    pub(super) async fn take(&self, step: &Step, of: Taken<'_>) -> Result<bool, BusError> {
        if let Some(held) = of.held {
            return self.suppress(step, held.reason, Some(held.words())).await;
        }
        let step = if of.firing.inbox.is_some() {
            match Box::pin(self.as_inbox_has_it(step, of)).await? {
                Ok(step) => step,
                Err(held) => return self.suppress(step, held.reason, Some(held.words())).await,
            }
        } else {
            Cow::Borrowed(step)
        };
        match step.as_ref() {
            Step::Deliver(delivery) => {
                let subject = self.bus.names.delivery(delivery);
                let published = self.bus.publish_json(subject, delivery.id.as_str(), delivery).await;
                self.is_stored(delivery, published).await
            }
            Step::Hold(delivery, hold) => Box::pin(self.set_timer(delivery, *hold)).await,
            Step::Suppress(_, reason) => self.suppress(&step, *reason, None).await,
            Step::GiveUp(delivery, reason, detail) => self.give_up(delivery, *reason, detail.clone()).await,
        }
    }

    /// What the event's type says of inboxes, for one of them. The window of another event holds it back.
    async fn as_inbox_has_it<'a>(
        &self,
        step: &'a Step,
        of: Taken<'_>,
    ) -> Result<Result<Cow<'a, Step>, Held>, BusError> {
        let workspace = &step.delivery().workspace;
        if let Some(window) = of.firing.inbox_window(step)
            && let Pass::Closed(until) =
                self.throttle.enter(&self.bus, workspace, &window, of.entrant).await?
        {
            return Ok(Err(Held { reason: window.reason, until }));
        }
        let Some(group) = of.firing.inbox_group(step) else { return Ok(Ok(Cow::Borrowed(step))) };
        let id = self.throttle.join(&self.bus, workspace, &group, of.entrant).await?;
        let mut step = step.clone();
        step.collapse_into(&id, group.length);
        Ok(Ok(Cow::Owned(step)))
    }

    /// It waits for its recipient, and the history says so. The timer comes first: a record without it would be a lie.
    async fn set_timer(&self, delivery: &Delivery, hold: Hold) -> Result<bool, BusError> {
        let set = schedule::at(&self.bus, delivery, hold.until, delivery.id.as_str()).await;
        if !self.is_stored(delivery, set).await? {
            return Ok(false);
        }
        let outcome = Outcome::of(delivery, hold.verdict(), None, clock::now());
        self.bus.record(&outcome, delivery.id.as_str()).await?;
        metrics::outcome(&outcome);
        Ok(true)
    }

    async fn is_stored(
        &self,
        delivery: &Delivery,
        published: Result<Stored, BusError>,
    ) -> Result<bool, BusError> {
        match published {
            Ok(stored) => {
                // Routed before, by whoever was killed then.
                if !stored.duplicate {
                    metrics::delivery_published(delivery);
                }
                Ok(true)
            }
            Err(BusError::TooLarge { bytes }) => {
                let detail = format!("the delivery is {bytes} bytes, more than the broker carries");
                self.give_up(delivery, Reason::TooLarge, detail).await
            }
            Err(error) => Err(error),
        }
    }

    async fn give_up(&self, delivery: &Delivery, reason: Reason, detail: String) -> Result<bool, BusError> {
        Box::pin(dead::give_up(&self.bus, delivery, reason, Some(detail), "route")).await?;
        Ok(false)
    }

    async fn suppress(&self, step: &Step, reason: Reason, detail: Option<String>) -> Result<bool, BusError> {
        let verdict = Verdict { detail, ..Verdict::new(State::Suppressed, reason) };
        let outcome = Outcome::of(step.delivery(), verdict, None, clock::now());
        Box::pin(self.bus.record(&outcome, step.delivery().id.as_str())).await?;
        metrics::outcome(&outcome);
        Ok(false)
    }
}

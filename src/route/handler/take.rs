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
    pub way: Way<'a>,
}

/// How an event comes along: from its stream, or by a job that routes it once more.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub entrant: Entrant<'a>,
    /// The replay's id.
    pub job: Option<&'a str>,
}

impl Way<'_> {
    /// What a step is stored under. A life that a replay began is told from the one before it.
    fn id<'d>(&self, delivery: &'d Delivery) -> Cow<'d, str> {
        match self.job {
            Some(job) if delivery.redrive > 0 => Cow::Owned(format!("{}/j{job}", delivery.id)),
            Some(_) | None => Cow::Borrowed(delivery.id.as_str()),
        }
    }
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Took {
    /// It goes out.
    Out,
    /// It was on its way already: by whoever was killed then.
    Before,
    Suppressed(Reason),
    GivenUp(Reason),
}

impl Router {
    pub(super) async fn take(&self, step: &Step, of: Taken<'_>) -> Result<Took, BusError> {
        if let Some(held) = of.held {
            return self.suppress(step, (held.reason, Some(held.words())), of.way).await;
        }
        let step = if of.firing.inbox.is_some() {
            match Box::pin(self.as_inbox_has_it(step, of)).await? {
                Ok(step) => step,
                Err(held) => return self.suppress(step, (held.reason, Some(held.words())), of.way).await,
            }
        } else {
            Cow::Borrowed(step)
        };
        match step.as_ref() {
            Step::Deliver(delivery) => {
                let (subject, id) = (self.bus.names.delivery(delivery), of.way.id(delivery));
                let published = self.bus.publish_json(subject, &id, delivery).await;
                let took = self.is_stored(delivery, published, of.way).await?;
                if let Some(job) = of.way.job.filter(|_| took == Took::Out) {
                    Box::pin(self.tell_of_replay(delivery, job, &id)).await?;
                }
                Ok(took)
            }
            Step::Hold(delivery, hold) => Box::pin(self.set_timer(delivery, *hold, of.way)).await,
            Step::Suppress(_, reason) => self.suppress(&step, (*reason, None), of.way).await,
            Step::GiveUp(delivery, reason, detail) => {
                self.give_up(delivery, (*reason, detail.clone()), of.way).await
            }
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
                self.throttle.enter(&self.bus, workspace, &window, of.way.entrant).await?
        {
            return Ok(Err(Held { reason: window.reason, until }));
        }
        let Some(group) = of.firing.inbox_group(step) else { return Ok(Ok(Cow::Borrowed(step))) };
        let id = self.throttle.join(&self.bus, workspace, &group, of.way.entrant).await?;
        let mut step = step.clone();
        step.collapse_into(&id, group.length);
        Ok(Ok(Cow::Owned(step)))
    }

    /// The history says whose doing it is that there is another one.
    async fn tell_of_replay(&self, delivery: &Delivery, job: &str, id: &str) -> Result<(), BusError> {
        let detail = Some(format!("by job {job}"));
        let verdict = Verdict { detail, ..Verdict::new(State::Scheduled, Reason::Replayed) };
        let outcome = Outcome::of(delivery, verdict, None, clock::now());
        self.bus.record(&outcome, id).await?;
        metrics::outcome(&outcome);
        Ok(())
    }

    /// It waits for its recipient, and the history says so. The timer comes first: a record without it would be a lie.
    async fn set_timer(&self, delivery: &Delivery, hold: Hold, way: Way<'_>) -> Result<Took, BusError> {
        let id = way.id(delivery);
        let set = schedule::at(&self.bus, delivery, hold.until, &id).await;
        let took = self.is_stored(delivery, set, way).await?;
        if let Took::GivenUp(_) = took {
            return Ok(took);
        }
        let outcome = Outcome::of(delivery, hold.verdict(), None, clock::now());
        self.bus.record(&outcome, &id).await?;
        metrics::outcome(&outcome);
        Ok(took)
    }

    async fn is_stored(
        &self,
        delivery: &Delivery,
        published: Result<Stored, BusError>,
        way: Way<'_>,
    ) -> Result<Took, BusError> {
        match published {
            // Routed before, by whoever was killed then.
            Ok(stored) if stored.duplicate => Ok(Took::Before),
            Ok(_) => {
                metrics::delivery_published(delivery);
                Ok(Took::Out)
            }
            Err(BusError::TooLarge { bytes }) => {
                let detail = format!("the delivery is {bytes} bytes, more than the broker carries");
                self.give_up(delivery, (Reason::TooLarge, detail), way).await
            }
            Err(error) => Err(error),
        }
    }

    async fn give_up(
        &self,
        delivery: &Delivery,
        (reason, detail): (Reason, String),
        way: Way<'_>,
    ) -> Result<Took, BusError> {
        let step = way.job.map_or_else(|| "route".to_owned(), |job| format!("j{job}"));
        Box::pin(dead::give_up(&self.bus, delivery, reason, Some(detail), &step)).await?;
        Ok(Took::GivenUp(reason))
    }

    async fn suppress(
        &self,
        step: &Step,
        (reason, detail): (Reason, Option<String>),
        way: Way<'_>,
    ) -> Result<Took, BusError> {
        let verdict = Verdict { detail, ..Verdict::new(State::Suppressed, reason) };
        let outcome = Outcome::of(step.delivery(), verdict, None, clock::now());
        Box::pin(self.bus.record(&outcome, &way.id(step.delivery()))).await?;
        metrics::outcome(&outcome);
        Ok(Took::Suppressed(reason))
    }
}

//! A delivery in hand: all that it passes before it may be tried, in the order in which it is asked. Whatever stops it is
//! stored before the verdict.
//!
//! What is published for it has an id made of the message's own sequence: if the broker has it already, this very step was
//! done before. Steps that most deliveries do not take are boxed, so that what is in hand stays small.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::handler::Tools;
use super::share::Shares;
use super::{after, failover};
use crate::bus::consumer::Lease;
use crate::bus::{BusError, schedule, topology};
use crate::channel::standing::Closed;
use crate::channel::{ChannelSpec, Enabled};
use crate::clock;
use crate::dead;
use crate::delivery::{Consent, Delivery};
use crate::documents::{Document, Key};
use crate::ids::{ChannelId, WorkspaceId};
use crate::metrics;
use crate::outcome::{Outcome, Reason, State, Verdict};
use crate::send::fate::{self, Fate};
use crate::shelf::standing;

/// A pause as long as this shows in the history.
const LONG_PAUSE: Duration = Duration::from_secs(10);

/// A delivery in hand, with the sequence of the message that brought it.
pub(super) struct Hand<'a> {
    pub tools: &'a Tools,
    pub delivery: &'a Delivery,
    pub sequence: u64,
    pub lease: &'a Lease,
}

/// A channel's document, and what closes it.
pub(super) type Found = (Arc<ChannelSpec>, Option<Closed>);

impl Hand<'_> {
    pub(super) async fn deliver(&self, shares: &Shares) -> Result<(), BusError> {
        let (delivery, now) = (self.delivery, clock::now());
        let reach = delivery.reach.as_deref();
        if let Some(receipts) = reach.and_then(|reach| reach.receipts.as_ref()) {
            return Box::pin(self.ask_for_receipts(receipts)).await;
        }
        if self.tools.finished.contains(delivery) && !reach.is_some_and(|reach| reach.again) {
            metrics::repeat_dropped();
            return Ok(());
        }
        let fate = self.fate().await?;
        let (spec, unreadable) = match self.channel().await {
            Ok(spec) => (spec, None),
            Err(error @ BusError::Unreadable(_)) => (None, Some(error)),
            Err(error) => return Err(error),
        };
        self.still_ours()?;
        match fate {
            Fate::Fired(sequence) if sequence == self.sequence => {}
            Fate::Fired(_) => {
                metrics::repeat_dropped();
                return Ok(());
            }
            Fate::Cancelled => return self.suppress(Reason::Cancelled, None).await,
        }
        if delivery.expires_at <= now {
            let detail = "its time was over before it could be sent";
            let spec = spec.as_ref().map(|(spec, _)| spec.as_ref());
            return self.give_up(spec, Reason::Expired, detail).await;
        }
        if let Some(error) = unreadable {
            return Err(error);
        }
        let Some((spec, closed)) = spec else {
            return self.give_up(None, Reason::UnknownChannel, "the channel does not exist any more").await;
        };
        if spec.enabled != Enabled::On {
            return self.suppress(Reason::ChannelDisabled, None).await;
        }
        if let Some(Closed { reason, why }) = closed {
            return self.suppress(reason, Some(why)).await;
        }
        if let Some(off) = self.connection_off(&spec) {
            return self.suppress(Reason::ChannelDisabled, Some(off)).await;
        }
        if Some(spec.kind) != delivery.kind {
            // The channel became another kind meanwhile: into that kind's queue.
            return self.requeue(&Delivery { kind: Some(spec.kind), once: false, ..delivery.clone() }).await;
        }
        if delivery.consent == Consent::Open && Box::pin(self.is_not_wanted_now()).await? {
            return Ok(());
        }
        self.through(&spec, shares).await
    }

    /// What switches a channel off with its connection.
    pub(super) fn connection_off(&self, spec: &ChannelSpec) -> Option<String> {
        let snapshot = self.tools.directory.snapshot();
        let connection = snapshot.connection_of(&self.delivery.workspace, spec)?;
        (!connection.enabled).then(|| format!("its connection {} is off", connection.id))
    }

    /// After each wait: a process that stood still meanwhile has nothing to say about this delivery any more.
    pub(super) fn still_ours(&self) -> Result<(), BusError> {
        if self.lease.is_over() { Err(BusError::LeaseOver) } else { Ok(()) }
    }

    /// What becomes of a send is decided when it is taken on first. Anything else is tried.
    async fn fate(&self) -> Result<Fate, BusError> {
        let own = Fate::Fired(self.sequence);
        if self.delivery.cancelled {
            return Ok(Fate::Cancelled);
        }
        if !self.delivery.once {
            return Ok(own);
        }
        Box::pin(fate::settle_fate(&self.tools.bus, self.delivery, own)).await
    }

    /// The channel's document, and why it gets nothing although it is on; one that this process has not heard of yet is
    /// looked up. [`BusError::Unreadable`] when it is there and this process has no form of it that it can read.
    pub(super) async fn channel(&self) -> Result<Option<Found>, BusError> {
        let key = (self.delivery.workspace.clone(), self.delivery.channel.clone());
        let snapshot = self.tools.directory.snapshot();
        if let Some(spec) = snapshot.channels.get(&key) {
            return Ok(Some((Arc::clone(spec), snapshot.channels.closed_to(self.delivery).cloned())));
        }
        Box::pin(self.channel_from_broker(&key)).await
    }

    async fn channel_from_broker(&self, key: &(WorkspaceId, ChannelId)) -> Result<Option<Found>, BusError> {
        let bucket = topology::config_bucket(&self.tools.bus).await?;
        let found = bucket
            .get(Key::Channel(key.0.clone(), key.1.clone()).to_string())
            .await
            .map_err(BusError::request)?;
        let Some(bytes) = found else { return Ok(None) };
        let unreadable = |_| BusError::Unreadable(format!("channels.{}.{}", key.0, key.1));
        let document: Document<ChannelSpec> = serde_json::from_slice(&bytes).map_err(unreadable)?;
        let (standing, _) = standing::read(&self.tools.bus, &key.0, &key.1).await?;
        let address = standing::address(&self.tools.bus, &key.0, &document.spec).await?;
        let closed = standing.closed(&document.owner, &address);
        Ok(Some((Arc::new(document.spec), closed)))
    }

    /// Puts it off without a try.
    pub(super) async fn put_off(
        &self,
        spec: &ChannelSpec,
        due: Timestamp,
        why: &'static str,
    ) -> Result<(), BusError> {
        if due >= self.delivery.expires_at {
            let detail = match why {
                "circuit" => "it would expire before its channel is tried again: nothing works on it",
                _ => "it would expire before its turn",
            };
            return self.give_up(Some(spec), Reason::Expired, detail).await;
        }
        match why {
            "circuit" => self.tell_waiting(due, Duration::ZERO, "nothing works on its channel").await?,
            "paused" => self.tell_waiting(due, LONG_PAUSE, "its channel was asked to pause").await?,
            _ => {}
        }
        Box::pin(self.schedule(self.delivery.put_off(), due)).await?;
        metrics::postponed(why);
        tracing::debug!(delivery = %self.delivery.id, %due, why, "put off");
        Ok(())
    }

    /// The history shows what waits for that long before anything was tried. A send is in it already, and so is what an operator
    /// sent again.
    pub(super) async fn tell_waiting(
        &self,
        due: Timestamp,
        long: Duration,
        why: &str,
    ) -> Result<(), BusError> {
        let (bus, delivery, now) = (&self.tools.bus, self.delivery, clock::now());
        let tried = (delivery.attempt, delivery.redrive, delivery.postponed) != (1, 0, 0);
        let told = delivery.held > 0 || delivery.turn.is_some() || delivery.rule.is_none();
        if tried || told || due < after(now, long) {
            return Ok(());
        }
        let verdict = Verdict {
            detail: Some(why.to_owned()),
            next_at: Some(due),
            ..Verdict::new(State::Scheduled, Reason::Waiting)
        };
        let outcome = Outcome::of(delivery, verdict, None, now);
        bus.record(&outcome, &self.message_id()).await?;
        metrics::outcome(&outcome);
        Ok(())
    }

    pub(super) async fn schedule(&self, next: Delivery, due: Timestamp) -> Result<(), BusError> {
        schedule::at(&self.tools.bus, &next, due, &self.message_id()).await.map(|_| ())
    }

    pub(super) async fn requeue(&self, delivery: &Delivery) -> Result<(), BusError> {
        let bus = &self.tools.bus;
        bus.publish_json(bus.names.delivery(delivery), &self.message_id(), delivery).await.map(|_| ())
    }

    pub(super) async fn suppress(&self, reason: Reason, why: Option<String>) -> Result<(), BusError> {
        let bus = &self.tools.bus;
        let verdict = Verdict { detail: why, ..Verdict::new(State::Suppressed, reason) };
        let outcome = Outcome::of(self.delivery, verdict, None, clock::now());
        bus.record(&outcome, &self.message_id()).await?;
        metrics::outcome(&outcome);
        self.tools.finished.insert(self.delivery);
        Ok(())
    }

    /// Given up without a try: to another channel, where there is one.
    pub(super) async fn give_up(
        &self,
        spec: Option<&ChannelSpec>,
        reason: Reason,
        detail: &str,
    ) -> Result<(), BusError> {
        let step = format!("s{}", self.sequence);
        let mut detail = detail.to_owned();
        if let Some(stand_in) = spec.and_then(|spec| self.stand_in(spec)) {
            Box::pin(self.hand_over(&stand_in)).await?;
            detail = failover::told(Some(&detail), &stand_in);
        }
        Box::pin(dead::give_up(&self.tools.bus, self.delivery, reason, Some(detail), &step)).await?;
        self.tools.finished.insert(self.delivery);
        Ok(())
    }

    /// What is published for this message is published once.
    pub(super) fn message_id(&self) -> String {
        format!("{}/s{}", self.delivery.id, self.sequence)
    }
}

//! A delivery in hand: all that it passes before it may be tried, in the order in which it is asked. Whatever stops it is
//! stored before the verdict.
//!
//! What is published for it has an id made of the message's own sequence: if the broker has it already, this very step was
//! done before. Steps that most deliveries do not take are boxed, so that what is in hand stays small.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::addresses::{self, Destination};
use super::after;
use super::handler::Tools;
use super::share::Shares;
use crate::bus::consumer::Lease;
use crate::bus::{BusError, schedule, topology};
use crate::channel::{ChannelSpec, Enabled};
use crate::clock;
use crate::dead;
use crate::delivery::Delivery;
use crate::documents::{Document, Key};
use crate::ids::{ChannelId, WorkspaceId};
use crate::metrics;
use crate::outcome::{Outcome, Reason, State, Verdict};
use crate::recipient::Addressing;
use crate::send::fate::{self, Fate};

/// Those who waited for a pause come back spread over this long.
const AFTER_PAUSE_SPREAD: Duration = Duration::from_secs(5);

/// A delivery in hand, with the sequence of the message that brought it.
pub(super) struct Hand<'a> {
    pub tools: &'a Tools,
    pub delivery: &'a Delivery,
    pub sequence: u64,
    pub lease: &'a Lease,
}

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
        let spec = self.channel().await?;
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
            return self.give_up(Reason::Expired, "its time was over before it could be sent").await;
        }
        let Some(spec) = spec else {
            return self.give_up(Reason::UnknownChannel, "the channel does not exist any more").await;
        };
        if spec.enabled != Enabled::On {
            return self.suppress(Reason::ChannelDisabled, None).await;
        }
        if Some(spec.kind) != delivery.kind {
            // The channel became another kind meanwhile: into that kind's queue.
            return self.requeue(&Delivery { kind: Some(spec.kind), once: false, ..delivery.clone() }).await;
        }
        if let Some(until) = self.tools.pauses.until(&delivery.workspace, &delivery.channel, now) {
            return self.put_off(after(until, AFTER_PAUSE_SPREAD.mul_f64(clock::chance())), "paused").await;
        }
        let destination = match self.destination(&spec).await? {
            Ok(destination) => destination,
            Err((reason, why)) => return self.suppress(reason, Some(why)).await,
        };
        let share = shares.enter(&delivery.workspace, &delivery.channel).await;
        self.still_ours()?;
        let share = match share {
            Ok(share) => share,
            Err(wait) => return self.put_off(after(now, clock::jittered(wait)), "share").await,
        };
        let built = self.tools.adapters.get(&delivery.workspace, &spec);
        let made = self.try_alone(&built, &destination).await;
        drop(share);
        made
    }

    /// Where it goes. Where nothing may be sent to its recipient: why.
    async fn destination(
        &self,
        spec: &ChannelSpec,
    ) -> Result<Result<Destination, (Reason, String)>, BusError> {
        let (tools, delivery) = (self.tools, self.delivery);
        let contact = match spec.addressing() {
            Addressing::Fixed | Addressing::Named => return Ok(Ok(Destination::default())),
            Addressing::Devices => return Box::pin(self.to_devices(spec.kind)).await,
            Addressing::Contact(contact) => contact,
        };
        let reach = match Box::pin(addresses::find(&tools.people, contact, delivery)).await? {
            Ok(reach) => reach,
            Err(why) => return Ok(Err(why)),
        };
        let unsubscribe = Box::pin(tools.unsubscribe.link(&tools.bus, reach.kind, delivery)).await?;
        Ok(Ok(Destination { to: Some(reach.address), unsubscribe, audience: None }))
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

    /// The channel's document; one that this process has not heard of yet is looked up.
    pub(super) async fn channel(&self) -> Result<Option<Arc<ChannelSpec>>, BusError> {
        let key = (self.delivery.workspace.clone(), self.delivery.channel.clone());
        if let Some(spec) = self.tools.directory.snapshot().channels.get(&key) {
            return Ok(Some(Arc::clone(spec)));
        }
        Box::pin(self.channel_from_broker(&key)).await
    }

    async fn channel_from_broker(
        &self,
        key: &(WorkspaceId, ChannelId),
    ) -> Result<Option<Arc<ChannelSpec>>, BusError> {
        let bucket = topology::config_bucket(&self.tools.bus).await?;
        let found = bucket
            .get(Key::Channel(key.0.clone(), key.1.clone()).to_string())
            .await
            .map_err(BusError::request)?;
        let Some(bytes) = found else { return Ok(None) };
        let document: Document<ChannelSpec> = serde_json::from_slice(&bytes)?;
        Ok(Some(Arc::new(document.spec)))
    }

    /// Puts it off without a try.
    pub(super) async fn put_off(&self, due: Timestamp, why: &'static str) -> Result<(), BusError> {
        if due >= self.delivery.expires_at {
            return self.give_up(Reason::Expired, "it would expire before its turn").await;
        }
        Box::pin(self.schedule(self.delivery.put_off(), due)).await?;
        metrics::postponed(why);
        tracing::debug!(delivery = %self.delivery.id, %due, why, "put off");
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

    async fn give_up(&self, reason: Reason, detail: &str) -> Result<(), BusError> {
        let step = format!("s{}", self.sequence);
        let detail = Some(detail.to_owned());
        Box::pin(dead::give_up(&self.tools.bus, self.delivery, reason, detail, &step)).await?;
        self.tools.finished.insert(self.delivery);
        Ok(())
    }

    /// What is published for this message is published once.
    pub(super) fn message_id(&self) -> String {
        format!("{}/s{}", self.delivery.id, self.sequence)
    }
}

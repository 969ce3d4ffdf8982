//! A delivery in hand: all that it passes before it may be tried, in the order in which it is asked. Whatever stops it is
//! stored before the verdict.
//!
//! What is published for it has an id made of the message's own sequence: if the broker has it already, this very step was
//! done before. Steps that most deliveries do not take are boxed, so that what is in hand stays small.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::attempt::Standpoint;
use super::circuit::state::Passage;
use super::handler::Tools;
use super::share::Shares;
use super::turn::Held;
use super::{addresses, after, failover};
use crate::bus::consumer::Lease;
use crate::bus::{BusError, schedule, topology};
use crate::channel::{ChannelSpec, Enabled, Try};
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
/// Another delivery was faster to be the one that is tried: it may be over in a moment.
const BESIDE_A_PROBE: Duration = Duration::from_secs(2);

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
        if self.tools.finished.contains(delivery) {
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
            let detail = "its time was over before it could be sent";
            return self.give_up(spec.as_deref(), Reason::Expired, detail).await;
        }
        let Some(spec) = spec else {
            return self.give_up(None, Reason::UnknownChannel, "the channel does not exist any more").await;
        };
        if spec.enabled != Enabled::On {
            return self.suppress(Reason::ChannelDisabled, None).await;
        }
        if Some(spec.kind) != delivery.kind {
            // The channel became another kind meanwhile: into that kind's queue.
            return self.requeue(&Delivery { kind: Some(spec.kind), once: false, ..delivery.clone() }).await;
        }
        self.through(&spec, shares).await
    }

    /// What the channel itself lets pass: its circuit, its rate, its share of the slots.
    async fn through(&self, spec: &Arc<ChannelSpec>, shares: &Shares) -> Result<(), BusError> {
        let (delivery, now) = (self.delivery, clock::now());
        let passage = self.tools.circuits.passage(&delivery.workspace, spec, now);
        if let Passage::ClosedUntil(until) = passage {
            return Box::pin(self.hold_back(spec, until)).await;
        }
        let to = match spec.addressing() {
            Addressing::Fixed | Addressing::Named => None,
            Addressing::Contact(contact) => {
                match Box::pin(addresses::find(&self.tools.people, contact, delivery)).await? {
                    Ok(address) => Some(address),
                    Err(why) => return self.suppress(Reason::NoAddress, Some(why)).await,
                }
            }
        };
        let built = self.tools.adapters.get(&delivery.workspace, spec);
        let limits = built.limits(&Try { delivery, to: to.as_ref(), earlier: None, at: now });
        let paused = self.paused(limits.iter().map(|place| place.of.as_str()), now);
        let held = match (limits.is_empty(), paused) {
            (true, None) => None,
            // Everybody at once behind the pause would only lead to the next one.
            (true, Some(until)) => {
                let due = after(until, AFTER_PAUSE_SPREAD.mul_f64(clock::chance()));
                return self.put_off(spec, due, "paused").await;
            }
            (false, paused) => match Box::pin(self.turn(spec, limits, paused, shares)).await? {
                Some(held) => Some(held),
                None => return Ok(()),
            },
        };
        let share = shares.enter(&delivery.workspace, &delivery.channel).await;
        self.still_ours()?;
        let share = match share {
            Ok(share) => share,
            Err(wait) => return self.put_off(spec, after(now, clock::jittered(wait)), "share").await,
        };
        if let Some(held) = &held {
            let now = clock::now();
            // Both may have changed while it waited in hand.
            if !held.counts(now) || self.paused(held.limits(), now).is_some() {
                return Box::pin(self.wait_in_line(spec, &held.turn(Vec::new()), now)).await;
            }
            metrics::pace_waited(delivery, held.waited(now));
        }
        let probe = match passage {
            Passage::Probe => Box::pin(self.tools.circuits.probe(delivery, spec, clock::now())).await?,
            Passage::Free | Passage::ClosedUntil(_) => None,
        };
        if passage == Passage::Probe && probe.is_none() {
            return self.put_off(spec, after(now, clock::jittered(BESIDE_A_PROBE)), "circuit").await;
        }
        let narrowest = held.as_ref().and_then(Held::narrowest);
        self.attempt(&built, Standpoint { to: to.as_ref(), probe, narrowest }).await;
        drop(share);
        Ok(())
    }

    /// Until when its channel pauses, or one of the limits that it counts against.
    fn paused<'a>(&self, limits: impl Iterator<Item = &'a str>, now: Timestamp) -> Option<Timestamp> {
        let pauses = &self.tools.pauses;
        let own = pauses.until(&self.delivery.workspace, &self.delivery.channel, now);
        limits.map(|limit| pauses.limit_until(limit, now)).fold(own, Option::max)
    }

    /// Nothing works on its channel: to another one when it has waited long enough, else until the next probe.
    async fn hold_back(&self, spec: &ChannelSpec, until: Timestamp) -> Result<(), BusError> {
        let now = clock::now();
        let Some(stand_in) = self.stand_in(spec) else {
            return self.put_off(spec, until, "circuit").await;
        };
        let over = failover::patience_over(self.delivery, spec);
        if over > now {
            return self.put_off(spec, until.min(over), "circuit").await;
        }
        self.hand_over(&stand_in).await?;
        let why = failover::told(Some("nothing works on the channel"), &stand_in);
        self.suppress(Reason::FailedOver, Some(why)).await
    }

    /// After each wait: a process that stood still meanwhile has nothing to say about this delivery any more.
    fn still_ours(&self) -> Result<(), BusError> {
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
    async fn channel(&self) -> Result<Option<Arc<ChannelSpec>>, BusError> {
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
    async fn put_off(&self, spec: &ChannelSpec, due: Timestamp, why: &'static str) -> Result<(), BusError> {
        if due >= self.delivery.expires_at {
            let detail = match why {
                "circuit" => "it would expire before its channel is tried again: nothing works on it",
                _ => "it would expire before its turn",
            };
            return self.give_up(Some(spec), Reason::Expired, detail).await;
        }
        Box::pin(self.schedule(self.delivery.put_off(), due)).await?;
        metrics::postponed(why);
        tracing::debug!(delivery = %self.delivery.id, %due, why, "put off");
        Ok(())
    }

    pub(super) async fn schedule(&self, next: Delivery, due: Timestamp) -> Result<(), BusError> {
        schedule::at(&self.tools.bus, &next, due, &self.message_id()).await.map(|_| ())
    }

    async fn requeue(&self, delivery: &Delivery) -> Result<(), BusError> {
        let bus = &self.tools.bus;
        bus.publish_json(bus.names.delivery(delivery), &self.message_id(), delivery).await.map(|_| ())
    }

    async fn suppress(&self, reason: Reason, why: Option<String>) -> Result<(), BusError> {
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

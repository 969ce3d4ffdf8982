//! The worker's hand: one message, at most one try, everything stored, and only then a verdict.
//!
//! What follows a try is published under an id made of the message's own sequence: if the broker has it already, this
//! very step was done before. What became of it has its state in its id besides: handed out again after a crash the same
//! message may end otherwise. After a try nothing gives up storing its outcome short of the process's end, since
//! handing the message back would send it twice.
//!
//! Steps that most deliveries do not take are boxed, so that what is in hand stays small.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::adapters::{Adapters, Built};
use super::addresses;
use super::pauses::Pauses;
use super::share::Shares;
use super::{Decision, Next, Standing, after, decide};
use crate::bus::consumer::{Handler, Lease, Received, Verdict as Settle};
use crate::bus::directory::Directory;
use crate::bus::people::People;
use crate::bus::{Bus, BusError, schedule, topology};
use crate::channel::http::BODY_WAIT;
use crate::channel::secret::Redacted;
use crate::channel::{ChannelSpec, Enabled, Failure, Receipt, SendError};
use crate::clock;
use crate::dead;
use crate::deliver::finished::Finished;
use crate::delivery::{Delivery, ENVELOPE_VERSION, envelope_version};
use crate::documents::{Document, Key};
use crate::ids::{ChannelId, WorkspaceId};
use crate::metrics;
use crate::outcome::{Outcome, Reason, State, Verdict};
use crate::own_events::unhealthy::Unhealthy;
use crate::recipient::Addressing;
use crate::send::{self, Fate};

/// The broker is away or refuses: the message waits this long.
const AFTER_TROUBLE: Duration = Duration::from_secs(2);
/// Written by a newer process: another one of that version takes it, or this one after its own update.
const AFTER_NEWER_VERSION: Duration = Duration::from_secs(30);
/// Those who waited for a pause come back spread over this long.
const AFTER_PAUSE_SPREAD: Duration = Duration::from_secs(5);
/// Between two tries to store what a send led to.
const STORE_AGAIN: Duration = Duration::from_millis(500);

/// What the lanes of a worker share.
pub struct Tools {
    pub bus: Bus,
    pub directory: Arc<Directory>,
    pub adapters: Adapters,
    pub pauses: Arc<Pauses>,
    pub finished: Finished,
    pub people: Arc<People>,
    pub unhealthy: Unhealthy,
}

/// One lane of one kind.
pub struct Worker {
    pub tools: Arc<Tools>,
    pub shares: Shares,
}

/// A delivery in hand, with the sequence of the message that brought it.
struct Hand<'a> {
    tools: &'a Tools,
    delivery: &'a Delivery,
    sequence: u64,
    lease: &'a Lease,
}

impl Handler for Worker {
    async fn handle(&self, message: &Received) -> Settle {
        let delivery: Delivery = match serde_json::from_slice(&message.payload) {
            Ok(delivery) => delivery,
            Err(error) => return self.unreadable(message, &error).await,
        };
        if delivery.v > ENVELOPE_VERSION {
            return newer(message, delivery.v);
        }
        let hand = Hand {
            tools: &self.tools,
            delivery: &delivery,
            sequence: message.sequence,
            lease: &message.lease,
        };
        let result = hand.deliver(&self.shares).await;
        settle(&delivery, result)
    }

    async fn poison(&self, message: &Received) -> Settle {
        if let Some(version) =
            envelope_version(&message.payload).filter(|version| *version > ENVELOPE_VERSION)
        {
            return newer(message, version);
        }
        tracing::error!(
            subject = message.subject,
            sequence = message.sequence,
            "a delivery handed out again and again: given up"
        );
        match serde_json::from_slice::<Delivery>(&message.payload) {
            Ok(delivery) => {
                let step = format!("s{}", message.sequence);
                let detail = Some("handed out again and again without a verdict".to_owned());
                settle(
                    &delivery,
                    Box::pin(dead::give_up(&self.tools.bus, &delivery, Reason::Poison, detail, &step)).await,
                )
            }
            Err(error) => self.unreadable(message, &error).await,
        }
    }
}

fn newer(message: &Received, version: u16) -> Settle {
    let sequence = message.sequence;
    tracing::error!(
        sequence,
        version,
        "a delivery of a newer version is left to newer workers: update this one"
    );
    Settle::HandBack(clock::jittered(AFTER_NEWER_VERSION))
}

impl Worker {
    async fn unreadable(&self, message: &Received, error: &serde_json::Error) -> Settle {
        if let Some(version) =
            envelope_version(&message.payload).filter(|version| *version > ENVELOPE_VERSION)
        {
            return newer(message, version);
        }
        tracing::error!(subject = message.subject, sequence = message.sequence, %error, "a delivery that cannot be read: kept among the dead letters");
        let bus = &self.tools.bus;
        let grave = dead::Grave {
            subject: bus.names.dead_message(),
            id: format!("deliveries/s{}", message.sequence),
            reason: Reason::Undecodable,
            detail: error.to_string(),
        };
        match Box::pin(dead::bury(bus, message, &grave)).await {
            Ok(()) => Settle::Done,
            Err(_) => Settle::Again(clock::jittered(AFTER_TROUBLE)),
        }
    }
}

fn settle(delivery: &Delivery, result: Result<(), BusError>) -> Settle {
    match result {
        Ok(()) => Settle::Done,
        Err(error) => {
            tracing::warn!(delivery = %delivery.id, %error, "a delivery could not be taken on now");
            Settle::Again(clock::jittered(AFTER_TROUBLE))
        }
    }
}

impl Hand<'_> {
    async fn deliver(&self, shares: &Shares) -> Result<(), BusError> {
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
        let to = match spec.addressing() {
            Addressing::Fixed | Addressing::Named => None,
            Addressing::Contact(contact) => {
                match Box::pin(addresses::find(&self.tools.people, contact, delivery)).await? {
                    Ok(address) => Some(address),
                    Err(why) => return self.suppress(Reason::NoAddress, Some(why)).await,
                }
            }
        };
        let share = shares.enter(&delivery.workspace, &delivery.channel).await;
        self.still_ours()?;
        let share = match share {
            Ok(share) => share,
            Err(wait) => return self.put_off(after(now, clock::jittered(wait)), "share").await,
        };
        let built = self.tools.adapters.get(&delivery.workspace, &spec);
        self.attempt(&built, to.as_ref()).await;
        drop(share);
        Ok(())
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
        Box::pin(send::settle_fate(&self.tools.bus, self.delivery, own)).await
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

    async fn attempt(&self, built: &Built, to: Option<&Redacted<String>>) {
        let (delivery, started, began) = (self.delivery, Instant::now(), clock::now());
        metrics::attempt_started(delivery);
        let sent = self.send(built, to, began).await;
        let (took, now) = (started.elapsed(), clock::now());
        let standing = Standing {
            attempt: delivery.attempt,
            postponed: delivery.postponed,
            expires_at: delivery.expires_at,
            schedule: &built.schedule,
            now,
            dice: clock::chance(),
        };
        let decision = decide(sent, &standing);
        let outcome = Outcome::of(delivery, decision.verdict.clone(), Some(took), now);
        self.log(&outcome, took);
        self.store(&decision, &outcome).await;
        if outcome.state.is_final() {
            self.tools.finished.insert(delivery);
        }
        metrics::attempt_finished(delivery, &outcome, took);
        if let Some(turn) = self.tools.unhealthy.turn(&outcome, to) {
            Box::pin(self.tools.unhealthy.tell(&self.tools.bus, &outcome, turn)).await;
        }
    }

    async fn send(
        &self,
        built: &Built,
        to: Option<&Redacted<String>>,
        at: Timestamp,
    ) -> Result<Receipt, SendError> {
        let adapter = match &built.adapter {
            Ok(adapter) => adapter,
            Err(fault) => {
                let detail = format!("the channel's configuration cannot be used: {fault}");
                return Err(SendError::Ours(Failure::new(Reason::Misconfigured, detail)));
            }
        };
        // A status that came in time stands, however long its body takes.
        let whole = built.timeout + BODY_WAIT;
        let sent = tokio::time::timeout(whole, adapter.send(self.delivery, to, at)).await;
        sent.map_err(|_| SendError::late(built.timeout))?
    }

    fn log(&self, outcome: &Outcome, took: Duration) {
        let delivery = self.delivery;
        tracing::info!(
            delivery = %delivery.id,
            workspace = %delivery.workspace,
            channel = %delivery.channel,
            kind = delivery.kind.map_or("", crate::channel::Kind::as_str),
            rule = delivery.rule.as_ref().map_or("", crate::ids::RuleId::as_str),
            event = delivery.event.id,
            attempt = delivery.attempt,
            redrive = delivery.redrive,
            state = outcome.state.as_str(),
            reason = outcome.reason.as_str(),
            code = outcome.code,
            detail = outcome.detail,
            duration_ms = took.as_millis(),
            next_at = outcome.next_at.map(tracing::field::display),
            "attempt finished"
        );
    }

    /// Stores what a try led to, however long that takes.
    async fn store(&self, decision: &Decision, outcome: &Outcome) {
        loop {
            match self.store_once(decision, outcome).await {
                Ok(()) => return,
                Err(error) => {
                    metrics::outcome_store_failed();
                    tracing::warn!(delivery = %self.delivery.id, %error, "an outcome is not stored yet");
                    clock::sleep(clock::jittered(STORE_AGAIN)).await;
                }
            }
        }
    }

    async fn store_once(&self, decision: &Decision, outcome: &Outcome) -> Result<(), BusError> {
        let (bus, delivery, id) = (&self.tools.bus, self.delivery, self.message_id());
        if let Some(until) = decision.pause_until {
            Box::pin(self.tools.pauses.pause(&delivery.workspace, &delivery.channel, until)).await?;
        }
        match decision.next {
            Next::GiveUp => return Box::pin(dead::record_failure(bus, delivery, outcome, &id)).await,
            Next::Settled => {}
            Next::Retry(due) => Box::pin(self.schedule(delivery.next_attempt(), due)).await?,
            Next::Postpone(due) => Box::pin(self.schedule(delivery.postponed(), due)).await?,
        }
        bus.record(outcome, &id).await?;
        metrics::outcome(outcome);
        Ok(())
    }

    /// Puts it off without a try.
    async fn put_off(&self, due: Timestamp, why: &'static str) -> Result<(), BusError> {
        if due >= self.delivery.expires_at {
            return self.give_up(Reason::Expired, "it would expire before its turn").await;
        }
        Box::pin(self.schedule(self.delivery.put_off(), due)).await?;
        metrics::postponed(why);
        tracing::debug!(delivery = %self.delivery.id, %due, why, "put off");
        Ok(())
    }

    async fn schedule(&self, next: Delivery, due: Timestamp) -> Result<(), BusError> {
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

    async fn give_up(&self, reason: Reason, detail: &str) -> Result<(), BusError> {
        let step = format!("s{}", self.sequence);
        let detail = Some(detail.to_owned());
        Box::pin(dead::give_up(&self.tools.bus, self.delivery, reason, detail, &step)).await?;
        self.tools.finished.insert(self.delivery);
        Ok(())
    }

    /// What is published for this message is published once.
    fn message_id(&self) -> String {
        format!("{}/s{}", self.delivery.id, self.sequence)
    }
}

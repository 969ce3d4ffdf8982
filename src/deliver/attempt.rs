//! One try of a delivery in hand, and everything that it led to stored.
//!
//! What became of it has its state in its id besides the message's sequence: handed out again after a crash the same message
//! may end otherwise. After a try nothing gives up storing its outcome short of the process's end, since handing the message
//! back would send it twice.

use std::time::{Duration, Instant};

use super::adapters::Built;
use super::addresses::Destination;
use super::hand::Hand;
use super::thread::Claim;
use super::{Decision, Next, Standing, decide};
use crate::bus::BusError;
use crate::channel::http::BODY_WAIT;
use crate::channel::{Failure, Receipt, SendError, Try};
use crate::clock;
use crate::dead;
use crate::delivery::Delivery;
use crate::device::reach::{Concluded, Reach};
use crate::metrics;
use crate::outcome::{Outcome, Reason};

/// Between two tries to store what a send led to.
const STORE_AGAIN: Duration = Duration::from_millis(500);

impl Hand<'_> {
    pub(super) async fn attempt(&self, built: &Built, destination: &Destination, claim: Option<&Claim>) {
        let (delivery, started, began) = (self.delivery, Instant::now(), clock::now());
        metrics::attempt_started(delivery);
        let (to, audience) = (destination.to.as_ref(), destination.audience.as_ref());
        let devices = audience.map_or(&[][..], |audience| &audience.devices);
        let attempt = Try {
            delivery,
            to,
            earlier: claim.and_then(Claim::earlier),
            devices,
            unsubscribe: destination.unsubscribe.as_deref(),
            at: began,
        };
        let sent = if audience.is_some() && devices.is_empty() {
            // The last of them was removed meanwhile.
            Ok(Receipt::default())
        } else {
            self.send(built, attempt).await
        };
        let took = started.elapsed();
        if let Some(claim) = claim {
            Box::pin(self.release(claim, &sent)).await;
        }
        let now = clock::now();
        let standing = Standing {
            attempt: delivery.attempt,
            postponed: delivery.postponed,
            expires_at: delivery.expires_at,
            schedule: &built.schedule,
            now,
            dice: clock::chance(),
        };
        let (decision, progress) = match audience {
            None => (decide(sent, &standing), None),
            Some(audience) => {
                let Concluded { reach, result, tally, goes_on } = audience.conclude(sent);
                let decision = if goes_on { Decision::go_on(&reach, now) } else { decide(result, &standing) };
                let delivery = self.with_reach(reach, decision.next);
                (decision, Some((delivery, tally)))
            }
        };
        let outcome = Outcome::of(delivery, decision.verdict.clone(), Some(took), now);
        self.log(&outcome, took);
        let some_reached = progress.as_ref().is_some_and(|(_, tally)| tally.reached > 0);
        match progress {
            None => self.store(&decision, &outcome).await,
            Some((delivery, tally)) => {
                let hand = Hand { delivery: &delivery, ..*self };
                Box::pin(hand.after_devices(tally, devices, &decision)).await;
                hand.store(&decision, &outcome).await;
            }
        }
        if outcome.state.is_final() {
            self.tools.finished.insert(delivery);
        }
        metrics::attempt_finished(delivery, &outcome, took);
        // One browser's service, or a device that is gone, says nothing about the channel.
        let of_a_device = audience.is_some() && (outcome.reason == Reason::Gone || some_reached);
        if let Some(turn) = self.tools.unhealthy.turn(&outcome, to).filter(|_| !of_a_device) {
            Box::pin(self.tools.unhealthy.tell(&self.tools.bus, &outcome, turn)).await;
        }
    }

    /// The delivery as the try left it. Given up without having reached anybody it begins anew if it is sent again.
    fn with_reach(&self, reach: Reach, next: Next) -> Delivery {
        let anew = next == Next::GiveUp && reach.reached == 0 && !reach.has_more();
        Delivery { reach: (!anew).then(|| Box::new(reach)), ..self.delivery.clone() }
    }

    async fn send(&self, built: &Built, attempt: Try<'_>) -> Result<Receipt, SendError> {
        let adapter = match &built.adapter {
            Ok(adapter) => adapter,
            Err(fault) => {
                let detail = format!("the channel's configuration cannot be used: {fault}");
                return Err(SendError::Ours(Failure::new(Reason::Misconfigured, detail)));
            }
        };
        // A status that came in time stands, however long its body takes.
        let whole = built.timeout + BODY_WAIT;
        let sent = tokio::time::timeout(whole, adapter.send(attempt)).await;
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
            Next::GoOn => self.requeue(&delivery.postponed()).await?,
            Next::Postpone(due) => Box::pin(self.schedule(delivery.postponed(), due)).await?,
        }
        bus.record(outcome, &id).await?;
        metrics::outcome(outcome);
        Ok(())
    }
}

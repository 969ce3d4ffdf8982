//! One try of a delivery in hand, and everything that it led to stored.
//!
//! What became of it has its state in its id besides the message's sequence: handed out again after a crash the same message
//! may end otherwise. After a try nothing gives up storing its outcome short of the process's end, since handing the message
//! back would send it twice.

use std::time::{Duration, Instant};

use super::adapters::Built;
use super::addresses::Destination;
use super::circuit::{Probe, TryEnd};
use super::hand::Hand;
use super::thread::Claim;
use super::{Decision, Next, Standing, decide, failover};
use crate::bus::BusError;
use crate::channel::http::BODY_WAIT;
use crate::channel::tally::Tally;
use crate::channel::{ChannelSpec, Failure, Receipt, SendError, Try};
use crate::clock;
use crate::dead;
use crate::delivery::Delivery;
use crate::device::reach::{Concluded, Reach};
use crate::metrics;
use crate::outcome::{Outcome, Reason, State};

/// Between two tries to store what a send led to.
const STORE_AGAIN: Duration = Duration::from_millis(500);

/// One try within the channel's time.
pub(super) async fn one_try(built: &Built, attempt: Try<'_>) -> Result<Receipt, SendError> {
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

/// How a delivery comes to its try.
pub(super) struct Standpoint<'a> {
    pub destination: &'a Destination,
    pub probe: Option<Probe>,
    /// Of the limits that it counts against, the one that the fewest share: a 429 concerns all of them, or one of them that
    /// it does not name.
    pub narrowest: Option<&'a str>,
}

/// What a try led to, not stored yet.
struct Led<'a> {
    decision: &'a Decision,
    outcome: &'a Outcome,
    /// Who gets it now.
    stand_in: Option<&'a ChannelSpec>,
    narrowest: Option<&'a str>,
}

/// How far a delivery came among devices.
struct Among {
    /// As the try left it.
    delivery: Delivery,
    tally: Tally,
}

impl Among {
    fn nobody_reached(&self) -> bool {
        self.delivery.reach.as_ref().is_none_or(|reach| reach.reached == 0)
    }
}

impl Hand<'_> {
    pub(super) async fn attempt(&self, built: &Built, standpoint: Standpoint<'_>, claim: Option<&Claim>) {
        let Standpoint { destination, probe, narrowest } = standpoint;
        let (delivery, started, began) = (self.delivery, Instant::now(), clock::now());
        metrics::attempt_started(delivery);
        let attempt = destination.attempt(delivery, claim.and_then(Claim::earlier), began);
        let sent = if destination.audience.is_some() && attempt.devices.is_empty() {
            // The last of them was removed meanwhile.
            Ok(Receipt::default())
        } else {
            one_try(built, attempt).await
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
        let (mut decision, among) = self.decide(destination, sent, &standing);
        // Whom some devices have told needs no other channel.
        let given_up = decision.next == Next::GiveUp && among.as_ref().is_none_or(Among::nobody_reached);
        let stand_in = if given_up { self.stand_in(&built.spec) } else { None };
        if let Some(stand_in) = &stand_in {
            decision.verdict.detail = Some(failover::told(decision.verdict.detail.as_deref(), stand_in));
        }
        let outcome = Outcome::of(delivery, decision.verdict.clone(), Some(took), now);
        self.log(&outcome, took);
        let some_reached = among.as_ref().is_some_and(|among| among.tally.reached > 0);
        let led = Led { decision: &decision, outcome: &outcome, stand_in: stand_in.as_deref(), narrowest };
        match among {
            None => self.store(&led).await,
            Some(Among { delivery, tally }) => {
                let hand = Hand { delivery: &delivery, ..*self };
                Box::pin(hand.after_devices(tally, destination.devices(), &decision)).await;
                hand.store(&led).await;
            }
        }
        if outcome.state.is_final() {
            self.tools.finished.insert(delivery);
        }
        metrics::attempt_finished(delivery, &outcome, took);
        let own_address = destination.is_the_recipients();
        let end = TryEnd { probe, own_address, some_reached };
        self.tools.circuits.note(delivery, &built.spec, &outcome, end).await;
        if outcome.state == State::Sent || !some_reached {
            self.tools.failing.note(&outcome, built, !own_address).await;
        }
    }

    /// What the try's end means, and how far the delivery has come among devices if it is for some.
    fn decide(
        &self,
        destination: &Destination,
        sent: Result<Receipt, SendError>,
        standing: &Standing<'_>,
    ) -> (Decision, Option<Among>) {
        let Some(audience) = &destination.audience else { return (decide(sent, standing), None) };
        let Concluded { reach, result, tally, goes_on } = audience.conclude(sent);
        let decision = if goes_on { Decision::go_on(&reach, standing.now) } else { decide(result, standing) };
        let delivery = self.with_reach(reach, decision.next);
        (decision, Some(Among { delivery, tally }))
    }

    /// The delivery as the try left it. Given up without having reached anybody it begins anew if it is sent again.
    fn with_reach(&self, reach: Reach, next: Next) -> Delivery {
        let anew = next == Next::GiveUp && reach.reached == 0 && !reach.has_more();
        Delivery { reach: (!anew).then(|| Box::new(reach)), ..self.delivery.clone() }
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
    async fn store(&self, led: &Led<'_>) {
        loop {
            match self.store_once(led).await {
                Ok(()) => return,
                Err(error) => {
                    metrics::outcome_store_failed();
                    tracing::warn!(delivery = %self.delivery.id, %error, "an outcome is not stored yet");
                    clock::sleep(clock::jittered(STORE_AGAIN)).await;
                }
            }
        }
    }

    async fn store_once(&self, led: &Led<'_>) -> Result<(), BusError> {
        let (bus, delivery, id) = (&self.tools.bus, self.delivery, self.message_id());
        let Led { decision, outcome, stand_in, narrowest } = led;
        if let Some(until) = decision.pause_until {
            Box::pin(self.tools.pauses.pause(&delivery.workspace, &delivery.channel, until)).await?;
            if let Some(limit) = narrowest {
                Box::pin(self.tools.pauses.pause_limit(limit, until)).await?;
            }
        }
        if let Some(stand_in) = stand_in {
            Box::pin(self.hand_over(stand_in)).await?;
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

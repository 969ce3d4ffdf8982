//! One try of a delivery in hand, and everything that it led to stored.
//!
//! What became of it has its state in its id besides the message's sequence: handed out again after a crash the same message
//! may end otherwise. After a try nothing gives up storing its outcome short of the process's end, since handing the message
//! back would send it twice.

use std::time::{Duration, Instant};

use super::adapters::Built;
use super::addresses::Destination;
use super::circuit::{Probe, TryEnd};
use super::failing::Seen;
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
use crate::trace;

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

impl Hand<'_> {
    pub(super) async fn attempt(&self, built: &Built, standpoint: Standpoint<'_>, claim: Option<&Claim>) {
        let Standpoint { destination, probe, narrowest } = standpoint;
        let (delivery, started, began) = (self.delivery, Instant::now(), clock::now());
        metrics::attempt_started(delivery);
        let traceparent = trace::export::traceparent(delivery);
        let attempt = destination.attempt(delivery, claim.and_then(Claim::earlier), began);
        let attempt = Try { traceparent: traceparent.as_deref(), ..attempt };
        let sent = if destination.audience.is_some() && attempt.devices.is_empty() {
            // The last of them was removed meanwhile.
            Ok(Receipt::default())
        } else {
            one_try(built, attempt).await
        };
        let took = started.elapsed();
        let wants_no_more = sent.as_ref().is_err_and(SendError::wants_no_more);
        if let Some(claim) = claim {
            Box::pin(self.release(claim, &sent)).await;
        }
        let now = clock::now();
        let standing = Standing {
            attempt: delivery.attempt,
            postponed: delivery.postponed_in_a_row(),
            expires_at: delivery.expires_at,
            schedule: &built.schedule,
            now,
            dice: clock::chance(),
        };
        let (mut decision, among) = self.decide(destination, sent, &standing);
        // As the try left it: whom some devices have told needs no other channel.
        let left = among.as_ref().map_or(delivery, |among| &among.delivery);
        let stand_in = match decision.next {
            Next::GiveUp => Hand { delivery: left, ..*self }.stand_in(&built.spec),
            Next::Settled | Next::Retry(_) | Next::Postpone(_) | Next::GoOn => None,
        };
        if let Some(stand_in) = &stand_in {
            decision.verdict.detail = Some(failover::told(decision.verdict.detail.as_deref(), stand_in));
        }
        let outcome = Outcome::of(delivery, decision.verdict.clone(), Some(took), now);
        self.log(&outcome, took);
        trace::export::attempted(delivery, &outcome, took);
        let some_reached = among.as_ref().is_some_and(|among| among.tally.reached > 0);
        let led = Led { decision: &decision, outcome: &outcome, stand_in: stand_in.as_deref(), narrowest };
        let stored = match among {
            None => self.store(&led).await,
            Some(Among { delivery, tally }) => {
                let hand = Hand { delivery: &delivery, ..*self };
                Box::pin(hand.after_devices(tally, destination.devices(), &decision)).await;
                hand.store(&led).await
            }
        };
        if stored.is_final() {
            self.tools.finished.insert(delivery);
        }
        metrics::attempt_finished(delivery, &outcome, took);
        let whose = destination.whose(built.spec.kind);
        let end = TryEnd { probe, whose, some_reached };
        self.tools.circuits.note(delivery, &built.spec, &outcome, end).await;
        if outcome.state == State::Sent || !some_reached {
            let seen = Seen {
                outcome: &outcome,
                spec: &built.spec,
                connection: built.connection.as_deref(),
                whose,
                wants_no_more,
            };
            self.tools.failing.note(&seen).await;
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

    /// Stores what a try led to, however long that takes, and says what stands of it: what the broker does not carry on is
    /// given up, since it never will.
    async fn store(&self, led: &Led<'_>) -> State {
        loop {
            let stored = match self.store_once(led).await {
                Ok(()) => return led.outcome.state,
                Err(BusError::TooLarge { .. }) => Box::pin(self.give_up_too_large(led.outcome)).await,
                Err(error) => Err(error),
            };
            match stored {
                Ok(()) => return State::Failed,
                Err(error) => {
                    metrics::outcome_store_failed();
                    tracing::warn!(delivery = %self.delivery.id, %error, "an outcome is not stored yet");
                    clock::sleep(clock::jittered(STORE_AGAIN)).await;
                }
            }
        }
    }

    /// The letter has no names of devices: sent again it goes to those whose turn had not come.
    async fn give_up_too_large(&self, outcome: &Outcome) -> Result<(), BusError> {
        let reach = self.delivery.reach.as_ref().filter(|reach| reach.reached > 0);
        let reach = reach.map(|reach| Box::new(reach.without_names()));
        let delivery = Delivery { reach, ..self.delivery.clone() };
        let (bus, outcome, id) = (&self.tools.bus, outcome.given_up_too_large(), self.message_id());
        match Box::pin(dead::record_failure(bus, &delivery, &outcome, &id)).await {
            Err(BusError::TooLarge { .. }) => {
                Box::pin(dead::record_failure(bus, &delivery, &outcome.without_body(), &id)).await
            }
            recorded => recorded,
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
            Next::GoOn => self.requeue(&delivery.continued()).await?,
            Next::Postpone(due) => Box::pin(self.schedule(delivery.postponed(), due)).await?,
        }
        match bus.record(outcome, &id).await {
            Err(BusError::TooLarge { .. }) => bus.record(&outcome.without_body(), &id).await?,
            recorded => recorded?,
        };
        metrics::outcome(outcome);
        Ok(())
    }
}

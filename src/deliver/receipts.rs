//! Receipts: what became of messages that a provider had accepted, asked for when it knows.
//!
//! The message that asks is a timer of its own beside the delivery's: a retry for other devices goes its own way. The history keeps
//! `sent` (the provider has it) and shows in the timeline what was told later. A broadcast asks once for each try.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use super::adapters::Built;
use super::after;
use super::hand::Hand;
use crate::bus::{BusError, devices};
use crate::channel::tally::{Asking, Told};
use crate::channel::{Enabled, SendError};
use crate::clock;
use crate::dead;
use crate::delivery::Delivery;
use crate::device::Device;
use crate::device::reach::{Reach, Receipts, counted};
use crate::metrics;
use crate::outcome::{Outcome, Reason, State, Verdict};

/// Expo keeps receipts for a day.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// Asking again waits twice as long each time, up to this.
const WAIT_MAX: Duration = Duration::from_secs(4 * 3600);
/// Tells outcomes of receipts apart in the history, where tries have numbers of their own.
const STEPS_PER_ATTEMPT: u32 = 1_000;

impl Hand<'_> {
    pub(super) async fn ask_for_receipts(&self, asked: &Receipts) -> Result<(), BusError> {
        let delivery = self.delivery;
        let spec = self.channel().await?.map(|(spec, _)| spec);
        let spec = spec.filter(|spec| Some(spec.kind) == delivery.kind);
        let now = clock::now();
        let Some(spec) = spec else {
            return self.record_receipts(&asked.with_reason("the channel is gone"), now).await;
        };
        if spec.enabled != Enabled::On || self.connection_off(&spec).is_some() {
            // It may be on again while the provider still knows.
            if self.later(asked, now).await? {
                return Ok(());
            }
            return self.record_receipts(&asked.with_reason("the channel is off"), now).await;
        }
        let built = self.tools.adapters.get(&delivery.workspace, &spec);
        let told = ask(&built, asked, now).await;
        self.still_ours()?;
        match told {
            Ok(told) => self.hear(&built, asked.clone(), told).await,
            Err(error) => {
                tracing::warn!(delivery = %delivery.id, channel = %delivery.channel, reason = error.failure().reason.as_str(), detail = error.failure().detail, "receipts could not be had");
                self.later_or_never(asked.clone(), now).await
            }
        }
    }

    async fn hear(&self, built: &Built, asked: Receipts, told: Told) -> Result<(), BusError> {
        let (delivery, now) = (self.delivery, clock::now());
        let count = |list: usize| u32::try_from(list).unwrap_or(u32::MAX);
        let mut receipts = Receipts {
            confirmed: asked.confirmed + told.confirmed,
            gone: asked.gone + count(told.gone.len()),
            refused: asked.refused + told.refused,
            why: told.why.or(asked.why.clone()),
            tickets: told.waiting,
            ..asked
        };
        if let (Some(kind), false) = (delivery.kind, told.gone.is_empty()) {
            let found = devices::get(&self.tools.bus, &delivery.workspace, kind, &told.gone).await?;
            // Whoever came back since then is not gone.
            let gone: Vec<&Device> =
                found.iter().filter(|device| device.last_seen_at <= receipts.sent_at).collect();
            self.remove_gone(&gone).await;
        }
        if !told.again.is_empty() {
            let index = usize::try_from(delivery.attempt.saturating_sub(1)).unwrap_or(usize::MAX);
            let due = built.schedule.get(index).map(|wait| after(now, clock::jittered(*wait)));
            match due.filter(|due| *due < delivery.expires_at) {
                Some(due) => {
                    receipts.again += count(told.again.len());
                    let reach = Reach {
                        todo: told.again,
                        after: None,
                        reached: receipts.confirmed,
                        again: true,
                        ..Reach::default()
                    };
                    let next = Delivery { reach: Some(Box::new(reach)), ..delivery.next_attempt() };
                    self.beside(&next, due, "again").await?;
                }
                None => receipts.refused += count(told.again.len()),
            }
        }
        self.later_or_never(receipts, now).await
    }

    /// Asks again for what is not known yet, as long as it may be known; else records what is known.
    async fn later_or_never(&self, receipts: Receipts, now: Timestamp) -> Result<(), BusError> {
        if self.later(&receipts, now).await? { Ok(()) } else { self.record_receipts(&receipts, now).await }
    }

    /// False when there is nothing to ask for, or nobody knows it any more.
    async fn later(&self, receipts: &Receipts, now: Timestamp) -> Result<bool, BusError> {
        let first = Duration::from_millis(receipts.after_ms);
        let wait =
            first.saturating_mul(2_u32.saturating_pow(receipts.asked.min(20))).min(WAIT_MAX.max(first));
        let due = after(now, wait);
        if receipts.tickets.is_empty() || due >= after(receipts.sent_at, KEPT_FOR) {
            return Ok(false);
        }
        let next = self.asking(Receipts { asked: receipts.asked + 1, ..receipts.clone() });
        self.beside(&next, due, "receipts").await.map(|()| true)
    }

    async fn record_receipts(&self, receipts: &Receipts, now: Timestamp) -> Result<(), BusError> {
        let delivery = self.delivery;
        let unknown = u32::try_from(receipts.tickets.len()).unwrap_or(u32::MAX);
        let all = receipts.confirmed + receipts.gone + receipts.refused + receipts.again + unknown;
        let nobody = receipts.whole && receipts.gone + receipts.refused == all && all > 0;
        let verdict = match (nobody, receipts.settled) {
            (true, _) if receipts.refused == 0 => Verdict::new(State::Failed, Reason::Gone),
            (true, _) => Verdict::new(State::Failed, Reason::Rejected),
            (false, true) => Verdict::new(State::Sent, Reason::Confirmed),
            (false, false) => Verdict::new(State::Retrying, Reason::Confirmed),
        };
        let outcome = Outcome::of(delivery, verdict.detail(in_words(receipts, all, unknown)), None, now);
        // Not a try, and not the only one of its sort.
        let step = delivery.attempt.saturating_sub(1).saturating_mul(STEPS_PER_ATTEMPT);
        let outcome = Outcome { postponed: step.saturating_add(delivery.postponed), ..outcome };
        tracing::info!(delivery = %delivery.id, workspace = %delivery.workspace, channel = %delivery.channel, confirmed = receipts.confirmed, gone = receipts.gone, refused = receipts.refused, again = receipts.again, unknown, detail = outcome.detail, "receipts heard");
        if nobody {
            // A redrive looks for whoever is subscribed by then.
            let letter = Delivery { reach: None, ..delivery.clone() };
            return Box::pin(dead::record_failure(&self.tools.bus, &letter, &outcome, &self.message_id()))
                .await;
        }
        self.tools.bus.record(&outcome, &self.message_id()).await?;
        metrics::outcome(&outcome);
        Ok(())
    }
}

async fn ask(built: &Built, asked: &Receipts, at: Timestamp) -> Result<Told, SendError> {
    let Ok(adapter) = &built.adapter else {
        let failure = crate::channel::Failure::new(Reason::Misconfigured, "its configuration cannot be used");
        return Err(SendError::Ours(failure));
    };
    let asking = Asking { tickets: &asked.tickets, at };
    let answered = tokio::time::timeout(built.timeout * 2, adapter.ask(asking)).await;
    answered.map_err(|_| SendError::late(built.timeout))?
}

fn in_words(receipts: &Receipts, all: u32, unknown: u32) -> String {
    let mut text =
        format!("confirmed for {}", counted(receipts.confirmed, all, receipts.gone, receipts.refused));
    // Writing to a String cannot fail.
    if receipts.again > 0 {
        write!(text, "; {} sent to again", receipts.again).ok();
    }
    if unknown > 0 {
        write!(text, "; nothing was told of {unknown}").ok();
    }
    if let Some(why) = &receipts.why {
        write!(text, "; {why}").ok();
    }
    text
}

//! An event of the past, routed as if it were new: by the rules of now, with the preferences and windows of now.
//!
//! All events of one job count as stored in the moment that the job was made: an event that is routed twice, because a process
//! ended in between, then meets its windows as it did the first time.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::take::{Took, Way};
use super::{Router, through};
use crate::bus::consumer::Received;
use crate::bus::{BusError, schedule};
use crate::clock;
use crate::delivery::Delivery;
use crate::event::Event;
use crate::ids::{DeliveryId, RuleId};
use crate::outcome::{Reason, State};
use crate::route::throttle::{self, Entrant};
use crate::route::{Firing, Step, expiry};
use crate::store::deliveries::Seen;

/// How events are routed again.
#[derive(Debug, Clone, Copy)]
pub struct Again<'a> {
    pub job: &'a str,
    /// When the job was made.
    pub at: Timestamp,
    /// Only these; empty: all.
    pub rules: &'a [RuleId],
    pub fresh_ids: bool,
}

/// What became of an event's deliveries.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub sent: u64,
    /// They were sent before, or are on their way.
    pub known: u64,
    pub suppressed: BTreeMap<Reason, u64>,
    pub failed: BTreeMap<Reason, u64>,
    /// Those that go out.
    pub going: Vec<Delivery>,
}

impl Tally {
    fn note(&mut self, took: Took) {
        match took {
            Took::Out => self.sent += 1,
            Took::Before => self.known += 1,
            Took::Suppressed(reason) => *self.suppressed.entry(reason).or_default() += 1,
            Took::GivenUp(reason) => *self.failed.entry(reason).or_default() += 1,
        }
    }
}

impl Router {
    /// What an event leads to now.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn plan_again(
        &self,
        event: &Event,
        message: &Received,
        again: Again<'_>,
    ) -> Result<Vec<Firing>, BusError> {
        let (mut firings, _) = self.planned(event, through(message), again.at)?;
        let wanted =
            |step: &Step| step.delivery().rule.as_ref().is_some_and(|rule| again.rules.contains(rule));
        firings.retain(|firing| again.rules.is_empty() || firing.steps.first().is_some_and(wanted));
        let (snapshot, now) = (self.directory.snapshot(), clock::now());
        let rework = |delivery: Delivery| {
            let key = (delivery.workspace.clone(), delivery.channel.clone());
            let expires_at = expiry(now, snapshot.channels.get(&key).map(std::convert::AsRef::as_ref));
            let id = if again.fresh_ids { delivery.id.afresh(again.job) } else { delivery.id.clone() };
            Some(Delivery { id, expires_at, ..delivery })
        };
        let firings = firings.into_iter().map(|firing| firing.reworked(rework)).collect();
        self.heeded(event, firings).await
    }

    /// Leaves out what was sent or is on its way; what ended otherwise begins a new life.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn without_known(
        &self,
        firings: Vec<Firing>,
        history: &HashMap<DeliveryId, Seen>,
        tally: &mut Tally,
    ) -> Result<Vec<Firing>, BusError> {
        let mut waiting = Vec::new();
        for delivery in firings.iter().flat_map(|firing| &firing.steps).map(Step::delivery) {
            // One that its worker put off before the first try has a timer and no record yet.
            if !history.contains_key(&delivery.id)
                && schedule::pending(&self.bus, &delivery.id).await?.is_some()
            {
                waiting.push(delivery.id.clone());
            }
        }
        let rework = |delivery: Delivery| {
            let seen = history.get(&delivery.id);
            if waiting.contains(&delivery.id) || seen.is_some_and(is_served) {
                tally.known += 1;
                return None;
            }
            let redrive = seen.map_or(0, |seen| seen.redrive + 1);
            Some(Delivery { redrive, ..delivery })
        };
        let mut rework = rework;
        let left = firings.into_iter().map(|firing| firing.reworked(&mut rework));
        Ok(left.filter(|firing| !firing.steps.is_empty()).collect())
    }

    /// Carries out what was planned.
    ///
    /// # Errors
    /// When the broker did not store all of it; doing it again is safe.
    pub async fn send_again(
        &self,
        (event, message): (&Event, &Received),
        mut firings: Vec<Firing>,
        again: Again<'_>,
        tally: &mut Tally,
    ) -> Result<(), BusError> {
        let place = throttle::place(&format!("job-{}", again.job), message.sequence, &event.id);
        let entrant = Entrant { event: &place, stored_at: again.at };
        let mut one = Tally::default();
        for firing in &mut firings {
            let way = Way { entrant, job: Some(again.job) };
            self.carry_out(event, firing, way, |took| one.note(took)).await?;
        }
        *tally = Tally { known: tally.known + one.known, ..one };
        Ok(())
    }

    /// What would be carried out, without asking the windows.
    pub fn would_send(firings: Vec<Firing>, tally: &mut Tally) {
        for step in firings.into_iter().flat_map(|firing| firing.steps) {
            match step {
                Step::Deliver(delivery) | Step::Hold(delivery, _) => {
                    tally.note(Took::Out);
                    tally.going.push(delivery);
                }
                Step::Suppress(_, reason) => tally.note(Took::Suppressed(reason)),
                Step::GiveUp(_, reason, _) => tally.note(Took::GivenUp(reason)),
            }
        }
    }
}

/// Somebody has it, or will have it without us. What another channel got in its place counts too.
fn is_served(seen: &Seen) -> bool {
    match seen.state {
        State::Sent | State::Scheduled | State::Retrying => true,
        State::Suppressed => seen.reason == Reason::FailedOver,
        State::Failed => false,
    }
}

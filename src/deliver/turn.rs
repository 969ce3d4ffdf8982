//! A delivery waits for its turn: a slot in each of the limits that its try counts against.
//!
//! The slowest limit is asked first, and there one may stand in line for long: by the broker's timer, with the slot on the
//! delivery. The others are asked when that slot has come, and only for a moment in which it still counts: to reserve ahead
//! in what many share (a bot) for what few share (a chat) would block the many. Who finds no such moment gets in line again:
//! that wastes a slot of the few, never one of the many.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::SemaphorePermit;

use super::after;
use super::hand::Hand;
use super::pace::Place;
use super::pace::book::{Ask, moment};
use super::share::Shares;
use crate::bus::BusError;
use crate::channel::ChannelSpec;
use crate::clock;
use crate::delivery::{Slot, Turn};
use crate::event::Severity;
use crate::metrics;
use crate::outcome::Reason;

/// Who waits no longer than this may stay in hand, if there is room for it.
const IN_HAND_MAX: Duration = Duration::from_secs(1);
/// The broker's timers fire up to 250 ms late: set this much early, the rest is waited in hand.
const EARLY: Duration = Duration::from_millis(400);
/// The limits that many share are busy: again after about this long.
const BUSY: Duration = Duration::from_secs(1);
/// Who stands in line for as long as this shows in the history.
const LONG_LINE: Duration = Duration::from_secs(60);
/// So often a moment may pass while another one is waited for.
const ROUNDS: u32 = 3;

impl Hand<'_> {
    /// True when its turn has come, and what it counts on; otherwise what becomes of it is stored.
    pub(super) async fn turn(
        &self,
        spec: &ChannelSpec,
        mut places: Vec<Place>,
        paused: Option<Timestamp>,
        shares: &Shares,
    ) -> Result<Option<Held>, BusError> {
        places.sort_by_key(|place| std::cmp::Reverse(place.rate.step()));
        let since = self.delivery.turn.as_ref().map_or_else(clock::now, |turn| turn.since);
        let mut held = Held { since, places, slots: Vec::new() };
        held.slots = self.delivery.turn.iter().flat_map(|turn| turn.slots.iter().cloned()).collect();
        held.drop_paused(paused);
        for _ in 0..ROUNDS {
            held.drop_stale(clock::now());
            for index in 0..held.places.len() {
                let place = held.places[index].clone();
                let slot = match held.slot_of(&place) {
                    Some(slot) => slot,
                    None => match self.reserve(&mut held, &place, paused).await? {
                        Some(slot) => slot,
                        None if held.slots.is_empty() => {
                            let detail = "its turn would come after its time is over";
                            return self.give_up(Some(spec), Reason::Expired, detail).await.map(|()| None);
                        }
                        None => {
                            let due = after(clock::now(), clock::jittered(BUSY));
                            return self.wait_in_line(spec, &held.anew("busy"), due).await.map(|()| None);
                        }
                    },
                };
                if !self.sleep_until(slot.at, shares).await {
                    let due = slot.at.checked_sub(EARLY).unwrap_or(slot.at).max(clock::now());
                    return self.wait_in_line(spec, &held.turn(), due).await.map(|()| None);
                }
            }
            if held.counts(clock::now()) {
                return Ok(Some(held));
            }
        }
        self.wait_in_line(spec, &held.anew("late"), clock::now()).await.map(|()| None)
    }

    async fn reserve(
        &self,
        held: &mut Held,
        place: &Place,
        paused: Option<Timestamp>,
    ) -> Result<Option<Slot>, BusError> {
        let last = held.last_moment().unwrap_or(self.delivery.expires_at.as_microsecond());
        let ask = Ask {
            cost: place.cost,
            urgent: self.delivery.severity == Severity::Critical,
            not_before: paused.map_or(0, Timestamp::as_microsecond),
            not_after: last,
        };
        let found = self.tools.pace.reserve(place, ask).await?;
        let slot = found.map(|at| Slot { of: place.of.clone(), at: moment(at) });
        held.slots.extend(slot.clone());
        Ok(slot)
    }

    /// False when it is too long to stay in hand, or too many do already.
    async fn sleep_until(&self, at: Timestamp, shares: &Shares) -> bool {
        let wait = Duration::try_from(at.duration_since(clock::now())).unwrap_or_default();
        if wait.is_zero() {
            return true;
        }
        let room: Option<SemaphorePermit<'_>> = shares.waiting.try_acquire().ok();
        if wait > IN_HAND_MAX || room.is_none() {
            return false;
        }
        clock::sleep(wait).await;
        true
    }

    /// Back to the queue that it is in, by timer.
    pub(super) async fn wait_in_line(
        &self,
        spec: &ChannelSpec,
        turn: &Turn,
        due: Timestamp,
    ) -> Result<(), BusError> {
        if due >= self.delivery.expires_at {
            let detail = "its time was over before its turn came";
            return self.give_up(Some(spec), Reason::Expired, detail).await;
        }
        Box::pin(self.tell_waiting(due, LONG_LINE, "its turn comes by its channel's rate")).await?;
        self.schedule(self.delivery.in_line(turn.clone()), due).await?;
        metrics::postponed("pace");
        tracing::debug!(delivery = %self.delivery.id, %due, "in line for its channel's rate");
        Ok(())
    }
}

/// What a delivery has of its limits.
pub(super) struct Held {
    since: Timestamp,
    /// The slowest first.
    places: Vec<Place>,
    slots: Vec<Slot>,
}

impl Held {
    fn turn(&self) -> Turn {
        Turn { since: self.since, slots: self.slots.clone() }
    }

    /// In line again, from its end.
    pub(super) fn anew(&self, why: &'static str) -> Turn {
        self.lose(why);
        Turn { since: self.since, slots: Vec::new() }
    }

    /// What it had passes unused.
    pub(super) fn lose(&self, why: &'static str) {
        metrics::pace_lost(why, self.slots.len());
    }

    /// The limit that the fewest share.
    pub(super) fn narrowest(&self) -> Option<&str> {
        self.places.first().map(|place| place.of.as_str())
    }

    pub(super) fn limits(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| place.of.as_str())
    }

    /// How long it was in line.
    pub(super) fn waited(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.since)).unwrap_or_default()
    }

    /// True while each slot counts.
    pub(super) fn counts(&self, now: Timestamp) -> bool {
        self.places.iter().all(|place| self.slot_of(place).is_some_and(|slot| now <= last_in(&slot, place)))
    }

    fn slot_of(&self, place: &Place) -> Option<Slot> {
        self.slots.iter().find(|slot| slot.of == place.of).cloned()
    }

    /// Drops what is over, and what belongs to limits that there are no more.
    fn drop_stale(&mut self, now: Timestamp) {
        let (places, before) = (&self.places, self.slots.len());
        self.slots
            .retain(|slot| places.iter().any(|place| place.of == slot.of && now <= last_in(slot, place)));
        metrics::pace_lost("late", before - self.slots.len());
    }

    /// Drops what lies in a pause.
    fn drop_paused(&mut self, until: Option<Timestamp>) {
        let before = self.slots.len();
        self.slots.retain(|slot| until.is_none_or(|until| slot.at >= until));
        metrics::pace_lost("paused", before - self.slots.len());
    }

    /// Until when all that it has counts, in microseconds; None when it has nothing yet.
    fn last_moment(&self) -> Option<i64> {
        let last = |place: &Place| self.slot_of(place).map(|slot| last_in(&slot, place).as_microsecond());
        self.places.iter().filter_map(last).min()
    }
}

/// The last moment at which a slot counts.
fn last_in(slot: &Slot, place: &Place) -> Timestamp {
    let lateness = SignedDuration::from_micros(place.rate.lateness());
    slot.at.checked_add(lateness).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Kind, Limit};

    fn place(of: &str, most: u32, per: u64) -> Place {
        let limit = Limit { of: of.to_owned(), most, per: Duration::from_secs(per), burst: 1, cost: 1 };
        Place::of(Kind::Telegram, &limit)
    }

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(millisecond).unwrap()
    }

    fn held(places: Vec<Place>, slots: &[(usize, i64)]) -> Held {
        let slot = |(index, moment): &(usize, i64)| Slot { of: places[*index].of.clone(), at: at(*moment) };
        let slots = slots.iter().map(slot).collect();
        Held { since: at(0), places, slots }
    }

    #[test]
    fn a_turn_counts_while_each_of_its_slots_does() {
        let places = vec![place("group", 20, 60), place("chat", 1, 1), place("bot", 30, 1)];
        let two = held(places.clone(), &[(0, 1_000), (1, 2_000)]);
        assert!(!two.counts(at(2_000)), "the third is missing");
        // The group's slot counts for five seconds, that of the chat for 80 ms: until then the bot's must be.
        assert_eq!(two.last_moment(), Some(2_080_000));
        let all = held(places, &[(0, 1_000), (1, 2_000), (2, 2_050)]);
        assert!(all.counts(at(2_080)) && !all.counts(at(2_081)));
        assert_eq!(held(vec![place("bot", 30, 1)], &[]).last_moment(), None);
    }

    #[test]
    fn a_slot_that_is_over_or_of_a_limit_that_changed_is_dropped() {
        let places = vec![place("group", 20, 60), place("chat", 1, 1)];
        let mut old = held(places.clone(), &[(0, 1_000), (1, 1_000)]);
        old.drop_stale(at(1_500));
        assert_eq!(old.slots.len(), 1);
        assert_eq!(old.slots[0].of, old.places[0].of);
        let mut changed = held(vec![place("group", 10, 60)], &[]);
        changed.slots = held(places, &[(0, 1_000)]).slots;
        changed.drop_stale(at(1_000));
        assert!(changed.slots.is_empty());
    }
}

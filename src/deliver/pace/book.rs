//! The arithmetic of a limit: which moments it has left. Pure: the moment is an argument, all times are microseconds.
//!
//! A limit's time is cut into slots, one a step; who reserves gets the next free ones. That alone spaces out; a burst may use
//! the slots of the next moments at once. Of any five slots the fifth is kept for the urgent, who also take any other one
//! that comes sooner, so that a long line delays them by five steps at most.
//!
//! What counts several times at once takes one slot, and as many as it counts more are left free on either side of it; within a
//! burst it takes a slot each.
//!
//! Why a limit holds in any window of `per`, bursts included: a slot's message goes out at most `tolerance` steps before the
//! slot and at most `patience` after it. So those of one window come from slots within `per + patience + tolerance × step`, and
//! the step is chosen so that this is exactly `most` steps long.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::channel::Limit;
use crate::documents::{BURST_MAX, PER_SECOND_MAX, PER_SECOND_MIN};

/// One slot in so many is kept for the urgent.
const URGENT_EVERY: i64 = 5;
/// How late a message may be for its slot. A tenth of the window, which costs a tenth of the rate; at least what a busy
/// process needs, and not more than anybody would wait.
const PATIENCE_PART: i64 = 10;
const PATIENCE_MIN: i64 = 100_000;
const PATIENCE_MAX: i64 = 10_000_000;

/// Of that lateness this part is for the way, which differs from message to message: what counts is when they arrive.
const WAY_PART: i64 = 5;

/// Of a limit's number this part may go at once: of a span up to a second the second one.
const BURST_PART: i64 = 4;
const BURST_PART_SHORT: i64 = 8;
const SHORT: i64 = 1_000_000;
/// From a millisecond to more than anybody limits.
const PER_MIN: i64 = 1_000;
const PER_MAX: i64 = 366 * 24 * 3_600 * 1_000_000;

/// The slots of a burst, with the kept ones between them.
fn at_once(burst: i64) -> i64 {
    let others = URGENT_EVERY - 1;
    burst + (burst - 1 + others - 1) / others
}

/// A limit as steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    step: i64,
    /// How many steps before its slot a message may go out.
    tolerance: i64,
    patience: i64,
    /// How many may go at once.
    burst: i64,
    /// How many go within the window. A try that counts more is more than the limit, whatever is done.
    most: i64,
}

/// What is reserved of a limit, as the fleet shares it: slot `n` is at `base + n × step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    base: i64,
    /// The first slot that nobody has and that is not kept for the urgent; all behind it are free.
    next: i64,
    /// The same of those that are kept.
    next_urgent: i64,
    /// Behind the last slot that somebody has; below zero by what was free before the base.
    end: i64,
}

/// What somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    pub cost: u32,
    pub urgent: bool,
    pub not_before: i64,
    /// A later moment is of no use: then nothing is reserved.
    pub not_after: i64,
}

/// Slots found, not taken yet.
struct Run {
    at: i64,
    last: i64,
}

impl Rate {
    #[must_use]
    pub fn of(limit: &Limit) -> Self {
        let most = i64::from(limit.most.max(1));
        let per = i64::try_from(limit.per.as_micros()).unwrap_or(PER_MAX).clamp(PER_MIN, PER_MAX);
        // A burst is taken off the lasting rate, and where nobody waits for long anyway it is worth little.
        let part = if per > SHORT { BURST_PART } else { BURST_PART_SHORT };
        let burst = i64::from(limit.burst).clamp(1, (most / part).max(1));
        Self::new(most - at_once(burst) + 1, per, burst)
    }

    /// So many a second, with a burst on top: in any second at most the sum of both.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "within the bounds of documents, and cut to them")]
    pub fn lasting(per_second: f64, burst: u32) -> Self {
        let per_second = per_second.clamp(PER_SECOND_MIN, PER_SECOND_MAX);
        // Whole ones: 1.5 a second are two in 1.33 seconds.
        let steps = per_second.ceil();
        let per = (steps / per_second * 1e6).ceil() as i64;
        Self::new(steps as i64, per, i64::from(burst.clamp(1, BURST_MAX)))
    }

    fn new(steps: i64, per: i64, burst: i64) -> Self {
        let patience = (per / PATIENCE_PART).clamp(PATIENCE_MIN, PATIENCE_MAX);
        let step = (per + patience + steps - 1) / steps;
        let tolerance = at_once(burst) - 1;
        Self { step, tolerance, patience, burst, most: steps + tolerance }
    }

    /// How late a message may begin, in microseconds.
    #[must_use]
    pub fn lateness(&self) -> i64 {
        self.patience - self.patience / WAY_PART
    }

    /// How long what was sent is of consequence.
    #[must_use]
    pub fn span(&self) -> i64 {
        self.most.saturating_mul(self.step)
    }

    /// The slowest limit is asked first.
    #[must_use]
    pub fn step(&self) -> i64 {
        self.step
    }
}

impl Book {
    /// Nothing is reserved, and nothing was lately.
    #[must_use]
    pub fn new(rate: Rate, now: i64) -> Self {
        Self::quiet(now, rate.most)
    }

    fn quiet(now: i64, free: i64) -> Self {
        Self { base: now, next: 0, next_urgent: 0, end: -free }
    }

    /// The moment of the next slots, which are taken with it; None when that is too late to be of use.
    pub fn reserve(&mut self, rate: Rate, now: i64, ask: &Ask) -> Option<i64> {
        let over = self.over(rate);
        if over <= now {
            // The next one need not wait for the grid.
            *self = Self::quiet(now, ((now - over) / rate.step).min(rate.most));
        }
        let from = now.max(ask.not_before);
        let slot_of = |moment: i64| (moment - self.base + rate.step - 1).div_euclid(rate.step).max(0);
        let first = slot_of(from);
        let cost = i64::from(ask.cost).clamp(1, rate.most);
        // Nobody gets a slot of the past any more.
        let free_before = (slot_of(now) - self.end).max(0);
        let lead = if cost > rate.burst { (cost - 1 - free_before).max(0) } else { 0 };
        let usual = self.usual(rate, from, first.max(self.next), (cost, lead));
        let kept = self.kept(rate, from, first);
        let kept = Some(kept).filter(|kept| ask.urgent && cost == 1 && kept.at <= usual.at);
        let found = kept.as_ref().unwrap_or(&usual);
        if found.at > ask.not_after {
            return None;
        }
        let behind = found.last + 1;
        if kept.is_some() {
            self.next_urgent = behind;
        } else {
            self.next = behind;
        }
        self.end = self.end.max(behind);
        Some(found.at)
    }

    /// When all that is reserved is over.
    #[must_use]
    pub fn over(&self, rate: Rate) -> i64 {
        self.base + self.end * rate.step
    }

    /// Slots without the kept ones, behind so many that stay free.
    fn usual(&self, rate: Rate, from: i64, first: i64, (cost, lead): (i64, i64)) -> Run {
        let not_kept = |slot: i64| if is_kept(slot) { slot + 1 } else { slot };
        let behind = |slot: i64, count: i64| (0..count).fold(not_kept(slot), |slot, _| not_kept(slot + 1));
        let slot = behind(first, lead);
        let last = behind(slot, cost - 1);
        let own = if cost > rate.burst { slot } else { last };
        Run { at: self.moment(rate, from, own), last }
    }

    /// The next one of the kept slots.
    fn kept(&self, rate: Rate, from: i64, first: i64) -> Run {
        let first = first.max(self.next_urgent);
        let last = first + (URGENT_EVERY - 1 - first % URGENT_EVERY);
        Run { at: self.moment(rate, from, last), last }
    }

    fn moment(&self, rate: Rate, from: i64, slot: i64) -> i64 {
        from.max(self.base + (slot - rate.tolerance) * rate.step)
    }
}

fn is_kept(slot: i64) -> bool {
    slot % URGENT_EVERY == URGENT_EVERY - 1
}

/// As a moment; far beyond everything there is none.
#[must_use]
pub fn moment(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn limit(most: u32, per_ms: u64, burst: u32) -> Limit {
        Limit { of: "x".to_owned(), most, per: Duration::from_millis(per_ms), burst, cost: 1 }
    }

    fn ask(urgent: bool) -> Ask {
        Ask { cost: 1, urgent, not_before: 0, not_after: i64::MAX }
    }

    #[test]
    fn a_quiet_limit_lets_the_next_one_go_at_once_and_spaces_the_others_out() {
        let rate = Rate::of(&limit(10, 1_000, 1));
        let mut book = Book::new(rate, 0);
        let at: Vec<i64> = (0..6).map(|_| book.reserve(rate, 50, &ask(false)).unwrap()).collect();
        // 110 ms each, the fifth slot is kept.
        assert_eq!(at, [50, 110_050, 220_050, 330_050, 550_050, 660_050]);
        let later = 100 * SECOND + 17;
        assert_eq!(book.reserve(rate, later, &ask(false)), Some(later));
    }

    #[test]
    fn an_urgent_one_does_not_stand_in_a_line_of_a_hundred_thousand() {
        let rate = Rate::of(&limit(1, 1_000, 1));
        let mut book = Book::new(rate, 0);
        let last = (0..100_000).map(|_| book.reserve(rate, 0, &ask(false)).unwrap()).last().unwrap();
        assert!(last > 34 * 3_600 * SECOND, "{last}");
        for nth in 1..=20 {
            let at = book.reserve(rate, 0, &ask(true)).unwrap();
            assert!(at <= nth * 5 * rate.step(), "{nth}: {at}");
        }
        // Where nobody stands in line it takes what comes first.
        assert_eq!(Book::new(rate, 0).reserve(rate, 7, &ask(true)), Some(7));
    }

    #[test]
    fn what_comes_too_late_takes_no_slot() {
        let rate = Rate::of(&limit(1, 1_000, 1));
        let mut book = Book::new(rate, 0);
        book.reserve(rate, 0, &ask(false)).unwrap();
        let before = book;
        assert_eq!(book.reserve(rate, 0, &Ask { not_after: SECOND, ..ask(false) }), None);
        assert_eq!(book, before);
        // Behind a pause.
        let paused = Ask { not_before: 60 * SECOND, ..ask(false) };
        let behind: Vec<i64> = (0..3).map(|_| book.reserve(rate, 0, &paused).unwrap()).collect();
        assert!(behind[0] >= 60 * SECOND && behind[0] < 62 * SECOND, "{behind:?}");
        assert!(behind.is_sorted_by(|one, next| next - one >= rate.step()), "{behind:?}");
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rate_pays_for_it() {
        let rate = Rate::of(&limit(20, 60_000, 5));
        let mut book = Book::new(rate, 0);
        let at: Vec<i64> = (0..7).map(|_| book.reserve(rate, 0, &ask(false)).unwrap()).collect();
        assert!(at[..5].iter().all(|at| *at == 0) && at[5] > 0, "{at:?}");
        assert_eq!(rate.step(), 66 * SECOND / 15);
    }

    /// The chance of a test, always the same.
    struct Dice(u64);

    impl Dice {
        fn up_to(&mut self, max: i64) -> i64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i64::try_from(self.0 >> 33).unwrap() % (max + 1)
        }
    }

    #[test]
    fn no_window_ever_holds_more_than_the_limit_however_late_they_are_and_whoever_asks() {
        for (most, per_ms, burst) in [
            (1, 1_000, 1),
            (1, 5_000, 1),
            (2, 1_000, 2),
            (10, 1_000, 3),
            (20, 60_000, 20),
            (30, 1_000, 30),
            (600, 1_000, 100),
        ] {
            let rate = Rate::of(&limit(most, per_ms, burst));
            let mut dice = Dice(u64::from(most) * 1_000 + per_ms);
            // More than that leaves no room for the kept slots.
            let cost_max = rate.most - (rate.most - 1 + URGENT_EVERY - 1) / URGENT_EVERY;
            let (mut book, mut now, mut sent) = (Book::new(rate, 0), 0, Vec::new());
            for _ in 0..6_000 {
                // Rushes, lulls of all lengths, pauses.
                if dice.up_to(9) == 0 {
                    now += dice.up_to(rate.step * 4);
                }
                if dice.up_to(199) == 0 {
                    now += dice.up_to(rate.step * 100);
                }
                let cost = 1 + dice.up_to(cost_max - 1) * i64::from(dice.up_to(9) == 0);
                let cost = u32::try_from(cost).unwrap();
                let not_before = if dice.up_to(99) == 0 { now + dice.up_to(rate.step * 30) } else { 0 };
                let ask = Ask { cost, urgent: dice.up_to(3) == 0, not_before, not_after: i64::MAX };
                let at = book.reserve(rate, now, &ask).unwrap();
                let late = at + dice.up_to(rate.patience);
                sent.extend((0..cost).map(|_| late));
            }
            sent.sort_unstable();
            let per = i64::try_from(per_ms).unwrap() * 1_000;
            for window in sent.windows(most as usize + 1) {
                let [first, .., last] = window else { panic!("{window:?}") };
                assert!(last - first >= per, "{most} in {per_ms} ms: {window:?}");
            }
        }
    }

    #[test]
    fn many_at_once_get_half_of_what_single_ones_would() {
        let rate = Rate::of(&limit(600, 1_000, 600));
        let mut book = Book::new(rate, 0);
        let hundred = Ask { cost: 100, ..ask(false) };
        assert_eq!(book.reserve(rate, 0, &hundred), Some(0), "after a quiet time at once");
        let last = (0..20).map(|_| book.reserve(rate, 0, &hundred).unwrap()).last().unwrap();
        assert!(last < 12 * SECOND, "{last}");
    }

    #[test]
    fn a_document_gives_a_lasting_rate_and_a_burst_on_top() {
        for (per_second, burst) in [(10.0, 1), (1.0, 5), (1.5, 1), (0.2, 2), (10_000.0, 1_000)] {
            let rate = Rate::lasting(per_second, burst);
            let mut book = Book::new(rate, 0);
            let at_once = (0..burst).filter(|_| book.reserve(rate, 0, &ask(false)) == Some(0)).count();
            assert_eq!(at_once, burst as usize, "{per_second}");
            let lasting = 1.0 / Duration::from_micros(rate.step().unsigned_abs()).as_secs_f64();
            assert!(lasting <= per_second && lasting > per_second * 0.9, "{per_second}: {lasting}");
        }
    }

    #[test]
    fn most_of_a_limit_is_used_by_those_who_keep_asking() {
        for (most, burst, least) in [(10, 1, 7), (1, 1, 0), (600, 1, 430), (30, 5, 17)] {
            let rate = Rate::of(&limit(most, 1_000, burst));
            let mut book = Book::new(rate, 0);
            let within = |at: &i64| *at < 100 * SECOND;
            let mut all = (0..).map(|_| book.reserve(rate, 0, &ask(false)).unwrap());
            let count = all.by_ref().take_while(within).count();
            assert!(count / 100 >= least, "{most}: {count} in 100 s");
        }
    }
}

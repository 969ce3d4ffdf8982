//! When a channel counts as not working, and when it is tried again. Pure: the moment is an argument.
//!
//! What a receiver says of one message (it refuses it, or asks for a pause) says nothing about the channel.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::channel::Kind;
use crate::deliver::after;
use crate::outcome::{About, Reason, State};

/// So many tries in a row have to fail, and for so long: a receiver that restarts is nobody's concern.
const TRIES_MIN: u32 = 5;
const TIME_MIN: SignedDuration = SignedDuration::from_secs(30);
/// Between two probes: doubling from the first to the second.
const PROBE_EVERY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));
/// A probe that is not over by then never will be: its process is gone. Longer than any try.
const PROBE_WAIT: Duration = Duration::from_secs(60);
/// An open circuit that nobody sends through is forgotten this long after its next probe would have been.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);
/// While nothing works, it is said again after this long.
const SAID_FOR: SignedDuration = SignedDuration::from_hours(1);

crate::outcome::words! {
    /// Whether a channel is sent through.
    Mode {
        /// It works, as far as anybody knows.
        Closed = "closed",
        /// Nothing is tried before the next probe.
        Open = "open",
        /// One delivery is tried now, to see.
        HalfOpen = "half_open",
    }
}

/// What the fleet knows of a channel on which nothing worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Circuit {
    pub mode: Mode,
    pub kind: Option<Kind>,
    /// A digest of the channel's document: one that was changed is worth a try at once.
    pub document: String,
    /// When the first of the tries failed after the last one that worked; of a closed one, when it was closed.
    pub since: Timestamp,
    /// When one delivery may be tried; while one is, when it is given up for lost.
    pub next_probe_at: Timestamp,
    /// Probes that failed.
    pub probes: u32,
    /// When the fleet was told last.
    pub said: Timestamp,
    /// It was opened for its account, which is sick; when that works again it is closed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_account: bool,
}

/// What it means for a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Free,
    /// It may be the probe.
    Probe,
    ClosedUntil(Timestamp),
}

impl Circuit {
    /// After so many failures.
    #[must_use]
    pub fn opened(kind: Option<Kind>, document: String, since: Timestamp, now: Timestamp) -> Self {
        let next_probe_at = after(now, PROBE_EVERY.0);
        Self {
            mode: Mode::Open,
            kind,
            document,
            since,
            next_probe_at,
            probes: 0,
            said: now,
            of_account: false,
        }
    }

    #[must_use]
    pub fn passage(&self, document: &str, now: Timestamp) -> Passage {
        match self.mode {
            Mode::Closed => Passage::Free,
            Mode::Open if self.document != document => Passage::Probe,
            Mode::Open | Mode::HalfOpen if self.next_probe_at <= now => Passage::Probe,
            Mode::Open | Mode::HalfOpen => Passage::ClosedUntil(self.next_probe_at),
        }
    }

    /// One delivery is tried.
    #[must_use]
    pub fn probing(&self, document: String, now: Timestamp) -> Self {
        Self { mode: Mode::HalfOpen, document, next_probe_at: after(now, PROBE_WAIT), ..self.clone() }
    }

    /// It failed too. True when the fleet is to be told again.
    #[must_use]
    pub fn failed(&self, now: Timestamp) -> (Self, bool) {
        let probes = self.probes.saturating_add(1);
        let (first, last) = PROBE_EVERY;
        let wait = first.saturating_mul(2_u32.saturating_pow(probes.min(10))).min(last);
        let again = now.duration_since(self.said) >= SAID_FOR;
        let said = if again { now } else { self.said };
        (Self { mode: Mode::Open, next_probe_at: after(now, wait), probes, said, ..self.clone() }, again)
    }

    /// It told nothing about the channel: the next one shows.
    #[must_use]
    pub fn released(&self, now: Timestamp) -> Self {
        Self { mode: Mode::Open, next_probe_at: now, ..self.clone() }
    }

    /// The same for an account that is known to be sick.
    #[must_use]
    pub fn opened_for_account(kind: Kind, document: String, since: Timestamp, now: Timestamp) -> Self {
        Self { of_account: true, ..Self::opened(Some(kind), document, since, now) }
    }

    /// What it becomes when its account works again, and whether that is news. None: it stays.
    #[must_use]
    pub fn with_account(&self, now: Timestamp) -> Option<(Self, bool)> {
        match self.mode {
            Mode::Open | Mode::HalfOpen if self.of_account => Some((self.closed(now), true)),
            // Its own tries opened it. Perhaps for the account, perhaps not: the next one shows.
            Mode::Open => Some((self.released(now), false)),
            Mode::HalfOpen | Mode::Closed => None,
        }
    }

    /// How long it is remembered.
    #[must_use]
    pub fn kept(&self, now: Timestamp) -> Duration {
        let probe = self.next_probe_at.duration_since(now).max(SignedDuration::ZERO);
        Duration::try_from(probe + KEPT_FOR).unwrap_or_default()
    }

    /// True when the broker has forgotten it.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.next_probe_at) > KEPT_FOR
    }

    #[must_use]
    pub fn closed(&self, now: Timestamp) -> Self {
        Self { mode: Mode::Closed, since: now, of_account: false, ..self.clone() }
    }
}

/// What the tries of a worker on a channel came to since the last one that worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub since: Timestamp,
    pub tries: u32,
}

impl Run {
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { since: now, tries: 0 }
    }

    /// True when it is enough.
    pub fn failed(&mut self, now: Timestamp) -> bool {
        self.tries = self.tries.saturating_add(1);
        self.tries >= TRIES_MIN && now.duration_since(self.since) >= TIME_MIN
    }
}

/// What a try says about its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    Works,
    Fails,
    Nothing,
}

/// Whose place a try goes to, and so whom its failures concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The one place of the channel.
    Channel,
    /// An address of the recipient's own, at the channel's provider: one that is gone is theirs.
    Recipient,
    /// Hosts that the devices brought along: whoever subscribes names one, and makes it answer what they like.
    Device,
}

#[must_use]
pub fn evidence(state: State, reason: Reason, whose: Whose) -> Evidence {
    let theirs = match whose {
        Whose::Channel => false,
        Whose::Recipient => reason == Reason::Gone,
        Whose::Device => reason != Reason::Misconfigured,
    };
    if state == State::Sent {
        Evidence::Works
    } else if matches!(reason.about(), About::Receiver | About::Configuration) && !theirs {
        Evidence::Fails
    } else {
        Evidence::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn it_opens_after_enough_failures_for_long_enough() {
        let mut run = Run::new(at(100));
        // Many at once are a moment's trouble.
        assert!((0..20).all(|_| !run.failed(at(100))));
        assert!(run.failed(at(130)));
        // Few tries, far apart, are none that would be known.
        let mut rare = Run::new(at(0));
        assert!((1..5).all(|hour| !rare.failed(at(hour * 3_600))));
        assert!(rare.failed(at(5 * 3_600)));
    }

    #[test]
    fn probes_come_less_often_each_time_and_one_at_a_time() {
        let mut circuit = Circuit::opened(None, "1".to_owned(), at(0), at(40));
        let mut now = at(40);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let Passage::ClosedUntil(until) = circuit.passage("1", now) else { panic!("{circuit:?}") };
            waits.push(until.as_second() - now.as_second());
            now = until;
            assert_eq!(circuit.passage("1", now), Passage::Probe);
            let probing = circuit.probing("1".to_owned(), now);
            assert!(matches!(probing.passage("1", now), Passage::ClosedUntil(_)));
            circuit = probing.failed(now).0;
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 600, 600]);
        // The process of the probe is gone.
        assert_eq!(circuit.probing("1".to_owned(), now).passage("1", after(now, PROBE_WAIT)), Passage::Probe);
        assert_eq!(circuit.released(now).passage("1", now), Passage::Probe);
        assert_eq!(circuit.closed(now).passage("1", now), Passage::Free);
        // Its document was changed: perhaps that mends it.
        assert_eq!(circuit.passage("2", now), Passage::Probe);
    }

    #[test]
    fn one_that_nobody_sends_through_is_forgotten_as_long_after_its_probe_as_the_broker_keeps_it() {
        let circuit = Circuit::opened(None, "1".to_owned(), at(0), at(40));
        assert_eq!(circuit.kept(at(40)), Duration::from_secs(30 + 24 * 3_600));
        assert!(!circuit.is_over(at(70 + 24 * 3_600)));
        assert!(circuit.is_over(at(71 + 24 * 3_600)));
    }

    #[test]
    fn an_account_that_works_again_closes_what_it_opened_and_has_the_rest_tried() {
        let of_account = Circuit::opened_for_account(Kind::Slack, "1".to_owned(), at(0), at(40));
        let (closed, news) = of_account.probing("1".to_owned(), at(70)).with_account(at(80)).unwrap();
        assert_eq!((closed.mode, closed.of_account, news), (Mode::Closed, false, true));
        let of_tries = Circuit::opened(Some(Kind::Slack), "1".to_owned(), at(0), at(40));
        let (tried, news) = of_tries.with_account(at(50)).unwrap();
        assert_eq!((tried.mode, news), (Mode::Open, false));
        assert_eq!(tried.passage("1", at(50)), Passage::Probe);
        assert_eq!(of_tries.probing("1".to_owned(), at(70)).with_account(at(80)), None);
        assert_eq!(closed.with_account(at(90)), None);
    }

    #[test]
    fn the_fleet_is_told_once_an_hour() {
        let circuit = Circuit::opened(None, "1".to_owned(), at(0), at(40));
        assert!(!circuit.failed(at(70)).1);
        let (later, again) = circuit.failed(at(40 + 3_600));
        assert!(again);
        assert!(!later.failed(at(40 + 3_700)).1);
    }

    #[test]
    fn what_one_message_came_to_says_nothing_about_its_channel() {
        assert_eq!(evidence(State::Failed, Reason::Rejected, Whose::Channel), Evidence::Nothing);
        assert_eq!(evidence(State::Failed, Reason::Gone, Whose::Recipient), Evidence::Nothing);
        assert_eq!(evidence(State::Failed, Reason::Gone, Whose::Channel), Evidence::Fails);
        assert_eq!(evidence(State::Retrying, Reason::RateLimited, Whose::Channel), Evidence::Nothing);
        assert_eq!(evidence(State::Retrying, Reason::Deferred, Whose::Recipient), Evidence::Nothing);
        assert_eq!(evidence(State::Retrying, Reason::Unauthorized, Whose::Recipient), Evidence::Fails);
        assert_eq!(evidence(State::Sent, Reason::Accepted, Whose::Recipient), Evidence::Works);
    }

    #[test]
    fn hosts_of_devices_say_nothing_about_the_channel_but_that_it_works() {
        for reason in [Reason::Timeout, Reason::Unreachable, Reason::ProviderError, Reason::Unauthorized] {
            assert_eq!(evidence(State::Retrying, reason, Whose::Device), Evidence::Nothing, "{reason}");
        }
        assert_eq!(evidence(State::Sent, Reason::Accepted, Whose::Device), Evidence::Works);
        // What is wrong before anybody is asked is ours.
        assert_eq!(evidence(State::Retrying, Reason::Misconfigured, Whose::Device), Evidence::Fails);
    }
}

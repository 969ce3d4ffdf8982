//! What a try's end means: sent, again later, or given up. Pure: the moment and the dice are arguments.

pub mod adapters;
pub mod addresses;
mod attempt;
mod audience;
pub mod circuit;
pub mod errands;
pub mod failing;
pub mod failover;
pub mod finished;
pub mod gone;
mod hand;
pub mod handler;
pub mod pace;
mod passage;
pub mod pauses;
mod receipts;
pub mod share;
mod thread;
mod turn;
mod wishes;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::channel::{Failure, Receipt, SendError};
use crate::outcome::{State, Verdict};

/// The waits between tries unless the channel says otherwise: eight tries over about 18 hours.
pub const RETRY_SCHEDULE: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
];

/// Each wait is its nominal length ±20 %, so that what failed together does not come back together.
const JITTER: f64 = 0.2;
/// A provider may ask for patience up to this long; beyond it we look again.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// The pause after a 429 that names none: doubling from the first to the second.
const RATE_LIMIT_WAIT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5 * 60));
/// The wait after a failure of our own: doubling from the first to the second.
const OWN_FAULT_WAIT: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(30 * 60));

/// Where a delivery stands when its try ends.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    pub attempt: u32,
    pub postponed: u32,
    pub expires_at: Timestamp,
    pub schedule: &'a [Duration],
    pub now: Timestamp,
    /// From 0 to 1.
    pub dice: f64,
}

/// What to do after a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    pub next: Next,
    /// Nobody sends through this channel until then.
    pub pause_until: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It was sent.
    Settled,
    /// Try again then, as the next attempt.
    Retry(Timestamp),
    /// Try again then; this try cost no attempt.
    Postpone(Timestamp),
    /// The attempt is not over: the rest of its devices follows at once.
    GoOn,
    /// Keep it among the dead letters.
    GiveUp,
}

/// The one place that decides what a try's end means.
#[must_use]
pub fn decide(sent: Result<Receipt, SendError>, standing: &Standing<'_>) -> Decision {
    match sent {
        Ok(receipt) => Decision::settled(receipt),
        Err(SendError::Permanent(failure)) => Decision::give_up(failure, None),
        Err(SendError::Transient { failure, retry_after }) => standing.after_transient(failure, retry_after),
        Err(SendError::RateLimited { failure, retry_after }) => {
            let wait = retry_after.unwrap_or_else(|| doubling(RATE_LIMIT_WAIT, standing.postponed));
            let due = after(standing.now, wait.min(RETRY_AFTER_MAX));
            // The pause ends exactly when it was asked to; those who waited come back spread out behind it.
            let decision = standing.postpone(failure, after(due, RATE_LIMIT_WAIT.0.mul_f64(standing.dice)));
            Decision { pause_until: Some(due), ..decision }
        }
        Err(SendError::Ours(failure)) => {
            let wait = standing.jittered(doubling(OWN_FAULT_WAIT, standing.postponed));
            standing.postpone(failure, after(standing.now, wait))
        }
    }
}

impl Standing<'_> {
    fn after_transient(&self, failure: Failure, retry_after: Option<Duration>) -> Decision {
        let index = usize::try_from(self.attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(nominal) = self.schedule.get(index) else {
            return Decision::give_up(failure, Some(format!("given up after {} attempts", self.attempt)));
        };
        let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        let due = after(self.now, self.jittered(*nominal).max(asked));
        self.unless_expired(failure, due, Next::Retry(due))
    }

    fn postpone(&self, failure: Failure, due: Timestamp) -> Decision {
        self.unless_expired(failure, due, Next::Postpone(due))
    }

    fn unless_expired(&self, failure: Failure, due: Timestamp, next: Next) -> Decision {
        if due >= self.expires_at {
            return Decision::give_up(failure, Some("it would expire before the next try".to_owned()));
        }
        let verdict = Verdict { next_at: Some(due), ..verdict(State::Retrying, failure) };
        Decision { verdict, next, pause_until: None }
    }

    fn jittered(&self, nominal: Duration) -> Duration {
        nominal.mul_f64(1.0 - JITTER + 2.0 * JITTER * self.dice)
    }
}

impl Decision {
    fn settled(receipt: Receipt) -> Self {
        let verdict = Verdict {
            code: receipt.code,
            provider_id: receipt.provider_id,
            detail: receipt.note,
            ..Verdict::new(State::Sent, crate::outcome::Reason::Accepted)
        };
        Self { verdict, next: Next::Settled, pause_until: None }
    }

    fn give_up(failure: Failure, why: Option<String>) -> Self {
        let detail = match why {
            Some(why) => format!("{}; {why}", failure.detail),
            None => failure.detail.clone(),
        };
        let verdict = Verdict { detail: Some(detail), ..verdict(State::Failed, failure) };
        Self { verdict, next: Next::GiveUp, pause_until: None }
    }
}

fn verdict(state: State, failure: Failure) -> Verdict {
    Verdict { detail: Some(failure.detail), code: failure.code, ..Verdict::new(state, failure.reason) }
}

fn doubling((first, last): (Duration, Duration), times: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times.min(20))).min(last)
}

/// The moment that much later, or the last one there is.
#[must_use]
pub fn after(from: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait).ok().and_then(|wait| from.checked_add(wait).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Reason;

    fn standing(attempt: u32, dice: f64) -> Standing<'static> {
        Standing {
            attempt,
            postponed: 0,
            expires_at: after(Timestamp::UNIX_EPOCH, Duration::from_secs(24 * 3600)),
            schedule: &RETRY_SCHEDULE,
            now: Timestamp::UNIX_EPOCH,
            dice,
        }
    }

    fn transient(retry_after: Option<u64>) -> Result<Receipt, SendError> {
        let failure = Failure::new(Reason::ProviderError, "it is broken").code(503);
        Err(SendError::Transient { failure, retry_after: retry_after.map(Duration::from_secs) })
    }

    fn due_seconds(decision: &Decision) -> i64 {
        match decision.next {
            Next::Retry(due) | Next::Postpone(due) => due.as_second(),
            Next::Settled | Next::GoOn | Next::GiveUp => panic!("no time is set: {decision:?}"),
        }
    }

    #[test]
    fn a_transient_failure_is_retried_on_schedule_within_a_fifth() {
        assert_eq!(due_seconds(&decide(transient(None), &standing(1, 0.5))), 5);
        assert_eq!(due_seconds(&decide(transient(None), &standing(3, 0.0))), 240);
        assert_eq!(due_seconds(&decide(transient(None), &standing(3, 1.0))), 360);
    }

    #[test]
    fn retry_after_lengthens_a_wait_and_never_shortens_it() {
        assert_eq!(due_seconds(&decide(transient(Some(90)), &standing(1, 0.5))), 90);
        assert_eq!(due_seconds(&decide(transient(Some(1)), &standing(2, 0.5))), 30);
    }

    #[test]
    fn after_the_last_wait_it_is_given_up_with_its_cause() {
        let decision = decide(transient(None), &standing(8, 0.5));
        assert_eq!(decision.next, Next::GiveUp);
        assert_eq!((decision.verdict.state, decision.verdict.reason), (State::Failed, Reason::ProviderError));
        assert!(decision.verdict.detail.unwrap().contains("8 attempts"));
    }

    #[test]
    fn a_try_that_would_come_after_the_expiry_is_not_promised() {
        let late =
            Standing { now: after(Timestamp::UNIX_EPOCH, Duration::from_secs(86_398)), ..standing(1, 0.5) };
        assert_eq!(decide(transient(None), &late).next, Next::GiveUp);
    }

    #[test]
    fn a_rate_limit_pauses_the_channel_and_costs_no_attempt() {
        let failure = Failure::new(Reason::RateLimited, "slow down").code(429);
        let limited = SendError::RateLimited { failure, retry_after: Some(Duration::from_secs(60)) };
        let decision = decide(Err(limited), &standing(8, 0.0));
        assert_eq!(decision.pause_until.unwrap().as_second(), 60);
        assert!(matches!(decision.next, Next::Postpone(_)));
        assert_eq!(decision.verdict.state, State::Retrying);
    }

    #[test]
    fn our_own_fault_costs_no_attempt_and_waits_longer_each_time() {
        let ours = || Err(SendError::Ours(Failure::new(Reason::Misconfigured, "VAR is not set")));
        assert_eq!(due_seconds(&decide(ours(), &standing(8, 0.5))), 30);
        assert_eq!(due_seconds(&decide(ours(), &Standing { postponed: 3, ..standing(8, 0.5) })), 240);
        assert_eq!(due_seconds(&decide(ours(), &Standing { postponed: 99, ..standing(8, 0.5) })), 1_800);
    }

    #[test]
    fn a_permanent_failure_is_given_up_at_once() {
        let gone = SendError::Permanent(Failure::new(Reason::Gone, "no such chat"));
        assert_eq!(decide(Err(gone), &standing(1, 0.5)).next, Next::GiveUp);
    }
}

//! What strangers may cost: a token that this process does not know is looked up in the broker, so often a second and no more,
//! and one that was not there is not looked up again at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::quota::Quota;
use crate::api::problem::Problem;
use crate::metrics::{self, Limit};

/// So long what was missing is missing.
const REMEMBERED: Duration = Duration::from_secs(1);

/// Questions to the broker about secrets.
pub struct Strangers {
    quota: Quota,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    full_at: Duration,
    /// Until when each is missing. The quota bounds how many there are.
    missing: HashMap<String, Duration>,
}

impl Strangers {
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let quota = Quota { most: per_second, window: Duration::from_secs(1) };
        Self { quota, began: Instant::now(), state: Mutex::default() }
    }

    /// Looks for what has this hash, unless it was missing a moment ago.
    ///
    /// # Errors
    /// 429 when too many are looked for, or what looking comes to.
    pub async fn look<T>(
        &self,
        hash: &str,
        look: impl Future<Output = Result<Option<T>, Problem>>,
    ) -> Result<Option<T>, Problem> {
        if !self.may_look(hash, self.began.elapsed())? {
            return Ok(None);
        }
        let found = look.await?;
        if found.is_none() {
            self.is_missing(hash, self.began.elapsed());
        }
        Ok(found)
    }

    /// False when it is known to be missing.
    fn may_look(&self, hash: &str, now: Duration) -> Result<bool, Problem> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.missing.get(hash).is_some_and(|until| *until > now) {
            return Ok(false);
        }
        match self.quota.take(&mut state.full_at, now).refused {
            None => Ok(true),
            Some(wait) => {
                metrics::request_limited(Limit::Unknown);
                Err(Problem::limited("too many unknown tokens are looked up at the moment", wait))
            }
        }
    }

    fn is_missing(&self, hash: &str, now: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.missing.retain(|_, until| *until > now);
        state.missing.insert(hash.to_owned(), now + REMEMBERED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn what_was_missing_is_not_looked_up_again_at_once() {
        let strangers = Strangers::new(2);
        assert!(strangers.may_look("a", millis(0)).unwrap());
        strangers.is_missing("a", millis(1));
        for at in [2, 500, 1_000] {
            assert!(!strangers.may_look("a", millis(at)).unwrap(), "{at}");
        }
        assert!(strangers.may_look("a", millis(1_001)).unwrap());
    }

    #[test]
    fn a_flood_of_different_ones_is_looked_up_so_often_and_remembered_so_long() {
        let strangers = Strangers::new(10);
        let mut looked = 0;
        for number in 0..100_000_u64 {
            let (hash, now) = (number.to_string(), Duration::from_micros(number * 100));
            if strangers.may_look(&hash, now).is_ok() {
                looked += 1;
                strangers.is_missing(&hash, now);
            }
        }
        assert!((100..=111).contains(&looked), "{looked} in ten seconds");
        assert!(strangers.state.lock().unwrap().missing.len() <= 21);
    }

    #[test]
    fn whoever_comes_too_soon_is_told_when_to_come() {
        let strangers = Strangers::new(1);
        assert!(strangers.may_look("a", millis(0)).is_ok());
        let problem = strangers.may_look("b", millis(1)).unwrap_err();
        assert_eq!((problem.status, problem.retry_after), (429, Some(1)));
    }
}

//! So many in so long, as a token bucket that is one number: the moment at which it is full again (GCRA).
//!
//! All of it may be used at once; it comes back evenly. Moments are durations since any fixed one.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// At least 1.
    pub most: u32,
    pub window: Duration,
}

/// How somebody stands after they asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub quota: Quota,
    pub left: u32,
    /// Until all of it is there again.
    pub full_in: Duration,
    /// None: let in. Otherwise the next one is, after this.
    pub refused: Option<Duration>,
}

impl Quota {
    /// Takes one, if one is left. `full_at` is the only thing to remember; a moment in the past is as good as none.
    #[must_use]
    pub fn take(self, full_at: &mut Duration, now: Duration) -> Standing {
        let most = self.most.max(1);
        let step = self.window / most;
        // The window without what does not divide, so that exactly so many steps fit.
        let whole = step * most;
        let before = full_at.saturating_sub(now);
        let behind = before + step;
        let refused = behind.saturating_sub(whole);
        if !refused.is_zero() {
            return Standing { quota: self, left: 0, full_in: before, refused: Some(refused) };
        }
        *full_at = now + behind;
        let left = whole.saturating_sub(behind).as_nanos() / step.as_nanos().max(1);
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        Standing { quota: self, left, full_in: behind, refused: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn all_of_it_may_be_used_at_once_and_then_comes_back_evenly() {
        let (quota, mut full_at) = (Quota { most: 6, window: MINUTE }, Duration::ZERO);
        let now = seconds(1_000);
        let left: Vec<u32> = (0..6).map(|_| quota.take(&mut full_at, now).left).collect();
        assert_eq!(left, [5, 4, 3, 2, 1, 0]);
        let refused = quota.take(&mut full_at, now);
        assert_eq!((refused.refused, refused.full_in), (Some(seconds(10)), MINUTE));
        assert!(quota.take(&mut full_at, now + seconds(9)).refused.is_some());
        let next = quota.take(&mut full_at, now + seconds(10));
        assert_eq!((next.refused, next.left), (None, 0));
        let later = quota.take(&mut full_at, now + seconds(500));
        assert_eq!((later.left, later.full_in), (5, seconds(10)), "it never holds more than all of it");
    }

    #[test]
    fn being_refused_costs_nothing() {
        let (quota, mut full_at) = (Quota { most: 1, window: MINUTE }, Duration::ZERO);
        assert_eq!(quota.take(&mut full_at, seconds(5)).left, 0);
        let before = full_at;
        for second in 5..65 {
            assert!(quota.take(&mut full_at, seconds(second)).refused.is_some());
        }
        assert_eq!(full_at, before);
        assert_eq!(quota.take(&mut full_at, seconds(65)).refused, None);
    }

    #[test]
    fn no_window_lets_in_more_than_all_of_it_and_what_comes_back() {
        for most in [1, 7, 100, 6_000, 700_001, 1_000_000] {
            let (quota, mut full_at) = (Quota { most, window: MINUTE }, Duration::ZERO);
            let first = quota.take(&mut full_at, seconds(9));
            assert_eq!(first.left, most - 1, "{most}");
            let more = (0..most + 9).filter(|_| quota.take(&mut full_at, seconds(9)).refused.is_none());
            assert_eq!(u32::try_from(more.count()).unwrap(), most - 1, "{most}");
        }
    }
}

//! How many are unread, kept up by what each change altered. Where a change does not say it, it is counted anew in SQL; the count
//! is of one moment, and changes behind that moment are added to it.

use crate::live::place::{Place, Side};
use crate::store::inbox::changes::Standing;

#[derive(Debug, Default)]
pub struct Unread {
    /// Below zero for a moment: a broadcast may be read before it is heard of.
    count: i64,
    /// Changes up to here are in the count.
    counted: Place,
    /// While it is counted anew: the changes since; None for one that does not say what it altered.
    since: Option<Vec<(Side, u64, Option<i64>)>>,
}

impl Unread {
    #[must_use]
    pub fn at(standing: Standing) -> Self {
        Self {
            count: i64::try_from(standing.unread).unwrap_or(i64::MAX),
            counted: place(standing),
            since: None,
        }
    }

    #[must_use]
    pub fn shown(&self) -> u64 {
        u64::try_from(self.count).unwrap_or(0)
    }

    #[must_use]
    pub fn is_counting(&self) -> bool {
        self.since.is_some()
    }

    /// Adds what a change altered; the new number where it is another one and known.
    pub fn note(&mut self, side: Side, seq: u64, delta: Option<i64>) -> Option<u64> {
        if seq <= self.counted.of(side) {
            return None;
        }
        if let Some(since) = &mut self.since {
            since.push((side, seq, delta));
            return None;
        }
        let Some(delta) = delta else {
            self.since = Some(vec![(side, seq, None)]);
            return None;
        };
        self.counted.set(side, seq);
        self.count += delta;
        (delta != 0).then(|| self.shown())
    }

    /// Takes the count of a moment. False when it has to be counted again.
    pub fn count(&mut self, standing: Standing) -> bool {
        let Some(since) = &mut self.since else { return true };
        let counted = place(standing);
        since.retain(|(side, seq, _)| *seq > counted.of(*side));
        if since.iter().any(|(_, _, delta)| delta.is_none()) {
            return false;
        }
        let later = self.since.take().unwrap_or_default();
        *self = Self::at(standing);
        for (side, seq, delta) in later {
            self.note(side, seq, delta);
        }
        true
    }
}

fn place(standing: Standing) -> Place {
    Place { own: standing.own, everybody: standing.everybody }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(own: u64, everybody: u64, unread: u64) -> Standing {
        Standing { own, everybody, unread }
    }

    #[test]
    fn a_change_counts_once_whatever_was_counted_before() {
        let mut unread = Unread::at(standing(5, 2, 3));
        assert_eq!(unread.note(Side::Own, 5, Some(1)), None, "it is in the count");
        assert_eq!(unread.note(Side::Own, 6, Some(1)), Some(4));
        assert_eq!(unread.note(Side::Everybody, 3, Some(1)), Some(5));
        assert_eq!(unread.note(Side::Own, 7, Some(0)), None);
        assert_eq!(unread.note(Side::Own, 8, Some(-5)), Some(0));
    }

    #[test]
    fn a_broadcast_that_is_read_before_it_is_heard_of_does_not_count_twice() {
        let mut unread = Unread::at(standing(0, 0, 0));
        assert_eq!(unread.note(Side::Own, 1, Some(-1)), Some(0));
        assert_eq!(unread.note(Side::Everybody, 1, Some(1)), Some(0));
    }

    #[test]
    fn what_comes_while_it_is_counted_is_added() {
        let mut unread = Unread::at(standing(5, 2, 3));
        assert_eq!(unread.note(Side::Everybody, 3, None), None);
        assert_eq!(unread.note(Side::Own, 6, Some(1)), None);
        assert_eq!(unread.note(Side::Own, 7, Some(1)), None);
        // Counted when 6 was there, and 7 was not.
        assert!(unread.count(standing(6, 3, 9)));
        assert_eq!(unread.shown(), 10);
        assert_eq!(unread.note(Side::Own, 7, Some(1)), None, "it counts once");
    }

    #[test]
    fn a_count_from_before_the_change_is_not_taken() {
        let mut unread = Unread::at(standing(5, 2, 3));
        unread.note(Side::Everybody, 3, None);
        unread.note(Side::Everybody, 4, None);
        assert!(!unread.count(standing(5, 3, 9)));
        assert!(unread.is_counting());
        assert!(unread.count(standing(5, 4, 8)));
        assert_eq!(unread.shown(), 8);
    }
}

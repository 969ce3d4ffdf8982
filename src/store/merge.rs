//! Which of two records says where a delivery stands: the same rule here and in the statement that applies it.
//!
//! A later life (redrive) beats an earlier one. Within a life a final outcome beats one that is not, the first final one
//! wins, and of those that are not the one furthest along wins.

use crate::outcome::Outcome;

/// The SQL of [`beats`], for `excluded` against the row that is there.
pub const BEATS: &str = "excluded.redrive > deliveries.redrive
    or (excluded.redrive = deliveries.redrive and deliveries.final = 0
        and (excluded.final = 1
             or excluded.attempts > deliveries.attempts
             or (excluded.attempts = deliveries.attempts and excluded.postponed > deliveries.postponed)
             or (excluded.attempts = deliveries.attempts and excluded.postponed = deliveries.postponed
                 and excluded.updated_at >= deliveries.updated_at)))";

/// True when `new` says where the delivery stands, and `old` no longer does.
#[must_use]
pub fn beats(new: &Outcome, old: &Outcome) -> bool {
    if new.redrive != old.redrive {
        return new.redrive > old.redrive;
    }
    if old.state.is_final() {
        return false;
    }
    new.state.is_final() || (new.attempt, new.postponed, new.at) >= (old.attempt, old.postponed, old.at)
}

//! Which of two records says where a delivery stands: the same rule here and in the statement that applies it.
//!
//! A later life (redrive) beats an earlier one. Within a life `sent` beats `failed`, which beats `suppressed`, which beats
//! what is not final: a repeat after a crash may decide otherwise than the first time, but what a receiver has is sent. Of
//! two that are equal in this the first one stands if they are final, else the one furthest along.

use crate::outcome::{Outcome, State};

/// The SQL of [`beats`], for `excluded` against the row that is there. The column `final` holds the [`rank`].
pub const BEATS: &str = "excluded.redrive > deliveries.redrive
    or (excluded.redrive = deliveries.redrive
        and (excluded.final > deliveries.final
             or (excluded.final = 0 and deliveries.final = 0
                 and (excluded.attempts > deliveries.attempts
                      or (excluded.attempts = deliveries.attempts and excluded.postponed > deliveries.postponed)
                      or (excluded.attempts = deliveries.attempts and excluded.postponed = deliveries.postponed
                          and excluded.updated_at >= deliveries.updated_at)))))";

/// How much a state weighs against another one of the same life; 0 when it is not final.
#[must_use]
pub fn rank(state: State) -> i64 {
    match state {
        State::Scheduled | State::Retrying => 0,
        State::Suppressed => 1,
        State::Failed => 2,
        State::Sent => 3,
    }
}

/// True when `new` says where the delivery stands, and `old` no longer does.
#[must_use]
pub fn beats(new: &Outcome, old: &Outcome) -> bool {
    if new.redrive != old.redrive {
        return new.redrive > old.redrive;
    }
    let (new_rank, old_rank) = (rank(new.state), rank(old.state));
    let further = (new.attempt, new.postponed, new.at) >= (old.attempt, old.postponed, old.at);
    new_rank > old_rank || (new_rank == 0 && old_rank == 0 && further)
}

//! Taking a send back whose time has not come.

use super::fate::{Fate, settle_fate};
use crate::bus::{Bus, BusError, schedule};
use crate::clock;
use crate::delivery::Delivery;
use crate::ids::DeliveryId;
use crate::outcome::{Outcome, Reason, State, Verdict};

/// What became of a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    Done,
    /// No timer is pending in that workspace: it fired, was cancelled before, or never was.
    NotPending,
}

/// Cancels a send whose time has not come. `allowed` says whether the caller may touch that delivery.
///
/// # Errors
/// When the broker does not answer; cancelling again is safe.
pub async fn cancel(
    bus: &Bus,
    id: &DeliveryId,
    allowed: impl Fn(&Delivery) -> bool,
) -> Result<Cancellation, BusError> {
    let Some((pending, sequence)) = schedule::pending(bus, id).await? else {
        return Ok(Cancellation::NotPending);
    };
    // A retry waits on the same kind of timer; only what was never tried is a send that has not fired.
    if pending.attempt > 1
        || pending.postponed_in_a_row() > 0
        || pending.reach.is_some()
        || pending.held > 0
        || pending.rule.is_some()
        || !allowed(&pending)
    {
        return Ok(Cancellation::NotPending);
    }
    if pending.once && settle_fate(bus, &pending, Fate::Cancelled).await? != Fate::Cancelled {
        return Ok(Cancellation::NotPending);
    }
    let taken_back = schedule::cancel(bus, &pending, sequence).await?;
    // It fires just now, and whoever takes it finds out that it was cancelled.
    if !taken_back && !pending.once {
        return Ok(Cancellation::NotPending);
    }
    // The worker that takes the cancelled delivery records the same; this only makes it visible at once.
    let outcome =
        Outcome::of(&pending, Verdict::new(State::Suppressed, Reason::Cancelled), None, clock::now());
    bus.record(&outcome, &format!("{id}/cancel")).await?;
    Ok(Cancellation::Done)
}

//! What became of a send with a time: it fired, or it was cancelled, and whoever says it first is right.
//!
//! The broker's own condition on the timer is not enough: in a cluster a timer can fire while it is taken back, or once more
//! when its server is back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bus::claim::{self, First};
use crate::bus::{Bus, BusError};
use crate::clock;
use crate::delivery::Delivery;

/// So long a send that fired is known to have fired: as long as the broker may hand it out again after a crash.
const FIRED_KEPT: Duration = Duration::from_secs(600);

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// The message of this sequence is tried.
    Fired(u64),
    Cancelled,
}

/// Says what is to become of a send, and returns what does.
///
/// # Errors
/// When the broker does not answer; asking again is safe.
pub async fn settle_fate(bus: &Bus, delivery: &Delivery, wanted: Fate) -> Result<Fate, BusError> {
    let keep = match wanted {
        Fate::Fired(_) => FIRED_KEPT,
        // What was cancelled may lie in a queue until it expires.
        Fate::Cancelled => {
            let left = delivery.expires_at.duration_since(clock::now());
            Duration::try_from(left).unwrap_or_default().max(FIRED_KEPT)
        }
    };
    let subject = bus.names.fate(&delivery.workspace, &delivery.id);
    match claim::first(bus, &subject, &wanted, Some(keep)).await? {
        First::Mine(_) => Ok(wanted),
        First::Theirs(fate, _) => Ok(fate),
    }
}

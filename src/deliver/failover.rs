//! What one channel cannot deliver goes to another one: a new delivery, under an id that the first one gives it.
//!
//! The chain ends by itself: a channel that was tried is not tried again, and a channel names five others at most. The texts
//! stay those that were made for the first channel.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::circuit::Circuits;
use super::hand::Hand;
use crate::bus::BusError;
use crate::bus::directory::Snapshot;
use crate::channel::{ChannelSpec, Enabled};
use crate::clock;
use crate::delivery::Delivery;
use crate::metrics;
use crate::route::{EXPIRES_IN, expiry};

/// How long a delivery waits for a channel on which nothing works, unless its document says otherwise.
const AFTER_MS: u64 = 5 * 60 * 1000;

/// The first of the channel's fallbacks that is on, works, and was not tried.
#[must_use]
pub fn target(
    delivery: &Delivery,
    spec: &ChannelSpec,
    snapshot: &Snapshot,
    circuits: &Circuits,
) -> Option<Arc<ChannelSpec>> {
    let tried = |id| delivery.origin.as_ref().is_some_and(|origin| origin.via.contains(id));
    let untried = spec.fallback.iter().filter(|id| **id != delivery.channel && !tried(id));
    let mut found = untried.filter_map(|id| snapshot.channels.get(&(delivery.workspace.clone(), id.clone())));
    let ready = |spec: &&Arc<ChannelSpec>| {
        let id = (delivery.workspace.clone(), spec.id.clone());
        let open = spec.enabled == Enabled::On && snapshot.channels.closed(&id).is_none();
        open && !circuits.is_open(&delivery.workspace, &spec.id)
    };
    found.find(ready).cloned()
}

/// From when on a delivery does not wait any more for a channel on which nothing works.
#[must_use]
pub fn patience_over(delivery: &Delivery, spec: &ChannelSpec) -> Timestamp {
    // Its life began when its event happened, when it was to be sent, or when it was sent again.
    let lives_for = spec.expires_in_ms.map_or(EXPIRES_IN, std::time::Duration::from_millis);
    let begun = delivery.expires_at.checked_sub(lives_for).unwrap_or(delivery.event.time);
    let wait = std::time::Duration::from_millis(spec.fallback_after_ms.unwrap_or(AFTER_MS));
    super::after(begun, wait)
}

impl Hand<'_> {
    /// Who gets it when it is given up. Nobody, where some devices have it: they would be told twice.
    pub(super) fn stand_in(&self, spec: &ChannelSpec) -> Option<Arc<ChannelSpec>> {
        if spec.fallback.is_empty() || self.delivery.has_reached_some() {
            return None;
        }
        target(self.delivery, spec, &self.tools.directory.snapshot(), &self.tools.circuits)
    }

    /// Stores the delivery that takes this one's place. Doing it again is doing it once.
    pub(super) async fn hand_over(&self, stand_in: &ChannelSpec) -> Result<(), BusError> {
        let expires_at = expiry(clock::now(), Some(stand_in));
        let next = self.delivery.handed_over(&stand_in.id, stand_in.kind, expires_at);
        let bus = &self.tools.bus;
        let subject = || bus.names.delivery(&next);
        match bus.publish_json(subject(), next.id.as_str(), &next).await {
            Err(BusError::TooLarge { .. }) => {
                // It was at the limit already: better without data and files than not at all.
                let data = RawValue::NULL.to_owned().into();
                let small = Delivery { data, attachments: Vec::new(), ..next.clone() };
                bus.publish_json(subject(), next.id.as_str(), &small).await?;
            }
            stored => drop(stored?),
        }
        metrics::delivery_published(&next);
        tracing::info!(delivery = %self.delivery.id, next = %next.id, channel = %next.channel, "handed to another channel");
        Ok(())
    }
}

/// How it is told where a delivery went.
#[must_use]
pub(super) fn told(detail: Option<&str>, stand_in: &ChannelSpec) -> String {
    match detail {
        Some(detail) => format!("{detail}; handed to {}", stand_in.id),
        None => format!("handed to {}", stand_in.id),
    }
}

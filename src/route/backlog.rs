//! How much the delivery queue holds: beyond a bound routing stops, and events wait where they are.
//!
//! The queue itself can have no limit: the broker refuses timers on a stream that discards new messages, and one that
//! discards old ones would lose deliveries.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bus::consumer::Gate;
use crate::bus::{Bus, StreamName, topology};
use crate::clock;
use crate::metrics;
use crate::task;

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Routing goes on when the queue is this much below its bound, so that it does not flutter.
const REOPEN_PART: u64 = 10;

/// Watches the queue until `stop`. The gate is open as long as the queue is within `bytes_max`.
#[must_use]
pub fn watch(bus: Bus, bytes_max: u64, stop: CancellationToken) -> Gate {
    let (sender, gate) = watch::channel(true);
    task::spawn("backlog", async move {
        tokio::select! {
            () = follow(&bus, bytes_max, &sender) => {}
            () = stop.cancelled() => {}
        }
    });
    gate
}

async fn follow(bus: &Bus, bytes_max: u64, gate: &watch::Sender<bool>) {
    loop {
        // A broker that does not answer is the consumers' trouble: the gate stays as it is.
        if let Ok(stream) = topology::stream(bus, StreamName::Deliveries).await {
            let state = &stream.cached_info().state;
            metrics::queue(state.messages, state.bytes, bytes_max);
            let open = *gate.borrow();
            let opens = state.bytes < bytes_max - bytes_max / REOPEN_PART;
            let wanted = if open { state.bytes < bytes_max } else { opens };
            if wanted != open {
                tracing::warn!(
                    bytes = state.bytes,
                    bytes_max,
                    open = wanted,
                    "the delivery queue crossed its bound"
                );
                gate.send_replace(wanted);
            }
        }
        clock::sleep(LOOK_EVERY).await;
    }
}

//! How far the database is behind the broker, measured beside the recording: it must be seen above all when nothing is recorded.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::bus::{Bus, BusError, StreamName, topology, waiting};
use crate::clock;
use crate::metrics;

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Up to where the database has the records, as this process knows. None until the database has said it.
#[derive(Default)]
pub(super) struct Written(Mutex<Option<u64>>);

impl Written {
    pub(super) fn set(&self, sequence: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sequence);
    }

    fn get(&self) -> Option<u64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs for ever.
    pub(super) async fn measure(&self, bus: &Bus) {
        loop {
            if bus.is_connected()
                && let Err(error) = self.look(bus).await
            {
                tracing::debug!(%error, "the recorder's lag could not be looked up");
            }
            clock::sleep(clock::jittered(LOOK_EVERY)).await;
        }
    }

    async fn look(&self, bus: &Bus) -> Result<(), BusError> {
        let stream = topology::stream(bus, StreamName::Records).await?;
        let state = &stream.cached_info().state;
        // After the stream was looked at: what was written meanwhile counts as written.
        let Some(written) = self.get() else { return Ok(()) };
        let next = state.first_sequence.max(written + 1);
        if next > state.last_sequence {
            metrics::record_lag(0, Duration::ZERO);
            return Ok(());
        }
        let handle = topology::stream_handle(bus, StreamName::Records).await?;
        let stored_at = waiting::next(&handle, ">".to_owned(), next).await?;
        let age = stored_at.and_then(|at| Duration::try_from(clock::now().duration_since(at)).ok());
        metrics::record_lag(state.last_sequence - next + 1, age.unwrap_or_default());
        Ok(())
    }
}

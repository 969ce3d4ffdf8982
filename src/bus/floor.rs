//! How far a durable consumer has come, kept beside it: one that was deleted begins there again, not at the start of a
//! stream that holds a week. What was settled since the last look comes twice then, and meets its ids.

use std::time::Duration;

use async_nats::jetstream::stream::Stream;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Bus, BusError, StreamName, claim, reader};
use crate::clock;
use crate::task;

/// Between two looks: what a deletion repeats, and far less than the broker remembers ids.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Everything up to `sequence` is settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Floor {
    /// Names the stream: one made anew counts from one again.
    epoch: String,
    sequence: u64,
}

/// Keeps the floor of a consumer up to date until `stop`. Any number of processes may.
pub fn keep(bus: Bus, stream: StreamName, durable: &'static str, stop: CancellationToken) {
    let stream = bus.names.stream(stream);
    keep_in(bus, stream, durable.to_owned(), stop);
}

/// The same in a stream by its full name.
pub fn keep_in(bus: Bus, stream: String, durable: String, stop: CancellationToken) {
    task::spawn("floor", async move {
        let follow = async {
            loop {
                // Trouble with the broker is the consumer's to report; an older floor repeats more and loses nothing.
                if let Err(error) = look(&bus, &stream, &durable).await {
                    tracing::debug!(%error, durable, "the floor of a consumer was not kept");
                }
                clock::sleep(clock::jittered(LOOK_EVERY)).await;
            }
        };
        tokio::select! {
            () = follow => {}
            () = stop.cancelled() => {}
        }
    });
}

async fn look(bus: &Bus, stream: &str, durable: &str) -> Result<(), BusError> {
    let (stream, epoch, last) = end(bus, stream).await?;
    let info = stream.consumer_info(durable).await;
    let sequence = info.map_err(BusError::request)?.ack_floor.stream_sequence;
    let key = bus.names.floor(&stream.cached_info().config.name, durable);
    let kept = claim::last::<Floor>(bus, &key).await?;
    let expected = match &kept {
        // Whoever was frozen for a while must not set it back; a stream that lost its end counts on from there.
        Some((floor, _)) if floor.epoch == epoch && (sequence..=last).contains(&floor.sequence) => {
            return Ok(());
        }
        Some((_, at)) => *at,
        None => 0,
    };
    match claim::put(bus, &key, &Floor { epoch, sequence }, None, expected).await {
        // Another one was faster.
        Ok(_) | Err(BusError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The sequence that a new consumer of that name begins at; None when there was none before.
///
/// # Errors
/// When the broker does not answer.
pub async fn start(bus: &Bus, stream: StreamName, durable: &str) -> Result<Option<u64>, BusError> {
    start_in(bus, &bus.names.stream(stream), durable).await
}

/// The same in a stream by its full name.
///
/// # Errors
/// When the broker does not answer.
pub async fn start_in(bus: &Bus, stream: &str, durable: &str) -> Result<Option<u64>, BusError> {
    let key = bus.names.floor(stream, durable);
    let Some((floor, _)) = claim::last::<Floor>(bus, &key).await? else { return Ok(None) };
    let (_, epoch, last) = end(bus, stream).await?;
    // Never beyond the end: what a stream that lost its own stores next must be routed. And one that was made anew holds
    // nothing that was read before.
    Ok(Some(if floor.epoch == epoch { floor.sequence.min(last) + 1 } else { 1 }))
}

/// Forgets how far a consumer had come that is not to come back.
///
/// # Errors
/// When the broker does not answer.
pub async fn forget(bus: &Bus, stream: &str, durable: &str) -> Result<(), BusError> {
    claim::forget(bus, bus.names.floor(stream, durable)).await
}

/// The stream, its epoch and its last sequence.
async fn end(bus: &Bus, stream: &str) -> Result<(Stream, String, u64), BusError> {
    let stream = bus.js.get_stream(stream).await.map_err(BusError::request)?;
    let (epoch, last) = (reader::epoch_of(stream.cached_info()), stream.cached_info().state.last_sequence);
    Ok((stream, epoch, last))
}

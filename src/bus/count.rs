//! Counters in the broker: added to by many, each addition under an id of its own, so that adding twice is adding once.

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use serde::Deserialize;

use super::{Bus, BusError, StreamName, topology};

/// Adds to a counter, or takes from it.
///
/// # Errors
/// When the broker did not store it; adding again under the same id is safe.
pub async fn add(bus: &Bus, subject: String, by: i64, id: &str) -> Result<(), BusError> {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
    headers.insert("Nats-Incr", format!("{by:+}"));
    bus.publish(subject, headers, Bytes::new()).await.map(|_| ())
}

/// Where a counter stands; 0 where nobody has counted.
///
/// # Errors
/// When the broker did not answer.
pub async fn value(bus: &Bus, subject: &str) -> Result<i64, BusError> {
    #[derive(Deserialize)]
    struct Counter {
        val: String,
    }
    let stream = topology::stream_handle(bus, StreamName::Counts).await?;
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) => {
            let counter: Counter = serde_json::from_slice(&message.payload)?;
            counter.val.parse().map_err(BusError::request)
        }
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(0),
            LastRawMessageErrorKind::JetStream(cause)
                if cause.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(0)
            }
            LastRawMessageErrorKind::JetStream(_)
            | LastRawMessageErrorKind::InvalidSubject
            | LastRawMessageErrorKind::Other => Err(BusError::request(error)),
        },
    }
}

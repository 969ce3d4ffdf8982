//! First come, first served, for the whole fleet: a message that only one publish can store under its subject.
//!
//! What is read is read through the stream's leader; right after a lost race it may not be there yet.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Bus, BusError, StreamName, topology};
use crate::clock;

/// A loser of the race may look before the winner's message can be read; one look 2 ms later was always enough.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// So often it is worth looking.
pub const LOOKS_MAX: u32 = 50;

/// Who was first, and the sequence of what is stored.
#[derive(Debug)]
pub enum First<T> {
    Mine(u64),
    Theirs(T, u64),
}

/// Stores `value` unless something is there already.
///
/// # Errors
/// When the broker did not answer; claiming again finds what was stored.
pub async fn first<T: Serialize + DeserializeOwned + Sync>(
    bus: &Bus,
    subject: &str,
    value: &T,
    keep: Option<Duration>,
) -> Result<First<T>, BusError> {
    for _ in 0..LOOKS_MAX {
        match put(bus, subject, value, keep, 0).await {
            Ok(sequence) => return Ok(First::Mine(sequence)),
            Err(BusError::Conflict) => {}
            Err(error) => return Err(error),
        }
        match last(bus, subject).await? {
            Some((held, sequence)) => return Ok(First::Theirs(held, sequence)),
            None => again().await,
        }
    }
    Err(contended())
}

/// Stores `value` if the last message of the subject is the `expected` one (0: there is none). The broker forgets it after
/// `keep`.
///
/// # Errors
/// [`BusError::Conflict`] when it is another one, or the broker did not answer.
pub async fn put<T: Serialize + Sync>(
    bus: &Bus,
    subject: &str,
    value: &T,
    keep: Option<Duration>,
    expected: u64,
) -> Result<u64, BusError> {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
    if let Some(keep) = keep {
        // Whole seconds, at least one.
        headers.insert(async_nats::header::NATS_MESSAGE_TTL, keep.as_secs().max(1).to_string());
    }
    let stored = bus.publish(subject.to_owned(), headers, serde_json::to_vec(value)?.into()).await?;
    Ok(stored.sequence)
}

/// What is stored, with its sequence. A stream that is gone holds nothing: the next publish makes it again.
///
/// # Errors
/// When the broker did not answer, or what it holds cannot be read.
pub async fn last<T: DeserializeOwned>(bus: &Bus, subject: &str) -> Result<Option<(T, u64)>, BusError> {
    last_in(bus, StreamName::Throttle, subject).await
}

/// The same in another stream of one message a subject.
///
/// # Errors
/// As [`last`].
pub async fn last_in<T: DeserializeOwned>(
    bus: &Bus,
    stream: StreamName,
    subject: &str,
) -> Result<Option<(T, u64)>, BusError> {
    let stream = topology::stream_handle(bus, stream).await?;
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) => Ok(Some((serde_json::from_slice(&message.payload)?, message.sequence))),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(None),
            LastRawMessageErrorKind::JetStream(cause)
                if cause.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            LastRawMessageErrorKind::JetStream(_)
            | LastRawMessageErrorKind::InvalidSubject
            | LastRawMessageErrorKind::Other => Err(BusError::request(error)),
        },
    }
}

/// Whoever comes next is first again.
///
/// # Errors
/// When the broker did not answer.
pub async fn forget(bus: &Bus, subject: String) -> Result<(), BusError> {
    let throttle = topology::stream_handle(bus, StreamName::Throttle).await?;
    throttle.purge().filter(subject).await.map_err(BusError::request)?;
    Ok(())
}

/// The winner's message cannot be read yet, or expired just now.
pub async fn again() {
    clock::sleep(LOOK_AGAIN).await;
}

/// Looks were of no use.
#[must_use]
pub fn contended() -> BusError {
    BusError::Request("what many want at once stays contended".to_owned())
}

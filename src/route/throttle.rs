//! Cooldowns, held by the whole fleet: a window is a message that only the first publish can store.
//!
//! The message lives until its TTL, which has whole seconds only and is no more than garbage collection: the exact
//! end of the window is in its value. The client's own TTL call for buckets is not used: it makes the second window
//! permanent.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Window;
use crate::bus::{Bus, BusError, StreamName, topology};
use crate::clock;
use crate::ids::WorkspaceId;

/// A loser of the race may look before the winner's message can be read; one look 2 ms later was always enough.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const LOOKS_MAX: u32 = 50;
/// Windows remembered in this process, so that a busy key costs no round trip.
const REMEMBERED_MAX: usize = 100_000;

/// What a window holds: who opened it, and until when it lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Holder {
    /// The event's place in its stream: a redelivered event finds itself, a republished one does not.
    event: String,
    until_ms: i64,
}

/// Asks for windows, and remembers those that are taken.
#[derive(Default)]
pub struct Throttle {
    taken: Mutex<HashMap<String, Holder>>,
}

/// Whether the event may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    Open,
    /// Another event holds the window until then.
    Closed(Timestamp),
}

impl Throttle {
    /// Opens the window for this event, or says who is in it.
    ///
    /// # Errors
    /// When the broker did not answer; asking again is safe.
    pub async fn enter(
        &self,
        bus: &Bus,
        workspace: &WorkspaceId,
        window: &Window,
        event: &str,
    ) -> Result<Pass, BusError> {
        let key: Vec<&str> = window.key.iter().map(String::as_str).collect();
        let subject = bus.names.throttle(workspace, &key);
        let now = clock::now();
        if let Some(holder) = self.remembered(&subject, now) {
            return Ok(pass(&holder, event));
        }
        let length_ms = i64::try_from(window.length.as_millis()).unwrap_or(i64::MAX);
        let mine =
            Holder { event: event.to_owned(), until_ms: now.as_millisecond().saturating_add(length_ms) };
        let holder = take(bus, &subject, mine, window.length, now).await?;
        self.remember(subject, holder.clone());
        Ok(pass(&holder, event))
    }

    fn remembered(&self, subject: &str, now: Timestamp) -> Option<Holder> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.get(subject).filter(|holder| holder.until_ms > now.as_millisecond()).cloned()
    }

    fn remember(&self, subject: String, holder: Holder) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= REMEMBERED_MAX {
            let now = clock::now().as_millisecond();
            taken.retain(|_, holder| holder.until_ms > now);
            if taken.len() >= REMEMBERED_MAX {
                taken.clear();
            }
        }
        taken.insert(subject, holder);
    }
}

fn pass(holder: &Holder, event: &str) -> Pass {
    if holder.event == event {
        return Pass::Open;
    }
    Pass::Closed(Timestamp::from_millisecond(holder.until_ms).unwrap_or(Timestamp::MAX))
}

/// Stores `mine` unless a window is open; gives back whoever holds it then.
async fn take(
    bus: &Bus,
    subject: &str,
    mine: Holder,
    length: Duration,
    now: Timestamp,
) -> Result<Holder, BusError> {
    let mut expected = 0;
    for _ in 0..LOOKS_MAX {
        match store(bus, subject, &mine, length, expected).await {
            Ok(()) => return Ok(mine),
            Err(BusError::Conflict) => {}
            Err(error) => return Err(error),
        }
        match current(bus, subject).await? {
            Some((holder, _)) if holder.until_ms > now.as_millisecond() || holder.event == mine.event => {
                return Ok(holder);
            }
            // Its time is over and the broker has not collected it yet: replace exactly that one.
            Some((_, sequence)) => expected = sequence,
            None => {
                expected = 0;
                clock::sleep(LOOK_AGAIN).await;
            }
        }
    }
    Err(BusError::Request("a cooldown window stays contended".to_owned()))
}

async fn store(
    bus: &Bus,
    subject: &str,
    mine: &Holder,
    length: Duration,
    expected: u64,
) -> Result<(), BusError> {
    let ttl_seconds = length.as_secs() + 2;
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
    headers.insert(async_nats::header::NATS_MESSAGE_TTL, ttl_seconds.to_string());
    bus.publish(subject.to_owned(), headers, serde_json::to_vec(mine)?.into()).await.map(|_| ())
}

async fn current(bus: &Bus, subject: &str) -> Result<Option<(Holder, u64)>, BusError> {
    use async_nats::jetstream::stream::LastRawMessageErrorKind;
    let stream = topology::stream_handle(bus, StreamName::Throttle).await?;
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) => Ok(Some((serde_json::from_slice(&message.payload)?, message.sequence))),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(BusError::request(error)),
    }
}

//! The broker, as the rest of Bugle sees it: one connection, checked at start, and publishes that are awaited twice.
//!
//! A publish is done when the broker acknowledged it, not when it was sent; [`Bus::publish`] waits for that, so that
//! nobody forgets. Settling messages is the business of [`consumer`] alone.

pub mod attach;
pub mod claim;
mod connect;
pub mod consumer;
pub mod count;
pub mod devices;
pub mod directory;
pub mod floor;
pub mod library;
pub mod live;
pub mod people;
pub mod reader;
pub mod schedule;
pub mod subject;
pub mod topology;
pub mod waiting;
pub mod walk;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, context::PublishErrorKind};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use serde::Serialize;

pub use connect::redacted;
pub use subject::{Names, StreamName};

use crate::config::{Keep, Nats};
use crate::metrics;
use crate::outcome::Outcome;

/// Schedules and per-message TTL exist, and the fixes to both.
const SERVER_MIN: (u32, u32, u32) = (2, 12, 9);
/// How long a publish may wait for its acknowledgement before it counts as failed; a failover takes up to 8 s (R3).
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// More publishes than this in flight gain nothing; beyond it publishers wait.
const IN_FLIGHT_MAX: usize = 2_048;
/// Many publishes miss a stream at once: who comes this soon after the one who made it finds it.
const HEALED_FOR: Duration = Duration::from_secs(1);
/// An event is at most this part of the broker's largest payload, so that the delivery made of it fits.
const EVENT_SHARE: usize = 4;

/// Why the broker did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("NATS at {url} cannot be used: {reason}")]
    Connect { url: String, reason: String },
    #[error(
        "nats-server {found} is too old: Bugle needs 2.14.3 or newer (at least 2.12.9, for schedules and message TTLs)"
    )]
    TooOld { found: String },
    #[error("NATS at {url} has no JetStream: start its servers with -js")]
    NoJetStream { url: String },
    /// The servers refuse us, or what we have to show them cannot be used: a matter of the configuration.
    #[error("{0}")]
    Credentials(String),
    #[error("NATS: {0}")]
    Request(String),
    #[error("the message is {bytes} bytes, more than the broker carries")]
    TooLarge { bytes: usize },
    #[error("a message could not be written as JSON: {0}")]
    Encode(#[from] serde_json::Error),
    /// The expected sequence was not the last one: somebody else was first.
    #[error("another publish was first")]
    Conflict,
    /// A newer process wrote it, or a hand: whoever can read it goes on with it.
    #[error("the document {0} cannot be read by this version")]
    Unreadable(String),
    /// The process stood still for so long that the broker has handed the message to somebody else.
    #[error("the message in hand is somebody else's by now")]
    LeaseOver,
}

impl BusError {
    /// Any failed request, in the client's own words.
    pub fn request(error: impl std::fmt::Display) -> Self {
        Self::Request(error.to_string())
    }
}

/// The acknowledgement of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub sequence: u64,
    /// The broker had this message id already: this very step was done before, which is success.
    pub duplicate: bool,
}

/// A connection and the names it works with. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    pub js: jetstream::Context,
    pub names: Names,
    pub replicas: usize,
    /// How long the streams keep what they hold, for when one has to be made.
    pub keep: Keep,
    /// When streams that were gone were made last; one at a time.
    healed: Arc<tokio::sync::Mutex<Option<Instant>>>,
    /// What the server said at the start; what it is now is checked again by every publish.
    max_payload: usize,
    connection: Arc<connect::Connection>,
}

impl Bus {
    /// Connects, and refuses a server that cannot do the work.
    ///
    /// # Errors
    /// When the server does not answer, is too old, or has no JetStream.
    pub async fn connect(settings: &Nats, keep: Keep, url: &str, role: &str) -> Result<Self, BusError> {
        let names = Names::new(&settings.prefix).map_err(BusError::Request)?;
        let losses = tokio::sync::watch::Sender::new(0);
        let connection = Arc::new(connect::Connection { connected: AtomicBool::new(true), losses });
        let client = connect::client(settings, url, role, &connection).await?;
        metrics::nats_connected(true);
        let info = client.server_info();
        if version(&info.version).is_none_or(|found| found < SERVER_MIN) {
            return Err(BusError::TooOld { found: info.version });
        }
        if !info.jetstream {
            return Err(BusError::NoJetStream { url: connect::redacted(url) });
        }
        let js = jetstream::context::ContextBuilder::new()
            .timeout(ACK_TIMEOUT)
            .max_ack_inflight(IN_FLIGHT_MAX)
            .backpressure_on_inflight(true)
            .build(client);
        let max_payload = info.max_payload;
        let healed = Arc::default();
        Ok(Self { js, names, replicas: settings.replicas, keep, healed, max_payload, connection })
    }

    #[must_use]
    pub fn client(&self) -> Client {
        self.js.client()
    }

    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection.connected.load(Ordering::Relaxed)
    }

    /// Changes whenever the connection is lost.
    #[must_use]
    pub fn losses(&self) -> tokio::sync::watch::Receiver<u64> {
        self.connection.losses.subscribe()
    }

    /// The largest event that is routed, in bytes.
    #[must_use]
    pub fn event_bytes_max(&self) -> usize {
        self.max_payload / EVENT_SHARE
    }

    /// Publishes and waits until the broker has stored it.
    ///
    /// # Errors
    /// When the broker refuses, or does not acknowledge in time. Publishing again under the same id is safe.
    pub async fn publish(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Stored, BusError> {
        self.publish_with(subject, || headers.clone(), payload).await
    }

    /// `headers` are made when they are needed: hardly ever a second time.
    async fn publish_with(
        &self,
        subject: String,
        headers: impl Fn() -> HeaderMap + Send,
        payload: Bytes,
    ) -> Result<Stored, BusError> {
        match self.publish_once(subject.clone(), headers(), payload.clone()).await {
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {
                // Deleted by hand: the same again, under the same id, once it is there.
                Box::pin(self.heal()).await?;
                self.publish_once(subject, headers(), payload.clone()).await
            }
            done => done,
        }
        .map_err(|error| publish_error(&error, payload.len()))
    }

    async fn publish_once(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Stored, jetstream::context::PublishError> {
        let message = jetstream::message::PublishMessage::build().headers(headers).payload(payload);
        let ack = self.js.send_publish(subject, message).await?.await?;
        Ok(Stored { sequence: ack.sequence, duplicate: ack.duplicate })
    }

    /// Makes the streams that are gone.
    async fn heal(&self) -> Result<(), BusError> {
        let mut healed = self.healed.lock().await;
        if healed.is_none_or(|at| at.elapsed() > HEALED_FOR) {
            tracing::warn!("a stream is gone: making what is missing");
            topology::ensure(self, &self.keep).await?;
            *healed = Some(Instant::now());
        }
        Ok(())
    }

    /// Publishes a message of our own as JSON under a message id.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_json<T: Serialize + Sync>(
        &self,
        subject: String,
        id: &str,
        message: &T,
    ) -> Result<Stored, BusError> {
        let payload = json(message)?;
        let headers = || HeaderMap::from_iter([(async_nats::header::NATS_MESSAGE_ID, id.into())]);
        self.publish_with(subject, headers, payload).await
    }

    /// Stores what became of a delivery in a step. A step that is taken twice may end in two ways (the receiver answered
    /// otherwise the second time): both are stored, each once.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn record(&self, outcome: &Outcome, step: &str) -> Result<Stored, BusError> {
        let id = format!("{step}/{}", outcome.state);
        self.publish_json(self.names.outcome(outcome), &id, outcome).await
    }
}

/// A message's JSON, written into a buffer that has grown for the ones before it.
fn json<T: Serialize>(message: &T) -> Result<Bytes, serde_json::Error> {
    thread_local!(static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        serde_json::to_writer(&mut *buffer, message)?;
        Ok(Bytes::copy_from_slice(buffer))
    })
}

/// The broker's code for a publish whose expected sequence was not the last, and for one that met another in flight.
const WRONG_LAST_SEQUENCE: [u64; 2] = [10_071, 10_164];

fn publish_error(error: &jetstream::context::PublishError, bytes: usize) -> BusError {
    let code = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<jetstream::Error>())
        .map(|error| error.error_code().0);
    if error.kind() == PublishErrorKind::WrongLastSequence
        || code.is_some_and(|code| WRONG_LAST_SEQUENCE.contains(&code))
    {
        return BusError::Conflict;
    }
    if error.kind() == PublishErrorKind::MaxPayloadExceeded {
        return BusError::TooLarge { bytes };
    }
    BusError::request(error)
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.split(['.', '-']).map_while(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_is_recognised_by_its_version() {
        assert!(version("2.9.10").unwrap() < SERVER_MIN);
        assert!(version("2.15.1-RC.2").unwrap() > SERVER_MIN);
        assert_eq!(version("dev"), None);
    }
}

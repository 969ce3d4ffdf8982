//! The broker, as the rest of Bugle sees it: one connection, checked at start, and publishes that are awaited twice.
//!
//! A publish is done when the broker acknowledged it, not when it was sent; [`Bus::publish`] waits for that, so that
//! nobody forgets. Settling messages is the business of [`consumer`] alone.

pub mod attach;
pub mod claim;
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

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, context::PublishErrorKind};
use async_nats::{Client, Event, HeaderMap};
use bytes::Bytes;
use serde::Serialize;

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
    #[error("nats.credentials_file {file} cannot be used: {reason}")]
    Credentials { file: String, reason: String },
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
    connection: Arc<Connection>,
}

/// The state of the connection, as the client's events tell it.
struct Connection {
    connected: AtomicBool,
    /// Counts the times that it was lost: what was asked on a lost connection is not answered on the next one.
    losses: tokio::sync::watch::Sender<u64>,
}

impl Bus {
    /// Connects, and refuses a server that cannot do the work.
    ///
    /// # Errors
    /// When the server does not answer, is too old, or has no JetStream.
    pub async fn connect(settings: &Nats, keep: Keep, url: &str, role: &str) -> Result<Self, BusError> {
        let names = Names::new(&settings.prefix).map_err(BusError::Request)?;
        let losses = tokio::sync::watch::Sender::new(0);
        let connection = Arc::new(Connection { connected: AtomicBool::new(true), losses });
        let client = connect_client(settings, url, role, &connection).await?;
        metrics::nats_connected(true);
        let info = client.server_info();
        if version(&info.version).is_none_or(|found| found < SERVER_MIN) {
            return Err(BusError::TooOld { found: info.version });
        }
        if !info.jetstream {
            return Err(BusError::NoJetStream { url: redacted(url) });
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

async fn connect_client(
    settings: &Nats,
    url: &str,
    role: &str,
    connection: &Arc<Connection>,
) -> Result<Client, BusError> {
    let state = Arc::clone(connection);
    let mut options = async_nats::ConnectOptions::new()
        .name(format!("bugle-{role}"))
        .connection_timeout(Duration::from_secs(5))
        .subscription_capacity(65_536)
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            note_event(&event, &state);
            std::future::ready(())
        });
    if let Some(file) = &settings.credentials_file {
        let shown = file.display().to_string();
        let unusable =
            |error: std::io::Error| BusError::Credentials { file: shown, reason: error.to_string() };
        options = options.credentials_file(file).await.map_err(unusable)?;
    }
    let bad = |reason: String| BusError::Connect { url: redacted(url), reason };
    let servers: Vec<&str> = url.split(',').map(str::trim).collect();
    options.connect(servers).await.map_err(|error| bad(error.to_string()))
}

/// 100 ms, doubling to 2 s: a fleet that lost its broker finds it within two seconds of its return.
fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1).min(5)).unwrap_or(5);
    Duration::from_millis(100 * 2_u64.pow(doublings)).min(Duration::from_secs(2))
}

fn note_event(event: &Event, connection: &Connection) {
    let connected = &connection.connected;
    if matches!(event, Event::Closed) {
        // We let go of it ourselves, at the end of a command.
        metrics::nats_connected(false);
        connected.store(false, Ordering::Relaxed);
        connection.losses.send_modify(|losses| *losses += 1);
    } else if matches!(event, Event::Disconnected) {
        connected.store(false, Ordering::Relaxed);
        connection.losses.send_modify(|losses| *losses += 1);
        metrics::nats_disconnected();
        tracing::warn!("connection to NATS lost");
    } else if matches!(event, Event::Connected) {
        connected.store(true, Ordering::Relaxed);
        metrics::nats_connected(true);
        tracing::info!("connected to NATS");
    } else if matches!(event, Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_)) {
        tracing::warn!(%event, "NATS reports trouble");
    }
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

/// The URL without user and password, for messages.
fn redacted(url: &str) -> String {
    let server = |url: &str| match url.rsplit_once('@') {
        Some((before, host)) => format!("{}{host}", before.split_inclusive("://").next().unwrap_or_default()),
        None => url.to_owned(),
    };
    url.split(',').map(server).collect::<Vec<_>>().join(",")
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

    #[test]
    fn a_url_is_shown_without_its_password() {
        assert_eq!(redacted("nats://a:b@h:4222"), "nats://h:4222");
        assert_eq!(redacted("nats://h:4222,nats://u:p@i:1"), "nats://h:4222,nats://i:1");
    }

    #[test]
    fn reconnecting_never_waits_longer_than_two_seconds() {
        assert_eq!(reconnect_delay(1), Duration::from_millis(100));
        assert_eq!(reconnect_delay(500), Duration::from_secs(2));
    }
}

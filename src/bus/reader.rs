//! Reads a stream in order from a place on, acknowledging nothing: for whoever keeps its own position.
//!
//! A reader notices a gap, a lost consumer and a silent broker, and then fails; its owner opens a new one from where it
//! stands. The recorder, the directory of documents, the pauses and the live streams all read this way.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull::{self, Batch};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Bus, BusError, StreamName, topology};
use crate::clock;

/// An idle reader asks again this often; an answer later than the grace after it means that the broker is away.
const POLL: Duration = Duration::from_secs(2);
const POLL_GRACE: Duration = Duration::from_secs(1);
/// A server of a cluster may hear later than this process of a consumer that another one has made, and refuses to ask it so long.
const UNHEARD_OF: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(50);
/// Messages asked for at once, where nothing else is said.
const BATCH: usize = 1_000;
/// The broker forgets a reader that is gone for this long.
const INACTIVE: Duration = Duration::from_secs(30);

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Sequence(u64),
    /// What the broker stored at this moment or later.
    Time(Timestamp),
    /// The last message of every subject, then what comes.
    LastPerSubject,
    /// Only what comes.
    New,
}

/// A message of the stream.
#[derive(Debug, Clone)]
pub struct Entry {
    pub subject: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
    pub sequence: u64,
    /// When the broker stored it.
    pub stored_at: Timestamp,
    /// Matching messages that the stream holds beyond this one.
    pub pending: u64,
}

pub struct Reader {
    consumer: Consumer<pull::Config>,
    batch: Option<(Batch, Instant)>,
    opened: Instant,
    /// Messages asked for at once.
    ask: usize,
    /// What is still to come of them.
    left: usize,
    losses: tokio::sync::watch::Receiver<u64>,
    /// Deliveries so far: the next one must be numbered one higher.
    delivered: u64,
    /// Messages that were waiting when it was opened.
    pub pending_at_start: u64,
}

impl Reader {
    /// # Errors
    /// When the broker refuses or does not answer.
    pub async fn open(bus: &Bus, stream: StreamName, filter: String, from: From) -> Result<Self, BusError> {
        Self::open_stream(bus, &bus.names.stream(stream), filter, from).await
    }

    /// The same on a stream by its full name.
    ///
    /// # Errors
    /// When the broker refuses or does not answer.
    pub async fn open_stream(bus: &Bus, stream: &str, filter: String, from: From) -> Result<Self, BusError> {
        // None is all.
        let filters = Some(filter).filter(|filter| !filter.is_empty()).into_iter().collect();
        Self::open_filtered(bus, stream, filters, from).await
    }

    /// The same for whatever passes one of the filters.
    ///
    /// # Errors
    /// When the broker refuses or does not answer.
    pub async fn open_filtered(
        bus: &Bus,
        stream: &str,
        filter_subjects: Vec<String>,
        from: From,
    ) -> Result<Self, BusError> {
        let deliver_policy = match from {
            From::Sequence(start_sequence) => {
                DeliverPolicy::ByStartSequence { start_sequence: start_sequence.max(1) }
            }
            From::Time(from) => {
                let start_time = time::OffsetDateTime::from_unix_timestamp_nanos(from.as_nanosecond());
                DeliverPolicy::ByStartTime { start_time: start_time.map_err(BusError::request)? }
            }
            From::LastPerSubject => DeliverPolicy::LastPerSubject,
            From::New => DeliverPolicy::New,
        };
        let config = pull::Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subjects,
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..Default::default()
        };
        let losses = bus.losses();
        let stream = bus.js.get_stream_no_info(stream).await.map_err(BusError::request)?;
        let consumer = stream.create_consumer(config).await.map_err(BusError::request)?;
        let pending_at_start = consumer.cached_info().num_pending;
        let opened = Instant::now();
        Ok(Self {
            consumer,
            batch: None,
            opened,
            ask: BATCH,
            left: 0,
            losses,
            delivered: 0,
            pending_at_start,
        })
    }

    /// Asks for so many at once: what was asked for and not read yet lies in this process, however large it is.
    #[must_use]
    pub fn asking(self, ask: usize) -> Self {
        Self { ask, ..self }
    }

    /// Waits for a message, up to the poll's length, and takes what else is there, up to `max`. Empty when idle.
    /// Dropping the future loses nothing that was returned; a reader whose future was dropped is to be dropped too.
    ///
    /// # Errors
    /// When the broker is silent, the consumer is gone, or a message was lost on the way: open a new reader.
    pub async fn next(&mut self, max: usize) -> Result<Vec<Entry>, BusError> {
        let (mut batch, deadline) = if let Some(open) = self.batch.take() {
            open
        } else {
            let polled = self.poll().await?;
            self.left = self.ask;
            polled
        };
        let mut entries = Vec::new();
        let silent = || BusError::Request("the broker does not answer".to_owned());
        let lost = || BusError::Request("the connection was lost".to_owned());
        let mut next = tokio::select! {
            next = tokio::time::timeout_at(deadline, batch.next()) => next.map_err(|_| silent())?,
            _ = self.losses.changed() => return Err(lost()),
        };
        loop {
            match next {
                Some(Err(error)) if self.delivered == 0 && self.opened.elapsed() < UNHEARD_OF => {
                    tracing::debug!(%error, "a consumer that was made just now cannot be asked yet");
                    clock::sleep(AGAIN).await;
                    return Box::pin(self.next(max)).await;
                }
                // The poll is over: the next call asks anew.
                None => return Ok(entries),
                Some(message) => entries.push(self.entry(&message.map_err(BusError::request)?)?),
            }
            if entries.len() >= max {
                break;
            }
            match batch.next().now_or_never() {
                Some(more) => next = more,
                None => break,
            }
        }
        // A broker that sends is not silent, however long all of it takes. One that has sent all that was asked for would only say
        // that the poll is over, which looks like the end.
        if self.left > 0 {
            self.batch = Some((batch, deadline.max(Instant::now() + POLL + POLL_GRACE)));
        }
        Ok(entries)
    }

    async fn poll(&self) -> Result<(Batch, Instant), BusError> {
        let deadline = Instant::now() + POLL + POLL_GRACE;
        let asked = self.consumer.batch().max_messages(self.ask).expires(POLL).messages();
        let batch = tokio::time::timeout_at(deadline, asked).await;
        let batch = batch.map_err(|_| BusError::Request("the broker does not answer".to_owned()))?;
        Ok((batch.map_err(BusError::request)?, deadline))
    }

    fn entry(&mut self, message: &async_nats::jetstream::Message) -> Result<Entry, BusError> {
        let info = message.info().map_err(BusError::request)?;
        if info.consumer_sequence != self.delivered + 1 {
            let (expected, found) = (self.delivered + 1, info.consumer_sequence);
            return Err(BusError::Request(format!(
                "a gap in what was read: expected {expected}, found {found}"
            )));
        }
        self.delivered += 1;
        self.left = self.left.saturating_sub(1);
        let stored_at = Timestamp::from_nanosecond(info.published.unix_timestamp_nanos());
        let stored_at = stored_at.map_err(BusError::request)?;
        Ok(Entry {
            subject: message.subject.to_string(),
            headers: message.headers.clone().unwrap_or_default(),
            payload: message.payload.clone(),
            sequence: info.stream_sequence,
            stored_at,
            pending: info.pending,
        })
    }
}

/// The creation time of a stream: with it a sequence is unique even when the stream is made anew.
///
/// # Errors
/// When the stream is missing or the broker does not answer.
pub async fn epoch(bus: &Bus, stream: StreamName) -> Result<String, BusError> {
    let stream = topology::stream(bus, stream).await?;
    Ok(epoch_of(stream.cached_info()))
}

/// The same of a stream that was looked up.
#[must_use]
pub fn epoch_of(info: &async_nats::jetstream::stream::Info) -> String {
    format!("{}-{}", info.config.name, info.created.unix_timestamp_nanos() / 1_000)
}

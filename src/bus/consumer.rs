//! The loop that takes messages and the only place that settles them. A handler returns a verdict; nobody else acks.
//!
//! A permit is taken before a message is asked for, so that no message waits in this process with its clock running.
//! Pulls are long-polls of exactly the free slots: the client's endless streams can stall with small batches. Losing
//! the consumer, its stream or the broker is survived here: get it, create it when it is gone, wait, go on.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Bus, BusError, StreamName, topology};
use crate::clock;
use crate::config::Keep;
use crate::health::Pulse;
use crate::metrics;

/// One long-poll. It bounds how long a stop waits for polls that are open.
const POLL: Duration = Duration::from_secs(1);
/// An answer later than this after the poll's end means that the broker is away.
const POLL_GRACE: Duration = Duration::from_secs(1);
/// More messages in one poll gain nothing.
const BATCH_MAX: usize = 512;
/// An idle consumer is looked up this often: one that vanished while the broker was away says nothing.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// A third of the acknowledgement wait: long tries tell the broker that they live.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// Our own trouble never makes a message poison: a message handed out this often without a verdict is.
const DELIVERED_MAX: i64 = 20;
/// What a stopping process hands back waits this long, so that an open poll of ours does not get it again.
const HAND_BACK: Duration = Duration::from_secs(1);
/// After a handler broke down: long enough to read the log before it happens again.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// What becomes of the message in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All that it asked for is stored elsewhere: forget it.
    Done,
    /// Our own short trouble: hand it out again after this long.
    Again(Duration),
}

/// A message, without the power to settle it.
#[derive(Debug)]
pub struct Received {
    pub subject: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
    pub sequence: u64,
    /// When the broker stored it.
    pub stored_at: Timestamp,
}

/// Turns one message into a verdict. Doing it twice must be the same as doing it once.
pub trait Handler: Send + Sync + 'static {
    fn handle(&self, message: Received) -> impl Future<Output = Verdict> + Send;

    /// Gets rid of a message that was handed out again and again, leaving a record.
    fn poison(&self, message: Received) -> impl Future<Output = Verdict> + Send;
}

/// Messages are taken only while it says true.
pub type Gate = tokio::sync::watch::Receiver<bool>;

/// Which messages, and how many at once.
#[derive(Debug, Clone)]
pub struct Source {
    pub stream: StreamName,
    pub durable: String,
    pub filter: String,
    pub slots: usize,
    /// None: always open.
    pub gate: Option<Gate>,
}

/// When to stop: `soft` ends the taking, `hard` hands back what still runs.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    pub soft: CancellationToken,
    pub hard: CancellationToken,
}

struct Loop<H> {
    bus: Bus,
    keep: Keep,
    source: Source,
    handler: Arc<H>,
    stop: Stop,
    slots: Arc<Semaphore>,
    running: TaskTracker,
    pulse: Pulse,
}

/// Runs until `stop.soft`, then finishes what is in hand.
pub async fn run<H: Handler>(
    bus: Bus,
    keep: Keep,
    source: Source,
    handler: Arc<H>,
    stop: Stop,
    pulse: Pulse,
) {
    let slots = Arc::new(Semaphore::new(source.slots));
    let this = Loop { bus, keep, source, handler, stop, slots, running: TaskTracker::new(), pulse };
    let mut backoff = Backoff::default();
    while !this.stop.soft.is_cancelled() {
        let consumer = tokio::select! {
            consumer = this.consumer() => consumer,
            () = this.stop.soft.cancelled() => break,
        };
        let error = match consumer {
            Ok(consumer) => match this.pull_until_trouble(&consumer, &mut backoff).await {
                Ok(()) => break,
                Err(error) => error,
            },
            Err(error) => error,
        };
        this.pulse.trouble();
        let wait = backoff.next();
        tracing::warn!(durable = this.source.durable, %error, wait_ms = wait.as_millis(), "consumer interrupted");
        tokio::select! {
            () = clock::sleep(wait) => {}
            () = this.stop.soft.cancelled() => {}
        }
    }
    this.running.close();
    this.running.wait().await;
}

impl<H: Handler> Loop<H> {
    async fn consumer(&self) -> Result<Consumer<pull::Config>, BusError> {
        let Source { stream, durable, filter, .. } = &self.source;
        topology::consumer(&self.bus, *stream, durable, filter, &self.keep).await
    }

    /// Ok when asked to stop.
    async fn pull_until_trouble(
        &self,
        consumer: &Consumer<pull::Config>,
        backoff: &mut Backoff,
    ) -> Result<(), BusError> {
        let mut checked = Instant::now();
        loop {
            let permits = tokio::select! {
                permits = self.slots_behind_the_gate() => permits,
                () = self.stop.soft.cancelled() => return Ok(()),
            };
            if self.stop.soft.is_cancelled() {
                return Ok(());
            }
            let taken = self.pull_once(consumer, permits).await?;
            if taken > 0 {
                checked = Instant::now();
            } else if checked.elapsed() > CHECK_EVERY {
                timeout(CHECK_EVERY, consumer.clone().info())
                    .await
                    .map_err(|_| BusError::Request("the broker does not answer".to_owned()))?
                    .map_err(BusError::request)?;
                checked = Instant::now();
            }
            *backoff = Backoff::default();
            self.pulse.beat();
        }
    }

    async fn slots_behind_the_gate(&self) -> Vec<OwnedSemaphorePermit> {
        if let Some(mut gate) = self.source.gate.clone() {
            // Whoever held the gate is gone: the process ends anyway.
            let _open = gate.wait_for(|open| *open).await;
        }
        self.free_slots().await
    }

    /// Waits for one slot and takes the others that are free.
    async fn free_slots(&self) -> Vec<OwnedSemaphorePermit> {
        let mut permits = Vec::new();
        if let Ok(first) = Arc::clone(&self.slots).acquire_owned().await {
            permits.push(first);
        }
        while permits.len() < BATCH_MAX {
            let Ok(more) = Arc::clone(&self.slots).try_acquire_owned() else { break };
            permits.push(more);
        }
        permits
    }

    /// One long-poll to its end: what is left of it unread would be stuck until the acknowledgement wait is over.
    async fn pull_once(
        &self,
        consumer: &Consumer<pull::Config>,
        mut permits: Vec<OwnedSemaphorePermit>,
    ) -> Result<usize, BusError> {
        let poll = consumer.batch().max_messages(permits.len()).expires(POLL).messages();
        let deadline = Instant::now() + POLL + POLL_GRACE;
        let mut batch = tokio::time::timeout_at(deadline, poll)
            .await
            .map_err(|_| BusError::Request("the broker does not answer".to_owned()))?
            .map_err(BusError::request)?;
        let mut taken = 0;
        while let Some(permit) = permits.pop() {
            let next = tokio::time::timeout_at(deadline, batch.next());
            let Ok(next) = next.await else {
                return Err(BusError::Request("the broker does not answer".to_owned()));
            };
            let Some(message) = next else { break };
            let message = message.map_err(BusError::request)?;
            taken += 1;
            if self.stop.soft.is_cancelled() {
                settle(&message, AckKind::Nak(Some(HAND_BACK))).await;
                continue;
            }
            self.spawn(message, permit);
        }
        Ok(taken)
    }

    fn spawn(&self, message: Message, permit: OwnedSemaphorePermit) {
        let (handler, hard) = (Arc::clone(&self.handler), self.stop.hard.clone());
        let durable = self.source.durable.clone();
        self.running.spawn(async move {
            let kind = verdict_on(&message, handler.as_ref(), &hard, &durable).await;
            settle(&message, kind).await;
            drop(permit);
        });
    }
}

async fn verdict_on<H: Handler>(
    message: &Message,
    handler: &H,
    hard: &CancellationToken,
    durable: &str,
) -> AckKind {
    let (received, delivered) = match received(message) {
        Ok(parts) => parts,
        Err(error) => {
            tracing::error!(durable, %error, "a message without JetStream's metadata");
            return AckKind::Nak(Some(AFTER_PANIC));
        }
    };
    let sequence = received.sequence;
    let work = async {
        if delivered > DELIVERED_MAX {
            handler.poison(received).await
        } else {
            handler.handle(received).await
        }
    };
    let work = AssertUnwindSafe(work).catch_unwind();
    let work = with_progress(message, work);
    tokio::select! {
        verdict = work => match verdict {
            Ok(Verdict::Done) => AckKind::Ack,
            Ok(Verdict::Again(wait)) => AckKind::Nak(Some(wait)),
            Err(_) => {
                metrics::handler_panicked();
                tracing::error!(durable, sequence, delivered, "a handler panicked: the message will be handed out again");
                AckKind::Nak(Some(AFTER_PANIC))
            }
        },
        () = hard.cancelled() => AckKind::Nak(Some(HAND_BACK)),
    }
}

async fn with_progress<T>(message: &Message, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    loop {
        match timeout(PROGRESS_EVERY, &mut work).await {
            Ok(done) => return done,
            Err(_) => settle(message, AckKind::Progress).await,
        }
    }
}

fn received(message: &Message) -> Result<(Received, i64), async_nats::Error> {
    let info = message.info()?;
    let stored_at = Timestamp::from_nanosecond(info.published.unix_timestamp_nanos())?;
    let received = Received {
        subject: message.subject.to_string(),
        headers: message.headers.clone().unwrap_or_default(),
        payload: message.payload.clone(),
        sequence: info.stream_sequence,
        stored_at,
    };
    Ok((received, info.delivered))
}

/// A settlement that does not arrive means a redelivery, which every handler takes.
#[expect(clippy::disallowed_methods, reason = "the one place that settles messages")]
async fn settle(message: &Message, kind: AckKind) {
    if let Err(error) = message.ack_with(kind).await {
        tracing::debug!(%error, "a settlement was not sent");
    }
}

/// 100 ms, doubling to 5 s, with a quarter of jitter.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let base = Duration::from_millis(100 * 2_u64.pow(self.failures.min(6))).min(Duration::from_secs(5));
        self.failures += 1;
        clock::jittered(base)
    }
}

//! The loop that takes messages and the only place that settles them. A handler returns a verdict; nobody else acks.
//!
//! A permit is taken before a message is asked for, so that no message waits in this process with its clock running.
//! Pulls are long-polls of exactly the free slots: the client's endless streams can stall with small batches. Losing
//! the consumer, its stream or the broker is survived here: get it, create it when it is gone, wait, go on.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
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
/// Messages that came together share a task: a task for each would cost as much as routing one.
const GROUP_MAX: usize = 64;
/// A poll waits a moment for this part of the slots: under load, polls for one message at a time cost more than the work.
const WORTH_A_POLL: usize = 4;
const WORTH_A_POLL_WAIT: Duration = Duration::from_millis(2);
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
    pub durable: Arc<str>,
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
        tracing::warn!(durable = &*this.source.durable, %error, wait_ms = wait.as_millis(), "consumer interrupted");
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
                // Nobody closes the semaphore; if somebody did, there would be nothing left to take.
                permits = self.slots_behind_the_gate() => permits.map_err(BusError::request)?,
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

    async fn slots_behind_the_gate(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        if let Some(mut gate) = self.source.gate.clone() {
            // Whoever held the gate is gone: the process ends anyway.
            let _open = gate.wait_for(|open| *open).await;
        }
        self.free_slots().await
    }

    /// Waits for one slot, a moment for enough of them to be worth a poll, and takes what is free then.
    async fn free_slots(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        let worth = (self.source.slots / WORTH_A_POLL).clamp(1, BATCH_MAX);
        let mut permits = Arc::clone(&self.slots).acquire_owned().await?;
        if let Ok(more) = timeout(WORTH_A_POLL_WAIT, self.more_slots(worth - 1)).await {
            permits.merge(more?);
        }
        let rest = self.slots.available_permits().min(BATCH_MAX - permits.num_permits());
        // Nobody else takes them: what was free stays free.
        permits.merge(self.more_slots(rest).await?);
        Ok(permits)
    }

    async fn more_slots(&self, count: usize) -> Result<OwnedSemaphorePermit, AcquireError> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Arc::clone(&self.slots).acquire_many_owned(count).await
    }

    /// One long-poll to its end: what is left of it unread would be stuck until the acknowledgement wait is over.
    async fn pull_once(
        &self,
        consumer: &Consumer<pull::Config>,
        mut permits: OwnedSemaphorePermit,
    ) -> Result<usize, BusError> {
        let poll = consumer.batch().max_messages(permits.num_permits()).expires(POLL).messages();
        let deadline = Instant::now() + POLL + POLL_GRACE;
        let mut batch = tokio::time::timeout_at(deadline, poll)
            .await
            .map_err(|_| BusError::Request("the broker does not answer".to_owned()))?
            .map_err(BusError::request)?;
        let mut taken = 0;
        let mut group = Vec::new();
        while permits.num_permits() > 0 {
            let next = match batch.next().now_or_never() {
                Some(next) => next,
                None => {
                    self.spawn(std::mem::take(&mut group));
                    let next = tokio::time::timeout_at(deadline, batch.next());
                    next.await.map_err(|_| BusError::Request("the broker does not answer".to_owned()))?
                }
            };
            let Some(message) = next else { break };
            let Ok(message) = message else {
                self.spawn(group);
                return Err(BusError::request("a poll broke off"));
            };
            taken += 1;
            if self.stop.soft.is_cancelled() {
                settle(&message.split().1, AckKind::Nak(Some(HAND_BACK))).await;
                continue;
            }
            group.extend(permits.split(1).map(|permit| (message, permit)));
            if group.len() == GROUP_MAX {
                self.spawn(std::mem::take(&mut group));
            }
        }
        self.spawn(group);
        Ok(taken)
    }

    /// Works on messages side by side in a task of their own.
    fn spawn(&self, group: Vec<(Message, OwnedSemaphorePermit)>) {
        if group.is_empty() {
            return;
        }
        let (handler, hard) = (Arc::clone(&self.handler), self.stop.hard.clone());
        let durable = Arc::clone(&self.source.durable);
        self.running.spawn(async move { work_on(group, handler.as_ref(), &hard, &durable).await });
    }
}

/// The power to settle a message, and whether it was used.
struct Settler {
    acker: Acker,
    settled: AtomicBool,
}

/// Works on a group to its end. Long work tells the broker that it lives; a hard stop hands back what is not done.
async fn work_on<H: Handler>(
    group: Vec<(Message, OwnedSemaphorePermit)>,
    handler: &H,
    hard: &CancellationToken,
    durable: &str,
) {
    let (mut settlers, mut messages) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
    for (message, permit) in group {
        let (acker, received) = take_apart(message);
        settlers.push(Settler { acker, settled: AtomicBool::new(false) });
        messages.push((received, permit));
    }
    let mut work = FuturesUnordered::new();
    for (settler, (received, permit)) in settlers.iter().zip(messages) {
        work.push(async move {
            let kind = verdict_on(received, handler, durable).await;
            settler.settled.store(true, Ordering::Relaxed);
            settle(&settler.acker, kind).await;
            drop(permit);
        });
    }
    let unsettled = || settlers.iter().filter(|settler| !settler.settled.load(Ordering::Relaxed));
    loop {
        tokio::select! {
            biased;
            () = work.by_ref().collect::<()>() => return,
            () = hard.cancelled() => {
                for settler in unsettled() {
                    settle(&settler.acker, AckKind::Nak(Some(HAND_BACK))).await;
                }
                return;
            }
            () = clock::sleep(PROGRESS_EVERY) => {
                for settler in unsettled() {
                    settle(&settler.acker, AckKind::Progress).await;
                }
            }
        }
    }
}

async fn verdict_on<H: Handler>(
    received: Result<(Received, i64), async_nats::Error>,
    handler: &H,
    durable: &str,
) -> AckKind {
    let (received, delivered) = match received {
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
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Verdict::Done) => AckKind::Ack,
        Ok(Verdict::Again(wait)) => AckKind::Nak(Some(wait)),
        Err(_) => {
            metrics::handler_panicked();
            tracing::error!(durable, sequence, delivered, "a handler panicked: the message will be handed out again");
            AckKind::Nak(Some(AFTER_PANIC))
        }
    }
}

/// What settles the message, and what a handler may see of it, with the number of its deliveries.
fn take_apart(message: Message) -> (Acker, Result<(Received, i64), async_nats::Error>) {
    let metadata = message.info().and_then(|info| {
        let stored_at = Timestamp::from_nanosecond(info.published.unix_timestamp_nanos())?;
        Ok((info.stream_sequence, info.delivered, stored_at))
    });
    let (message, acker) = message.split();
    let received = metadata.map(|(sequence, delivered, stored_at)| {
        let received = Received {
            subject: message.subject.into_string(),
            headers: message.headers.unwrap_or_default(),
            payload: message.payload,
            sequence,
            stored_at,
        };
        (received, delivered)
    });
    (acker, received)
}

/// A settlement that does not arrive means a redelivery, which every handler takes.
#[expect(clippy::disallowed_methods, reason = "the one place that settles messages")]
async fn settle(acker: &Acker, kind: AckKind) {
    if let Err(error) = acker.ack_with(kind).await {
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

//! The loop that takes messages, and with [`work`] the only place that settles them: a handler returns a verdict.
//!
//! A permit is taken before a message is asked for, so that no message waits in this process with its clock running.
//! Pulls are long-polls of exactly the free slots: the client's endless streams can stall with small batches. Losing
//! the consumer, its stream or the broker is survived here: get it, create it when it is gone, wait, go on.

mod lease;
mod work;

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::lease::Lease;
use self::work::{Group, HAND_BACK, settle, work_on};
use super::attach::{self, Attachment};
use super::{Bus, BusError, StreamName, reader, topology};
use crate::clock;
use crate::config::Keep;
use crate::health::Pulse;
pub use crate::source::Begin;

/// One long-poll. It bounds how long a stop waits for polls that are open.
const POLL: Duration = Duration::from_secs(1);
/// An answer later than this after the poll's end means that the broker is away.
const POLL_GRACE: Duration = Duration::from_secs(1);
/// More messages in one poll gain nothing.
const BATCH_MAX: usize = 512;
/// Messages that came together share a task: a task for each would cost as much as routing one.
const GROUP_MAX: usize = 64;
/// A poll waits a moment for this part of the slots: under load, polls for one message at a time cost more than the work.
const WORTH_A_POLL: usize = 16;
const WORTH_A_POLL_WAIT: Duration = Duration::from_millis(2);
/// An idle consumer is looked up this often: one that vanished while the broker was away says nothing.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// A stopping process waits this long for its last acknowledgements to be on the wire.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// What becomes of the message in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All that it asked for is stored elsewhere: forget it.
    Done,
    /// Our own trouble: try again after this long, here. The message stays in hand, so that trouble of ours, however
    /// long, never looks like a message that nobody can digest.
    Again(Duration),
    /// Not for this process: hand it out again after this long.
    HandBack(Duration),
}

/// A message, without the power to settle it.
#[derive(Debug)]
pub struct Received {
    /// Names the stream that it lies in; a stream made anew has another one, and counts from one again.
    pub epoch: Arc<str>,
    pub subject: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
    pub sequence: u64,
    /// When the broker stored it.
    pub stored_at: Timestamp,
    /// To be looked at before what cannot be taken back.
    pub lease: Lease,
}

impl Received {
    /// A message that is only read once more: nobody settles it.
    #[must_use]
    pub fn once_more(epoch: Arc<str>, entry: reader::Entry) -> Self {
        let reader::Entry { subject, headers, payload, sequence, stored_at, pending: _ } = entry;
        Self { epoch, subject, headers, payload, sequence, stored_at, lease: Lease::new(Instant::now()) }
    }
}

/// Turns one message into a verdict. Doing it twice must be the same as doing it once.
pub trait Handler: Send + Sync + 'static {
    fn handle(&self, message: &Received) -> impl Future<Output = Verdict> + Send;

    /// Gets rid of a message that was handed out again and again, leaving a record.
    fn poison(&self, message: &Received) -> impl Future<Output = Verdict> + Send;
}

/// Messages are taken only while it says true.
pub type Gate = tokio::sync::watch::Receiver<bool>;

/// How many messages are in hand at once; loops on one source share them.
#[derive(Debug, Clone)]
pub struct Slots {
    total: usize,
    free: Arc<Semaphore>,
}

impl Slots {
    #[must_use]
    pub fn new(total: usize) -> Self {
        Self { total, free: Arc::new(Semaphore::new(total)) }
    }
}

/// Where messages lie.
#[derive(Debug, Clone)]
pub enum Origin {
    /// In one of our streams, which is made again when it is gone.
    Own(Own),
    /// In a source's. When it cannot be attached the loop ends: its owner says so, and tries again.
    Attached(Arc<Attachment>),
}

/// Messages of one of our streams.
#[derive(Debug, Clone)]
pub struct Own {
    pub stream: StreamName,
    pub filter: String,
    /// Where the consumer begins when nobody has made it before.
    pub begin: Begin,
}

/// Which messages, and how many at once.
#[derive(Debug, Clone)]
pub struct Source {
    pub origin: Origin,
    pub durable: Arc<str>,
    pub slots: Slots,
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
    running: TaskTracker,
    pulse: Pulse,
}

/// Runs until `stop.soft` (or until its attachment is lost), then finishes what is in hand.
pub async fn run<H: Handler>(
    bus: Bus,
    keep: Keep,
    source: Source,
    handler: Arc<H>,
    stop: Stop,
    pulse: Pulse,
) {
    let this = Loop { bus, keep, source, handler, stop, running: TaskTracker::new(), pulse };
    let mut backoff = Backoff::default();
    while !this.stop.soft.is_cancelled() {
        let consumer = tokio::select! {
            consumer = this.consumer() => consumer,
            () = this.stop.soft.cancelled() => break,
        };
        let error = match consumer {
            Ok((consumer, epoch)) => match this.pull_until_trouble(&consumer, &epoch, &mut backoff).await {
                Ok(()) => break,
                Err(error) => error,
            },
            Err(error) if matches!(this.source.origin, Origin::Attached(_)) => {
                tracing::debug!(durable = &*this.source.durable, %error, "the stream of a source is lost");
                break;
            }
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
    // Acknowledgements are only queued in the client: without this, a process that ends now takes the last ones along.
    let flushed = timeout(FLUSH_WAIT, this.bus.client().flush()).await;
    if !matches!(flushed, Ok(Ok(()))) {
        tracing::warn!(
            durable = &*this.source.durable,
            "the last acknowledgements may not have reached the broker"
        );
    }
}

impl<H: Handler> Loop<H> {
    /// The consumer, and the epoch of its stream.
    async fn consumer(&self) -> Result<(Consumer<pull::Config>, Arc<str>), BusError> {
        let Source { origin, durable, .. } = &self.source;
        match origin {
            Origin::Own(own) => {
                let consumer = topology::consumer(&self.bus, own, durable, &self.keep).await?;
                Ok((consumer, reader::epoch(&self.bus, own.stream).await?.into()))
            }
            Origin::Attached(attachment) => {
                let (consumer, epoch) = attach::attach(&self.bus, attachment).await?;
                Ok((consumer, epoch.into()))
            }
        }
    }

    /// Ok when asked to stop.
    async fn pull_until_trouble(
        &self,
        consumer: &Consumer<pull::Config>,
        epoch: &Arc<str>,
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
            let taken = self.pull_once(consumer, epoch, permits).await?;
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
        let worth = (self.source.slots.total / WORTH_A_POLL).clamp(1, BATCH_MAX);
        let mut permits = Arc::clone(&self.source.slots.free).acquire_owned().await?;
        if let Ok(more) = timeout(WORTH_A_POLL_WAIT, self.more_slots(worth - 1)).await {
            permits.merge(more?);
        }
        let free = &self.source.slots.free;
        let rest = free.available_permits().min(BATCH_MAX - permits.num_permits());
        // Another loop on this source may have been faster: then this poll asks for less.
        if let Ok(more) = Arc::clone(free).try_acquire_many_owned(u32::try_from(rest).unwrap_or(0)) {
            permits.merge(more);
        }
        Ok(permits)
    }

    async fn more_slots(&self, count: usize) -> Result<OwnedSemaphorePermit, AcquireError> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Arc::clone(&self.source.slots.free).acquire_many_owned(count).await
    }

    /// One long-poll to its end: what is left of it unread would be stuck until the acknowledgement wait is over.
    async fn pull_once(
        &self,
        consumer: &Consumer<pull::Config>,
        epoch: &Arc<str>,
        mut permits: OwnedSemaphorePermit,
    ) -> Result<usize, BusError> {
        let asked = Instant::now();
        let poll = consumer.batch().max_messages(permits.num_permits()).expires(POLL).messages();
        let deadline = asked + POLL + POLL_GRACE;
        let mut batch = tokio::time::timeout_at(deadline, poll)
            .await
            .map_err(|_| BusError::Request("the broker does not answer".to_owned()))?
            .map_err(BusError::request)?;
        let mut taken = 0;
        let mut group = Vec::new();
        while permits.num_permits() > 0 {
            let next = if let Some(next) = batch.next().now_or_never() {
                next
            } else {
                self.spawn(std::mem::take(&mut group), epoch, asked);
                let next = tokio::time::timeout_at(deadline, batch.next());
                next.await.map_err(|_| BusError::Request("the broker does not answer".to_owned()))?
            };
            let Some(message) = next else { break };
            let message = match message {
                Ok(message) => message,
                Err(error) => {
                    self.spawn(group, epoch, asked);
                    return Err(BusError::request(error));
                }
            };
            taken += 1;
            if self.stop.soft.is_cancelled() {
                settle(&message.split().1, AckKind::Nak(Some(HAND_BACK))).await;
                continue;
            }
            group.extend(permits.split(1).map(|permit| (message, permit)));
            if group.len() == GROUP_MAX {
                self.spawn(std::mem::take(&mut group), epoch, asked);
            }
        }
        self.spawn(group, epoch, asked);
        Ok(taken)
    }

    /// Works on messages side by side in a task of their own.
    fn spawn(&self, group: Vec<(Message, OwnedSemaphorePermit)>, epoch: &Arc<str>, asked: Instant) {
        if group.is_empty() {
            return;
        }
        let (handler, hard) = (Arc::clone(&self.handler), self.stop.hard.clone());
        let (durable, epoch) = (Arc::clone(&self.source.durable), Arc::clone(epoch));
        self.running.spawn(async move {
            let group = Group { messages: group, epoch, lease: Lease::new(asked) };
            work_on(group, handler.as_ref(), &hard, &durable).await;
        });
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

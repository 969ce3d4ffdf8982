//! Messages in hand: worked on side by side, and settled. Nothing else in the program settles a message.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{AckKind, Message};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use super::{Handler, Received, Verdict};
use crate::clock;
use crate::metrics;

/// A third of the acknowledgement wait: long tries tell the broker that they live.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// A message handed out this often without a verdict (it broke a handler or ended a process) is poison.
const DELIVERED_MAX: i64 = 20;
/// What a stopping process hands back waits this long, so that an open poll of ours does not get it again.
pub(super) const HAND_BACK: Duration = Duration::from_secs(1);
/// After a handler broke down: long enough to read the log before it happens again.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// The power to settle a message, and whether it was used.
struct Settler {
    acker: Acker,
    settled: AtomicBool,
}

/// Messages that came together.
pub(super) struct Group {
    pub messages: Vec<(Message, OwnedSemaphorePermit)>,
    pub epoch: Arc<str>,
    pub lease: Lease,
}

/// Works on a group to its end. Long work tells the broker that it lives; a hard stop hands back what is not done.
pub(super) async fn work_on<H: Handler>(group: Group, handler: &H, hard: &CancellationToken, durable: &str) {
    let count = group.messages.len();
    let (mut settlers, mut messages) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for (message, permit) in group.messages {
        let (acker, received) = take_apart(message, &group.epoch, &group.lease);
        settlers.push(Settler { acker, settled: AtomicBool::new(false) });
        messages.push((received, permit));
    }
    let mut work = FuturesUnordered::new();
    for (settler, (received, permit)) in settlers.iter().zip(messages) {
        work.push(async move {
            let kind = verdict_on(received, handler, durable).await;
            settler.settled.store(true, Ordering::Relaxed);
            if let Some(kind) = kind {
                settle(&settler.acker, kind).await;
            }
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
                group.lease.renew();
                for settler in unsettled() {
                    settle(&settler.acker, AckKind::Progress).await;
                }
            }
        }
    }
}

/// None: it has been handed to somebody else meanwhile, and is not ours to settle.
async fn verdict_on<H: Handler>(
    received: Result<(Received, i64), async_nats::Error>,
    handler: &H,
    durable: &str,
) -> Option<AckKind> {
    let (received, delivered) = match received {
        Ok(parts) => parts,
        Err(error) => {
            tracing::error!(durable, %error, "a message without JetStream's metadata");
            return Some(AckKind::Nak(Some(AFTER_PANIC)));
        }
    };
    let sequence = received.sequence;
    loop {
        if received.lease.is_over() {
            metrics::lease_over();
            tracing::warn!(durable, sequence, "a message was in hand too long: it is somebody else's now");
            return None;
        }
        let work = async {
            if delivered > DELIVERED_MAX {
                handler.poison(&received).await
            } else {
                handler.handle(&received).await
            }
        };
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(Verdict::Done) => return Some(AckKind::Ack),
            Ok(Verdict::Again(wait)) => clock::sleep(wait).await,
            Ok(Verdict::HandBack(wait)) => return Some(AckKind::Nak(Some(wait))),
            Err(_) => {
                metrics::handler_panicked();
                tracing::error!(
                    durable,
                    sequence,
                    delivered,
                    "a handler panicked: the message will be handed out again"
                );
                return Some(AckKind::Nak(Some(AFTER_PANIC)));
            }
        }
    }
}

/// What settles the message, and what a handler may see of it, with the number of its deliveries.
fn take_apart(
    message: Message,
    epoch: &Arc<str>,
    lease: &Lease,
) -> (Acker, Result<(Received, i64), async_nats::Error>) {
    let metadata = message.info().and_then(|info| {
        let stored_at = Timestamp::from_nanosecond(info.published.unix_timestamp_nanos())?;
        Ok((info.stream_sequence, info.delivered, stored_at))
    });
    let (message, acker) = message.split();
    let received = metadata.map(|(sequence, delivered, stored_at)| {
        let received = Received {
            epoch: Arc::clone(epoch),
            subject: message.subject.into_string(),
            headers: message.headers.unwrap_or_default(),
            payload: message.payload,
            sequence,
            stored_at,
            lease: lease.clone(),
        };
        (received, delivered)
    });
    (acker, received)
}

/// A settlement that does not arrive means a redelivery, which every handler takes.
#[expect(clippy::disallowed_methods, reason = "the one place that settles messages")]
pub(super) async fn settle(acker: &Acker, kind: AckKind) {
    if let Err(error) = acker.ack_with(kind).await {
        tracing::debug!(%error, "a settlement was not sent");
    }
}

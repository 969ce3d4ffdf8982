//! What waits in front of our consumers, looked up for the metrics every few seconds: how much, how much of it is in hand, and for
//! how long. Every process that takes from a consumer looks; all of them see the same.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::stream::{DirectGetErrorKind, Stream};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::subject::{ROUTER_DURABLE, worker_durable};
use super::{Bus, BusError, StreamName, topology};
use crate::channel::Kind;
use crate::clock;
use crate::delivery::Lane;
use crate::metrics;
use crate::task;

/// One question for each consumer, and one more for each that something waits in front of.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// As long as nothing in front of it is settled, the oldest message is the same one. After this long it is asked for all the same: it
/// may have been removed by hand.
const OLDEST_KNOWN: Duration = Duration::from_secs(60);

/// Whose messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Queue {
    Events,
    Lane(Kind, Lane),
}

/// Measures the events that wait to be routed, until `stop`.
pub fn events(bus: Bus, stop: CancellationToken) {
    watch(bus, StreamName::Events, vec![Queue::Events], stop);
}

/// Measures the lanes of these kinds, until `stop`.
pub fn lanes(bus: Bus, kinds: &[Kind], stop: CancellationToken) {
    let lanes = kinds.iter().flat_map(|kind| Lane::ALL.map(|lane| Queue::Lane(*kind, lane))).collect();
    watch(bus, StreamName::Deliveries, lanes, stop);
}

fn watch(bus: Bus, stream: StreamName, queues: Vec<Queue>, stop: CancellationToken) {
    // A consumer may be made only after the first look.
    queues.iter().for_each(|queue| tell(*queue, (0, 0), Duration::ZERO));
    let mut look = Look { bus, stream, oldest: HashMap::new() };
    task::spawn("what waits", async move {
        let follow = async {
            loop {
                // A broker that is away is told by others; what was seen last stands.
                if look.bus.is_connected() {
                    look.at_all(&queues).await;
                }
                clock::sleep(clock::jittered(LOOK_EVERY)).await;
            }
        };
        tokio::select! {
            () = follow => {}
            () = stop.cancelled() => {}
        }
    });
}

/// What waits in front of one consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    pub kind: Option<Kind>,
    /// Kind and lane are None for the events.
    pub lane: Option<&'static str>,
    pub pending: u64,
    /// Handed out, and not settled.
    pub in_hand: u64,
    /// When the oldest of them was stored.
    pub oldest: Option<Timestamp>,
}

impl Waiting {
    /// For people.
    #[must_use]
    pub fn name(&self) -> String {
        match (self.kind, self.lane) {
            (Some(kind), Some(lane)) => format!("{kind} {lane}"),
            (Some(_) | None, _) => "events".to_owned(),
        }
    }
}

/// What waits now, in front of the routers' consumer and in front of each lane that has one.
///
/// # Errors
/// When a stream is missing, or the broker does not answer.
pub async fn now(bus: &Bus) -> Result<Vec<Waiting>, BusError> {
    let mut found = Vec::new();
    for name in [StreamName::Events, StreamName::Deliveries] {
        let stream = topology::stream(bus, name).await?;
        let handle = topology::stream_handle(bus, name).await?;
        let mut look = Look { bus: bus.clone(), stream: name, oldest: HashMap::new() };
        let mut consumers = stream.consumers();
        while let Some(info) = consumers.try_next().await.map_err(BusError::request)? {
            let Some(queue) =
                info.config.durable_name.as_deref().and_then(|name| queue_of(look.stream, name))
            else {
                continue;
            };
            let (pending, in_hand) = (info.num_pending, info.num_ack_pending as u64);
            let oldest =
                if pending + in_hand == 0 { None } else { look.oldest(queue, &info, &handle).await? };
            let (kind, lane) = match queue {
                Queue::Events => (None, None),
                Queue::Lane(kind, lane) => (Some(kind), Some(lane.as_str())),
            };
            found.push(Waiting { kind, lane, pending, in_hand, oldest });
        }
    }
    Ok(found)
}

/// Whose consumer this is; None for what others made.
fn queue_of(stream: StreamName, durable: &str) -> Option<Queue> {
    if stream == StreamName::Events {
        return (durable == ROUTER_DURABLE).then_some(Queue::Events);
    }
    let lanes = Kind::ALL.iter().flat_map(|kind| Lane::ALL.map(|lane| (*kind, lane)));
    let mut lanes = lanes.filter(|(kind, lane)| worker_durable(*kind, *lane) == durable);
    lanes.next().map(|(kind, lane)| Queue::Lane(kind, lane))
}

fn tell(queue: Queue, (pending, in_hand): (u64, u64), oldest: Duration) {
    match queue {
        Queue::Events => metrics::events_waiting(pending + in_hand, oldest),
        Queue::Lane(kind, lane) => metrics::lane_waiting((kind, lane), pending, in_hand, oldest),
    }
}

struct Look {
    bus: Bus,
    stream: StreamName,
    /// The oldest message of each queue that is not empty.
    oldest: HashMap<Queue, Oldest>,
}

#[derive(Clone, Copy)]
struct Oldest {
    /// How far all was settled when it was asked for.
    floor: u64,
    asked: Instant,
    stored_at: Timestamp,
}

impl Look {
    async fn at_all(&mut self, queues: &[Queue]) {
        for queue in queues {
            if let Err(error) = self.at(*queue).await {
                tracing::debug!(?queue, %error, "what waits could not be looked up");
            }
        }
    }

    async fn at(&mut self, queue: Queue) -> Result<(), BusError> {
        let stream = topology::stream_handle(&self.bus, self.stream).await?;
        let durable = match queue {
            Queue::Events => ROUTER_DURABLE.to_owned(),
            Queue::Lane(kind, lane) => worker_durable(kind, lane),
        };
        let info = stream.consumer_info(&durable).await.map_err(BusError::request)?;
        let (pending, in_hand) = (info.num_pending, info.num_ack_pending as u64);
        let oldest = if pending + in_hand == 0 {
            self.oldest.remove(&queue);
            None
        } else {
            self.oldest(queue, &info, &stream).await?
        };
        let age = oldest.and_then(|at| Duration::try_from(clock::now().duration_since(at)).ok());
        tell(queue, (pending, in_hand), age.unwrap_or_default());
        Ok(())
    }

    async fn oldest(
        &mut self,
        queue: Queue,
        info: &Info,
        stream: &Stream<()>,
    ) -> Result<Option<Timestamp>, BusError> {
        let floor = info.ack_floor.stream_sequence;
        if let Some(known) = self.oldest.get(&queue)
            && known.floor == floor
            && known.asked.elapsed() < OLDEST_KNOWN
        {
            return Ok(Some(known.stored_at));
        }
        let filter = match queue {
            Queue::Events => self.bus.names.subjects_of(StreamName::Events).concat(),
            Queue::Lane(kind, lane) => self.bus.names.delivery_filter(kind, lane),
        };
        let found = next(stream, filter, floor + 1).await?;
        match found {
            Some(stored_at) => {
                let asked = Instant::now();
                self.oldest.insert(queue, Oldest { floor, asked, stored_at });
            }
            // It was settled between the two questions.
            None => drop(self.oldest.remove(&queue)),
        }
        Ok(found)
    }
}

/// When the broker stored the first message of these subjects from a place on; None when there is none.
///
/// # Errors
/// When the broker does not answer.
pub async fn next(stream: &Stream<()>, filter: String, from: u64) -> Result<Option<Timestamp>, BusError> {
    match stream.direct_get_next_for_subject(filter, Some(from)).await {
        Ok(found) => {
            Timestamp::from_nanosecond(found.time.unix_timestamp_nanos()).map(Some).map_err(BusError::request)
        }
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(error) => Err(BusError::request(error)),
    }
}

//! Timers, kept by the broker: a delivery published on `later.<id>` that becomes a message of its queue when it is due.
//!
//! One pending timer a delivery: a new one replaces the old. It fires within 250 ms of its time. Never a TTL on a
//! schedule: the broker would delete the schedule itself.

use async_nats::HeaderMap;
use jiff::Timestamp;

use super::{Bus, BusError, Stored, StreamName, topology};
use crate::delivery::Delivery;
use crate::ids::DeliveryId;

const SCHEDULE: &str = "Nats-Schedule";
const SCHEDULE_TARGET: &str = "Nats-Schedule-Target";
const SCHEDULER: &str = "Nats-Scheduler";
const SCHEDULE_NEXT: &str = "Nats-Schedule-Next";
const EXPECTED_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";
const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// Sets the timer of a delivery: at `due` it appears in the queue that it belongs in.
///
/// # Errors
/// When the broker did not store it. Setting it again under the same message id is safe.
pub async fn at(
    bus: &Bus,
    delivery: &Delivery,
    due: Timestamp,
    message_id: &str,
) -> Result<Stored, BusError> {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, message_id);
    headers.insert(SCHEDULE, format!("@at {due}"));
    headers.insert(SCHEDULE_TARGET, bus.names.delivery(delivery));
    let payload = serde_json::to_vec(delivery)?;
    bus.publish(bus.names.later(&delivery.id), headers, payload.into()).await
}

/// Sets a timer beside the delivery's own: neither replaces the other. `step` tells it from others of its sort.
///
/// # Errors
/// When the broker did not store it. Setting it again under the same step is safe.
pub async fn beside(bus: &Bus, delivery: &Delivery, due: Timestamp, step: &str) -> Result<Stored, BusError> {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, format!("{}/{step}", delivery.id));
    headers.insert(SCHEDULE, format!("@at {due}"));
    headers.insert(SCHEDULE_TARGET, bus.names.delivery(delivery));
    let payload = serde_json::to_vec(delivery)?;
    bus.publish(bus.names.later_beside(&delivery.id, step), headers, payload.into()).await
}

/// Takes a pending timer back, unless it is no longer the one of that sequence. In one atomic step the timer goes and a
/// cancelled delivery enters the queue, which a worker records: a crash in between leaves either the timer or the
/// record, never neither. False when the timer fired or was replaced meanwhile.
///
/// # Errors
/// When the broker did not answer.
pub async fn cancel(bus: &Bus, pending: &Delivery, sequence: u64) -> Result<bool, BusError> {
    let cancelled = Delivery { cancelled: true, ..pending.clone() };
    let later = bus.names.later(&pending.id);
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, format!("{}/cancel", pending.id));
    headers.insert(EXPECTED_SEQUENCE, sequence.to_string());
    headers.insert(EXPECTED_SUBJECT, later.as_str());
    headers.insert(SCHEDULER, later.as_str());
    headers.insert(SCHEDULE_NEXT, "purge");
    let payload = serde_json::to_vec(&cancelled)?;
    match bus.publish(bus.names.delivery(&cancelled), headers, payload.into()).await {
        Ok(_) => Ok(true),
        Err(BusError::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The pending timer of a delivery, with its sequence.
///
/// # Errors
/// When the broker did not answer, or what it holds cannot be read.
pub async fn pending(bus: &Bus, id: &DeliveryId) -> Result<Option<(Delivery, u64)>, BusError> {
    use async_nats::jetstream::stream::LastRawMessageErrorKind;
    let stream = topology::stream(bus, StreamName::Deliveries).await?;
    // Through the leader: a replica may not have seen the last change.
    match stream.get_last_raw_message_by_subject(&bus.names.later(id)).await {
        Ok(message) => Ok(Some((serde_json::from_slice(&message.payload)?, message.sequence))),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(BusError::request(error)),
    }
}

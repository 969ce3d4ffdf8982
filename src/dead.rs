//! Dead letters: whatever is given up is kept whole, with its cause, before anything else forgets it.

pub mod filter;
pub mod letters;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use crate::bus::consumer::Received;
use crate::bus::{Bus, BusError};
use crate::clock;
use crate::delivery::{DeadLetter, Delivery, ENVELOPE_VERSION};
use crate::metrics;
use crate::outcome::{Outcome, Reason, State, Verdict};
use crate::source::map::Arrival;

/// Headers of a buried message: why, where it came from, and what of it did not fit.
pub const REASON: &str = "Bugle-Reason";
pub const DETAIL: &str = "Bugle-Detail";
pub const SUBJECT: &str = "Bugle-Subject";
pub const SEQUENCE: &str = "Bugle-Sequence";
/// The id that its producer gave a message.
pub const MESSAGE_ID: &str = "Bugle-Message-Id";
pub const CUT: &str = "Bugle-Cut-From";

/// The broker's limit of a message's headers is 64 KiB; what the producer sent may use this much of it.
const FOREIGN_HEADERS_BYTES_MAX: usize = 32 * 1024;
/// Room for our own headers and the protocol beside a payload of nearly the largest size.
const HEADROOM_BYTES: usize = 40 * 1024;

/// Gives a delivery up that was never tried: the dead letter, then the outcome. `step` makes the message id.
///
/// # Errors
/// When the broker did not store both; doing it again is safe.
pub async fn give_up(
    bus: &Bus,
    delivery: &Delivery,
    reason: Reason,
    detail: Option<String>,
    step: &str,
) -> Result<(), BusError> {
    let verdict = Verdict { detail, ..Verdict::new(State::Failed, reason) };
    let outcome = Outcome::of(delivery, verdict, None, clock::now());
    record_failure(bus, delivery, &outcome, &format!("{}/{step}", delivery.id)).await
}

/// Keeps a delivery whose outcome is `failed`, and records the outcome. Of one that is too large it keeps what fits.
///
/// # Errors
/// When the broker did not store both; doing it again is safe.
pub async fn record_failure(
    bus: &Bus,
    delivery: &Delivery,
    outcome: &Outcome,
    id: &str,
) -> Result<(), BusError> {
    let letter = DeadLetter {
        v: ENVELOPE_VERSION,
        at: outcome.at,
        reason: outcome.reason,
        detail: outcome.detail.clone(),
        delivery: delivery.clone(),
        cut: false,
    };
    match bus.publish_json(bus.names.dead(delivery), id, &letter).await {
        Ok(_) => {}
        Err(BusError::TooLarge { .. }) => {
            // Too large to be queued is too large to be kept: the event itself still is, in its own stream.
            let letter = DeadLetter { delivery: delivery.cut(), cut: true, ..letter };
            bus.publish_json(bus.names.dead(&letter.delivery), id, &letter).await?;
        }
        Err(error) => return Err(error),
    }
    bus.record(outcome, id).await?;
    metrics::outcome(outcome);
    metrics::dead_letter(outcome.reason);
    Ok(())
}

/// Where a message that nobody can read goes, and why.
#[derive(Debug, Clone)]
pub struct Grave {
    pub subject: String,
    pub id: String,
    pub reason: Reason,
    pub detail: String,
}

/// Keeps a message as it came: its bytes, its headers, its subject.
///
/// # Errors
/// When the broker did not store it; doing it again is safe.
pub async fn bury(bus: &Bus, message: &Received, grave: &Grave) -> Result<(), BusError> {
    let mut headers = foreign_headers(&message.headers);
    headers.insert(SUBJECT, message.subject.as_str());
    headers.insert(SEQUENCE, message.sequence.to_string());
    lay_down(bus, headers, message.payload.clone(), grave).await
}

/// Keeps what a source could not make an event of; a webhook has no subject.
///
/// # Errors
/// When the broker did not store it; doing it again is safe.
pub async fn bury_arrival(bus: &Bus, arrival: &Arrival, grave: &Grave) -> Result<(), BusError> {
    let mut found = HeaderMap::new();
    for (name, value) in &arrival.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            found.append(name, value);
        }
    }
    let mut headers = foreign_headers(&found);
    if let Some(subject) = &arrival.subject {
        headers.insert(SUBJECT, subject.as_str());
    }
    if let Some(id) = found.get(async_nats::header::NATS_MESSAGE_ID) {
        headers.insert(MESSAGE_ID, id.clone());
    }
    if let Some((_, sequence)) = &arrival.place {
        headers.insert(SEQUENCE, sequence.to_string());
    }
    lay_down(bus, headers, arrival.body.clone(), grave).await
}

async fn lay_down(
    bus: &Bus,
    mut headers: HeaderMap,
    mut payload: Bytes,
    grave: &Grave,
) -> Result<(), BusError> {
    let bytes_max = bus.client().server_info().max_payload.saturating_sub(HEADROOM_BYTES);
    headers.insert(async_nats::header::NATS_MESSAGE_ID, grave.id.as_str());
    headers.insert(REASON, grave.reason.as_str());
    headers.insert(DETAIL, header_text(&grave.detail).as_str());
    if payload.len() > bytes_max {
        headers.insert(CUT, payload.len().to_string());
        payload.truncate(bytes_max);
    }
    bus.publish(grave.subject.clone(), headers, payload).await?;
    metrics::dead_letter(grave.reason);
    Ok(())
}

/// The producer's headers without those that mean something to the broker.
fn foreign_headers(found: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    let mut bytes = 0;
    for (name, values) in found.iter() {
        let text: &str = name.as_ref();
        if text.starts_with("Nats-") {
            continue;
        }
        for value in values {
            bytes += text.len() + value.as_str().len();
            if bytes <= FOREIGN_HEADERS_BYTES_MAX {
                kept.append(name.clone(), value.clone());
            }
        }
    }
    kept
}

fn header_text(text: &str) -> String {
    crate::route::texts::one_line(text, 500)
}

//! A source's hand: from a message to stored events, and only then an answer.
//!
//! Each event is published under an id that the same message makes again. What makes no event is kept among the dead
//! letters with its bytes, the reason and the source's id, and stops nobody.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use futures_util::StreamExt;

use super::map::{Arrival, Draft, read};
use super::{Source, signature};
use crate::bus::consumer::{Handler, Received, Verdict};
use crate::bus::{Bus, BusError, claim};
use crate::channel::webhook::HOPS_HEADER;
use crate::clock;
use crate::dead::{self, Grave};
use crate::event::{DecodeError, HOPS_MAX};
use crate::metrics::{self, SourceResult};
use crate::outcome::Reason;
use crate::publish::{Sourced, SourcedError, publish_sourced};
use crate::rule::fault::Fault;

/// The broker is away or refuses: the message waits this long.
const AFTER_TROUBLE: Duration = Duration::from_secs(2);
/// Events of one message in flight.
const IN_FLIGHT: usize = 64;

/// What became of a message.
#[derive(Debug, Default)]
pub struct Taken {
    pub published: usize,
    /// Events that were there already.
    pub duplicates: usize,
    pub faults: Vec<Fault>,
    /// One of the events is larger than a delivery can carry.
    pub too_large: bool,
}

enum Became {
    Published,
    Duplicate,
    Refused(DecodeError),
}

/// Publishes the events of a message, and keeps it among the dead letters when a part of it makes none.
///
/// # Errors
/// When the broker did not store all of it; doing it again is safe.
pub async fn take(bus: &Bus, source: &Source, arrival: &Arrival) -> Result<Taken, BusError> {
    let taken = publish(bus, source, arrival).await?;
    if let Some(fault) = taken.faults.first() {
        let reason = if taken.too_large { Reason::TooLarge } else { Reason::Unmapped };
        tracing::warn!(source = source.name(), subject = arrival.subject, %fault, "a message made no event: kept among the dead letters");
        bury(bus, source, arrival, reason, &fault.to_string()).await?;
    }
    let way = if arrival.place.is_some() { "nats" } else { "http" };
    for (result, count) in [
        (SourceResult::Published, taken.published),
        (SourceResult::Duplicate, taken.duplicates),
        (SourceResult::Unmapped, taken.faults.len()),
    ] {
        metrics::source_messages(way, result, count);
    }
    Ok(taken)
}

/// Publishes the events of a message, and says what is wrong with the rest of it.
///
/// # Errors
/// When the broker did not store all of it; doing it again is safe.
pub async fn publish(bus: &Bus, source: &Source, arrival: &Arrival) -> Result<Taken, BusError> {
    // A stream that mirrors or sources one of ours would feed us with ourselves.
    if let Some(subject) = arrival.subject.as_ref().filter(|subject| bus.names.is_own_subject(subject)) {
        let fault = Fault::here(format!("{subject} is a subject of Bugle's own: it was routed already"));
        return Ok(Taken { faults: vec![fault], ..Taken::default() });
    }
    let hops = arrival.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(HOPS_HEADER));
    let hops = hops.and_then(|(_, hops)| hops.parse().ok()).unwrap_or(0);
    if hops > HOPS_MAX {
        let message = format!("it went out through webhooks of Bugle and came in again {HOPS_MAX} times");
        return Ok(Taken { faults: vec![Fault::here(message)], ..Taken::default() });
    }
    let reading = read(source, arrival);
    let mut taken = Taken { faults: reading.faults, ..Taken::default() };
    let publishes: Vec<_> =
        reading.drafts.iter().map(|draft| publish_draft(bus, source, draft, hops)).collect();
    let mut results = futures_util::stream::iter(publishes).buffer_unordered(IN_FLIGHT);
    while let Some(result) = results.next().await {
        match result? {
            Became::Published => taken.published += 1,
            Became::Duplicate => taken.duplicates += 1,
            Became::Refused(error) => {
                taken.too_large |= matches!(error, DecodeError::TooLarge { .. });
                taken.faults.push(Fault::new(error.pointer(), error.to_string()));
            }
        }
    }
    Ok(taken)
}

async fn publish_draft(bus: &Bus, source: &Source, draft: &Draft, hops: u32) -> Result<Became, BusError> {
    let once = draft.once.as_ref().map(|key| bus.names.once(&source.workspace, &source.spec.id, key));
    if let Some(subject) = &once
        && claim::last::<bool>(bus, subject).await?.is_some()
    {
        return Ok(Became::Duplicate);
    }
    let sourced = Sourced {
        workspace: &draft.workspace,
        fields: &draft.fields,
        message_id: draft.message_id.as_deref(),
        through: &source.name(),
        hops,
    };
    let duplicate = match publish_sourced(bus, &sourced).await {
        Ok(duplicate) => duplicate,
        Err(SourcedError::Refused(error)) => return Ok(Became::Refused(error)),
        Err(SourcedError::Bus(error)) => return Err(error),
    };
    // Behind the event: killed in between, it is published again and meets its message id.
    if let Some(subject) = &once {
        match claim::put(bus, subject, &true, Some(source.repeat_after), 0).await {
            Ok(_) | Err(BusError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(if duplicate { Became::Duplicate } else { Became::Published })
}

async fn bury(
    bus: &Bus,
    source: &Source,
    arrival: &Arrival,
    reason: Reason,
    detail: &str,
) -> Result<(), BusError> {
    let grave = Grave {
        subject: bus.names.dead_source(&source.workspace, &source.spec.id),
        id: format!("{}/{}/source", source.name(), arrival.id()),
        reason,
        detail: format!("source {}: {detail}", source.spec.id),
    };
    dead::bury_arrival(bus, arrival, &grave).await
}

/// Headers of a message, without those that hold secrets.
#[must_use]
pub fn headers_of(headers: &HeaderMap) -> Vec<(String, String)> {
    let each = headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let each = each.map(|(name, value)| (name.to_string(), value.as_str().to_owned()));
    each.filter(|(name, _)| !signature::is_secret(name)).collect()
}

/// Takes the messages of a stream for a source.
pub struct Intake {
    pub bus: Bus,
    pub source: Arc<Source>,
}

impl Intake {
    fn verdict(&self, message: &Received, result: Result<(), BusError>) -> Verdict {
        match result {
            Ok(()) => Verdict::Done,
            Err(error) => {
                let (source, sequence) = (self.source.name(), message.sequence);
                tracing::warn!(source, sequence, %error, "a message could not be taken now");
                Verdict::Again(clock::jittered(AFTER_TROUBLE))
            }
        }
    }
}

fn arrival(message: &Received) -> Arrival {
    Arrival {
        subject: Some(message.subject.clone()),
        headers: headers_of(&message.headers),
        body: message.payload.clone(),
        received_at: message.stored_at,
        place: Some((Arc::clone(&message.epoch), message.sequence)),
    }
}

impl Handler for Intake {
    async fn handle(&self, message: &Received) -> Verdict {
        let taken = take(&self.bus, &self.source, &arrival(message)).await;
        self.verdict(message, taken.map(drop))
    }

    async fn poison(&self, message: &Received) -> Verdict {
        let source = self.source.name();
        tracing::error!(
            source,
            sequence = message.sequence,
            "a message that breaks its handler: kept among the dead letters"
        );
        let detail = "handed out again and again without a verdict";
        let buried = bury(&self.bus, &self.source, &arrival(message), Reason::Poison, detail).await;
        self.verdict(message, buried)
    }
}

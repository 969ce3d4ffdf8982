//! Looking into the dead letters, and sending them again.
//!
//! A redrive publishes first and forgets the letter then: killed in between, it is done again under the same id.

use async_nats::HeaderMap;
use async_nats::jetstream::stream::RawMessageErrorKind;
use jiff::Timestamp;
use serde::Serialize;

use super::filter::Filter;
use super::{CUT, DETAIL, MESSAGE_ID, REASON, SEQUENCE, SUBJECT};
use crate::bus::reader::{Entry, From};
use crate::bus::walk::Walk;
use crate::bus::{Bus, BusError, StreamName, topology};
use crate::clock;
use crate::delivery::{DeadLetter, Delivery};
use crate::documents::{Document, Key};
use crate::ids::{SourceId, WorkspaceId};
use crate::metrics;
use crate::outcome::{Fault, Outcome, Reason, State, Verdict};
use crate::route::expiry;
use crate::source::map::Arrival;
use crate::source::{Source, intake};

/// A letter as people see it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    /// Its place among the dead letters; it names it.
    pub sequence: u64,
    pub reason: String,
    /// Whose fault it was; none for a reason that this version does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When it was given up.
    pub at: Timestamp,
    /// The delivery, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// The delivery was too large to be kept: what it said is not there any more, but for its title.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// The message that could not be read, where it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// Whose it is, where that is known.
    #[serde(skip)]
    pub workspace: Option<WorkspaceId>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Empty for a webhook.
    pub subject: String,
    /// The source that could make no event of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceId>,
    /// Its place in the stream that it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    pub bytes: usize,
    /// As text, with what is not UTF-8 replaced. Lists cut it.
    pub body: String,
    /// How many bytes it had, when it was too large to be kept whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_from: Option<usize>,
}

/// Bodies in lists are cut to this; `show` has them whole.
const BODY_CHARS_MAX: usize = 2_000;

/// Why a letter was not sent again.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    #[error("there is no dead letter {0}")]
    Unknown(u64),
    #[error("channel {0} does not exist: make it first")]
    NoChannel(String),
    #[error("a message of Bugle's own that cannot be read is not sent again: it is kept for its bytes")]
    Unreadable,
    #[error("the source {0} does not exist any more: make it first")]
    NoSource(String),
    #[error("the message still makes no event: {0}")]
    StillBroken(String),
    #[error("that event was routed by its other rules: correct the rule where the event is made")]
    InvalidRule,
    #[error(
        "only a part of that event could be kept: its producer has to publish it again, in less than {0} bytes"
    )]
    Cut(usize),
    #[error(
        "that delivery was too large to be kept, and only what it was is left of it: its event has to be published again, as a smaller one"
    )]
    CutDelivery,
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Letters are looked at in one list up to this number: who asks for few among many goes on where it ended.
const LOOKS_MAX: usize = 10_000;
/// Letters read at once.
const BATCH: usize = 100;

/// A part of a list.
#[derive(Debug, Default)]
pub struct Page {
    pub letters: Vec<Letter>,
    /// Where the next part begins; None at the end.
    pub next: Option<u64>,
}

impl RedriveError {
    /// In one word, to be counted.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown",
            Self::NoChannel(_) => "no_channel",
            Self::Unreadable => "unreadable",
            Self::NoSource(_) => "no_source",
            Self::StillBroken(_) => "still_broken",
            Self::InvalidRule => "invalid_rule",
            Self::Cut(_) | Self::CutDelivery => "cut",
            Self::Bus(_) => "broker",
        }
    }
}

/// Letters that a filter lets through, from a place on, oldest first. A page may hold fewer than asked for, or none, and not be
/// the last one.
///
/// # Errors
/// When the broker does not answer.
pub async fn list(bus: &Bus, filter: &Filter, from: u64, limit: usize) -> Result<Page, BusError> {
    let mut walk = walk(bus, filter, from, BATCH).await?;
    let (compiled, mut page, mut looks) = (filter.compiled(), Page::default(), 0);
    while let Some(entries) = walk.next().await? {
        for entry in entries {
            if page.letters.len() >= limit || looks >= LOOKS_MAX {
                page.next = Some(entry.sequence);
                return Ok(page);
            }
            looks += 1;
            let letter = listed(bus, &entry);
            page.letters.extend(compiled.holds(&letter).then_some(letter));
        }
    }
    Ok(page)
}

/// Reads what may pass a filter, in order, to the end as it was at the start.
///
/// # Errors
/// When the broker does not answer.
pub async fn walk(bus: &Bus, filter: &Filter, from: u64, ask: usize) -> Result<Walk, BusError> {
    let Filter { kind, workspace, channel, .. } = filter;
    let subject = bus.names.dead_filter(*kind, workspace.as_ref(), channel.as_ref());
    let from = filter.numbers.iter().min().map_or(from, |first| from.max(*first));
    Walk::open(bus, (StreamName::Dead, subject), From::Sequence(from), ask).await
}

/// One letter, whole.
///
/// # Errors
/// When the broker does not answer.
pub async fn get(bus: &Bus, sequence: u64) -> Result<Option<Letter>, BusError> {
    Ok(entry(bus, sequence).await?.map(|entry| letter(bus, &entry, usize::MAX)))
}

async fn entry(bus: &Bus, sequence: u64) -> Result<Option<Entry>, BusError> {
    let stream = topology::stream(bus, StreamName::Dead).await?;
    let state = &stream.cached_info().state;
    if sequence < state.first_sequence || sequence > state.last_sequence {
        return Ok(None);
    }
    match stream.get_raw_message(sequence).await {
        Ok(message) => Ok(Some(Entry {
            subject: message.subject.to_string(),
            headers: message.headers,
            payload: message.payload,
            sequence,
            stored_at: Timestamp::from_nanosecond(message.time.unix_timestamp_nanos())
                .map_err(BusError::request)?,
            pending: 0,
        })),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(BusError::request(error)),
    }
}

/// A letter as lists show it.
#[must_use]
pub fn listed(bus: &Bus, entry: &Entry) -> Letter {
    letter(bus, entry, BODY_CHARS_MAX)
}

fn letter(bus: &Bus, entry: &Entry, chars_max: usize) -> Letter {
    let header = |name: &str| entry.headers.get(name).map(|value| value.as_str().to_owned());
    if !bus.names.is_dead_message(&entry.subject)
        && let Ok(dead) = serde_json::from_slice::<DeadLetter>(&entry.payload)
    {
        return Letter {
            sequence: entry.sequence,
            reason: dead.reason.to_string(),
            fault: dead.reason.fault(),
            detail: dead.detail,
            at: dead.at,
            workspace: Some(dead.delivery.workspace.clone()),
            delivery: Some(dead.delivery),
            cut: dead.cut,
            message: None,
        };
    }
    let message = Message {
        subject: header(SUBJECT).unwrap_or_default(),
        source: bus.names.dead_source_of(&entry.subject).map(|(_, source)| source),
        sequence: header(SEQUENCE).and_then(|text| text.parse().ok()),
        bytes: entry.payload.len(),
        body: String::from_utf8_lossy(&entry.payload).chars().take(chars_max).collect(),
        cut_from: header(CUT).and_then(|text| text.parse().ok()),
    };
    let reason = header(REASON).unwrap_or_else(|| Reason::Undecodable.to_string());
    Letter {
        sequence: entry.sequence,
        fault: Reason::parse(&reason).and_then(Reason::fault),
        reason,
        detail: header(DETAIL),
        at: entry.stored_at,
        delivery: None,
        cut: false,
        message: Some(message),
        workspace: bus.names.dead_workspace(&entry.subject),
    }
}

/// Sends a letter again: a delivery gets a new life on its channel as it is now, an event is published anew where it
/// came from. The letter goes when that is stored.
///
/// # Errors
/// When there is no such letter, its channel does not exist, or the broker does not answer.
pub async fn redrive(bus: &Bus, sequence: u64) -> Result<Letter, RedriveError> {
    let entry = entry(bus, sequence).await?.ok_or(RedriveError::Unknown(sequence))?;
    let letter = letter(bus, &entry, BODY_CHARS_MAX);
    if letter.message.as_ref().is_some_and(|message| message.cut_from.is_some()) {
        return Err(RedriveError::Cut(bus.event_bytes_max()));
    }
    match &letter.delivery {
        Some(_) if letter.cut => return Err(RedriveError::CutDelivery),
        Some(delivery) => redrive_delivery(bus, delivery, sequence).await?,
        None if bus.names.is_dead_event(&entry.subject) => redrive_event(bus, &entry).await?,
        None => match bus.names.dead_source_of(&entry.subject) {
            Some(source) => redrive_arrival(bus, &entry, source).await?,
            None if letter.reason == Reason::InvalidRule.as_str() => return Err(RedriveError::InvalidRule),
            None => return Err(RedriveError::Unreadable),
        },
    }
    let stream = topology::stream(bus, StreamName::Dead).await?;
    stream.delete_message(sequence).await.map_err(BusError::request)?;
    tracing::info!(sequence, "dead letter sent again");
    Ok(letter)
}

async fn redrive_delivery(bus: &Bus, delivery: &Delivery, sequence: u64) -> Result<(), RedriveError> {
    let bucket = topology::config_bucket(bus).await?;
    let key = Key::Channel(delivery.workspace.clone(), delivery.channel.clone());
    let found = bucket.get(key.to_string()).await.map_err(BusError::request)?;
    let bytes = found.ok_or_else(|| RedriveError::NoChannel(delivery.channel.to_string()))?;
    let document: Document<crate::channel::ChannelSpec> =
        serde_json::from_slice(&bytes).map_err(BusError::from)?;
    let now = clock::now();
    let again =
        Delivery { kind: Some(document.spec.kind), ..delivery.redriven(expiry(now, Some(&document.spec))) };
    let id = format!("{}/r{sequence}", again.id);
    bus.publish_json(bus.names.delivery(&again), &id, &again).await?;
    let outcome = Outcome::of(&again, Verdict::new(State::Scheduled, Reason::Redriven), None, now);
    bus.record(&outcome, &id).await?;
    metrics::outcome(&outcome);
    Ok(())
}

/// A source's message is read again as the source says now; the stream that it came from sees nothing of it.
async fn redrive_arrival(
    bus: &Bus,
    entry: &Entry,
    (workspace, id): (WorkspaceId, SourceId),
) -> Result<(), RedriveError> {
    let key = Key::Source(workspace.clone(), id);
    let held = crate::shelf::get(bus, &key).await?;
    let spec = held.and_then(|held| serde_json::from_value(held.document.spec).ok());
    let source = spec.and_then(|spec| Source::compile(&workspace, &spec).ok());
    let source = source.ok_or_else(|| RedriveError::NoSource(key.to_string()))?;
    let header = |name: &str| entry.headers.get(name).map(|value| value.as_str().to_owned());
    let arrival = Arrival {
        subject: header(SUBJECT),
        headers: producers(&entry.headers),
        body: entry.payload.clone(),
        received_at: clock::now(),
        // The letter's own place: its stream remembers it no longer than this is worth.
        place: Some((format!("dead-{}", bus.names.stream(StreamName::Dead)).into(), entry.sequence)),
    };
    let taken = intake::publish(bus, &source, &arrival).await?;
    match taken.faults.first() {
        None => Ok(()),
        Some(fault) => Err(RedriveError::StillBroken(fault.to_string())),
    }
}

/// A message's headers as its producer sent them.
fn producers(found: &HeaderMap) -> Vec<(String, String)> {
    let ours = |name: &str| name.starts_with("Nats-") || name.starts_with("Bugle-");
    let mut headers = intake::headers_of(found);
    headers.retain(|(name, _)| !ours(name));
    let id = found.get(MESSAGE_ID).map(|id| ("Nats-Msg-Id".to_owned(), id.as_str().to_owned()));
    headers.extend(id);
    headers
}

async fn redrive_event(bus: &Bus, entry: &Entry) -> Result<(), RedriveError> {
    let subject = entry.headers.get(SUBJECT).map(|subject| subject.as_str().to_owned());
    let subject = subject.ok_or(RedriveError::Unreadable)?;
    let mut headers = HeaderMap::new();
    for (name, values) in entry.headers.iter() {
        let text: &str = name.as_ref();
        if text.starts_with("Nats-") || text.starts_with("Bugle-") {
            continue;
        }
        for value in values {
            headers.append(name.clone(), value.clone());
        }
    }
    headers.insert(async_nats::header::NATS_MESSAGE_ID, format!("redrive/{}", entry.sequence));
    bus.publish(subject, headers, entry.payload.clone()).await?;
    Ok(())
}

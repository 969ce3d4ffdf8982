//! Streams that are not Bugle's: read through a durable consumer of ours, and otherwise left as they are.
//!
//! For subjects that lie in no stream one is made, which is Bugle's own to change and to delete. What the broker refuses
//! is said in words for the person who wrote the source.

pub mod look;

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::context::{ConsumerInfoErrorKind, CreateStreamErrorKind};
use async_nats::jetstream::stream::{self, ConsumerErrorKind, RetentionPolicy, StorageType, Stream};

use super::topology::{ACK_WAIT, DUPLICATE_WINDOW, get_stream};
use super::{Bus, BusError, floor, reader};
use crate::ids::{SourceId, WorkspaceId};
use crate::source::{Begin, NatsSpec};

/// Unacknowledged messages of a source across the fleet.
const ACK_PENDING_MAX: i64 = 2_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What of a stream is read, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub stream: String,
    pub durable: String,
    /// Of the messages in the stream; all where none are named.
    pub filters: Vec<String>,
    pub begin: Begin,
    /// The stream is Bugle's own: its subjects, and how long it keeps them.
    pub own: Option<(Vec<String>, Duration)>,
}

impl Attachment {
    #[must_use]
    pub fn of(bus: &Bus, workspace: &WorkspaceId, id: &SourceId, spec: &NatsSpec) -> Self {
        let durable = bus.names.source_durable(workspace, id);
        match &spec.stream {
            Some(stream) => Self {
                stream: stream.clone(),
                durable,
                filters: spec.subjects.clone(),
                begin: spec.from.unwrap_or(Begin::New),
                own: None,
            },
            None => Self {
                stream: bus.names.source_stream(workspace, id),
                durable,
                filters: Vec::new(),
                begin: Begin::All,
                own: Some((spec.subjects.clone(), DAY * days(spec.keep_days, bus))),
            },
        }
    }
}

fn days(asked: Option<u64>, bus: &Bus) -> u32 {
    asked.and_then(|days| u32::try_from(days).ok()).unwrap_or(bus.keep.events_days)
}

/// What Bugle would not attach, whatever the broker says: it would be fed with itself.
#[must_use]
pub fn forbidden(bus: &Bus, spec: &NatsSpec) -> Option<String> {
    if let Some(stream) = spec.stream.as_ref().filter(|stream| bus.names.is_own_stream(stream)) {
        return Some(format!("{stream} is a stream of Bugle's own: what it holds is routed anyway"));
    }
    let own = spec.subjects.iter().find(|subject| bus.names.is_own_subject(subject))?;
    Some(format!("{own} is a subject of Bugle's own: publish events to it, and no source is needed"))
}

/// True when the broker says that there is no such stream of somebody else's.
pub async fn is_missing(bus: &Bus, attachment: &Attachment) -> bool {
    attachment.own.is_none() && matches!(get_stream(bus, &attachment.stream).await, Ok(None))
}

/// Gets the consumer of a source, or makes it, and brings its filters up to date. With it comes the epoch of its stream.
///
/// # Errors
/// What stands in the way, in words for the person who wrote the source.
pub async fn attach(
    bus: &Bus,
    attachment: &Attachment,
) -> Result<(Consumer<pull::Config>, String), BusError> {
    let Attachment { stream: name, durable, .. } = attachment;
    let stream = if let Some((subjects, max_age)) = &attachment.own {
        own_stream(bus, name, subjects, *max_age).await?
    } else {
        let missing =
            || BusError::Request(format!("there is no stream {name}: it is attached as soon as there is"));
        get_stream(bus, name).await?.ok_or_else(missing)?
    };
    let epoch = reader::epoch_of(stream.cached_info());
    match stream.consumer_info(durable).await {
        Ok(info) if same_filters(&info.config, &attachment.filters) => {
            let found = stream.get_consumer::<pull::Config>(durable).await.map_err(BusError::request)?;
            Ok((found, epoch))
        }
        Ok(info) => {
            let config = pull::Config { deliver_policy: info.config.deliver_policy, ..config(attachment) };
            let config = pull::Config { num_replicas: info.config.num_replicas, ..config };
            let updated = stream.update_consumer(config).await;
            Ok((updated.map_err(|error| refused(&stream, None, &error))?, epoch))
        }
        Err(error) if matches!(error.kind(), ConsumerInfoErrorKind::NotFound) => {
            let mut config = config(attachment);
            if let Some(start_sequence) = floor::start_in(bus, name, durable).await? {
                tracing::warn!(
                    durable,
                    start_sequence,
                    "the consumer is gone: it begins again where it stood"
                );
                config.deliver_policy = DeliverPolicy::ByStartSequence { start_sequence };
            }
            let made = stream.create_consumer(config).await;
            Ok((made.map_err(|error| refused(&stream, code_of(&error), &error))?, epoch))
        }
        Err(error) => Err(BusError::request(error)),
    }
}

fn same_filters(found: &async_nats::jetstream::consumer::Config, wanted: &[String]) -> bool {
    let single = Some(&found.filter_subject).filter(|subject| !subject.is_empty());
    found.filter_subjects.iter().chain(single).eq(wanted)
}

fn config(attachment: &Attachment) -> pull::Config {
    pull::Config {
        durable_name: Some(attachment.durable.clone()),
        description: Some("a source of Bugle's".to_owned()),
        filter_subjects: attachment.filters.clone(),
        deliver_policy: match attachment.begin {
            Begin::New => DeliverPolicy::New,
            Begin::All => DeliverPolicy::All,
        },
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: -1,
        max_ack_pending: ACK_PENDING_MAX,
        ..Default::default()
    }
}

async fn own_stream(
    bus: &Bus,
    name: &str,
    subjects: &[String],
    max_age: Duration,
) -> Result<Stream, BusError> {
    let found = get_stream(bus, name).await?;
    let (config, exists) = match &found {
        Some(stream) => {
            let config = &stream.cached_info().config;
            let same = config.max_age == max_age && config.num_replicas == bus.replicas;
            if same && config.subjects == subjects {
                return found.ok_or_else(|| BusError::Request(format!("there is no stream {name}")));
            }
            let subjects = subjects.to_vec();
            (stream::Config { subjects, max_age, num_replicas: bus.replicas, ..config.clone() }, true)
        }
        None => (
            stream::Config {
                name: name.to_owned(),
                description: Some("made by Bugle for a source".to_owned()),
                subjects: subjects.to_vec(),
                storage: StorageType::File,
                num_replicas: bus.replicas,
                duplicate_window: DUPLICATE_WINDOW,
                max_age,
                ..Default::default()
            },
            false,
        ),
    };
    let done = if exists {
        bus.js.update_stream(config).await.map(drop)
    } else {
        bus.js.create_stream(config).await.map(drop)
    };
    if let Err(error) = done {
        let overlaps = matches!(error.kind(), CreateStreamErrorKind::JetStream(cause)
            if cause.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP);
        if !overlaps {
            return Err(BusError::request(error));
        }
        let somewhere = || {
            "a subject lies in another stream already: attach that one with `nats: {stream: …}`".to_owned()
        };
        return Err(BusError::Request(taken(bus, name, subjects).await.unwrap_or_else(somewhere)));
    }
    get_stream(bus, name).await?.ok_or_else(|| BusError::Request(format!("there is no stream {name}")))
}

/// Which stream has one of the subjects already, and what to write instead.
async fn taken(bus: &Bus, own: &str, subjects: &[String]) -> Option<String> {
    for subject in subjects {
        if let Ok(stream) = bus.js.stream_by_subject(subject.as_str()).await
            && stream != own
        {
            return Some(format!(
                "the subject {subject} lies in the stream {stream} already: attach that one, with \
                 `nats: {{stream: {stream}, subjects: [{subject}]}}`"
            ));
        }
    }
    None
}

fn queue_of_another(stream: &str) -> String {
    format!(
        "{stream} is a work queue, and another consumer takes these messages: each goes to one consumer alone. Let its \
         producer publish to a stream of another retention, or let a stream source from it"
    )
}

fn queue_from_its_beginning(stream: &str) -> String {
    format!(
        "{stream} is a work queue: it can be read from its beginning alone, with `from: all`, and what is read is gone"
    )
}

fn code_of(error: &stream::ConsumerError) -> Option<ErrorCode> {
    match error.kind() {
        ConsumerErrorKind::JetStream(cause) => Some(cause.error_code()),
        ConsumerErrorKind::TimedOut
        | ConsumerErrorKind::Request
        | ConsumerErrorKind::InvalidConsumerType
        | ConsumerErrorKind::InvalidName
        | ConsumerErrorKind::Other => None,
    }
}

/// Why the broker makes no consumer.
fn refused(stream: &Stream, code: Option<ErrorCode>, error: &impl std::fmt::Display) -> BusError {
    let info = stream.cached_info();
    let name = &info.config.name;
    let is_queue = info.config.retention == RetentionPolicy::WorkQueue;
    match code {
        Some(ErrorCode::CONSUMER_WQ_MULTIPLE_UNFILTERED | ErrorCode::CONSUMER_WQ_CONSUMER_NOT_UNIQUE) => {
            BusError::Request(queue_of_another(name))
        }
        Some(ErrorCode::CONSUMER_WQ_CONSUMER_NOT_DELIVER_ALL) => {
            BusError::Request(queue_from_its_beginning(name))
        }
        _ if is_queue => BusError::Request(format!("{name} is a work queue, and refuses: {error}")),
        _ => BusError::Request(format!("the stream {name} refuses: {error}")),
    }
}

/// Lets go of a stream: our consumer goes, a stream of Bugle's own goes too, with what it holds.
///
/// # Errors
/// When the broker does not answer.
pub async fn detach(bus: &Bus, attachment: &Attachment) -> Result<bool, BusError> {
    let Some(stream) = get_stream(bus, &attachment.stream).await? else { return Ok(false) };
    let known = match stream.consumer_info(&attachment.durable).await {
        Ok(_) => true,
        Err(error) if matches!(error.kind(), ConsumerInfoErrorKind::NotFound) => false,
        Err(error) => return Err(BusError::request(error)),
    };
    if attachment.own.is_some() {
        bus.js.delete_stream(&attachment.stream).await.map_err(BusError::request)?;
    } else if known {
        stream.delete_consumer(&attachment.durable).await.map_err(BusError::request)?;
    }
    floor::forget(bus, &attachment.stream, &attachment.durable).await?;
    Ok(known || attachment.own.is_some())
}

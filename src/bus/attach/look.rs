//! How a source of NATS stands, without touching anything: read by the API and `bugle apply`.
//!
//! What stands in the way is said in the words in which a router that tries to attach it would say it. That there is no
//! consumer yet is no obstacle: a router makes it.

use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use futures_util::TryStreamExt;

use super::super::topology::get_stream;
use super::super::{Bus, BusError};
use super::{Attachment, forbidden, queue_from_its_beginning, queue_of_another, same_filters, taken};
use crate::ids::{SourceId, WorkspaceId};
use crate::source::{Begin, NatsSpec};

/// How a source stands at this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Our consumer is there, and reads what the source says.
    pub attached: bool,
    /// Why no router could attach it now.
    pub obstacle: Option<String>,
    /// Messages that wait.
    pub pending: u64,
    /// Messages that a router has and did not acknowledge yet.
    pub in_hand: u64,
}

impl Standing {
    fn barred(obstacle: impl Into<String>) -> Self {
        Self { obstacle: Some(obstacle.into()), ..Self::default() }
    }
}

/// # Errors
/// When the broker does not answer.
pub async fn look(
    bus: &Bus,
    workspace: &WorkspaceId,
    id: &SourceId,
    spec: &NatsSpec,
) -> Result<Standing, BusError> {
    if let Some(why) = forbidden(bus, spec) {
        return Ok(Standing::barred(why));
    }
    let attachment = Attachment::of(bus, workspace, id, spec);
    let found = get_stream(bus, &attachment.stream).await?;
    let own_differs = |stream: &Stream, subjects: &[String]| stream.cached_info().config.subjects != subjects;
    match (&found, &attachment.own) {
        (None, None) => {
            return Ok(Standing::barred(format!(
                "there is no stream {}: it is attached as soon as there is",
                attachment.stream
            )));
        }
        (None, Some((subjects, _))) => return lies_elsewhere(bus, &attachment.stream, subjects).await,
        (Some(stream), Some((subjects, _))) if own_differs(stream, subjects) => {
            return lies_elsewhere(bus, &attachment.stream, subjects).await;
        }
        (Some(_), _) => {}
    }
    let Some(stream) = found else { return Ok(Standing::default()) };
    match stream.consumer_info(&attachment.durable).await {
        Ok(info) => Ok(Standing {
            attached: same_filters(&info.config, &attachment.filters),
            obstacle: None,
            pending: info.num_pending,
            in_hand: u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX),
        }),
        Err(error) if matches!(error.kind(), ConsumerInfoErrorKind::NotFound) => {
            Ok(Standing { obstacle: refusal(&stream, &attachment).await?, ..Standing::default() })
        }
        Err(error) => Err(BusError::request(error)),
    }
}

/// Nothing is in the way of a stream of ours but another one that has one of its subjects.
async fn lies_elsewhere(bus: &Bus, own: &str, subjects: &[String]) -> Result<Standing, BusError> {
    Ok(Standing { obstacle: taken(bus, own, subjects).await, ..Standing::default() })
}

/// What the broker would say to a consumer of ours.
async fn refusal(stream: &Stream, attachment: &Attachment) -> Result<Option<String>, BusError> {
    let config = &stream.cached_info().config;
    if config.retention != RetentionPolicy::WorkQueue {
        return Ok(None);
    }
    if attachment.begin != Begin::All {
        return Ok(Some(queue_from_its_beginning(&config.name)));
    }
    let others: Vec<_> = stream.consumers().try_collect().await.map_err(BusError::request)?;
    let filters = |config: &async_nats::jetstream::consumer::Config| {
        let single = Some(config.filter_subject.clone()).filter(|subject| !subject.is_empty());
        config.filter_subjects.iter().cloned().chain(single).collect::<Vec<_>>()
    };
    // Filters that are not the same may still overlap; of those the router that tries hears from the broker.
    let meets = |theirs: Vec<String>| {
        theirs.is_empty()
            || attachment.filters.is_empty()
            || theirs.iter().any(|subject| attachment.filters.contains(subject))
    };
    let met = others.iter().any(|other| meets(filters(&other.config)));
    Ok(met.then(|| queue_of_another(&config.name)))
}

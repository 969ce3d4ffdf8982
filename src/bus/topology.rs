//! The streams, the bucket and the consumers: got first, created when missing, updated by `setup` alone.
//!
//! Nothing is ever blindly re-created: on some servers a refused create of a consumer destroys the state of the one
//! that exists. Every role ensures what it needs at its start and whenever the broker says that something is gone.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{ErrorCode, kv};

use futures_util::TryStreamExt;

use super::consumer::{Begin, Own};
use super::subject::is_own_durable;
use super::{Bus, BusError, StreamName, floor};
use crate::config::Keep;

/// Time to finish a message before another process gets it; long tries report progress.
pub const ACK_WAIT: Duration = Duration::from_secs(30);
/// Four times the acknowledgement wait: a redelivered message meets the ids of its first delivery.
pub(super) const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Unacknowledged messages of one durable across the fleet: more than all slots of a large one together.
pub const ACK_PENDING_MAX: i64 = 20_000;
/// Versions that a document keeps.
const CONFIG_HISTORY: i64 = 5;
/// A job that nobody touches is forgotten after so long, as its dead letters are.
const JOBS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Creates what is missing and brings what exists up to date. Safe to run again at any time, and to be killed in.
///
/// # Errors
/// When the broker refuses or does not answer.
pub async fn setup(bus: &Bus, keep: &Keep) -> Result<Vec<String>, BusError> {
    let mut done = Vec::new();
    for name in StreamName::ALL {
        let wanted = stream_config(bus, name, keep);
        match get_stream(bus, &wanted.name).await? {
            None => {
                bus.js.create_stream(wanted.clone()).await.map_err(BusError::request)?;
                done.push(format!("created stream {}", wanted.name));
            }
            Some(stream) if differs(&stream.cached_info().config, &wanted) => {
                let update = merged(&stream.cached_info().config, &wanted);
                bus.js.update_stream(update).await.map_err(BusError::request)?;
                done.push(format!("updated stream {}", wanted.name));
            }
            Some(_) => {}
        }
    }
    for bucket in ensure_buckets(bus).await? {
        done.push(format!("created bucket {bucket}"));
    }
    for bucket in [bus.names.config_bucket(), bus.names.people_bucket(), bus.names.jobs_bucket()] {
        if let Some(stream) = get_stream(bus, &format!("KV_{bucket}")).await?
            && stream.cached_info().config.num_replicas != bus.replicas
        {
            let update = stream::Config { num_replicas: bus.replicas, ..stream.cached_info().config.clone() };
            bus.js.update_stream(update).await.map_err(BusError::request)?;
            done.push(format!("updated bucket {bucket}"));
        }
    }
    for name in [StreamName::Events, StreamName::Deliveries, StreamName::Records] {
        update_consumers(bus, name, &mut done).await?;
    }
    Ok(done)
}

/// A stream or a bucket beside what `setup` would make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    pub name: String,
    pub missing: bool,
    pub differs: Vec<&'static str>,
    /// Replicas that are away, or have not all of it.
    pub behind: usize,
    pub has_leader: bool,
}

/// Compares every stream and bucket with what `setup` would make. Changes nothing.
///
/// # Errors
/// When the broker does not answer.
pub async fn compare(bus: &Bus, keep: &Keep) -> Result<Vec<Compared>, BusError> {
    let mut all = Vec::new();
    for name in StreamName::ALL {
        let wanted = stream_config(bus, name, keep);
        let found = get_stream(bus, &wanted.name).await?;
        all.push(compared(wanted.name.clone(), found, |found| differences(found, &wanted)));
    }
    for bucket in [bus.names.config_bucket(), bus.names.people_bucket(), bus.names.jobs_bucket()] {
        let name = format!("KV_{bucket}");
        let found = get_stream(bus, &name).await?;
        let replicas = |found: &stream::Config| found.num_replicas != bus.replicas;
        all.push(compared(
            name,
            found,
            |found| if replicas(found) { vec!["num_replicas"] } else { Vec::new() },
        ));
    }
    Ok(all)
}

fn compared(
    name: String,
    found: Option<Stream>,
    differs: impl FnOnce(&stream::Config) -> Vec<&'static str>,
) -> Compared {
    let Some(stream) = found else {
        return Compared { name, missing: true, has_leader: true, ..Default::default() };
    };
    let info = stream.cached_info();
    // A server alone names nobody.
    let has_leader = info.cluster.as_ref().is_none_or(|cluster| cluster.leader.is_some());
    let replicas = info.cluster.as_ref().map_or(&[][..], |cluster| &cluster.replicas);
    let behind = replicas.iter().filter(|peer| peer.offline || !peer.current).count();
    Compared { name, missing: false, differs: differs(&info.config), behind, has_leader }
}

/// Brings the durable consumers of a stream to what this version makes.
async fn update_consumers(bus: &Bus, name: StreamName, done: &mut Vec<String>) -> Result<(), BusError> {
    let stream = stream(bus, name).await?;
    let mut found = stream.consumers();
    while let Some(info) = found.try_next().await.map_err(BusError::request)? {
        // Others may read our streams too, as they like.
        let Some(durable) = info.config.durable_name.as_ref().filter(|durable| is_own_durable(durable))
        else {
            continue;
        };
        let wanted = pull::Config {
            // It cannot be changed, and says where this one once began.
            deliver_policy: info.config.deliver_policy,
            ..consumer_config(bus, durable, &info.config.filter_subject)
        };
        let same = info.config.num_replicas == wanted.num_replicas
            && info.config.max_ack_pending == wanted.max_ack_pending
            && info.config.ack_wait == wanted.ack_wait;
        if !same {
            stream.update_consumer(wanted).await.map_err(BusError::request)?;
            done.push(format!("updated consumer {durable}"));
        }
    }
    Ok(())
}

/// Creates what is missing and touches nothing else.
///
/// # Errors
/// When the broker refuses or does not answer.
pub async fn ensure(bus: &Bus, keep: &Keep) -> Result<(), BusError> {
    for name in StreamName::ALL {
        ensure_stream(bus, name, keep).await?;
    }
    ensure_buckets(bus).await?;
    Ok(())
}

pub async fn ensure_stream(bus: &Bus, name: StreamName, keep: &Keep) -> Result<Stream, BusError> {
    let wanted = stream_config(bus, name, keep);
    if let Some(stream) = get_stream(bus, &wanted.name).await? {
        return Ok(stream);
    }
    tracing::debug!(stream = wanted.name, "stream created");
    bus.js.create_stream(wanted).await.map_err(BusError::request)
}

/// The buckets of the documents, of the recipients and of the jobs. Gives the names of those that were created.
///
/// # Errors
/// When the broker refuses or does not answer.
pub async fn ensure_buckets(bus: &Bus) -> Result<Vec<String>, BusError> {
    let mut created = Vec::new();
    // Of recipients there may be millions, and nobody goes back to an earlier form of one. Zero is for ever.
    let buckets = [
        (bus.names.config_bucket(), CONFIG_HISTORY, Duration::ZERO),
        (bus.names.people_bucket(), 1, Duration::ZERO),
        (bus.names.jobs_bucket(), 1, JOBS_KEPT),
    ];
    for (bucket, history, max_age) in buckets {
        if get_stream(bus, &format!("KV_{bucket}")).await?.is_none() {
            let config = kv::Config {
                bucket: bucket.clone(),
                history,
                max_age,
                num_replicas: bus.replicas,
                ..Default::default()
            };
            bus.js.create_key_value(config).await.map_err(BusError::request)?;
            created.push(bucket);
        }
    }
    Ok(created)
}

/// The bucket of the documents.
///
/// # Errors
/// When it is missing or the broker does not answer.
pub async fn config_bucket(bus: &Bus) -> Result<kv::Store, BusError> {
    bus.js.get_key_value(bus.names.config_bucket()).await.map_err(BusError::request)
}

/// The bucket of the recipients.
///
/// # Errors
/// When it is missing or the broker does not answer.
pub async fn people_bucket(bus: &Bus) -> Result<kv::Store, BusError> {
    bus.js.get_key_value(bus.names.people_bucket()).await.map_err(BusError::request)
}

/// The bucket of the jobs.
///
/// # Errors
/// When it is missing or the broker does not answer.
pub async fn jobs_bucket(bus: &Bus) -> Result<kv::Store, BusError> {
    bus.js.get_key_value(bus.names.jobs_bucket()).await.map_err(BusError::request)
}

/// The handle of one of our streams, with fresh information.
///
/// # Errors
/// When it is missing or the broker does not answer.
pub async fn stream(bus: &Bus, name: StreamName) -> Result<Stream, BusError> {
    let name = bus.names.stream(name);
    let missing = || BusError::Request(format!("there is no stream {name}: `bugle setup` makes it"));
    get_stream(bus, &name).await?.ok_or_else(missing)
}

/// The same without asking the broker: for reads by subject, where a missing stream shows by itself.
///
/// # Errors
/// When the name is not valid.
pub async fn stream_handle(bus: &Bus, name: StreamName) -> Result<Stream<()>, BusError> {
    bus.js.get_stream_no_info(bus.names.stream(name)).await.map_err(BusError::request)
}

/// None when there is none of that name.
pub(super) async fn get_stream(bus: &Bus, name: &str) -> Result<Option<Stream>, BusError> {
    use async_nats::jetstream::context::GetStreamErrorKind;
    match bus.js.get_stream(name).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => {
            let missing = matches!(error.kind(), GetStreamErrorKind::JetStream(cause)
                if cause.error_code() == ErrorCode::STREAM_NOT_FOUND);
            if missing { Ok(None) } else { Err(BusError::request(error)) }
        }
    }
}

/// Gets a durable pull consumer, or creates it (and, when its stream is gone too, everything).
///
/// # Errors
/// When the broker refuses or does not answer.
pub async fn consumer(
    bus: &Bus,
    own: &Own,
    durable: &str,
    keep: &Keep,
) -> Result<async_nats::jetstream::consumer::Consumer<pull::Config>, BusError> {
    let Own { stream: name, filter, begin } = own;
    let stream = ensure_stream(bus, *name, keep).await?;
    match stream.get_consumer::<pull::Config>(durable).await {
        Ok(consumer) => return Ok(consumer),
        Err(error) => {
            let missing = stream.consumer_info(durable).await.err().is_some_and(|error| {
                matches!(error.kind(), async_nats::jetstream::context::ConsumerInfoErrorKind::NotFound)
            });
            if !missing {
                return Err(BusError::request(error));
            }
        }
    }
    let mut config = consumer_config(bus, durable, filter);
    config.deliver_policy = match begin {
        Begin::All => DeliverPolicy::All,
        Begin::New => DeliverPolicy::New,
    };
    // A work queue holds nothing that is settled; the other streams do.
    if stream.cached_info().config.retention == RetentionPolicy::Limits
        && let Some(start_sequence) = floor::start(bus, *name, durable).await?
    {
        tracing::warn!(durable, start_sequence, "the consumer is gone: it begins again where it stood");
        config.deliver_policy = DeliverPolicy::ByStartSequence { start_sequence };
    }
    tracing::debug!(durable, "consumer created");
    stream.create_consumer(config).await.map_err(BusError::request)
}

fn consumer_config(bus: &Bus, durable: &str, filter: &str) -> pull::Config {
    pull::Config {
        durable_name: Some(durable.to_owned()),
        filter_subject: filter.to_owned(),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: -1,
        max_ack_pending: ACK_PENDING_MAX,
        num_replicas: bus.replicas,
        ..Default::default()
    }
}

fn stream_config(bus: &Bus, name: StreamName, keep: &Keep) -> stream::Config {
    let base = stream::Config {
        name: bus.names.stream(name),
        subjects: bus.names.subjects_of(name),
        storage: StorageType::File,
        num_replicas: bus.replicas,
        duplicate_window: DUPLICATE_WINDOW,
        allow_direct: true,
        ..Default::default()
    };
    match name {
        StreamName::Events => stream::Config { max_age: DAY * keep.events_days, ..base },
        StreamName::Deliveries => stream::Config {
            retention: RetentionPolicy::WorkQueue,
            allow_message_schedules: true,
            allow_message_ttl: true,
            allow_rollup: true,
            discard: DiscardPolicy::Old,
            ..base
        },
        StreamName::Records => stream::Config { max_age: DAY * keep.records_days, ..base },
        StreamName::Dead => stream::Config { max_age: DAY * keep.dead_days, ..base },
        StreamName::Throttle | StreamName::Pace | StreamName::Receipts => {
            stream::Config { max_messages_per_subject: 1, allow_message_ttl: true, ..base }
        }
        StreamName::Counts => stream::Config {
            max_messages_per_subject: 1,
            allow_message_counter: true,
            max_age: DAY * keep.events_days,
            ..base
        },
    }
}

fn differs(found: &stream::Config, wanted: &stream::Config) -> bool {
    !differences(found, wanted).is_empty()
}

/// What `setup` would change, by its name in the broker's words.
fn differences(found: &stream::Config, wanted: &stream::Config) -> Vec<&'static str> {
    let all = [
        ("subjects", found.subjects != wanted.subjects),
        ("max_age", found.max_age != wanted.max_age),
        ("num_replicas", found.num_replicas != wanted.num_replicas),
        ("duplicate_window", found.duplicate_window != wanted.duplicate_window),
        ("allow_direct", found.allow_direct != wanted.allow_direct),
        ("allow_msg_ttl", found.allow_message_ttl != wanted.allow_message_ttl),
        ("allow_msg_schedules", found.allow_message_schedules != wanted.allow_message_schedules),
    ];
    all.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}

/// What exists, with our settings on top: an operator's limits, placement and descriptions stay.
fn merged(found: &stream::Config, wanted: &stream::Config) -> stream::Config {
    stream::Config {
        subjects: wanted.subjects.clone(),
        max_age: wanted.max_age,
        num_replicas: wanted.num_replicas,
        duplicate_window: wanted.duplicate_window,
        allow_direct: wanted.allow_direct,
        allow_message_ttl: wanted.allow_message_ttl,
        allow_message_schedules: wanted.allow_message_schedules,
        ..found.clone()
    }
}

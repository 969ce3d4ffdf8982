//! Where jobs lie: a bucket in which every change is on condition of the revision that was read.

use async_nats::jetstream::kv::{CreateErrorKind, Operation, UpdateErrorKind};

use super::{Job, State};
use crate::bus::reader::{From, Reader};
use crate::bus::{Bus, BusError, Names, topology};
use crate::clock;
use crate::ids::WorkspaceId;

const READ_MAX: usize = 500;

/// A job as it lies in the bucket.
#[derive(Debug, Clone)]
pub struct Held {
    pub job: Job,
    pub revision: u64,
}

/// Puts a new one up.
///
/// # Errors
/// When the broker did not store it.
pub async fn put_up(bus: &Bus, job: &Job) -> Result<(), BusError> {
    // Whoever asks may be newer than the last setup.
    topology::ensure_buckets(bus).await?;
    let bucket = topology::jobs_bucket(bus).await?;
    match bucket.create(job.key(), serde_json::to_vec(job)?.into()).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Err(BusError::Conflict),
        Err(error) => Err(BusError::request(error)),
    }
}

/// Writes what became of it.
///
/// # Errors
/// [`BusError::Conflict`] when somebody else wrote meanwhile, or the broker did not answer.
pub async fn update(bus: &Bus, job: &Job, revision: u64) -> Result<u64, BusError> {
    let bucket = topology::jobs_bucket(bus).await?;
    match bucket.update(job.key(), serde_json::to_vec(job)?.into(), revision).await {
        Ok(revision) => Ok(revision),
        Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Err(BusError::Conflict),
        Err(error) => Err(BusError::request(error)),
    }
}

/// One job by its key.
///
/// # Errors
/// When the broker did not answer, or what it holds cannot be read.
pub async fn get(bus: &Bus, key: &str) -> Result<Option<Held>, BusError> {
    topology::ensure_buckets(bus).await?;
    let bucket = topology::jobs_bucket(bus).await?;
    let entry = bucket.entry(key).await.map_err(BusError::request)?;
    let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else { return Ok(None) };
    Ok(Some(Held { job: serde_json::from_slice(&entry.value)?, revision: entry.revision }))
}

/// A job by its id, of a workspace or of any.
///
/// # Errors
/// As [`get`].
pub async fn find(bus: &Bus, workspace: Option<&WorkspaceId>, id: &str) -> Result<Option<Held>, BusError> {
    // An id is a token of the key.
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(None);
    }
    if let Some(workspace) = workspace {
        return get(bus, &Names::job(Some(workspace), id)).await;
    }
    Ok(list(bus, None).await?.into_iter().find(|held| held.job.id == id))
}

/// The jobs of a workspace, or of all, the newest first.
///
/// # Errors
/// When the broker did not answer.
pub async fn list(bus: &Bus, workspace: Option<&WorkspaceId>) -> Result<Vec<Held>, BusError> {
    topology::ensure_buckets(bus).await?;
    let mut found = list_there(bus).await?;
    found.retain(|held| workspace.is_none_or(|wanted| held.job.workspace.as_ref() == Some(wanted)));
    Ok(found)
}

/// All jobs, for whoever only looks: a bucket that is missing is not made.
///
/// # Errors
/// When there is no bucket, or the broker did not answer.
pub async fn list_there(bus: &Bus) -> Result<Vec<Held>, BusError> {
    let mut reader = open(bus).await?;
    let mut more = reader.pending_at_start > 0;
    let mut found = Vec::new();
    while more {
        let entries = reader.next(READ_MAX).await?;
        more = entries.last().is_some_and(|last| last.pending > 0);
        for entry in entries {
            // One of a newer version is for newer processes.
            if let Ok(job) = serde_json::from_slice::<Job>(&entry.payload) {
                found.push(Held { job, revision: entry.sequence });
            }
        }
    }
    found.sort_by(|a, b| (b.job.created_at, &b.job.id).cmp(&(a.job.created_at, &a.job.id)));
    Ok(found)
}

/// The jobs as they are, and then every change.
pub(super) async fn open(bus: &Bus) -> Result<Reader, BusError> {
    let bucket = bus.names.jobs_bucket();
    Reader::open_stream(bus, &format!("KV_{bucket}"), format!("$KV.{bucket}.>"), From::LastPerSubject).await
}

/// Stops a job; whoever holds it notices within a second. One that is over stays as it is.
///
/// # Errors
/// When the broker did not answer.
pub async fn cancel(bus: &Bus, key: &str) -> Result<Option<Job>, BusError> {
    loop {
        let Some(Held { job, revision }) = get(bus, key).await? else { return Ok(None) };
        if job.is_over() {
            return Ok(Some(job));
        }
        let job = Job { state: State::Cancelled, updated_at: clock::now(), ..job };
        match update(bus, &job, revision).await {
            Ok(_) => return Ok(Some(job)),
            // Its holder wrote meanwhile: once more.
            Err(BusError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}

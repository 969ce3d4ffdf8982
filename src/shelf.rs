//! Where documents lie: read, written on condition and removed one at a time, with their last versions.
//!
//! The bucket's revision is what a condition is about. It grows with every change of any document and never comes twice,
//! unlike a document's own version, which is for people.

pub mod standing;

use std::collections::BTreeMap;

use async_nats::jetstream::kv::{self, CreateErrorKind, Operation, UpdateErrorKind};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::bus::reader::{From, Reader};
use crate::bus::{Bus, BusError, topology};
use crate::clock;
use crate::delivery::ENVELOPE_VERSION;
use crate::documents::{Document, Key};

/// The owner of what the API writes.
pub const API_OWNER: &str = "api";
const READ_MAX: usize = 1_000;

/// A document as it lies in the bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    pub revision: u64,
    pub document: Document<Value>,
}

/// What must be true for a change to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    None,
    /// There is none yet.
    Absent,
    /// There is one.
    Present,
    /// It is still this one.
    Revision(u64),
}

#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    #[error("there is none")]
    Missing,
    /// The condition does not hold (any more).
    #[error("{0}")]
    Changed(&'static str),
    #[error("it belongs to {0}: change it there")]
    Foreign(String),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    pub held: Held,
    pub created: bool,
    /// False when it was there just so.
    pub changed: bool,
}

/// One of the last versions of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    pub revision: u64,
    pub at: Timestamp,
    /// None: it was removed.
    pub document: Option<Document<Value>>,
}

/// Recipients have one of their own, which nobody holds whole.
async fn bucket_of(bus: &Bus, key: &Key) -> Result<kv::Store, BusError> {
    match key {
        Key::Recipient(..) | Key::Preferences(..) => topology::people_bucket(bus).await,
        Key::Channel(..)
        | Key::Connection(..)
        | Key::Rule(..)
        | Key::Scope(..)
        | Key::Source(..)
        | Key::Token(_)
        | Key::SealingKey(_)
        | Key::Standing(..) => topology::config_bucket(bus).await,
    }
}

/// # Errors
/// When the broker does not answer, or what it holds cannot be read.
pub async fn get(bus: &Bus, key: &Key) -> Result<Option<Held>, BusError> {
    let bucket = bucket_of(bus, key).await?;
    let entry = bucket.entry(key.to_string()).await.map_err(BusError::request)?;
    let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else { return Ok(None) };
    Ok(Some(Held { revision: entry.revision, document: serde_json::from_slice(&entry.value)? }))
}

/// Writes what `change` makes of what is there, for the API; nothing when it is what is there already. A change by
/// somebody else in the middle is met by looking again, unless the condition names a revision.
///
/// # Errors
/// When the condition does not hold, a file owns the document, `change` refuses, or the broker does not answer.
pub async fn write<E: std::convert::From<ShelfError>>(
    bus: &Bus,
    key: &Key,
    author: &str,
    condition: Condition,
    change: impl Fn(Option<&Held>) -> Result<Value, E>,
) -> Result<Written, E> {
    let bucket = bucket_of(bus, key).await.map_err(ShelfError::Bus)?;
    loop {
        let mut found = get(bus, key).await.map_err(ShelfError::Bus)?;
        check(found.as_ref(), condition)?;
        let spec = change(found.as_ref())?;
        // A change that changes nothing would push one of the last versions out.
        let same = |held: &Held| held.document.spec == spec && held.document.v == ENVELOPE_VERSION;
        if let Some(held) = found.take_if(|held| same(held)) {
            return Ok(Written { held, created: false, changed: false });
        }
        let version = match &found {
            Some(held) => held.document.version + 1,
            None => last_version(&bucket, key).await.map_err(ShelfError::Bus)? + 1,
        };
        let document = Document {
            v: ENVELOPE_VERSION,
            owner: API_OWNER.to_owned(),
            version,
            author: author.to_owned(),
            updated_at: clock::now(),
            spec,
        };
        let revision = found.as_ref().map_or(0, |held| held.revision);
        if let Some(revision) = put(&bucket, key, &document, revision).await.map_err(ShelfError::Bus)? {
            let held = Held { revision, document };
            return Ok(Written { held, created: found.is_none(), changed: true });
        }
    }
}

/// Removes a document of the API's, and returns the revision that says so.
///
/// # Errors
/// When there is none, the condition does not hold, a file owns it, or the broker does not answer.
pub async fn remove(bus: &Bus, key: &Key, condition: Condition) -> Result<u64, ShelfError> {
    let bucket = bucket_of(bus, key).await?;
    loop {
        let held = get(bus, key).await?.ok_or(ShelfError::Missing)?;
        check(Some(&held), condition)?;
        match bucket.delete_expect_revision(key.to_string(), Some(held.revision)).await {
            Ok(()) => break,
            Err(error) if get(bus, key).await? == Some(held) => return Err(BusError::request(error).into()),
            // Somebody was faster: look again.
            Err(_) => {}
        }
    }
    Ok(bucket.status().await.map_err(BusError::request)?.info.state.last_sequence)
}

fn check(found: Option<&Held>, condition: Condition) -> Result<(), ShelfError> {
    match (condition, found) {
        (Condition::Absent, Some(_)) => return Err(ShelfError::Changed("it is there already")),
        (Condition::Revision(_) | Condition::Present, None) => {
            return Err(ShelfError::Changed("there is none (any more)"));
        }
        (Condition::Revision(wanted), Some(held)) if held.revision != wanted => {
            return Err(ShelfError::Changed("it was changed meanwhile: read it again"));
        }
        _ => {}
    }
    match found {
        Some(held) if held.document.owner != API_OWNER => {
            Err(ShelfError::Foreign(held.document.owner.clone()))
        }
        Some(_) | None => Ok(()),
    }
}

/// The last versions of a document that the bucket keeps, the newest first.
///
/// # Errors
/// When the broker does not answer.
pub async fn versions(bus: &Bus, key: &Key) -> Result<Vec<Version>, BusError> {
    history(&bucket_of(bus, key).await?, key).await
}

async fn history(bucket: &kv::Store, key: &Key) -> Result<Vec<Version>, BusError> {
    let history = bucket.history(key.to_string()).await.map_err(BusError::request)?;
    let entries: Vec<kv::Entry> = history.try_collect().await.map_err(BusError::request)?;
    let version = |entry: kv::Entry| Version {
        revision: entry.revision,
        at: Timestamp::from_nanosecond(entry.created.unix_timestamp_nanos()).unwrap_or_default(),
        document: serde_json::from_slice(&entry.value).ok().filter(|_| entry.operation == Operation::Put),
    };
    let mut versions: Vec<Version> = entries.into_iter().map(version).collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version.revision));
    Ok(versions)
}

/// The version that a removed document had.
async fn last_version(bucket: &kv::Store, key: &Key) -> Result<u64, BusError> {
    let versions = history(bucket, key).await?;
    Ok(versions.into_iter().filter_map(|version| Some(version.document?.version)).max().unwrap_or(0))
}

/// Writes a document if `revision` is still its last one, 0 for one that does not exist. None when it is not.
///
/// # Errors
/// When the broker refuses or does not answer.
pub async fn put<T: Serialize>(
    bucket: &kv::Store,
    key: &Key,
    document: &Document<T>,
    revision: u64,
) -> Result<Option<u64>, BusError> {
    let bytes = serde_json::to_vec(document)?.into();
    if revision == 0 {
        return match bucket.create(key.to_string(), bytes).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(BusError::request(error)),
        };
    }
    match bucket.update(key.to_string(), bytes, revision).await {
        Ok(revision) => Ok(Some(revision)),
        Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
        Err(error) => Err(BusError::request(error)),
    }
}

/// Every document in the bucket, with its revision.
///
/// # Errors
/// When the broker does not answer.
pub async fn read_all(bus: &Bus) -> Result<BTreeMap<Key, Held>, BusError> {
    let (found, unreadable) = read_whole(bus).await?;
    unreadable.iter().for_each(|key| tracing::warn!(key, "a document cannot be read"));
    Ok(found)
}

/// The same, with the names of those that cannot be read.
///
/// # Errors
/// When the broker does not answer.
pub async fn read_whole(bus: &Bus) -> Result<(BTreeMap<Key, Held>, Vec<String>), BusError> {
    let bucket = bus.names.config_bucket();
    let head = format!("$KV.{bucket}.");
    let mut reader =
        Reader::open_stream(bus, &format!("KV_{bucket}"), format!("{head}>"), From::LastPerSubject).await?;
    let mut missing = reader.pending_at_start;
    let (mut found, mut unreadable) = (BTreeMap::new(), Vec::new());
    while missing > 0 {
        let entries = reader.next(READ_MAX).await?;
        // What was counted and does not come was removed meanwhile: a part must not pass for the whole.
        let changed =
            || BusError::Request("the documents changed while they were read: try again".to_owned());
        missing = entries.last().ok_or_else(changed)?.pending;
        for entry in entries {
            let Some(key) = entry.subject.strip_prefix(&head).and_then(Key::parse) else { continue };
            if entry.headers.get("KV-Operation").is_some() {
                found.remove(&key);
                continue;
            }
            match serde_json::from_slice(&entry.payload) {
                Ok(document) => {
                    found.insert(key, Held { revision: entry.sequence, document });
                }
                Err(_) => unreadable.push(key.as_written()),
            }
        }
    }
    Ok((found, unreadable))
}

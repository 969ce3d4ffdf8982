//! Brings the bucket in line with a file of documents: what is new is made, what differs is changed, what the file's
//! owner no longer has is removed. Two files never touch each other's documents.

pub mod files;

use std::collections::BTreeMap;

use async_nats::jetstream::kv;
use serde::Serialize;
use serde_json::Value;

use crate::bus::{Bus, BusError, topology};
use crate::channel::secret::variables_without_default;
use crate::channel::{ChannelSpec, Enabled};
use crate::clock;
use crate::config;
use crate::delivery::ENVELOPE_VERSION;
use crate::documents::{Document, DocumentFile, Key};
use crate::shelf::{self, Held};

/// Somebody else's change in the middle: look again and go on, this often.
const TRIES_MAX: u32 = 5;

/// What was done to one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Created(Key),
    Updated(Key),
    Removed(Key),
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Created(key) => write!(f, "created {key}"),
            Self::Updated(key) => write!(f, "updated {key}"),
            Self::Removed(key) => write!(f, "removed {key}"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{0}")]
    File(String),
    #[error("{key} belongs to {owner}: {mine} cannot change it")]
    Foreign { key: Key, owner: String, mine: String },
    #[error("the documents change faster than they can be applied: try again")]
    Contended,
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Applies documents that were read and checked.
///
/// # Errors
/// When a document has another owner, or the broker refuses. Applying again is safe.
pub async fn apply(bus: &Bus, file: &DocumentFile) -> Result<Vec<Change>, ApplyError> {
    let owner = format!("file:{}", file.name.as_deref().unwrap_or("unnamed"));
    let wanted = wanted(file)?;
    let bucket = topology::config_bucket(bus).await?;
    let mut changes = Vec::new();
    for _ in 0..TRIES_MAX {
        let found = shelf::read_all(bus).await?;
        check_owners(&wanted, &found, &owner)?;
        if apply_once(&bucket, &owner, &wanted, &found, &mut changes).await? {
            return Ok(changes);
        }
    }
    Err(ApplyError::Contended)
}

type Wanted = BTreeMap<Key, Value>;
type Found = BTreeMap<Key, Held>;

fn wanted(file: &DocumentFile) -> Result<Wanted, ApplyError> {
    let mut wanted = BTreeMap::new();
    for spec in &file.channels {
        let spec = ChannelSpec { enabled: resolved(spec), ..spec.clone() };
        wanted.insert(Key::Channel(file.workspace.clone(), spec.id.clone()), value(&spec)?);
    }
    for spec in &file.rules {
        wanted.insert(Key::Rule(file.workspace.clone(), spec.id.clone()), value(spec)?);
    }
    for spec in &file.scopes {
        let id = spec.id().map_err(|fault| ApplyError::File(fault.to_string()))?;
        wanted.insert(Key::Scope(file.workspace.clone(), id), value(spec)?);
    }
    Ok(wanted)
}

fn value<T: Serialize>(spec: &T) -> Result<Value, ApplyError> {
    serde_json::to_value(spec).map_err(|error| ApplyError::Bus(error.into()))
}

/// `auto` is decided here: on when every variable that the configuration needs is set.
fn resolved(spec: &ChannelSpec) -> Enabled {
    let set = |name: &String| config::environment(name).is_some_and(|value| !value.is_empty());
    match spec.enabled {
        Enabled::Auto if variables_without_default(&spec.config).iter().all(set) => Enabled::On,
        Enabled::Auto => Enabled::Off,
        decided @ (Enabled::On | Enabled::Off) => decided,
    }
}

fn check_owners(wanted: &Wanted, found: &Found, owner: &str) -> Result<(), ApplyError> {
    for key in wanted.keys() {
        if let Some(Held { document, .. }) = found.get(key).filter(|held| held.document.owner != owner) {
            return Err(ApplyError::Foreign {
                key: key.clone(),
                owner: document.owner.clone(),
                mine: owner.to_owned(),
            });
        }
    }
    Ok(())
}

/// False when somebody else changed a document meanwhile.
async fn apply_once(
    bucket: &kv::Store,
    owner: &str,
    wanted: &Wanted,
    found: &Found,
    changes: &mut Vec<Change>,
) -> Result<bool, ApplyError> {
    for (key, spec) in wanted {
        let known = found.get(key);
        if known.is_some_and(|held| held.document.spec == *spec) {
            continue;
        }
        let (revision, version) = known.map_or((0, 1), |held| (held.revision, held.document.version + 1));
        let document = Document {
            v: ENVELOPE_VERSION,
            owner: owner.to_owned(),
            version,
            author: owner.to_owned(),
            updated_at: clock::now(),
            spec,
        };
        if shelf::put(bucket, key, &document, revision).await?.is_none() {
            return Ok(false);
        }
        changes.push(if known.is_some() {
            Change::Updated(key.clone())
        } else {
            Change::Created(key.clone())
        });
    }
    // Rules before channels: a rule never points at a channel that was removed before it.
    let gone =
        found.iter().rev().filter(|(key, held)| held.document.owner == owner && !wanted.contains_key(key));
    for (key, Held { revision, .. }) in gone {
        if bucket.delete_expect_revision(key.to_string(), Some(*revision)).await.is_err() {
            return Ok(false);
        }
        changes.push(Change::Removed(key.clone()));
    }
    Ok(true)
}

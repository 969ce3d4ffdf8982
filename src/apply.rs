//! Brings the bucket in line with files of documents: what is new is made, what differs is changed, what a file's
//! owner no longer has is removed. Two files never touch each other's documents.

mod connections;
pub mod files;
pub mod notes;
pub mod objection;
pub mod plan;
mod sealing;

use async_nats::jetstream::kv;

use crate::bus::{Bus, BusError, attach, topology};
use crate::channel::secret::variables_without_default;
use crate::channel::{ChannelSpec, Enabled};
use crate::clock;
use crate::config;
use crate::connection::health;
use crate::delivery::ENVELOPE_VERSION;
use crate::documents::{Document, DocumentFile, Key};
use crate::rule::fault::Fault;
use crate::secrets::KeyRing;
use crate::secrets::resealed::keep_standings;
use crate::shelf;
use objection::Objection;
use plan::{Change, Plan, plan};
use sealing::Sealing;

/// Somebody else's change in the middle: look again and go on, this often.
const TRIES_MAX: u32 = 5;

/// How to apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Do it in spite of all [`Objection`]s.
    pub force: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{0}")]
    File(String),
    #[error(
        "{} belongs to {owner}: {mine} cannot change it. A file that was renamed keeps its owner by its old name in `name:`",
        key.as_written()
    )]
    Foreign { key: Key, owner: String, mine: String },
    #[error("{0}")]
    Refused(Objection),
    #[error("the documents change faster than they can be applied: try again")]
    Contended,
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Applies files that were read and checked, and returns what was done for each, and what had spoken against it.
///
/// # Errors
/// When a document has another owner, a rule names a channel that nobody has, something speaks against it (and it is neither
/// forced nor a dry run), or the broker refuses. Nothing is done then that was not asked for; applying again is safe.
pub async fn apply(
    bus: &Bus,
    files: &[DocumentFile],
    options: Options,
    keys: &KeyRing,
) -> Result<Plan, ApplyError> {
    check_sources(bus, files)?;
    let bucket = topology::config_bucket(bus).await?;
    let sealing = Sealing::new(bus, keys).await?;
    let mut done = Plan { changes: vec![Vec::new(); files.len()], objections: Vec::new() };
    for _ in 0..TRIES_MAX {
        let found = shelf::read_all(bus).await?;
        let mut planned = plan(files, &found, resolved)?;
        sealing.seal(&mut planned)?;
        Sealing::warn(&planned);
        if options.dry_run {
            return Ok(planned);
        }
        for objection in std::mem::take(&mut planned.objections) {
            if !options.force {
                return Err(ApplyError::Refused(objection));
            }
            if !done.objections.contains(&objection) {
                done.objections.push(objection);
            }
        }
        for (key, before, after) in sealing.blind(&planned) {
            keep_standings(bus, &found, key, (before, after)).await?;
        }
        if apply_once(&bucket, planned.changes, &mut done.changes).await? {
            ask_soon(bus, done.changes.iter().flatten()).await;
            return Ok(done);
        }
    }
    Err(ApplyError::Contended)
}

/// A changed connection is asked about at once.
async fn ask_soon(bus: &Bus, changes: impl Iterator<Item = &Change>) {
    for change in changes.filter(|change| change.after.is_some()) {
        let Key::Connection(workspace, id) = &change.key else { continue };
        if let Err(error) = health::ask_soon(bus, workspace, id).await {
            tracing::warn!(connection = %id, %error, "a changed connection is asked about in its turn only");
        }
    }
}

/// What is Bugle's own under this installation's prefix is no source.
fn check_sources(bus: &Bus, files: &[DocumentFile]) -> Result<(), ApplyError> {
    for file in files {
        for (index, source) in file.sources.iter().enumerate() {
            if let Some(why) = source.nats.as_ref().and_then(|nats| attach::forbidden(bus, nats)) {
                let fault = Fault::new(format!("/sources/{index}/nats"), why);
                let name = file.name.as_deref().unwrap_or("unnamed");
                return Err(ApplyError::File(format!("{name}: {fault}")));
            }
        }
    }
    Ok(())
}

/// `auto` is decided here: on when every variable that the configuration needs is set.
fn resolved(spec: &ChannelSpec) -> ChannelSpec {
    let set = |name: &String| config::environment(name).is_some_and(|value| !value.is_empty());
    let enabled = match spec.enabled {
        Enabled::Auto if variables_without_default(&spec.config).iter().all(set) => Enabled::On,
        Enabled::Auto => Enabled::Off,
        decided @ (Enabled::On | Enabled::Off) => decided,
    };
    ChannelSpec { enabled, ..spec.clone() }
}

/// False when somebody else changed a document meanwhile. What is made comes before what goes, whichever file it is in.
async fn apply_once(
    bucket: &kv::Store,
    planned: Vec<Vec<Change>>,
    done: &mut [Vec<Change>],
) -> Result<bool, ApplyError> {
    let mut changes: Vec<(usize, Change)> = Vec::new();
    for (file, of_file) in planned.into_iter().enumerate() {
        changes.extend(of_file.into_iter().map(|change| (file, change)));
    }
    changes.sort_by_key(|(_, change)| order(change));
    for (file, change) in changes {
        if !make(bucket, &change).await? {
            return Ok(false);
        }
        done[file].push(change);
    }
    Ok(true)
}

/// Connections are made before the channels that name them and channels before such rules, and they go after them.
fn order(change: &Change) -> u8 {
    let connection = matches!(change.key, Key::Connection(..));
    let channel = matches!(change.key, Key::Channel(..));
    match (&change.after, connection, channel) {
        (Some(_), true, _) => 0,
        (Some(_), _, true) => 1,
        (Some(_), _, _) => 2,
        (None, false, false) => 3,
        (None, _, true) => 4,
        (None, true, _) => 5,
    }
}

async fn make(bucket: &kv::Store, change: &Change) -> Result<bool, ApplyError> {
    let revision = change.before.as_ref().map_or(0, |held| held.revision);
    let Some(spec) = &change.after else {
        let removed = bucket.delete_expect_revision(change.key.to_string(), Some(revision)).await.is_ok();
        if let Some((workspace, channel)) = plan::channel_of(&change.key).filter(|_| removed) {
            shelf::standing::forget(bucket, workspace, channel).await?;
        }
        return Ok(removed);
    };
    let document = Document {
        v: ENVELOPE_VERSION,
        owner: change.owner.clone(),
        version: change.before.as_ref().map_or(1, |held| held.document.version + 1),
        author: change.owner.clone(),
        updated_at: clock::now(),
        spec,
    };
    Ok(shelf::put(bucket, &change.key, &document, revision).await?.is_some())
}

//! The documents as this process holds them: whole, in memory, following the bucket within moments.
//!
//! An entry that cannot be read leaves the last good one in force and raises an alarm. After every trouble with the
//! broker the whole bucket is read anew, so that a change made meanwhile, a deletion too, is seen.

mod channels;
mod connections;
mod snapshot;
mod sources;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use self::connections::Connections;
pub use self::snapshot::Snapshot;
use super::library::Library;
use super::reader::{Entry, From, Reader};
use super::{Bus, BusError, topology};
use crate::clock;
use crate::documents::{Document, Key, TokenSpec};
use crate::health::Pulse;
use crate::ids::{ChannelId, WorkspaceId};
use crate::metrics;
use crate::route::Channels;
use crate::route::ruleset::{Change, RuleSet};
use crate::route::scopes::ScopeBook;
use crate::rule::scope::{Scope, ScopeSpec};
use crate::rule::{Rule, RuleSpec};
use crate::secrets::KeyRing;
use crate::shelf::Held;
use crate::source::book::SourceBook;

const AFTER_TROUBLE: Duration = Duration::from_millis(500);
const BATCH_MAX: usize = 1_000;

/// Which documents a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holdings {
    /// Channels, how they stand, and connections: workers.
    Channels,
    /// All that routing asks.
    Compiled,
    /// And each word for word: the API.
    WordForWord,
}

impl Holdings {
    fn filters(self) -> &'static [&'static str] {
        match self {
            Self::Channels => &["channels.>", "standing.>", "connections.>"],
            Self::Compiled | Self::WordForWord => &[">"],
        }
    }
}

/// The latest snapshot; reading it costs a lock and a count.
pub struct Directory {
    current: RwLock<Arc<Snapshot>>,
    changed: tokio::sync::watch::Sender<u64>,
}

impl Directory {
    /// Reads the bucket and follows it until `stop`. Returns when the documents are there.
    ///
    /// # Errors
    /// When the bucket cannot be read at the start.
    pub async fn start(
        bus: Bus,
        (holdings, keys): (Holdings, KeyRing),
        stop: CancellationToken,
        pulse: Pulse,
    ) -> Result<Arc<Self>, BusError> {
        let directory =
            Arc::new(Self { current: RwLock::default(), changed: tokio::sync::watch::Sender::new(0) });
        let keys = Some(keys).filter(|_| holdings == Holdings::WordForWord);
        let mut follower =
            Follower { bus, holdings, keys, directory: Arc::clone(&directory), entries: Entries::default() };
        let reader = follower.load().await?;
        pulse.beat();
        crate::task::spawn("directory", async move { follower.follow(reader, &stop, &pulse).await });
        Ok(directory)
    }

    /// What a test puts there.
    #[cfg(test)]
    pub(crate) fn holding(snapshot: Snapshot) -> Arc<Self> {
        let directory = Self { current: RwLock::default(), changed: tokio::sync::watch::Sender::new(0) };
        directory.publish(snapshot);
        Arc::new(directory)
    }

    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says when there is another snapshot.
    #[must_use]
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Waits until the snapshot contains this revision of the bucket.
    pub async fn seen(&self, revision: u64, patience: Duration) -> bool {
        let mut changed = self.changed.subscribe();
        tokio::time::timeout(patience, changed.wait_for(|seen| *seen >= revision))
            .await
            .is_ok_and(|seen| seen.is_ok())
    }

    /// Waits until a snapshot is like this.
    pub async fn until(&self, wanted: impl Fn(&Snapshot) -> bool) {
        let mut changed = self.changed.subscribe();
        while !wanted(&self.snapshot()) {
            // Its sender is this directory.
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn publish(&self, snapshot: Snapshot) {
        let revision = snapshot.revision;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
        self.changed.send_replace(revision);
    }
}

/// What the next snapshot is made of. It shares with the last one what did not change.
#[derive(Default, Clone)]
struct Entries {
    rules: RuleSet,
    /// Rules that are not in `rules` yet.
    rule_changes: Vec<Change>,
    channels: Arc<Channels>,
    connections: Arc<Connections>,
    scopes: Arc<ScopeBook>,
    sources: Arc<SourceBook>,
    library: Arc<Library>,
    tokens: Arc<BTreeMap<String, Document<TokenSpec>>>,
    unreadable: Arc<HashSet<(WorkspaceId, ChannelId)>>,
    revision: u64,
}

struct Follower {
    bus: Bus,
    holdings: Holdings,
    /// What opens the secrets of sources, for the API.
    keys: Option<KeyRing>,
    directory: Arc<Directory>,
    entries: Entries,
}

impl Follower {
    async fn follow(&mut self, first: Reader, stop: &CancellationToken, pulse: &Pulse) {
        let mut reader = Some(first);
        while !stop.is_cancelled() {
            let step = async {
                match reader.take() {
                    Some(mut open) => {
                        let read = open.next(BATCH_MAX).await?;
                        self.apply(&read).await?;
                        Ok(open)
                    }
                    None => self.load().await,
                }
            };
            let step: Result<Reader, BusError> =
                tokio::select! { done = step => done, () = stop.cancelled() => return };
            match step {
                Ok(open) => {
                    pulse.beat();
                    reader = Some(open);
                }
                Err(error) => {
                    pulse.trouble();
                    tracing::warn!(%error, "the documents are not followed at the moment");
                    clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
                    self.ensure_buckets().await;
                }
            }
        }
    }

    async fn ensure_buckets(&self) {
        if let Err(error) = topology::ensure_buckets(&self.bus).await {
            tracing::debug!(%error, "the bucket could not be looked up");
        }
    }

    /// Reads the whole bucket; what is no longer there is gone, what cannot be read keeps its last good form.
    async fn load(&mut self) -> Result<Reader, BusError> {
        let bucket = format!("KV_{}", self.bus.names.config_bucket());
        let head = format!("$KV.{}", self.bus.names.config_bucket());
        let filters = self.holdings.filters().iter().map(|filter| format!("{head}.{filter}")).collect();
        let mut reader = Reader::open_filtered(&self.bus, &bucket, filters, From::LastPerSubject).await?;
        let mut missing = reader.pending_at_start;
        let old = std::mem::take(&mut self.entries);
        let mut fresh = Entries::default();
        while missing > 0 {
            let read = match reader.next(BATCH_MAX).await {
                Ok(read) if !read.is_empty() => read,
                // What was counted and does not come was removed meanwhile: a part must not pass for the whole.
                Ok(_) => {
                    self.entries = old;
                    return Err(BusError::Request("the documents changed while they were read".to_owned()));
                }
                Err(error) => {
                    self.entries = old;
                    return Err(error);
                }
            };
            missing = read.last().map_or(missing, |last| last.pending);
            for entry in &read {
                self.take(&mut fresh, &old, entry);
            }
        }
        // A bucket that was deleted by hand comes back empty. That is no decision to route nothing any more.
        if fresh.is_empty() && !old.is_empty() && fresh.revision < old.revision {
            self.entries = old;
            return Err(BusError::Request(
                "the bucket of the documents was made anew and is empty: apply the documents again; the last ones stay in force"
                    .to_owned(),
            ));
        }
        self.entries = fresh;
        self.publish().await?;
        Ok(reader)
    }

    async fn apply(&mut self, read: &[Entry]) -> Result<(), BusError> {
        if read.is_empty() {
            return Ok(());
        }
        let mut entries = std::mem::take(&mut self.entries);
        for entry in read {
            let before = Entries::default();
            self.take(&mut entries, &before, entry);
        }
        self.entries = entries;
        self.publish().await
    }

    /// Takes one entry in. `before` holds the last good forms while the bucket is read anew.
    fn take(&self, entries: &mut Entries, before: &Entries, entry: &Entry) {
        entries.revision = entry.sequence;
        let head = format!("$KV.{}.", self.bus.names.config_bucket());
        let Some(key) = entry.subject.strip_prefix(&head).and_then(Key::parse) else {
            tracing::debug!(subject = entry.subject, "a key of another version is left alone");
            return;
        };
        let removed = entry.headers.get("KV-Operation").is_some();
        channels::readable(entries, &key);
        let result = if removed {
            entries.remove(&key);
            entries.library.remove(&key);
            Ok(())
        } else {
            entries.put(&key, &entry.payload, self.keys.as_ref())
        };
        if self.holdings == Holdings::WordForWord
            && !removed
            && let Ok(document) = serde_json::from_slice(&entry.payload)
        {
            entries.library.put(key.clone(), Held { revision: entry.sequence, document });
        }
        if let Err(error) = result {
            metrics::document_unreadable();
            tracing::error!(%key, error, "a document cannot be read: its last good form stays in force");
            entries.keep(&key, before);
        }
    }

    async fn publish(&mut self) -> Result<(), BusError> {
        let changes = std::mem::take(&mut self.entries.rule_changes);
        if !changes.is_empty() {
            // Now and then this takes long: not in the way of those who route.
            let rules = self.entries.rules.clone();
            let work = tokio::task::spawn_blocking(move || rules.changed(changes.into_iter()));
            self.entries.rules = work.await.map_err(BusError::request)?;
        }
        let entries = self.entries.clone();
        self.directory.publish(Snapshot {
            rules: entries.rules,
            channels: entries.channels,
            connections: entries.connections,
            scopes: entries.scopes,
            sources: entries.sources,
            library: entries.library,
            tokens: entries.tokens,
            unreadable: entries.unreadable,
            revision: entries.revision,
        });
        Ok(())
    }
}

impl Entries {
    fn put(&mut self, key: &Key, payload: &[u8], keys: Option<&KeyRing>) -> Result<(), String> {
        match key {
            Key::Channel(workspace, id) => {
                channels::put(self, (workspace.clone(), id.clone()), payload)?;
            }
            Key::Standing(workspace, id) => {
                channels::stand(self, (workspace.clone(), id.clone()), payload)?;
            }
            Key::Connection(workspace, id) => {
                connections::put(self, workspace, id, payload)?;
            }
            Key::Rule(workspace, id) => {
                let document: Document<RuleSpec> = read(payload)?;
                let rule = Rule::compile(&document.spec).map_err(|fault| fault.to_string())?;
                self.rule_changes.push((workspace.clone(), id.clone(), Some(Arc::new(rule))));
            }
            Key::Scope(workspace, id) => {
                let document: Document<ScopeSpec> = read(payload)?;
                let scope = Scope::compile(&document.spec).map_err(|fault| fault.to_string())?;
                self.scopes.put(workspace, id, Arc::new(scope));
            }
            Key::Source(workspace, _) => sources::put(&mut self.sources, workspace, payload, keys)?,
            Key::Recipient(..) | Key::Preferences(..) | Key::SealingKey(_) => {}
            Key::Token(hash) => {
                let token = read(payload)?;
                Arc::make_mut(&mut self.tokens).insert(hash.clone(), token);
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: &Key) {
        match key {
            Key::Channel(workspace, id) => {
                Arc::make_mut(&mut self.channels).withdraw(&(workspace.clone(), id.clone()));
            }
            Key::Standing(workspace, id) => {
                Arc::make_mut(&mut self.channels).stand((workspace.clone(), id.clone()), None);
            }
            Key::Connection(workspace, id) => connections::remove(self, workspace, id),
            Key::Rule(workspace, id) => self.rule_changes.push((workspace.clone(), id.clone(), None)),
            Key::Scope(workspace, id) => self.scopes.remove(workspace, id),
            Key::Source(workspace, id) => sources::remove(&mut self.sources, workspace, id),
            Key::Recipient(..) | Key::Preferences(..) | Key::SealingKey(_) => {}
            Key::Token(hash) => {
                Arc::make_mut(&mut self.tokens).remove(hash);
            }
        }
    }

    fn is_empty(&self) -> bool {
        let no_rules = self.rules.is_empty() && self.rule_changes.is_empty();
        let channels = self.channels.is_empty() && self.connections.is_empty();
        let routing = no_rules && channels && self.scopes.is_empty();
        routing && self.sources.is_empty() && self.tokens.is_empty()
    }

    /// The last good form of what cannot be read, where there is one.
    fn keep(&mut self, key: &Key, before: &Self) {
        match key {
            Key::Rule(workspace, id) => {
                if let Some(rule) = before.rules.get(workspace, id) {
                    self.rule_changes.push((workspace.clone(), id.clone(), Some(Arc::clone(rule))));
                }
            }
            Key::Channel(workspace, id) => channels::keep(self, before, (workspace.clone(), id.clone())),
            Key::Standing(workspace, id) => {
                channels::keep_standing(self, before, (workspace.clone(), id.clone()));
            }
            Key::Connection(workspace, id) => {
                connections::keep(self, before, workspace, id);
            }
            Key::Recipient(..) | Key::Preferences(..) | Key::SealingKey(_) => {}
            Key::Token(hash) => {
                if let Some(token) = before.tokens.get(hash) {
                    Arc::make_mut(&mut self.tokens).insert(hash.clone(), token.clone());
                }
            }
            Key::Scope(workspace, id) => {
                if let Some(scope) = before.scopes.get(workspace, id) {
                    self.scopes.put(workspace, id, scope);
                }
            }
            Key::Source(workspace, id) => sources::keep(&mut self.sources, &before.sources, workspace, id),
        }
    }
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<Document<T>, String> {
    let value: Value = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

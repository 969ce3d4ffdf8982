//! The documents as this process holds them: whole, in memory, following the bucket within moments.
//!
//! An entry that cannot be read leaves the last good one in force and raises an alarm. After every trouble with the
//! broker the whole bucket is read anew, so that a change made meanwhile, a deletion too, is seen.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::reader::{Entry, From, Reader};
use super::{Bus, BusError, topology};
use crate::channel::ChannelSpec;
use crate::clock;
use crate::documents::{Document, Key, TokenSpec};
use crate::health::Pulse;
use crate::metrics;
use crate::route::Channels;
use crate::route::ruleset::RuleSet;
use crate::rule::{Rule, RuleSpec};

const AFTER_TROUBLE: Duration = Duration::from_millis(500);
const BATCH_MAX: usize = 1_000;

/// The documents at one moment.
#[derive(Default)]
pub struct Snapshot {
    pub rules: RuleSet,
    pub channels: Channels,
    pub tokens: BTreeMap<String, Document<TokenSpec>>,
    /// The bucket's revision up to which this is true.
    pub revision: u64,
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
    pub async fn start(bus: Bus, stop: CancellationToken, pulse: Pulse) -> Result<Arc<Self>, BusError> {
        let directory =
            Arc::new(Self { current: RwLock::default(), changed: tokio::sync::watch::Sender::new(0) });
        let mut follower = Follower { bus, directory: Arc::clone(&directory), entries: Entries::default() };
        let reader = follower.load().await?;
        pulse.beat();
        crate::app::spawn("directory", async move { follower.follow(reader, &stop, &pulse).await });
        Ok(directory)
    }

    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the snapshot contains this revision of the bucket.
    pub async fn seen(&self, revision: u64, patience: Duration) -> bool {
        let mut changed = self.changed.subscribe();
        tokio::time::timeout(patience, changed.wait_for(|seen| *seen >= revision))
            .await
            .is_ok_and(|seen| seen.is_ok())
    }

    fn publish(&self, snapshot: Snapshot) {
        let revision = snapshot.revision;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
        self.changed.send_replace(revision);
    }
}

/// The parsed entries behind the snapshots.
#[derive(Default, Clone)]
struct Entries {
    rules: BTreeMap<Key, Arc<Rule>>,
    channels: BTreeMap<Key, ChannelSpec>,
    tokens: BTreeMap<String, Document<TokenSpec>>,
    revision: u64,
    rules_changed: bool,
}

struct Follower {
    bus: Bus,
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
                        self.apply(&read);
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
                    self.ensure_bucket().await;
                }
            }
        }
    }

    async fn ensure_bucket(&self) {
        if let Err(error) = topology::ensure_bucket(&self.bus).await {
            tracing::debug!(%error, "the bucket could not be looked up");
        }
    }

    /// Reads the whole bucket; what is no longer there is gone, what cannot be read keeps its last good form.
    async fn load(&mut self) -> Result<Reader, BusError> {
        let bucket = format!("KV_{}", self.bus.names.config_bucket());
        let filter = format!("$KV.{}.>", self.bus.names.config_bucket());
        let mut reader = Reader::open_stream(&self.bus, &bucket, filter, From::LastPerSubject).await?;
        let mut missing = reader.pending_at_start;
        let old = std::mem::take(&mut self.entries);
        let mut fresh = Entries { rules_changed: true, ..Entries::default() };
        while missing > 0 {
            let read = match reader.next(BATCH_MAX).await {
                Ok(read) => read,
                Err(error) => {
                    self.entries = old;
                    return Err(error);
                }
            };
            missing = missing.saturating_sub(read.len() as u64);
            for entry in &read {
                self.take(&mut fresh, &old, entry);
            }
        }
        self.entries = fresh;
        self.publish();
        Ok(reader)
    }

    fn apply(&mut self, read: &[Entry]) {
        if read.is_empty() {
            return;
        }
        let mut entries = std::mem::take(&mut self.entries);
        for entry in read {
            let before = Entries::default();
            self.take(&mut entries, &before, entry);
        }
        self.entries = entries;
        self.publish();
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
        let result = if removed {
            entries.remove(&key);
            Ok(())
        } else {
            entries.put(&key, &entry.payload)
        };
        if let Err(error) = result {
            metrics::document_unreadable();
            tracing::error!(%key, error, "a document cannot be read: its last good form stays in force");
            entries.keep(&key, before);
        }
    }

    fn publish(&mut self) {
        let old = self.directory.snapshot();
        let rules = if std::mem::take(&mut self.entries.rules_changed) {
            RuleSet::new(self.entries.rules.iter().filter_map(|(key, rule)| match key {
                Key::Rule(workspace, _) => Some((workspace.clone(), Arc::clone(rule))),
                Key::Channel(..) | Key::Token(_) => None,
            }))
        } else {
            old.rules.clone()
        };
        let channels = self.entries.channels.iter().filter_map(|(key, spec)| match key {
            Key::Channel(workspace, id) => Some(((workspace.clone(), id.clone()), spec.clone())),
            Key::Rule(..) | Key::Token(_) => None,
        });
        let (tokens, revision) = (self.entries.tokens.clone(), self.entries.revision);
        self.directory.publish(Snapshot { rules, channels: channels.collect(), tokens, revision });
    }
}

impl Entries {
    fn put(&mut self, key: &Key, payload: &[u8]) -> Result<(), String> {
        match key {
            Key::Channel(..) => {
                let document: Document<ChannelSpec> = read(payload)?;
                self.channels.insert(key.clone(), document.spec);
            }
            Key::Rule(..) => {
                let document: Document<RuleSpec> = read(payload)?;
                let rule = Rule::compile(&document.spec).map_err(|fault| fault.to_string())?;
                self.rules.insert(key.clone(), Arc::new(rule));
                self.rules_changed = true;
            }
            Key::Token(hash) => {
                self.tokens.insert(hash.clone(), read(payload)?);
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: &Key) {
        match key {
            Key::Channel(..) => {
                self.channels.remove(key);
            }
            Key::Rule(..) => self.rules_changed |= self.rules.remove(key).is_some(),
            Key::Token(hash) => {
                self.tokens.remove(hash);
            }
        }
    }

    fn keep(&mut self, key: &Key, before: &Self) {
        if let Some(rule) = before.rules.get(key) {
            self.rules.insert(key.clone(), Arc::clone(rule));
        }
        if let Some(channel) = before.channels.get(key) {
            self.channels.insert(key.clone(), channel.clone());
        }
    }
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<Document<T>, String> {
    let value: Value = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

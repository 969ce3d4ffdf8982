//! Recipients and their preferences, read on demand and remembered: what changes in their bucket is heard and takes the old
//! form's place.

mod memory;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::devices::Remembered;
use super::reader::{Entry, From, Reader};
use super::{Bus, BusError, topology};
use crate::clock;
use crate::delivery::Delivery;
use crate::documents::{Document, Key};
use crate::health::Pulse;
use crate::ids::{ChannelId, Recipient, WorkspaceId};
use crate::metrics;
use crate::preferences::{Facts, Judgement, Preferences, PreferencesSpec};
use crate::recipient::{Contacts, RecipientKind};
use crate::{shelf, task};
use memory::Memory;

const AFTER_TROUBLE: Duration = Duration::from_millis(500);
const BATCH_MAX: usize = 1_000;

/// All that sending asks of a recipient. What a newer process writes beside it does not matter.
#[derive(Debug, Default, Deserialize)]
pub struct Reached {
    #[serde(default)]
    pub contacts: Contacts,
    #[serde(default)]
    pub kind: RecipientKind,
    /// By whose clock their quiet hours go.
    #[serde(default, rename = "timeZone")]
    pub time_zone: Option<String>,
    /// None and empty mean the same.
    #[serde(default)]
    pub unsubscribed: Option<BTreeSet<ChannelId>>,
}

impl Reached {
    /// Whether they want to hear no more through this channel.
    #[must_use]
    pub fn has_left(&self, channel: &ChannelId) -> bool {
        self.unsubscribed.as_ref().is_some_and(|left| left.contains(channel))
    }
}

/// What somebody wants to hear of and when, with the clock on their wall.
#[derive(Debug, Clone)]
pub struct Wishes {
    preferences: Arc<Preferences>,
    zone: TimeZone,
}

impl Wishes {
    fn new(preferences: Arc<Preferences>, reached: Option<&Reached>) -> Self {
        let name = reached.and_then(|reached| reached.time_zone.as_deref());
        // One that this system does not know was known where it was written.
        let zone = name.and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC);
        Self { preferences, zone }
    }

    /// What they say of a delivery at this moment.
    #[must_use]
    pub fn judge(&self, delivery: &Delivery, now: Timestamp) -> Judgement {
        let facts = Facts::of(delivery);
        facts.map_or(Judgement::Pass, |facts| self.preferences.judge(&self.zone, &facts, now))
    }
}

/// The recipients that this process was asked for.
pub struct People {
    bus: Bus,
    known: Memory<Reached>,
    preferences: Memory<Preferences>,
    /// Their devices lie in the same bucket.
    pub devices: Remembered,
}

impl People {
    /// Hears of changes until `stop`.
    #[must_use]
    pub fn start(bus: Bus, stop: CancellationToken, pulse: Pulse) -> Arc<Self> {
        let people = Arc::new(Self {
            bus,
            known: Memory::default(),
            preferences: Memory::default(),
            devices: Remembered::default(),
        });
        let following = Arc::clone(&people);
        task::spawn("people", async move {
            tokio::select! {
                () = following.follow(&pulse) => {}
                () = stop.cancelled() => {}
            }
        });
        people
    }

    /// None: nobody has written anything about them.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn get(
        &self,
        workspace: &WorkspaceId,
        id: &Recipient,
    ) -> Result<Option<Arc<Reached>>, BusError> {
        let key = (workspace.clone(), id.clone());
        if let Some(found) = self.known.get(&key) {
            return Ok(found);
        }
        let (revision, found) = read(&self.bus, workspace, id).await?;
        let found = found.map(Arc::new);
        self.known.put(key, revision, found.clone());
        Ok(found)
    }

    /// None: they have no preferences.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn wishes(&self, workspace: &WorkspaceId, id: &Recipient) -> Result<Option<Wishes>, BusError> {
        let key = (workspace.clone(), id.clone());
        let found = if let Some(found) = self.preferences.get(&key) {
            found
        } else {
            let (revision, found) = read_preferences(&self.bus, workspace, id).await?;
            let found = found.map(Arc::new);
            self.preferences.put(key, revision, found.clone());
            found
        };
        let Some(preferences) = found else { return Ok(None) };
        let reached = if preferences.needs_zone() { self.get(workspace, id).await? } else { None };
        Ok(Some(Wishes::new(preferences, reached.as_deref())))
    }

    fn begin_anew(&self) {
        self.known.begin_anew();
        self.preferences.begin_anew();
        self.devices.begin_anew();
    }

    fn remember_nothing(&self) {
        self.known.remember_nothing();
        self.preferences.remember_nothing();
        self.devices.remember_nothing();
    }

    async fn follow(&self, pulse: &Pulse) {
        loop {
            let error = match self.hear_all(pulse).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            self.remember_nothing();
            pulse.trouble();
            tracing::warn!(%error, "changes of recipients are not followed at the moment");
            clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
        }
    }

    async fn hear_all(&self, pulse: &Pulse) -> Result<std::convert::Infallible, BusError> {
        topology::ensure_buckets(&self.bus).await?;
        let head = format!("$KV.{}.", self.bus.names.people_bucket());
        let stream = format!("KV_{}", self.bus.names.people_bucket());
        let mut reader = Reader::open_stream(&self.bus, &stream, format!("{head}>"), From::New).await?;
        self.begin_anew();
        loop {
            for entry in reader.next(BATCH_MAX).await? {
                self.hear(&head, &entry);
            }
            pulse.beat();
        }
    }

    fn hear(&self, head: &str, entry: &Entry) {
        if self.devices.hear(&self.bus, &entry.subject, entry.sequence) {
            return;
        }
        let removed = entry.headers.get("KV-Operation").is_some();
        let spec = || {
            let document: Option<Document<Value>> = serde_json::from_slice(&entry.payload).ok();
            document.map(|document| document.spec).unwrap_or_default()
        };
        match entry.subject.strip_prefix(head).and_then(Key::parse) {
            Some(Key::Recipient(workspace, id)) => {
                let found = (!removed).then(|| Arc::new(reached(spec())));
                self.known.put((workspace, id), entry.sequence, found);
            }
            Some(Key::Preferences(workspace, id)) => {
                let found = (!removed).then(|| Arc::new(preferences(spec())));
                self.preferences.put((workspace, id), entry.sequence, found);
            }
            Some(
                Key::Channel(..)
                | Key::Connection(..)
                | Key::Rule(..)
                | Key::Scope(..)
                | Key::Source(..)
                | Key::Token(_)
                | Key::SealingKey(_)
                | Key::Standing(..),
            )
            | None => {}
        }
    }
}

/// What is known of a recipient as it lies in the bucket, with their revision; 0 where nobody has written any.
///
/// # Errors
/// When the broker does not answer.
pub async fn read(
    bus: &Bus,
    workspace: &WorkspaceId,
    id: &Recipient,
) -> Result<(u64, Option<Reached>), BusError> {
    let held = shelf::get(bus, &Key::Recipient(workspace.clone(), id.clone())).await?;
    let revision = held.as_ref().map_or(0, |held| held.revision);
    Ok((revision, held.map(|held| reached(held.document.spec))))
}

/// What this version cannot read is nothing, aloud; the error's text would name contacts.
fn reached(spec: Value) -> Reached {
    let reached = serde_json::from_value::<Reached>(spec);
    if reached.is_err() {
        metrics::document_unreadable();
        tracing::error!("what is known of a recipient cannot be read");
    }
    reached.unwrap_or_default()
}

/// Somebody's preferences as they lie in the bucket, with their revision; 0 where nobody has written any.
async fn read_preferences(
    bus: &Bus,
    workspace: &WorkspaceId,
    id: &Recipient,
) -> Result<(u64, Option<Preferences>), BusError> {
    let held = shelf::get(bus, &Key::Preferences(workspace.clone(), id.clone())).await?;
    let revision = held.as_ref().map_or(0, |held| held.revision);
    Ok((revision, held.map(|held| preferences(held.document.spec))))
}

/// What somebody wants, asked of the broker: for whoever asks seldom.
///
/// # Errors
/// When the broker does not answer.
pub async fn read_wishes(
    bus: &Bus,
    workspace: &WorkspaceId,
    id: &Recipient,
) -> Result<Option<Wishes>, BusError> {
    let (_, Some(preferences)) = read_preferences(bus, workspace, id).await? else { return Ok(None) };
    let reached = if preferences.needs_zone() { read(bus, workspace, id).await?.1 } else { None };
    Ok(Some(Wishes::new(Arc::new(preferences), reached.as_ref())))
}

/// What this version cannot read says nothing, aloud.
fn preferences(spec: Value) -> Preferences {
    match serde_json::from_value::<PreferencesSpec>(spec) {
        Ok(spec) => Preferences::of(&spec),
        Err(error) => {
            metrics::document_unreadable();
            tracing::error!(%error, "the preferences of a recipient cannot be read");
            Preferences::default()
        }
    }
}

//! Recipients, read on demand and remembered: what changes in their bucket is heard and takes the old form's place.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::devices::Remembered;
use super::reader::{Entry, From, Reader};
use super::{Bus, BusError, topology};
use crate::clock;
use crate::documents::{Document, Key};
use crate::health::Pulse;
use crate::ids::{ChannelId, Recipient, WorkspaceId};
use crate::metrics;
use crate::recipient::{Contacts, RecipientKind};
use crate::{shelf, task};

const AFTER_TROUBLE: Duration = Duration::from_millis(500);
const BATCH_MAX: usize = 1_000;
/// Beyond it all is forgotten, and read again as it is asked for.
const REMEMBERED_MAX: usize = 50_000;

/// A copy of the bucket may lag when it is read, and a change may be heard before that: nothing is believed for longer.
const BELIEVED_FOR: Duration = Duration::from_secs(60);

type Found = Option<Arc<Reached>>;
type Known = HashMap<(WorkspaceId, Recipient), Read>;

struct Read {
    revision: u64,
    at: Instant,
    found: Found,
}

/// All that sending asks of a recipient. What a newer process writes beside it does not matter.
#[derive(Debug, Default, Deserialize)]
pub struct Reached {
    #[serde(default)]
    pub contacts: Contacts,
    #[serde(default)]
    pub kind: RecipientKind,
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

/// The recipients that this process was asked for.
pub struct People {
    bus: Bus,
    /// None: changes are not heard at the moment, and nothing is remembered.
    known: RwLock<Option<Known>>,
    /// Their devices lie in the same bucket.
    pub devices: Remembered,
}

impl People {
    /// Hears of changes until `stop`.
    #[must_use]
    pub fn start(bus: Bus, stop: CancellationToken, pulse: Pulse) -> Arc<Self> {
        let people = Arc::new(Self { bus, known: RwLock::default(), devices: Remembered::default() });
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
    pub async fn get(&self, workspace: &WorkspaceId, id: &Recipient) -> Result<Found, BusError> {
        let key = (workspace.clone(), id.clone());
        if let Some(found) = self.remembered(&key) {
            return Ok(found);
        }
        let (revision, found) = read(&self.bus, workspace, id).await?;
        let found = found.map(Arc::new);
        self.remember(key, revision, found.clone());
        Ok(found)
    }

    fn remembered(&self, key: &(WorkspaceId, Recipient)) -> Option<Found> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known
            .as_ref()?
            .get(key)
            .filter(|read| read.at.elapsed() < BELIEVED_FOR)
            .map(|read| read.found.clone())
    }

    /// What was heard of a later revision stays.
    fn remember(&self, key: (WorkspaceId, Recipient), revision: u64, found: Found) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = known.as_mut() else { return };
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        match known.get(&key) {
            Some(newer) if newer.revision > revision && newer.at.elapsed() < BELIEVED_FOR => {}
            Some(_) | None => drop(known.insert(key, Read { revision, at: Instant::now(), found })),
        }
    }

    fn begin_anew(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(HashMap::new());
        self.devices.begin_anew();
    }

    fn remember_nothing(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = None;
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
        let Some(Key::Recipient(workspace, id)) = entry.subject.strip_prefix(head).and_then(Key::parse)
        else {
            return;
        };
        let removed = entry.headers.get("KV-Operation").is_some();
        let spec = || {
            let document: Option<Document<Value>> = serde_json::from_slice(&entry.payload).ok();
            document.map(|document| document.spec).unwrap_or_default()
        };
        let found = (!removed).then(|| Arc::new(reached(spec())));
        self.remember((workspace, id), entry.sequence, found);
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

//! Recipients, read on demand and remembered: what changes in their bucket is heard and takes the old form's place.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::reader::{Entry, From, Reader};
use super::{Bus, BusError, topology};
use crate::clock;
use crate::documents::{Document, Key};
use crate::health::Pulse;
use crate::ids::{Recipient, WorkspaceId};
use crate::recipient::RecipientSpec;
use crate::{shelf, task};

const AFTER_TROUBLE: Duration = Duration::from_millis(500);
const BATCH_MAX: usize = 1_000;
/// Beyond it all is forgotten, and read again as it is asked for.
const REMEMBERED_MAX: usize = 50_000;

type Found = Option<Arc<RecipientSpec>>;
/// With the revision that each was read at.
type Known = HashMap<(WorkspaceId, Recipient), (u64, Found)>;

/// The recipients that this process was asked for.
pub struct People {
    bus: Bus,
    /// None: changes are not heard at the moment, and nothing is remembered.
    known: RwLock<Option<Known>>,
}

impl People {
    /// Hears of changes until `stop`.
    #[must_use]
    pub fn start(bus: Bus, stop: CancellationToken, pulse: Pulse) -> Arc<Self> {
        let people = Arc::new(Self { bus, known: RwLock::default() });
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
    /// When the broker does not answer, or what it holds cannot be read.
    pub async fn get(&self, workspace: &WorkspaceId, id: &Recipient) -> Result<Found, BusError> {
        let key = (workspace.clone(), id.clone());
        if let Some(found) = self.remembered(&key) {
            return Ok(found);
        }
        let held = shelf::get(&self.bus, &Key::Recipient(key.0.clone(), key.1.clone())).await?;
        let revision = held.as_ref().map_or(0, |held| held.revision);
        let spec = held.map(|held| serde_json::from_value(held.document.spec)).transpose()?;
        let found = spec.map(Arc::new);
        self.remember(key, revision, found.clone());
        Ok(found)
    }

    fn remembered(&self, key: &(WorkspaceId, Recipient)) -> Option<Found> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.as_ref()?.get(key).map(|(_, found)| found.clone())
    }

    /// A copy of the bucket may lag: what was heard of a later revision stays.
    fn remember(&self, key: (WorkspaceId, Recipient), revision: u64, found: Found) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = known.as_mut() else { return };
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        match known.get(&key) {
            Some((newer, _)) if *newer > revision => {}
            Some(_) | None => drop(known.insert(key, (revision, found))),
        }
    }

    fn begin_anew(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(HashMap::new());
    }

    fn remember_nothing(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = None;
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
        let Some(Key::Recipient(workspace, id)) = entry.subject.strip_prefix(head).and_then(Key::parse)
        else {
            return;
        };
        let removed = entry.headers.get("KV-Operation").is_some();
        let document = (!removed).then(|| serde_json::from_slice::<Document<RecipientSpec>>(&entry.payload));
        match document.transpose() {
            Ok(document) => {
                self.remember(
                    (workspace, id),
                    entry.sequence,
                    document.map(|document| Arc::new(document.spec)),
                );
            }
            // Whoever asks for it hears why.
            Err(error) => {
                tracing::error!(%error, "a recipient cannot be read");
                self.begin_anew();
            }
        }
    }
}

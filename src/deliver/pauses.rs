//! Channels that a provider asked to pause, known to the whole fleet: one message a channel, gone when it is over.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::bus::reader::{Entry, From, Reader};
use crate::bus::{Bus, BusError, StreamName, claim, topology};
use crate::clock;
use crate::config::Keep;
use crate::health::Pulse;
use crate::ids::{ChannelId, WorkspaceId};
use crate::task;

const AFTER_TROUBLE: Duration = Duration::from_millis(500);
/// In the place of a workspace, for limits.
const NOBODY: &str = "_";
const BATCH_MAX: usize = 1_000;
/// The broker counts in whole seconds.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(2);
/// More than this are looked through for those that are over.
const KNOWN_MAX: usize = 1_000;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pause {
    until_ms: i64,
}

/// The pauses in force, as far as this process has heard.
pub struct Pauses {
    bus: Bus,
    known: RwLock<HashMap<(WorkspaceId, ChannelId), Timestamp>>,
}

impl Pauses {
    /// Follows the fleet's pauses until `stop`.
    #[must_use]
    pub fn start(bus: Bus, keep: Keep, stop: CancellationToken, pulse: Pulse) -> Arc<Self> {
        let pauses = Arc::new(Self { bus, known: RwLock::default() });
        let following = Arc::clone(&pauses);
        task::spawn("pauses", async move {
            tokio::select! {
                () = following.follow(&keep, &pulse) => {}
                () = stop.cancelled() => {}
            }
        });
        pauses
    }

    /// Until when the channel pauses, if it does.
    #[must_use]
    pub fn until(&self, workspace: &WorkspaceId, channel: &ChannelId, now: Timestamp) -> Option<Timestamp> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&(workspace.clone(), channel.clone())).copied().filter(|until| *until > now)
    }

    /// Tells the fleet. A pause that is in force already and lasts longer stays.
    ///
    /// # Errors
    /// When the broker did not store it; telling it again is safe.
    pub async fn pause(
        &self,
        workspace: &WorkspaceId,
        channel: &ChannelId,
        until: Timestamp,
    ) -> Result<(), BusError> {
        let now = clock::now();
        if self.until(workspace, channel, now).is_some_and(|known| known >= until) {
            return Ok(());
        }
        let stored = self.store(workspace, channel, until).await?;
        self.learn((workspace.clone(), channel.clone()), stored);
        tracing::info!(%workspace, %channel, until = %stored, "channel paused for the fleet");
        Ok(())
    }

    /// In the place of a shorter one. Until when it pauses then, for this or for another answer.
    async fn store(
        &self,
        workspace: &WorkspaceId,
        channel: &ChannelId,
        until: Timestamp,
    ) -> Result<Timestamp, BusError> {
        let (subject, pause) =
            (self.bus.names.pause(workspace, channel), Pause { until_ms: until.as_millisecond() });
        let wait = Duration::try_from(until.duration_since(clock::now())).unwrap_or_default();
        for _ in 0..claim::LOOKS_MAX {
            let found = claim::last_in::<Pause>(&self.bus, StreamName::Pace, &subject).await?;
            let longer = found.filter(|(found, _)| found.until_ms >= pause.until_ms);
            if let Some(longer) =
                longer.and_then(|(found, _)| Timestamp::from_millisecond(found.until_ms).ok())
            {
                return Ok(longer);
            }
            let expected = found.map_or(0, |(_, sequence)| sequence);
            match claim::put(&self.bus, &subject, &pause, Some(wait + FORGOTTEN_AFTER), expected).await {
                Ok(_) => return Ok(until),
                Err(BusError::Conflict) => claim::again().await,
                Err(error) => return Err(error),
            }
        }
        Err(claim::contended())
    }

    /// Until when a limit pauses that several channels may share.
    #[must_use]
    pub fn limit_until(&self, limit: &str, now: Timestamp) -> Option<Timestamp> {
        if self.known.read().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return None;
        }
        let (workspace, channel) = limit_key(limit)?;
        self.until(&workspace, &channel, now)
    }

    /// The same as [`Pauses::pause`] for all channels that share a limit.
    ///
    /// # Errors
    /// When the broker did not store it; telling it again is safe.
    pub async fn pause_limit(&self, limit: &str, until: Timestamp) -> Result<(), BusError> {
        match limit_key(limit) {
            Some((workspace, channel)) => self.pause(&workspace, &channel, until).await,
            None => Ok(()),
        }
    }

    fn learn(&self, key: (WorkspaceId, ChannelId), until: Timestamp) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, until| *until > now);
        }
        let longest = known.entry(key).or_insert(until);
        *longest = until.max(*longest);
    }

    async fn follow(&self, keep: &Keep, pulse: &Pulse) {
        let mut reader = None;
        loop {
            let step = async {
                let mut open = match reader.take() {
                    Some(open) => open,
                    None => self.open(keep).await?,
                };
                for entry in open.next(BATCH_MAX).await? {
                    self.hear(&entry);
                }
                Ok::<Reader, BusError>(open)
            };
            match step.await {
                Ok(open) => {
                    pulse.beat();
                    reader = Some(open);
                }
                Err(error) => {
                    pulse.trouble();
                    tracing::warn!(%error, "the fleet's pauses are not followed at the moment");
                    clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
                }
            }
        }
    }

    async fn open(&self, keep: &Keep) -> Result<Reader, BusError> {
        topology::ensure_stream(&self.bus, StreamName::Pace, keep).await?;
        let filter = self.bus.names.pause_filter();
        Reader::open(&self.bus, StreamName::Pace, filter, From::LastPerSubject).await
    }

    fn hear(&self, entry: &Entry) {
        let until = serde_json::from_slice::<Pause>(&entry.payload).ok();
        let until = until.and_then(|pause| Timestamp::from_millisecond(pause.until_ms).ok());
        if let (Some(key), Some(until)) = (self.bus.names.paused_channel(&entry.subject), until) {
            self.learn(key, until);
        } else {
            tracing::warn!(subject = entry.subject, "a pause that cannot be read");
        }
    }
}

/// Under a workspace that is nobody's: a limit is a digest, which could be a channel's id.
fn limit_key(limit: &str) -> Option<(WorkspaceId, ChannelId)> {
    Some((WorkspaceId::parse(NOBODY).ok()?, ChannelId::parse(limit).ok()?))
}

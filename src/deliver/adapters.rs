//! The channels as this worker has built them: made at their first use, made anew when their document changes, or that of
//! their connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::RETRY_SCHEDULE;
use super::gone::There;
use super::pace::Place;
use crate::bus::directory::Directory;
use crate::channel::secret::expand_value;
use crate::channel::standing::digest_of;
use crate::channel::{Channel, ChannelSpec, TIMEOUT, Try, Workshop};
use crate::config;
use crate::connection::{self, ConnectionSpec};
use crate::ids::{ChannelId, WorkspaceId};
use crate::rule::fault::Fault;
use crate::secrets::{KeyRing, open_config};

/// A channel ready to send, or why it is not.
pub struct Built {
    pub spec: Arc<ChannelSpec>,
    pub connection: Option<Arc<ConnectionSpec>>,
    pub adapter: Result<Box<dyn Channel>, Fault>,
    pub schedule: Vec<Duration>,
    pub timeout: Duration,
    /// The document's own limit, which takes the place of the kind's.
    rate: Option<Place>,
}

impl Built {
    /// What is found out by its tries is about this.
    #[must_use]
    pub fn address(&self) -> String {
        digest_of(&self.spec, self.connection.as_deref())
    }

    /// What a try counts against: nothing, for most channels.
    #[must_use]
    pub fn limits(&self, attempt: &Try<'_>) -> Vec<Place> {
        match (&self.rate, &self.adapter) {
            (Some(own), _) => vec![own.clone()],
            (None, Ok(adapter)) => {
                adapter.limits(attempt).iter().map(|limit| Place::of(self.spec.kind, limit)).collect()
            }
            // Nothing will be sent.
            (None, Err(_)) => Vec::new(),
        }
    }
}

pub struct Adapters {
    workshop: Workshop,
    keys: KeyRing,
    directory: Arc<Directory>,
    built: Mutex<HashMap<(WorkspaceId, ChannelId), Arc<Built>>>,
}

impl Adapters {
    #[must_use]
    pub fn new(workshop: Workshop, keys: KeyRing, directory: Arc<Directory>) -> Self {
        Self { workshop, keys, directory, built: Mutex::default() }
    }

    /// The adapter of a channel's document as it is now. One that cannot be built is not tried again before its document
    /// changes: a process's environment does not.
    #[must_use]
    pub fn get(&self, workspace: &WorkspaceId, spec: &Arc<ChannelSpec>) -> Arc<Built> {
        let key = (workspace.clone(), spec.id.clone());
        let connection = self.directory.snapshot().connection_of(workspace, spec).cloned();
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        // The same document nearly always; one that was read anew may still say the same.
        let same = |found: &&Arc<Built>| {
            (Arc::ptr_eq(&found.spec, spec) || found.spec == *spec) && found.connection == connection
        };
        if let Some(found) = built.get(&key).filter(same) {
            return Arc::clone(found);
        }
        let fresh = Arc::new(self.build(workspace, spec, connection));
        built.insert(key, Arc::clone(&fresh));
        fresh
    }

    /// Lets go of those whose channel is gone, with their secrets and their connections.
    pub fn forget_gone(&self, there: &There<'_>) {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        built.retain(|channel, _| there.has(channel));
    }

    fn build(
        &self,
        workspace: &WorkspaceId,
        spec: &Arc<ChannelSpec>,
        connection: Option<Arc<ConnectionSpec>>,
    ) -> Built {
        let timeout = spec.timeout_ms.map_or(TIMEOUT, Duration::from_millis);
        let workshop = Workshop { http: self.workshop.http.with_timeout(timeout), ..self.workshop.clone() };
        let adapter = self.config(workspace, spec, connection.as_deref());
        let adapter = adapter
            .and_then(|config| spec.kind.build(&config, &workshop).map_err(|fault| fault.below("/config")));
        if let Err(fault) = &adapter {
            tracing::error!(%workspace, channel = %spec.id, %fault, "the channel cannot be used until its configuration is mended");
        }
        let schedule = match &spec.retry {
            Some(retry) => retry.schedule_ms.iter().copied().map(Duration::from_millis).collect(),
            None => RETRY_SCHEDULE.to_vec(),
        };
        Built {
            spec: Arc::clone(spec),
            connection,
            adapter,
            schedule,
            timeout,
            rate: Place::own(workspace, spec),
        }
    }

    /// The settings of a channel for something else than a try, and what to ask its provider with.
    ///
    /// # Errors
    /// The place that cannot be used.
    pub fn settings(&self, workspace: &WorkspaceId, spec: &ChannelSpec) -> Result<(Value, Workshop), Fault> {
        let connection = self.directory.snapshot().connection_of(workspace, spec).cloned();
        Ok((self.config(workspace, spec, connection.as_deref())?, self.workshop.clone()))
    }

    /// The same of a connection.
    ///
    /// # Errors
    /// As [`Adapters::settings`].
    pub fn settings_of(
        &self,
        workspace: &WorkspaceId,
        spec: &ConnectionSpec,
    ) -> Result<(Value, Workshop), Fault> {
        let opened = open_config(spec.kind, &spec.config, &self.keys, workspace);
        let expanded = opened.and_then(|config| expand_value(&config, &config::environment));
        Ok((expanded.map_err(|fault| fault.below("/config"))?, self.workshop.clone()))
    }

    /// The settings of a channel together with those of its connection, opened and with their variables replaced.
    fn config(
        &self,
        workspace: &WorkspaceId,
        spec: &ChannelSpec,
        connection: Option<&ConnectionSpec>,
    ) -> Result<Value, Fault> {
        let config = match (&spec.connection, connection) {
            (None, _) => spec.config.clone(),
            (Some(_), Some(connection)) => connection::merged(connection, spec)?,
            (Some(id), None) => {
                return Err(Fault::new("/connection", format!("there is no connection {id}")));
            }
        };
        let opened = open_config(spec.kind, &config, &self.keys, workspace);
        let expanded = opened.and_then(|config| expand_value(&config, &config::environment));
        expanded.map_err(|fault| fault.below("/config"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::directory::Snapshot;
    use crate::channel::http::{HttpClient, HttpPolicy};
    use crate::route::channels::Channels;

    #[test]
    fn an_adapter_is_kept_for_as_long_as_its_channel_is_there() {
        let workshop = Workshop { http: HttpClient::new(HttpPolicy::default()).unwrap(), bus: None };
        let directory = Directory::holding(Snapshot::default());
        let adapters = Adapters::new(workshop, KeyRing::default(), directory);
        let (workspace, mut channels) = (WorkspaceId::default(), Channels::new());
        let spec = serde_json::json!({"id": "c", "kind": "console"});
        let spec: Arc<ChannelSpec> = Arc::new(serde_json::from_value(spec).unwrap());
        channels.put((workspace.clone(), spec.id.clone()), Arc::clone(&spec), "api");
        let built = Arc::downgrade(&adapters.get(&workspace, &spec));
        adapters.forget_gone(&There::of(&channels));
        assert!(built.upgrade().is_some());
        adapters.forget_gone(&There::of(&Channels::new()));
        assert!(built.upgrade().is_none());
    }
}

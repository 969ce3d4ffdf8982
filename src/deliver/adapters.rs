//! The channels as this worker has built them: made at their first use, made anew when their document changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::RETRY_SCHEDULE;
use crate::channel::secret::expand_value;
use crate::channel::{Channel, ChannelSpec, TIMEOUT, Workshop};
use crate::config;
use crate::ids::{ChannelId, WorkspaceId};
use crate::rule::fault::Fault;

/// A channel ready to send, or why it is not.
pub struct Built {
    spec: Arc<ChannelSpec>,
    pub adapter: Result<Box<dyn Channel>, Fault>,
    pub schedule: Vec<Duration>,
    pub timeout: Duration,
}

pub struct Adapters {
    workshop: Workshop,
    built: Mutex<HashMap<(WorkspaceId, ChannelId), Arc<Built>>>,
}

impl Adapters {
    #[must_use]
    pub fn new(workshop: Workshop) -> Self {
        Self { workshop, built: Mutex::default() }
    }

    /// The adapter of a channel's document as it is now. One that cannot be built is not tried again before its document
    /// changes: a process's environment does not.
    #[must_use]
    pub fn get(&self, workspace: &WorkspaceId, spec: &Arc<ChannelSpec>) -> Arc<Built> {
        let key = (workspace.clone(), spec.id.clone());
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        // The same document nearly always; one that was read anew may still say the same.
        let same = |found: &&Arc<Built>| Arc::ptr_eq(&found.spec, spec) || found.spec == *spec;
        if let Some(found) = built.get(&key).filter(same) {
            return Arc::clone(found);
        }
        let fresh = Arc::new(self.build(workspace, spec));
        built.insert(key, Arc::clone(&fresh));
        fresh
    }

    fn build(&self, workspace: &WorkspaceId, spec: &Arc<ChannelSpec>) -> Built {
        let expanded = expand_value(&spec.config, &config::environment);
        let timeout = spec.timeout_ms.map_or(TIMEOUT, Duration::from_millis);
        let workshop = Workshop { http: self.workshop.http.with_timeout(timeout), ..self.workshop.clone() };
        let adapter = expanded.and_then(|config| spec.kind.build(&config, &workshop));
        let adapter = adapter.map_err(|fault| fault.below("/config"));
        if let Err(fault) = &adapter {
            tracing::error!(%workspace, channel = %spec.id, %fault, "the channel cannot be used until its configuration is mended");
        }
        let schedule = match &spec.retry {
            Some(retry) => retry.schedule_ms.iter().copied().map(Duration::from_millis).collect(),
            None => RETRY_SCHEDULE.to_vec(),
        };
        Built { spec: Arc::clone(spec), adapter, schedule, timeout }
    }
}

//! Channels that are gone leave nothing behind in a worker: no opened secrets, no idle connections, no counts.
//!
//! Whoever still has a delivery of one in hand, or hears of a channel before the directory does, makes what it needs anew.

use std::collections::HashSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::handler::{Tools, Worker};
use crate::bus::directory::Directory;
use crate::ids::WorkspaceId;
use crate::route::channels::{Channels, Id};

/// The channels that are there, and their workspaces.
pub struct There<'a> {
    channels: &'a Channels,
    workspaces: HashSet<&'a WorkspaceId>,
}

impl<'a> There<'a> {
    #[must_use]
    pub fn of(channels: &'a Channels) -> Self {
        Self { channels, workspaces: channels.keys().map(|(workspace, _)| workspace).collect() }
    }

    #[must_use]
    pub fn has(&self, channel: &Id) -> bool {
        self.channels.contains_key(channel)
    }

    #[must_use]
    pub fn has_workspace(&self, workspace: &WorkspaceId) -> bool {
        self.workspaces.contains(workspace)
    }
}

/// Forgets channels as they go, until `stop`.
pub async fn follow(
    directory: Arc<Directory>,
    tools: Arc<Tools>,
    workers: Vec<Arc<Worker>>,
    stop: CancellationToken,
) {
    let mut changes = directory.changes();
    let mut known: Option<Arc<Channels>> = None;
    loop {
        let channels = Arc::clone(&directory.snapshot().channels);
        // Most changes are of other documents.
        if known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &channels)) {
            let there = There::of(&channels);
            tools.adapters.forget_gone(&there);
            tools.circuits.forget_gone(&there);
            tools.failing.forget_gone(&there);
            workers.iter().for_each(|worker| worker.shares.forget_gone(&there));
            known = Some(channels);
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

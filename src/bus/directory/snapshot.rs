//! The documents at one moment, and what routing asks of all of them together.
//!
//! Scopes and the library are changed in place: they may be newer than the rest.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::Connections;
use crate::bus::BusError;
use crate::bus::library::Library;
use crate::channel::ChannelSpec;
use crate::channel::standing::digest_of;
use crate::connection::ConnectionSpec;
use crate::delivery::Delivery;
use crate::documents::{Document, TokenSpec};
use crate::event::Event;
use crate::ids::{ChannelId, WorkspaceId};
use crate::route::carried::{Carried, Carriers};
use crate::route::ruleset::RuleSet;
use crate::route::scopes::{EventScopes, ScopeBook};
use crate::route::{Channels, Firing, Step};
use crate::source::book::SourceBook;

/// The documents at one moment.
#[derive(Default)]
pub struct Snapshot {
    pub rules: RuleSet,
    pub channels: Arc<Channels>,
    pub connections: Arc<Connections>,
    /// Changed in place: always the newest.
    pub scopes: Arc<ScopeBook>,
    pub sources: Arc<SourceBook>,
    /// Changed in place too; empty unless it was asked for.
    pub library: Arc<Library>,
    pub tokens: Arc<BTreeMap<String, Document<TokenSpec>>>,
    /// Channels that are there and that this process cannot read: a newer one wrote them.
    pub(super) unreadable: Arc<HashSet<(WorkspaceId, ChannelId)>>,
    /// The bucket's revision up to which this is true.
    pub revision: u64,
}

impl Snapshot {
    /// The connection that a channel names.
    #[must_use]
    pub fn connection_of(&self, workspace: &WorkspaceId, spec: &ChannelSpec) -> Option<&Arc<ConnectionSpec>> {
        self.connections.get(&(workspace.clone(), spec.connection.clone()?))
    }

    /// What is known of how a channel stands is about this.
    #[must_use]
    pub fn address_of(&self, workspace: &WorkspaceId, spec: &ChannelSpec) -> String {
        digest_of(spec, self.connection_of(workspace, spec).map(Arc::as_ref))
    }

    /// An event must not be given up for a channel that a newer process knows and this one cannot read.
    ///
    /// # Errors
    /// When a step is given up for such a channel: the event waits for a process that can read it.
    pub fn can_read(&self, firings: &[Firing]) -> Result<(), BusError> {
        if self.unreadable.is_empty() {
            return Ok(());
        }
        for delivery in firings.iter().flat_map(|firing| &firing.steps).map(Step::delivery) {
            if self.is_unreadable(delivery) {
                let Delivery { workspace, channel, .. } = delivery;
                return Err(BusError::Unreadable(format!("channels.{workspace}.{channel}")));
            }
        }
        Ok(())
    }

    /// True when its channel is there and this process has no form of it that it can read.
    #[must_use]
    pub fn is_unreadable(&self, delivery: &Delivery) -> bool {
        self.unreadable.contains(&(delivery.workspace.clone(), delivery.channel.clone()))
    }

    /// As [`Carriers::scopes`].
    #[must_use]
    pub fn scopes_of(
        &self,
        event: &Event,
        through: Option<&str>,
        carriers: &Carriers,
    ) -> (EventScopes, Option<Arc<Carried>>) {
        carriers.scopes((&self.scopes, &self.sources), event, through)
    }
}

//! The documents at one moment, and what routing asks of all of them together.
//!
//! Scopes and the library are changed in place: they may be newer than the rest.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::bus::BusError;
use crate::bus::library::Library;
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
    /// An event must not be given up for a channel that a newer process knows and this one cannot read.
    ///
    /// # Errors
    /// When a step is given up for such a channel: the event waits for a process that can read it.
    pub fn can_read(&self, firings: &[Firing]) -> Result<(), BusError> {
        if self.unreadable.is_empty() {
            return Ok(());
        }
        for delivery in firings.iter().flat_map(|firing| &firing.steps).map(Step::delivery) {
            let Delivery { workspace, channel, .. } = delivery;
            if self.unreadable.contains(&(workspace.clone(), channel.clone())) {
                return Err(BusError::Request(format!(
                    "the document of channel {channel} in {workspace} cannot be read by this version"
                )));
            }
        }
        Ok(())
    }

    /// The scopes that an event falls into, the nearest first: the rules that it brings, where the source that it came
    /// `through` (or else names) lets it, before those of its task and mission.
    #[must_use]
    pub fn scopes_of(
        &self,
        event: &Event,
        through: Option<&str>,
        carriers: &Carriers,
    ) -> (EventScopes, Option<Arc<Carried>>) {
        let mut scopes = self.scopes.of(event);
        let lets_carry = self.sources.lets_carry(event, through);
        let carried = if lets_carry { carriers.of(event) } else { None };
        if let Some(scope) = carried.as_ref().and_then(|carried| carried.scope.clone()) {
            scopes.0.insert(0, scope);
        }
        (scopes, carried)
    }
}

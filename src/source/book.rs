//! All sources as a process holds them, and which of them lets an event bring rules of its own.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::Source;
use crate::event::Event;
use crate::ids::{SourceId, WorkspaceId};

pub type SourceKey = (WorkspaceId, SourceId);

/// Copied for each change: sources are few and change seldom.
#[derive(Debug, Default, Clone)]
pub struct SourceBook {
    sources: BTreeMap<SourceKey, Arc<Source>>,
    /// Those that were removed, as far as the bucket remembers: their consumers may still be there.
    removed: BTreeSet<SourceKey>,
    /// The CloudEvents sources whose events may bring rules.
    carriers: HashSet<(WorkspaceId, String)>,
}

impl SourceBook {
    pub fn put(&mut self, source: Arc<Source>) {
        let key = (source.workspace.clone(), source.spec.id.clone());
        self.removed.remove(&key);
        self.sources.insert(key, source);
        self.find_carriers();
    }

    pub fn remove(&mut self, key: &SourceKey) {
        self.sources.remove(key);
        self.removed.insert(key.clone());
        self.find_carriers();
    }

    fn find_carriers(&mut self) {
        let carrying =
            self.sources.values().filter(|source| source.spec.enabled && source.spec.carries_rules);
        self.carriers = carrying
            .filter_map(|source| {
                Some((source.workspace.clone(), source.spec.events.as_ref()?.source.clone()))
            })
            .collect();
    }

    #[must_use]
    pub fn get(&self, key: &SourceKey) -> Option<&Arc<Source>> {
        self.sources.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&SourceKey, &Arc<Source>)> {
        self.sources.iter()
    }

    pub fn removed(&self) -> impl Iterator<Item = &SourceKey> {
        self.removed.iter()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// True when the event may bring rules: by the source that it came through, else by the one that it names.
    #[must_use]
    pub fn lets_carry(&self, event: &Event, through: Option<&str>) -> bool {
        let Some(through) = through else {
            return !self.carriers.is_empty()
                && self.carriers.contains(&(event.workspace.clone(), event.source.clone()));
        };
        let parsed = through.split_once('/').and_then(|(workspace, id)| {
            Some((WorkspaceId::parse(workspace).ok()?, SourceId::parse(id).ok()?))
        });
        let source = parsed.and_then(|key| self.sources.get(&key));
        source.is_some_and(|source| {
            let reaches =
                source.workspace == event.workspace || source.spec.workspaces.contains(&event.workspace);
            reaches && source.spec.enabled && source.spec.carries_rules
        })
    }
}

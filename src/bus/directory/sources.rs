//! What the directory does with sources: taken in, kept in their last good form, asked for the rules that events bring.

use std::sync::Arc;

use super::{Holdings, Snapshot, read};
use crate::config;
use crate::documents::Document;
use crate::event::Event;
use crate::ids::{SourceId, WorkspaceId};
use crate::route::carried::{Carried, Carriers};
use crate::route::scopes::EventScopes;
use crate::source::book::SourceBook;
use crate::source::{Source, SourceSpec};

impl Snapshot {
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

pub(super) fn put(
    book: &mut Arc<SourceBook>,
    workspace: &WorkspaceId,
    payload: &[u8],
    holdings: Holdings,
) -> Result<(), String> {
    let document: Document<SourceSpec> = read(payload)?;
    let mut source = Source::compile(workspace, &document.spec).map_err(|fault| fault.to_string())?;
    // Webhooks are taken by the API alone.
    if holdings == Holdings::WordForWord {
        source = source.with_keys(&config::environment);
    }
    if let Some(Err(fault)) = &source.keys {
        tracing::error!(source = source.name(), %fault, "the secret of a source cannot be read: it takes nothing here");
    }
    Arc::make_mut(book).put(Arc::new(source));
    Ok(())
}

pub(super) fn remove(book: &mut Arc<SourceBook>, workspace: &WorkspaceId, id: &SourceId) {
    Arc::make_mut(book).remove(&(workspace.clone(), id.clone()));
}

/// One that cannot be read stays in its last good form.
pub(super) fn keep(book: &mut Arc<SourceBook>, before: &SourceBook, workspace: &WorkspaceId, id: &SourceId) {
    if let Some(source) = before.get(&(workspace.clone(), id.clone())) {
        Arc::make_mut(book).put(Arc::clone(source));
    }
}

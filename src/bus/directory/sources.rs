//! What the directory does with sources: taken in, removed, kept in their last good form.

use std::sync::Arc;

use super::read;
use crate::config;
use crate::documents::Document;
use crate::ids::{SourceId, WorkspaceId};
use crate::secrets::KeyRing;
use crate::source::book::SourceBook;
use crate::source::{Source, SourceSpec};

pub(super) fn put(
    book: &mut Arc<SourceBook>,
    workspace: &WorkspaceId,
    payload: &[u8],
    keys: Option<&KeyRing>,
) -> Result<(), String> {
    let document: Document<SourceSpec> = read(payload)?;
    let mut source = Source::compile(workspace, &document.spec).map_err(|fault| fault.to_string())?;
    // Webhooks are taken by the API alone.
    if let Some(keys) = keys {
        source = source.with_keys(&config::environment, keys);
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

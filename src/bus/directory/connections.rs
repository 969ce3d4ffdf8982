//! What the directory does with connections: taken in, removed, kept in their last good form.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Entries, read};
use crate::connection::ConnectionSpec;
use crate::documents::Document;
use crate::ids::{ConnectionId, WorkspaceId};

/// The connections of all workspaces.
pub type Connections = HashMap<(WorkspaceId, ConnectionId), Arc<ConnectionSpec>>;

pub(super) fn put(
    entries: &mut Entries,
    workspace: &WorkspaceId,
    id: &ConnectionId,
    payload: &[u8],
) -> Result<(), String> {
    let document: Document<ConnectionSpec> = read(payload)?;
    set(entries, workspace, id, Arc::new(document.spec));
    Ok(())
}

pub(super) fn remove(entries: &mut Entries, workspace: &WorkspaceId, id: &ConnectionId) {
    let key = (workspace.clone(), id.clone());
    Arc::make_mut(&mut entries.channels).connect(&key, None);
    Arc::make_mut(&mut entries.connections).remove(&key);
}

/// One that cannot be read stays in its last good form.
pub(super) fn keep(entries: &mut Entries, before: &Entries, workspace: &WorkspaceId, id: &ConnectionId) {
    if let Some(spec) = before.connections.get(&(workspace.clone(), id.clone())) {
        set(entries, workspace, id, Arc::clone(spec));
    }
}

/// Its channels stand as they do with it.
fn set(entries: &mut Entries, workspace: &WorkspaceId, id: &ConnectionId, spec: Arc<ConnectionSpec>) {
    let key = (workspace.clone(), id.clone());
    Arc::make_mut(&mut entries.channels).connect(&key, Some(Arc::clone(&spec)));
    Arc::make_mut(&mut entries.connections).insert(key, spec);
}

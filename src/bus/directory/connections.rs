//! What the directory does with connections: taken in, removed, kept in their last good form.

use std::collections::HashMap;
use std::sync::Arc;

use super::read;
use crate::connection::ConnectionSpec;
use crate::documents::Document;
use crate::ids::{ConnectionId, WorkspaceId};

/// The connections of all workspaces.
pub type Connections = HashMap<(WorkspaceId, ConnectionId), Arc<ConnectionSpec>>;

pub(super) fn put(
    connections: &mut Arc<Connections>,
    workspace: &WorkspaceId,
    id: &ConnectionId,
    payload: &[u8],
) -> Result<(), String> {
    let document: Document<ConnectionSpec> = read(payload)?;
    Arc::make_mut(connections).insert((workspace.clone(), id.clone()), Arc::new(document.spec));
    Ok(())
}

pub(super) fn remove(connections: &mut Arc<Connections>, workspace: &WorkspaceId, id: &ConnectionId) {
    Arc::make_mut(connections).remove(&(workspace.clone(), id.clone()));
}

/// One that cannot be read stays in its last good form.
pub(super) fn keep(
    connections: &mut Arc<Connections>,
    before: &Connections,
    workspace: &WorkspaceId,
    id: &ConnectionId,
) {
    let key = (workspace.clone(), id.clone());
    if let Some(spec) = before.get(&key) {
        Arc::make_mut(connections).insert(key, Arc::clone(spec));
    }
}

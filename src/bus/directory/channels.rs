//! Channels in the directory, and how they stand.

use std::sync::Arc;

use super::{Entries, read};
use crate::channel::ChannelSpec;
use crate::channel::standing::ChannelStanding;
use crate::documents::{Document, Key};
use crate::route::channels::Id;

pub(super) fn put(entries: &mut Entries, id: Id, payload: &[u8]) -> Result<(), String> {
    let document: Document<ChannelSpec> = read(payload)?;
    Arc::make_mut(&mut entries.channels).put(id, Arc::new(document.spec), &document.owner);
    Ok(())
}

pub(super) fn stand(entries: &mut Entries, id: Id, payload: &[u8]) -> Result<(), String> {
    let document: Document<ChannelStanding> = read(payload)?;
    Arc::make_mut(&mut entries.channels).stand(id, Some(document.spec));
    Ok(())
}

/// The last good form of what cannot be read; a channel without one is known to be there.
pub(super) fn keep(entries: &mut Entries, before: &Entries, id: Id) {
    if entries.channels.contains_key(&id) || before.channels.contains_key(&id) {
        Arc::make_mut(&mut entries.channels).adopt(&before.channels, &id);
    } else {
        Arc::make_mut(&mut entries.unreadable).insert(id);
    }
}

pub(super) fn keep_standing(entries: &mut Entries, before: &Entries, id: Id) {
    if let Some(standing) = before.channels.standing(&id) {
        Arc::make_mut(&mut entries.channels).stand(id, Some(ChannelStanding::clone(standing)));
    }
}

/// What could not be read may be readable now, or gone.
pub(super) fn readable(entries: &mut Entries, key: &Key) {
    if let Key::Channel(workspace, id) = key
        && !entries.unreadable.is_empty()
    {
        Arc::make_mut(&mut entries.unreadable).remove(&(workspace.clone(), id.clone()));
    }
}

//! Secrets that are in other boxes and are the same: what is known of channels is about their addresses, which stay. That
//! goes for a channel's own secrets and for those of its connection.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bus::{Bus, BusError};
use crate::channel::ChannelSpec;
use crate::channel::standing::{ChannelStanding, OWN_OWNER, digest_of};
use crate::connection::ConnectionSpec;
use crate::documents::Key;
use crate::ids::{ChannelId, WorkspaceId};
use crate::shelf::{self, Held, standing};

/// To be called before a document is written whose secrets are boxed anew and are the same. `found` may be older.
///
/// # Errors
/// When the broker refuses or does not answer; doing it again is safe.
pub async fn keep_standings(
    bus: &Bus,
    found: &BTreeMap<Key, Held>,
    key: &Key,
    (before, after): (&Value, &Value),
) -> Result<(), BusError> {
    if let Key::Connection(workspace, id) = key
        && let (Some(before), Some(after)) = (read::<ConnectionSpec>(before), read(after))
    {
        for key in found.keys().filter(|key| is_channel_of(key, workspace)) {
            // As it is by now: it may have been sealed anew a moment ago.
            let Some(spec) = now::<ChannelSpec>(bus, key).await? else { continue };
            if spec.connection.as_ref() == Some(id) {
                let digests = [&before, &after].map(|connection| digest_of(&spec, Some(connection)));
                reseal(bus, (workspace, &spec.id), digests).await?;
            }
        }
    }
    if let Key::Channel(workspace, channel) = key
        && let (Some(before), Some(after)) = (read::<ChannelSpec>(before), read(after))
    {
        let connection = match &before.connection {
            Some(id) => now(bus, &Key::Connection(workspace.clone(), id.clone())).await?,
            None => None,
        };
        let digests = [before, after].map(|spec| digest_of(&spec, connection.as_ref()));
        reseal(bus, (workspace, channel), digests).await?;
    }
    Ok(())
}

async fn reseal(
    bus: &Bus,
    channel: (&WorkspaceId, &ChannelId),
    [from, to]: [String; 2],
) -> Result<(), BusError> {
    let reseal = |standing: &mut ChannelStanding| {
        if *standing != ChannelStanding::default() {
            standing.reseal(from.clone(), to.clone());
        }
    };
    standing::change(bus, channel, OWN_OWNER, reseal).await.map(drop)
}

fn is_channel_of(key: &Key, workspace: &WorkspaceId) -> bool {
    matches!(key, Key::Channel(of, _) if of == workspace)
}

/// A document that this version cannot read stands as it stood.
fn read<T: DeserializeOwned>(spec: &Value) -> Option<T> {
    serde_json::from_value(spec.clone()).ok()
}

async fn now<T: DeserializeOwned>(bus: &Bus, key: &Key) -> Result<Option<T>, BusError> {
    Ok(shelf::get(bus, key).await?.and_then(|held| read(&held.document.spec)))
}

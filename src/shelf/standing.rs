//! How channels stand, in the bucket: read and changed by whoever finds something out, whichever process that is.

use async_nats::jetstream::kv;
use serde_json::Value;

use super::{Condition, Held, ShelfError, get, put};
use crate::bus::{Bus, BusError, topology};
use crate::channel::ChannelSpec;
use crate::channel::standing::{ChannelStanding, OWN_OWNER, Verified, digest_of};
use crate::clock;
use crate::connection::ConnectionSpec;
use crate::delivery::ENVELOPE_VERSION;
use crate::documents::{Document, Key};
use crate::ids::{ChannelId, WorkspaceId};

/// What is known, with the revision to change it at: 0 when nothing is.
///
/// # Errors
/// When the broker does not answer, or what it holds cannot be read.
pub async fn read(
    bus: &Bus,
    workspace: &WorkspaceId,
    channel: &ChannelId,
) -> Result<(ChannelStanding, u64), BusError> {
    match get(bus, &Key::Standing(workspace.clone(), channel.clone())).await? {
        Some(Held { revision, document }) => Ok((serde_json::from_value(document.spec)?, revision)),
        None => Ok((ChannelStanding::default(), 0)),
    }
}

/// Writes what is known now, if nobody wrote in between. None when somebody did.
///
/// # Errors
/// When the broker refuses or does not answer.
pub async fn write(
    bus: &Bus,
    (workspace, channel): (&WorkspaceId, &ChannelId),
    author: &str,
    standing: &ChannelStanding,
    revision: u64,
) -> Result<Option<u64>, BusError> {
    let document = Document {
        v: ENVELOPE_VERSION,
        owner: OWN_OWNER.to_owned(),
        version: revision + 1,
        author: author.to_owned(),
        updated_at: clock::now(),
        spec: standing,
    };
    let bucket = topology::config_bucket(bus).await?;
    put(&bucket, &Key::Standing(workspace.clone(), channel.clone()), &document, revision).await
}

/// Changes what is known, and returns the revision that says so; None when it was so already.
///
/// # Errors
/// When the broker refuses or does not answer; changing it again is safe.
pub async fn change(
    bus: &Bus,
    of: (&WorkspaceId, &ChannelId),
    author: &str,
    change: impl Fn(&mut ChannelStanding),
) -> Result<Option<u64>, BusError> {
    loop {
        let (before, revision) = read(bus, of.0, of.1).await?;
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(None);
        }
        if let Some(written) = write(bus, of, author, &after, revision).await? {
            return Ok(Some(written));
        }
    }
}

/// The address that a channel has with its connection as it is now.
///
/// # Errors
/// When the broker does not answer, or the connection cannot be read.
pub async fn address(bus: &Bus, workspace: &WorkspaceId, spec: &ChannelSpec) -> Result<String, BusError> {
    let Some(id) = &spec.connection else { return Ok(digest_of(spec, None)) };
    let held = get(bus, &Key::Connection(workspace.clone(), id.clone())).await?;
    let connection =
        held.map(|held| serde_json::from_value::<ConnectionSpec>(held.document.spec)).transpose()?;
    Ok(digest_of(spec, connection.as_ref()))
}

/// A test of a channel at this very address went through.
///
/// # Errors
/// When the broker refuses or does not answer.
pub async fn verify(
    bus: &Bus,
    of: (&WorkspaceId, &ChannelId),
    address: String,
    by: &str,
) -> Result<Option<u64>, BusError> {
    let verified = Verified { digest: address, at: clock::now(), by: by.to_owned() };
    change(bus, of, by, |standing| {
        standing.verified = Some(verified.clone());
        standing.failing = None;
    })
    .await
}

/// Somebody switched the channel on again, whatever had switched it off.
///
/// # Errors
/// When the broker refuses or does not answer.
pub async fn reopen(
    bus: &Bus,
    workspace: &WorkspaceId,
    channel: &ChannelId,
    by: &str,
) -> Result<Option<u64>, BusError> {
    change(bus, (workspace, channel), by, |standing| {
        standing.disabled = None;
        standing.failing = None;
    })
    .await
}

/// Switches a channel on or off, and returns the last revision that says so: 0 when it was so already. On also lifts
/// whatever else had switched it off, of a file's channel too.
///
/// # Errors
/// When there is none, a file says otherwise, or the broker does not answer.
pub async fn switch(
    bus: &Bus,
    (workspace, channel): (&WorkspaceId, &ChannelId),
    author: &str,
    enabled: bool,
) -> Result<u64, ShelfError> {
    let key = Key::Channel(workspace.clone(), channel.clone());
    let held = get(bus, &key).await?.ok_or(ShelfError::Missing)?;
    let is_so = |spec: &Value| spec.get("enabled").is_none_or(|found| *found == Value::Bool(true)) == enabled;
    let mut revision = 0;
    if !is_so(&held.document.spec) {
        let change = |held: Option<&Held>| {
            let mut spec = held.ok_or(ShelfError::Missing)?.document.spec.clone();
            spec["enabled"] = enabled.into();
            Ok::<_, ShelfError>(spec)
        };
        revision = super::write(bus, &key, author, Condition::Present, change).await?.held.revision;
    }
    if enabled {
        revision = reopen(bus, workspace, channel, author).await?.unwrap_or(revision);
    }
    Ok(revision)
}

/// The channel is gone: another one of its name begins anew.
///
/// # Errors
/// When the broker refuses or does not answer.
pub async fn forget(
    bucket: &kv::Store,
    workspace: &WorkspaceId,
    channel: &ChannelId,
) -> Result<(), BusError> {
    let key = Key::Standing(workspace.clone(), channel.clone()).to_string();
    if bucket.get(&key).await.map_err(BusError::request)?.is_some() {
        bucket.delete(&key).await.map_err(BusError::request)?;
    }
    Ok(())
}

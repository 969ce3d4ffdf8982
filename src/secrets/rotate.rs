//! Sealing anew: every secret under the key that is in force now, and nothing left of it under another.
//!
//! A bucket keeps the last versions of a document. They would be opened with the old key, or lie there in plain: those of what
//! was sealed anew are removed.

use futures_util::TryStreamExt;

use super::{KeyRing, Purpose, open_document, published, seal_document};
use crate::bus::{Bus, BusError, topology};
use crate::channel::standing::{ChannelStanding, OWN_OWNER};
use crate::clock;
use crate::delivery::ENVELOPE_VERSION;
use crate::documents::{Document, Key};
use crate::shelf::{self, Held, standing};

/// What became of the secrets.
#[derive(Debug, Default)]
pub struct Rotated {
    /// Documents that were sealed anew.
    pub sealed: Vec<Key>,
    /// Those that were not, and why.
    pub failed: Vec<(Key, String)>,
    /// Purposes without a key in force.
    pub without_key: Vec<Purpose>,
}

/// Seals the secrets of all documents to the keys that are in force. Doing it again is safe.
///
/// # Errors
/// When the broker does not answer.
pub async fn rotate(bus: &Bus, keys: &KeyRing) -> Result<Rotated, BusError> {
    let mut rotated = Rotated::default();
    let found = shelf::read_all(bus).await?;
    for purpose in Purpose::ALL {
        let Some(to) = published::current(bus, *purpose).await? else {
            rotated.without_key.push(*purpose);
            continue;
        };
        for (key, held) in found.iter().filter(|(key, _)| Purpose::of(key) == Some(*purpose)) {
            let spec = &held.document.spec;
            let anew = open_document(key, spec, keys).and_then(|mut opened| {
                seal_document(key, &mut opened, &to, (keys, Some(spec)))?;
                Ok(opened)
            });
            match anew {
                Ok(anew) if anew == *spec => {}
                Ok(anew) if replace(bus, key, held, anew.clone()).await? => rotated.sealed.push(key.clone()),
                Ok(_) => rotated.failed.push((key.clone(), "changed meanwhile: rotate again".to_owned())),
                Err(fault) => rotated.failed.push((key.clone(), fault.to_string())),
            }
        }
    }
    if rotated.failed.is_empty() {
        forget_removed(bus, |key| found.contains_key(key)).await?;
    }
    Ok(rotated)
}

/// What a removed document was is kept for a while too.
async fn forget_removed(bus: &Bus, is_there: impl Fn(&Key) -> bool) -> Result<(), BusError> {
    let bucket = bus.names.config_bucket();
    let stream = bus.js.get_stream_no_info(format!("KV_{bucket}")).await.map_err(BusError::request)?;
    for head in ["channels", "connections", "sources"] {
        let filter = format!("$KV.{bucket}.{head}.>");
        let subjects = stream.info_with_subjects(filter).await.map_err(BusError::request)?;
        let subjects: Vec<(String, usize)> = subjects.try_collect().await.map_err(BusError::request)?;
        for (subject, messages) in subjects {
            let key = subject.strip_prefix(&format!("$KV.{bucket}.")).and_then(Key::parse);
            if messages > 1 && key.is_some_and(|key| !is_there(&key)) {
                stream.purge().keep(1).filter(subject).await.map_err(BusError::request)?;
            }
        }
    }
    Ok(())
}

/// False when somebody changed it meanwhile.
async fn replace(bus: &Bus, key: &Key, held: &Held, spec: serde_json::Value) -> Result<bool, BusError> {
    // Whether a channel is verified is about its address, which stays.
    if let Key::Channel(workspace, channel) = key
        && let (Ok(before), Ok(after)) =
            (serde_json::from_value(held.document.spec.clone()), serde_json::from_value(spec.clone()))
    {
        let reseal = |standing: &mut ChannelStanding| {
            if *standing != ChannelStanding::default() {
                standing.reseal(&before, &after);
            }
        };
        standing::change(bus, (workspace, channel), OWN_OWNER, reseal).await?;
    }
    let bucket = topology::config_bucket(bus).await?;
    let document = Document {
        v: ENVELOPE_VERSION,
        version: held.document.version + 1,
        updated_at: clock::now(),
        spec,
        ..held.document.clone()
    };
    if shelf::put(&bucket, key, &document, held.revision).await?.is_none() {
        return Ok(false);
    }
    let name = format!("KV_{}", bus.names.config_bucket());
    let stream = bus.js.get_stream_no_info(name).await.map_err(BusError::request)?;
    let subject = format!("$KV.{}.{key}", bus.names.config_bucket());
    stream.purge().keep(1).filter(subject).await.map_err(BusError::request)?;
    Ok(true)
}

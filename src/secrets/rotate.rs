//! Sealing anew: every secret under the key that is in force now, and nothing left of it under another.
//!
//! A bucket keeps the last versions of a document. They would be opened with the old key, or lie there in plain: those of what
//! was sealed anew are removed.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use serde_json::Value;

use super::resealed::keep_standings;
use super::{KeyRing, Purpose, SealingKey, open_document, published, seal_document};
use crate::bus::{Bus, BusError, topology};
use crate::clock;
use crate::connection::health;
use crate::delivery::ENVELOPE_VERSION;
use crate::documents::{Document, Key};
use crate::rule::fault::Fault;
use crate::shelf::{self, Held};

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
    let mut current = BTreeMap::new();
    for purpose in Purpose::ALL {
        let Some(to) = published::current(bus, *purpose).await? else {
            rotated.without_key.push(*purpose);
            continue;
        };
        for (key, held) in found.iter().filter(|(key, _)| Purpose::of(key) == Some(*purpose)) {
            let spec = &held.document.spec;
            match sealed_anew(key, spec, &to, keys) {
                Ok(anew) if anew == *spec => {}
                Ok(anew) if replace(bus, &found, key, anew.clone()).await? => {
                    rotated.sealed.push(key.clone());
                }
                Ok(_) => rotated.failed.push((key.clone(), "changed meanwhile: rotate again".to_owned())),
                Err(fault) => rotated.failed.push((key.clone(), fault.to_string())),
            }
        }
        current.insert(*purpose, to);
    }
    if rotated.failed.is_empty() {
        let is_stale = |key: &Key, spec: &Value| {
            let to = Purpose::of(key).and_then(|purpose| current.get(&purpose));
            to.is_some_and(|to| !sealed_anew(key, spec, to, keys).is_ok_and(|anew| anew == *spec))
        };
        forget_older(bus, |key| found.contains_key(key), is_stale).await?;
    }
    Ok(rotated)
}

/// The same where all is sealed to that key.
fn sealed_anew(key: &Key, spec: &Value, to: &SealingKey, keys: &KeyRing) -> Result<Value, Fault> {
    let mut opened = open_document(key, spec, keys)?;
    seal_document(key, &mut opened, to, (keys, Some(spec)))?;
    Ok(opened)
}

/// What a removed document was is kept for a while, and so is what a document was before a run that was cut short sealed it.
async fn forget_older(
    bus: &Bus,
    is_there: impl Fn(&Key) -> bool,
    is_stale: impl Fn(&Key, &Value) -> bool,
) -> Result<(), BusError> {
    let bucket = bus.names.config_bucket();
    let stream = bus.js.get_stream_no_info(format!("KV_{bucket}")).await.map_err(BusError::request)?;
    for head in ["channels", "connections", "sources"] {
        let filter = format!("$KV.{bucket}.{head}.>");
        let subjects = stream.info_with_subjects(filter).await.map_err(BusError::request)?;
        let subjects: Vec<(String, usize)> = subjects.try_collect().await.map_err(BusError::request)?;
        for (subject, messages) in subjects {
            let key = subject.strip_prefix(&format!("$KV.{bucket}.")).and_then(Key::parse);
            let Some(key) = key.filter(|_| messages > 1) else { continue };
            let versions = if is_there(&key) { shelf::versions(bus, &key).await? } else { Vec::new() };
            let mut kept = versions.iter().filter_map(|version| version.document.as_ref());
            if !is_there(&key) || kept.any(|document| is_stale(&key, &document.spec)) {
                stream.purge().keep(1).filter(subject).await.map_err(BusError::request)?;
            }
        }
    }
    Ok(())
}

/// False when somebody changed it meanwhile.
async fn replace(bus: &Bus, found: &BTreeMap<Key, Held>, key: &Key, spec: Value) -> Result<bool, BusError> {
    let Some(held) = found.get(key) else { return Ok(false) };
    keep_standings(bus, found, key, (&held.document.spec, &spec)).await?;
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
    if let Key::Connection(workspace, id) = key {
        health::ask_soon(bus, workspace, id).await?;
    }
    let name = format!("KV_{}", bus.names.config_bucket());
    let stream = bus.js.get_stream_no_info(name).await.map_err(BusError::request)?;
    let subject = format!("$KV.{}.{key}", bus.names.config_bucket());
    stream.purge().keep(1).filter(subject).await.map_err(BusError::request)?;
    Ok(true)
}

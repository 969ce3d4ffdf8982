//! The public keys that lie in the bucket, for whoever seals.
//!
//! The newer key wins: a process that was not restarted yet never puts the old one back.

use crate::bus::{Bus, BusError, topology};
use crate::clock;
use crate::delivery::ENVELOPE_VERSION;
use crate::documents::{Document, Key};
use crate::rule::fault::Fault;
use crate::secrets::{KeyRing, Purpose, SealingKey, literal_in};
use crate::shelf;

/// Nobody's but Bugle's own.
const OWNER: &str = "bugle";
/// Several processes may start at once.
const TRIES_MAX: u32 = 20;

/// What secrets are sealed to now.
///
/// # Errors
/// When the broker does not answer.
pub async fn current(bus: &Bus, purpose: Purpose) -> Result<Option<SealingKey>, BusError> {
    let Some(held) = shelf::get(bus, &Key::SealingKey(purpose)).await? else { return Ok(None) };
    Ok(Some(serde_json::from_value(held.document.spec)?))
}

/// Puts the current key of a process into force, unless a newer one is.
///
/// # Errors
/// When the broker does not answer.
pub async fn publish(bus: &Bus, keys: &KeyRing, purpose: Purpose) -> Result<(), BusError> {
    let Some(mine) = keys.current() else { return Ok(()) };
    let key = Key::SealingKey(purpose);
    let bucket = topology::config_bucket(bus).await?;
    for _ in 0..TRIES_MAX {
        let held = shelf::get(bus, &key).await?;
        let theirs = match &held {
            Some(held) => serde_json::from_value::<SealingKey>(held.document.spec.clone()).ok(),
            None => None,
        };
        if theirs.as_ref().is_some_and(|theirs| theirs.id == mine.id) {
            return Ok(());
        }
        if let Some(theirs) = theirs.filter(|theirs| theirs.created_at >= mine.created_at) {
            if !keys.has(&theirs.id) {
                tracing::error!(%purpose, key = %theirs.id, "secrets are sealed with a newer key, which this process does not have: add it to secrets.key_file");
            }
            return Ok(());
        }
        let document = Document {
            v: ENVELOPE_VERSION,
            owner: OWNER.to_owned(),
            version: held.as_ref().map_or(1, |held| held.document.version + 1),
            author: OWNER.to_owned(),
            updated_at: clock::now(),
            spec: &mine,
        };
        let revision = held.map_or(0, |held| held.revision);
        if shelf::put(&bucket, &key, &document, revision).await?.is_some() {
            tracing::info!(%purpose, key = %mine.id, "secrets are sealed with this key from now on");
            return Ok(());
        }
    }
    Err(BusError::Request("the keys of secrets change faster than they can be written".to_owned()))
}

/// What is said to somebody who writes a secret where none can be sealed.
#[must_use]
pub fn no_key(key: &Key, spec: &serde_json::Value) -> Option<Fault> {
    let purpose = Purpose::of(key)?;
    let place = literal_in(key, spec).into_iter().next()?;
    let message = format!(
        "is a secret, and there is no key to seal it with: write ${{VAR}}, a variable of the {}, or give those a key (secrets.key_file)",
        purpose.openers()
    );
    Some(Fault::new(place, message))
}

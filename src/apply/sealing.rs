//! What an apply writes of secrets: sealed where there is a key to seal them with, and as it is where there is none.
//!
//! A box is another one each time. Who has the private key sees that a secret is the same and leaves it; who has not, writes
//! it anew: a digest beside it, to compare with, would be a way to try out short secrets.

use serde_json::Value;

use super::ApplyError;
use super::plan::{Change, Plan};
use crate::bus::{Bus, BusError};
use crate::documents::Key;
use crate::secrets::{
    KeyRing, Purpose, SealingKey, literal_in, mask_document, open_document, published, seal_document,
};

/// What secrets are sealed to, and what opens them here.
pub(super) struct Sealing<'a> {
    keys: &'a KeyRing,
    channels: Option<SealingKey>,
    sources: Option<SealingKey>,
}

impl<'a> Sealing<'a> {
    pub(super) async fn new(bus: &Bus, keys: &'a KeyRing) -> Result<Self, BusError> {
        let channels = published::current(bus, Purpose::Channels).await?;
        let sources = published::current(bus, Purpose::Sources).await?;
        Ok(Self { keys, channels, sources })
    }

    /// Seals what is to be written, and takes out what then turns out to be there already.
    pub(super) fn seal(&self, plan: &mut Plan) -> Result<(), ApplyError> {
        for changes in &mut plan.changes {
            for change in changes.iter_mut() {
                self.seal_change(change)?;
            }
            changes.retain(|change| match (&change.before, &change.after) {
                (Some(before), Some(after)) => before.document.spec != *after,
                (None, _) | (_, None) => true,
            });
        }
        Ok(())
    }

    fn seal_change(&self, change: &mut Change) -> Result<(), ApplyError> {
        let Some(spec) = &mut change.after else { return Ok(()) };
        let Some(to) = self.key(&change.key) else { return Ok(()) };
        let stored = change.before.as_ref().map(|held| &held.document.spec);
        seal_document(&change.key, spec, to, (self.keys, stored))
            .map_err(|fault| ApplyError::File(format!("{}: {fault}", change.key.as_written())))
    }

    /// What is written anew only because nobody here can tell whether its secrets are those that are stored. Whoever applies a
    /// file again means no other account by it, and its channels stay verified.
    pub(super) fn blind<'p>(&self, plan: &'p Plan) -> impl Iterator<Item = (&'p Key, &'p Value, &'p Value)> {
        let both = plan.changes.iter().flatten().filter_map(|change| {
            Some((&change.key, &change.before.as_ref()?.document.spec, change.after.as_ref()?))
        });
        both.filter(|(key, before, after)| {
            open_document(key, before, self.keys).is_err() && masked(key, before) == masked(key, after)
        })
    }

    fn key(&self, key: &Key) -> Option<&SealingKey> {
        match Purpose::of(key)? {
            Purpose::Channels => self.channels.as_ref(),
            Purpose::Sources => self.sources.as_ref(),
        }
    }

    /// Said once for all of them: they lie in the bucket for everybody who may read it.
    pub(super) fn warn(plan: &Plan) {
        let changes = plan.changes.iter().flatten();
        let plain = changes.filter(|change| {
            change.after.as_ref().is_some_and(|spec| !literal_in(&change.key, spec).is_empty())
        });
        let plain: Vec<String> = plain.map(|change| change.key.as_written()).collect();
        if !plain.is_empty() {
            tracing::warn!(
                documents = plain.join(", "),
                "secrets lie in the bucket as they were written, since there is no key to seal them with: see secrets.key_file"
            );
        }
    }
}

fn masked(key: &Key, spec: &Value) -> Value {
    let mut spec = spec.clone();
    mask_document(key, &mut spec);
    spec
}

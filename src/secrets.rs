//! Secrets of documents: where they stand, and what is shown in their place.
//!
//! A secret's place is known by its type: [`Redacted`](crate::channel::secret::Redacted) and a source's `Sealed` say
//! `writeOnly` in their schema, and everything here goes by that. What a schema does not know is taken for a secret.

pub mod mask;
pub mod places;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::channel::Kind;
use crate::documents::Key;
use crate::rule::fault::Fault;
use crate::schema;
use crate::source::SourceSpec;
pub use mask::{MASK, mask, unmask};
pub use places::places;

/// Where a channel's settings are in its document.
const CONFIG: &str = "config";

/// The schema of a kind's configuration, made once.
#[must_use]
pub fn config_schema(kind: Kind) -> Arc<Value> {
    static MADE: Mutex<BTreeMap<Kind, Arc<Value>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(made.entry(kind).or_insert_with(|| Arc::new(kind.config_schema())))
}

/// The part of a document that may hold secrets, and its schema. A kind that this version does not know has none: all of its
/// configuration is secret.
fn secretive<'a>(key: &Key, spec: &'a mut Value) -> Option<(&'static str, Arc<Value>, &'a mut Value)> {
    match key {
        Key::Channel(..) => {
            let kind = spec.get("kind").and_then(Value::as_str).and_then(Kind::parse);
            let schema = kind.map_or_else(|| Arc::new(places::ALL_SECRET.clone()), config_schema);
            Some(("/config", schema, spec.get_mut(CONFIG)?))
        }
        Key::Source(..) => Some(("", schema::of::<SourceSpec>(), spec)),
        Key::Rule(..) | Key::Scope(..) | Key::Recipient(..) | Key::Token(_) | Key::Standing(..) => None,
    }
}

/// Puts [`MASK`] in the place of each secret of a document.
pub fn mask_document(key: &Key, spec: &mut Value) {
    if let Some((_, schema, part)) = secretive(key, spec) {
        mask(&schema, part);
    }
}

/// Puts what is stored back where a document has the mask.
///
/// # Errors
/// The place in the document of a mask that stands for nothing.
pub fn unmask_document(key: &Key, spec: &mut Value, stored: Option<&Value>) -> Result<(), Fault> {
    let mut stored = stored.cloned();
    let stored = stored.as_mut().and_then(|stored| secretive(key, stored)).map(|(_, _, part)| &*part);
    match secretive(key, spec) {
        Some((place, schema, part)) => unmask(&schema, part, stored).map_err(|fault| fault.below(place)),
        None => Ok(()),
    }
}

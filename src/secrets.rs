//! Secrets of documents: where they stand, what is shown in their place, and how they lie in the bucket.
//!
//! A secret's place is known by its type: [`Redacted`](crate::channel::secret::Redacted) and a source's `Sealed` say
//! `writeOnly` in their schema, and everything here goes by that. What a schema does not know is taken for a secret.
//!
//! Secrets are sealed to a public key before they reach the bucket. Who writes one (the API, `apply`) needs no private key and
//! cannot read it back; only the process that uses it has one: workers those of channels and connections, the API those of
//! the webhooks that it takes.

pub mod key;
pub mod load;
pub mod mask;
pub mod places;
pub mod published;
pub mod resealed;
pub mod rotate;
pub mod seal;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::channel::Kind;
use crate::documents::Key;
use crate::ids::WorkspaceId;
use crate::rule::fault::Fault;
use crate::schema;
use crate::source::SourceSpec;
pub use key::{KeyRing, SealingKey};
pub use mask::{MASK, mask, unmask};
pub use places::{addresses, moved, places};

/// Where a channel's settings are in its document.
const CONFIG: &str = "config";
/// What says, beside the addresses in its settings, to whom the secrets of a document are sent.
const LEADS: [&str; 2] = ["kind", "connection"];

crate::outcome::words! {
    /// What secrets are for, and so who opens them. Each has a key of its own, which may be the same one.
    Purpose {
        /// Channels and connections: opened by workers.
        Channels = "channels",
        /// Sources: opened by the API, which takes their webhooks.
        Sources = "sources",
    }
}

impl Purpose {
    /// None for a document without secrets.
    #[must_use]
    pub fn of(key: &Key) -> Option<Self> {
        match key {
            Key::Channel(..) | Key::Connection(..) => Some(Self::Channels),
            Key::Source(..) => Some(Self::Sources),
            Key::Rule(..)
            | Key::Scope(..)
            | Key::Recipient(..)
            | Key::Preferences(..)
            | Key::Token(_)
            | Key::SealingKey(_)
            | Key::Standing(..) => None,
        }
    }

    /// Who opens them, for people.
    #[must_use]
    pub fn openers(self) -> &'static str {
        match self {
            Self::Channels => "workers",
            Self::Sources => "API processes",
        }
    }
}

/// The schema of a kind's configuration, made once.
#[must_use]
pub fn config_schema(kind: Kind) -> Arc<Value> {
    static MADE: Mutex<BTreeMap<Kind, Arc<Value>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(made.entry(kind).or_insert_with(|| Arc::new(kind.config_schema())))
}

/// The part of a document that may hold secrets: its place and its schema. A kind that this version does not know has none:
/// all of its configuration is secret.
fn secretive(key: &Key, spec: &Value) -> Option<(&'static str, Arc<Value>)> {
    match key {
        Key::Channel(..) | Key::Connection(..) => {
            let kind = spec.get("kind").and_then(Value::as_str).and_then(Kind::parse);
            let schema = kind.map_or_else(|| Arc::new(places::ALL_SECRET.clone()), config_schema);
            Some(("/config", schema)).filter(|_| spec.get(CONFIG).is_some())
        }
        Key::Source(..) => Some(("", schema::of::<SourceSpec>())),
        Key::Rule(..)
        | Key::Scope(..)
        | Key::Recipient(..)
        | Key::Preferences(..)
        | Key::Token(_)
        | Key::SealingKey(_)
        | Key::Standing(..) => None,
    }
}

/// Puts [`MASK`] in the place of each secret of a document.
pub fn mask_document(key: &Key, spec: &mut Value) {
    let Some((place, schema)) = secretive(key, spec) else { return };
    spec.pointer_mut(place).into_iter().for_each(|part| mask(&schema, part));
}

/// Puts what is stored back where a document has the mask.
///
/// # Errors
/// The place in the document of a mask that stands for nothing, or for what was stored for another address.
pub fn unmask_document(key: &Key, spec: &mut Value, stored: Option<&Value>) -> Result<(), Fault> {
    let Some((place, schema)) = secretive(key, spec) else { return Ok(()) };
    let moved = stored.and_then(|stored| LEADS.into_iter().find(|name| stored.get(name) != spec.get(name)));
    let Some(part) = spec.pointer_mut(place) else { return Ok(()) };
    if let Some(moved) = moved {
        mask::check_written(&schema, part, moved).map_err(|fault| fault.below(place))?;
    }
    let stored = stored.and_then(|stored| stored.pointer(place));
    unmask(&schema, part, stored).map_err(|fault| fault.below(place))
}

/// True for settings that hold a secret, or name a variable in the place of one.
#[must_use]
pub fn has_any(kind: Kind, config: &Value) -> bool {
    !places(&config_schema(kind), config).is_empty()
}

/// The places of secrets that a document holds literally.
#[must_use]
pub fn literal_in(key: &Key, spec: &Value) -> Vec<String> {
    let Some((place, schema)) = secretive(key, spec) else { return Vec::new() };
    let found = spec.pointer(place).map(|part| seal::literal(&schema, part)).unwrap_or_default();
    found.into_iter().map(|inner| format!("{place}{inner}")).collect()
}

/// Seals what a document holds literally. What is `stored` stays as it is where `keys` can tell that it says the same.
///
/// # Errors
/// The place of a secret that cannot be sealed.
pub fn seal_document(
    key: &Key,
    spec: &mut Value,
    to: &SealingKey,
    (keys, stored): (&KeyRing, Option<&Value>),
) -> Result<(), Fault> {
    let (Some((place, schema)), Some(workspace)) = (secretive(key, spec), key.workspace()) else {
        return Ok(());
    };
    let Some(part) = spec.pointer_mut(place) else { return Ok(()) };
    let stored = stored.and_then(|stored| stored.pointer(place));
    seal::seal_all(&schema, part, (to, workspace), (keys, stored)).map_err(|fault| fault.below(place))
}

/// Opens the sealed secrets of a document.
///
/// # Errors
/// The place of one that these keys do not open, and the key that would.
pub fn open_document(key: &Key, spec: &Value, keys: &KeyRing) -> Result<Value, Fault> {
    let mut opened = spec.clone();
    let (Some((place, schema)), Some(workspace)) = (secretive(key, spec), key.workspace()) else {
        return Ok(opened);
    };
    if let Some(part) = opened.pointer_mut(place) {
        *part = seal::open_all(&schema, keys, workspace, part).map_err(|fault| fault.below(place))?;
    }
    Ok(opened)
}

/// Opens the sealed secrets of a channel's or connection's settings.
///
/// # Errors
/// The place of one that these keys do not open, and the key that would.
pub fn open_config(
    kind: Kind,
    config: &Value,
    keys: &KeyRing,
    workspace: &WorkspaceId,
) -> Result<Value, Fault> {
    seal::open_all(&config_schema(kind), keys, workspace, config)
}

//! What applying files would do, as a pure function of the files and of what lies in the bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::ApplyError;
use super::connections;
use super::objection::{Objection, objections};
use crate::channel::ChannelSpec;
use crate::documents::{DocumentFile, Key, unknown_channel};
use crate::ids::{ChannelId, WorkspaceId};
use crate::notification;
use crate::route::channels::without_document;
use crate::rule::RuleSpec;
use crate::rule::fault::field_pointer;
use crate::rule::scope::ScopeSpec;
use crate::shelf::Held;
use crate::source::secrets;

pub type Found = BTreeMap<Key, Held>;

/// What is to be done to one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub key: Key,
    pub owner: String,
    pub before: Option<Held>,
    /// None: it is removed.
    pub after: Option<Value>,
}

/// Values longer than this are cut in a diff.
const SHOWN_CHARS: usize = 100;

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, name) = (&self.key, self.key.as_written());
        match (&self.before, &self.after) {
            (_, None) => write!(f, "removed {name}"),
            (None, Some(_)) => write!(f, "created {name}"),
            (Some(before), Some(after)) => {
                write!(f, "updated {name}")?;
                let mut lines = Vec::new();
                differences("", &before.document.spec, after, &mut lines);
                for (place, was, is) in lines {
                    write!(f, "\n  {place}: {} → {}", shown(key, &place, was), shown(key, &place, is))?;
                }
                Ok(())
            }
        }
    }
}

/// A channel's configuration may hold a secret, and so does a source for webhooks.
fn shown(key: &Key, place: &str, value: Option<&Value>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let channel = matches!(key, Key::Channel(..) | Key::Connection(..)) && place.starts_with("/config");
    if channel || matches!(key, Key::Source(..)) && secrets::is_secret(place) {
        return "…".to_owned();
    }
    let text = value.to_string();
    if text.chars().count() <= SHOWN_CHARS {
        return text;
    }
    text.chars().take(SHOWN_CHARS).chain(['…']).collect()
}

type Difference<'a> = (String, Option<&'a Value>, Option<&'a Value>);

fn differences<'a>(place: &str, was: &'a Value, is: &'a Value, lines: &mut Vec<Difference<'a>>) {
    let (Value::Object(old), Value::Object(new)) = (was, is) else {
        if was != is {
            lines.push((place.to_owned(), Some(was), Some(is)));
        }
        return;
    };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let place = format!("{place}{}", field_pointer(name));
        match (old.get(name), new.get(name)) {
            (Some(was), Some(is)) => differences(&place, was, is, lines),
            (was, is) => lines.push((place, was, is)),
        }
    }
}

/// The documents of one file.
pub(super) struct Wanted<'a> {
    pub(super) file: &'a DocumentFile,
    pub(super) owner: String,
    pub(super) documents: BTreeMap<Key, Value>,
}

/// What has to be done, and what speaks against it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// File by file, in an order in which no rule ever names a channel that is not there.
    pub changes: Vec<Vec<Change>>,
    pub objections: Vec<Objection>,
}

/// # Errors
/// When a document has another owner, or a rule names a channel that nobody has.
pub fn plan(
    files: &[DocumentFile],
    found: &Found,
    resolve: impl Fn(&ChannelSpec) -> ChannelSpec,
) -> Result<Plan, ApplyError> {
    let wanted: Vec<Wanted<'_>> =
        files.iter().map(|file| Wanted::of(file, &resolve)).collect::<Result<_, _>>()?;
    for one in &wanted {
        one.check_owners(found)?;
    }
    let gone =
        |key: &Key, held: &Held| wanted.iter().any(|one| one.owns(held) && !one.documents.contains_key(key));
    let staying = found.iter().filter(|(key, held)| !gone(key, held)).map(|(key, _)| key);
    let channels: BTreeSet<(&WorkspaceId, &ChannelId)> =
        staying.chain(wanted.iter().flat_map(|one| one.documents.keys())).filter_map(channel_of).collect();
    for one in &wanted {
        one.check_channels(&channels)?;
    }
    connections::check(&wanted, found)?;
    let changes = wanted.iter().map(|one| one.changes(found)).collect();
    Ok(Plan { changes, objections: objections(&wanted, found, &channels) })
}

pub(super) fn channel_of(key: &Key) -> Option<(&WorkspaceId, &ChannelId)> {
    match key {
        Key::Channel(workspace, id) => Some((workspace, id)),
        Key::Connection(..)
        | Key::Rule(..)
        | Key::Scope(..)
        | Key::Source(..)
        | Key::Recipient(..)
        | Key::Preferences(..)
        | Key::Token(_)
        | Key::SealingKey(_)
        | Key::Standing(..) => None,
    }
}

/// True for a rule, or a scope with one, that sends through the channel, and for a channel that falls back to it.
pub(crate) fn names(key: &Key, held: &Held, channel: &ChannelId) -> bool {
    let spec = held.document.spec.clone();
    match key {
        Key::Rule(..) => {
            serde_json::from_value::<RuleSpec>(spec).is_ok_and(|rule| rule.channels.contains(channel))
        }
        Key::Scope(..) => serde_json::from_value::<ScopeSpec>(spec)
            .is_ok_and(|scope| scope.rules.iter().any(|rule| rule.channels.contains(channel))),
        Key::Channel(..) => {
            serde_json::from_value::<ChannelSpec>(spec).is_ok_and(|other| other.fallback.contains(channel))
        }
        Key::Connection(..)
        | Key::Source(..)
        | Key::Recipient(..)
        | Key::Preferences(..)
        | Key::Token(_)
        | Key::SealingKey(_)
        | Key::Standing(..) => false,
    }
}

impl<'a> Wanted<'a> {
    fn of(file: &'a DocumentFile, resolve: impl Fn(&ChannelSpec) -> ChannelSpec) -> Result<Self, ApplyError> {
        let mut documents = BTreeMap::new();
        for spec in &file.connections {
            documents.insert(Key::Connection(file.workspace.clone(), spec.id.clone()), value(spec)?);
        }
        for spec in &file.channels {
            documents.insert(Key::Channel(file.workspace.clone(), spec.id.clone()), value(&resolve(spec))?);
        }
        for spec in &file.rules {
            documents.insert(Key::Rule(file.workspace.clone(), spec.id.clone()), value(spec)?);
        }
        for spec in &file.scopes {
            let id = spec.id().map_err(|fault| ApplyError::File(fault.to_string()))?;
            documents.insert(Key::Scope(file.workspace.clone(), id), value(spec)?);
        }
        for spec in &file.sources {
            documents.insert(Key::Source(file.workspace.clone(), spec.id.clone()), value(spec)?);
        }
        let owner = format!("file:{}", file.name.as_deref().unwrap_or("unnamed"));
        Ok(Self { file, owner, documents })
    }

    pub(super) fn owns(&self, held: &Held) -> bool {
        held.document.owner == self.owner
    }

    fn check_owners(&self, found: &Found) -> Result<(), ApplyError> {
        for key in self.documents.keys() {
            if let Some(held) = found.get(key).filter(|held| !self.owns(held)) {
                return Err(ApplyError::Foreign {
                    key: key.clone(),
                    owner: held.document.owner.clone(),
                    mine: self.owner.clone(),
                });
            }
        }
        Ok(())
    }

    fn check_channels(&self, channels: &BTreeSet<(&WorkspaceId, &ChannelId)>) -> Result<(), ApplyError> {
        let workspace = &self.file.workspace;
        let rules = self.file.rules.iter().enumerate();
        let own = rules.map(|(index, rule)| (format!("/rules/{index}"), rule));
        let scoped = self.file.scopes.iter().enumerate().flat_map(|(scope, spec)| {
            let rules = spec.rules.iter().enumerate();
            rules.map(move |(index, rule)| (format!("/scopes/{scope}/rules/{index}"), rule))
        });
        let named = own.chain(scoped).map(|(place, rule)| (format!("{place}/channels"), &rule.channels));
        let fallbacks = self.file.channels.iter().enumerate();
        let fallbacks =
            fallbacks.map(|(index, spec)| (format!("/channels/{index}/fallback"), &spec.fallback));
        for (place, ids) in named.chain(fallbacks) {
            for (index, id) in ids.iter().enumerate() {
                if !channels.contains(&(workspace, id)) && without_document(id).is_none() {
                    let known = channels.iter().filter(|(of, _)| *of == workspace);
                    let known = known.map(|(_, id)| id.as_str()).chain([notification::CHANNEL]);
                    let known: Vec<&str> = known.collect();
                    let fault = unknown_channel(id, &known).below(&format!("{place}/{index}"));
                    return Err(ApplyError::File(format!("{}: {fault}", self.owner)));
                }
            }
        }
        Ok(())
    }

    fn changes(&self, found: &Found) -> Vec<Change> {
        let change = |key: &Key, before: Option<&Held>, after: Option<&Value>| Change {
            key: key.clone(),
            owner: self.owner.clone(),
            before: before.cloned(),
            after: after.cloned(),
        };
        let differs =
            |before: Option<&Held>, spec: &Value| before.is_none_or(|held| held.document.spec != *spec);
        let written = self.documents.iter().filter_map(|(key, spec)| {
            let before = found.get(key);
            differs(before, spec).then(|| change(key, before, Some(spec)))
        });
        // Rules before channels: a rule never points at a channel that was removed before it.
        let gone = found
            .iter()
            .rev()
            .filter(|(key, held)| self.owns(held) && !self.documents.contains_key(key))
            .map(|(key, held)| change(key, Some(held), None));
        written.chain(gone).collect()
    }
}

fn value<T: Serialize>(spec: &T) -> Result<Value, ApplyError> {
    serde_json::to_value(spec).map_err(|error| ApplyError::Bus(error.into()))
}

#[cfg(test)]
mod tests;

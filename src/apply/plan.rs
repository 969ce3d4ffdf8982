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
                if !channels.contains(&(workspace, id)) {
                    let known = channels.iter().filter(|(of, _)| *of == workspace);
                    let known: Vec<&str> = known.map(|(_, id)| id.as_str()).collect();
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
mod tests {
    use serde_json::json;

    use super::*;
    use crate::delivery::ENVELOPE_VERSION;
    use crate::documents::{Document, checked_file};

    fn file(name: &str, body: Value) -> DocumentFile {
        DocumentFile { name: Some(name.to_owned()), ..checked_file(body).unwrap() }
    }

    fn channel(id: &str) -> Value {
        json!({"id": id, "kind": "webhook", "config": {"url": "https://a.example/"}})
    }

    fn rule(id: &str, channel: &str) -> Value {
        json!({"id": id, "events": ["*"], "channels": [channel]})
    }

    fn planned(files: &[DocumentFile], found: &Found, force: bool) -> Result<Vec<String>, String> {
        let plan = plan(files, found, Clone::clone).map_err(|error| error.to_string())?;
        if let Some(objection) = plan.objections.first().filter(|_| !force) {
            return Err(objection.to_string());
        }
        Ok(plan.changes.into_iter().flatten().map(|change| change.to_string()).collect())
    }

    /// The bucket after the files were applied.
    fn after(files: &[DocumentFile], found: &Found) -> Found {
        let mut found = found.clone();
        for change in plan(files, &found.clone(), Clone::clone).unwrap().changes.into_iter().flatten() {
            let Some(spec) = change.after else {
                found.remove(&change.key);
                continue;
            };
            let (owner, updated_at) = (change.owner, jiff::Timestamp::UNIX_EPOCH);
            let document =
                Document { v: ENVELOPE_VERSION, author: owner.clone(), owner, version: 1, updated_at, spec };
            found.insert(change.key, Held { revision: 1, document });
        }
        found
    }

    #[test]
    fn a_diff_says_what_changes_and_keeps_secrets() {
        let mut first = rule("r", "a");
        first["cooldownMs"] = json!(1000);
        first["name"] = json!("old");
        let found = after(
            &[file("f", json!({"channels": [channel("a"), channel("z")], "rules": [first]}))],
            &Found::new(),
        );
        let mut second = rule("r", "a");
        second["cooldownMs"] = json!(2000);
        second["labels"] = json!({"a/b": "c"});
        let mut moved = channel("a");
        moved["config"]["url"] = json!("https://b.example/?token=s3cret");
        let next = file("f", json!({"channels": [moved], "rules": [second]}));
        assert_eq!(
            planned(&[next], &found, false).unwrap(),
            [
                "updated channels.default.a\n  /config/url: … → …",
                "updated rules.default.r\n  /cooldownMs: 1000 → 2000\n  /labels: nothing → {\"a/b\":\"c\"}\n  /name: \"old\" → nothing",
                "removed channels.default.z",
            ]
        );
    }

    #[test]
    fn a_rule_may_name_a_channel_of_another_file_and_no_other() {
        let rules = file("rules", json!({"rules": [rule("r", "hook")]}));
        let channels = file("channels", json!({"channels": [channel("hook")]}));
        let refused = planned(std::slice::from_ref(&rules), &Found::new(), true).unwrap_err();
        assert!(
            refused.contains("file:rules: at /rules/0/channels/0: there is no channel hook"),
            "{refused}"
        );
        assert_eq!(planned(&[rules.clone(), channels.clone()], &Found::new(), false).unwrap().len(), 2);
        let found = after(&[channels], &Found::new());
        assert_eq!(planned(&[rules], &found, false).unwrap(), ["created rules.default.r"]);
        let scoped = json!({"scopes": [{"task": "t", "rules": [rule("r", "hok")]}]});
        let refused = planned(&[file("s", scoped)], &found, false).unwrap_err();
        assert!(refused.contains("/scopes/0/rules/0/channels/0"), "{refused}");
        assert!(refused.contains("did you mean hook?"), "{refused}");
    }

    #[test]
    fn a_channel_that_others_use_goes_only_when_forced() {
        let rules = file("rules", json!({"rules": [rule("r", "hook")]}));
        let channels = file("channels", json!({"channels": [channel("hook"), channel("other")]}));
        let scoped = file("s", json!({"scopes": [{"task": "T 1", "rules": [rule("q", "hook")]}]}));
        let found = after(&[rules, channels, scoped], &Found::new());
        let without = file("channels", json!({"channels": [channel("other")]}));
        let refused = planned(std::slice::from_ref(&without), &found, false).unwrap_err();
        assert!(
            refused.contains("channels.default.hook") && refused.contains("rules.default.r"),
            "{refused}"
        );
        assert_eq!(
            planned(std::slice::from_ref(&without), &found, true).unwrap(),
            ["removed channels.default.hook"]
        );
        let forced = plan(std::slice::from_ref(&without), &found, Clone::clone).unwrap();
        assert_eq!(
            forced.objections[0].remains().unwrap(),
            "left with a channel that does not exist, channels.default.hook: rules.default.r, scopes.default.task:T 1"
        );
        // Together with its rules it goes without force.
        let others = json!({"rules": [rule("r", "other")]});
        let scoped = json!({"scopes": [{"task": "T 1", "rules": []}]});
        let all = [without, file("rules", others), file("s", scoped)];
        assert_eq!(planned(&all, &found, false).unwrap().len(), 3);
    }

    #[test]
    fn a_fallback_exists_and_is_not_removed_under_those_who_name_it() {
        let mut first = channel("first");
        first["fallback"] = json!(["secnd"]);
        let channels = file("c", json!({"channels": [channel("second"), channel("kept")]}));
        let broken = file("f", json!({"channels": [first.clone()]}));
        let refused = planned(&[broken, channels.clone()], &Found::new(), true).unwrap_err();
        assert!(
            refused.contains("/channels/0/fallback/0") && refused.contains("did you mean second?"),
            "{refused}"
        );
        first["fallback"] = json!(["second"]);
        let found = after(&[file("f", json!({"channels": [first]})), channels], &Found::new());
        let without = [file("c", json!({"channels": [channel("kept")]}))];
        let refused = planned(&without, &found, false).unwrap_err();
        assert!(refused.contains("channels.default.first would still name it"), "{refused}");
    }

    #[test]
    fn a_file_that_keeps_nothing_of_what_its_owner_has_is_taken_for_another_file() {
        let one = json!({"channels": [channel("a")], "rules": [rule("r", "a")]});
        let found = after(&[file("rules.yaml", one)], &Found::new());
        let other = file("rules.yaml", json!({"channels": [channel("b")], "rules": [rule("q", "b")]}));
        let refused = planned(std::slice::from_ref(&other), &found, false).unwrap_err();
        assert!(
            refused.starts_with(
                "everything that file:rules.yaml has would be removed: channels.default.a, rules.default.r."
            ) && refused.contains("give this one a `name`"),
            "{refused}"
        );
        assert_eq!(planned(std::slice::from_ref(&other), &found, true).unwrap().len(), 4);
        assert!(planned(&[file("rules.yaml", json!({}))], &found, false).is_err());
        // Who keeps something means it, and so does who has nothing yet.
        let kept = file("rules.yaml", json!({"channels": [channel("a")]}));
        assert_eq!(planned(&[kept], &found, false).unwrap(), ["removed rules.default.r"]);
        assert_eq!(
            planned(&[DocumentFile { name: Some("q".into()), ..other }], &found, false).unwrap().len(),
            2
        );
    }
}

//! The keys under which the fleet remembers what a rule said: windows that hold back what comes after, and groups of what
//! is shown as one.

use std::time::Duration;

use crate::event::Event;
use crate::ids::{Recipient, WorkspaceId, digest};
use crate::outcome::Reason;
use crate::route::template::Template;
use crate::route::texts::Traits;
use crate::rule::Rule;

/// Tells the windows of a rule's `dedupe` from those of its cooldown.
const DEDUPE: &str = "dedupe";
/// The same for `collapse`.
const COLLAPSE: &str = "collapse";
/// In the place of a scope: what belongs to a type, in the inbox of a recipient.
const INBOX: &str = "inbox";

/// While it lasts, nothing else with the same key goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub key: Vec<String>,
    pub length: Duration,
    /// Why others are held back meanwhile.
    pub reason: Reason,
}

/// What is shown as one: a thread, a message that is edited, a row that is updated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub key: Vec<String>,
    /// Counted from its first; None: as long as the key stays the same.
    pub length: Option<Duration>,
}

/// What an event's type says of each recipient's inbox, for this event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbox {
    event_type: String,
    /// The rendered key, never empty.
    dedupe: Option<(String, Duration)>,
    collapse: Option<(String, Option<Duration>)>,
}

impl Inbox {
    /// While it lasts, nothing else with the same key comes into this inbox.
    #[must_use]
    pub fn window(&self, recipient: Option<&Recipient>) -> Option<Window> {
        let (rendered, length) = self.dedupe.as_ref()?;
        let key = self.key(rendered, recipient, DEDUPE);
        Some(Window { key, length: *length, reason: Reason::Duplicate })
    }

    /// What is shown as one in this inbox.
    #[must_use]
    pub fn group(&self, recipient: Option<&Recipient>) -> Option<Group> {
        let (rendered, length) = self.collapse.as_ref()?;
        Some(Group { key: self.key(rendered, recipient, COLLAPSE), length: *length })
    }

    fn key(&self, rendered: &str, recipient: Option<&Recipient>, what: &str) -> Vec<String> {
        let recipient = recipient.map_or("", Recipient::as_str);
        [INBOX, &self.event_type, rendered, recipient, what].map(str::to_owned).to_vec()
    }
}

impl Group {
    /// Its id; `opener` is the event that began it, where it has an end.
    #[must_use]
    pub fn id(&self, workspace: &WorkspaceId, opener: &str) -> String {
        let parts = [workspace.as_str(), opener].into_iter().chain(self.key.iter().map(String::as_str));
        format!("c_{}", digest(&parts.collect::<Vec<_>>()))
    }
}

/// What a firing of this rule is held against, in the order in which it is asked.
#[must_use]
pub(super) fn of(event: &Event, scope: &str, rule: &Rule) -> Vec<Window> {
    let dedupe = rule.dedupe.as_ref().and_then(|dedupe| {
        let rendered = dedupe.key.render(event).ok().filter(|key| !key.is_empty())?;
        let key = vec![scope.to_owned(), rule.id.to_string(), rendered, DEDUPE.to_owned()];
        Some(Window { key, length: dedupe.window, reason: Reason::Duplicate })
    });
    let cooldown = rule.cooldown.as_ref().map(|cooldown| {
        // A key that cannot render falls back to the rule's one window: quieter, never louder.
        let rendered = cooldown.key.as_ref().and_then(|key| key.render(event).ok()).unwrap_or_default();
        let key = vec![scope.to_owned(), rule.id.to_string(), rendered];
        Window { key, length: cooldown.window, reason: Reason::Cooldown }
    });
    dedupe.into_iter().chain(cooldown).collect()
}

/// The group that an event falls into; one whose key renders empty is like no other.
#[must_use]
pub(super) fn group(event: &Event, scope: &str, rule: &Rule) -> Option<Group> {
    let collapse = rule.collapse.as_ref()?;
    let rendered = collapse.key.render(event).ok().filter(|key| !key.is_empty())?;
    let key = vec![scope.to_owned(), rule.id.to_string(), rendered, COLLAPSE.to_owned()];
    Some(Group { key, length: collapse.window })
}

/// What the event's type says of inboxes, where it says something. The rule's own word on the same counts in its place.
#[must_use]
pub(super) fn inbox(event: &Event, rule: &Rule, traits: &Traits) -> Option<Inbox> {
    let inbox = inbox_of_type(event, traits)?;
    let dedupe = inbox.dedupe.filter(|_| rule.dedupe.is_none());
    let collapse = inbox.collapse.filter(|_| rule.collapse.is_none());
    (dedupe.is_some() || collapse.is_some()).then_some(Inbox { dedupe, collapse, ..inbox })
}

/// The same where there is no rule.
#[must_use]
pub fn inbox_of_type(event: &Event, traits: &Traits) -> Option<Inbox> {
    let rendered = |key: &Template| key.render(event).ok().filter(|key| !key.is_empty());
    let dedupe = traits.dedupe.as_ref();
    let dedupe = dedupe.and_then(|dedupe| Some((rendered(&dedupe.key)?, dedupe.window)));
    let collapse = traits.collapse.as_ref();
    let collapse = collapse.and_then(|collapse| Some((rendered(&collapse.key)?, collapse.window)));
    let event_type = event.event_type.as_str().to_owned();
    (dedupe.is_some() || collapse.is_some()).then_some(Inbox { event_type, dedupe, collapse })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::route::texts::Texts;
    use crate::rule::RuleSpec;

    fn inbox_of(rule: &Value, data: &Value) -> Option<Inbox> {
        let mut spec = json!({"id": "r", "events": ["*"], "channels": ["c"]});
        for (name, field) in rule.as_object().unwrap() {
            spec[name] = field.clone();
        }
        let spec: RuleSpec = serde_json::from_value(spec).unwrap();
        let types = json!({"a:b": {"dedupe": {"key": "{{taskId}}", "windowMs": 60_000}, "collapse": {"key": "{{taskId}}"}}});
        let texts = Texts::default().with(&types).unwrap();
        let event = crate::route::texts::tests::event_of(data);
        inbox(&event, &Rule::compile(&spec).unwrap(), &texts.of(&event).unwrap().traits)
    }

    #[test]
    fn each_inbox_has_windows_of_its_own() {
        let inbox = inbox_of(&json!({}), &json!({"taskId": "t"})).unwrap();
        let [ann, bob] = ["ann", "bob"].map(|id| Recipient::parse(id).unwrap());
        let window = inbox.window(Some(&ann)).unwrap();
        assert_eq!(window.key, ["inbox", "a:b", "t", "ann", "dedupe"]);
        assert_eq!((window.length.as_secs(), window.reason), (60, Reason::Duplicate));
        assert_ne!(window, inbox.window(Some(&bob)).unwrap());
        let group = inbox.group(Some(&ann)).unwrap();
        assert_eq!((group.key[4].as_str(), group.length), ("collapse", None));
        assert_ne!(group, inbox.group(Some(&bob)).unwrap());
    }

    #[test]
    fn a_key_that_renders_empty_is_like_no_other_and_the_rules_own_word_counts() {
        assert_eq!(inbox_of(&json!({}), &json!({})), None);
        let dedupe = json!({"dedupe": {"key": "x", "windowMs": 1}});
        let inbox = inbox_of(&dedupe, &json!({"taskId": "t"})).unwrap();
        assert!(inbox.window(None).is_none() && inbox.group(None).is_some());
        let collapse = json!({"collapse": {"key": "x"}});
        let inbox = inbox_of(&collapse, &json!({"taskId": "t"})).unwrap();
        assert!(inbox.window(None).is_some() && inbox.group(None).is_none());
    }
}

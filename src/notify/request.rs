//! What somebody asks for, checked: no recipient twice, one word for how much it matters, links that a browser may follow.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::delivery::Action;
use crate::event::urgency::{PRIORITIES, URGENCIES};
use crate::event::{EventType, Severity};
use crate::ids::Recipient;
use crate::notification::Source;
use crate::notification::item::{BODY_CHARS_MAX, METADATA_BYTES_MAX, is_followed};
use crate::route::texts;
use crate::rule::fault::{Fault, unknown_word};

pub const RECIPIENTS_MAX: usize = 100;
/// As many as a rule's title keeps.
pub(super) const TITLE_CHARS_MAX: usize = 512;
const WORD_CHARS_MAX: usize = 256;

/// A notification to make.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewNotification {
    /// `*`: everybody of the workspace. A token that is bound to one need not say it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub recipient: Option<Recipient>,
    /// In place of `recipient`: 1 to 100 of them.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub recipients: Option<Vec<Recipient>>,
    /// A type like those of events: `review:asked`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// One line of up to 512 characters.
    pub title: String,
    /// A small Markdown of up to 10,000 characters.
    #[serde(default)]
    pub body: String,
    /// Of `severity`, `urgency` and `priority` at most one. When nothing is said, what the type has, else `info`.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// low, medium, high.
    #[serde(default)]
    pub urgency: Option<String>,
    /// low, medium, high, critical.
    #[serde(default)]
    pub priority: Option<String>,
    /// A path of the reader's own site, or https.
    #[serde(default)]
    pub link: Option<String>,
    /// Up to 16 KiB.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// What it is about: `{"type": "task", "id": "42", …}`.
    #[serde(default)]
    pub source: Option<Source>,
    #[serde(default)]
    pub project: Option<String>,
    /// Buttons that open a page.
    #[serde(default)]
    pub actions: Vec<Action>,
}

/// A field, and the word that stands there.
type Word = (&'static str, String);

/// The same, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    pub recipients: Vec<Recipient>,
    pub event_type: EventType,
    /// None: as its type has it.
    pub severity: Option<Severity>,
    pub title: String,
    pub body: String,
    pub link: Option<String>,
    pub actions: Vec<Action>,
    /// What an inbox reads of an event's data.
    pub data: Value,
}

impl NewNotification {
    /// Whom it is for; none named is left to whoever asks.
    ///
    /// # Errors
    /// The place and the fault.
    pub fn recipients(&self) -> Result<Vec<Recipient>, Fault> {
        match (&self.recipient, &self.recipients) {
            (Some(_), Some(_)) => Err(Fault::new("/recipients", "stands beside recipient: say one")),
            (Some(one), None) => Ok(vec![one.clone()]),
            (None, None) => Ok(Vec::new()),
            (None, Some(several)) => {
                let mut seen = BTreeSet::new();
                let several: Vec<Recipient> =
                    several.iter().filter(|recipient| seen.insert(*recipient)).cloned().collect();
                if (1..=RECIPIENTS_MAX).contains(&several.len()) {
                    return Ok(several);
                }
                let message = format!("has {} entries: 1 to {RECIPIENTS_MAX} are allowed", several.len());
                Err(Fault::new("/recipients", message))
            }
        }
    }

    /// # Errors
    /// The place and the fault.
    pub fn draft(self) -> Result<Draft, Fault> {
        let recipients = self.recipients()?;
        if recipients.is_empty() {
            return Err(Fault::new("/recipient", "is missing: name one, several in `recipients`, or `*`"));
        }
        let event_type =
            EventType::parse(&self.event_type).map_err(|error| Fault::new("/type", error.to_string()))?;
        let (severity, said) = self.severity()?;
        if self.title.trim().is_empty() {
            return Err(Fault::new("/title", "is empty"));
        }
        for (place, text, most) in
            [("/title", &self.title, TITLE_CHARS_MAX), ("/body", &self.body, BODY_CHARS_MAX)]
        {
            let count = text.chars().count();
            if count > most {
                return Err(Fault::new(place, format!("has {count} characters: at most {most}")));
            }
        }
        let nowhere = "is neither https with a host (and no user name) nor a path that begins with /, or longer than 2,048 bytes";
        if self.link.as_deref().is_some_and(|link| !is_followed(link)) {
            return Err(Fault::new("/link", nowhere));
        }
        texts::check_actions(&self.actions).map_err(|fault| fault.below("/actions"))?;
        if let Some(index) = self.actions.iter().position(|action| !is_followed(&action.url)) {
            return Err(Fault::new(format!("/actions/{index}/url"), nowhere));
        }
        let metadata = Value::Object(self.metadata.unwrap_or_default());
        let bytes = metadata.to_string().len();
        if bytes > METADATA_BYTES_MAX {
            let message = format!("has {bytes} bytes: at most {METADATA_BYTES_MAX}");
            return Err(Fault::new("/metadata", message));
        }
        let mut data = json!({ "metadata": metadata });
        if let Some(source) = self.source {
            word("/source/type", &source.kind)?;
            word("/source/id", &source.id)?;
            data["source"] = json!(source);
        }
        if let Some(project) = self.project {
            word("/project", &project)?;
            data["projectId"] = project.into();
        }
        if let Some((name, said)) = said {
            data[name] = said.into();
        }
        let Self { title, body, link, actions, .. } = self;
        Ok(Draft { recipients, event_type, severity, title, body, link, actions, data })
    }

    /// Its place on the scale, and the word that it was said with.
    fn severity(&self) -> Result<(Option<Severity>, Option<Word>), Fault> {
        let looked_up = |name: &'static str, word: &String, known: &[(&str, Severity)]| {
            let found = known.iter().find(|(known, _)| known == word);
            let words: Vec<&str> = known.iter().map(|(known, _)| *known).collect();
            let unknown = || Fault::new(format!("/{name}"), unknown_word(word, &words));
            found.map(|(_, severity)| (Some(*severity), Some((name, word.clone())))).ok_or_else(unknown)
        };
        match (self.severity, &self.urgency, &self.priority) {
            (severity, None, None) => Ok((severity, None)),
            (None, Some(word), None) => looked_up("urgency", word, &URGENCIES),
            (None, None, Some(word)) => looked_up("priority", word, &PRIORITIES),
            (_, Some(_), _) => Err(Fault::new("/urgency", "stands beside severity or priority: say one")),
            (Some(_), None, Some(_)) => Err(Fault::new("/priority", "stands beside severity: say one")),
        }
    }
}

/// What an inbox could not show whole, and nobody could filter for.
fn word(place: &str, text: &str) -> Result<(), Fault> {
    if texts::one_line(text, WORD_CHARS_MAX) == text && !text.is_empty() {
        return Ok(());
    }
    Err(Fault::new(place, format!("is not one line of 1 to {WORD_CHARS_MAX} characters")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::strict;

    fn draft(more: &Value) -> Result<Draft, Fault> {
        let mut value = json!({ "recipient": "ann", "type": "review.asked", "title": "Look" });
        for (name, field) in more.as_object().unwrap() {
            value[name] = field.clone();
        }
        strict::<NewNotification>(value)?.draft()
    }

    #[test]
    fn every_word_of_producers_has_its_place_on_the_scale() {
        for (name, word, severity) in [
            ("urgency", "low", Severity::Info),
            ("urgency", "medium", Severity::Warning),
            ("urgency", "high", Severity::Critical),
            ("priority", "low", Severity::Info),
            ("priority", "medium", Severity::Info),
            ("priority", "high", Severity::Warning),
            ("priority", "critical", Severity::Critical),
            ("severity", "warning", Severity::Warning),
        ] {
            let made = draft(&json!({ name: word })).unwrap();
            assert_eq!(made.severity, Some(severity), "{name} {word}");
            assert_eq!(made.data.get(name).is_some(), name != "severity");
        }
        assert_eq!(draft(&json!({})).unwrap().event_type.as_str(), "review:asked");
    }

    #[test]
    fn what_is_no_notification_is_refused_with_the_place() {
        let too_many: Vec<String> = (0..=RECIPIENTS_MAX).map(|number| number.to_string()).collect();
        for (more, pointer) in [
            (json!({ "recipient": null }), "/recipient"),
            (json!({ "recipients": ["bob"] }), "/recipients"),
            (json!({ "recipient": null, "recipients": [] }), "/recipients"),
            (json!({ "recipient": null, "recipients": too_many }), "/recipients"),
            (json!({ "recipient": "" }), "/recipient"),
            (json!({ "type": "a b" }), "/type"),
            (json!({ "title": " " }), "/title"),
            (json!({ "title": "x".repeat(TITLE_CHARS_MAX + 1) }), "/title"),
            (json!({ "body": "x".repeat(BODY_CHARS_MAX + 1) }), "/body"),
            (json!({ "urgency": "critical" }), "/urgency"),
            (json!({ "priority": "urgent" }), "/priority"),
            (json!({ "severity": "high" }), "/severity"),
            (json!({ "severity": "info", "urgency": "low" }), "/urgency"),
            (json!({ "severity": "info", "priority": "low" }), "/priority"),
            (json!({ "link": "http://a.example" }), "/link"),
            (json!({ "link": "//a.example" }), "/link"),
            (json!({ "actions": [{ "label": "Go", "url": "mailto:a@b" }] }), "/actions/0/url"),
            (json!({ "metadata": { "long": "x".repeat(METADATA_BYTES_MAX) } }), "/metadata"),
            (json!({ "metadata": [] }), "/metadata"),
            (json!({ "source": { "type": "task", "id": "" } }), "/source/id"),
            (json!({ "project": "a\nb" }), "/project"),
            (json!({ "tittle": "x" }), "/tittle"),
        ] {
            assert_eq!(draft(&more).unwrap_err().pointer, pointer, "{more}");
        }
    }

    #[test]
    fn what_an_inbox_reads_of_it_is_in_its_data() {
        let source = json!({ "type": "task", "id": "42", "title": "Fix" });
        let made = draft(&json!({
            "recipient": null, "recipients": ["bob", "*", "bob"], "source": source, "project": "p", "metadata": { "n": 1 },
        }))
        .unwrap();
        assert_eq!(made.recipients.iter().map(Recipient::as_str).collect::<Vec<_>>(), ["bob", "*"]);
        assert_eq!(made.data, json!({ "metadata": { "n": 1 }, "source": source, "projectId": "p" }));
    }
}

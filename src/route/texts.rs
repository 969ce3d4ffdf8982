//! What a notification says when its rule says nothing: for each known type of event a title and a body, which are data
//! (`config/texts.toml`, and a file of the user's own); for the others the type in words, and the event's plain fields.
//! Beside them stands what else is known of a type: [`Traits`].
//!
//! All templates are compiled when the texts are read, and found by the event's type.

#[cfg(test)]
pub(crate) mod tests;
mod traits;

use std::collections::HashMap;
use std::ops::Range;

use serde_json::{Map, Value};

use super::template::Template;
use crate::channel::markdown::literal;
use crate::delivery::{ACTIONS_MAX, Action, LABEL_CHARS_MAX};
use crate::event::urgency::Urgency;
use crate::event::{Event, EventType, Severity};
use crate::rule::fault::{Fault, field_pointer, nearest};
pub use traits::Traits;

const BUILT_IN: &str = include_str!("../../config/texts.toml");
/// Of one file. Ten times more than anybody has types of events.
const ENTRIES_MAX: usize = 10_000;
const FIELDS: [&str; 3] = ["title", "body", "like"];
/// More fields than this are a page, not a message.
const FIELDS_MAX: usize = 20;
const FIELD_CHARS_MAX: usize = 300;

/// Longer ones are no links.
const LINK_BYTES_MAX: usize = 2_048;

/// True for what may be shown as a link: `http`, `https`, `mailto`, or a path on the reader's own site.
#[must_use]
pub fn is_link(text: &str) -> bool {
    let begins =
        |scheme: &str| text.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme));
    let absolute = ["https://", "http://", "mailto:"].into_iter().any(begins);
    let path = text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/\\");
    (absolute || path) && text.len() <= LINK_BYTES_MAX && !text.chars().any(char::is_control)
}

/// # Errors
/// The place and the fault, relative to the list.
pub fn check_actions(actions: &[Action]) -> Result<(), Fault> {
    if actions.len() > ACTIONS_MAX {
        return Err(Fault::here(format!("has {} entries: at most {ACTIONS_MAX}", actions.len())));
    }
    for (index, action) in actions.iter().enumerate() {
        check_action(action).map_err(|fault| fault.below(&format!("/{index}")))?;
    }
    Ok(())
}

/// # Errors
/// The place and the fault, relative to the action.
pub fn check_action(action: &Action) -> Result<(), Fault> {
    let label = &action.label;
    if label.trim().is_empty() || one_line(label, LABEL_CHARS_MAX) != *label {
        return Err(Fault::new("/label", format!("is not one line of 1 to {LABEL_CHARS_MAX} characters")));
    }
    if !is_link(&action.url) {
        return Err(Fault::new("/url", "is neither http(s) nor a path that begins with /, or too long"));
    }
    Ok(())
}

/// The texts of the known types.
#[derive(Debug, Clone, Default)]
pub struct Texts(HashMap<String, Entry>);

/// What is None is left to the fallback.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    pub title: Option<Template>,
    pub body: Option<Template>,
    pub traits: Traits,
}

impl Texts {
    /// # Errors
    /// Never, once its test passed.
    pub fn built_in() -> Result<Self, Fault> {
        let table: Value =
            toml::from_str(BUILT_IN).map_err(|error| Fault::here(error.message().to_owned()))?;
        Self::default().with(&table)
    }

    /// These, and what a file says: it adds types, and of those that are there it changes what it names.
    ///
    /// # Errors
    /// The place and the fault.
    pub fn with(mut self, table: &Value) -> Result<Self, Fault> {
        let Value::Object(table) = table else {
            return Err(Fault::here("must be an object of event types, each with a title, a body, or both"));
        };
        if table.len() > ENTRIES_MAX {
            return Err(Fault::here(format!("has {} types: at most {ENTRIES_MAX}", table.len())));
        }
        let mut like = Vec::new();
        for (name, value) in table {
            let place = field_pointer(name);
            let event_type = EventType::parse(name).map_err(|error| Fault::new(&place, error.to_string()))?;
            let fields = fields(value).map_err(|fault| fault.below(&place))?;
            let known = self.0.entry(event_type.as_str().to_owned()).or_default();
            if let Some(title) = template(fields, "title").map_err(|fault| fault.below(&place))? {
                known.title = Some(title);
            }
            if let Some(body) = template(fields, "body").map_err(|fault| fault.below(&place))? {
                known.body = Some(body);
            }
            known.traits.take(fields).map_err(|fault| fault.below(&place))?;
            if let Some(other) = text(fields, "like").map_err(|fault| fault.below(&place))? {
                like.push((event_type, other.replace('.', ":"), place));
            }
        }
        for (event_type, other, place) in in_order(like)? {
            let Some(other) = self.0.get(&other).cloned() else {
                return Err(Fault::new(format!("{place}/like"), format!("there are no texts of {other:?}")));
            };
            if let Some(entry) = self.0.get_mut(event_type.as_str()) {
                entry.title = entry.title.take().or(other.title);
                entry.body = entry.body.take().or(other.body);
                entry.traits.or(other.traits);
            }
        }
        Ok(self)
    }

    #[must_use]
    pub fn of(&self, event: &Event) -> Option<&Entry> {
        self.0.get(event.event_type.as_str())
    }

    /// How urgent a type is, where nobody says.
    #[must_use]
    pub fn urgency(&self, event_type: &EventType) -> Option<&Urgency> {
        self.0.get(event_type.as_str())?.traits.urgency.as_ref()
    }

    /// True for a type that passes whatever its recipients prefer.
    #[must_use]
    pub fn is_mandatory(&self, event_type: &EventType) -> bool {
        self.0.get(event_type.as_str()).is_some_and(|entry| entry.traits.mandatory == Some(true))
    }
}

/// A type, the type whose texts it takes over, and the place of the former.
type Like = (EventType, String, String);

/// What is taken over comes before what takes it over.
fn in_order(mut like: Vec<Like>) -> Result<Vec<Like>, Fault> {
    let next: HashMap<String, String> =
        like.iter().map(|(of, other, _)| (of.as_str().to_owned(), other.clone())).collect();
    let way = |(of, other, _): &Like| -> Vec<String> {
        let mut way = vec![of.as_str().to_owned(), other.clone()];
        // One that leads into a circle which it is no part of ends here; the circle's own are found.
        while let Some(other) = next.get(&way[way.len() - 1]).filter(|_| way.len() <= next.len()) {
            if way[way.len() - 1] == way[0] {
                break;
            }
            way.push(other.clone());
        }
        way
    };
    for one in &like {
        let way = way(one);
        if way.last() == way.first() {
            return Err(Fault::new(
                format!("{}/like", one.2),
                format!("goes in a circle: {}", way.join(" → ")),
            ));
        }
    }
    like.sort_by_cached_key(|one| way(one).len());
    Ok(like)
}

fn fields(value: &Value) -> Result<&Map<String, Value>, Fault> {
    let Value::Object(fields) = value else {
        return Err(Fault::here("must be an object with a title, a body, or both"));
    };
    let known = [&FIELDS[..], &traits::FIELDS].concat();
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(fields),
        Some(name) => {
            let available = match nearest(name, &known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("there are {}", known.join(", ")),
            };
            Err(Fault::new(field_pointer(name), format!("`{name}` is not a known field; {available}")))
        }
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Fault> {
    match fields.get(name) {
        None => Ok(None),
        Some(value) => match value.as_str() {
            Some(text) => Ok(Some(text)),
            None => Err(Fault::new(field_pointer(name), "must be a text")),
        },
    }
}

fn template(fields: &Map<String, Value>, name: &str) -> Result<Option<Template>, Fault> {
    let source = text(fields, name)?;
    source.map(Template::compile).transpose().map_err(|fault| fault.below(&field_pointer(name)))
}

/// `Task transition`.
#[must_use]
pub fn type_in_words(event: &Event) -> String {
    let words = event.event_type.as_str().replace([':', '_', '-'], " ");
    let mut characters = words.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}", characters.as_str())
}

#[must_use]
pub fn emoji(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "ℹ️",
        Severity::Warning => "⚠️",
        Severity::Critical => "🚨",
    }
}

/// One line a scalar field of the data, as Markdown; lists and objects are left to templates.
#[must_use]
pub fn fields_of(event: &Event) -> String {
    let Some(fields) = event.data.as_object() else {
        let text = scalar(&event.data).unwrap_or_default();
        return literal(&text, &[Range { start: 0, end: text.len() }], false);
    };
    let (mut lines, mut values) = (String::new(), Vec::new());
    let mut push = |lines: &mut String, value: &str| {
        let start = lines.len();
        lines.push_str(value);
        values.push(start..lines.len());
    };
    let scalars = fields.iter().filter_map(|(name, value)| Some((name, scalar(value)?)));
    for (name, value) in scalars.take(FIELDS_MAX) {
        lines.push_str(if lines.is_empty() { "**" } else { "  \n**" });
        push(&mut lines, &one_line(name, FIELD_CHARS_MAX));
        lines.push_str("**: ");
        push(&mut lines, &value);
    }
    literal(&lines, &values, false)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(one_line(text, FIELD_CHARS_MAX)),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The text on one line, without control characters, cut to so many characters.
#[must_use]
pub fn one_line(text: &str, chars_max: usize) -> String {
    let clean = text.trim().chars().map(|character| if character.is_control() { ' ' } else { character });
    let mut line: String = clean.take(chars_max + 1).collect();
    if let Some((end, _)) = line.char_indices().nth(chars_max) {
        line.truncate(end);
        line.push('…');
    }
    line
}

//! What a notification says when its rule says nothing: the type in words, and the event's plain fields.

use serde_json::Value;

use crate::event::{Event, Severity};

/// More fields than this are a page, not a message.
const FIELDS_MAX: usize = 20;
const FIELD_CHARS_MAX: usize = 300;

/// `🚨 Task transition`.
#[must_use]
pub fn title(event: &Event, severity: Severity) -> String {
    let words = event.event_type.as_str().replace([':', '_', '-'], " ");
    let mut characters = words.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{} {first}{}", emoji(severity), characters.as_str())
}

#[must_use]
pub fn emoji(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "ℹ️",
        Severity::Warning => "⚠️",
        Severity::Critical => "🚨",
    }
}

/// One line a scalar field of the data; lists and objects are left to templates.
#[must_use]
pub fn body(event: &Event) -> String {
    let Some(fields) = event.data.as_object() else { return scalar(&event.data).unwrap_or_default() };
    let lines = fields.iter().filter_map(|(name, value)| Some(format!("**{name}**: {}", scalar(value)?)));
    lines.take(FIELDS_MAX).collect::<Vec<_>>().join("  \n")
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

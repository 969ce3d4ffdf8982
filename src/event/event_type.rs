//! The type of an event: segments joined by `:`, such as `task:created`.
//!
//! Producers may write `.` for `:` (a NATS subject can hold nothing else); inside Bugle only the form with `:` exists, so
//! two spellings of one type never meet. There is no table of known types: any type is matchable.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A type becomes part of a subject, and NATS warns of subjects much longer than this.
pub const EVENT_TYPE_BYTES_MAX: usize = 256;

/// In canonical form: `:` between segments, none of them empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventType(String);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the event type {0}; a type is segments joined by `:` or `.`, such as `task:created`, {EVENT_TYPE_BYTES_MAX} bytes at \
     most, without white space, control characters, `*` and `>`"
)]
pub struct EventTypeError(#[from] NameFlaw);

/// What types and patterns of types have in common that can be wrong. Positions count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameFlaw {
    #[error("is empty")]
    Empty,
    #[error("has {0} bytes")]
    TooLong(usize),
    #[error("has an empty segment, number {0}")]
    EmptySegment(usize),
    #[error("has {character:?} as character {position}")]
    Forbidden { character: char, position: usize },
}

impl EventType {
    /// # Errors
    /// When it is no type; the error says what a type is.
    pub fn parse(text: &str) -> Result<Self, EventTypeError> {
        let forbidden = |c: char| never_in_a_type(c) || c == '*';
        Ok(Self(canonical(text, EVENT_TYPE_BYTES_MAX, forbidden)?))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when its first segment is `notification`.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.0.split(':').next() == Some("notification")
    }
}

/// `*` aside, which a pattern may have.
pub(crate) fn never_in_a_type(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == '>'
}

/// The text with `:` for `.`, once it is known to be segments without a forbidden character.
pub(crate) fn canonical(
    text: &str,
    bytes_max: usize,
    forbidden: impl Fn(char) -> bool,
) -> Result<String, NameFlaw> {
    if text.is_empty() {
        return Err(NameFlaw::Empty);
    }
    if text.len() > bytes_max {
        return Err(NameFlaw::TooLong(text.len()));
    }
    if let Some((index, character)) = text.chars().enumerate().find(|(_, c)| forbidden(*c)) {
        return Err(NameFlaw::Forbidden { character, position: index + 1 });
    }
    let text = text.replace('.', ":");
    if let Some(index) = text.split(':').position(str::is_empty) {
        return Err(NameFlaw::EmptySegment(index + 1));
    }
    Ok(text)
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for EventType {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EventType {
    type Error = EventTypeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<EventType> for String {
    fn from(event_type: EventType) -> Self {
        event_type.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(text: &str) -> NameFlaw {
        EventType::parse(text).unwrap_err().0
    }

    #[test]
    fn a_dot_is_a_colon() {
        let dotted = EventType::parse("task.retry:blocked").unwrap();
        assert_eq!(dotted.as_str(), "task:retry:blocked");
        assert_eq!(dotted, EventType::parse("task:retry:blocked").unwrap());
    }

    #[test]
    fn any_word_can_be_a_type() {
        for text in ["log", "任务:创建", "alert:🚨", "a/b/c", "$x", "(a|b):x", "a-b_c:D", "a+b", "^task:x$"]
        {
            assert_eq!(EventType::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_could_not_be_addressed_is_refused_with_its_place() {
        assert_eq!(flaw(""), NameFlaw::Empty);
        assert_eq!(flaw(":"), NameFlaw::EmptySegment(1));
        assert_eq!(flaw("task:"), NameFlaw::EmptySegment(2));
        assert_eq!(flaw("task.:x"), NameFlaw::EmptySegment(2));
        assert_eq!(flaw("a:é *"), NameFlaw::Forbidden { character: ' ', position: 4 });
        assert_eq!(flaw("a:*"), NameFlaw::Forbidden { character: '*', position: 3 });
        assert_eq!(flaw("a:>"), NameFlaw::Forbidden { character: '>', position: 3 });
        assert_eq!(flaw("a\u{0}b"), NameFlaw::Forbidden { character: '\0', position: 2 });
        assert_eq!(flaw("a\u{a0}b"), NameFlaw::Forbidden { character: '\u{a0}', position: 2 });
        assert_eq!(flaw(&"x".repeat(257)), NameFlaw::TooLong(257));
        assert!(EventType::parse(&"x".repeat(256)).is_ok());
    }

    #[test]
    fn the_error_says_what_is_legal() {
        let message = EventType::parse("a b").unwrap_err().to_string();
        assert!(message.contains("' ' as character 2") && message.contains("`task:created`"), "{message}");
    }

    #[test]
    fn in_json_it_is_a_string_that_is_checked() {
        let read: EventType = serde_json::from_str("\"task.created\"").unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), "\"task:created\"");
        assert!(serde_json::from_str::<EventType>("\"task:*\"").is_err());
    }
}

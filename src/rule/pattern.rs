//! Patterns of event types, such as `task:*`.
//!
//! `*` alone matches every type; inside a pattern it stays within one segment and `**` crosses segments; more than
//! two stars are two; everything else is literal, `?`, `[` and `\` included. `sla:**` does not match `sla`, nor
//! does `a:**:c` match `a:c`: the separators are literal too. Whatever the pattern, matching takes time
//! proportional to pattern times type.

use std::fmt;

use thiserror::Error;

use crate::event::event_type::{NameFlaw, canonical, never_in_a_type};

/// As long as the longest type: a longer one could match only with stars that match nothing.
pub const PATTERN_BYTES_MAX: usize = 256;

#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    shape: Shape,
    segments: Vec<Segment>,
}

/// What one segment of a pattern can match: what an index over many patterns needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// This segment and no other.
    Literal(String),
    /// `*`: any one segment.
    Any,
    /// Exactly one segment, with stars inside: `sub*`.
    Glob(String),
    /// It has `**`: one segment or several. The pattern `*` is one of these, since alone it matches all types.
    Deep(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the pattern {0}; a pattern is segments joined by `:` or `.`, such as `task:*`, {PATTERN_BYTES_MAX} bytes at most, \
     without white space, control characters and `>`; `*` stays within a segment, `**` crosses segments"
)]
pub struct PatternError(#[from] NameFlaw);

#[derive(Debug, Clone)]
enum Shape {
    Everything,
    Literal,
    /// The middle starts and ends with a star.
    Wild {
        prefix: String,
        middle: Vec<Token>,
        suffix: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    Within,
    Across,
}

impl Pattern {
    /// # Errors
    /// When it is no pattern; the error says what a pattern is.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        // A pattern with a character that no type has would never match, and nobody would notice.
        let text = canonical(text, PATTERN_BYTES_MAX, never_in_a_type)?;
        let shape = Shape::of(&text);
        let segments = match shape {
            Shape::Everything => vec![Segment::Deep(text.clone())],
            Shape::Literal | Shape::Wild { .. } => text.split(':').map(Segment::of).collect(),
        };
        Ok(Self { text, shape, segments })
    }

    /// `event_type` in canonical form, with `:`.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        match &self.shape {
            Shape::Everything => true,
            Shape::Literal => self.text == event_type,
            Shape::Wild { prefix, middle, suffix } => {
                let rest = event_type.strip_prefix(prefix.as_str());
                let rest = rest.and_then(|rest| rest.strip_suffix(suffix.as_str()));
                rest.is_some_and(|rest| wild_matches(middle, rest.as_bytes()))
            }
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Never empty. Segments up to the first [`Segment::Deep`] stand for one segment of the type each.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// `*` or `**` alone.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        matches!(self.shape, Shape::Everything)
    }

    /// It matches one type only.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        matches!(self.shape, Shape::Literal)
    }

    /// True when its first segment is literal. Only such patterns may see the events that Bugle emits about itself, or a
    /// rule for everything would feed itself. [`Pattern::matches`] does not know of it.
    #[must_use]
    pub fn starts_literally(&self) -> bool {
        matches!(self.segments.first(), Some(Segment::Literal(_)))
    }

    /// True when it asks for the events about deliveries.
    #[must_use]
    pub fn names_own_events(&self) -> bool {
        matches!(self.segments.first(), Some(Segment::Literal(first)) if first == "notification")
    }
}

impl Segment {
    fn of(text: &str) -> Self {
        if text == "*" {
            Self::Any
        } else if text.contains("**") {
            Self::Deep(text.to_owned())
        } else if text.contains('*') {
            Self::Glob(text.to_owned())
        } else {
            Self::Literal(text.to_owned())
        }
    }
}

impl Shape {
    fn of(text: &str) -> Self {
        let (Some(first), Some(last)) = (text.find('*'), text.rfind('*')) else {
            return Self::Literal;
        };
        let middle = tokens(&text[first..=last]);
        if middle.len() == 1 && text.len() == last - first + 1 {
            return Self::Everything;
        }
        Self::Wild { prefix: text[..first].to_owned(), middle, suffix: text[last + 1..].to_owned() }
    }
}

/// Bytes will do: `:` is one, and a literal is equal when its bytes are.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match (byte, tokens.last_mut()) {
            (b'*', Some(last @ (Token::Within | Token::Across))) => *last = Token::Across,
            (b'*', _) => tokens.push(Token::Within),
            (byte, _) => tokens.push(Token::Byte(byte)),
        }
    }
    tokens
}

fn wild_matches(tokens: &[Token], text: &[u8]) -> bool {
    match tokens {
        [Token::Across] => true,
        [Token::Within] => !text.contains(&b':'),
        _ => simulate(tokens, text),
    }
}

/// All ways to match, side by side, a byte at a time. Backtracking would be quicker for most patterns, and stall on
/// some.
fn simulate(tokens: &[Token], text: &[u8]) -> bool {
    // alive[i]: the first i tokens can make the text read so far.
    let mut states = [false; PATTERN_BYTES_MAX + 1];
    let alive = &mut states[..=tokens.len()];
    alive[0] = true;
    pass_stars(tokens, alive);
    for byte in text {
        // From the end, since a state is made of itself and of the one before.
        for state in (0..=tokens.len()).rev() {
            let came = state > 0 && alive[state - 1] && tokens[state - 1] == Token::Byte(*byte);
            let stayed = alive[state] && tokens.get(state).is_some_and(|token| token.absorbs(*byte));
            alive[state] = came || stayed;
        }
        pass_stars(tokens, alive);
        if !alive.contains(&true) {
            return false;
        }
    }
    alive[tokens.len()]
}

/// A star may match nothing. Two stars are never neighbours, so one pass is enough.
fn pass_stars(tokens: &[Token], alive: &mut [bool]) {
    for (state, token) in tokens.iter().enumerate() {
        if alive[state] && token.is_star() {
            alive[state + 1] = true;
        }
    }
}

impl Token {
    fn is_star(self) -> bool {
        match self {
            Self::Within | Self::Across => true,
            Self::Byte(_) => false,
        }
    }

    fn absorbs(self, byte: u8) -> bool {
        match self {
            Self::Within => byte != b':',
            Self::Across => true,
            Self::Byte(_) => false,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Vector {
        pattern: String,
        #[serde(rename = "type")]
        event_type: String,
        expected: bool,
    }

    fn matches(pattern: &str, event_type: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(event_type)
    }

    #[test]
    fn every_vector_matches_as_expected() {
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../../tests/vectors/pattern.json")).unwrap();
        assert!(vectors.len() > 400);
        for (index, vector) in vectors.iter().enumerate() {
            let pattern =
                Pattern::parse(&vector.pattern).unwrap_or_else(|error| panic!("{index} {vector:?}: {error}"));
            assert_eq!(pattern.matches(&vector.event_type), vector.expected, "{index} {vector:?}");
        }
    }

    #[test]
    fn a_dot_in_a_pattern_is_a_colon() {
        let pattern = Pattern::parse("task.*").unwrap();
        assert_eq!(pattern.to_string(), "task:*");
        assert!(pattern.matches("task:created"));
        assert_eq!(pattern, Pattern::parse("task:*").unwrap());
    }

    #[test]
    fn prefix_and_suffix_do_not_overlap() {
        assert!(!matches("ab*ba", "aba"));
        assert!(matches("ab*ba", "abba"));
        assert!(!matches("a:**:c", "a:c"));
    }

    #[test]
    fn what_is_special_elsewhere_is_literal_here() {
        for text in ["task:?", "creat?d", "{a,b}:x", "__GLOBSTAR__", "a\\b", "%", "#"] {
            let pattern = Pattern::parse(text).unwrap();
            assert!(pattern.is_literal() && pattern.matches(text), "{text}");
            assert!(!pattern.matches("task:a") && !pattern.matches("task:"), "{text}");
        }
    }

    #[test]
    fn a_pattern_that_could_never_match_is_refused() {
        for text in ["", ":", "task:", ":*", "a::b", "a..b", "a .b", "task:>", "a\tb", &"a".repeat(257)] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
        let message = Pattern::parse("task:>").unwrap_err().to_string();
        assert!(
            message.contains("'>' as character 6") && message.contains("`**` crosses segments"),
            "{message}"
        );
    }

    #[test]
    fn segments_tell_what_they_can_match() {
        let segments = |text: &str| Pattern::parse(text).unwrap().segments().to_vec();
        let literal = |text: &str| Segment::Literal(text.to_owned());
        assert_eq!(segments("task:*:do*"), [literal("task"), Segment::Any, Segment::Glob("do*".to_owned())]);
        assert_eq!(segments("a:b**:c"), [literal("a"), Segment::Deep("b**".to_owned()), literal("c")]);
        assert_eq!(segments("*"), [Segment::Deep("*".to_owned())]);
    }

    #[test]
    fn only_one_run_of_stars_is_everything() {
        let is_everything = |text: &str| Pattern::parse(text).unwrap().is_everything();
        assert!(["*", "**", "***"].into_iter().all(is_everything));
        assert!(!["*:*", "a*", "**:**", "a", "**a"].into_iter().any(is_everything));
    }

    #[test]
    fn only_the_literal_first_segment_names_own_events() {
        let names = |text: &str| Pattern::parse(text).unwrap().names_own_events();
        assert!(
            ["notification:*", "notification.sent", "notification", "notification:**"].into_iter().all(names)
        );
        let others = ["*", "**", "notif*:sent", "notification*", "notifications:sent", "*:notification"];
        assert!(!others.into_iter().any(names));
    }

    #[test]
    fn no_pattern_takes_more_than_pattern_times_type() {
        let text = "a".repeat(10_000);
        let cut = "a:".repeat(5_000) + "a";
        for star in ["*", "**"] {
            let pattern = Pattern::parse(&format!("{star}a").repeat(30)).unwrap();
            assert!(pattern.matches(&text));
            assert!(!pattern.matches(&format!("{text}b")));
            assert_eq!(pattern.matches(&cut), star == "**");
        }
        let mixed = Pattern::parse(&"*a**".repeat(60)).unwrap();
        assert!(mixed.matches(&text) && mixed.matches(&cut));
        assert!(!Pattern::parse(&("*a**".repeat(60) + "b")).unwrap().matches(&cut));
    }

    /// The obvious definition, exponential and therefore only for short texts.
    fn defined(tokens: &[Token], text: &[u8]) -> bool {
        match (tokens.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some((Token::Byte(byte), tokens)), rest) => {
                rest.is_some_and(|(first, text)| first == byte && defined(tokens, text))
            }
            (Some((star, after)), rest) => {
                let goes_on = |(first, text): (&u8, &[u8])| star.absorbs(*first) && defined(tokens, text);
                defined(after, text) || rest.is_some_and(goes_on)
            }
        }
    }

    #[test]
    fn every_short_pattern_matches_every_short_type_as_defined() {
        let words = |alphabet: &[char], length: usize| {
            let mut words = vec![String::new()];
            for _ in 0..length {
                words = words.iter().flat_map(|w| alphabet.iter().map(move |c| format!("{w}{c}"))).collect();
            }
            words
        };
        let types: Vec<String> = (1..=5).flat_map(|length| words(&['a', 'b', ':'], length)).collect();
        let mut compared = 0;
        for text in (1..=6).flat_map(|length| words(&['a', ':', '*'], length)) {
            let Ok(pattern) = Pattern::parse(&text) else { continue };
            for event_type in types.iter().filter(|t| crate::event::event_type::EventType::parse(t).is_ok()) {
                let expected = pattern.is_everything() || defined(&tokens(&text), event_type.as_bytes());
                assert_eq!(pattern.matches(event_type), expected, "{text} {event_type}");
                compared += 1;
            }
        }
        assert!(compared > 50_000);
    }
}

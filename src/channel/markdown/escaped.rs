//! Values in an HTML text, written so that a reader sees them as they are: no tag, attribute or entity of theirs is one.
//!
//! In running text `&`, `<`, `>` and quotes are entities. In a tag white space and signs are entities too, since a value
//! without quotes around it would end there and begin another attribute.

use std::fmt::Write as _;
use std::ops::Range;

/// Of no width, and dropped by whoever reads: parts a `<` from a value that would make a tag of it.
const APART: char = '\u{200b}';

/// Where in the source the next character stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    Tag,
    /// In a tag, up to this quote.
    Quote(char),
    Comment,
}

/// `source` with each of `values`, its ranges in ascending order, escaped.
#[must_use]
pub fn escaped(source: &str, values: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(source.len() + source.len() / 4);
    let (mut at, mut place) = (0, Place::Text);
    for range in values {
        place = after(place, &source[at..range.start]);
        out.push_str(&source[at..range.start]);
        let value = &source[range.clone()];
        if place == Place::Text && (out.ends_with('<') || out.ends_with("</")) {
            out.push(APART);
        }
        let in_tag = matches!(place, Place::Tag | Place::Quote(_));
        value.chars().for_each(|ch| push(ch, in_tag, &mut out));
        at = range.end;
    }
    out.push_str(&source[at..]);
    out
}

fn push(ch: char, in_tag: bool, out: &mut String) {
    match ch {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        // Writing to a String cannot fail.
        '=' | '`' | '/' if in_tag => write!(out, "&#{};", u32::from(ch)).unwrap_or_default(),
        _ if in_tag && ch.is_whitespace() => write!(out, "&#{};", u32::from(ch)).unwrap_or_default(),
        '\r' => {}
        _ => out.push(ch),
    }
}

/// Where one stands behind `text`.
fn after(mut place: Place, text: &str) -> Place {
    let mut at = 0;
    while let Some(ch) = text[at..].chars().next() {
        let rest = &text[at + ch.len_utf8()..];
        place = match (place, ch) {
            (Place::Text, '<') if rest.starts_with("!--") => Place::Comment,
            (Place::Text, '<')
                if rest.starts_with(|next: char| next.is_ascii_alphabetic() || "/!?".contains(next)) =>
            {
                Place::Tag
            }
            (Place::Tag, '>') => Place::Text,
            (Place::Tag, '"' | '\'') => Place::Quote(ch),
            (Place::Quote(quote), _) if ch == quote => Place::Tag,
            (Place::Comment, '>') if text[..at].ends_with("--") => Place::Text,
            (same, _) => same,
        };
        at += ch.len_utf8();
    }
    place
}

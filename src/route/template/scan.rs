//! Taking a template's source apart: text, plain paths, and code for the engine.
//!
//! A plain path is recognised before the engine sees it, so that any name works: `{{else}}`, `{{trace-id}}`,
//! `{{ключ}}`. All parts together are the source, byte for byte.

use crate::rule::condition::Path;
use crate::rule::fault::Fault;

#[derive(Debug)]
pub(super) enum Part<'a> {
    Text(&'a str),
    /// `{{ a.b }}`, with its tag as written.
    Path {
        tag: &'a str,
        path: Path,
        /// It has a `-` or `+` that rules the white space around it.
        trims: bool,
    },
    Code {
        tag: &'a str,
        kind: Kind,
        /// From 1.
        line: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Expression,
    Statement,
    /// A comment, or all of a raw block.
    Inert,
}

pub(super) fn parts(source: &str) -> Result<Vec<Part<'_>>, Fault> {
    let mut parts = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(at) = next_tag(rest) {
        line += lines_in(&rest[..at]);
        let tag = &rest[at..];
        // `{{{x}}}` shows x in braces: the first one is text.
        let braces = usize::from(tag.starts_with("{{{") && plain(&tag[1..]).is_some());
        let part = part(&tag[braces..], line).map_err(|message| at_line(line, &message))?;
        let from = at + braces;
        if from > 0 {
            parts.push(Part::Text(&rest[..from]));
        }
        let length = part.source().len();
        line += lines_in(part.source());
        rest = &rest[from + length..];
        parts.push(part);
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

pub(super) fn at_line(line: usize, message: &str) -> Fault {
    Fault::here(format!("line {line}: {message}"))
}

impl<'a> Part<'a> {
    pub fn source(&self) -> &'a str {
        match self {
            Self::Text(source) | Self::Path { tag: source, .. } | Self::Code { tag: source, .. } => source,
        }
    }
}

/// Without its delimiters and the signs that rule white space.
pub(super) fn inside(tag: &str) -> &str {
    let inside = &tag[2..tag.len() - 2];
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    inside.strip_suffix(['-', '+']).unwrap_or(inside).trim()
}

fn next_tag(text: &str) -> Option<usize> {
    text.as_bytes().windows(2).position(|pair| matches!(pair, b"{{" | b"{%" | b"{#"))
}

fn lines_in(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// `rest` starts with a tag.
fn part(rest: &str, line: usize) -> Result<Part<'_>, String> {
    if let Some(tag) = plain(rest) {
        let path = Path::parse(inside(tag)).map_err(|error| error.to_string())?;
        let trims = [2, tag.len() - 3].into_iter().any(|at| matches!(tag.as_bytes()[at], b'-' | b'+'));
        return Ok(Part::Path { tag, path, trims });
    }
    if let Some(comment) = rest.strip_prefix("{#") {
        let length = 2 + comment.find("#}").ok_or("`{#` is not closed")? + 2;
        return Ok(Part::Code { tag: &rest[..length], kind: Kind::Inert, line });
    }
    if rest.starts_with("{{") {
        let length = code_length(rest, *b"}}").ok_or("`{{` is not closed")?;
        return Ok(Part::Code { tag: &rest[..length], kind: Kind::Expression, line });
    }
    let length = code_length(rest, *b"%}").ok_or("`{%` is not closed")?;
    if inside(&rest[..length]) == "raw" {
        let raw = raw_length(&rest[length..]).ok_or("`{% raw %}` has no `{% endraw %}`")?;
        return Ok(Part::Code { tag: &rest[..length + raw], kind: Kind::Inert, line });
    }
    Ok(Part::Code { tag: &rest[..length], kind: Kind::Statement, line })
}

/// Closing delimiters in strings and in brackets do not count; the engine reads them so too.
fn code_length(rest: &str, close: [u8; 2]) -> Option<usize> {
    let bytes = rest.as_bytes();
    let mut at = 2;
    let mut open = 0_isize;
    while at < bytes.len() {
        if open == 0 && bytes[at..].starts_with(&close) {
            return Some(at + 2);
        }
        match bytes[at] {
            quote @ (b'"' | b'\'') => at += string_length(&bytes[at..], quote)?,
            b'(' | b'[' | b'{' => {
                open += 1;
                at += 1;
            }
            b')' | b']' | b'}' => {
                open -= 1;
                at += 1;
            }
            _ => at += 1,
        }
    }
    None
}

/// With its quotes; the first byte is one.
pub(super) fn string_length(bytes: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// Up to the end of `{% endraw %}`.
fn raw_length(rest: &str) -> Option<usize> {
    rest.match_indices("{%").find_map(|(at, _)| {
        let length = 2 + rest[at + 2..].find("%}")? + 2;
        (inside(&rest[at..at + length]) == "endraw").then_some(at + length)
    })
}

/// The tag, if it holds a path and nothing else.
fn plain(rest: &str) -> Option<&str> {
    if !rest.starts_with("{{") {
        return None;
    }
    let length = 2 + rest[2..].find("}}")? + 2;
    let tag = &rest[..length];
    is_plain_path(inside(tag)).then_some(tag)
}

/// Names joined by dots, and indexes such as `[0]`. A number to start with would be a number, not a field.
pub(super) fn is_plain_path(text: &str) -> bool {
    let mut rest = text;
    let mut first = true;
    loop {
        let name = name_length(rest);
        if name == 0 || (first && rest.starts_with(|c: char| c.is_ascii_digit())) {
            return false;
        }
        first = false;
        rest = &rest[name..];
        while let Some(index) = index_length(rest) {
            rest = &rest[index..];
        }
        if rest.is_empty() {
            return true;
        }
        let Some(after) = rest.strip_prefix('.') else { return false };
        rest = after;
    }
}

/// A hyphen belongs to a name where a letter follows; `{{ n-1 }}` is a subtraction.
fn name_length(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let joins = c == '-' && at > 0 && chars.peek().is_some_and(|(_, next)| next.is_alphabetic());
        if !joins && !is_of_a_name(c) {
            return at;
        }
    }
    text.len()
}

fn is_of_a_name(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '$' | '@' => true,
        _ => !c.is_ascii() && !c.is_whitespace() && !c.is_control(),
    }
}

fn index_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('[')?;
    let digits = inside.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0 && inside[digits..].starts_with(']')).then_some(digits + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_source() {
        let sources = [
            "a {{b}} c {% if x %} {# {{ #} {% raw %}{{ {% {%- endraw -%} {{- d.e -}} {{ '}}' ~ {'a': {}} }} }",
            "{{{x}}} {{x}}} {",
            "",
            "{ {} }} %} #}",
        ];
        for source in sources {
            let joined: String = parts(source).unwrap().iter().map(Part::source).collect();
            assert_eq!(joined, source);
        }
    }

    #[test]
    fn only_names_and_indexes_make_a_plain_path() {
        for text in
            ["a", "a.b.0", "a[0].b", "a[0][1]", "else", "a-b", "ключ.值", "🚀", "$a.@b", "a.0b", "_event.x"]
        {
            assert!(is_plain_path(text), "{text}");
        }
        for text in [
            "", ".", "a.", ".a", "a..b", "0", "1.5", "a b", "a-1", "a-", "-a", "a|b", "a()", "a[b]", "a[",
            "a[]", "'a'",
        ] {
            assert!(!is_plain_path(text), "{text}");
        }
    }

    #[test]
    fn a_megabyte_of_tags_is_read_once() {
        for unit in
            ["{{a}}", "{{ '}}' }}", "{% if a %}", "{##}", "{{{a}}}", "\n{{a|b}}", "{% raw %}{% endraw %}"]
        {
            assert!(parts(&unit.repeat(1_000_000 / unit.len())).is_ok());
        }
    }
}

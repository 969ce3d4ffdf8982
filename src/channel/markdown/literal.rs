//! Values in a Markdown text, written so that a reader sees them as they are: no mark, link or line of theirs is one.
//!
//! In prose a character that could be a mark has a backslash in front of it, and only then, since receivers of the
//! source read it too. Backslashes mean nothing in code: there the code's own fences give way ([`places`]). A
//! character of no width, which every channel drops, parts what must not touch.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use super::places::{Place, Places, places};

const APART: char = '\u{200b}';

/// `source` with each of `values`, its ranges in ascending order, made literal. It can be six times as long.
///
/// `may_hold_code`: the rest of the source may have code, links or indented lines, so that it has to be parsed.
#[must_use]
pub fn literal(source: &str, values: &[Range<usize>], may_hold_code: bool) -> String {
    let is_calm = |range: &Range<usize>| is_calm(&source[range.clone()], may_hold_code);
    if values.iter().all(is_calm) {
        return source.to_owned();
    }
    let Places { of_values, spans } =
        if may_hold_code { places(source, values) } else { Places::prose(values.len()) };
    let mut writer = Writer::new(source.len());
    let (mut at, mut spans) = (0, spans.as_slice());
    for (range, place) in values.iter().zip(of_values) {
        spans = writer.text_with_spans(source, at..range.start, spans);
        let next = source[range.end..].chars().next();
        writer.value(&source[range.clone()], place, next);
        at = range.end;
    }
    writer.text_with_spans(source, at..source.len(), spans);
    writer.out
}

/// True for what is literal anywhere, which nearly all values are: words, numbers, times, paths and names.
fn is_calm(value: &str, may_be_in_code: bool) -> bool {
    let calm = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b':' | b'/' | b'@' | b'%' | b'_' => true,
        b' ' | b',' | b';' | b'\'' | b'"' | b'(' | b')' | b'+' | b'=' | b'?' | b'$' | b'#' | b'{' | b'}' => {
            !may_be_in_code
        }
        _ => !byte.is_ascii() && !may_be_in_code,
    };
    let bytes = value.as_bytes();
    let is_hugged =
        |part: &str| part.starts_with(char::is_alphanumeric) && part.ends_with(char::is_alphanumeric);
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let counts = digits > 0 && matches!(bytes.get(digits..digits + 2), Some([b'.' | b')', b' ']));
    value.split('_').all(is_hugged) && !counts && bytes.iter().all(|byte| calm(*byte))
}

/// A code span in the source around values, and what it takes to hold them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub range: Range<usize>,
    /// Backticks that each of its ends needs besides its own.
    pub more: usize,
    /// A space within each end, which the parser takes away.
    pub padded: bool,
}

struct Writer {
    out: String,
    /// Nothing but marks and numbers in this line so far: a block could start here.
    at_start: bool,
    /// The paragraph so far is plain text at the left margin: a line feed in it ends nothing but a line.
    is_plain: bool,
    line_is_blank: bool,
}

impl Writer {
    fn new(bytes: usize) -> Self {
        let out = String::with_capacity(bytes + bytes / 4);
        Self { out, at_start: true, is_plain: true, line_is_blank: true }
    }

    /// The spans that do not end in this part of the source.
    fn text_with_spans<'a>(&mut self, source: &str, part: Range<usize>, mut spans: &'a [Span]) -> &'a [Span] {
        let mut at = part.start;
        while let Some((span, later)) = spans.split_first() {
            let start_is_here = (at..part.end).contains(&span.range.start);
            if start_is_here {
                self.text(&source[at..span.range.start]);
                self.backticks(span.more);
                at = span.range.start;
                let mark = source[at..].bytes().take_while(|byte| *byte == b'`').count();
                self.text(&source[at..(at + mark).min(part.end)]);
                self.text(if span.padded { " " } else { "" });
                at = (at + mark).min(part.end);
            }
            if !(at..=part.end).contains(&span.range.end) {
                break;
            }
            let mark = source[..span.range.end].bytes().rev().take_while(|byte| *byte == b'`').count();
            let end = span.range.end.saturating_sub(mark).max(at);
            self.text(&source[at..end]);
            self.text(if span.padded { " " } else { "" });
            self.text(&source[end..span.range.end]);
            self.backticks(span.more);
            at = span.range.end;
            spans = later;
        }
        self.text(&source[at..part.end]);
        spans
    }

    fn backticks(&mut self, count: usize) {
        self.out.extend(std::iter::repeat_n('`', count));
    }

    /// What the template's author wrote.
    fn text(&mut self, text: &str) {
        for ch in text.chars() {
            if ch == '\n' {
                self.is_plain |= self.line_is_blank;
                (self.line_is_blank, self.at_start) = (true, true);
                continue;
            }
            let indents = matches!(ch, ' ' | '\t' | '-' | '+' | '=' | '0'..='9');
            let marks = matches!(ch, '*' | '_' | '`' | '[' | ']' | '<' | '>' | '#' | '~' | '\\');
            self.is_plain &= !(marks || self.line_is_blank && indents);
            self.line_is_blank &= ch.is_whitespace();
            self.at_start &= !ch.is_alphabetic();
        }
        self.out.push_str(text);
    }

    fn value(&mut self, value: &str, place: Place, next: Option<char>) {
        let (before, is_mark) = (self.out.chars().next_back(), |ch: char| matches!(ch, '*' | '_' | '`'));
        if value.is_empty() && before.is_some_and(is_mark) && next.is_some_and(is_mark) {
            return self.out.push(APART);
        }
        let normal = if value.contains('\r') {
            Cow::Owned(value.replace("\r\n", "\n").replace('\r', "\n"))
        } else {
            Cow::Borrowed(value)
        };
        let value = normal.as_ref();
        match place {
            Place::Prose => self.prose(value, next),
            Place::Span => self.out.push_str(&value.replace('\n', " ")),
            Place::Block => self.block(value),
            Place::Address => value.chars().for_each(|ch| self.address(ch)),
        }
        self.line_is_blank &= value.is_empty();
    }

    fn prose(&mut self, value: &str, next: Option<char>) {
        let parts = |ch: char| matches!(ch, '*' | '_');
        let Some(first) = value.chars().next() else { return };
        let backslashes = self.out.bytes().rev().take_while(|byte| *byte == b'\\').count();
        let escapes = backslashes % 2 == 1 && !first.is_alphanumeric();
        if escapes || self.out.ends_with(parts) && !first.is_alphanumeric() {
            self.out.push(APART);
        }
        let mut previous = None;
        let mut chars = value.char_indices().peekable();
        let text_end = value.trim_end_matches('\n').len();
        while let Some((index, ch)) = chars.next() {
            match ch {
                '\n' => self.line_feed(index < text_end),
                _ => self.character(ch, previous, chars.peek().map(|(_, ch)| *ch)),
            }
            previous = Some(ch);
        }
        if next.is_some_and(parts) && previous.is_some_and(|last| !last.is_alphanumeric()) {
            self.out.push(APART);
        }
    }

    /// Two real ones in a row at most: the parser makes one blank line of more.
    fn line_feed(&mut self, has_text_behind: bool) {
        let blank = self.out.is_empty() || self.out.ends_with("\n\n");
        if !self.is_plain || !has_text_behind || blank {
            self.out.push_str("&#10;");
            self.at_start = false;
        } else {
            self.out.push('\n');
            self.at_start = true;
        }
    }

    fn character(&mut self, ch: char, previous: Option<char>, next: Option<char>) {
        let word = |ch: Option<char>| ch.is_some_and(char::is_alphanumeric);
        let starts_block = match ch {
            ' ' | '\t' if self.at_start => {
                self.out.push_str(if ch == ' ' { "&#32;" } else { "&#9;" });
                self.at_start = false;
                return;
            }
            '#' | '>' | '+' | '-' | '=' | '~' => true,
            '.' | ')' => self.out.ends_with(|last: char| last.is_ascii_digit()),
            _ => false,
        };
        let is_active = match ch {
            '*' | '`' | '[' | ']' => true,
            '_' => !(word(previous) && word(next)),
            '\\' => next.is_none_or(|next| next.is_ascii_punctuation() || next == '\n'),
            '<' => next.is_none_or(|next| next.is_ascii_alphabetic() || matches!(next, '/' | '!' | '?')),
            '&' => next.is_none_or(|next| next.is_ascii_alphanumeric() || next == '#'),
            '!' => next.is_none(),
            '(' | ':' => previous.is_none() && self.out.ends_with(']'),
            _ => false,
        };
        if is_active || starts_block && self.at_start {
            self.out.push('\\');
        }
        self.at_start &= ch.is_ascii_digit();
        if ch == '\t' || !ch.is_control() {
            self.out.push(ch);
        }
    }

    /// Further lines stand where the first one does: behind the same quote marks, as far to the right.
    fn block(&mut self, value: &str) {
        let line = self.out.rfind('\n').map_or(0, |feed| feed + 1);
        let margin =
            self.out[line..].find(|ch| !matches!(ch, ' ' | '\t' | '>')).unwrap_or(self.out.len() - line);
        let margin = self.out[line..line + margin].to_owned();
        let mut is_first = self.out.len() == line + margin.len();
        for (index, line) in value.split('\n').enumerate() {
            if index > 0 {
                self.out.push('\n');
                self.out.push_str(&margin);
                is_first = true;
            }
            if is_first && line.trim_start().starts_with(['`', '~']) {
                self.out.push(APART);
            }
            self.out.push_str(line);
        }
    }

    fn address(&mut self, ch: char) {
        if ch.is_whitespace() || ch.is_control() {
            let mut bytes = [0; 4];
            for byte in ch.encode_utf8(&mut bytes).bytes() {
                // Writing to a String cannot fail.
                write!(self.out, "%{byte:02X}").ok();
            }
            return;
        }
        let harmless =
            matches!(ch, '-' | '.' | '/' | ':' | '?' | '=' | '%' | '#' | '@' | '+' | ',' | ';' | '~' | '$');
        if ch.is_ascii_punctuation() && !harmless {
            self.out.push('\\');
        }
        self.out.push(ch);
    }
}

#[cfg(test)]
mod tests;

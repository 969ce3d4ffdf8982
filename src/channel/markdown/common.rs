//! Markdown again, for providers that show it: what was no mark in the body is none in theirs.
//!
//! A backslash before what could be a mark is understood by all of them (CommonMark, 2.4). Source: <https://spec.commonmark.org/0.31.2/>.

use super::Tag;
use super::write::Dialect;

/// Invisible and of no width: parts a mention. It is dropped from all text that comes in.
const APART: char = '\u{200b}';

/// Marks wherever they stand, and HTML.
const MARKS: [char; 10] = ['\\', '`', '*', '_', '~', '[', ']', '<', '>', '|'];

/// Longer starts of a line begin nothing.
const LINE_START_BYTES_MAX: usize = 64;

#[derive(Debug, Clone, Copy)]
pub(super) struct Common {
    /// A line feed alone is a space to strict readers.
    pub hard_breaks: bool,
}

impl Dialect for Common {
    const COUNTS_MARKUP: bool = true;

    fn open(&self, tag: &Tag, out: &mut String) {
        out.push_str(match tag {
            Tag::Bold => "**",
            Tag::Italic => "*",
            Tag::Strike => "~~",
            // Markdown has none.
            Tag::Underline => "",
            Tag::Code => "`",
            Tag::CodeBlock => "```\n",
            Tag::Link(_) => "[",
            Tag::Quote => "> ",
        });
    }

    fn close(&self, tag: &Tag, out: &mut String) {
        match tag {
            Tag::Bold => out.push_str("**"),
            Tag::Italic => out.push('*'),
            Tag::Strike => out.push_str("~~"),
            Tag::Underline => {}
            Tag::Code => out.push('`'),
            Tag::CodeBlock => out.push_str("\n```"),
            Tag::Link(link) => {
                out.push_str("](");
                out.push_str(&target(link));
                out.push(')');
            }
            Tag::Quote => {}
        }
    }

    fn text(&self, text: &str, within: &[&Tag], out: &mut String) {
        if let Some(Tag::Code | Tag::CodeBlock) = within.last() {
            // A backtick would end the code: one that looks the same does not.
            return out.push_str(&text.replace('`', "\u{2cb}"));
        }
        // Discord shows no link whose label is an address itself: it could be another one.
        let bare = text.trim_start_matches("https://").trim_start_matches("http://");
        escape(if matches!(within.last(), Some(Tag::Link(_))) { bare } else { text }, out);
    }

    /// Styles do not reach over a line's end with all readers.
    fn line_feed(&self, within: &[&Tag], out: &mut String) {
        if within.iter().any(|tag| matches!(tag, Tag::Link(_))) {
            return out.push(' ');
        }
        let styles = within.iter().filter(|tag| matches!(tag, Tag::Bold | Tag::Italic));
        for tag in styles.clone().rev() {
            self.close(tag, out);
        }
        let in_code = within.iter().any(|tag| matches!(tag, Tag::CodeBlock));
        out.push_str(if self.hard_breaks && !in_code { "  \n" } else { "\n" });
        if within.contains(&&Tag::Quote) {
            out.push_str("> ");
        }
        for tag in styles {
            self.open(tag, out);
        }
    }

    fn price(&self, ch: char) -> usize {
        if ch.is_ascii_punctuation() { 2 } else { ch.len_utf16() }
    }
}

/// Where in a line a character stands: blocks begin at its start only.
enum At {
    Start,
    Number,
    Inside,
}

impl At {
    fn end_of(out: &str) -> Self {
        let from = out.floor_char_boundary(out.len().saturating_sub(LINE_START_BYTES_MAX + 1));
        let line = out[from..].rsplit('\n').next().unwrap_or_default();
        let rest = line.trim_start_matches([' ', '>']);
        match rest {
            _ if line.len() > LINE_START_BYTES_MAX => Self::Inside,
            "" => Self::Start,
            _ if rest.bytes().all(|byte| byte.is_ascii_digit()) => Self::Number,
            _ => Self::Inside,
        }
    }

    fn behind(self, ch: char) -> Self {
        match (self, ch) {
            (Self::Start, ' ' | '>') => Self::Start,
            (Self::Start | Self::Number, '0'..='9') => Self::Number,
            (Self::Start | Self::Number | Self::Inside, _) => Self::Inside,
        }
    }
}

/// Text as text: marks have a backslash before them, blocks do not begin, nobody is called.
pub(super) fn escape(text: &str, out: &mut String) {
    let mut at = At::end_of(out);
    for ch in text.chars() {
        let begins_block = match at {
            At::Start => matches!(ch, '#' | '-' | '+' | '='),
            At::Number => matches!(ch, '.' | ')'),
            At::Inside => false,
        };
        if MARKS.contains(&ch) || begins_block {
            out.push('\\');
        }
        out.push(ch);
        if ch == '@' {
            out.push(APART);
        }
        at = at.behind(ch);
    }
}

/// A link whose brackets do not end it.
pub(super) fn target(link: &str) -> String {
    link.replace('(', "%28").replace(')', "%29").replace(' ', "%20")
}

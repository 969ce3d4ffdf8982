//! Three ways to write a document: Slack's mrkdwn, Telegram's HTML, and text without marks.
//!
//! Slack: <https://docs.slack.dev/messaging/formatting-message-text>. Telegram: <https://core.telegram.org/bots/api#html-style>.

use super::write::Dialect;
use super::{Tag, escape_html, escape_slack};

/// Invisible and of no width: parts what Slack would take for marks. It is dropped from all text that comes in.
pub(super) const APART: char = '\u{200b}';

/// What Slack takes for the start or the end of a style.
pub(super) const MARKS: [char; 4] = ['*', '_', '~', '`'];

/// mrkdwn has no escape for its marks. `&<>` are escaped, so no mention and no link can be forged; a mark in the text
/// that could make a pair is set apart from its neighbours.
pub(super) struct Slack;

impl Slack {
    pub(super) fn mark(tag: &Tag) -> Option<char> {
        match tag {
            Tag::Bold => Some('*'),
            Tag::Italic => Some('_'),
            Tag::Strike => Some('~'),
            Tag::Underline | Tag::Code | Tag::CodeBlock | Tag::Link(_) | Tag::Quote => None,
        }
    }
}

impl Dialect for Slack {
    const COUNTS_MARKUP: bool = true;

    fn open(&self, tag: &Tag, out: &mut String) {
        let inline = matches!(tag, Tag::Bold | Tag::Italic | Tag::Strike | Tag::Code);
        if inline && out.chars().next_back().is_some_and(char::is_alphanumeric) {
            out.push(APART);
        }
        match tag {
            Tag::Bold => out.push('*'),
            Tag::Italic => out.push('_'),
            Tag::Strike => out.push('~'),
            Tag::Underline => {}
            Tag::Code => out.push('`'),
            Tag::CodeBlock => out.push_str("```\n"),
            Tag::Link(link) => {
                out.push('<');
                out.push_str(&escape_slack(link));
                out.push('|');
            }
            Tag::Quote => out.push_str("> "),
        }
    }

    fn close(&self, tag: &Tag, out: &mut String) {
        match tag {
            Tag::Bold => out.push('*'),
            Tag::Italic => out.push('_'),
            Tag::Strike => out.push('~'),
            Tag::Code => out.push('`'),
            Tag::CodeBlock => out.push_str("\n```"),
            Tag::Link(_) => out.push('>'),
            Tag::Underline | Tag::Quote => {}
        }
    }

    fn text(&self, text: &str, within: &[&Tag], out: &mut String) {
        if let Some(Tag::Code | Tag::CodeBlock) = within.last() {
            // A backtick would end the code: one that looks the same does not.
            return out.push_str(&escape_slack(&text.replace('`', "\u{2cb}")));
        }
        let behind_mark = out.ends_with(MARKS) && text.starts_with(char::is_alphanumeric);
        if behind_mark && within.last().is_none_or(|tag| !ends_with_opening(tag, out)) {
            out.push(APART);
        }
        let pairs = MARKS.map(|mark| {
            let ours = within.iter().any(|tag| Self::mark(tag) == Some(mark));
            ours || runs(text, mark).nth(1).is_some()
        });
        let mut chars = text.chars().peekable();
        let mut previous = out.chars().next_back();
        while let Some(ch) = chars.next() {
            let may_pair = MARKS.iter().zip(pairs).any(|(&mark, pairs)| mark == ch && pairs);
            match ch {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                _ if may_pair => {
                    let mut run = String::from(ch);
                    while let Some(same) = chars.next_if_eq(&ch) {
                        run.push(same);
                    }
                    push_marks(&run, previous, chars.peek().copied(), out);
                }
                _ => out.push(ch),
            }
            previous = Some(ch);
        }
    }

    /// Marks do not reach over a line's end.
    fn line_feed(&self, within: &[&Tag], out: &mut String) {
        if within.iter().any(|tag| matches!(tag, Tag::Link(_))) {
            return out.push(' ');
        }
        let styles = within.iter().filter(|tag| matches!(tag, Tag::Bold | Tag::Italic | Tag::Strike));
        for tag in styles.clone().rev() {
            self.close(tag, out);
        }
        out.push('\n');
        if within.contains(&&Tag::Quote) {
            out.push_str("> ");
        }
        for tag in styles {
            self.open(tag, out);
        }
    }

    /// At most two invisible characters are added before and behind a mark, one before a word.
    fn price(&self, ch: char) -> usize {
        match ch {
            '&' => "&amp;".len(),
            '<' | '>' => "&lt;".len(),
            '*' | '_' | '~' | '`' => 3,
            _ => ch.len_utf16(),
        }
    }
}

/// The runs of `mark` in `text`.
pub(super) fn runs(text: &str, mark: char) -> impl Iterator<Item = &str> {
    text.split(move |ch| ch != mark).filter(|run| !run.is_empty())
}

/// Marks inside a word, or with white space on both sides, are none to Slack; others are set apart.
pub(super) fn push_marks(run: &str, previous: Option<char>, next: Option<char>, out: &mut String) {
    let word = |ch: Option<char>| ch.is_some_and(char::is_alphanumeric);
    let space = |ch: Option<char>| ch.is_none_or(char::is_whitespace);
    if word(previous) && word(next) || space(previous) && space(next) {
        out.push_str(run);
    } else {
        out.push(APART);
        out.push_str(run);
        out.push(APART);
    }
}

/// True when the mark at the end of `out` is the one that opened `tag`: then no word is parted from it.
pub(super) fn ends_with_opening(tag: &Tag, out: &str) -> bool {
    let mark = match tag {
        Tag::Bold => '*',
        Tag::Italic => '_',
        Tag::Strike => '~',
        Tag::Code => '`',
        Tag::Underline | Tag::CodeBlock | Tag::Link(_) | Tag::Quote => return false,
    };
    out.ends_with(mark)
}

/// Only Telegram's own tags.
pub(super) struct Telegram;

impl Dialect for Telegram {
    const COUNTS_MARKUP: bool = false;

    fn open(&self, tag: &Tag, out: &mut String) {
        match tag {
            Tag::Bold => out.push_str("<b>"),
            Tag::Italic => out.push_str("<i>"),
            Tag::Underline => out.push_str("<u>"),
            Tag::Strike => out.push_str("<s>"),
            Tag::Code => out.push_str("<code>"),
            Tag::CodeBlock => out.push_str("<pre>"),
            Tag::Link(link) => {
                out.push_str("<a href=\"");
                out.push_str(&escape_html(link));
                out.push_str("\">");
            }
            Tag::Quote => out.push_str("<blockquote>"),
        }
    }

    fn close(&self, tag: &Tag, out: &mut String) {
        out.push_str(match tag {
            Tag::Bold => "</b>",
            Tag::Italic => "</i>",
            Tag::Underline => "</u>",
            Tag::Strike => "</s>",
            Tag::Code => "</code>",
            Tag::CodeBlock => "</pre>",
            Tag::Link(_) => "</a>",
            Tag::Quote => "</blockquote>",
        });
    }

    fn text(&self, text: &str, _within: &[&Tag], out: &mut String) {
        out.push_str(&escape_html(text));
    }

    fn line_feed(&self, _within: &[&Tag], out: &mut String) {
        out.push('\n');
    }

    fn price(&self, ch: char) -> usize {
        ch.len_utf16()
    }
}

/// For consoles, fallback texts and mail.
pub(super) struct Plain;

impl Dialect for Plain {
    const COUNTS_MARKUP: bool = true;

    fn open(&self, tag: &Tag, out: &mut String) {
        if *tag == Tag::Quote {
            out.push_str("> ");
        }
    }

    fn close(&self, tag: &Tag, out: &mut String) {
        match tag {
            Tag::Link(link) if !out.trim_end_matches('/').ends_with(link.trim_end_matches('/')) => {
                out.push_str(" (");
                out.push_str(link);
                out.push(')');
            }
            Tag::Link(_)
            | Tag::Bold
            | Tag::Italic
            | Tag::Underline
            | Tag::Strike
            | Tag::Code
            | Tag::CodeBlock
            | Tag::Quote => {}
        }
    }

    fn text(&self, text: &str, _within: &[&Tag], out: &mut String) {
        out.push_str(text);
    }

    fn line_feed(&self, within: &[&Tag], out: &mut String) {
        out.push('\n');
        if within.contains(&&Tag::Quote) {
            out.push_str("> ");
        }
    }

    fn price(&self, ch: char) -> usize {
        ch.len_utf16()
    }
}

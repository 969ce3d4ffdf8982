//! WhatsApp's marks: `*bold*`, `_italic_`, `~struck~`, code in backticks, quotes behind `>`.
//!
//! There is no escape and no link: a mark of the text is set apart from its neighbours as for Slack, and a link shows its
//! address behind its words. Source: WhatsApp's help, "How to format your messages".

use super::Tag;
use super::dialect::{APART, MARKS, Plain, Slack, ends_with_opening, push_marks, runs};
use super::write::Dialect;

pub(super) struct WhatsApp;

impl Dialect for WhatsApp {
    const COUNTS_MARKUP: bool = true;

    fn open(&self, tag: &Tag, out: &mut String) {
        match tag {
            Tag::Bold | Tag::Italic | Tag::Strike | Tag::Code => {
                if out.chars().next_back().is_some_and(char::is_alphanumeric) {
                    out.push(APART);
                }
                out.extend(mark(tag));
            }
            Tag::CodeBlock => out.push_str("```"),
            Tag::Quote => out.push_str("> "),
            Tag::Underline | Tag::Link(_) => {}
        }
    }

    fn close(&self, tag: &Tag, out: &mut String) {
        match tag {
            Tag::Bold | Tag::Italic | Tag::Strike | Tag::Code => out.extend(mark(tag)),
            Tag::CodeBlock => out.push_str("```"),
            Tag::Link(_) => Plain.close(tag, out),
            Tag::Underline | Tag::Quote => {}
        }
    }

    fn text(&self, text: &str, within: &[&Tag], out: &mut String) {
        if let Some(Tag::Code | Tag::CodeBlock) = within.last() {
            return out.push_str(&text.replace('`', "\u{2cb}"));
        }
        let behind_mark = out.ends_with(MARKS) && text.starts_with(char::is_alphanumeric);
        let closed_before = behind_mark && within.last().is_none_or(|tag| !ends_with_opening(tag, out));
        let starts_line = out.is_empty() || out.ends_with('\n');
        // A list or a quote that the text would begin.
        if closed_before || starts_line && text.starts_with(['>', '-', '*']) {
            out.push(APART);
        }
        let pairs = MARKS.map(|mark| {
            within.iter().any(|tag| Slack::mark(tag) == Some(mark)) || runs(text, mark).nth(1).is_some()
        });
        let mut chars = text.chars().peekable();
        let mut previous = out.chars().next_back();
        while let Some(ch) = chars.next() {
            if MARKS.iter().zip(pairs).any(|(&mark, pairs)| mark == ch && pairs) {
                let mut run = String::from(ch);
                while let Some(same) = chars.next_if_eq(&ch) {
                    run.push(same);
                }
                push_marks(&run, previous, chars.peek().copied(), out);
            } else {
                out.push(ch);
            }
            previous = Some(ch);
        }
    }

    /// Marks do not reach over a line's end.
    fn line_feed(&self, within: &[&Tag], out: &mut String) {
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

    /// As for Slack: at most two invisible characters around a mark, one before a word.
    fn price(&self, ch: char) -> usize {
        if MARKS.contains(&ch) { 3 } else { ch.len_utf16() }
    }
}

fn mark(tag: &Tag) -> Option<char> {
    if *tag == Tag::Code { Some('`') } else { Slack::mark(tag) }
}

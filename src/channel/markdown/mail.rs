//! Bodies in HTML for mail clients, which know old tags and inline styles only.
//!
//! Everything that is not a tag of ours is escaped, line feeds become tags, and blanks that indent stay.

use super::write::Dialect;
use super::{Tag, escape_html};

const CODE_BLOCK: &str = "<pre style=\"margin:8px 0;padding:8px;background:#f3f4f6;white-space:pre-wrap\">";
const QUOTE: &str = "<blockquote style=\"margin:8px 0;padding-left:8px;border-left:3px solid #d1d5db\">";

pub(super) struct Mail;

impl Dialect for Mail {
    const COUNTS_MARKUP: bool = false;

    fn open(&self, tag: &Tag, out: &mut String) {
        match tag {
            Tag::Bold => out.push_str("<strong>"),
            Tag::Italic => out.push_str("<em>"),
            Tag::Underline => out.push_str("<u>"),
            Tag::Strike => out.push_str("<s>"),
            Tag::Code => out.push_str("<code>"),
            Tag::CodeBlock => out.push_str(CODE_BLOCK),
            Tag::Link(link) => {
                out.push_str("<a href=\"");
                out.push_str(&escape_html(link));
                out.push_str("\">");
            }
            Tag::Quote => out.push_str(QUOTE),
        }
    }

    fn close(&self, tag: &Tag, out: &mut String) {
        out.push_str(match tag {
            Tag::Bold => "</strong>",
            Tag::Italic => "</em>",
            Tag::Underline => "</u>",
            Tag::Strike => "</s>",
            Tag::Code => "</code>",
            Tag::CodeBlock => "</pre>",
            Tag::Link(_) => "</a>",
            Tag::Quote => "</blockquote>",
        });
    }

    fn text(&self, text: &str, within: &[&Tag], out: &mut String) {
        let escaped = escape_html(text);
        if within.contains(&&Tag::CodeBlock) {
            out.push_str(&escaped);
        } else {
            out.push_str(&escaped.replace("  ", "&nbsp; "));
        }
    }

    fn line_feed(&self, within: &[&Tag], out: &mut String) {
        out.push_str(if within.contains(&&Tag::CodeBlock) { "\n" } else { "<br>\n" });
    }

    fn price(&self, ch: char) -> usize {
        ch.len_utf16()
    }
}

#[cfg(test)]
mod tests {
    use crate::channel::markdown::Document;

    fn html(source: &str) -> String {
        Document::parse(source).to_mail(1_000)
    }

    #[test]
    fn marks_become_tags_and_all_else_is_text() {
        for (source, expected) in [
            ("**b** *i* `c`", "<strong>b</strong> <em>i</em> <code>c</code>"),
            ("one\n\ntwo", "one<br>\n<br>\ntwo"),
            (
                "<script>alert(1)</script> & \"x\"",
                "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;x&quot;",
            ),
            ("[a](https://a.example/?x=1&y=\"2\")", "<a href=\"https://a.example/?x=1&amp;y=%222%22\">a</a>"),
            ("[a](javascript:alert(1))", "a"),
            ("- a\n  - b", "• a<br>\n&nbsp; • b"),
        ] {
            assert_eq!(html(source), expected, "{source}");
        }
    }

    #[test]
    fn blocks_keep_their_lines_and_are_closed_when_they_are_cut() {
        assert!(html("```\na  b\n<c>\n```").ends_with(">a  b\n&lt;c&gt;</pre>"));
        let cut = Document::parse(&format!("> {}", "word ".repeat(100))).to_mail(50);
        assert!(cut.ends_with("…</blockquote>"), "{cut}");
    }
}

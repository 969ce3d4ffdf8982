//! HTML as templates have it and as enemies write it, and what each channel then shows.

use std::time::Instant;

use serde_json::json;

use crate::channel::markdown::Document;
use crate::channel::text::units;
use crate::delivery::Format;
use crate::route::template::Template;
use crate::rule::condition::fixture::Case;

fn document(source: &str) -> Document {
    Document::read(source, Format::Html)
}

fn telegram(source: &str) -> String {
    document(source).to_telegram(4096)
}

#[track_caller]
fn shows(source: &str, expected: &str) {
    assert_eq!(telegram(source), expected, "{source}");
}

#[test]
fn telegrams_own_tags_survive() {
    shows(
        "<b>a</b> <strong>b</strong> <i>c</i><em>d</em> <u>e</u><ins>f</ins> <s>g</s><del>h</del>",
        "<b>a</b> <b>b</b> <i>c</i><i>d</i> <u>e</u><u>f</u> <s>g</s><s>h</s>",
    );
    shows(
        "<code>x &lt; y</code> <a href=\"https://a.example/?a=1&amp;b=2\">link</a>",
        "<code>x &lt; y</code> <a href=\"https://a.example/?a=1&amp;b=2\">link</a>",
    );
    shows("<pre><code class=\"language-rust\">\nlet x;\n  y</code></pre>", "<pre>let x;\n  y</pre>");
    shows("a<blockquote>b\nc</blockquote>d", "a\n\n<blockquote>b\nc</blockquote>\n\nd");
    shows("<B>&auml;&#128640;&nbsp;x</B>", "<b>ä🚀\u{a0}x</b>");
}

#[test]
fn lines_blocks_and_lists_are_text() {
    shows("one\ntwo\n\n\n\nthree", "one\ntwo\n\nthree");
    shows("one<br>two<br/>\nthree<br><br>four", "one\ntwo\nthree\n\nfour");
    shows("<p>one</p>\n\n  <p>two\n</p>three", "one\n\ntwo\n\nthree");
    shows("<div>one</div><div>two</div>", "one\ntwo");
    shows("<h1>Head</h1>\n<p>text", "<b>Head</b>\n\ntext");
    shows(
        "Do:\n<ul>\n  <li>one</li>\n  <li><p>two</p>\n    <ol><li>x<li>y</ol>\n  </li>\n</ul>\nend",
        "Do:\n\n• one\n• two\n  1. x\n  2. y\n\nend",
    );
    shows("a<hr>b", "a\n\n———\n\nb");
    shows("see https://a.example/x.", "see <a href=\"https://a.example/x\">https://a.example/x</a>.");
}

#[test]
fn unclosed_crossed_and_unknown_tags_end_well() {
    shows("<b>a<i>b", "<b>a<i>b</i></b>");
    shows("<b>a<i>b</b>c</i>d", "<b>a<i>b</i></b><i>c</i>d");
    shows("a</b></i></x>b", "ab");
    shows("<b><b>a</b></b><b></b>", "<b>a</b>");
    shows("<b>x <code>y</code> z</b>", "<b>x </b><code>y</code><b> z</b>");
    shows("<b><blockquote>a</b>b</blockquote> c", "<b><blockquote>a</blockquote></b>\n\nb c");
    shows("<p>a</p><i><p>b</p></i><p>c", "a\n\n<i>b</i>\n\nc");
    shows("<span class=x>a</span><font color=red>b</font><tg-spoiler>c</tg-spoiler>", "abc");
    shows("<code>a", "<code>a</code>");
    shows("<a href=\"https://a.example/\"></a>", "<a href=\"https://a.example/\">https://a.example/</a>");
    shows("a < b & c > d <3 <", "a &lt; b &amp; c &gt; d &lt;3 &lt;");
}

#[test]
fn nothing_active_comes_through() {
    for (source, expected) in [
        ("a<script>alert(1)</script>b<style>p{}</style>c", "abc"),
        ("<title>t</title><img src=x onerror=alert(1)>a<iframe src=x>b</iframe>", "a"),
        ("<a href=\"javascript:alert(1)\">x</a>", "x"),
        ("<a href=\" java\nscript:alert(1)\">x</a>", "x"),
        (
            "<a onclick=x href='https://a.example/\"><b>'>y</a>",
            "<a href=\"https://a.example/%22%3E%3Cb%3E\">y</a>",
        ),
        ("<!-- c --><!DOCTYPE html><b onmouseover=x>a</b>", "<b>a</b>"),
        ("&lt;script&gt;x&lt;/script&gt;", "&lt;script&gt;x&lt;/script&gt;"),
        ("<scr<script>ipt>x</script>", "ipt&gt;x"),
        ("a\u{202e}b&#x202E;c&#0;d&#27;[31m", "abc\u{fffd}d[31m"),
        ("<script>never closed <b>x</b>", ""),
        (
            "**a** _b_ `c` [d](https://e.example/)",
            "**a** _b_ `c` [d](<a href=\"https://e.example/\">https://e.example/</a>)",
        ),
    ] {
        shows(source, expected);
    }
}

#[test]
fn every_channel_shows_it_in_its_own_way() {
    let body = document(
        "<h2>T</h2><b>a</b> <s>b</s> <u>c</u> <a href=\"https://a.example/\">d</a> &lt;!channel&gt; *e*",
    );
    assert_eq!(
        body.to_slack(1000, 1).concat(),
        "*T*\n\n*a* ~b~ c <https://a.example/|d> &lt;!channel&gt; \u{200b}*\u{200b}e\u{200b}*\u{200b}"
    );
    assert_eq!(
        body.to_whatsapp(1000),
        "*T*\n\n*a* ~b~ c d (https://a.example/) <!channel> \u{200b}*\u{200b}e\u{200b}*\u{200b}"
    );
    assert_eq!(body.to_plain(1000), "T\n\na b c d (https://a.example/) <!channel> *e*");
}

#[test]
fn a_long_body_is_cut_with_every_tag_closed() {
    for source in ["<b>word <i>x</i> ", "<blockquote>a<br>", "<ul><li>x", "<u><s>&amp;", "<pre>x\n", "<p>🚀 "]
    {
        let shown = telegram(&source.repeat(5_000));
        assert!(shown.contains('…'), "{source}");
        for tag in ["b", "i", "u", "s", "blockquote", "pre"] {
            let count = |mark: &str| shown.matches(mark).count();
            assert_eq!(count(&format!("<{tag}>")), count(&format!("</{tag}>")), "{source}");
        }
        let text: String =
            shown.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text).collect();
        assert!(
            units(&text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")) <= 4096,
            "{source}"
        );
    }
}

#[test]
fn hostile_markup_takes_linear_time() {
    for unit in [
        "<b>",
        "</b>",
        "<",
        "<a href=x>",
        "<ul><li>",
        "</ul>",
        "<!--",
        "&",
        "&#",
        "<b><i></b>",
        "<pre>",
        "<x y=",
        "'",
    ] {
        let started = Instant::now();
        let source = unit.repeat(64 * 1024 / unit.len());
        assert!(document(&source).to_slack(3000, 12).len() <= 12);
        assert!(units(&telegram(&source)) < 64 * 1024);
        assert!(started.elapsed().as_secs() < 5, "{unit} took {:?}", started.elapsed());
    }
}

fn rendered(template: &str, value: &str) -> String {
    let data = json!({ "x": value });
    Template::compile(template).unwrap().render_html(&Case::of(&data)).unwrap()
}

#[test]
fn a_value_is_text_wherever_it_stands() {
    let hostile = [
        "<b>x</b>",
        "</b><a href=\"https://evil.example/\">y</a>",
        "\"><a href=https://evil.example/>z",
        "' href='https://evil.example/",
        "x href=https://evil.example/ y",
        "--><b>w</b>",
        "&lt;b&gt; &amp;",
        "<script>alert(1)</script>",
    ];
    for value in hostile {
        let shown = |template: &str| document(&rendered(template, value)).to_plain(10_000);
        assert_eq!(shown("{{x}}"), value, "{value}");
        assert_eq!(shown("A {{x}} <b>B</b>"), format!("A {value} B"), "{value}");
        assert_eq!(shown("<code>{{x}}</code>"), value, "{value}");
        assert_eq!(shown("<pre>{{x}}</pre>"), value, "{value}");
        for template in [
            "a<i title=\"{{x}}\">b</i>c",
            "a<i title='{{x}}'>b</i>c",
            "a<a class={{x}}>b</a>c",
            "a<a {{x}}>b</a>c",
        ] {
            let shown = telegram(&rendered(template, value)).replace("<i>b</i>", "b");
            assert_eq!(shown, "abc", "{template} {value}");
        }
        assert_eq!(telegram(&rendered("a<!-- {{x}} -->b", value)), "ab", "{value}");
        let bracketed = document(&rendered("Ann <{{x}}>", value)).to_plain(10_000);
        assert_eq!(bracketed, format!("Ann <{value}>"), "{value}");
    }
    assert_eq!(
        telegram(&rendered("<a href=\"{{x}}\">t</a>", "https://a.example/?a=1&b=\"2\"")),
        "<a href=\"https://a.example/?a=1&amp;b=%222%22\">t</a>"
    );
    assert_eq!(telegram(&rendered("<a href={{x}}>t</a>", "javascript:alert(1)")), "t");
    assert_eq!(telegram(&rendered("<b>{{x}}</b>", "a\n  b")), "<b>a\n  b</b>");
    assert_eq!(rendered("{{ x|markdown }}", "<b>own</b>"), "<b>own</b>");
}

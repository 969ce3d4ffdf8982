//! Rendering in every dialect: nesting, escaping, cutting, and data that tries to break out.

use super::*;
use crate::channel::text::units;

fn slack(source: &str) -> String {
    Document::parse(source).to_slack(3000, 1).concat()
}

fn telegram(source: &str) -> String {
    Document::parse(source).to_telegram(4096)
}

fn plain(source: &str) -> String {
    Document::parse(source).to_plain(10_000)
}

/// Fails unless the tags nest; answers the text as Telegram counts it.
fn text_of(html: &str) -> String {
    let mut open: Vec<&str> = Vec::new();
    let mut text = String::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        text.push_str(&rest[..start]);
        let end = rest.find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        let name = tag.trim_start_matches('/').split(' ').next().unwrap();
        assert!(["b", "i", "code", "pre", "a", "blockquote"].contains(&name), "{name} in {html}");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{html}");
        } else {
            assert!(
                !open.contains(&name) && !open.iter().any(|outer| ["code", "pre"].contains(outer)),
                "{html}"
            );
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{html}");
    text.push_str(rest);
    for entity in text.split('&').skip(1) {
        assert!(["amp;", "lt;", "gt;", "quot;"].iter().any(|known| entity.starts_with(known)), "{html}");
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

#[test]
fn each_dialect_writes_what_there_is() {
    let source = "# Head\n\n**bold** *it* `co_de` [to](https://a.example/?x=1&y=2)\nline\n\n\
                  - one\n- two\n  1. deep\n  2. er\n\n> said\n> so\n\n```rust\nlet a = \"<b>\";\n\nx\n```\nend";
    assert_eq!(
        slack(source),
        "*Head*\n\n*bold* _it_ `co_de` <https://a.example/?x=1&amp;y=2|to>\nline\n\n\
         • one\n• two\n  1. deep\n  2. er\n\n> said\n> so\n\n```\nlet a = \"&lt;b&gt;\";\n\nx\n```\n\nend"
    );
    assert_eq!(
        telegram(source),
        "<b>Head</b>\n\n<b>bold</b> <i>it</i> <code>co_de</code> <a href=\"https://a.example/?x=1&amp;y=2\">to</a>\n\
         line\n\n• one\n• two\n  1. deep\n  2. er\n\n<blockquote>said\nso</blockquote>\n\n\
         <pre>let a = &quot;&lt;b&gt;&quot;;\n\nx</pre>\n\nend"
    );
    assert_eq!(
        plain(source),
        "Head\n\nbold it co_de to (https://a.example/?x=1&y=2)\nline\n\n\
         • one\n• two\n  1. deep\n  2. er\n\n> said\n> so\n\nlet a = \"<b>\";\n\nx\n\nend"
    );
}

#[test]
fn underscores_in_names_stay_and_are_no_marks() {
    for text in ["snake_case_name", "a_b_c and d_e", "2 * 3 * 4", "__init", "~5"] {
        assert_eq!(slack(text), text);
        assert_eq!(text_of(&telegram(text)), text);
    }
    assert_eq!(telegram("**t_1** and x_2"), "<b>t_1</b> and x_2");
    assert_eq!(slack("\\*not bold\\*"), "\u{200b}*\u{200b}not bold\u{200b}*\u{200b}");
    assert_eq!(slack("fo**ob**ar"), "fo\u{200b}*ob*\u{200b}ar");
}

#[test]
fn nothing_can_be_forged_in_slack() {
    for hostile in [
        "<!channel>",
        "<@U012>",
        "<http://evil.example|bank>",
        "&lt;!here&gt;",
        "`<!channel>`",
        "a\n\n<!here>",
    ] {
        let written = slack(hostile);
        assert!(
            !written.contains("<!") && !written.contains("<@") && !written.contains("|bank>"),
            "{written}"
        );
    }
    assert_eq!(slack("[x](https://a.example/|<!channel>)"), "<https://a.example/%7C%3C!channel%3E|x>");
    assert_eq!(slack("```\n<!channel> ``` out\n```"), "```\n&lt;!channel&gt; \u{2cb}\u{2cb}\u{2cb} out\n```");
    assert_eq!(slack("`` a`b ``"), "`a\u{2cb}b`");
}

#[test]
fn raw_html_is_text() {
    assert_eq!(
        telegram("<b>x</b> <script>alert(1)</script>"),
        "&lt;b&gt;x&lt;/b&gt; &lt;script&gt;alert(1)&lt;/script&gt;"
    );
    assert_eq!(plain("<div>\nblock\n</div>\n\nend"), "<div>\nblock\n</div>\n\nend");
}

#[test]
fn only_harmless_links_are_links() {
    assert_eq!(telegram("[x](javascript:alert) [y](/tasks/1) [z](tg://x)"), "x y z");
    assert_eq!(telegram("[m](mailto:a@b.example)"), "<a href=\"mailto:a@b.example\">m</a>");
    assert_eq!(telegram("[](https://a.example/)"), "<a href=\"https://a.example/\">https://a.example/</a>");
    assert_eq!(plain("<https://a.example/>"), "https://a.example/");
    assert_eq!(telegram("![pic](https://a.example/p.png)"), "<a href=\"https://a.example/p.png\">pic</a>");
    let long = format!("[x](https://a.example/{})", "y".repeat(3000));
    assert_eq!(telegram(&long), "x");
}

#[test]
fn bare_addresses_become_links_without_the_punctuation_behind_them() {
    assert_eq!(
        slack("see https://a.example/x_y_z?q=1, (http://b.example/)."),
        "see <https://a.example/x_y_z?q=1|https://a.example/x_y_z?q=1>, (<http://b.example/|http://b.example/>)."
    );
    for text in ["xhttps://a.example", "https://", "http", "httpd is up"] {
        assert_eq!(slack(text), text);
    }
}

#[test]
fn styles_never_nest_in_themselves_nor_hold_code() {
    assert_eq!(telegram("# a **b** c"), "<b>a b c</b>");
    assert_eq!(telegram("**a `b` c**"), "<b>a </b><code>b</code><b> c</b>");
    assert_eq!(telegram("***`x`***"), "<code>x</code>");
    assert_eq!(telegram("[`x`](https://a.example/)"), "<a href=\"https://a.example/\">x</a>");
    assert_eq!(telegram("> a\n> > b"), "<blockquote>a\n\nb</blockquote>");
    assert_eq!(telegram("> ```\n> x\n> ```"), "<blockquote>x</blockquote>");
    assert_eq!(telegram("**b _i_**"), "<b>b <i>i</i></b>");
}

#[test]
fn slack_marks_end_with_their_line() {
    assert_eq!(slack("**a\nb**"), "*a*\n*b*");
    assert_eq!(slack("> **a\n> b**"), "> *a*\n> *b*");
}

#[test]
fn deceptive_characters_do_not_get_through_even_as_entities() {
    assert_eq!(plain("a\u{202e}b &#x202E;c &#27;[31m"), "ab c [31m");
}

#[test]
fn a_cut_closes_what_is_open_and_keeps_to_the_limit() {
    let source = "**bold text that goes on** and [a link of words](https://a.example/?a=1&b=2) & `code & more`\n\n\
                  > a quote\n> of *two* lines\n\n```\ncode && code\n```\n";
    let whole = text_of(&telegram(source));
    for limit in 1..=units(&whole) + 1 {
        let text = text_of(&Document::parse(source).to_telegram(limit));
        assert!(units(&text) <= limit, "{limit}: {text}");
        assert_eq!(text.ends_with('…'), limit < units(&whole), "{limit}: {text}");
        let start = text.trim_end_matches('…').trim_end();
        assert!(whole.starts_with(start), "{limit}: {text}");
        for written in Document::parse(source).to_slack(limit, 1) {
            assert!(units(&written) <= limit, "{limit}: {written}");
            let closed =
                written.lines().map(|line| line.strip_prefix('>').unwrap_or(line).matches('>').count());
            assert_eq!(written.matches('<').count(), closed.sum::<usize>(), "{limit}: {written}");
        }
    }
}

#[test]
fn a_long_body_goes_on_in_further_texts() {
    let body = format!("**{}**\n\n```\n{}\n```", "word ".repeat(40), "x&y\n".repeat(40));
    let texts = Document::parse(&body).to_slack(120, 100);
    assert!(texts.len() > 3);
    for text in &texts {
        assert!(units(text) <= 120, "{text}");
        assert_eq!(text.matches("```").count() % 2, 0, "{text}");
        assert_eq!(text.matches('*').count() % 2, 0, "{text}");
    }
    assert_eq!(texts.concat().matches("word").count(), 40);
    assert_eq!(texts.concat().matches("x&amp;y").count(), 40);
    assert!(!texts.concat().contains('…'));
    let cut = Document::parse(&body).to_slack(120, 2);
    assert_eq!(cut.len(), 2);
    assert!(cut[1].contains('…'));
}

#[test]
fn formatting_is_bounded_and_text_is_not_lost_for_it() {
    let html = telegram(&"*a* ".repeat(500));
    assert_eq!(html.matches("<i>").count(), TELEGRAM_TAGS_MAX);
    assert_eq!(text_of(&html).matches('a').count(), 500);
}

#[test]
fn long_links_do_not_make_a_request_out_of_proportion() {
    let html = telegram(&format!("[x](https://a.example/{}) ", "y".repeat(2000)).repeat(30));
    assert!(html.len() < 20_000, "{}", html.len());
    assert_eq!(text_of(&html), "x ".repeat(30).trim_end());
}

#[test]
fn a_source_that_is_not_read_to_its_end_says_so() {
    let long = "🚀".repeat(SOURCE_BYTES_MAX);
    assert!(Document::parse(&long).to_slack(usize::MAX, 1).concat().ends_with('…'));
}

#[test]
fn hostile_sources_neither_break_the_tags_nor_take_long() {
    let fragments = [
        "**",
        "*",
        "_",
        "`",
        "```\n",
        "[",
        "](https://a.example/)",
        "<b>",
        "&",
        "> ",
        "- ",
        "\n\n",
        "a",
        "🚀",
        "1. ",
    ];
    let mut seed: usize = 7;
    for _ in 0..3000 {
        let mut source = String::new();
        for _ in 0..30 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            source.push_str(fragments[(seed >> 33) % fragments.len()]);
        }
        let limit = 1 + (seed >> 40) % 60;
        assert!(units(&text_of(&Document::parse(&source).to_telegram(limit))) <= limit, "{source:?}");
        for text in Document::parse(&source).to_slack(limit, 5) {
            assert!(units(&text) <= limit, "{limit} {source:?} {text:?}");
        }
        assert!(units(&plain(&source)) < 1000);
    }
    for deep in ["> ", "- ", "*a ", "[", "**a *b ", "`", "<", "&#x26;"] {
        let started = std::time::Instant::now();
        let document = Document::parse(&deep.repeat(100_000));
        let _ = (document.to_slack(3000, 12), document.to_telegram(4096), document.to_plain(4096));
        assert!(started.elapsed().as_secs() < 5, "{deep:?} took {:?}", started.elapsed());
    }
}

fn markdown(source: &str) -> String {
    Document::parse(source).to_markdown(10_000, false)
}

#[test]
fn markdown_keeps_its_own_marks_and_escapes_all_others() {
    let source = "# Head\n\n**bold** *it* `co_de` [to](https://a.example/?x=(1))\nline\n\n- one\n\n> said\n> so\n\n```\na*b\n```\nend";
    assert_eq!(
        markdown(source),
        "**Head**\n\n**bold** *it* `co_de` [to](https://a.example/?x=%281%29)\nline\n\n• one\n\n> said\n> so\n\n```\na*b\n```\n\nend"
    );
    for (hostile, expected) in [
        (
            r"\*a\* \_b\_ \[x\](https://evil.example)",
            r"\*a\* \_b\_ \[x\]([evil.example](https://evil.example/))",
        ),
        ("snake_case", r"snake\_case"),
        ("@everyone", "@\u{200b}everyone"),
        ("<@1> <b>", "\\<@\u{200b}1\\> \\<b\\>"),
        (r"\# no head", r"\# no head"),
        (r"1\. no list", r"1\. no list"),
    ] {
        assert_eq!(markdown(hostile), expected, "{hostile}");
    }
    assert_eq!(Document::parse("a\nb").to_markdown(100, true), "a  \nb");
}

#[test]
fn markdown_once_more_reads_as_the_same() {
    for source in [
        "**a*b*c** d",
        "x `y` z",
        "> q\n> r\n\ns",
        "- a\n- b",
        "1. a\n2. b",
        r"\*\*a\*\* 1\. \> \# - + _x_",
        "[a](https://a.example)b",
        "a\\\nb",
        "**a**b",
        "*a*b",
        "```\nx\n```",
    ] {
        let once = Document::parse(source);
        assert_eq!(
            Document::parse(&markdown(source)).to_plain(10_000),
            once.to_plain(10_000),
            "{source} {}",
            markdown(source)
        );
    }
}

#[test]
fn markdown_keeps_its_limit() {
    for source in
        ["*_~[]<>|@`".repeat(500), "**a** b\n".repeat(500), "é😀 ".repeat(2000), "1. a\n".repeat(700)]
    {
        let out = Document::parse(&source).to_markdown(1000, true);
        assert!(units(&out) <= 1000, "{} {source:.20}", units(&out));
    }
}

//! Values that try to be more than values, in every place of a template, and what each channel then shows.

use std::time::Instant;

use serde_json::json;

use crate::channel::markdown::Document;
use crate::channel::text::clean;
use crate::route::template::Template;
use crate::rule::condition::fixture::Case;

fn body(template: &str, value: &str) -> String {
    let data = json!({ "x": value, "empty": "" });
    Template::compile(template).unwrap().render_markdown(&Case::of(&data)).unwrap()
}

fn slack(body: &str) -> String {
    Document::parse(body).to_slack(100_000, 1).concat()
}

fn telegram(body: &str) -> String {
    Document::parse(body).to_telegram(100_000)
}

fn plain(body: &str) -> String {
    Document::parse(body).to_plain(100_000)
}

/// What a reader of plain text sees of it: no deceptive characters, no white space at the ends.
fn seen(text: &str) -> String {
    clean(&text.replace("\r\n", "\n").replace('\r', "\n")).trim().to_owned()
}

/// White space at a line's end, and how many blank lines there are, nobody sees.
fn squeezed(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let mut text = lines.join("\n");
    while text.contains("\n\n\n") {
        text = text.replace("\n\n\n", "\n\n");
    }
    text
}

const HOSTILE: [&str; 64] = [
    "**bold** *it* _it_ __b__",
    "[bank](https://evil.example/)",
    "![pic](https://evil.example/p.png)",
    "<https://evil.example/>",
    "<!channel>",
    "<@U123>",
    "@everyone @here",
    "<b>x</b><script>alert(1)</script>",
    "<http://evil.example|bank>",
    "&lt;!here&gt; &amp; &#42;&#x202E;",
    "`code` ``two`` ```three```",
    "```\nblock\n```",
    "~~~\nblock\n~~~",
    "# head",
    "> quote",
    "- item\n- item",
    "+ item",
    "1. one\n2. two",
    "1) one",
    "***",
    "---",
    "===",
    "a\n===",
    "a\n---",
    "[ref]: https://evil.example/",
    "{{x}} {% if true %}y{% endif %} {# no #}",
    "*",
    "_",
    "**",
    "`",
    "[",
    "](",
    "\\",
    "\\*",
    "\\\\",
    "a\\",
    "!",
    "&",
    "#",
    "-",
    "a*b*c _d_e_ f__g",
    "snake_case_name and C:\\dir\\_x",
    "2 * 3 * 4 < 5 > 4",
    "quote \"in 'quotes' of \"quotes\"\"",
    "one\ntwo",
    "one\r\ntwo\rthree",
    "one\n\ntwo\n\nthree",
    "one\n\n\n\ntwo",
    "\n\nbelow",
    "    indented",
    "\tindented",
    "a\n    at Object.run\n\tat main",
    "a\u{202e}b\u{2066}c\u{200b}d\u{feff}e",
    "a\u{1b}[31mb\u{0}c\u{9b}",
    "日本語 🚀 é **fett**",
    "(see) [x]: y",
    "1986. A year",
    "2.",
    "</b> <a href=\"javascript:x\">",
    "| a | b |\n|---|---|",
    "***both*** ~~gone~~",
    "a  \nb",
    "mail me: a_b@x.example",
    "%s %n ${HOME} $(id)",
];

#[test]
fn a_value_is_shown_as_it_is_in_every_place() {
    let templates = [
        ("{{x}}", "", ""),
        ("A {{x}} B", "A ", " B"),
        ("A: {{x}}", "A: ", ""),
        ("**{{x}}**", "", ""),
        ("*{{x}}* B", "", " B"),
        ("**A {{x}}**B", "A ", "B"),
        ("_{{x}}_", "", ""),
        ("# {{x}}", "", ""),
        ("`{{x}}`", "", ""),
        ("A `b {{x}} c` D", "A b ", " c D"),
        ("A ``{{x}}`` D", "A ", " D"),
        ("```\n{{x}}\n```", "", ""),
        ("A\n\n```sh\nb {{x}} c\nd\n```\n\nE", "A\n\nb ", " c\nd\n\nE"),
        ("~~~\n{{x}}\n~~~", "", ""),
        ("A\n\n    {{x}}", "A\n\n", ""),
        ("[{{x}}](javascript:no)", "", ""),
        ("\\{{x}}", "\\", ""),
        ("A]{{x}}", "A]", ""),
        ("{{x}} **B**", "", " B"),
        ("**B** {{x}}", "B ", ""),
        ("`c` {{x}} `c`", "c ", " c"),
        ("{{x|upper|lower}}{{empty}}", "", ""),
    ];
    for (template, before, after) in templates {
        let in_span = template.contains('`') && !template.contains("```") && !template.contains("`c`");
        for value in HOSTILE {
            let lowered = value.to_lowercase();
            let value = if template.contains("|lower") { lowered.as_str() } else { value };
            let body = body(template, value);
            let [mut shown, mut expected] =
                [plain(&body), format!("{before}{value}{after}")].map(|text| squeezed(&seen(&text)));
            if in_span {
                [shown, expected] =
                    [shown, expected].map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            assert_eq!(shown, expected, "{template:?} {value:?} {body:?}");
        }
    }
}

/// The template, the value, the body, and what Slack and Telegram get.
#[test]
fn the_source_and_what_the_providers_get() {
    for (template, value, source, to_slack, to_telegram) in [
        ("**{{x}}**", "coder-1", "**coder-1**", "*coder-1*", "<b>coder-1</b>"),
        (
            "{{x}}",
            "**b** snake_case",
            "\\*\\*b\\*\\* snake_case",
            "\u{200b}**\u{200b}b\u{200b}**\u{200b} snake_case",
            "**b** snake_case",
        ),
        (
            "{{x}}",
            "<!channel> <@U1> @everyone",
            "\\<!channel> <@U1> @everyone",
            "&lt;!channel&gt; &lt;@U1&gt; @everyone",
            "&lt;!channel&gt; &lt;@U1&gt; @everyone",
        ),
        ("Said: {{x}}", "a\nb\n\n# c", "Said: a\nb\n\n\\# c", "Said: a\nb\n\n# c", "Said: a\nb\n\n# c"),
        ("**{{x}}**", "a\nb", "**a&#10;b**", "*a*\n*b*", "<b>a\nb</b>"),
        ("> {{x}}", "a\n\nb", "> a&#10;&#10;b", "> a\n> \n> b", "<blockquote>a\n\nb</blockquote>"),
        ("- {{x}}\n- z", "- a\n- b", "- \\- a&#10;- b\n- z", "• - a\n- b\n• z", "• - a\n- b\n• z"),
        ("`{{x}}`", "a`b", "``a`b``", "`a\u{2cb}b`", "<code>a`b</code>"),
        ("`{{x}}`", "`", "`` ` ``", "`\u{2cb}`", "<code>`</code>"),
        ("x `{{x}}` y", "", "x `\u{200b}` y", "x  y", "x  y"),
        ("**{{x}}**", "", "**\u{200b}**", "", ""),
        (
            "```\n{{x}}\n```",
            "```\n# a",
            "```\n\u{200b}```\n# a\n```",
            "```\n\u{2cb}\u{2cb}\u{2cb}\n# a\n```",
            "<pre>```\n# a</pre>",
        ),
        (
            "[t]({{x}})",
            "https://a.example/x y)(z",
            "[t](https://a.example/x%20y\\)\\(z)",
            "<https://a.example/x%20y)(z|t>",
            "<a href=\"https://a.example/x%20y)(z\">t</a>",
        ),
        ("[t]({{x}})", "javascript:alert(1)", "[t](javascript:alert\\(1\\))", "t", "t"),
        (
            "[{{x}}](https://a.example/)",
            "](https://evil.example/)",
            "[\\](https://evil.example/)](https://a.example/)",
            "<https://a.example/|](https://evil.example/)>",
            "<a href=\"https://a.example/\">](https://evil.example/)</a>",
        ),
        (
            "{{x}}",
            "see https://a.example/x_y*z.",
            "see https://a.example/x_y\\*z.",
            "see <https://a.example/x_y*z|https://a.example/x_y*z>.",
            "see <a href=\"https://a.example/x_y*z\">https://a.example/x_y*z</a>.",
        ),
        ("{{ x|markdown }}", "**b**", "**b**", "*b*", "<b>b</b>"),
        ("{{ '**' ~ x ~ '**' }}", "b", "\\*\\*b\\*\\*", "\u{200b}**\u{200b}b\u{200b}**\u{200b}", "**b**"),
        ("{{ x|e }}", "*<", "\\*\\&lt;", "*&amp;lt;", "*&amp;lt;"),
    ] {
        let body = body(template, value);
        assert_eq!(body, source, "{template:?} {value:?}");
        assert_eq!(slack(&body), to_slack, "{template:?} {value:?} {body:?}");
        assert_eq!(telegram(&body), to_telegram, "{template:?} {value:?} {body:?}");
    }
}

#[test]
fn values_side_by_side_do_not_make_marks_together() {
    let fragments = [
        "*", "_", "`", "[", "](", "!", "&", "lt;", "#", " ", "\\", "<", "b>", "1", ". a", "-", "\n", "~~~",
        "a", "é", "(x)", ":", "=",
    ];
    let mut seed: usize = 7;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        fragments[(seed >> 33) % fragments.len()]
    };
    for _ in 0..5000 {
        let values: Vec<String> = (0..3).map(|_| format!("{}{}{}", next(), next(), next())).collect();
        let data = json!({ "a": values[0], "b": values[1], "c": values[2] });
        let template = Template::compile("{{a}}{{b}} **m{{c}}n** {{a}}").unwrap();
        let body = template.render_markdown(&Case::of(&data)).unwrap();
        let expected = format!("{}{} m{}n {}", values[0], values[1], values[2], values[0]);
        let [shown, expected] = [plain(&body), expected].map(|text| squeezed(&seen(&text)));
        assert_eq!(shown, expected, "{data} {body:?}");
        assert!(telegram(&body).contains("<b>m") && telegram(&body).contains("n</b>"), "{data} {body:?}");
    }
}

#[test]
fn long_values_take_linear_time_and_a_body_is_bounded() {
    for unit in ["*", "`", "-", "\\", "1.", "\n", " ", "[", "_", "<", "&#", "> "] {
        for template in ["{{x}}", "`{{x}}`", "```\n{{x}}\n```", "[t]({{x}})", "- {{x}}"] {
            let started = Instant::now();
            let data = json!({ "x": unit.repeat(60_000 / unit.len()) });
            let body = Template::compile(template).unwrap().render_markdown(&Case::of(&data));
            assert!(body.is_err() || body.is_ok_and(|body| body.len() <= 64 * 1024), "{template} {unit:?}");
            assert!(started.elapsed().as_secs() < 5, "{template} {unit:?} took {:?}", started.elapsed());
        }
    }
}

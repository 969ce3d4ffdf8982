//! Values that try to be more than values, in every place of a template, and what each channel then shows.

use serde_json::{Value, json};

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
                [shown, expected] = [shown, expected].map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            assert_eq!(shown, expected, "{template:?} {value:?} {body:?}");
        }
    }
}

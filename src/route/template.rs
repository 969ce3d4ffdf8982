//! Templates over an event: `Task {{taskId}} moved to {{to}}`, with filters, `if` and `for` as in Jinja.
//!
//! Text, plain paths and simple `if`s, which is what nearly all templates are, need no engine. A missing field and null are one
//! thing and print nothing; what a field holds is never expanded again. In a body, which is Markdown, only the
//! template's own marks are marks, and what an expression prints is shown as it is; nothing is escaped for a provider,
//! since only a channel knows how. A template is checked when it is written, down to the names of its filters;
//! rendering takes bounded work and makes bounded text.

mod code;
mod engine;
mod filters;
mod plain;
mod scan;
mod text;
mod value;

use thiserror::Error;

use crate::channel::markdown::{escaped, literal};
use crate::rule::condition::Facts;
use crate::rule::fault::Fault;
use engine::Engine;
use plain::Plain;
use text::Output;

/// Longer than any channel takes.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;
pub const TEMPLATE_BYTES_MAX: usize = 64 * 1024;

/// Signs of code, links, HTML and indented lines, or of values that may have them.
const HOLDS_CODE: [&str; 8] = ["`", "](", "]:", "<", "~~~", "    ", "\t", "markdown"];

#[derive(Debug, Clone)]
pub struct Template {
    body: Body,
    /// As Markdown it may have more than plain prose with styles.
    may_hold_code: bool,
}

#[derive(Debug, Clone)]
enum Body {
    Plain(Plain),
    Engine(Box<Engine>),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenderError {
    #[error("the text is longer than {OUTPUT_BYTES_MAX} bytes")]
    TooLong,
    #[error("it takes more than {} steps", engine::FUEL)]
    TooMuchWork,
    #[error("it works on more than {} values of the event", value::VALUES_MAX)]
    TooMuchData,
    #[error("{0}")]
    Failed(String),
}

impl Template {
    /// # Errors
    /// The line, what is wrong there and what is available. The pointer is empty: a template has no places
    /// but lines.
    pub fn compile(source: &str) -> Result<Self, Fault> {
        if source.len() > TEMPLATE_BYTES_MAX {
            let message = format!("has {} bytes; a template has at most {TEMPLATE_BYTES_MAX}", source.len());
            return Err(Fault::here(message));
        }
        let parts = scan::parts(source)?;
        let body = match Plain::compile(&parts) {
            Some(plain) => Body::Plain(plain),
            None => Body::Engine(Box::new(Engine::compile(source, &parts)?)),
        };
        Ok(Self { body, may_hold_code: HOLDS_CODE.iter().any(|sign| source.contains(sign)) })
    }

    /// Plain text, with values as they are.
    ///
    /// # Errors
    /// When a limit is passed, or an expression makes no sense for this event, such as a sum with a missing field.
    pub fn render(&self, facts: &impl Facts) -> Result<String, RenderError> {
        self.output(facts).map(Output::into_text)
    }

    /// Markdown, in which values are literal unless they went through the filter `markdown`.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_markdown(&self, facts: &impl Facts) -> Result<String, RenderError> {
        let (text, values) = self.output(facts)?.into_parts();
        let markdown = literal(&text, &values, self.may_hold_code);
        if markdown.len() > OUTPUT_BYTES_MAX { Err(RenderError::TooLong) } else { Ok(markdown) }
    }

    /// HTML, in which values are text unless they went through the filter `markdown`.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_html(&self, facts: &impl Facts) -> Result<String, RenderError> {
        let (text, values) = self.output(facts)?.into_parts();
        let html = escaped(&text, &values);
        if html.len() > OUTPUT_BYTES_MAX { Err(RenderError::TooLong) } else { Ok(html) }
    }

    fn output(&self, facts: &impl Facts) -> Result<Output, RenderError> {
        match &self.body {
            Body::Plain(plain) => plain.render(facts),
            Body::Engine(engine) => engine.render(facts),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::rule::condition::fixture::Case;

    #[derive(Debug, Deserialize)]
    struct Vector {
        template: String,
        data: Value,
        expected: String,
    }

    fn vectors() -> Vec<Vector> {
        serde_json::from_str(include_str!("../../tests/vectors/template.json")).unwrap()
    }

    fn render(source: &str, data: &Value) -> String {
        let case = Case::with_envelope(data, json!({ "type": "task:created", "severity": "critical" }));
        Template::compile(source).unwrap().render(&case).unwrap()
    }

    fn fails(source: &str, data: &Value) -> RenderError {
        Template::compile(source).unwrap().render(&Case::of(data)).unwrap_err()
    }

    #[track_caller]
    fn refused(source: &str, part: &str) {
        let message = Template::compile(source).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }

    #[test]
    fn every_vector_renders_as_expected() {
        let vectors = vectors();
        assert!(vectors.len() > 40);
        for (index, vector) in vectors.iter().enumerate() {
            assert_eq!(render(&vector.template, &vector.data), vector.expected, "{index} {vector:?}");
        }
    }

    #[test]
    fn every_vector_renders_the_same_through_the_engine() {
        for (index, vector) in vectors().iter().enumerate() {
            let source = format!("{}{{% if true %}}.{{% endif %}}", vector.template);
            assert_eq!(render(&source, &vector.data), format!("{}.", vector.expected), "{index} {vector:?}");
        }
    }

    #[test]
    fn any_name_is_a_field() {
        let data = json!({ "else": 1, "true": 2, "loop": 3, "trace-id": "t", "ключ": { "值": "v" }, "🚀": "r", "$x": "d",
            "list": [["a", "b"]], "not": { "in": 4 }, "n": 7 });
        let paths = "{{else}}{{ true }}{{loop}}{{trace-id}}{{ ключ.值 }}{{🚀}}{{$x}}{{list[0].1}}{{not.in}}";
        assert_eq!(render(paths, &data), "123tvrdb4");
        assert_eq!(render(&format!("{paths}{{{{ n|abs }}}}"), &data), "123tvrdb47");
    }

    #[test]
    fn a_hyphen_before_a_digit_or_between_spaces_is_a_minus() {
        let data = json!({ "n": 3, "m": 1, "n-m": "name" });
        assert_eq!(render("{{n-1}} {{ n - m }} {{n-m}}", &data), "2 2 name");
    }

    #[test]
    fn values_print_as_people_write_them() {
        let data = json!({ "whole": 1.0, "half": 0.5, "big": 1e21, "object": { "b": [1, null], "a": "\"q\"" },
            "mixed": [1, null, { "k": 2.5 }, [true, []]], "null": null });
        let source = "{{whole}} {{half}} {{big}} {{object}} {{mixed}} [{{null}}]";
        let expected = r#"1 0.5 1e+21 {"a":"\"q\"","b":[1,null]} 1,,{"k":2.5},true, []"#;
        assert_eq!(render(source, &data), expected);
        assert_eq!(render(&source.replace("}}", "|default(none)}}"), &data), expected);
    }

    #[test]
    fn the_envelope_is_reached_and_cannot_be_forged() {
        let data = json!({ "_event": { "type": "forged" }, "event": "x" });
        assert_eq!(render("{{_event.type}}{{_event.none}}", &data), "task:created");
        assert_eq!(
            render("{% if _event.severity == 'critical' %}!{% endif %}{{ _event.type|upper }}", &data),
            "!TASK:CREATED"
        );
        refused("{{ _event }}", "`_event.type`");
        refused("{{ _event|upper }}", "`_event.type`");
        refused("{{ _event['type']|upper }}", "`_event.type`");
    }

    #[test]
    fn values_are_never_expanded_again() {
        let data = json!({ "a": "{{b}}", "b": "{% if true %}{{ a }}{% endif %}{{" });
        assert_eq!(render("{{a}}{{b}}", &data), "{{b}}{% if true %}{{ a }}{% endif %}{{");
        assert_eq!(render("{{a|trim}}{{b|trim}}", &data), "{{b}}{% if true %}{{ a }}{% endif %}{{");
    }

    #[test]
    fn conditionals_loops_and_filters_are_jinjas() {
        let data = json!({ "task": { "retries": 3, "tags": ["urgent", "db"] }, "name": "ada", "nul": null,
            "rows": [{ "k": "a", "v": 1 }, { "k": "b", "v": 2 }] });
        let cases = [
            ("{% if task.retries >= 3 %}late{% elif name %}x{% else %}fine{% endif %}", "late"),
            (
                "{% for row in rows %}{{ row.k }}={{ row.v }}{% if not loop.last %}, {% endif %}{% endfor %}",
                "a=1, b=2",
            ),
            ("{% for row in rows -%} {{ loop.index-1 }} {%- endfor %}", "01"),
            ("{{ name|upper }} {{ name|title }} {{ task.tags|join(' + ') }}", "ADA Ada urgent + db"),
            ("{{ missing|default('none') }} {{ nul|default('none') }}", "none none"),
            ("[{{ missing|upper }}{{ nul|upper }}]", "[]"),
            ("{{ nul is none }} {{ missing is none }} {{ name is none }}", "true true false"),
            ("{{ 'a' if nul else 'b' }}{{ missing.x.y.z }}{{ name.x }}", "b"),
            ("{{ rows|map(attribute='k')|join }} {{ rows|length }} {{ rows.length + 0 }}", "ab 2 2"),
            ("{{ rows|selectattr('v', 'gt', 1)|map(attribute='k')|first }}", "b"),
            ("{{ task.tags|sort|reverse }} {{ task.tags.0|upper }}", "urgent,db URGENT"),
            ("{{ name|truncate(2) }} {{ name|truncate(3) }} {{ 'äöü'|truncate(2, '') }}", "a… ada äö"),
            (
                "{{ name|replace('a', 'o') }} {{ '%.2f'|format(1.5) }} {{ 10 / 4 }} {{ 2 * 3 }}",
                "odo 1.50 2.5 6",
            ),
            ("{{ rows|tojson }}", r#"[{"k":"a","v":1},{"k":"b","v":2}]"#),
            ("{{ name ~ '!' }}{# {{ not }} a {% comment #}", "ada!"),
            ("{% raw %}{{ name }}{% set %}{% endraw %}{{- name -}} !", "{{ name }}{% set %}ada!"),
            ("{{ '}}' }}{{ \"{{a}}\" }}", "}}{{a}}"),
            ("a {{ name|e }}\n", "a ada\n"),
        ];
        for (source, expected) in cases {
            assert_eq!(render(source, &data), expected, "{source}");
        }
    }

    #[test]
    fn a_third_brace_is_text() {
        let data = json!({ "x": 1 });
        assert_eq!(render("{{{x}}}", &data), "{1}");
        assert_eq!(render("{{{x}}}{{ x|abs }}", &data), "{1}1");
        assert_eq!(render("{% for x in [2] %}{{{x}}}{% endfor %}", &data), "{2}");
        assert_eq!(render(r#"{"a":{"b":{{x}}}} { % # }"#, &data), r#"{"a":{"b":1}} { % # }"#);
    }

    #[test]
    fn a_template_that_could_not_render_is_refused_with_its_line() {
        refused("a\n{{ b", "line 2: `{{` is not closed");
        refused("{% if x %}", "line 1:");
        refused("{% if x", "`{%` is not closed");
        refused("{# x", "`{#` is not closed");
        refused("{% raw %}x", "endraw");
        refused("{{ }}", "line 1:");
        refused("{{ a b }}", "line 1:");
        refused("{{ 'a }}", "`{{` is not closed");
        refused("\n\n{{ a|uper }}", "line 3: there is no filter `uper`; did you mean `upper`?");
        refused("{{ a is nil }}", "no test `nil`");
        refused("{{ now() }}", "no function `now`");
        refused("{{ a.strip() }}", "no methods");
        refused("{% include 'x' %}", "`include`");
        refused(&"x".repeat(TEMPLATE_BYTES_MAX + 1), "at most");
    }

    #[test]
    fn what_could_multiply_text_without_bound_is_refused() {
        refused("{% set x = 'a' %}", "`set`");
        refused("{% filter upper %}{% endfilter %}", "`filter`");
        refused("{% for x in a recursive %}{{ loop(x) }}{% endfor %}", "recursive");
        refused("{{ range(3)|map('string') }}{{ loop(1) }}", "no function `loop`");
        refused(&"{% for x in y %}".repeat(3), "loops");
        refused(&format!("{{{{ a{} }}}}", " ~ a".repeat(17)), "operators");
        refused("{{ a * 9 * 9 * 9 }}", "operators");
        refused(&"{{ a|b }}".repeat(4000), "bytes");
    }

    #[test]
    fn work_and_text_are_bounded() {
        let text =
            json!({ "s": "x".repeat(40_000), "list": vec![0; 30_000], "one": vec!["x".repeat(40_000); 2] });
        assert_eq!(fails("{{s}}{{s}}", &text), RenderError::TooLong);
        assert_eq!(fails("{{one}}", &text), RenderError::TooLong);
        assert_eq!(fails("{{s|upper}}{{s}}", &text), RenderError::TooLong);
        assert_eq!(fails("{{ one|join }}", &text), RenderError::TooLong);
        assert_eq!(fails("{% if s %}{{ one }}{% endif %}", &text), RenderError::TooLong);
        assert_eq!(render("{% if s.x %}{{ one }}{% endif %}", &text), "");
        assert_eq!(fails("{{ list|length }}", &text), RenderError::TooMuchData);
        let nested = "{% for i in range(900) %}{% for j in range(900) %}{% endfor %}{% endfor %}";
        assert_eq!(fails(nested, &text), RenderError::TooMuchWork);
        let sorts = "{% for i in range(900) %}{% if s|sort %}{% endif %}{% endfor %}";
        assert_eq!(fails(sorts, &text), RenderError::TooMuchWork);
    }

    #[test]
    fn a_hostile_argument_is_an_error_and_no_crash() {
        let data = json!({ "s": "x y", "n": 1, "long": "a".repeat(60_000), "list": ["a", "b"] });
        let sources = [
            "{{ s|indent(999999999999999999) }}",
            "{{ '%999999999999d'|format(n) }}",
            "{{ '%.999999999999f'|format(n) }}",
            "{{ '%*d'|format(999999999, n) }}",
            "{{ s * 999999999999 }}",
            "{{ range(999999999) }}",
            "{{ range(1001) }}",
            "{{ long|replace('', long) }}",
            "{{ long|replace('a', long) }}",
            "{{ list|map('upper') }}",
            "{{ n + s }}",
            "{{ n + missing }}",
            "{{ 1 / 0 // 0 }}",
            "{{ list|sum }}",
            "{{ 9999999999999999999999 * 99999999999999999999 }}",
        ];
        for source in sources {
            let result = Template::compile(source).unwrap().render(&Case::of(&data));
            assert!(
                matches!(result, Err(RenderError::Failed(_) | RenderError::TooLong)),
                "{source} {result:?}"
            );
        }
        for source in
            ["{{ 1.5|round(2147483647) }}", "{{ 1.5|round(-2147483648) }}", "{{ s[99:-99] }}", "{{ -n }}"]
        {
            assert!(Template::compile(source).unwrap().render(&Case::of(&data)).is_ok(), "{source}");
        }
    }

    #[test]
    fn data_that_is_no_object_has_no_fields() {
        for data in [json!(null), json!(1), json!("text"), json!([1, 2])] {
            assert_eq!(render("[{{a}}{{a.b}}]", &data), "[]");
            assert_eq!(render("[{{ a|upper }}]", &data), "[]");
        }
    }

    #[test]
    fn no_sequence_of_tokens_is_a_crash() {
        let tokens = "{{ }} {% %} {# #} { } raw endraw if else endif for endfor in is not loop a a.b 0 1.5 -1 ' \" ( ) [ ] | upper \
            truncate ~ * - + = == _event . .type , é 🚀 \\ \n tags range list";
        let tokens: Vec<&str> = tokens.split(' ').filter(|token| !token.is_empty()).collect();
        let data = json!({ "a": { "b": "é" }, "tags": [1, "x"], "é": null });
        let mut seed = 7_u32;
        let mut rendered = 0;
        for _ in 0..20_000 {
            let mut source = String::new();
            for _ in 0..=seed % 13 {
                // Knuth's, so that a failure is the same each time.
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                source.push_str(tokens[(seed >> 8) as usize % tokens.len()]);
                source.push_str(if seed >> 30 == 0 { " " } else { "" });
            }
            if let Ok(template) = Template::compile(&format!("{{{{{source}}}}}{source}")) {
                rendered += usize::from(template.render(&Case::of(&data)).is_ok());
            }
        }
        assert!(rendered > 100);
    }
}

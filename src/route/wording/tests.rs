//! Which text a channel gets: its kind's, the rule's, the default, or what needs no template.

use serde_json::{Value, json};

use super::*;
use crate::event::decode::{Incoming, decode};
use crate::ids::WorkspaceId;
use crate::rule::RuleSpec;

fn event(event_type: &str, data: &Value) -> Event {
    let body = data.to_string();
    let incoming = Incoming {
        workspace: WorkspaceId::default(),
        subject_type: Some(event_type),
        headers: &[],
        body: body.as_bytes(),
        fallback_id: "1",
        fallback_source: "test",
        received_at: jiff::Timestamp::UNIX_EPOCH,
    };
    decode(&incoming).unwrap()
}

fn rule(template: &Value) -> Rule {
    let spec: RuleSpec = serde_json::from_value(
        json!({ "id": "r", "events": ["*"], "channels": ["c"], "template": template }),
    )
    .unwrap();
    assert_eq!(
        serde_json::to_value(&spec).unwrap().get("template"),
        Some(template).filter(|spec| !spec.is_null())
    );
    Rule::compile(&spec).unwrap()
}

/// Title, body, link and notes for a channel of this kind.
fn worded(event: &Event, rule: &Rule, kind: Kind) -> (String, String, Option<String>, Vec<String>) {
    let texts = Texts::built_in().unwrap();
    let mut wording = Wording::new(event, rule, &texts);
    let Text { title, body, link, notes, .. } = wording.of(Some(kind), Severity::Critical);
    (title.clone(), body.clone(), link.clone(), notes.clone())
}

fn said(title: &str, body: &str, link: Option<&str>) -> (String, String, Option<String>, Vec<String>) {
    (title.into(), body.into(), link.map(str::to_owned), Vec::new())
}

#[test]
fn a_body_in_html_has_its_values_as_text_and_a_default_one_is_markdown() {
    let event = event("a:b", &json!({ "x": "<b>&*y*" }));
    let texts = Texts::built_in().unwrap();
    let said = |template: &Value, kind: Kind| {
        let rule = rule(template);
        let mut wording = Wording::new(&event, &rule, &texts);
        let text = wording.of(Some(kind), Severity::Critical);
        (text.body.clone(), text.format)
    };
    let template = json!({ "format": "html", "body": "<i>{{x}}</i>", "slack": "<s>{{x}}</s>",
        "console": { "format": "markdown", "body": "{{x}}" }, "telegram": { "title": "t" } });
    let escaped = |tag: &str| (format!("<{tag}>&lt;b&gt;&amp;*y*</{tag}>"), Format::Html);
    assert_eq!(said(&template, Kind::Telegram), escaped("i"));
    assert_eq!(said(&template, Kind::Slack), escaped("s"));
    assert_eq!(said(&template, Kind::Console), ("\\<b>&\\*y\\*".to_owned(), Format::Markdown));
    let own = json!({ "body": "{{x}}", "telegram": { "format": "html" } });
    assert_eq!(said(&own, Kind::Telegram), ("&lt;b&gt;&amp;*y*".to_owned(), Format::Html));
    assert_eq!(said(&own, Kind::Slack).1, Format::Markdown);
    let broken = json!({ "format": "html", "body": "{{ x + 1 }}" });
    assert_eq!(said(&broken, Kind::Slack).1, Format::Markdown, "the default text stands in");
}

#[test]
fn without_a_template_the_default_text_stands_with_one_sign_of_severity() {
    let none = rule(&Value::Null);
    let known = event("task:question", &json!({ "agentName": "coder-1", "question": "Why *this*?" }));
    assert_eq!(
        worded(&known, &none, Kind::Slack),
        said("🚨 coder-1 has a question", "Why \\*this\\*?", None)
    );
    let unknown =
        event("shop:order_paid", &json!({ "sum": 3, "by": "<!channel>", "of": { "x": 1 }, "**k": "_v_" }));
    assert_eq!(
        worded(&unknown, &none, Kind::Slack),
        said(
            "🚨 Shop order paid",
            "**\u{200b}\\*\\*k**: \\_v\\_  \n**by**: \\<!channel>  \n**sum**: 3",
            None
        )
    );
}

#[test]
fn a_known_type_whose_payload_says_nothing_shows_its_fields() {
    let strange = event("agent:failed", &json!({ "code": 7 }));
    assert_eq!(
        worded(&strange, &rule(&Value::Null), Kind::Slack),
        said("🚨 An agent failed", "**code**: 7", None)
    );
}

#[test]
fn what_a_kind_does_not_say_is_the_rules_and_what_the_rule_does_not_say_is_the_default() {
    let event = event("task:question", &json!({ "question": "Why?", "id": "7" }));
    let rule = rule(&json!({
        "title": "General {{id}}", "link": "https://app.example/{{id}}",
        "slack": "Slack's", "telegram": { "title": "Telegram's", "link": "https://t.example/" }, "webhook": {},
    }));
    let link = Some("https://app.example/7");
    assert_eq!(worded(&event, &rule, Kind::Console), said("General 7", "Why?", link));
    assert_eq!(worded(&event, &rule, Kind::Webhook), said("General 7", "Why?", link));
    assert_eq!(worded(&event, &rule, Kind::Slack), said("General 7", "Slack's", link));
    assert_eq!(worded(&event, &rule, Kind::Telegram), said("Telegram's", "Why?", Some("https://t.example/")));
}

#[test]
fn a_kind_is_worded_once_and_kinds_without_texts_of_their_own_share_theirs() {
    let (event, texts) = (event("a:b", &json!({})), Texts::built_in().unwrap());
    let rule = rule(&json!({ "body": "general", "slack": "own" }));
    let mut wording = Wording::new(&event, &rule, &texts);
    for kind in [Some(Kind::Slack), Some(Kind::Console), None, Some(Kind::Slack), Some(Kind::Webhook)] {
        let expected = if kind == Some(Kind::Slack) { "own" } else { "general" };
        assert_eq!(wording.of(kind, Severity::Info).body, expected);
    }
    assert_eq!(wording.done.len(), 2);
}

#[test]
fn a_template_that_cannot_render_leaves_its_place_and_a_note() {
    let event = event("task:question", &json!({ "question": "Why?", "word": "x" }));
    let rule = rule(&json!({ "title": "{{ 1 + word }}", "body": "fine", "slack": "{{ 1 + word }}" }));
    let (title, body, _, notes) = worded(&event, &rule, Kind::Slack);
    assert_eq!((title.as_str(), body.as_str()), ("🚨 An agent has a question", "Why?"));
    assert_eq!(notes.len(), 2);
    assert!(
        notes[0].starts_with("the title template could not render, the default stands in: line 1:"),
        "{notes:?}"
    );
    assert!(notes[1].starts_with("the body template could not render"), "{notes:?}");
    let (_, body, _, notes) = worded(&event, &rule, Kind::Console);
    assert_eq!((body.as_str(), notes.len()), ("fine", 1));
}

#[test]
fn titles_and_links_are_one_line_of_plain_text() {
    let hostile = "a\r\nb **c** <!channel> {{x}}";
    let event =
        event("a:b", &json!({ "x": hostile, "y": "https://a.example/\u{7}", "long": "x".repeat(100_000) }));
    let rule = rule(&json!({ "title": "T {{x}}", "link": "{{y}}", "telegram": { "title": "{{long}}" } }));
    let (title, _, link, _) = worded(&event, &rule, Kind::Slack);
    assert_eq!((title.as_str(), link), ("T a  b **c** <!channel> {{x}}", None));
    let (title, _, _, notes) = worded(&event, &rule, Kind::Telegram);
    assert!(title == "🚨 A b" && notes[0].contains("longer than 65536 bytes"), "{title} {notes:?}");
}

#[test]
fn actions_are_rendered_and_what_is_no_button_is_left_out() {
    let event = event("a:b", &json!({ "id": "7", "bad": "javascript:x" }));
    let rule = rule(&json!({
        "actions": [
            { "label": "Open {{id}}", "url": "https://app.example/{{id}}" },
            { "label": "{{missing}}", "url": "https://app.example/" },
            { "label": "Bad", "url": "{{bad}}" },
        ],
        "slack": { "actions": [{ "label": "Slack", "url": "/s" }] },
    }));
    let texts = Texts::built_in().unwrap();
    let mut wording = Wording::new(&event, &rule, &texts);
    let action = |label: &str, url: &str| Action { label: label.to_owned(), url: url.to_owned() };
    let general = wording.of(Some(Kind::Telegram), Severity::Info);
    assert_eq!(general.actions, [action("Open 7", "https://app.example/7")]);
    assert_eq!(general.notes.len(), 1);
    assert!(general.notes[0].contains("/url"), "{:?}", general.notes);
    assert_eq!(wording.of(Some(Kind::Slack), Severity::Info).actions, [action("Slack", "/s")]);
}

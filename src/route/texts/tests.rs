//! Every text with all of its fields, and with none of them.

use serde_json::json;

use super::*;
use crate::channel::markdown::Document;
use crate::rule::condition::fixture::Case;

/// The known types: a payload, and the title and the body that it makes.
const CASES: &str = include_str!("../../../tests/vectors/texts.json");

#[derive(Debug, serde::Deserialize)]
struct Known {
    #[serde(rename = "type")]
    event_type: String,
    data: Value,
    title: String,
    #[serde(default)]
    body: String,
}

fn cases() -> Vec<Known> {
    serde_json::from_str(CASES).unwrap()
}

/// An event of the type `a:b`.
pub(crate) fn event_of(data: &Value) -> Event {
    crate::event::decode(&crate::event::Incoming {
        workspace: crate::ids::WorkspaceId::default(),
        subject_type: Some("a:b"),
        headers: &[],
        body: data.to_string().as_bytes(),
        fallback_id: "1",
        fallback_source: "test",
        received_at: jiff::Timestamp::UNIX_EPOCH,
    })
    .unwrap()
}

fn texts() -> Texts {
    Texts::built_in().unwrap()
}

fn entry<'a>(texts: &'a Texts, event_type: &str) -> &'a Entry {
    texts.0.get(event_type).unwrap_or_else(|| panic!("there are no texts of {event_type}"))
}

/// The title, and the body as plain text.
fn rendered(entry: &Entry, data: &Value) -> (String, String) {
    let case = Case::of(data);
    let title = entry.title.as_ref().unwrap().render(&case).unwrap();
    let body = entry.body.as_ref().map(|body| body.render_markdown(&case).unwrap()).unwrap_or_default();
    (title, Document::parse(body.trim()).to_plain(10_000))
}

#[test]
fn every_text_says_what_its_payload_has() {
    let texts = texts();
    let mut missing: Vec<&String> = texts.0.keys().collect();
    for Known { event_type, data, title, body } in cases() {
        assert_eq!(rendered(entry(&texts, &event_type), &data), (title, body), "{event_type} {data}");
        missing.retain(|name| **name != event_type);
    }
    assert!(missing.is_empty(), "without a case: {missing:?}");
}

#[test]
fn a_payload_without_anything_leaves_no_hole_in_a_sentence() {
    let texts = texts();
    for (event_type, entry) in &texts.0 {
        for data in [
            json!({}),
            json!(null),
            json!({ "taskId": "", "from": null, "percentUsed": "many", "taskIds": 3 }),
        ] {
            let case = Case::of(&data);
            let title = entry.title.as_ref().unwrap().render(&case);
            if data["taskIds"] == 3 && title.is_err() {
                continue;
            }
            let title = title.unwrap();
            let ends_well = title.ends_with(|last: char| last.is_alphanumeric());
            let holes = ["  ", " :", " ,", "()", "( ", " )", ": :", "→"];
            assert!(ends_well && !title.starts_with(' '), "{event_type}: {title:?}");
            assert!(holes.iter().all(|hole| !title.contains(hole)), "{event_type}: {title:?}");
            if let Some(body) = &entry.body {
                let body = body.render_markdown(&case).unwrap();
                let body = Document::parse(body.trim()).to_plain(10_000);
                assert!(body.lines().all(|line| !line.trim_end().ends_with(':')), "{event_type}: {body:?}");
            }
        }
    }
}

#[test]
fn a_file_adds_types_and_changes_what_it_names() {
    let more = json!({
        "task:created": { "title": "Neu: {{task.title}}" },
        "shop.order": { "body": "{{id}}" },
        "agent:failed": { "body": "" },
        "shop:refund": { "like": "shop.order", "title": "Money back" },
    });
    let texts = texts().with(&more).unwrap();
    let data = json!({ "task": { "title": "Login", "description": "Fix it" }, "id": 7, "summary": "broken" });
    assert_eq!(rendered(entry(&texts, "task:created"), &data), ("Neu: Login".into(), "Fix it".into()));
    assert!(entry(&texts, "shop:order").title.is_none());
    assert_eq!(rendered(entry(&texts, "shop:refund"), &data), ("Money back".into(), "7".into()));
    assert_eq!(rendered(entry(&texts, "agent:failed"), &data).1, "");
}

#[test]
fn what_takes_over_the_texts_of_one_that_takes_them_over_has_them_in_any_order() {
    let more = json!({ "a:a": { "like": "b:b" }, "b:b": { "like": "c:c" }, "c:c": { "title": "C" } });
    let texts = texts().with(&more).unwrap();
    assert_eq!(rendered(entry(&texts, "a:a"), &json!({})).0, "C");
}

#[test]
fn a_file_that_cannot_be_used_is_refused_with_its_place() {
    for (table, expected) in [
        (json!([]), "must be an object of event types"),
        (json!({ "a b": { "title": "x" } }), "at /a b:"),
        (json!({ "a:b": "x" }), "at /a:b: must be an object with a title"),
        (
            json!({ "a:b": { "titel": "x" } }),
            "at /a:b/titel: `titel` is not a known field; did you mean `title`?",
        ),
        (json!({ "a:b": { "title": 5 } }), "at /a:b/title: must be a text"),
        (json!({ "a:b": { "body": "x\n{{ y" } }), "at /a:b/body: line 2: `{{` is not closed"),
        (
            json!({ "a:b": { "like": "c:d" }, "c:d": { "like": "e.f" }, "e:f": { "like": "c:d", "title": "x" } }),
            "at /c:d/like: goes in a circle: c:d → e:f → c:d",
        ),
        (json!({ "a:b": { "like": "a.b" } }), "at /a:b/like: goes in a circle: a:b → a:b"),
        (json!({ "a:b": { "like": "c:d" } }), "at /a:b/like: there are no texts of \"c:d\""),
    ] {
        let fault = texts().with(&table).unwrap_err().to_string();
        assert!(fault.starts_with(expected), "{fault}");
    }
}

#[test]
fn a_link_leads_to_a_page_and_runs_nothing() {
    for link in ["https://a.example/x", "HTTP://a.example", "/tasks/7", "mailto:ops@example.com"] {
        assert!(is_link(link), "{link}");
    }
    let long = format!("https://a.example/{}", "x".repeat(LINK_BYTES_MAX));
    for link in [
        "javascript:alert(1)",
        "//evil.example",
        "/\\evil.example",
        "data:text/html,x",
        "a.example",
        "",
        &long,
        "/a\nb",
    ] {
        assert!(!is_link(link), "{link}");
    }
}

#[test]
fn a_type_says_how_urgent_it_is_and_what_the_inbox_makes_of_it() {
    let texts = texts();
    let urgency = |name: &str| entry(&texts, name).traits.urgency.clone().unwrap();
    for (name, word, severity) in [
        ("needs_input", "high", Severity::Critical),
        ("error", "high", Severity::Critical),
        ("permission_request", "high", Severity::Critical),
        ("approval_request", "high", Severity::Critical),
        ("security_alert", "high", Severity::Critical),
        ("task_complete", "medium", Severity::Warning),
        ("task_completed", "medium", Severity::Warning),
        ("session_ended", "medium", Severity::Warning),
        ("pr_created", "medium", Severity::Warning),
        ("progress", "low", Severity::Info),
    ] {
        assert_eq!((urgency(name).word.as_str(), urgency(name).severity), (word, severity), "{name}");
    }
    assert!(texts.is_mandatory(&EventType::parse("security_alert").unwrap()));
    assert!(!texts.is_mandatory(&EventType::parse("task_complete").unwrap()));
    let rendered = |key: &Template, data: Value| key.render(&Case::of(&data)).unwrap();
    let dedupe = entry(&texts, "task_complete").traits.dedupe.clone().unwrap();
    assert_eq!(dedupe.window.as_secs(), 60);
    let collapse = entry(&texts, "progress").traits.collapse.clone().unwrap();
    assert_eq!(collapse.window.unwrap().as_secs(), 300);
    for key in [&dedupe.key, &collapse.key] {
        assert_eq!(rendered(key, json!({"taskId": 7})), "7");
        assert_eq!(rendered(key, json!({"task": {"id": "t"}})), "t");
        assert_eq!(rendered(key, json!({"task": "t"})), "");
    }
}

#[test]
fn a_file_changes_what_a_type_is_and_takes_it_back() {
    let more = json!({
        "task_complete": { "dedupe": { "key": "", "windowMs": 1 }, "severity": "warning" },
        "security_alert": { "mandatory": false },
        "shop:order": { "mandatory": true, "collapse": { "key": "{{id}}" } },
        "shop:refund": { "like": "shop:order", "mandatory": false },
    });
    let texts = texts().with(&more).unwrap();
    let traits = |name: &str| entry(&texts, name).traits.clone();
    let dedupe = traits("task_complete").dedupe.unwrap();
    assert_eq!(dedupe.key.render(&Case::of(&json!({"taskId": 7}))).unwrap(), "");
    assert_eq!(traits("task_complete").urgency.unwrap().word, "warning");
    assert_eq!(
        (traits("security_alert").mandatory, traits("shop:order").mandatory),
        (Some(false), Some(true))
    );
    assert_eq!(traits("security_alert").urgency.unwrap().word, "high");
    assert_eq!(traits("shop:refund").mandatory, Some(false));
    assert_eq!(traits("shop:refund").collapse.unwrap().window, None);
    for (table, expected) in [
        (json!({ "a:b": { "severity": "loud" } }), "at /a:b/severity: \"loud\" is none of info, warning"),
        (json!({ "a:b": { "mandatory": "yes" } }), "at /a:b/mandatory: must be true or false"),
        (json!({ "a:b": { "dedupe": { "key": "x" } } }), "at /a:b/dedupe"),
        (
            json!({ "a:b": { "dedupe": { "key": "x", "windowMs": 0 } } }),
            "at /a:b/dedupe/windowMs: must be more than 0",
        ),
        (json!({ "a:b": { "dedupe": { "key": "{{ x", "windowMs": 1 } } }), "at /a:b/dedupe/key: line 1"),
        (json!({ "a:b": { "collapse": { "kee": "x" } } }), "at /a:b/collapse/kee"),
    ] {
        let fault = self::texts().with(&table).unwrap_err().to_string();
        assert!(fault.starts_with(expected), "{fault}");
    }
}

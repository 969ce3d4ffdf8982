//! What Telegram gets and what its answers mean.

use serde_json::json;

use super::*;
use crate::channel::conformance::{sample, workshop};

/// Of a recipient.
const CHAT: &str = "4815162342";
const TOKEN: &str = "123456:hunter2-token";

fn telegram(config: &Value) -> Result<Telegram, Fault> {
    Telegram::new(config, &workshop())
}

/// As Telegram counts: without tags, escapes parsed.
fn parsed_units(html: &str) -> usize {
    let mut text = String::new();
    for (index, part) in html.split('<').enumerate() {
        text.push_str(if index == 0 { part } else { part.split_once('>').expect("a tag ends").1 });
    }
    units(&text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&"))
}

#[test]
fn a_message_is_title_body_and_context() {
    let mut delivery = sample();
    delivery.link = Some("https://app.example/?a=1&b=2".to_owned());
    assert_eq!(
        text(&delivery),
        "<b>Task &lt;created&gt; &amp; more</b>\n\n<b>bold</b> snake_case_name\n\n&lt;!channel&gt;\n\n\
         <i>warning · task:created · 2026-11-20 10:00 UTC</i> · <a href=\"https://app.example/?a=1&amp;b=2\">Open</a>"
    );
    delivery.link = Some("/tasks/<1>".to_owned());
    assert!(text(&delivery).ends_with("UTC</i> · /tasks/&lt;1&gt;"));
    delivery.body = String::new();
    delivery.title = String::new();
    assert!(text(&delivery).starts_with("<i>warning"));
}

#[test]
fn the_limit_is_kept_to_the_unit() {
    let mut delivery = sample();
    delivery.title = "🚀 & ".repeat(1000);
    delivery.link = Some("not a link & ".repeat(1000));
    for body in ["🚀", "x", "&", "**a** ", "word & "] {
        delivery.body = body.repeat(5000);
        let text = text(&delivery);
        let length = parsed_units(&text);
        assert!(length <= TEXT_UNITS_MAX && length > TEXT_UNITS_MAX - 60, "{body}: {length}");
        assert_eq!(text.matches("<b>").count(), text.matches("</b>").count());
        assert!(text.contains('…'));
    }
}

#[test]
fn a_body_that_just_fits_is_not_cut() {
    let mut delivery = sample();
    delivery.body = String::new();
    let rest = parsed_units(&text(&delivery)) + 2;
    delivery.body = "x".repeat(TEXT_UNITS_MAX - rest);
    assert_eq!(parsed_units(&text(&delivery)), TEXT_UNITS_MAX);
    assert!(!text(&delivery).contains('…'));
    delivery.body.push('x');
    assert_eq!(parsed_units(&text(&delivery)), TEXT_UNITS_MAX);
    assert!(text(&delivery).contains('…'));
}

#[test]
fn ids_may_be_numbers_or_texts_and_a_base_keeps_its_path() {
    let config =
        json!({ "botToken": TOKEN, "chatId": "-1001", "threadId": "7", "apiBase": "https://a.example/x/" });
    let built = telegram(&config).unwrap();
    assert_eq!((&built.chat_id, built.thread_id), (&Some(Id::Number(-1001)), Some(7)));
    assert_eq!(built.url.expose().as_str(), "https://a.example/x/bot123456:hunter2-token/sendMessage");
    let named = telegram(&json!({ "botToken": TOKEN, "chatId": "@ops", "threadId": "" })).unwrap();
    assert_eq!((&named.chat_id, named.thread_id), (&Some(Id::Name("@ops".to_owned())), None));
    assert!(!format!("{built:?} {named:?}").contains("hunter2"));
}

#[test]
fn faults_name_the_place_and_no_secret() {
    for (config, pointer) in [
        (json!({ "chatId": 1 }), "/botToken"),
        (json!({ "botToken": "", "chatId": 1 }), "/botToken"),
        (json!({ "botToken": "hunter2/../x", "chatId": 1 }), "/botToken"),
        (json!({ "botToken": TOKEN, "chatId": "" }), "/chatId"),
        (json!({ "botToken": TOKEN, "chatId": "ops" }), "/chatId"),
        (json!({ "botToken": TOKEN, "chatId": ["x"] }), "/chatId"),
        (json!({ "botToken": TOKEN, "chatId": 1, "threadId": "x" }), "/threadId"),
        (json!({ "botToken": TOKEN, "chatId": 1, "apiBase": "x" }), "/apiBase"),
        (json!({ "botToken": TOKEN, "chatId": 1, "token": "hunter2" }), "/token"),
    ] {
        let fault = telegram(&config).unwrap_err();
        assert_eq!(fault.pointer, pointer, "{fault}");
        assert!(!fault.message.contains("hunter2"), "{fault}");
    }
}

fn seen(status: u16, body: &str) -> String {
    let answer = Answer { status, retry_after: None, body: body.as_bytes().to_vec() };
    match classify(&answer, &[TOKEN]) {
        Ok(receipt) => format!("ok {:?}", receipt.provider_id),
        Err(SendError::Transient { failure, .. }) => format!("transient {}", failure.reason),
        Err(SendError::RateLimited { failure, retry_after }) => {
            format!("limited {} {retry_after:?}", failure.reason)
        }
        Err(SendError::Permanent(failure)) => format!("permanent {}", failure.reason),
        Err(SendError::Ours(failure)) => format!("ours {}", failure.reason),
    }
}

#[test]
fn the_error_code_decides_also_under_200() {
    let limited = r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 5","parameters":{"retry_after":5}}"#;
    for (status, body, expected) in [
        (200, r#"{"ok":true,"result":{"message_id":42}}"#, "ok Some(\"42\")"),
        (200, r#"{"ok":true}"#, "ok None"),
        (200, limited, "limited rate_limited Some(5s)"),
        (429, limited, "limited rate_limited Some(5s)"),
        (429, "", "limited rate_limited None"),
        (200, r#"{"ok":true,"result":{"mess"#, "transient provider_error"),
        (200, r#"{"ok":false}"#, "transient provider_error"),
        (200, r#"{"ok":false,"error_code":403}"#, "permanent gone"),
        (
            400,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: message text is empty"}"#,
            "permanent rejected",
        ),
        (400, r#"{"ok":false,"parameters":{"migrate_to_chat_id":-100}}"#, "permanent gone"),
        (404, r#"{"ok":false,"error_code":404,"description":"Not Found"}"#, "ours unauthorized"),
        (502, "<html>", "transient provider_error"),
        (302, "", "permanent rejected"),
    ] {
        assert_eq!(seen(status, body), expected, "{status} {body}");
    }
}

#[test]
fn every_status_has_its_class() {
    for status in 100..600 {
        let expected = match status {
            401 | 404 => "ours unauthorized",
            403 => "permanent gone",
            429 => "limited rate_limited None",
            400..=499 => "permanent rejected",
            _ => "transient provider_error",
        };
        assert_eq!(seen(status, r#"{"ok":false}"#), expected, "{status}");
    }
}

#[test]
fn descriptions_are_quoted_unless_they_could_leak() {
    assert_eq!(
        quotable("Bad Request: chat not found", &[TOKEN, CHAT]),
        "Telegram answered: Bad Request: chat not found"
    );
    for leak in ["", "no https://api.example", "unknown bot 123456", "no chat 4815162342", "x hunter2-token x", "/bot/sendMessage"]
    {
        assert_eq!(quotable(leak, &[TOKEN, CHAT]), "Telegram refused the message", "{leak}");
    }
    assert!(units(&quotable(&"x".repeat(5000), &[TOKEN, CHAT])) <= DESCRIPTION_UNITS_MAX);
}

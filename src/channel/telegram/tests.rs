//! What Telegram gets and what its answers mean.

use serde_json::json;

use super::api::{DESCRIPTION_UNITS_MAX, classify, quotable};
use super::message::TEXT_UNITS_MAX;
use super::*;
use crate::attachment::Attachment;
use crate::channel::conformance::{sample, workshop};
use crate::channel::http::Answer;
use crate::channel::text::units;
use crate::delivery::{Action, Format};

/// Of a recipient.
const CHAT: &str = "4815162342";
const TOKEN: &str = "123456:hunter2-token";

fn telegram(config: &Value) -> Result<Telegram, Fault> {
    Telegram::new(config, &workshop())
}

fn text(delivery: &Delivery) -> String {
    message::message(delivery).text
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
    assert_eq!(
        built.bot.url("sendMessage").expose().as_str(),
        "https://a.example/x/bot123456:hunter2-token/sendMessage"
    );
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
        (json!({ "botToken": TOKEN, "chatId": 1, "silent": ["quiet"] }), "/silent/0"),
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
        Ok(Verdict::Accepted { message_id, .. }) => format!("ok {message_id:?}"),
        Ok(Verdict::Unchanged { .. }) => "unchanged".to_owned(),
        Ok(Verdict::Lost) => "lost".to_owned(),
        Ok(Verdict::Moved(to)) => format!("moved {to}"),
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
        (200, r#"{"ok":true,"result":{"message_id":42}}"#, "ok Some(42)"),
        (200, r#"{"ok":true}"#, "ok None"),
        (200, r#"{"ok":true,"result":true}"#, "ok None"),
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
        (400, r#"{"ok":false,"parameters":{"migrate_to_chat_id":-100}}"#, "moved -100"),
        (
            400,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: message is not modified: specified new message content and reply markup are exactly the same as a current content"}"#,
            "unchanged",
        ),
        (400, r#"{"ok":false,"error_code":400,"description":"Bad Request: message to edit not found"}"#, "lost"),
        (400, r#"{"ok":false,"error_code":400,"description":"Bad Request: message can't be edited"}"#, "lost"),
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
    for leak in ["", "no https://api.example", "unknown bot 123456", "no chat 4815162342", "x hunter2-token x", "/bot/sendMessage", "no chat -1001234567890", "@ops is unknown"]
    {
        assert_eq!(quotable(leak, &[TOKEN, CHAT]), "Telegram refused the message", "{leak}");
    }
    assert!(units(&quotable(&"x".repeat(5000), &[TOKEN, CHAT])) <= DESCRIPTION_UNITS_MAX);
}

fn attachment(value: &Value) -> Attachment {
    serde_json::from_value(value.clone()).unwrap()
}

fn action(label: &str, url: &str) -> Action {
    Action { label: label.to_owned(), url: url.to_owned() }
}

#[test]
fn actions_are_buttons_where_telegram_opens_them_and_lines_elsewhere() {
    let mut delivery = sample();
    delivery.actions = vec![
        action("Open <task>", "https://app.example/t/1?a=1&b=2"),
        action("Here", "/tasks/<1>"),
        action("Local", "http://localhost:3000/x"),
    ];
    delivery.attachments = vec![
        attachment(&json!({ "name": "log <1>", "url": "https://ci.example/log?a=1&b=2" })),
        attachment(&json!({ "name": "a.txt", "text": "x" })),
    ];
    let message = message::message(&delivery);
    let expected = "Here: /tasks/&lt;1&gt;\nLocal: http://localhost:3000/x\n\
                    📎 <a href=\"https://ci.example/log?a=1&amp;b=2\">log &lt;1&gt;</a>\n\n<i>warning";
    assert!(message.text.contains(expected), "{}", message.text);
    let content = serde_json::to_value(content(&message)).unwrap();
    let buttons = json!([[{ "text": "Open <task>", "url": "https://app.example/t/1?a=1&b=2" }]]);
    assert_eq!(content["reply_markup"]["inline_keyboard"], buttons);
    let shown = Telegram::show(&delivery);
    assert!(shown.as_str().unwrap().ends_with("[Open <task>] https://app.example/t/1?a=1&b=2"), "{shown}");
}

#[test]
fn the_limit_holds_with_everything_in_it() {
    let mut delivery = sample();
    delivery.title = "& ".repeat(1000);
    delivery.body = "**a** <b> ".repeat(5000);
    delivery.link = Some(format!("/{}", "x".repeat(1000)));
    delivery.actions = (0..5).map(|_| action(&"l".repeat(75), &format!("/{}", "x".repeat(1000)))).collect();
    let file = json!({ "name": "n".repeat(120), "url": "https://a.example/" });
    delivery.attachments = (0..10).map(|_| attachment(&file)).collect();
    let text = text(&delivery);
    let length = parsed_units(&text);
    assert!(length <= TEXT_UNITS_MAX && length > TEXT_UNITS_MAX - 60, "{length}");
    assert!(text.matches("</").count() <= 100, "Telegram formats no more");
    assert!(text.matches("</b>").count() > 50, "the body keeps most of it");
}

#[test]
fn a_body_in_html_keeps_telegrams_own_tags_alone() {
    let mut delivery = sample();
    delivery.format = Format::Html;
    delivery.body = "<u>a</u> <script>x</script><img src=x onerror=y> **b** <a href='javascript:z'>c</a>".to_owned();
    assert!(text(&delivery).contains("\n\n<u>a</u>  **b** c\n\n<i>warning"), "{}", text(&delivery));
}

fn attempt<'a>(
    delivery: &'a Delivery,
    to: Option<&'a Redacted<String>>,
    earlier: Option<&'a str>,
) -> Try<'a> {
    Try { to, earlier, ..Try::of(delivery, Timestamp::UNIX_EPOCH) }
}

#[test]
fn the_handle_of_a_recipients_message_does_not_name_the_chat() {
    let (delivery, to) = (sample(), Redacted::new(CHAT.to_owned()));
    let own = telegram(&json!({ "botToken": TOKEN })).unwrap();
    let call = own.call(attempt(&delivery, Some(&to), Some("41"))).unwrap();
    assert_eq!(call.earlier(&Id::Number(1)), Some(41));
    let said = call.said(call.chat.clone(), Some(42), 200);
    assert_eq!((said.receipt.handle.as_deref(), said.receipt.note), (Some("42"), None));
    let fixed = telegram(&json!({ "botToken": TOKEN, "chatId": "@ops" })).unwrap();
    let call = fixed.call(attempt(&delivery, None, Some("@ops:41"))).unwrap();
    assert_eq!(call.earlier(&call.chat), Some(41));
    assert_eq!(call.earlier(&Id::Number(-5)), None, "that is in another chat");
    assert_eq!(call.said(call.chat.clone(), Some(42), 200).receipt.handle.as_deref(), Some("@ops:42"));
    assert_eq!(call.said(call.chat.clone(), None, 200).receipt.handle, None);
}

#[test]
fn messages_of_quiet_severities_make_no_sound() {
    let mut delivery = sample();
    for (silent, severity, expected) in [
        (json!({}), Severity::Info, true),
        (json!({}), Severity::Warning, false),
        (json!({ "silent": [] }), Severity::Info, false),
        (json!({ "silent": ["info", "critical"] }), Severity::Critical, true),
    ] {
        let mut config = json!({ "botToken": TOKEN, "chatId": 1 });
        config.as_object_mut().unwrap().extend(silent.as_object().unwrap().clone());
        delivery.severity = severity;
        let built = telegram(&config).unwrap();
        assert_eq!(built.call(attempt(&delivery, None, None)).unwrap().is_silent, expected, "{silent}");
    }
}

#[test]
fn a_try_counts_against_the_bot_its_chat_and_its_group() {
    let mut delivery = sample();
    let limits = |chat: Value, delivery: &Delivery| {
        let built = telegram(&json!({ "botToken": TOKEN, "chatId": chat })).unwrap();
        built.limits(&attempt(delivery, None, None))
    };
    let of_person = limits(json!(7), &delivery);
    assert_eq!(of_person.len(), 2);
    let shape = |limit: &Limit| (limit.most, limit.per.as_secs(), limit.cost);
    assert_eq!(of_person.iter().map(shape).collect::<Vec<_>>(), [(30, 1, 1), (1, 1, 1)]);
    delivery.attachments = vec![attachment(&json!({ "name": "a", "text": "x" }))];
    let of_group = limits(json!(-7), &delivery);
    assert_eq!(of_group.iter().map(shape).collect::<Vec<_>>(), [(30, 1, 2), (1, 1, 1), (20, 60, 2)]);
    assert_eq!(of_person[0].of, of_group[0].of, "one bot");
    assert_ne!(of_person[1].of, of_group[1].of);
    assert_eq!(limits(json!("@news"), &delivery).len(), 3);
    let all: String = of_person.iter().chain(&of_group).map(|limit| limit.of.as_str()).collect();
    assert!(!all.contains("hunter2") && !all.contains("123456"), "{all}");
}

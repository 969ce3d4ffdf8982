//! What WhatsApp gets and what its answers mean.

use serde_json::json;

use super::*;
use crate::attachment::Attachment;
use crate::channel::conformance::{sample, workshop};
use crate::channel::text::units;
use crate::delivery::Action;

const TOKEN: &str = "EAAhunter2";
const NUMBER: &str = "+491701234567";

fn config(more: &Value) -> Value {
    let mut config = json!({ "phoneNumberId": 106_540_352_242_922_i64, "accessToken": TOKEN, "to": NUMBER });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

fn whatsapp(more: &Value) -> Result<WhatsApp, Fault> {
    WhatsApp::new(&config(more), &workshop())
}

#[test]
fn a_text_has_whatsapps_marks_and_nothing_else_is_one() {
    let mut delivery = sample();
    delivery.body =
        "**bold** *it* `a*b`\n\n> quote\n\n- one\n\n```\nx_y_\n```\n[d](https://a.example/) \\*no\\*".to_owned();
    delivery.link = Some("https://app.example/t".to_owned());
    delivery.actions = vec![Action { label: "Open".to_owned(), url: "/t/1".to_owned() }];
    let file = json!([{ "name": "a.txt", "text": "xy" }, { "name": "log", "url": "https://ci.example/l" }]);
    delivery.attachments = serde_json::from_value::<Vec<Attachment>>(file).unwrap();
    let built = whatsapp(&json!({})).unwrap();
    let request = built.request(&delivery, NUMBER);
    assert_eq!(
        request,
        json!({
            "messaging_product": "whatsapp", "recipient_type": "individual", "to": NUMBER, "type": "text",
            "text": { "preview_url": false, "body":
                "*Task <created> & more*\n\n*bold* _it_ `a*b`\n\n> quote\n\n• one\n\n```x_y_```\n\n\
                 d (https://a.example/) \u{200b}*\u{200b}no\u{200b}*\u{200b}\n\n\
                 https://app.example/t\nOpen: /t/1\n📎 a.txt (2 bytes, not sent)\n📎 log: https://ci.example/l\n\n\
                 _warning · task:created · 2026-11-20 10:00 UTC_" },
        })
    );
    delivery.title = "a *b* c_d_".to_owned();
    assert!(message::text(&delivery).starts_with("a \u{200b}*\u{200b}b\u{200b}*\u{200b} c_d\u{200b}_"));
}

#[test]
fn the_limit_is_kept() {
    let mut delivery = sample();
    delivery.title = "*🚀 _".repeat(1000);
    delivery.body = "**a** _b_ `c` *\n> ".repeat(5000);
    delivery.link = Some(format!("/{}", "x".repeat(2000)));
    delivery.actions = (0..5)
        .map(|_| Action { label: "l".repeat(75), url: format!("/{}", "x".repeat(2000)) })
        .collect();
    let length = units(&message::text(&delivery));
    assert!(length <= 4096 && length > 3500, "{length}");
}

#[test]
fn a_template_gets_its_parameters_in_one_line_each() {
    let template = json!({ "template": { "name": "alert", "language": "en_US",
        "parameters": ["title", "body", "link", "severity", "eventType"] } });
    let built = whatsapp(&template).unwrap();
    let mut delivery = sample();
    delivery.body = format!("**a**\n\n\tb     c {}", "x".repeat(2000));
    let request = built.request(&delivery, NUMBER);
    assert_eq!(request["type"], "template");
    assert_eq!(request["template"]["language"], json!({ "code": "en_US" }));
    let parameters = request["template"]["components"][0]["parameters"].as_array().unwrap();
    let texts: Vec<&str> =
        parameters.iter().map(|parameter| parameter["text"].as_str().unwrap()).collect();
    assert_eq!((texts[0], texts[2], texts[3], texts[4]), ("Task <created> & more", "–", "warning", "task:created"));
    assert!(texts[1].starts_with("a b c x") && units(texts[1]) <= 512, "{}", texts[1]);
    delivery.title = "t".repeat(1000);
    delivery.link = Some(format!("https://app.example/{}", "x".repeat(400)));
    let request = built.request(&delivery, NUMBER);
    let parameters = request["template"]["components"][0]["parameters"].as_array().unwrap();
    let texts: Vec<&str> =
        parameters.iter().map(|parameter| parameter["text"].as_str().unwrap()).collect();
    let all: usize = texts.iter().map(|text| units(text)).sum();
    assert!((850..=900).contains(&all), "Meta counts all of them together: {all}");
    assert_eq!(texts[2], delivery.link.as_deref().unwrap(), "the body gives way, not the link");
    let bare = whatsapp(&json!({ "template": { "name": "ping", "language": "de" } })).unwrap();
    assert_eq!(bare.request(&delivery, NUMBER)["template"], json!({ "name": "ping", "language": { "code": "de" } }));
}

#[test]
fn faults_name_the_place_and_no_secret() {
    for (more, pointer) in [
        (json!({ "accessToken": "" }), "/accessToken"),
        (json!({ "accessToken": "hunter2\n" }), "/accessToken"),
        (json!({ "phoneNumberId": "hunter2" }), "/phoneNumberId"),
        (json!({ "phoneNumberId": "../1" }), "/phoneNumberId"),
        (json!({ "to": "hunter2" }), "/to"),
        (json!({ "to": "" }), "/to"),
        (json!({ "apiVersion": "v23.0/../x" }), "/apiVersion"),
        (json!({ "apiBase": "x" }), "/apiBase"),
        (json!({ "template": { "name": "a b", "language": "en" } }), "/template/name"),
        (json!({ "template": { "name": "a", "language": "" } }), "/template/language"),
        (json!({ "template": { "name": "a", "language": "en", "parameters": ["titel"] } }), "/template/parameters/0"),
        (json!({ "token": "hunter2" }), "/token"),
    ] {
        let fault = whatsapp(&more).unwrap_err();
        assert_eq!(fault.pointer, pointer, "{fault}");
        assert!(!fault.message.contains("hunter2"), "{fault}");
    }
    let built = whatsapp(&json!({ "phoneNumberId": "1", "apiBase": "https://a.example/x/", "apiVersion": "v1.0" }));
    let built = built.unwrap();
    assert_eq!(built.url.as_str(), "https://a.example/x/v1.0/1/messages");
    assert!(!format!("{built:?}").contains("hunter2") && !format!("{built:?}").contains("4917"));
}

fn class(status: u16, body: &str, is_alone: bool) -> String {
    let answer = Answer { status, retry_after: None, body: body.as_bytes().to_vec() };
    match classify(&answer, is_alone) {
        Ok(_) => "ok".to_owned(),
        Err(SendError::Transient { failure, retry_after }) => {
            format!("transient {} {retry_after:?}", failure.reason)
        }
        Err(SendError::RateLimited { failure, retry_after }) => {
            format!("limited {} {retry_after:?}", failure.reason)
        }
        Err(SendError::Permanent(failure)) => format!("permanent {}", failure.reason),
        Err(SendError::Ours(failure)) => format!("ours {}", failure.reason),
    }
}

#[test]
fn the_code_decides_before_the_status() {
    let error = |code: u32| json!({ "error": { "code": code, "message": NUMBER } }).to_string();
    for (status, code, expected) in [
        (401, 0, "ours unauthorized"),
        (500, 3, "ours unauthorized"),
        (403, 250, "ours unauthorized"),
        (400, 4, "limited rate_limited None"),
        (400, 131_048, "limited rate_limited None"),
        (503, 2, "transient provider_error None"),
        (400, 131_016, "transient provider_error None"),
        (400, 2_494_100, "transient provider_error None"),
        (400, 131_026, "permanent gone"),
        (400, 131_047, "permanent rejected"),
        (400, 132_000, "ours misconfigured"),
        (400, 132_005, "permanent rejected"),
        (400, 132_015, "ours misconfigured"),
        (403, 368, "ours unauthorized"),
        (400, 133_010, "ours misconfigured"),
        (400, 999_999, "permanent rejected"),
        (200, 999_999, "transient provider_error None"),
        (200, 190, "ours unauthorized"),
    ] {
        assert_eq!(class(status, &error(code), true), expected, "{status} {code}");
    }
    let answer = Answer { status: 400, retry_after: None, body: error(999_999).into_bytes() };
    let detail = classify(&answer, true).unwrap_err().failure().detail.clone();
    assert_eq!(detail, "WhatsApp answered 999999, which is not known: answered 400");
    let pair = error(131_056);
    assert_eq!(class(400, &pair, true), "limited rate_limited Some(6s)");
    assert_eq!(class(400, &pair, false), "transient rate_limited Some(6s)", "others need not wait");
    for status in (100..600).filter(|status| !(200..300).contains(status)) {
        let answer = Answer { status, retry_after: None, body: b"<html>".to_vec() };
        assert_eq!(classify(&answer, true).map(drop), classify_provider_status(status, None), "{status}");
    }
    assert_eq!(class(200, "{\"messages\":[{\"id\":\"wam", true), "transient provider_error None");
}

#[test]
fn a_try_counts_against_the_number_and_the_pair() {
    let (delivery, to) = (sample(), Redacted::new("+16505551234".to_owned()));
    let own = json!({ "phoneNumberId": 1, "accessToken": TOKEN });
    let own = WhatsApp::new(&own, &workshop()).unwrap();
    let limits = own.limits(&Try { to: Some(&to), ..Try::of(&delivery, Timestamp::UNIX_EPOCH) });
    let shape: Vec<_> = limits.iter().map(|limit| (limit.most, limit.per.as_secs(), limit.burst)).collect();
    assert_eq!(shape, [(80, 1, 80), (600, 3_600, 45)]);
    assert!(limits.iter().all(|limit| !limit.of.contains("1650") && limit.of.starts_with("whatsapp-")));
    assert!(own.limits(&Try::of(&delivery, Timestamp::UNIX_EPOCH)).is_empty());
}

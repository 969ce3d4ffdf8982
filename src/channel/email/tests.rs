//! What is configured, what is said, and what the APIs are asked.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::attachment::Attachment;
use crate::channel::conformance::server::Server;
use crate::channel::conformance::{sample, workshop};
use crate::channel::http::{HttpClient, HttpPolicy};
use crate::channel::secret::Redacted;
use crate::delivery::Action;
use crate::event::Severity;

const FROM: &str = "Bugle <bugle@example.com>";
const LINK: &str = "https://bugle.example.com/v1/unsubscribe/t0ken";

fn at() -> Timestamp {
    "2026-11-20T10:00:05Z".parse().unwrap()
}

/// With something of everything.
fn full() -> Delivery {
    let mut delivery = sample();
    delivery.link = Some("https://app.example/t/1?a=1&b=2".to_owned());
    delivery.actions = vec![
        Action { label: "Rerun <now>".to_owned(), url: "https://ci.example/rerun".to_owned() },
        Action { label: "Local".to_owned(), url: "/runs/7".to_owned() },
    ];
    delivery.collapse_id = Some("c_group".to_owned());
    let attachments = json!([
        {"name": "räport.csv", "contentType": "text/csv; charset=utf-8", "text": "a,b\n1,2\n"},
        {"name": "log", "url": "https://ci.example/log"},
    ]);
    delivery.attachments = serde_json::from_value::<Vec<Attachment>>(attachments).unwrap();
    delivery
}

fn raw(delivery: &Delivery, from: &str) -> String {
    let from = mailbox(from, "/from").unwrap();
    let to = [mailbox("ann@example.org", "/to").unwrap()];
    let envelope = Envelope { from: &from, reply_to: None, to: &to };
    let letter = Letter::new(delivery, domain_of(&from), Some(LINK));
    String::from_utf8(mime::message(&letter, &envelope, at()).unwrap()).unwrap()
}

fn head(raw: &str) -> Vec<&str> {
    raw.split("\r\n\r\n").next().unwrap().split("\r\n").collect()
}

#[test]
fn the_text_and_the_html_say_the_same_and_only_links_are_links() {
    let letter = Letter::new(&full(), "example.com", Some(LINK));
    assert_eq!(letter.subject, "Task <created> & more");
    assert_eq!(
        letter.text,
        "Task <created> & more\n\nbold snake_case_name\n\n<!channel>\n\n\
         Open: https://app.example/t/1?a=1&b=2\nRerun <now>: https://ci.example/rerun\nLocal: /runs/7\n\n\
         log: https://ci.example/log\n\n\
         -- \nwarning · task:created · 2026-11-20 10:00 UTC\nUnsubscribe: https://bugle.example.com/v1/unsubscribe/t0ken\n"
    );
    for part in [
        "<strong>bold</strong> snake_case_name<br>\n<br>\n&lt;!channel&gt;",
        "<a href=\"https://app.example/t/1?a=1&amp;b=2\" style=",
        ">Rerun &lt;now&gt;</a>",
        "Local: /runs/7<br>",
        "<a href=\"https://ci.example/log\">log</a>",
        "border-left:6px solid #f59e0b",
        ">Unsubscribe</a>",
    ] {
        assert!(letter.html.contains(part), "{part} is not in {}", letter.html);
    }
    assert_eq!(letter.html.matches("<a ").count(), 4, "{}", letter.html);
    assert_eq!(letter.files.len(), 1, "a link is no file");
    let mut bare = sample();
    (bare.title, bare.body) = (" ".to_owned(), String::new());
    let letter = Letter::new(&bare, "example.com", None);
    assert_eq!(letter.subject, "task:created", "no mail without a subject");
    assert!(!letter.html.contains("href") && !letter.text.contains("Unsubscribe"));
}

#[test]
fn headers_say_what_it_is_how_urgent_it_is_and_where_it_belongs() {
    let of = |delivery: &Delivery, link| {
        let letter = Letter::new(delivery, "example.com", link);
        letter.headers.into_iter().collect::<std::collections::BTreeMap<_, _>>()
    };
    let mut delivery = full();
    delivery.severity = Severity::Critical;
    let first = of(&delivery, Some(LINK));
    assert_eq!(first["Auto-Submitted"], "auto-generated");
    assert_eq!((first["Importance"].as_str(), first["X-Priority"].as_str()), ("high", "1"));
    assert_eq!(first["List-Unsubscribe"], format!("<{LINK}>"));
    assert_eq!(first["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click");
    assert!(first["References"].starts_with("<c_") && first["References"].ends_with("@example.com>"));
    delivery.id = crate::ids::DeliveryId::parse("d_aivfuvuqt5zrxmfsw4jhrdbp").unwrap();
    assert_eq!(of(&delivery, None)["In-Reply-To"], first["References"], "another one of the same group");
    delivery.collapse_id = Some("c_other".to_owned());
    assert_ne!(of(&delivery, None)["In-Reply-To"], first["References"]);
    let plain = of(&sample(), None);
    for absent in ["References", "In-Reply-To", "List-Unsubscribe", "List-Unsubscribe-Post", "Importance"] {
        assert!(!plain.contains_key(absent), "{absent}");
    }
}

#[test]
fn nothing_that_is_said_becomes_a_header() {
    let hostile = "x\r\nBcc: eve@example.net\r\n\r\n<script>\u{0}\u{7f}\u{2028}";
    let mut delivery = full();
    (delivery.title, delivery.body) = (hostile.to_owned(), hostile.to_owned());
    delivery.collapse_id = Some(hostile.to_owned());
    let message = raw(&delivery, "\"Bugle, \\\"the\\\" horn: äö\" <bugle@example.com>");
    let names: Vec<&str> = head(&message)
        .iter()
        .filter(|line| !line.starts_with([' ', '\t']))
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "From",
            "Date",
            "Message-ID",
            "Subject",
            "To",
            "Auto-Submitted",
            "X-Auto-Response-Suppress",
            "In-Reply-To",
            "References",
            "List-Unsubscribe",
            "List-Unsubscribe-Post",
            "MIME-Version",
            "Content-Type"
        ]
    );
    assert!(message.is_ascii() && message.lines().all(|line| line.len() < 998));
    assert!(message.contains("Message-ID: <d_bivfuvuqt5zrxmfsw4jhrdbp@example.com>"));
}

#[test]
fn configuration_faults_name_the_place_and_no_value() {
    let smtp = |more: Value| {
        let mut config = json!({ "host": "mail.example.com", "from": FROM });
        for (name, value) in more.as_object().unwrap() {
            config[name] = value.clone();
        }
        config
    };
    for (config, pointer) in [
        (json!({ "host": "mail.example.com" }), "/from"),
        (json!({ "from": FROM }), "/host"),
        (smtp(json!({ "from": "hunter2" })), "/from"),
        (smtp(json!({ "from": "a@b.example, hunter2@b.example" })), "/from"),
        (smtp(json!({ "from": "a@b.example\r\nBcc: hunter2@b.example" })), "/from"),
        (smtp(json!({ "replyTo": "hunter2" })), "/replyTo"),
        (smtp(json!({ "to": "hunter2" })), "/to"),
        (smtp(json!({ "to": ["a@b.example", "hunter2"] })), "/to/1"),
        (smtp(json!({ "to": [] })), "/to"),
        (smtp(json!({ "port": 0 })), "/port"),
        (smtp(json!({ "port": "hunter2" })), "/port"),
        (smtp(json!({ "security": "hunter2" })), "/security"),
        (smtp(json!({ "username": "u" })), "/password"),
        (smtp(json!({ "password": "hunter2" })), "/username"),
        (smtp(json!({ "apiKey": "hunter2" })), "/apiKey"),
        (smtp(json!({ "host": "hunter2 hunter2" })), "/host"),
        (smtp(json!({ "prt": 1 })), "/prt"),
        (json!({ "provider": "resend", "from": FROM }), "/apiKey"),
        (json!({ "provider": "resend", "from": FROM, "apiKey": "hunter2\n" }), "/apiKey"),
        (json!({ "provider": "sendgrid", "from": FROM, "apiKey": "hunter2", "host": "x" }), "/host"),
        (json!({ "provider": "sendgrid", "from": FROM, "apiKey": "hunter2", "apiBase": "x" }), "/apiBase"),
    ] {
        let fault = Email::new(&config, &workshop()).unwrap_err();
        assert_eq!(fault.pointer, pointer, "{fault}");
        assert!(!fault.message.contains("hunter2"), "{fault}");
    }
    for config in [
        smtp(json!({ "port": "2525", "apiKey": "", "username": "", "password": "", "replyTo": "" })),
        smtp(json!({ "to": "a@b.example, Ann <b@b.example>", "security": "none" })),
    ] {
        Email::new(&config, &workshop()).unwrap();
    }
}

#[test]
fn in_the_clear_and_past_a_proxy_there_is_no_channel_unless_it_is_allowed() {
    let config = json!({ "host": "mail.example.com", "from": FROM, "security": "none" });
    let strict = Workshop { http: HttpClient::new(HttpPolicy::default()).unwrap(), bus: None };
    assert_eq!(Email::new(&config, &strict).unwrap_err().pointer, "/security");
    let proxy = Some("http://proxy.example:3128".to_owned());
    let behind = Workshop { http: HttpClient::new(HttpPolicy { proxy, ..HttpPolicy::default() }).unwrap(), bus: None };
    let config = json!({ "host": "mail.example.com", "from": FROM });
    let fault = Email::new(&config, &behind).unwrap_err();
    assert!(fault.pointer == "/host" && fault.message.contains("worker.proxy"), "{fault}");
    let config = json!({ "provider": "resend", "apiKey": "re_1", "from": FROM });
    Email::new(&config, &behind).unwrap();
}

fn api(provider: &str, base: &str) -> Email {
    let config = json!({ "provider": provider, "apiKey": "k3y", "apiBase": base, "from": FROM, "replyTo": "ops@example.com" });
    Email::new(&config, &workshop()).unwrap()
}

async fn send(email: &Email, delivery: &Delivery, to: &str) -> Result<Receipt, SendError> {
    let to = Redacted::new(to.to_owned());
    let attempt = Try { to: Some(&to), unsubscribe: Some(LINK), ..Try::of(delivery, at()) };
    email.send(attempt).await
}

#[tokio::test]
async fn resend_gets_the_whole_message_under_the_deliverys_key() {
    let server = Server::answering(200, &[], r#"{"id":"49a3999c"}"#).await;
    let sent = send(&api("resend", &server.base), &full(), "ann@example.org").await.unwrap();
    assert_eq!(sent.provider_id.as_deref(), Some("49a3999c"));
    let request = &server.requests()[0];
    assert_eq!(request.headers["authorization"], "Bearer k3y");
    assert_eq!(request.headers["idempotency-key"], "d_bivfuvuqt5zrxmfsw4jhrdbp");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["from"], FROM);
    assert_eq!((&body["to"], &body["reply_to"]), (&json!(["ann@example.org"]), &json!("ops@example.com")));
    assert_eq!(body["headers"]["List-Unsubscribe"], format!("<{LINK}>"));
    assert_eq!(
        body["attachments"],
        json!([{ "filename": "räport.csv", "content": "YSxiCjEsMgo=", "content_type": "text/csv; charset=utf-8" }])
    );
}

#[tokio::test]
async fn sendgrid_gets_it_too_and_its_id_is_in_a_header() {
    let server = Server::answering(202, &[("x-message-id", "14c5d75ce93.dfd.64b469")], "").await;
    let sent = send(&api("sendgrid", &server.base), &full(), "ann@example.org").await.unwrap();
    assert_eq!((sent.provider_id.as_deref(), sent.code), (Some("14c5d75ce93.dfd.64b469"), Some(202)));
    let body: Value = serde_json::from_slice(&server.requests()[0].body).unwrap();
    assert_eq!(body["personalizations"], json!([{ "to": [{ "email": "ann@example.org" }] }]));
    assert_eq!(body["from"], json!({ "email": "bugle@example.com", "name": "Bugle" }));
    assert_eq!(body["content"][1]["type"], "text/html");
    assert_eq!(body["headers"]["Message-ID"], "<d_bivfuvuqt5zrxmfsw4jhrdbp@example.com>");
    assert_eq!((&body["attachments"][0]["type"], &body["attachments"][0]["disposition"]), (&json!("text/csv"), &json!("attachment")));
}

#[tokio::test]
async fn sendgrid_gets_each_address_once() {
    let server = Server::answering(202, &[], "").await;
    let config = json!({ "provider": "sendgrid", "apiKey": "k3y", "apiBase": server.base, "from": FROM,
        "to": ["a@x.example", "Ann <A@X.example>", "b@x.example"] });
    let email = Email::new(&config, &workshop()).unwrap();
    email.send(Try::of(&sample(), at())).await.unwrap();
    let body: Value = serde_json::from_slice(&server.requests()[0].body).unwrap();
    assert_eq!(body["personalizations"][0]["to"], json!([{ "email": "a@x.example" }, { "email": "b@x.example" }]));
}

#[tokio::test]
async fn a_recipients_address_that_is_none_or_hides_another_is_sent_to_nobody() {
    let server = Server::answering(200, &[], "{}").await;
    for hidden in ["nobody", "a@b.example, eve@b.example", "a@b.example\r\nRCPT TO:<eve@b.example>"] {
        let error = send(&api("resend", &server.base), &sample(), hidden).await.unwrap_err();
        assert_eq!(error.failure().reason, Reason::NoAddress);
        assert!(!error.failure().detail.contains("b.example"));
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_probe_asks_without_sending() {
    for (provider, path_answer) in [("resend", r#"{"data":[]}"#), ("sendgrid", r#"{"scopes":["mail.send"]}"#)] {
        let config = |base: &str| json!({ "provider": provider, "apiKey": "k3y", "apiBase": base, "from": FROM });
        let server = Server::answering(200, &[], path_answer).await;
        Email::probe(&config(&server.base), &workshop(), at()).await.unwrap();
        assert_eq!(server.requests()[0].method, "GET");
        let server = Server::answering(401, &[], "").await;
        let error = Email::probe(&config(&server.base), &workshop(), at()).await.unwrap_err();
        assert!(matches!(error, SendError::Ours(_)), "{error:?}");
    }
    let server = Server::answering(401, &[], r#"{"name":"restricted_api_key","message":"only send"}"#).await;
    let config = json!({ "provider": "resend", "apiKey": "k3y", "apiBase": server.base, "from": FROM });
    Email::probe(&config, &workshop(), at()).await.unwrap();
}

#[tokio::test]
async fn a_part_of_the_settings_is_asked_for_what_it_has_and_what_it_lacks_is_no_fault() {
    let probe = async |config: &Value| match <Email as Adapter>::probe(config, &workshop(), at()) {
        Some(asked) => Some(asked.await),
        None => None,
    };
    for provider in ["resend", "sendgrid"] {
        let server = Server::answering(200, &[], r#"{"data":[],"scopes":[]}"#).await;
        let account = json!({ "provider": provider, "apiKey": "k3y", "apiBase": server.base });
        assert_eq!(probe(&account).await, Some(Ok(())), "each of its channels has a sender of its own");
        assert_eq!(probe(&json!({ "provider": provider, "from": FROM })).await, None);
    }
    let password = json!({ "host": "bugle-test.invalid", "username": "bugle", "from": FROM });
    for part in [json!({}), json!({ "apiKey": "k3y" }), json!({ "from": FROM, "replyTo": FROM }), password] {
        assert_eq!(probe(&part).await, None, "{part}");
    }
    let server = json!({ "host": "bugle-test.invalid" });
    assert_eq!(probe(&server).await.unwrap().unwrap_err().failure().detail, "name not resolved");
}

#[test]
fn the_pages_examples_are_documents() {
    let page = include_str!("../../../docs/channels/email.md");
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let mut examples = 0;
    for block in blocks {
        let file = crate::documents::checked_file(crate::apply::files::yaml(block).unwrap()).unwrap();
        for spec in &file.channels {
            let lookup = |_: &str| Some("x".to_owned());
            let config = crate::channel::secret::expand_value(&spec.config, &lookup).unwrap();
            Email::new(&config, &workshop()).unwrap();
            examples += 1;
        }
    }
    assert_eq!(examples, 2);
}

#[test]
fn providers_limits_are_those_of_the_account() {
    let delivery = sample();
    let of = |email: &Email| email.limits(&Try::of(&delivery, at()));
    let (one, other) = (of(&api("resend", "https://a.example")), of(&api("resend", "https://b.example")));
    assert_eq!(one, other, "the key is what counts");
    assert_eq!((one[0].most, one[0].per, one[0].cost), (2, Duration::from_secs(1), 1));
    assert!(!one[0].of.contains("k3y"));
    assert_eq!(of(&api("sendgrid", "https://a.example")), [], "it takes what we can send");
    let smtp = Email::new(&json!({ "host": "mail.example.com", "from": FROM }), &workshop()).unwrap();
    assert!(of(&smtp).is_empty());
}

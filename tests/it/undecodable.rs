//! A message that is no event is kept among the dead letters with its bytes and the reason; the next one goes on.

use serde_json::{Value, json};

use crate::support::bugle::{Bugle, Role, everything_to, rule, webhook, with};
use crate::support::sink::Sink;
use crate::support::wire::Wire;

async fn routing(sink: &Sink) -> (Bugle, Wire) {
    let bugle = Bugle::new().await;
    bugle.cli(&["setup"]).await.ok();
    bugle.apply(&everything_to(&sink.url("/hook"))).await;
    bugle.start_roles(&[Role::Router, Role::Worker]).await;
    let wire = bugle.wire().await;
    (bugle, wire)
}

fn with_text<'a>(letters: &'a [Value], text: &str) -> &'a Value {
    let found =
        letters.iter().find(|letter| letter["detail"].as_str().is_some_and(|detail| detail.contains(text)));
    found.unwrap_or_else(|| panic!("no dead letter says {text:?}: {letters:#?}"))
}

#[tokio::test]
async fn what_is_no_event_is_kept_with_its_bytes_and_the_reason() {
    let sink = Sink::start().await;
    let (bugle, wire) = routing(&sink).await;
    let of_default = |rest: &str| wire.subject(&format!("events.default.{rest}"));
    let encoding = [("Content-Type", "application/msgpack")];
    wire.put(&wire.subject("events.default"), &[], "{\"no\": \"type\"}").await;
    wire.put(&wire.subject("events.Bad!Workspace.a.b"), &[], "{}").await;
    wire.put(&of_default("a.b"), &[], vec![b'{', 0xff, b'}']).await;
    wire.put(&of_default("a.b"), &encoding, "{\"un\": \"known\"}").await;
    wire.put(&of_default("a.b"), &[], "[1, 2]").await;
    wire.put(&of_default("a.b"), &[], "{ not json").await;
    wire.put(
        &of_default("a.b"),
        &[],
        "{\"specversion\": \"0.3\", \"type\": \"a:b\", \"source\": \"s\", \"id\": \"1\"}",
    )
    .await;
    let letters = bugle.buries(7).await;

    assert_eq!(with_text(&letters, "no type")["message"]["body"], "{\"no\": \"type\"}");
    let workspace = with_text(&letters, "workspace");
    assert_eq!(workspace["message"]["subject"], wire.subject("events.Bad!Workspace.a.b"));
    assert_eq!(with_text(&letters, "UTF-8")["message"]["bytes"], 3);
    assert_eq!(with_text(&letters, "application/msgpack")["reason"], "undecodable");
    with_text(&letters, "not an object");
    with_text(&letters, "not JSON");
    with_text(&letters, "specversion");

    wire.event("a:b", "good", &json!({})).await;
    sink.receives(1, "/hook").await;
    assert_eq!(bugle.dead_letters().await.len(), 7, "each is kept once");
}

#[tokio::test]
async fn an_event_that_is_too_large_says_so_and_stops_nobody() {
    let sink = Sink::start().await;
    let (bugle, wire) = routing(&sink).await;
    let large = json!({ "text": "x".repeat(400 * 1024) });
    wire.event("a:b", "large", &large).await;
    wire.event("a:b", "small", &json!({})).await;
    let letters = bugle.buries(1).await;
    assert_eq!(letters[0]["reason"], "too_large", "{letters:#?}");
    assert_eq!(letters[0]["message"]["bytes"], large.to_string().len());
    sink.receives(1, "/hook").await;
}

#[tokio::test]
async fn an_event_that_is_sent_again_goes_its_way_anew() {
    let sink = Sink::start().await;
    let (bugle, wire) = routing(&sink).await;
    wire.put(&wire.subject("events.default"), &[], "{}").await;
    let letters = bugle.buries(1).await;
    let number = letters[0]["sequence"].to_string();
    let shown: Value = serde_json::from_str(&bugle.cli(&["dead", "show", &number]).await.ok()).unwrap();
    assert_eq!(shown["message"]["subject"], wire.subject("events.default"));
    bugle.cli(&["dead", "redrive", &number]).await.ok();
    // It is as broken as before: it comes back under a number of its own, and the old one is gone.
    let again = bugle.buries(1).await;
    assert_ne!(again[0]["sequence"].to_string(), number);
    assert_eq!(bugle.cli(&["dead", "show", &number]).await.code, 1);
    assert_eq!(bugle.cli(&["dead", "redrive", "999999"]).await.code, 1);
}

#[tokio::test]
async fn a_delivery_that_no_worker_can_read_is_kept_and_stops_nobody() {
    let sink = Sink::start().await;
    let (bugle, wire) = routing(&sink).await;
    wire.put(&wire.subject("deliveries.webhook.normal.default.hook"), &[], "{ not a delivery").await;
    let letters = bugle.buries(1).await;
    assert_eq!(
        (&letters[0]["reason"], &letters[0]["message"]["body"]),
        (&json!("undecodable"), &json!("{ not a delivery"))
    );
    let refused = bugle.cli(&["dead", "redrive", &letters[0]["sequence"].to_string()]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    wire.event("a:b", "good", &json!({})).await;
    sink.receives(1, "/hook").await;
}

#[tokio::test]
async fn an_event_of_thousands_of_bad_attachments_stops_no_router() {
    let sink = Sink::start().await;
    let bugle = Bugle::new().await;
    let rule = with(rule("all", "a:*", "hook"), &json!({"attachments": "files"}));
    bugle.start_with(&json!({"channels": [webhook("hook", &sink.url("/hook"))], "rules": [rule]})).await;
    let wire = bugle.wire().await;
    wire.event("a:b", "bad", &json!({ "files": vec![1; 30_000] })).await;
    let sent = &bugle.api().shows(1, "status=sent").await[0];
    let detail = bugle.api().delivery(sent["id"].as_str().unwrap()).await["detail"].to_string();
    assert!(detail.contains("an attachment was left out: at /0"), "{detail}");
    assert!(bugle.dead_letters().await.is_empty());
}

#[tokio::test]
async fn a_delivery_that_is_too_large_even_to_be_kept_is_given_up_without_what_it_said() {
    let sink = Sink::start().await;
    let bugle = Bugle::new().await;
    let more = json!({"attachments": "files", "template": {"body": "\"".repeat(60_000)}});
    let rule = with(rule("all", "a:*", "hook"), &more);
    bugle.start_with(&json!({"channels": [webhook("hook", &sink.url("/hook"))], "rules": [rule]})).await;
    let wire = bugle.wire().await;
    // Written out, each of these numbers is nearly four times as long: as data and as an attachment it is over 1 MiB.
    let numbers = vec!["1e15"; 51_000].join(",");
    let large = format!(r#"{{"files": [{{"name": "a.json", "json": [{numbers}]}}]}}"#);
    wire.put(&wire.subject("events.default.a.b"), &[("Nats-Msg-Id", "large")], large).await;
    let letters = bugle.buries(1).await;
    let letter = &letters[0];
    assert_eq!((&letter["reason"], &letter["cut"]), (&json!("too_large"), &json!(true)), "{letter}");
    let delivery = &letter["delivery"];
    assert_eq!((&delivery["body"], &delivery["event"]["id"]), (&json!(""), &json!("large")), "{letter}");
    bugle.api().shows(1, "status=failed").await;
    // What is left of it is nothing to send.
    let refused = bugle.cli(&["dead", "redrive", &letter["sequence"].to_string()]).await;
    assert!(refused.code == 1 && refused.stdout.contains("too large to be kept"), "{refused:?}");
    wire.event("a:b", "small", &json!({})).await;
    sink.receives(1, "/hook").await;
}

//! Old and new processes side by side: what a newer one wrote is left to newer ones, and never lost.

use std::time::Duration;

use serde_json::json;

use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Role, everything_to, rule, webhook, with};
use crate::support::database::Database;
use crate::support::sink::Sink;
use crate::support::{LATER, SOON, ensure, eventually, pause, steadily};

async fn fleet() -> (Bugle, Sink) {
    let (bugle, sink) = (Bugle::on(NatsServer::shared().await, Database::sqlite()), Sink::start().await);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    (bugle, sink)
}

#[tokio::test]
async fn a_delivery_of_a_newer_version_waits_for_a_newer_worker() {
    let (bugle, sink) = fleet().await;
    let wire = bugle.wire().await;
    let subject = wire.subject("deliveries.webhook.normal.default.hook");
    wire.put(&subject, &[], json!({ "v": 99, "shape": ["of", "tomorrow"] }).to_string()).await;
    wire.event("a:b", "1", &json!({})).await;
    sink.receives(1, "/hook").await;
    bugle.api().shows(1, "status=sent").await;
    steadily("it stays in the queue", Duration::from_secs(2), async || {
        let mut queue = wire.js.get_stream(wire.stream_name("DELIVERIES")).await.unwrap();
        let waiting = queue.info().await.unwrap().state.messages;
        ensure(waiting == 1, format!("{waiting} messages wait"))?;
        ensure(bugle.dead_letters().await.is_empty(), "it was given up")
    })
    .await;
}

#[tokio::test]
async fn deliveries_of_a_channel_that_a_worker_cannot_read_hold_up_nobody_and_wait_no_longer_than_they_may() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.set("WORKER__SLOTS", "2");
    let brief = with(webhook("brief", &sink.url("/brief")), &json!({"expiresInMs": 1_000}));
    bugle
        .start_with(&json!({
            "channels": [webhook("hook", &sink.url("/hook")), brief, webhook("other", &sink.url("/other"))],
            "rules": [rule("a", "a:*", "hook"), rule("b", "b:*", "brief"), rule("c", "c:*", "other")],
        }))
        .await;
    bugle.kill_9(Role::Worker);
    let wire = bugle.wire().await;
    let bucket = wire.js.get_key_value(wire.stream_name("CONFIG")).await.unwrap();
    let good = bucket.get("channels.default.hook").await.unwrap().unwrap();
    for key in ["channels.default.hook", "channels.default.brief"] {
        bucket
            .put(key, json!({ "v": 1, "spec": { "kind": "of_tomorrow" } }).to_string().into())
            .await
            .unwrap();
    }
    for number in 0..6 {
        wire.event("a:b", &format!("a-{number}"), &json!({})).await;
    }
    wire.event("b:b", "b-1", &json!({})).await;
    eventually("they wait", SOON, async || ensure(wire.messages("DELIVERIES").await == 7, "not yet")).await;
    pause(Duration::from_secs(1)).await;
    bugle.start_roles(&[Role::Worker]).await;
    wire.event("c:b", "c-1", &json!({})).await;
    sink.receives(1, "/other").await;
    assert_eq!(bugle.buries(1).await[0]["reason"], "expired");
    // An update of the worker can read it.
    bucket.put("channels.default.hook", good).await.unwrap();
    sink.receives_within(LATER, 6, "/hook").await;
}

#[tokio::test]
async fn a_record_of_a_newer_version_is_waited_at_and_not_stepped_over() {
    let (bugle, sink) = fleet().await;
    let wire = bugle.wire().await;
    let subject = wire.subject("outcomes.sent.default.hook");
    wire.put(&subject, &[], json!({ "v": 1, "reason": "a_word_of_tomorrow" }).to_string()).await;
    wire.event("a:b", "1", &json!({})).await;
    sink.receives(1, "/hook").await;
    steadily("nothing behind it is recorded", Duration::from_secs(2), async || {
        ensure(bugle.api().deliveries("").await.is_empty(), "the history went on")
    })
    .await;
    // What an update of the recorder does: then the record can be read.
    let records = wire.js.get_stream(wire.stream_name("RECORDS")).await.unwrap();
    records.delete_message(1).await.unwrap();
    eventually("the history goes on", SOON, async || {
        ensure(bugle.api().deliveries("status=sent").await.len() == 1, "not yet")
    })
    .await;
}

//! Old and new processes side by side: what a newer one wrote is left to newer ones, and never lost.

use std::time::Duration;

use serde_json::json;

use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, everything_to};
use crate::support::database::Database;
use crate::support::sink::Sink;
use crate::support::{SOON, ensure, eventually, steadily};

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

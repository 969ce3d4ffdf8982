//! What goes wrong in production, done on purpose, and counted at the receiving end.
//!
//! The promise: an event whose publish was acknowledged leads to at least one request and to exactly one final outcome.

mod broker;
mod database;
mod deletions;
mod trickle;
mod worker;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::support::api::Api;
use crate::support::bugle::Bugle;
use crate::support::sink::Sink;
use crate::support::wire::Wire;
use crate::support::{LATER, ensure, eventually, pause};

const FINAL: [&str; 3] = ["sent", "failed", "suppressed"];

/// Every one of these events has one delivery, it is sent, and its timeline has exactly one final outcome.
async fn each_is_sent_once(api: &Api, sink: &Sink, path: &str, events: &[String]) {
    let wanted: BTreeSet<&str> = events.iter().map(String::as_str).collect();
    let sent = eventually("every event is sent", LATER, async || {
        let sent = api.deliveries("status=sent").await;
        if sent.len() >= wanted.len() { Ok(sent) } else { Err(format!("{} of {}", sent.len(), wanted.len())) }
    })
    .await;
    let found: BTreeSet<&str> = sent.iter().map(|delivery| delivery["event"].as_str().unwrap()).collect();
    assert_eq!(found, wanted);
    assert_eq!(sent.len(), wanted.len(), "an event has two deliveries");
    assert_eq!(api.deliveries("").await.len(), wanted.len(), "a delivery is in two states");
    let counts = sink.counts(path);
    for delivery in &sent {
        assert!(
            counts.contains_key(delivery["id"].as_str().unwrap()),
            "sent, but never received: {delivery}"
        );
    }
}

fn finals(delivery: &Value) -> usize {
    let steps = delivery["timeline"].as_array().unwrap();
    steps.iter().filter(|step| FINAL.contains(&step["state"].as_str().unwrap())).count()
}

/// Publishes until an event arrives: the way through works (again).
async fn an_event_gets_through(bugle: &Bugle, wire: &Wire, sink: &Sink, path: &str) {
    let before = sink.requests(path).len();
    let mut number = 0;
    eventually("an event gets through", LATER, async || {
        assert_eq!(bugle.ended(), [], "a role ended instead of resuming");
        number += 1;
        wire.event_whatever_happens("a:b", &format!("through-{before}-{number}"), &serde_json::json!({}))
            .await;
        pause(Duration::from_millis(200)).await;
        ensure(sink.requests(path).len() > before, "nothing arrives")
    })
    .await;
}

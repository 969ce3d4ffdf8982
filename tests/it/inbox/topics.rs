//! Topics of a WebSocket beside its inbox: events and deliveries, for dashboards.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::live::{WebSocket, fleet, put};
use crate::support::api::token;
use crate::support::bugle::{Bugle, Role};
use crate::support::database::Database;
use crate::support::wire::Wire;
use crate::support::{LATER, SOON};

async fn open(bugle: &Bugle, query: &str) -> WebSocket {
    let mut ws = WebSocket::open(&bugle.api(), query).await;
    ws.told("connected").await;
    ws
}

async fn subscribe(ws: &mut WebSocket, wanted: Value) -> Value {
    let mut message = wanted;
    message["type"] = "subscribe".into();
    ws.say(&message).await;
    let answer = ws.told("subscribed").await;
    assert_eq!(answer["topic"], message["topic"], "{answer}");
    answer
}

async fn event(wire: &Wire, kind: &str, number: usize) {
    wire.event(kind, &format!("{kind}-{number}"), &json!({ "number": number })).await;
}

#[tokio::test]
async fn events_come_by_pattern_beside_the_inbox_and_until_they_are_no_longer_wanted() {
    let (bugle, wire) = fleet(Database::sqlite()).await;
    let mut ws = open(&bugle, "recipient=ann").await;
    let begun = subscribe(&mut ws, json!({ "topic": "events", "pattern": ["task:*", "sla:late"] })).await;
    assert_eq!(begun["id"], "0.0", "the id is the inbox's: {begun}");
    event(&wire, "other:thing", 1).await;
    event(&wire, "task:done", 2).await;
    event(&wire, "sla:late", 3).await;
    let mut seqs = vec![begun["seq"].as_u64().unwrap()];
    for (kind, number) in [("task:done", 2), ("sla:late", 3)] {
        let told = ws.told("event").await;
        assert_eq!(
            (&told["event"]["type"], &told["event"]["data"]["number"]),
            (&json!(kind), &json!(number))
        );
        assert_eq!(told["id"], "0.0", "{told}");
        seqs.push(told["seq"].as_u64().unwrap());
    }
    assert!(seqs.is_sorted_by(|one, next| one < next), "{seqs:?}");
    put(&wire, "ann", 1).await;
    assert_eq!(ws.told("notification.new").await["id"], "1.0");
    // Another subscription takes the place of the first.
    subscribe(&mut ws, json!({ "topic": "events", "pattern": "other:*" })).await;
    event(&wire, "task:done", 4).await;
    event(&wire, "other:thing", 5).await;
    let told = ws.told("event").await;
    assert_eq!((&told["event"]["data"]["number"], &told["id"]), (&json!(5), &json!("1.0")));
    ws.say(&json!({ "type": "unsubscribe", "topic": "events" })).await;
    ws.told("unsubscribed").await;
    event(&wire, "other:thing", 6).await;
    put(&wire, "ann", 2).await;
    ws.told("notification.new").await;
    ws.say(&json!({ "type": "unsubscribe", "topic": "events" })).await;
    assert!(ws.told("error").await["detail"].as_str().unwrap().contains("not subscribed"));
}

#[tokio::test]
async fn a_topic_is_resumed_on_another_connection_without_gap_or_repeat() {
    let (bugle, wire) = fleet(Database::sqlite()).await;
    let mut ws = open(&bugle, "recipient=*").await;
    subscribe(&mut ws, json!({ "topic": "events", "pattern": "task:*" })).await;
    for number in 1..=3 {
        event(&wire, "task:done", number).await;
    }
    let mut last = 0;
    for number in 1..=3 {
        let told = ws.told("event").await;
        assert_eq!(told["event"]["data"]["number"], number);
        last = told["seq"].as_u64().unwrap();
    }
    let mut api = bugle.take(Role::Api).remove(0);
    api.process.kill_9();
    for number in 4..=100 {
        event(&wire, "task:done", number).await;
    }
    let mut again = bugle.spawn_again(Role::Api, &api);
    again.until_ready(LATER).await;
    bugle.adopt(again);
    let mut ws = open(&bugle, "recipient=*").await;
    let begun = subscribe(&mut ws, json!({ "topic": "events", "pattern": "task:*", "after": last })).await;
    assert_eq!(begun["seq"], last);
    event(&wire, "task:done", 101).await;
    for number in 4..=101 {
        assert_eq!(ws.told("event").await["event"]["data"]["number"], number);
    }
    subscribe(&mut ws, json!({ "topic": "events", "after": 1_000_000 })).await;
    let gap = ws.told("gap").await;
    assert_eq!(gap["topic"], "events", "{gap}");
}

#[tokio::test]
async fn deliveries_come_by_their_filters() {
    let (bugle, wire) = fleet(Database::sqlite()).await;
    let mut ws = open(&bugle, "recipient=*").await;
    let wanted = json!({ "topic": "deliveries", "channel": "in_app", "status": ["sent", "failed"], "recipient": "ann" });
    subscribe(&mut ws, wanted).await;
    put(&wire, "bob", 1).await;
    put(&wire, "ann", 2).await;
    let told = ws.told("outcome").await;
    assert_eq!((&told["outcome"]["recipient"], &told["outcome"]["state"]), (&json!("ann"), &json!("sent")));
    let id = told["outcome"]["delivery"].as_str().unwrap().to_owned();
    bugle.api().shows_within(LATER, 2, "status=sent").await;
    let listed = bugle.api().get(&format!("/v1/deliveries/{id}")).await.expect(200);
    assert_eq!(listed["recipient"], "ann");
}

#[tokio::test]
async fn what_cannot_be_subscribed_to_is_said_and_the_connection_goes_on() {
    let (bugle, _wire) = fleet(Database::sqlite()).await;
    let mut ws = open(&bugle, "recipient=ann").await;
    for (wrong, named) in [
        (json!({ "topic": "events", "pattern": "a::b" }), "pattern"),
        (json!({ "topic": "events", "patern": "a:b" }), "patern"),
        (json!({ "topic": "events", "token": "x" }), "token"),
        (json!({ "topic": "deliveries", "status": "done" }), "status"),
        (json!({ "topic": "deliveries", "status": 7 }), "status"),
        (json!({ "topic": "notifications", "unread": "true" }), "no filters"),
    ] {
        let mut message = wrong;
        message["type"] = "subscribe".into();
        ws.say(&message).await;
        let error = ws.told("error").await;
        assert!(error["detail"].as_str().unwrap().contains(named), "{error}");
    }
    ws.say(&json!({ "type": "unsubscribe", "topic": "notifications" })).await;
    ws.told("error").await;
    subscribe(&mut ws, json!({ "topic": "notifications" })).await;
}

#[tokio::test]
async fn a_topic_shows_no_more_than_the_token_may_see_and_ends_with_it() {
    let (bugle, wire) = fleet(Database::sqlite()).await;
    let bound = token(&bugle, "viewer", &json!({ "workspace": "default", "recipient": "ann" })).await;
    let mut ws = WebSocket::open(&bound, "").await;
    ws.told("connected").await;
    for (wanted, why) in [
        (json!({ "type": "subscribe", "topic": "events" }), "recipient"),
        (json!({ "type": "subscribe", "topic": "deliveries", "recipient": "bob" }), "recipient"),
        (json!({ "type": "subscribe", "topic": "deliveries", "workspace": "other" }), "workspace"),
    ] {
        ws.say(&wanted).await;
        let error = ws.told("error").await;
        assert!(error["detail"].as_str().unwrap().contains(why), "{error}");
    }
    subscribe(&mut ws, json!({ "topic": "deliveries" })).await;
    put(&wire, "bob", 1).await;
    put(&wire, "ann", 2).await;
    // Its inbox and its deliveries, in whatever order.
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        let frame = ws.next(SOON).await.expect("the WebSocket goes on");
        let whose = match frame["type"].as_str().unwrap() {
            "outcome" => &frame["outcome"]["recipient"],
            "notification.new" => &frame["notification"]["recipient"],
            "unread_count" => continue,
            other => panic!("{other}: {frame}"),
        };
        assert_eq!(whose, "ann", "{frame}");
        seen.insert(frame["type"].as_str().unwrap().to_owned());
    }
    let tokens = bugle.api().get("/v1/tokens").await.expect(200);
    let id = tokens["tokens"][0]["id"].as_str().unwrap();
    bugle.api().delete(&format!("/v1/tokens/{id}")).await.expect(204);
    assert_eq!(ws.closes().await, 4401);
}

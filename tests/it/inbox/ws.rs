//! An inbox live, over a WebSocket.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bugle::store::inbox::mark::Mark;
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::live::{WebSocket, fleet, holds, mark, number, put};
use crate::support::LATER;
use crate::support::bugle::{ADMIN_TOKEN, Role};
use crate::support::database::{Database, on_both_databases};

/// A WebSocket behind its first frames.
async fn open(api: &crate::support::api::Api, query: &str) -> (WebSocket, Value) {
    let mut ws = WebSocket::open(api, query).await;
    let connected = ws.told("connected").await;
    (ws, connected)
}

on_both_databases! {
    async fn a_websocket_tells_what_the_stream_does(database: Database) {
        let (bugle, wire) = fleet(database).await;
        let (mut ws, connected) = open(&bugle.api(), "recipient=ann").await;
        assert_eq!(connected, json!({ "type": "connected", "id": "0.0", "recipient": "ann", "workspace": "default" }));
        assert_eq!(ws.told("unread_count").await["count"], 0);
        put(&wire, "ann", 1).await;
        let new = ws.told("notification.new").await;
        assert_eq!((new["id"].clone(), number(&new["notification"])), (json!("1.0"), 1));
        assert_eq!(ws.told("unread_count").await["count"], 1);
        let id = new["notification"]["id"].as_str().unwrap();
        for (what, kind) in [
            (Mark::Read, "notification.read"),
            (Mark::Unread, "notification.updated"),
            (Mark::Dismiss, "notification.dismissed"),
        ] {
            let marked = mark(&bugle, &wire, "ann", id, what).await;
            let frame = ws.told(kind).await;
            assert_eq!(frame["notification"], serde_json::to_value(&marked.notifications[0]).unwrap());
            if what != Mark::Unread {
                assert_eq!(frame["notificationId"], id);
            }
        }
    }

    async fn a_websocket_gives_what_was_missed_when_it_is_asked_and_nothing_twice(database: Database) {
        let (bugle, wire) = fleet(database).await;
        for number in 1..=300 {
            put(&wire, "ann", number).await;
        }
        put(&wire, "*", 301).await;
        holds(&bugle, "ann", 301).await;
        let (mut ws, connected) = open(&bugle.api(), "recipient=ann").await;
        assert_eq!(connected["id"], "300.1");
        put(&wire, "ann", 302).await;
        assert_eq!(ws.told("notification.new").await["id"], "301.1");
        ws.told("unread_count").await;
        ws.say(&json!({ "type": "resume", "after": "40.0" })).await;
        put(&wire, "ann", 303).await;
        let (mut replayed, mut live) = (Vec::new(), Vec::new());
        while replayed.len() < 261 || live.is_empty() {
            let frame = ws.told("notification.new").await;
            let shown = number(&frame["notification"]);
            if shown > 301 { live.push(shown) } else { replayed.push((shown, frame["id"].clone())) }
        }
        assert_eq!(live, [303], "what it had told does not come again");
        let wanted: Vec<String> = (41..=300).map(|own| format!("{own}.0")).chain(["300.1".to_owned()]).collect();
        let ids: Vec<&str> = replayed.iter().map(|(_, id)| id.as_str().unwrap()).collect();
        assert_eq!(ids, wanted);
        let numbers: BTreeSet<usize> = replayed.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers.len(), 261);
        let last = ws.told("unread_count").await;
        assert_eq!((last["count"].clone(), last["id"].clone()), (json!(303), json!("302.1")));
        ws.say(&json!({ "type": "resume", "after": "41.0" })).await;
        assert_eq!(ws.told("unread_count").await["id"], "302.1", "there is nothing more to tell");
    }
}

#[tokio::test]
async fn a_websocket_begins_behind_an_id_and_says_when_it_cannot() {
    let (bugle, wire) = fleet(Database::sqlite()).await;
    for number in 1..=3 {
        put(&wire, "ann", number).await;
    }
    holds(&bugle, "ann", 3).await;
    let (mut ws, _) = open(&bugle.api(), "recipient=ann&lastEventId=1.0").await;
    assert_eq!(ws.told("notification.new").await["id"], "2.0");
    assert_eq!(ws.told("notification.new").await["id"], "3.0");
    assert_eq!(ws.told("unread_count").await["count"], 3);
    ws.say(&json!({ "type": "resume", "after": "9.0" })).await;
    assert_eq!(ws.told("gap").await, json!({ "type": "gap", "id": "3.0" }));
    ws.say(&json!({ "type": "resume", "after": "nonsense" })).await;
    assert!(ws.told("error").await["detail"].as_str().unwrap().contains("12.7"));
}

#[tokio::test]
async fn what_a_client_says_is_answered() {
    let (bugle, _wire) = fleet(Database::sqlite()).await;
    // A browser can set no headers.
    let (mut ws, _) = open(&bugle.api_as(""), &format!("recipient=ann&token={ADMIN_TOKEN}")).await;
    ws.say(&json!({ "type": "ping" })).await;
    assert_eq!(ws.told("pong").await, json!({ "type": "pong", "id": "0.0" }));
    ws.say(&json!({ "type": "subscribe", "topic": "notifications" })).await;
    assert_eq!(ws.told("subscribed").await["topic"], "notifications");
    for wrong in [r#"{"type":"dance"}"#, "no json", r#"{"type":"subscribe","topic":"weather"}"#] {
        ws.say_text(wrong.to_owned()).await;
        assert!(ws.told("error").await["detail"].is_string());
    }
    ws.socket.send(Message::binary(vec![1, 2])).await.unwrap();
    assert!(ws.told("error").await["detail"].as_str().unwrap().contains("texts"));
    ws.say(&json!({ "type": "ping" })).await;
    ws.told("pong").await;
}

#[tokio::test]
async fn a_client_that_says_too_much_is_closed_with_a_reason() {
    let (bugle, _wire) = fleet(Database::sqlite()).await;
    for length in [4_097, 60_000, 200_000] {
        let (mut ws, _) = open(&bugle.api(), "recipient=ann").await;
        ws.say_text(" ".repeat(length)).await;
        assert_eq!(ws.closes().await, 1009, "{length}");
    }
    let (mut ws, _) = open(&bugle.api(), "recipient=ann").await;
    for _ in 0..20 {
        ws.say(&json!({ "type": "ping" })).await;
    }
    for _ in 0..20 {
        ws.told("pong").await;
    }
    ws.say(&json!({ "type": "ping" })).await;
    assert_eq!(ws.closes().await, 1008);
    // So are pings of the protocol.
    let (mut ws, _) = open(&bugle.api(), "recipient=ann").await;
    for _ in 0..21 {
        ws.socket.send(Message::Ping(Vec::new().into())).await.unwrap();
    }
    assert_eq!(ws.closes().await, 1008);
    let metrics = crate::support::api::get_text(&format!("{}/metrics", bugle.api().base)).await.1;
    assert!(metrics.contains("bugle_streams_ended_total{stream=\"inbox\",reason=\"abuse\"} 5"), "{metrics}");
}

#[tokio::test]
async fn a_request_that_asks_for_no_websocket_is_told_so() {
    let (bugle, _wire) = fleet(Database::sqlite()).await;
    let reply = bugle.api().get("/v1/notifications/ws?recipient=ann").await;
    assert_eq!(
        (reply.header("upgrade"), reply.header("sec-websocket-version")),
        ("websocket".to_owned(), "13".to_owned())
    );
    reply.expect_problem(426);
    bugle.api().get("/v1/notifications/ws").await.expect_problem(400);
    bugle.api_as("").get("/v1/notifications/ws?recipient=ann").await.expect_problem(401);
}

#[tokio::test]
async fn a_ticket_opens_one_websocket_with_what_its_token_may() {
    let (bugle, _wire) = fleet(Database::sqlite()).await;
    let ann = crate::support::api::token(&bugle, "viewer", &json!({ "recipient": "ann" })).await;
    let made = ann.post("/v1/stream-tickets", &json!({})).await.expect(201);
    let query = format!("ticket={}", made["ticket"].as_str().unwrap());
    let (mut ws, connected) = open(&bugle.api_as(""), &query).await;
    assert_eq!(connected["recipient"], "ann");
    ws.say(&json!({ "type": "ping" })).await;
    ws.told("unread_count").await;
    ws.told("pong").await;
    bugle.api_as("").get(&format!("/v1/notifications/ws?{query}")).await.expect_problem(401);
    let made = ann.post("/v1/stream-tickets", &json!({})).await.expect(201);
    let foreign = format!("recipient=bob&ticket={}", made["ticket"].as_str().unwrap());
    bugle.api_as("").get(&format!("/v1/notifications/ws?{foreign}")).await.expect_problem(403);
}

#[tokio::test]
async fn a_revoked_token_and_a_shutdown_close_with_their_codes() {
    let (bugle, _wire) = fleet(Database::sqlite()).await;
    let token = json!({ "name": "ann", "role": "viewer", "recipient": "ann" });
    let made = bugle.api().post("/v1/tokens", &token).await.expect(201);
    let (mut ws, _) = open(&bugle.api_as(made["token"].as_str().unwrap()), "").await;
    let (mut other, _) = open(&bugle.api(), "recipient=ann").await;
    crate::support::pause(Duration::from_secs(2)).await;
    let revoked = Instant::now();
    bugle.api().delete(&format!("/v1/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
    assert_eq!(ws.told("cut").await["reason"], "revoked");
    assert_eq!(ws.closes().await, 4401);
    assert!(revoked.elapsed() < Duration::from_secs(2), "{:?}", revoked.elapsed());
    let mut api = bugle.take(Role::Api).remove(0);
    let reading = async {
        other.told("server_shutdown").await;
        assert_eq!(other.closes().await, 1012);
    };
    let ((code, took), ()) = tokio::join!(api.process.sigterm(LATER), reading);
    assert_eq!(code, 0, "{}", api.process.output());
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_let_go_of_at_the_third() {
    let (bugle, _wire) = fleet(Database::sqlite()).await;
    let (mut answers, _) = open(&bugle.api(), "recipient=ann").await;
    let address = bugle.api().base.trim_start_matches("http://").to_owned();
    let mut silent = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "GET /v1/notifications/ws?recipient=ann&token={ADMIN_TOKEN} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    silent.write_all(head.as_bytes()).await.unwrap();
    let begun = Instant::now();
    let (mut pings, mut bytes) = (0, [0; 4_096]);
    let reading = async {
        loop {
            match silent.read(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(count) => pings += bytes[..count].windows(2).filter(|pair| *pair == [0x89, 0]).count(),
            }
        }
    };
    let living = async {
        loop {
            answers.next(Duration::from_secs(200)).await.expect("it answers and lives");
        }
    };
    tokio::select! {
        () = reading => {}
        () = living => {}
        () = crate::support::pause(Duration::from_secs(130)) => panic!("it was not let go of"),
    }
    let took = begun.elapsed();
    assert_eq!(pings, 2);
    assert!(took > Duration::from_secs(60) && took < Duration::from_secs(100), "{took:?}");
    answers.say(&json!({ "type": "ping" })).await;
    answers.told("pong").await;
}

#[tokio::test]
async fn a_client_that_closes_is_answered() {
    let (bugle, _wire) = fleet(Database::sqlite()).await;
    let (mut ws, _) = open(&bugle.api(), "recipient=ann").await;
    let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame { code: 1000.into(), reason: "".into() };
    ws.socket.send(Message::Close(Some(frame))).await.unwrap();
    assert_eq!(ws.closes().await, 1000);
}

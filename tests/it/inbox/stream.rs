//! An inbox live, as server-sent events.

use std::time::{Duration, Instant};

use bugle::store::inbox::mark::Mark;
use serde_json::json;

use super::live::{STREAM, another, counts, fleet, follow, holds, mark, next, number, place, put, told};
use crate::support::api::{reply, token};
use crate::support::bugle::{ADMIN_TOKEN, Role};
use crate::support::database::{Database, on_both_databases};
use crate::support::{LATER, SOON};

on_both_databases! {
    async fn what_comes_into_an_inbox_and_what_becomes_of_it_is_told_with_the_count_of_unread_ones(database: Database) {
        let (bugle, wire) = fleet(database).await;
        let mut stream = follow(&bugle.api(), "ann", None).await;
        counts(&mut stream, 0).await;
        put(&wire, "ann", 1).await;
        let new = next(&mut stream).await;
        assert_eq!((new.event.as_str(), new.id.as_str()), ("notification", "1.0"));
        let shown = new.json();
        assert_eq!((number(&shown), shown["read"].clone(), shown["recipient"].clone()), (1, json!(false), json!("ann")));
        counts(&mut stream, 1).await;
        let id = shown["id"].as_str().unwrap();
        for (what, name, count) in [
            (Mark::Deliver, "notification.updated", None),
            (Mark::Read, "notification.read", Some(0)),
            (Mark::Unread, "notification.updated", Some(1)),
            (Mark::Dismiss, "notification.dismissed", Some(0)),
            (Mark::Restore, "notification.updated", Some(1)),
        ] {
            let marked = mark(&bugle, &wire, "ann", id, what).await;
            let sent = told(&mut stream, name).await;
            assert_eq!(sent.json(), serde_json::to_value(&marked.notifications[0]).unwrap());
            if let Some(count) = count {
                counts(&mut stream, count).await;
            }
        }
        put(&wire, "bob", 2).await;
        put(&wire, "ann", 3).await;
        let sent = told(&mut stream, "notification").await;
        assert_eq!((number(&sent.json()), place(&sent.id)), (3, (7, 0)), "what is bob's is not told");
    }

    async fn a_broadcast_reaches_everybody_and_is_read_by_each_for_themselves(database: Database) {
        let (bugle, wire) = fleet(database).await;
        let api = bugle.api();
        let (mut ann, mut bob) = (follow(&api, "ann", None).await, follow(&api, "bob", None).await);
        put(&wire, "*", 1).await;
        let broadcast = told(&mut ann, "notification").await;
        assert_eq!((broadcast.id.as_str(), broadcast.json()["recipient"].clone()), ("0.1", json!("*")));
        assert_eq!(told(&mut bob, "notification").await.json(), broadcast.json());
        counts(&mut ann, 1).await;
        counts(&mut bob, 1).await;
        let id = broadcast.json()["id"].as_str().unwrap().to_owned();
        mark(&bugle, &wire, "ann", &id, Mark::Read).await;
        let read = told(&mut ann, "notification.read").await;
        assert_eq!((read.id.as_str(), read.json()["read"].clone()), ("1.1", json!(true)));
        counts(&mut ann, 0).await;
        put(&wire, "*", 2).await;
        assert_eq!(number(&told(&mut bob, "notification").await.json()), 2, "that it was read is ann's");
        counts(&mut bob, 2).await;
        told(&mut ann, "notification").await;
        counts(&mut ann, 1).await;
        // The inbox of everybody itself has one number.
        let mut all = follow(&api, "*", Some("0")).await;
        assert_eq!((told(&mut all, "notification").await.id, next(&mut all).await.id), ("1".to_owned(), "2".to_owned()));
    }

    async fn a_broadcasts_new_text_is_seen_by_each_as_they_left_it(database: Database) {
        let (bugle, wire) = fleet(database).await;
        let api = bugle.api();
        let step = async |number: u32| {
            let data = json!({ "to": "*", "task": "t-1", "number": number });
            wire.event("progress:step", &format!("p-{number}"), &data).await;
        };
        let (mut ann, mut bob) = (follow(&api, "ann", None).await, follow(&api, "bob", None).await);
        step(1).await;
        let id = told(&mut ann, "notification").await.json()["id"].as_str().unwrap().to_owned();
        mark(&bugle, &wire, "bob", &id, Mark::Read).await;
        told(&mut bob, "notification").await;
        told(&mut bob, "notification.read").await;
        counts(&mut bob, 0).await;
        step(2).await;
        let updated = told(&mut ann, "notification.updated").await.json();
        assert_eq!((updated["metadata"]["number"].clone(), updated["deliveredAt"].clone()), (json!(2), json!(null)));
        let updated = told(&mut bob, "notification.updated").await.json();
        assert!(updated["deliveredAt"].is_null() && updated["read"] == false, "{updated}");
        counts(&mut bob, 1).await;
        mark(&bugle, &wire, "bob", &id, Mark::Dismiss).await;
        told(&mut bob, "notification.dismissed").await;
        counts(&mut bob, 0).await;
        step(3).await;
        let updated = told(&mut bob, "notification.updated").await.json();
        assert!(updated["dismissedAt"].is_string(), "{updated}");
        put(&wire, "bob", 4).await;
        told(&mut bob, "notification").await;
        counts(&mut bob, 1).await;
    }

    async fn what_is_marked_through_one_process_is_told_by_another(database: Database) {
        let (bugle, wire) = fleet(database).await;
        let other = another(&bugle, Role::Api).await;
        let api = bugle.api();
        let second = crate::support::api::Api::new(other.api_port.unwrap(), ADMIN_TOKEN);
        let (mut here, mut there) = (follow(&api, "ann", None).await, follow(&second, "ann", None).await);
        put(&wire, "ann", 1).await;
        let new = told(&mut here, "notification").await;
        assert_eq!(told(&mut there, "notification").await, new);
        let id = new.json()["id"].as_str().unwrap().to_owned();
        mark(&bugle, &wire, "ann", &id, Mark::Read).await;
        let read = told(&mut here, "notification.read").await;
        assert_eq!(told(&mut there, "notification.read").await, read);
    }
}

#[tokio::test]
async fn a_stream_begins_with_when_to_come_again_and_where_it_stands() {
    let (bugle, wire) = fleet(Database::sqlite()).await;
    put(&wire, "ann", 1).await;
    holds(&bugle, "ann", 1).await;
    let mut stream = bugle.api().stream(&format!("{STREAM}?recipient=ann"), None).await;
    assert_eq!(stream.response.headers()["cache-control"], "no-cache");
    assert_eq!(stream.response.headers()["x-accel-buffering"], "no");
    let block = stream.block(SOON).await.unwrap();
    assert!(block.starts_with("retry: 2000\nevent: connected\n"), "{block}");
    assert!(block.ends_with("\nid: 1.0\n\n"), "{block}");
    let count = next(&mut stream).await;
    assert_eq!((count.event.as_str(), count.json()), ("unread_count", json!({ "count": 1 })));
}

#[tokio::test]
async fn only_who_may_follows_an_inbox() {
    let (bugle, _wire) = fleet(Database::sqlite()).await;
    let status = async |api: &crate::support::api::Api, query: &str| {
        let mut request = crate::support::api::http().get(format!("{}{STREAM}?{query}", api.base));
        if !api.token.is_empty() {
            request = request.bearer_auth(&api.token);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let own = json!({ "recipient": "ann" });
    let viewer = token(&bugle, "viewer", &json!({})).await;
    let ann = token(&bugle, "viewer", &own).await;
    let agent = token(&bugle, "agent", &json!({ "recipient": "robot" })).await;
    let publisher = token(&bugle, "publisher", &json!({})).await;
    let other = token(&bugle, "viewer", &json!({ "workspace": "other" })).await;
    assert_eq!(status(&bugle.api_as(""), "recipient=ann").await, 401);
    assert_eq!(status(&viewer, "").await, 400);
    assert_eq!(status(&viewer, "recipient=ann").await, 200);
    assert_eq!(status(&viewer, "recipient=ann&since=1").await, 400);
    assert_eq!(status(&ann, "").await, 200);
    assert_eq!(status(&ann, "recipient=bob").await, 403);
    assert_eq!(status(&publisher, "recipient=ann").await, 403);
    assert_eq!(status(&other, "recipient=ann&workspace=default").await, 403);
    assert_eq!(status(&agent, "").await, 200);
    assert_eq!(status(&agent, "recipient=ann").await, 403);
    let human = crate::support::api::json(
        bugle.api().request("PUT", "/v1/recipients/robot"),
        &json!({ "kind": "human" }),
    );
    assert!(reply(human).await.status < 300);
    assert_eq!(status(&agent, "").await, 403, "it is a human by now");
}

#[tokio::test]
async fn a_revoked_token_ends_its_streams_within_two_seconds_even_when_nothing_happens() {
    let (bugle, _wire) = fleet(Database::sqlite()).await;
    let made = bugle
        .api()
        .post("/v1/tokens", &json!({ "name": "ann", "role": "viewer", "recipient": "ann" }))
        .await
        .expect(201);
    let api = bugle.api_as(made["token"].as_str().unwrap());
    let mut stream = follow(&api, "ann", None).await;
    counts(&mut stream, 0).await;
    // Longer than a new token is believed in.
    crate::support::pause(Duration::from_secs(2)).await;
    let revoked = Instant::now();
    bugle.api().delete(&format!("/v1/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
    let cut = told(&mut stream, "cut").await;
    assert_eq!(cut.json(), json!({ "reason": "revoked" }));
    assert!(stream.next(SOON).await.is_none());
    assert!(revoked.elapsed() < Duration::from_secs(2), "{:?}", revoked.elapsed());
    let metrics = crate::support::api::get_text(&format!("{}/metrics", bugle.api().base)).await.1;
    assert!(
        metrics.contains("bugle_streams_ended_total{stream=\"inbox\",reason=\"revoked\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("bugle_streams_open{stream=\"inbox\",transport=\"sse\"} 0"), "{metrics}");
}

#[tokio::test]
async fn a_burst_beyond_the_queue_cuts_nobody() {
    let (bugle, wire) = fleet(Database::sqlite()).await;
    // One batch of the recorder, much larger than a queue.
    bugle.kill_9(Role::Recorder);
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(follow(&bugle.api(), "ann", None).await);
    }
    for number in 0..400 {
        put(&wire, "ann", number).await;
    }
    bugle.start_roles(&[Role::Recorder]).await;
    for stream in &mut streams {
        for number in 1..=400 {
            assert_eq!(place(&told(stream, "notification").await.id), (number, 0));
        }
        counts(stream, 400).await;
    }
}

#[tokio::test]
async fn a_shutdown_is_told_and_ends_the_streams_at_once() {
    let (bugle, _wire) = fleet(Database::sqlite()).await;
    let mut stream = follow(&bugle.api(), "ann", None).await;
    counts(&mut stream, 0).await;
    let mut api = bugle.take(Role::Api).remove(0);
    let (code, took) = api.process.sigterm(LATER).await;
    assert_eq!(code, 0, "{}", api.process.output());
    assert!(took < Duration::from_secs(3), "it waited for its readers: {took:?}");
    told(&mut stream, "server_shutdown").await;
    assert!(stream.next(SOON).await.is_none());
}

#[tokio::test]
async fn a_quiet_inbox_shows_that_it_lives() {
    let (bugle, _wire) = fleet(Database::sqlite()).await;
    let mut stream = follow(&bugle.api(), "ann", None).await;
    loop {
        let block = stream.block(Duration::from_secs(40)).await.expect("the stream goes on");
        if block.starts_with(':') {
            return assert_eq!(block, ": heartbeat\n\n");
        }
    }
}

//! Streams of inboxes that break, and go on without gap or repeat.

use bugle::ids::NotificationId;
use bugle::store::Store;
use bugle::store::inbox::mark::Mark;
use jiff::Timestamp;
use serde_json::json;

use super::live::{
    STREAM, another, counts, documents, fleet, follow, holds, next, number, owner, place, put, told,
};
use crate::support::api::{Api, reply};
use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Role};
use crate::support::database::{Database, on_both_databases};
use crate::support::wire::Wire;
use crate::support::{LATER, eventually};

/// Reads the inbox of ann until it has told all of both inboxes, breaking off now and then; every number must come once.
async fn read_all(api: impl Fn() -> Api, own: u64, everybody: u64) {
    let (mut seen, mut last) = ((0, 0), "0.0".to_owned());
    let mut connections = 0;
    while seen != (own, everybody) {
        connections += 1;
        let path = format!("{STREAM}?recipient=ann");
        let opened = eventually("the stream opens", LATER, async || {
            let request =
                crate::support::api::http().get(format!("{}{path}", api().base)).bearer_auth(&api().token);
            match request.header("Last-Event-ID", &last).send().await {
                Ok(response) if response.status() == 200 => Ok(response),
                Ok(response) => Err(response.status().to_string()),
                Err(error) => Err(error.to_string()),
            }
        });
        let mut stream = crate::support::stream::LiveStream::open(opened.await);
        let until = 7 + connections * 3;
        let mut read = 0;
        while read < until && seen != (own, everybody) {
            let Some(sent) = stream.next(LATER).await else { break };
            match sent.event.as_str() {
                "connected" | "unread_count" | "server_shutdown" => {}
                "notification" => {
                    let now = place(&sent.id);
                    let leads_on = now == (seen.0 + 1, seen.1) || now == (seen.0, seen.1 + 1);
                    assert!(leads_on, "after {seen:?} came {now:?}");
                    (seen, last) = (now, sent.id);
                    read += 1;
                }
                other => panic!("{other}: {}", sent.data),
            }
        }
    }
    assert!(connections > 5, "it broke off often enough: {connections}");
}

async fn load(wire: &Wire, from: usize, count: usize) {
    for number in from..from + count {
        put(wire, "ann", number).await;
        if number % 4 == 0 {
            put(wire, "*", number).await;
        }
        put(wire, "bob", number).await;
    }
}

on_both_databases! {
    async fn a_client_that_breaks_off_again_and_again_sees_every_number_once(database: Database) {
        let (bugle, wire) = fleet(database).await;
        tokio::join!(load(&wire, 0, 400), read_all(|| bugle.api(), 400, 100));
        let mut stream = follow(&bugle.api(), "ann", Some("400.100")).await;
        counts(&mut stream, 500).await;
        put(&wire, "ann", 400).await;
        assert_eq!(number(&told(&mut stream, "notification").await.json()), 400, "nothing is repeated");
    }

    async fn a_recorder_that_is_killed_under_load_leaves_no_hole_in_what_is_told(database: Database) {
        let (bugle, wire) = fleet(database).await;
        let _second = another(&bugle, Role::Recorder).await;
        let mut live = follow(&bugle.api(), "ann", None).await;
        let killing = async {
            load(&wire, 0, 100).await;
            bugle.kill_9(Role::Recorder);
            load(&wire, 100, 300).await;
        };
        tokio::join!(killing, read_all(|| bugle.api(), 400, 100));
        let mut seen = (0, 0);
        while seen != (400, 100) {
            let sent = told(&mut live, "notification").await;
            let now = place(&sent.id);
            assert!(now == (seen.0 + 1, seen.1) || now == (seen.0, seen.1 + 1), "after {seen:?} came {now:?}");
            seen = now;
        }
    }
}

#[tokio::test]
async fn a_client_resumes_at_an_api_that_was_started_anew() {
    let (bugle, wire) = fleet(Database::sqlite()).await;
    let mut stream = follow(&bugle.api(), "ann", None).await;
    put(&wire, "ann", 1).await;
    let first = told(&mut stream, "notification").await;
    let mut api = bugle.take(Role::Api).remove(0);
    assert_eq!(api.process.sigterm(LATER).await.0, 0);
    put(&wire, "ann", 2).await;
    put(&wire, "*", 3).await;
    holds(&bugle, "ann", 3).await;
    bugle.start_roles(&[Role::Api]).await;
    let mut stream = follow(&bugle.api(), "ann", Some(&first.id)).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(number(&told(&mut stream, "notification").await.json()));
    }
    assert_eq!(seen, [2, 3]);
    let count = next(&mut stream).await;
    assert_eq!((count.event.as_str(), count.id.as_str()), ("unread_count", "2.1"));
}

#[tokio::test]
async fn what_the_broker_did_not_tell_is_found_all_the_same() {
    let (bugle, wire) = fleet(Database::sqlite()).await;
    let mut stream = follow(&bugle.api(), "ann", None).await;
    counts(&mut stream, 0).await;
    // Written by somebody who tells nobody, as a process does that is killed right then.
    put(&wire, "ann", 1).await;
    let shown = told(&mut stream, "notification").await.json();
    let store = Store::open(&bugle.database.url(), 1).unwrap();
    let id = NotificationId::parse(shown["id"].as_str().unwrap()).unwrap();
    store.mark(&owner("ann"), &[id], Mark::Read, Timestamp::now()).await.unwrap();
    // The next change tells that one was missed.
    put(&wire, "ann", 2).await;
    assert_eq!(told(&mut stream, "notification.read").await.id, "2.0");
    assert_eq!(told(&mut stream, "notification").await.id, "3.0");
    counts(&mut stream, 1).await;
}

#[tokio::test]
async fn an_id_that_is_none_is_refused_and_one_that_is_ahead_is_a_gap() {
    let (bugle, wire) = fleet(Database::sqlite()).await;
    put(&wire, "ann", 1).await;
    holds(&bugle, "ann", 1).await;
    for bad in ["nonsense", "1", "1.x", "-1.0"] {
        let request =
            bugle.api().request("GET", &format!("{STREAM}?recipient=ann")).header("Last-Event-ID", bad);
        reply(request).await.expect_problem(400);
        bugle.api().get(&format!("{STREAM}?recipient=ann&lastEventId={bad}")).await.expect_problem(400);
    }
    let mut stream = follow(&bugle.api(), "ann", Some("7.0")).await;
    let gap = next(&mut stream).await;
    assert_eq!((gap.event.as_str(), gap.id.as_str(), gap.json()), ("gap", "1.0", json!({})));
    put(&wire, "ann", 2).await;
    assert_eq!(told(&mut stream, "notification").await.id, "2.0", "it goes on from now on");
}

#[tokio::test]
async fn changes_that_are_no_longer_kept_are_a_gap() {
    let (bugle, wire) = fleet(Database::sqlite()).await;
    for number in 0..3 {
        put(&wire, "ann", number).await;
    }
    holds(&bugle, "ann", 3).await;
    forget_changes(&bugle).await;
    let mut stream = follow(&bugle.api(), "ann", Some("1.0")).await;
    let gap = next(&mut stream).await;
    assert_eq!((gap.event.as_str(), gap.id.as_str()), ("gap", "3.0"));
    counts(&mut stream, 3).await;
    put(&wire, "ann", 3).await;
    assert_eq!(told(&mut stream, "notification").await.id, "4.0");
    // Whoever has seen all of it misses nothing.
    let mut stream = follow(&bugle.api(), "ann", Some("4.0")).await;
    counts(&mut stream, 4).await;
}

/// As time does.
async fn forget_changes(bugle: &Bugle) {
    use sqlx::ConnectOptions;
    let url = bugle.database.url();
    let options: sqlx::sqlite::SqliteConnectOptions = url.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    sqlx::query("delete from changes").execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn a_stream_outlives_the_broker_and_finds_what_happened_meanwhile() {
    let mut server = NatsServer::start().await;
    let bugle = Bugle::on(&server, Database::sqlite());
    bugle.start_with(&documents()).await;
    let wire = bugle.wire().await;
    let mut stream = follow(&bugle.api(), "ann", None).await;
    put(&wire, "ann", 1).await;
    let shown = told(&mut stream, "notification").await.json();
    server.kill_9();
    let store = Store::open(&bugle.database.url(), 1).unwrap();
    let id = NotificationId::parse(shown["id"].as_str().unwrap()).unwrap();
    store.mark(&owner("ann"), &[id], Mark::Read, Timestamp::now()).await.unwrap();
    server.start_again().await;
    assert_eq!(told(&mut stream, "notification.read").await.id, "2.0");
    wire.event_whatever_happens("in:box", "again", &json!({ "to": "ann", "number": 2 })).await;
    assert_eq!(told(&mut stream, "notification").await.id, "3.0");
}

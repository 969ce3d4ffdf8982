//! Sending without a rule: now, later, never after all, and never twice.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Role, webhook};
use crate::support::database::{Database, on_both_databases};
use crate::support::sink::Sink;
use crate::support::{LATER, SOON, ensure, eventually, steadily};

const SEND: &str = "/v1/notifications/send";

async fn fleet(database: Database) -> (Bugle, Sink) {
    let (bugle, sink) = (Bugle::on(NatsServer::shared().await, database), Sink::start().await);
    bugle.start_with(&json!({ "channels": [webhook("hook", &sink.url("/hook"))] })).await;
    (bugle, sink)
}

fn message(more: &Value) -> Value {
    crate::support::bugle::with(json!({ "channel": "hook", "title": "Hello", "body": "there" }), more)
}

fn id(accepted: &Value) -> &str {
    accepted["id"].as_str().unwrap()
}

on_both_databases! {
    async fn a_send_goes_out_at_once_and_its_state_can_be_asked_at_once(database: Database) {
        let (bugle, sink) = fleet(database).await;
        let accepted = bugle.api().post(SEND, &message(&json!({}))).await.expect(202);
        assert_eq!(bugle.api().get(&format!("/v1/deliveries/{}", id(&accepted))).await.status, 200);
        let requests = sink.receives(1, "/hook").await;
        assert_eq!(requests[0].id, id(&accepted));
        assert_eq!((&requests[0].json()["title"], &requests[0].json()["body"]), (&json!("Hello"), &json!("there")));
        let sent = bugle.api().becomes(id(&accepted), "sent").await;
        assert_eq!(sent["rule"], Value::Null);
    }

    async fn a_delayed_send_waits_for_its_time(database: Database) {
        let (bugle, sink) = fleet(database).await;
        let asked = Instant::now();
        let accepted = bugle.api().post(SEND, &message(&json!({ "delayMs": 2_500 }))).await.expect(202);
        let waiting = bugle.api().delivery(id(&accepted)).await;
        assert_eq!(waiting["status"], "scheduled", "{waiting:#}");
        let requests = sink.receives(1, "/hook").await;
        assert!(requests[0].at - asked >= Duration::from_millis(2_400), "{:?}", requests[0].at - asked);
        bugle.api().becomes(id(&accepted), "sent").await;
        let late = bugle.api().delete(&format!("{SEND}/{}", id(&accepted))).await;
        late.expect_problem(409);
        assert_eq!(sink.requests("/hook").len(), 1);
    }

    async fn a_send_that_is_cancelled_before_its_time_never_goes_out(database: Database) {
        let (bugle, sink) = fleet(database).await;
        let accepted = bugle.api().post(SEND, &message(&json!({ "delayMs": 2_000 }))).await.expect(202);
        let cancelled = bugle.api().delete(&format!("{SEND}/{}", id(&accepted))).await;
        assert!([200, 202, 204].contains(&cancelled.status), "{cancelled:?}");
        let delivery = bugle.api().becomes(id(&accepted), "suppressed").await;
        assert_eq!(delivery["reason"], "cancelled", "{delivery:#}");
        steadily("it stays cancelled", Duration::from_secs(3), async || {
            ensure(sink.requests("/hook").is_empty(), "it was sent")
        })
        .await;
    }
}

#[tokio::test]
async fn an_idempotency_key_sends_once_and_refuses_another_body() {
    let (bugle, sink) = fleet(Database::sqlite()).await;
    let api = bugle.api();
    let first = api.post_once(SEND, "key-1", &message(&json!({}))).await.expect(202);
    let again = api.post_once(SEND, "key-1", &message(&json!({}))).await.expect(202);
    assert_eq!(id(&first), id(&again));
    api.post_once(SEND, "key-1", &message(&json!({ "title": "Other" }))).await.expect_problem(422);
    let other = api.post_once(SEND, "key-2", &message(&json!({}))).await.expect(202);
    assert_ne!(id(&first), id(&other));
    api.becomes(id(&first), "sent").await;
    api.becomes(id(&other), "sent").await;
    assert_eq!(sink.requests("/hook").len(), 2);
}

#[tokio::test]
async fn a_key_that_the_broker_has_forgotten_stands_for_another_send() {
    let (bugle, sink) = fleet(Database::sqlite()).await;
    let (api, wire) = (bugle.api(), bugle.wire().await);
    let first = api.post_once(SEND, "daily", &message(&json!({}))).await.expect(202);
    api.becomes(id(&first), "sent").await;
    // What a day does.
    let claims = wire.js.get_stream(wire.stream_name("THROTTLE")).await.unwrap();
    claims.purge().await.unwrap();
    let second = api.post_once(SEND, "daily", &message(&json!({}))).await.expect(202);
    assert_ne!(id(&first), id(&second));
    sink.receives(2, "/hook").await;
    api.becomes(id(&second), "sent").await;
}

#[tokio::test]
async fn waiting_on_a_repeated_key_answers_what_became_of_the_first() {
    let (bugle, _sink) = fleet(Database::sqlite()).await;
    let api = bugle.api();
    let first = api.post_once(SEND, "key", &message(&json!({}))).await.expect(202);
    api.becomes(id(&first), "sent").await;
    let asked = Instant::now();
    let again = api.post_once(&format!("{SEND}?wait=true"), "key", &message(&json!({}))).await.expect(202);
    assert_eq!((id(&again), &again["status"]), (id(&first), &json!("sent")));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_send_that_could_not_be_retried_is_refused() {
    let (bugle, _sink) = fleet(Database::sqlite()).await;
    let data = json!({ "data": { "text": "x".repeat(900_000) } });
    let problem = bugle.api().post(SEND, &message(&data)).await.expect_problem(400);
    assert!(problem["detail"].as_str().unwrap().contains("bytes"), "{problem:#}");
}

#[tokio::test]
async fn requests_at_the_same_time_with_one_key_send_once() {
    let (bugle, sink) = fleet(Database::sqlite()).await;
    let api = bugle.api();
    let body = message(&json!({}));
    let replies = futures_util::future::join_all((0..8).map(|_| api.post_once(SEND, "race", &body))).await;
    let mut ids: Vec<String> = replies
        .into_iter()
        .filter(|reply| reply.status != 409)
        .map(|reply| id(&reply.expect(202)).to_owned())
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    api.becomes(&ids[0], "sent").await;
    assert_eq!(sink.requests("/hook").len(), 1);
}

#[tokio::test]
async fn a_pending_send_survives_the_death_of_everything() {
    let (mut server, sink) = (NatsServer::start().await, Sink::start().await);
    let bugle = Bugle::on(&server, Database::sqlite());
    bugle.start_with(&json!({ "channels": [webhook("hook", &sink.url("/hook"))] })).await;
    let soon = bugle.api().post(SEND, &message(&json!({ "delayMs": 4_000 }))).await.expect(202);
    let later = bugle.api().post(SEND, &message(&json!({ "delayMs": 3_600_000 }))).await.expect(202);
    bugle.kill_9_everything();
    server.kill_9();
    server.start_again().await;
    bugle.start_roles(&Role::ALL).await;
    let requests = sink.receives_within(LATER, 1, "/hook").await;
    assert_eq!(requests[0].id, id(&soon));
    bugle.api().becomes(id(&soon), "sent").await;
    assert_eq!(bugle.api().delivery(id(&later)).await["status"], "scheduled");
    assert_eq!(sink.requests("/hook").len(), 1);
}

#[tokio::test]
async fn a_send_that_makes_no_sense_is_a_problem_that_says_why() {
    let (bugle, sink) = fleet(Database::sqlite()).await;
    let api = bugle.api();
    for (more, status, names) in [
        (json!({ "channel": "nowhere" }), 400, "nowhere"),
        (json!({ "delayMs": 1, "sendAt": "2030-01-01T00:00:00Z" }), 400, "sendAt"),
        (json!({ "sendAt": "2300-01-01T00:00:00Z" }), 400, "sendAt"),
        (json!({ "sendAt": "tomorrow" }), 400, "sendAt"),
        (json!({ "delayMs": -5 }), 400, "delayMs"),
        (json!({ "tittle": "x" }), 400, "tittle"),
    ] {
        let problem = api.post(SEND, &message(&more)).await.expect_problem(status);
        assert!(problem.to_string().contains(names), "{more}: {problem:#}");
    }
    api.delete(&format!("{SEND}/d_aaaaaaaaaaaaaaaaaaaaaaaa")).await.expect_problem(404);
    assert!(sink.requests("/hook").is_empty());
}

#[tokio::test]
async fn the_command_line_sends_too() {
    let (bugle, sink) = fleet(Database::sqlite()).await;
    let said = bugle.cli(&["send", "hook", "Hello", "from here"]).await.ok();
    let requests = sink.receives(1, "/hook").await;
    assert!(said.contains(&requests[0].id), "{said}");
    assert_eq!(requests[0].json()["body"], "from here");
}

#[tokio::test]
async fn a_cancellation_that_races_the_clock_is_either_kept_or_refused() {
    let (bugle, sink) = fleet(Database::sqlite()).await;
    let api = bugle.api();
    let requests = (0..40).map(|number| {
        let (api, body) = (&api, message(&json!({ "delayMs": 1_200 + 250 * number })));
        async move { api.post(SEND, &body).await.expect(202) }
    });
    let accepted = futures_util::future::join_all(requests).await;
    // Some have fired, some are about to, some have time left.
    sink.receives(5, "/hook").await;
    let cancel = |sent: &Value| {
        let (api, path) = (&api, format!("{SEND}/{}", id(sent)));
        async move { api.delete(&path).await.status }
    };
    let statuses = futures_util::future::join_all(accepted.iter().map(cancel)).await;
    assert!(statuses.contains(&200) && statuses.contains(&409), "{statuses:?}");
    for (sent, status) in accepted.iter().zip(&statuses) {
        assert!([200, 409].contains(status), "{status}");
        api.becomes(id(sent), if *status == 200 { "suppressed" } else { "sent" }).await;
    }
    let kept = statuses.iter().filter(|status| **status == 200).count();
    let counts = sink.counts("/hook");
    assert_eq!(counts.len(), accepted.len() - kept, "a cancelled one was sent, or a refused one was not");
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}

/// In a cluster a timer can fire while it is taken back: both the delivery and its cancellation are stored then.
#[tokio::test]
async fn a_send_that_was_cancelled_does_not_go_out_although_its_timer_fired() {
    let (bugle, sink) = fleet(Database::sqlite()).await;
    let accepted = bugle.api().post(SEND, &message(&json!({ "delayMs": 3_600_000 }))).await.expect(202);
    let wire = bugle.wire().await;
    let queue = wire.js.get_stream(wire.stream_name("DELIVERIES")).await.unwrap();
    let timer = wire.subject(&format!("later.{}", id(&accepted)));
    let timer = queue.get_last_raw_message_by_subject(&timer).await.unwrap();
    bugle.api().delete(&format!("{SEND}/{}", id(&accepted))).await.expect(200);
    let target = timer.headers.get("Nats-Schedule-Target").unwrap().as_str();
    wire.put(target, &[], timer.payload.to_vec()).await;
    eventually("the queue is empty", SOON, async || {
        let queued = wire.messages("DELIVERIES").await;
        ensure(queued == 0, format!("{queued} messages"))
    })
    .await;
    assert!(sink.requests("/hook").is_empty());
    assert_eq!(bugle.api().becomes(id(&accepted), "suppressed").await["reason"], "cancelled");
}

/// A server that was killed may fire a timer once more, and a request that was half done may be repeated.
#[tokio::test]
async fn a_send_whose_message_comes_twice_goes_out_once_also_by_another_worker() {
    let (bugle, sink) = fleet(Database::sqlite()).await;
    let accepted = bugle.api().post(SEND, &message(&json!({ "delayMs": 2_000 }))).await.expect(202);
    let wire = bugle.wire().await;
    let queue = wire.js.get_stream(wire.stream_name("DELIVERIES")).await.unwrap();
    let timer = wire.subject(&format!("later.{}", id(&accepted)));
    let timer = queue.get_last_raw_message_by_subject(&timer).await.unwrap();
    bugle.api().becomes(id(&accepted), "sent").await;
    bugle.kill_9(Role::Worker);
    bugle.start_roles(&[Role::Worker]).await;
    let target = timer.headers.get("Nats-Schedule-Target").unwrap().as_str();
    wire.put(target, &[], timer.payload.to_vec()).await;
    eventually("the queue is empty", SOON, async || {
        let queued = wire.messages("DELIVERIES").await;
        ensure(queued == 0, format!("{queued} messages"))
    })
    .await;
    assert_eq!(sink.requests("/hook").len(), 1);
}

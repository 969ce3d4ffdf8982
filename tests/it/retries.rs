//! What becomes of a delivery when the receiver does not say yes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bugle::{Bugle, Role, everything_to, rule, webhook, with};
use crate::support::sink::{Answer, Request, Sink};
use crate::support::{LATER, SOON, ensure, eventually, steadily};

/// A fleet with one webhook channel whose document has these fields too.
async fn fleet(sink: &Sink, more: &Value) -> Bugle {
    let bugle = Bugle::new().await;
    let channel = with(webhook("hook", &sink.url("/hook")), more);
    bugle.start_with(&json!({ "channels": [channel], "rules": [rule("everything", "*", "hook")] })).await;
    bugle
}

fn states(delivery: &Value) -> Vec<(String, u64)> {
    let tries = delivery["timeline"].as_array().unwrap().iter().filter(|step| step["attempt"] != 0);
    let state = |attempt: &Value| attempt["state"].as_str().unwrap().to_owned();
    tries.map(|attempt| (state(attempt), attempt["attempt"].as_u64().unwrap())).collect()
}

fn wait_between(requests: &[Request]) -> Duration {
    requests[1].at - requests[0].at
}

#[tokio::test]
async fn a_503_and_then_a_200_are_two_attempts_of_one_delivery() {
    let sink = Sink::start().await;
    sink.script("/hook", [Answer::Status(503), Answer::Status(200)]);
    let bugle = fleet(&sink, &json!({ "retry": { "scheduleMs": [300] } })).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    let requests = sink.receives(2, "/hook").await;
    assert_eq!(requests[0].id, requests[1].id, "a repeat carries the same id");
    assert!(wait_between(&requests) >= Duration::from_millis(240), "{:?}", wait_between(&requests));
    let delivery = bugle.api().becomes(&requests[0].id, "sent").await;
    assert_eq!(states(&delivery), [("retrying".to_owned(), 1), ("sent".to_owned(), 2)]);
    assert_eq!(delivery["timeline"][0]["code"], 503);
    assert_eq!(delivery["timeline"][0]["reason"], "provider_error");
}

#[tokio::test]
async fn retry_after_lengthens_the_wait() {
    let sink = Sink::start().await;
    sink.script("/hook", [Answer::Header(503, "retry-after", "2".to_owned()), Answer::Status(200)]);
    let bugle = fleet(&sink, &json!({ "retry": { "scheduleMs": [300] } })).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    let requests = sink.receives(2, "/hook").await;
    assert!(wait_between(&requests) >= Duration::from_millis(1_900), "{:?}", wait_between(&requests));
}

#[tokio::test]
async fn attempts_end_in_a_dead_letter_that_can_be_sent_again() {
    let sink = Sink::start().await;
    sink.script("/hook", [Answer::Status(500), Answer::Status(502), Answer::Status(200)]);
    let bugle = fleet(&sink, &json!({ "retry": { "scheduleMs": [200] } })).await;
    bugle.wire().await.event("a:b", "1", &json!({ "n": 1 })).await;
    let failed = bugle.api().shows(1, "status=failed").await;
    let letters = bugle.buries(1).await;
    assert_eq!(letters[0]["reason"], "provider_error");
    assert_eq!(letters[0]["delivery"]["id"], failed[0]["id"]);
    assert!(letters[0]["detail"].as_str().unwrap().contains("2 attempts"), "{letters:#?}");

    let number = letters[0]["sequence"].to_string();
    bugle.cli(&["dead", "redrive", &number]).await.ok();
    let requests = sink.receives(3, "/hook").await;
    assert_eq!(requests[2].json()["data"], json!({ "n": 1 }));
    assert_eq!(requests[2].id, requests[0].id);
    let delivery = bugle.api().becomes(&requests[0].id, "sent").await;
    let tried = states(&delivery);
    assert_eq!(tried.last(), Some(&("sent".to_owned(), 1)), "{tried:?}");
    assert!(bugle.dead_letters().await.is_empty());
}

#[tokio::test]
async fn many_dead_letters_are_sent_again_at_once() {
    let sink = Sink::start().await;
    sink.script("/hook", [Answer::Status(302)]);
    let bugle = fleet(&sink, &json!({})).await;
    let wire = bugle.wire().await;
    for id in ["1", "2", "3"] {
        wire.event("a:b", id, &json!({})).await;
    }
    bugle.buries(3).await;
    sink.script("/hook", [Answer::Status(200)]);
    let both = bugle.cli(&["dead", "redrive", "--channel", "other", "1"]).await;
    assert_ne!(both.code, 0, "a filter beside a number is ignored: {both:?}");
    let said =
        bugle.cli(&["dead", "redrive", "--all", "--channel", "hook", "--reason", "rejected"]).await.ok();
    assert!(said.contains("3 sent again"), "{said}");
    bugle.api().shows(3, "status=sent").await;
    assert!(bugle.dead_letters().await.is_empty());
}

#[tokio::test]
async fn a_refusal_for_good_is_not_tried_again() {
    for (status, reason) in [(302, "rejected"), (410, "gone")] {
        let sink = Sink::start().await;
        sink.script("/hook", [Answer::Status(status)]);
        let bugle = fleet(&sink, &json!({})).await;
        bugle.wire().await.event("a:b", "1", &json!({})).await;
        let failed = bugle.api().shows(1, "status=failed").await;
        let delivery = bugle.api().delivery(failed[0]["id"].as_str().unwrap()).await;
        assert_eq!(states(&delivery), [("failed".to_owned(), 1)]);
        assert_eq!(delivery["timeline"][0]["reason"], reason, "{status}");
        assert_eq!(bugle.buries(1).await[0]["reason"], reason);
        assert_eq!(sink.requests("/hook").len(), 1);
    }
}

#[tokio::test]
async fn a_429_pauses_the_channel_for_every_worker_and_costs_no_attempt() {
    let sink = Sink::start().await;
    sink.script("/hook", [Answer::Header(429, "retry-after", "3".to_owned()), Answer::Status(200)]);
    let bugle = fleet(&sink, &json!({})).await;
    bugle.start_roles(&[Role::Worker]).await;
    let wire = bugle.wire().await;
    wire.event("a:b", "first", &json!({})).await;
    let first = sink.receives(1, "/hook").await[0].clone();
    bugle.api().shows(1, "status=retrying").await;
    for number in 0..20 {
        wire.event("a:b", &number.to_string(), &json!({})).await;
    }
    let requests = sink.receives_within(LATER, 21, "/hook").await;
    let early = requests
        .iter()
        .skip(1)
        .filter(|request| request.at - first.at < Duration::from_millis(2_800))
        .count();
    assert_eq!(early, 0, "while the channel was paused somebody sent");
    let delivery = bugle.api().becomes(&first.id, "sent").await;
    assert_eq!(states(&delivery).last(), Some(&("sent".to_owned(), 1)), "a pause costs no attempt");
}

#[tokio::test]
async fn no_answer_in_time_and_no_connection_are_tried_again() {
    let sink = Sink::start().await;
    sink.script("/hook", [Answer::Hold, Answer::Status(200)]);
    let bugle = fleet(&sink, &json!({ "timeoutMs": 400 })).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    let requests = sink.receives(2, "/hook").await;
    let delivery = bugle.api().becomes(&requests[0].id, "sent").await;
    assert_eq!(delivery["timeline"][0]["reason"], "timeout");

    let closed = format!("http://127.0.0.1:{}/", crate::support::free_port());
    bugle.apply(&everything_to(&closed)).await;
    eventually("a delivery to a closed port fails", SOON, async || {
        bugle.cli(&["publish", "a:b"]).await.ok();
        let letters = bugle.dead_letters().await;
        ensure(letters.iter().any(|letter| letter["reason"] == "unreachable"), format!("{letters:?}"))
    })
    .await;
}

#[tokio::test]
async fn a_delivery_that_would_come_too_late_is_given_up() {
    let sink = Sink::start().await;
    sink.script("/hook", [Answer::Status(503)]);
    let bugle =
        fleet(&sink, &json!({ "expiresInMs": 2_000, "retry": { "scheduleMs": [500, 60_000] } })).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    let letters = bugle.buries(1).await;
    assert!(letters[0]["detail"].as_str().unwrap().contains("expire"), "{letters:#?}");
    assert_eq!(sink.requests("/hook").len(), 2);

    let late = json!({
        "specversion": "1.0", "id": "2", "source": "/s", "type": "a:b", "time": "2020-01-01T00:00:00Z",
    });
    let wire = bugle.wire().await;
    wire.put(&wire.subject("events.default.a.b"), &[], late.to_string()).await;
    let letters = bugle.buries(2).await;
    assert_eq!(letters[1]["reason"], "expired");
    assert_eq!(sink.requests("/hook").len(), 2, "an expired delivery is not sent");
}

#[tokio::test]
async fn a_channel_that_cannot_be_built_costs_no_attempt_and_says_why() {
    let sink = Sink::start().await;
    let bugle = fleet(&sink, &json!({ "config": { "url": "${BUGLE_IT_NOT_SET}" } })).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    let shown = bugle.api().shows(1, "status=retrying").await;
    let delivery = bugle.api().delivery(shown[0]["id"].as_str().unwrap()).await;
    let first = &delivery["timeline"][0];
    assert_eq!(first["reason"], "misconfigured");
    assert!(first["detail"].as_str().unwrap().contains("BUGLE_IT_NOT_SET"), "{first}");
}

#[tokio::test]
async fn an_unknown_channel_is_a_failed_delivery_and_a_dead_letter_that_say_so() {
    let bugle = Bugle::new().await;
    bugle.start_without(&["nowhere"], &json!({ "rules": [rule("lost", "*", "nowhere")] })).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    let failed = bugle.api().shows(1, "status=failed").await;
    assert_eq!(failed[0]["channel"], "nowhere");
    let letters = bugle.buries(1).await;
    assert_eq!(letters[0]["reason"], "unknown_channel");
    assert!(letters[0]["detail"].as_str().unwrap().contains("nowhere"));
    let refused = bugle.cli(&["dead", "redrive", &letters[0]["sequence"].to_string()]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("nowhere"), "{refused:?}");
}

#[tokio::test]
async fn a_disabled_channel_is_a_suppressed_delivery() {
    let sink = Sink::start().await;
    let bugle = fleet(&sink, &json!({ "enabled": false })).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    let suppressed = bugle.api().shows(1, "status=suppressed").await;
    assert_eq!(suppressed[0]["reason"], "channel_disabled", "{suppressed:#?}");
    assert!(sink.requests("/hook").is_empty() && bugle.dead_letters().await.is_empty());
}

#[tokio::test]
async fn a_channel_that_hangs_delays_no_other_channel() {
    let sink = Sink::start().await;
    sink.script("/slow", [Answer::Hold]);
    let bugle = Bugle::new().await;
    bugle.set("WORKER__SLOTS", "8");
    let documents = json!({
        "channels": [webhook("slow", &sink.url("/slow")), webhook("quick", &sink.url("/quick"))],
        "rules": [rule("slow", "slow:*", "slow"), rule("quick", "quick:*", "quick")],
    });
    bugle.start_with(&documents).await;
    let wire = bugle.wire().await;
    for number in 0..60 {
        wire.event("slow:one", &format!("s{number}"), &json!({})).await;
    }
    sink.receives(6, "/slow").await;
    for number in 0..20 {
        wire.event("quick:one", &format!("q{number}"), &json!({})).await;
    }
    // Well before the first hanging try times out, which frees slots.
    sink.receives_within(Duration::from_secs(8), 20, "/quick").await;
    let held = sink.requests("/slow").len();
    assert!(
        held <= 6 + 2,
        "one channel holds at most 75 % of a lane: of 8 slots, and of the retry lane's 2: {held}"
    );
    sink.release();
    steadily("no delivery is given up", Duration::from_secs(1), async || {
        ensure(bugle.dead_letters().await.is_empty(), "a dead letter")
    })
    .await;
}

#[tokio::test]
async fn retries_that_hang_and_a_full_lane_delay_neither_first_attempts_nor_what_is_critical() {
    let sink = Sink::start().await;
    sink.script("/flaky", std::iter::repeat_n(Answer::Status(503), 4).chain([Answer::Hold]));
    sink.script("/slow", [Answer::Hold]);
    sink.script("/slower", [Answer::Hold]);
    let bugle = Bugle::new().await;
    bugle.set("WORKER__SLOTS", "4");
    let channels =
        ["flaky", "slow", "slower", "quick"].map(|name| webhook(name, &sink.url(&format!("/{name}"))));
    let critical = json!({ "severity": "critical" });
    let documents = json!({
        "channels": channels,
        "rules": [
            rule("flaky", "flaky:*", "flaky"),
            rule("slow", "slow:*", "slow"),
            rule("slower", "slower:*", "slower"),
            rule("quick", "quick:*", "quick"),
            with(rule("critical", "critical:*", "quick"), &critical),
        ],
    });
    bugle.start_with(&documents).await;
    let wire = bugle.wire().await;
    for number in 0..4 {
        wire.event("flaky:one", &format!("f{number}"), &json!({})).await;
    }
    sink.receives(5, "/flaky").await;
    wire.event("quick:one", "while retries hang", &json!({})).await;
    sink.receives_within(Duration::from_secs(4), 1, "/quick").await;
    // Sooner than a try times out, which frees slots: two channels fill the normal lane's four slots together.
    for number in 0..4 {
        wire.event("slow:one", &format!("s{number}"), &json!({})).await;
    }
    sink.receives_within(Duration::from_secs(6), 3, "/slow").await;
    wire.event("slower:one", "1", &json!({})).await;
    sink.receives_within(Duration::from_secs(6), 1, "/slower").await;
    wire.event("critical:one", "while the lane is full", &json!({})).await;
    sink.receives_within(Duration::from_secs(4), 2, "/quick").await;
}

/// Such a one cannot come of an event; a broker whose largest message was made smaller meanwhile has some.
#[tokio::test]
async fn a_retry_that_is_larger_than_the_broker_carries_is_given_up_and_blocks_nobody() {
    let sink = Sink::start().await;
    sink.script("/hook", [Answer::Status(503), Answer::Status(200)]);
    let bugle = fleet(&sink, &json!({ "retry": { "scheduleMs": [200] } })).await;
    let event = json!({"id": "e", "source": "s", "type": "a:b", "time": "2026-01-01T00:00:00Z"});
    // As short as it may be written; a worker writes what is left out here.
    let mut large = json!({
        "v": 1, "id": "d_aaaaaaaaaaaaaaaaaaaaaaaa", "workspace": "default", "event": event, "scope": "global", "channel": "hook",
        "kind": "webhook", "severity": "info", "title": "large", "body": "", "expiresAt": "2100-01-01T00:00:00Z", "attempt": 1,
        "data": "",
    });
    let room = 1_024 * 1_024 - large.to_string().len() - 10;
    large["data"] = json!("x".repeat(room));
    let wire = bugle.wire().await;
    wire.put(&wire.subject("deliveries.webhook.normal.default.hook"), &[], large.to_string()).await;
    let failed = bugle.api().shows_within(LATER, 1, "status=failed").await;
    assert_eq!(failed[0]["reason"], "too_large", "{failed:#?}");
    assert!(failed[0]["detail"].as_str().unwrap().ends_with("answered 503"), "{failed:#?}");
    assert_eq!(bugle.buries(1).await[0]["reason"], "too_large");
    assert_eq!(sink.requests("/hook").len(), 1);
    wire.event("a:b", "after", &json!({})).await;
    bugle.api().shows(1, "status=sent").await;
}

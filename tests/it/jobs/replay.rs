//! Events of the past, routed again: who missed something gets it, and nobody gets it twice.

use serde_json::{Value, json};

use super::{began, over};
use crate::support::api::token;
use crate::support::bugle::{Bugle, Role, rule, webhook};
use crate::support::sink::{Answer, Sink};
use crate::support::{LATER, ensure, eventually};

const REPLAY: &str = "/v1/events/replay";

/// One channel `old` with a rule for `task:*`, and a channel `new` without one.
fn documents(sink: &Sink, more: &[Value]) -> Value {
    let mut rules = vec![rule("old", "task:*", "old")];
    rules.extend(more.iter().cloned());
    json!({
        "channels": [webhook("old", &sink.url("/old")), webhook("new", &sink.url("/new"))],
        "rules": rules,
    })
}

/// So many events that went out on `old`; then there is a rule for `new` too.
async fn routed(count: usize) -> (Bugle, Sink) {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(&documents(&sink, &[])).await;
    let wire = bugle.wire().await;
    for id in 0..count {
        wire.event("task:done", &format!("e-{id}"), &json!({ "n": id })).await;
    }
    wire.event("other:thing", "o-1", &json!({})).await;
    bugle.api().shows_within(LATER, count, "status=sent&channel=old").await;
    bugle.apply(&documents(&sink, &[rule("new", "task:*", "new")])).await;
    let api = bugle.api();
    eventually("the API knows the new rule", LATER, async || {
        let found = api.get("/v1/rules/new").await.status;
        ensure(found == 200, found.to_string())
    })
    .await;
    (bugle, sink)
}

#[tokio::test]
async fn a_replay_sends_what_a_new_rule_missed_and_nothing_else() {
    let (bugle, sink) = routed(5).await;
    let api = bugle.api();
    let dry = api.post(REPLAY, &json!({ "since": "1h", "dryRun": true })).await.expect(200);
    assert_eq!((&dry["counts"]["sent"], &dry["counts"]["known"]), (&json!(5), &json!(5)), "{dry:#}");
    assert_eq!(dry["sample"].as_array().unwrap().len(), 5, "{dry:#}");
    assert!(sink.requests("/new").is_empty(), "a dry run does nothing");

    let job = over(&api, &began(&api, REPLAY, &json!({ "since": "1h" })).await).await;
    assert_eq!((&job["state"], &job["counts"]["sent"]), (&json!("done"), &json!(5)), "{job:#}");
    assert_eq!((&job["counts"]["known"], &job["counts"]["seen"]), (&json!(5), &json!(6)), "{job:#}");
    let sent = api.shows_within(LATER, 5, "status=sent&channel=new").await;
    assert_eq!((sink.requests("/old").len(), sink.requests("/new").len()), (5, 5));
    let steps = api.delivery(sent[0]["id"].as_str().unwrap()).await;
    let replayed = steps["timeline"].as_array().unwrap().iter().find(|step| step["reason"] == "replayed");
    let says = replayed.unwrap_or_else(|| panic!("{steps:#}"))["detail"].as_str().unwrap();
    assert!(says.contains(job["id"].as_str().unwrap()), "{says}");

    let again = over(&api, &began(&api, REPLAY, &json!({ "since": "1h" })).await).await;
    assert_eq!((&again["counts"]["sent"], &again["counts"]["known"]), (&json!(0), &json!(10)), "{again:#}");
}

#[tokio::test]
async fn what_failed_or_was_held_back_gets_a_new_life() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/old", [Answer::Status(302)]);
    bugle.start_with(&documents(&sink, &[])).await;
    let api = bugle.api();
    bugle.wire().await.event("task:done", "e-1", &json!({})).await;
    let failed = api.shows(1, "status=failed").await;
    sink.script("/old", [Answer::Status(200)]);
    let job = over(&api, &began(&api, REPLAY, &json!({ "since": "1h", "event": "e-1" })).await).await;
    assert_eq!(job["counts"]["sent"], 1, "{job:#}");
    api.becomes(failed[0]["id"].as_str().unwrap(), "sent").await;
    assert_eq!(sink.counts("/old").values().copied().collect::<Vec<_>>(), [2], "under the same id");
}

#[tokio::test]
async fn a_replay_with_fresh_ids_sends_everything_once_more() {
    let (bugle, sink) = routed(4).await;
    let api = bugle.api();
    let wanted = json!({ "since": "1h", "freshIds": true, "rules": ["old"], "eventTypes": ["task:*"] });
    let job = over(&api, &began(&api, REPLAY, &wanted).await).await;
    assert_eq!((&job["counts"]["sent"], &job["counts"]["known"]), (&json!(4), &json!(0)), "{job:#}");
    api.shows_within(LATER, 8, "status=sent&channel=old").await;
    let counts = sink.counts("/old");
    assert_eq!(counts.len(), 8, "{counts:?}");
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    assert!(sink.requests("/new").is_empty(), "only the rule that was named");
}

#[tokio::test]
async fn the_replay_of_a_process_that_was_killed_is_finished_by_another() {
    let (bugle, sink) = routed(60).await;
    let wanted = json!({ "since": "1h", "freshIds": true, "rules": ["old"], "ratePerSecond": 20 });
    let id = began(&bugle.api(), REPLAY, &wanted).await;
    sink.receives(60 + 10, "/old").await;
    bugle.kill_9(Role::Api);
    bugle.start_roles(&[Role::Api]).await;
    let api = bugle.api();
    let job = over(&api, &id).await;
    assert_eq!(job["state"], "done", "{job:#}");
    api.shows_within(LATER, 120, "status=sent&channel=old").await;
    let counts = sink.counts("/old");
    assert_eq!(counts.len(), 120);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}

#[tokio::test]
async fn an_inbox_has_each_notification_once_and_bugles_own_events_are_replayed_only_by_name() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let inbox = json!({ "id": "inbox", "events": ["task:*"], "channels": ["in_app"], "recipients": ["ann"] });
    let told = rule("told", "notification:*", "new");
    bugle.start_with(&documents(&sink, &[inbox, told])).await;
    let (api, wire) = (bugle.api(), bugle.wire().await);
    wire.event("task:done", "e-1", &json!({})).await;
    // Both deliveries were sent, and Bugle said so.
    sink.receives(2, "/new").await;
    api.shows_within(LATER, 4, "status=sent").await;
    let job = over(&api, &began(&api, REPLAY, &json!({ "since": "1h", "eventTypes": ["*"] })).await).await;
    assert_eq!((&job["counts"]["matched"], &job["counts"]["known"]), (&json!(1), &json!(2)), "{job:#}");
    let list = api.get("/v1/notifications?recipient=ann").await.expect(200);
    assert_eq!(list["notifications"].as_array().unwrap().len(), 1, "{list:#}");
    let named = json!({ "since": "1h", "eventTypes": ["notification:*"] });
    let job = over(&api, &began(&api, REPLAY, &named).await).await;
    assert_eq!(job["counts"]["matched"], 2, "{job:#}");
    assert_eq!(sink.requests("/new").len(), 2, "they were sent before");
}

#[tokio::test]
async fn a_cooldown_holds_for_a_replay_as_for_new_events() {
    let (bugle, sink) = routed(5).await;
    let mut quiet = rule("quiet", "task:*", "new");
    quiet["cooldownMs"] = json!(600_000);
    bugle.apply(&documents(&sink, &[quiet])).await;
    let api = bugle.api();
    let wanted = json!({ "since": "1h", "rules": ["quiet"] });
    let job = over(&api, &began(&api, REPLAY, &wanted).await).await;
    assert_eq!(job["counts"]["sent"], 1, "{job:#}");
    assert_eq!(job["counts"]["suppressed"], json!({ "cooldown": 4 }), "{job:#}");
    sink.receives(1, "/new").await;
}

#[tokio::test]
async fn a_replay_is_asked_for_rightly_or_refused() {
    let (bugle, _sink) = routed(1).await;
    let api = bugle.api();
    for bad in [
        json!({}),
        json!({ "since": "yesterday" }),
        json!({ "since": "1h", "until": "2h" }),
        json!({ "since": "1h", "eventTypes": ["a::b"] }),
        json!({ "since": "1h", "rules": ["a b"] }),
        json!({ "since": "1h", "ratePerSecond": 0 }),
        json!({ "since": "1h", "freshId": true }),
    ] {
        api.post(REPLAY, &bad).await.expect_problem(400);
    }
    let red = token(&bugle, "operator", &json!({ "workspace": "red" })).await;
    red.post(&format!("{REPLAY}?workspace=default"), &json!({ "since": "1h" })).await.expect_problem(403);
    let dry = red.post(REPLAY, &json!({ "since": "1h", "dryRun": true })).await.expect(200);
    assert_eq!(dry["counts"]["seen"], 0, "{dry:#}");
    let viewer = token(&bugle, "viewer", &json!({})).await;
    viewer.post(REPLAY, &json!({ "since": "1h" })).await.expect_problem(403);
}

//! What Bugle says about itself: for rules that ask for it, and never in a circle.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bugle::{Bugle, Role, rule, webhook, with};
use crate::support::sink::{Answer, Sink};
use crate::support::{LATER, eventually};

/// The requests on a path, by the type of their event.
fn of_type(sink: &Sink, path: &str, event_type: &str) -> Vec<Value> {
    let bodies = sink.requests(path).into_iter().map(|request| request.json());
    bodies.filter(|body| body["type"] == event_type).collect()
}

#[tokio::test]
async fn a_rule_hears_what_became_of_other_deliveries() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/gone", [Answer::Status(410)]);
    bugle
        .start_with(&json!({
            "channels": [webhook("gone", &sink.url("/gone")), webhook("well", &sink.url("/well")),
                         webhook("ops", &sink.url("/ops")),
                         {"id": "off", "kind": "console", "enabled": false, "config": {}}],
            "rules": [rule("fails", "a:*", "gone"), rule("works", "a:*", "well"), rule("sleeps", "a:*", "off"),
                      {"id": "ops", "events": ["notification:**"], "channels": ["ops"],
                       "template": {"title": "{{rule}} {{state}}: {{reason}} {{error}}"}}],
        }))
        .await;
    let wire = bugle.wire().await;
    wire.event("a:b", "e-1", &json!({"taskId": "t"})).await;
    sink.receives(3, "/ops").await;
    let [failed] = &of_type(&sink, "/ops", "notification:failed")[..] else { panic!("one failed") };
    let data = &failed["data"];
    assert_eq!(
        (&data["rule"], &data["channel"], &data["kind"]),
        (&json!("fails"), &json!("gone"), &json!("webhook"))
    );
    assert_eq!((&data["reason"], &data["attempt"], &data["code"]), (&json!("gone"), &json!(1), &json!(410)));
    assert_eq!((&data["event"]["id"], &data["event"]["type"]), (&json!("e-1"), &json!("a:b")));
    assert!(data["error"].as_str().is_some_and(|error| error.contains("410")), "{data}");
    assert!(failed["title"].as_str().unwrap().contains("fails failed: gone"), "{failed}");
    let [sent] = &of_type(&sink, "/ops", "notification:sent")[..] else { panic!("one sent") };
    assert_eq!((&sent["data"]["rule"], &sent["data"]["error"]), (&json!("works"), &Value::Null));
    let [held] = &of_type(&sink, "/ops", "notification:suppressed")[..] else { panic!("one suppressed") };
    assert_eq!(
        (&held["data"]["rule"], &held["data"]["reason"]),
        (&json!("sleeps"), &json!("channel_disabled"))
    );
    let id = data["delivery"].as_str().unwrap();
    assert_eq!(bugle.api().delivery(id).await["status"], "failed");
}

#[tokio::test]
async fn nothing_feeds_itself_whatever_the_rules_say() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/broken", [Answer::Status(302)]);
    bugle
        .start_with(&json!({
            "channels": [webhook("all", &sink.url("/all")), webhook("broken", &sink.url("/broken")),
                         webhook("ops", &sink.url("/ops"))],
            "rules": [rule("everything", "*", "all"), rule("deep", "**", "all"), rule("any", "*:*", "broken"),
                      rule("own", "notification:*", "broken"), rule("own-deep", "notification:**", "ops"),
                      rule("own-failed", "notification:failed", "broken")],
        }))
        .await;
    let wire = bugle.wire().await;
    // Of each event three rules make deliveries, and each of those an event: two sent, one failed. Rules that name own
    // events literally make three times two of these, and one more for the failed one: 3 + 7.
    for round in 1..=3 {
        wire.event("a:b", &format!("e-{round}"), &json!({})).await;
        bugle.api().shows(round * 10, "").await;
    }
    // The last round went through all that an earlier one could have set off: had it gone on, there would be more.
    assert_eq!(bugle.api().deliveries("").await.len(), 30);
    assert_eq!(wire.messages("EVENTS").await, 3 + 9);
    let own = |path| sink.requests(path).into_iter().map(|request| request.json()["type"].clone());
    assert!(own("/all").all(|event_type| event_type == "a:b"));
    assert!(own("/ops").all(|event_type| event_type.as_str().unwrap().starts_with("notification:")));
}

#[tokio::test]
async fn nobody_reads_the_records_for_rules_that_do_not_ask() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let all = |more: &[Value]| {
        let mut rules = vec![rule("all", "a:*", "all")];
        rules.extend_from_slice(more);
        json!({"channels": [webhook("all", &sink.url("/all")), webhook("ops", &sink.url("/ops"))], "rules": rules})
    };
    bugle.start_with(&all(&[])).await;
    let wire = bugle.wire().await;
    wire.event("a:b", "before", &json!({})).await;
    bugle.api().shows(1, "status=sent").await;
    assert_eq!(wire.messages("EVENTS").await, 1);
    // Asked for while it runs: from then on, and over the death of a router.
    bugle.apply(&all(&[rule("ops", "notification:sent", "ops")])).await;
    let mut number = 0;
    eventually("the rule is live", LATER, async || {
        number += 1;
        wire.event("a:b", &format!("probe-{number}"), &json!({})).await;
        bugle.api().shows(1 + number, "rule=all&status=sent").await;
        if sink.requests("/ops").is_empty() { Err("not yet".to_owned()) } else { Ok(()) }
    })
    .await;
    bugle.kill_9(Role::Router);
    bugle.start_roles(&[Role::Router]).await;
    let before = sink.requests("/ops").len();
    wire.event("a:b", "after", &json!({})).await;
    let all = sink.receives_within(LATER, before + 1, "/ops").await;
    let about = |id: &str| all.iter().filter(|request| request.json()["data"]["event"]["id"] == id).count();
    assert_eq!((about("before"), about("after")), (0, 1));
}

#[tokio::test]
async fn a_channel_on_which_nothing_works_is_told_once_for_the_fleet_and_when_it_works_again() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/broken", [Answer::Status(503)]);
    let broken =
        with(webhook("broken", &sink.url("/broken")), &json!({"retry": {"scheduleMs": vec![1_500; 40]}}));
    bugle
        .start_with(&json!({
            "channels": [broken, webhook("ops", &sink.url("/ops"))],
            "rules": [rule("all", "a:*", "broken"), rule("ops", "channel:*", "ops")],
        }))
        .await;
    bugle.start_roles(&[Role::Worker]).await;
    let wire = bugle.wire().await;
    for number in 0..4 {
        wire.event("a:b", &format!("e-{number}"), &json!({})).await;
    }
    let said = sink.receives_within(Duration::from_secs(90), 1, "/ops").await[0].json();
    assert_eq!(said["type"], "channel:unhealthy", "{said}");
    let data = &said["data"];
    assert_eq!((&data["channel"], &data["kind"]), (&json!("broken"), &json!("webhook")));
    assert_eq!((&data["reason"], &data["code"]), (&json!("provider_error"), &json!(503)));
    assert!(data["failures"].as_u64().unwrap() >= 5, "{data}");
    sink.script("/broken", [Answer::Status(200)]);
    bugle.api().shows_within(LATER, 4, "channel=broken&status=sent").await;
    let said = sink.receives_within(LATER, 2, "/ops").await;
    let types: Vec<Value> = said.iter().map(|request| request.json()["type"].clone()).collect();
    assert_eq!(types, ["channel:unhealthy", "channel:recovered"]);
}

#[tokio::test]
async fn a_process_says_that_it_stops_also_when_it_is_the_only_one() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let documents = json!({
        "channels": [webhook("ops", &sink.url("/ops"))], "rules": [rule("ops", "server:shutdown", "ops")],
    });
    bugle.start_with(&documents).await;
    for mut member in bugle.take(Role::Worker) {
        bugle.start_roles(&[Role::Worker]).await;
        assert_eq!(member.process.sigterm(LATER).await.0, 0);
    }
    let said = sink.receives(1, "/ops").await[0].json();
    assert_eq!((&said["type"], &said["data"]["role"]), (&json!("server:shutdown"), &json!("worker")));
    bugle.kill_9_everything();
    let mut alone = bugle.spawn_all_in_one();
    alone.until_ready(LATER).await;
    let (code, _) = alone.process.sigterm(LATER).await;
    assert_eq!(code, 0, "{}", alone.process.output());
    // Before it ended, not at its next start.
    let said = sink.requests("/ops");
    assert_eq!((said.len(), said[1].json()["data"]["role"].clone()), (2, json!("all")));
}

#[tokio::test]
async fn what_comes_back_through_a_webhook_goes_round_five_times_and_no_more() {
    const SECRET: &str = "a-secret-of-a-source-that-is-ours";
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(&json!({"channels": [webhook("log", &sink.url("/log"))]})).await;
    let api = bugle.api();
    let circle = api.request("POST", "/v1/sources/circle").build().unwrap().url().to_string();
    let back = with(webhook("back", &circle), &json!({"retry": {"scheduleMs": []}}));
    let back = with(
        back,
        &json!({"config": {"url": circle, "headers": {"Authorization": format!("Bearer {SECRET}")}}}),
    );
    bugle
        .apply(&json!({
            "channels": [webhook("log", &sink.url("/log")), back],
            "sources": [{"id": "circle", "http": {"secret": SECRET},
                         "map": {"type": "again:{{type}}", "id": "{{id}}", "data": "{}"}}],
            "rules": [rule("start", "kick:off", "back"), rule("round", "again:**", "back")],
        }))
        .await;
    bugle.wire().await.event("kick:off", "e-1", &json!({})).await;
    let failed = api.shows_within(LATER, 1, "status=failed").await;
    assert_eq!(failed[0]["code"], 508, "{failed:?}");
    assert_eq!(api.deliveries("status=sent").await.len(), 5);
    // What Bugle says about itself nobody else can say.
    for forged in
        [json!({"type": "notification:failed", "data": {}}), json!({"type": "a:b", "source": "bugle"})]
    {
        let refused = api.post("/v1/events", &forged).await.expect_problem(400);
        assert!(refused["detail"].as_str().unwrap().contains("says about itself"), "{refused}");
    }
    let elsewhere = json!({"type": "a:b", "workspace": "other"});
    assert_eq!(api.post("/v1/events", &elsewhere).await.expect_problem(400)["pointer"], "/workspace");
    api.post("/v1/rules/evaluate", &json!({"event": elsewhere})).await.expect_problem(400);
}

//! What a rule holds back, why, and that the next one says how much.

use std::time::Duration;

use serde_json::json;

use crate::support::bugle::{Bugle, Role, rule, webhook, with};
use crate::support::sink::Sink;
use crate::support::wire::Wire;
use crate::support::{LATER, ensure, eventually, pause};

/// A fleet with one rule.
async fn fleet(more: &serde_json::Value) -> (Bugle, Sink, Wire) {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let documents = json!({
        "channels": [webhook("hook", &sink.url("/hook"))],
        "rules": [with(rule("r", "**", "hook"), more)],
    });
    bugle.start_with(&documents).await;
    let wire = bugle.wire().await;
    (bugle, sink, wire)
}

#[tokio::test]
async fn the_next_one_says_how_many_it_stands_for_whoever_held_them_back() {
    let (bugle, sink, wire) = fleet(&json!({ "cooldownMs": 4_000, "cooldownKey": "{{task}}" })).await;
    bugle.start_roles(&[Role::Router]).await;
    for number in 0..20 {
        wire.event("a:b", &format!("first-{number}"), &json!({ "task": "t" })).await;
    }
    bugle.api().shows(19, "status=suppressed").await;
    // Those who counted are gone; the count is not.
    bugle.kill_9(Role::Router);
    bugle.start_roles(&[Role::Router]).await;
    for number in 0..5 {
        wire.event("a:b", &format!("second-{number}"), &json!({ "task": "t" })).await;
    }
    let mut number = 0;
    let opener = eventually("the next window opens", LATER, async || {
        number += 1;
        wire.event("a:b", &format!("third-{number:03}"), &json!({ "task": "t" })).await;
        pause(Duration::from_millis(300)).await;
        sink.requests("/hook")
            .get(1)
            .map(crate::support::sink::Request::json)
            .ok_or_else(|| "not yet".to_owned())
    })
    .await;
    let held_back = opener["heldBack"].as_u64().unwrap();
    let title = opener["title"].as_str().unwrap();
    assert!(title.ends_with(&format!(" (+{held_back} more)")), "{title}");
    let suppressed = bugle.api().deliveries("status=suppressed").await;
    let opened = opener["event"]["id"].as_str().unwrap();
    let before: Vec<_> = suppressed
        .iter()
        .filter(|delivery| {
            let event = delivery["event"].as_str().unwrap();
            !event.starts_with("third-") || event < opened
        })
        .collect();
    assert_eq!(held_back, before.len() as u64, "{opened} opened the window");
    // Another key has a window of its own and stands for nobody.
    wire.event("a:b", "other", &json!({ "task": "u" })).await;
    let other = sink.receives(3, "/hook").await.pop().unwrap().json();
    assert_eq!((other["heldBack"].as_u64(), other["event"]["id"].as_str()), (Some(0), Some("other")));
}

#[tokio::test]
async fn what_says_the_same_goes_out_once_and_the_rest_is_recorded_as_duplicates() {
    let dedupe = json!({ "dedupe": { "key": "{{task}}/{{status}}", "windowMs": 60_000 } });
    let (bugle, sink, wire) = fleet(&dedupe).await;
    for (id, task, status) in
        [("1", "t", "done"), ("2", "t", "done"), ("3", "t", "failed"), ("4", "u", "done"), ("5", "t", "done")]
    {
        wire.event("a:b", id, &json!({ "task": task, "status": status })).await;
    }
    let suppressed = bugle.api().shows(2, "status=suppressed").await;
    assert!(suppressed.iter().all(|delivery| delivery["reason"] == "duplicate"), "{suppressed:?}");
    sink.receives(3, "/hook").await;
    let sent = bugle.api().shows(3, "status=sent").await;
    assert!(sent.iter().all(|delivery| !delivery["title"].as_str().unwrap().contains("more")), "{sent:?}");
}

#[tokio::test]
async fn a_rule_asleep_records_what_it_held_back() {
    // A minute of the week that is certainly not now: tests do not run for days.
    let yesterday = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).yesterday().unwrap();
    let day = yesterday.strftime("%a").to_string().to_lowercase();
    let hours = json!({ "activeHours": { "windows": [{ "days": [day], "from": "03:00", "to": "03:01" }] } });
    let (bugle, sink, wire) = fleet(&hours).await;
    wire.event("a:b", "1", &json!({})).await;
    let suppressed = bugle.api().shows(1, "status=suppressed").await;
    assert_eq!(suppressed[0]["reason"], "outside_hours");
    assert!(sink.requests("/hook").is_empty());
}

#[tokio::test]
async fn a_scope_of_a_file_replaces_or_extends_the_rules_for_its_task_alone() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let to = |id: &str, channel: &str| rule(id, "task:*", channel);
    let documents = json!({
        "channels": [webhook("all", &sink.url("/all")), webhook("own", &sink.url("/own"))],
        "rules": [to("all", "all")],
        "scopes": [
            { "task": "alone", "rules": [to("own", "own")] },
            { "task": "both", "inherit": true, "rules": [to("own", "own")] },
            { "mission": "m", "rules": [to("own", "own")] },
        ],
    });
    bugle.start_with(&documents).await;
    let wire = bugle.wire().await;
    for (id, data) in [
        ("1", json!({ "taskId": "alone" })),
        ("2", json!({ "taskId": "both" })),
        ("3", json!({ "taskId": "stranger" })),
        ("4", json!({ "missionId": "m" })),
    ] {
        wire.event("task:done", id, &data).await;
    }
    bugle.api().shows(5, "status=sent").await;
    let events = |path: &str| {
        let mut events: Vec<String> = sink
            .requests(path)
            .iter()
            .map(|request| request.json()["event"]["id"].as_str().unwrap().to_owned())
            .collect();
        events.sort_unstable();
        events
    };
    assert_eq!(
        (events("/all"), events("/own")),
        (vec!["2".into(), "3".into()], vec!["1".into(), "2".into(), "4".into()])
    );
    let deliveries = bugle.api().deliveries("event=1").await;
    assert_eq!(deliveries[0]["scope"], "task:alone");
    // A file without its scopes takes them away.
    let without = json!({ "channels": documents["channels"], "rules": documents["rules"] });
    let said = bugle.apply_as("documents", &without).await.ok();
    assert!(said.contains("removed scopes.default.task:alone"), "{said}");
    let mut number = 0;
    eventually("the task has no rules of its own any more", LATER, async || {
        number += 1;
        wire.event("task:done", &format!("after-{number}"), &json!({ "taskId": "alone" })).await;
        pause(Duration::from_millis(200)).await;
        ensure(events("/all").iter().any(|event| event.starts_with("after-")), "not yet")
    })
    .await;
}

#[tokio::test]
async fn what_tells_of_one_thing_has_one_id_until_its_window_ends_whoever_routes_it() {
    let (bugle, sink, wire) =
        fleet(&json!({ "collapse": { "key": "{{incident}}", "windowMs": 6_000 } })).await;
    bugle.start_roles(&[Role::Router]).await;
    for number in 0..8 {
        wire.event("a:b", &format!("one-{number}"), &json!({ "incident": "i-1" })).await;
    }
    wire.event("a:b", "two", &json!({ "incident": "i-2" })).await;
    wire.event("a:b", "none", &json!({})).await;
    let all = sink.receives(10, "/hook").await;
    let id = |event: &str| {
        let request = all.iter().find(|request| request.json()["event"]["id"] == event).unwrap();
        request.json()["collapseId"].clone()
    };
    let one = id("one-0");
    assert!(one.as_str().is_some_and(|id| id.starts_with("c_")), "{one}");
    assert!((0..8).all(|number| id(&format!("one-{number}")) == one));
    assert!(id("two") != one && id("two").is_string());
    assert!(id("none").is_null(), "an empty key is like no other");
    let mut number = 0;
    let next = eventually("the next window opens", LATER, async || {
        number += 1;
        wire.event("a:b", &format!("late-{number}"), &json!({ "incident": "i-1" })).await;
        let all = sink.receives(10 + number, "/hook").await;
        let found = all.last().unwrap().json()["collapseId"].clone();
        if found == one { Err("still the first".to_owned()) } else { Ok(found) }
    })
    .await;
    assert!(next.is_string());
}

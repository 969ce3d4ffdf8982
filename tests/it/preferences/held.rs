//! What waits for its recipient: it is in the history with its time, it goes out when that has come, and nothing of it is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{fleet, in_seconds, prefers, write};
use crate::support::api::{json as with_body, reply};
use crate::support::bugle::Role;
use crate::support::{LATER, pause};

fn moment(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// What the history says of every step: its state and its reason.
fn steps(delivery: &Value) -> Vec<(String, String)> {
    let word = |step: &Value, name: &str| step[name].as_str().unwrap_or_default().to_owned();
    let timeline = delivery["timeline"].as_array().unwrap();
    timeline.iter().map(|step| (word(step, "state"), word(step, "reason"))).collect()
}

fn step(state: &str, reason: &str) -> (String, String) {
    (state.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn a_snooze_holds_what_comes_meanwhile_and_lets_it_go_when_it_is_over() {
    let (_bugle, sink, wire, api) = fleet(&json!({})).await;
    let until = in_seconds(5);
    prefers(&api, "ann", &json!({"snoozedUntil": until})).await;
    wire.event("a:b", "1", &json!({"who": "ann"})).await;
    wire.event("a:b", "2", &json!({"who": "bob"})).await;
    let held = api.shows(1, "status=scheduled&recipient=ann").await.remove(0);
    assert_eq!(held["reason"], "snoozed", "{held:#}");
    assert_eq!(moment(&held["nextAt"]), until.parse().unwrap(), "{held:#}");
    assert_eq!(sink.receives(1, "/hook").await[0].json()["recipient"], "bob");
    sink.receives(2, "/hook").await;
    assert!(Timestamp::now() >= until.parse().unwrap(), "it came before its time");
    let sent = api.becomes(held["id"].as_str().unwrap(), "sent").await;
    assert_eq!(steps(&sent), [step("scheduled", "snoozed"), step("sent", "accepted")], "{sent:#}");
}

#[tokio::test]
async fn quiet_hours_go_by_the_recipients_own_clock_and_what_is_critical_does_not_wait() {
    let (_bugle, sink, _wire, api) = fleet(&json!({})).await;
    let ann = json!({"timeZone": "Asia/Kathmandu"});
    reply(with_body(api.request("PUT", "/v1/recipients/ann"), &ann)).await.expect(201);
    let now = Timestamp::now().to_zoned(jiff::tz::TimeZone::get("Asia/Kathmandu").unwrap());
    let minutes = if now.second() > 45 { 2 } else { 1 };
    let end = (&now + SignedDuration::from_mins(minutes)).strftime("%H:%M").to_string();
    let begin = (&now - SignedDuration::from_mins(5)).strftime("%H:%M").to_string();
    let hours = |more: Value| {
        let windows = json!([{"from": begin, "to": end}]);
        json!({"quietHours": crate::support::bugle::with(json!({"windows": windows}), &more)})
    };
    prefers(&api, "ann", &hours(json!({}))).await;
    prefers(&api, "bob", &hours(json!({"timeZone": "Asia/Kathmandu", "allowCritical": false}))).await;
    prefers(&api, "eve", &hours(json!({"timeZone": "Asia/Kathmandu", "channels": ["email"]}))).await;
    let event = async |id: &str, who: &str, severity: &str| {
        let event = json!({"type": "a:b", "id": id, "severity": severity, "data": {"who": who}});
        api.post("/v1/events", &event).await.expect(202);
    };
    event("1", "ann", "warning").await;
    event("2", "ann", "critical").await;
    event("3", "bob", "critical").await;
    event("4", "eve", "warning").await;
    let sent = api.shows(2, "status=sent").await;
    let mut at_once: Vec<&str> = sent.iter().map(|sent| sent["event"].as_str().unwrap()).collect();
    at_once.sort_unstable();
    assert_eq!(at_once, ["2", "4"], "{sent:#?}");
    let held = api.shows(2, "status=scheduled").await;
    assert!(held.iter().all(|held| held["reason"] == "quiet_hours"), "{held:#?}");
    let until = moment(&held[0]["nextAt"]);
    assert_eq!(until.to_zoned(now.time_zone().clone()).strftime("%H:%M:%S").to_string(), format!("{end}:00"));
    assert_eq!(sink.requests("/hook").len(), 2);
    api.shows_within(LATER, 4, "status=sent").await;
    assert!(Timestamp::now() >= until);
}

#[tokio::test]
async fn what_waited_is_asked_about_again_when_its_time_has_come() {
    let (_bugle, sink, wire, api) = fleet(&json!({})).await;
    for who in ["ann", "bob"] {
        prefers(&api, who, &json!({"snoozedUntil": in_seconds(6)})).await;
    }
    wire.event("a:b", "1", &json!({"who": "ann"})).await;
    wire.event("a:b", "2", &json!({"who": "bob"})).await;
    let held = api.shows(2, "status=scheduled").await;
    let id = |who: &str| held.iter().find(|held| held["recipient"] == who).unwrap()["id"].as_str().unwrap();
    // Ann mutes it meanwhile, and Bob sleeps on.
    let muted = json!({"preferences": [{"type": "a:b", "enabled": false}]});
    write(&api, "PUT", "ann", &muted).await.expect(200);
    let later = in_seconds(10);
    write(&api, "PATCH", "bob", &json!({"snoozedUntil": later})).await.expect(200);
    let ann = api.becomes(id("ann"), "suppressed").await;
    assert_eq!(steps(&ann), [step("scheduled", "snoozed"), step("suppressed", "muted")], "{ann:#}");
    let bob = api.becomes(id("bob"), "sent").await;
    assert!(Timestamp::now() >= later.parse().unwrap());
    let waits = [step("scheduled", "snoozed"), step("scheduled", "snoozed"), step("sent", "accepted")];
    assert_eq!(steps(&bob), waits, "{bob:#}");
    assert_eq!(sink.requests("/hook").len(), 1);
}

#[tokio::test]
async fn a_channel_whose_deliveries_expire_sooner_keeps_what_waits() {
    let (bugle, sink, wire, api) = fleet(&json!({})).await;
    let brief = crate::support::bugle::with(
        crate::support::bugle::webhook("hook", &sink.url("/hook")),
        &json!({"expiresInMs": 3_000}),
    );
    let named = crate::support::bugle::with(
        crate::support::bugle::rule("r", "**", "hook"),
        &json!({"recipients": ["{{who}}"]}),
    );
    bugle.apply(&json!({"channels": [brief], "rules": [named]})).await;
    prefers(&api, "ann", &json!({"snoozedUntil": in_seconds(7)})).await;
    wire.event("a:b", "1", &json!({"who": "ann"})).await;
    let held = api.shows(1, "status=scheduled").await.remove(0);
    api.becomes(held["id"].as_str().unwrap(), "sent").await;
}

#[tokio::test]
async fn nothing_that_waits_is_lost_or_doubled_when_routers_and_workers_are_killed() {
    const EVENTS: usize = 200;
    let (bugle, sink, wire, api) = fleet(&json!({})).await;
    prefers(&api, "ann", &json!({"snoozedUntil": in_seconds(36)})).await;
    for number in 0..EVENTS {
        wire.event("a:b", &format!("e-{number}"), &json!({"who": "ann"})).await;
        if number == EVENTS / 2 {
            bugle.kill_9(Role::Router);
        }
    }
    bugle.start_roles(&[Role::Router]).await;
    // What the dead one had in hand is handed out again after half a minute.
    api.shows_within(LATER, EVENTS, "status=scheduled,sent").await;
    bugle.kill_9(Role::Worker);
    pause(Duration::from_secs(1)).await;
    bugle.start_roles(&[Role::Worker]).await;
    let sent = api.shows_within(LATER, EVENTS, "status=sent").await;
    assert_eq!(sent.len(), EVENTS);
    let ids: BTreeSet<String> = sink.requests("/hook").iter().map(|request| request.id.clone()).collect();
    assert_eq!(ids.len(), EVENTS);
}

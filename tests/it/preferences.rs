//! What recipients want: muted by type, project and kind; quiet hours and snoozes, which hold and let go; what passes all the
//! same. The API of preferences and sends are in files of their own.

mod api;
mod held;
mod sends;

use serde_json::{Value, json};

use crate::support::api::{Api, Reply, json as with_body, reply};
use crate::support::bugle::{Bugle, Role, rule, webhook, with};
use crate::support::sink::Sink;
use crate::support::wire::Wire;
use crate::support::{ensure, eventually};

const PREFERENCES: &str = "/v1/notifications/preferences";

/// Everything to whom an event names, through a webhook; more of the rule as given.
async fn fleet(more: &Value) -> (Bugle, Sink, Wire, Api) {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let everything = with(rule("r", "**", "hook"), &json!({"recipients": ["{{who}}"]}));
    let documents =
        json!({"channels": [webhook("hook", &sink.url("/hook"))], "rules": [with(everything, more)]});
    bugle.start_with(&documents).await;
    let (wire, api) = (bugle.wire().await, bugle.api());
    (bugle, sink, wire, api)
}

async fn write(api: &Api, method: &str, of: &str, body: &Value) -> Reply {
    reply(with_body(api.request(method, &format!("{PREFERENCES}?recipient={of}")), body)).await
}

/// Written and in force everywhere: a change is heard within a second.
async fn prefers(api: &Api, of: &str, preferences: &Value) {
    let written = write(api, "PUT", of, preferences).await;
    assert!([200, 201].contains(&written.status), "{:#}", written.body);
    crate::support::pause(std::time::Duration::from_secs(1)).await;
}

/// On a millisecond, as the history keeps moments.
fn in_seconds(seconds: i64) -> String {
    let now = jiff::Timestamp::from_millisecond(jiff::Timestamp::now().as_millisecond()).unwrap();
    (now + jiff::SignedDuration::from_secs(seconds)).to_string()
}

#[tokio::test]
async fn the_most_specific_row_decides_by_type_by_project_and_by_kind() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let on_subjects = json!({"id": "bus", "kind": "nats", "config": {"subject": "elsewhere.{{channel}}"}});
    let to_both =
        with(rule("r", "**", "hook"), &json!({"recipients": ["{{who}}"], "channels": ["hook", "bus"]}));
    bugle
        .start_with(
            &json!({"channels": [webhook("hook", &sink.url("/hook")), on_subjects], "rules": [to_both]}),
        )
        .await;
    let (wire, api) = (bugle.wire().await, bugle.api());
    let rows = json!({"preferences": [
        {"type": "news.daily", "enabled": false},
        {"type": "news:daily", "project": "p", "channel": "webhook", "enabled": true},
        {"project": "secret", "enabled": false},
        {"channel": "nats", "enabled": false},
        {"type": "build:done", "channel": "nats", "enabled": true},
    ]});
    prefers(&api, "ann", &rows).await;
    for (id, event_type, data, hook, bus) in [
        ("1", "news:daily", json!({"who": "ann"}), "suppressed", "suppressed"),
        ("2", "news:daily", json!({"who": "ann", "projectId": "p"}), "sent", "suppressed"),
        ("3", "news:daily", json!({"who": "ann", "projectId": "q"}), "suppressed", "suppressed"),
        ("4", "mail:in", json!({"who": "ann"}), "sent", "suppressed"),
        ("5", "mail:in", json!({"who": "ann", "project": {"id": "secret"}}), "suppressed", "suppressed"),
        ("6", "build:done", json!({"who": "ann"}), "sent", "sent"),
        ("7", "build:done", json!({"who": "ann", "projectId": "secret"}), "sent", "sent"),
        ("8", "news:daily", json!({"who": "bob"}), "sent", "sent"),
    ] {
        wire.event(event_type, id, &data).await;
        for (channel, status) in [("hook", hook), ("bus", bus)] {
            // A row for a type counts before one for a project.
            let expected = if id == "7" && channel == "hook" { "suppressed" } else { status };
            let query = format!("event={id}&channel={channel}");
            let came = eventually(&format!("{query} ends"), crate::support::SOON, async || {
                let found = api.deliveries(&query).await;
                let done = found.iter().find(|delivery| delivery["status"] != "scheduled").cloned();
                done.ok_or_else(|| format!("{found:?}"))
            })
            .await;
            assert_eq!(came["status"], expected, "{id} {channel} {came:#}");
            if expected == "suppressed" {
                assert_eq!(came["reason"], "muted", "{came:#}");
                assert!(
                    came["detail"].as_str().unwrap().starts_with("muted by the recipient: type "),
                    "{came:#}"
                );
            }
        }
    }
}

#[tokio::test]
async fn what_is_mandatory_reaches_who_muted_everything() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let named = json!({"recipients": ["ann"]});
    let documents = json!({
        "channels": [webhook("hook", &sink.url("/hook"))],
        "rules": [
            with(rule("may", "a:*", "hook"), &named),
            with(with(rule("must", "a:*", "hook"), &named), &json!({"mandatory": true})),
            with(rule("alerts", "security_alert", "hook"), &named),
        ],
    });
    bugle.start_with(&documents).await;
    let (wire, api) = (bugle.wire().await, bugle.api());
    let deaf = json!({
        "preferences": [{"enabled": false}], "snoozedUntil": in_seconds(3_600),
        "snooze": {"allowCritical": false},
    });
    prefers(&api, "ann", &deaf).await;
    wire.event("a:b", "1", &json!({})).await;
    wire.event("security_alert", "2", &json!({})).await;
    let sent = api.shows(2, "status=sent").await;
    let mut rules: Vec<&str> = sent.iter().map(|delivery| delivery["rule"].as_str().unwrap()).collect();
    rules.sort_unstable();
    assert_eq!(rules, ["alerts", "must"]);
    let suppressed = api.shows(1, "status=suppressed").await;
    assert_eq!((&suppressed[0]["rule"], &suppressed[0]["reason"]), (&json!("may"), &json!("muted")));
}

#[tokio::test]
async fn a_change_is_in_force_in_every_router_within_a_second() {
    let (bugle, sink, wire, api) = fleet(&json!({})).await;
    bugle.start_roles(&[Role::Router]).await;
    // Both have asked for them before.
    for number in 0..30 {
        wire.event("a:b", &format!("before-{number}"), &json!({"who": "ann"})).await;
    }
    sink.receives(30, "/hook").await;
    prefers(&api, "ann", &json!({"preferences": [{"type": "a:b", "enabled": false}]})).await;
    for number in 0..30 {
        wire.event("a:b", &format!("muted-{number}"), &json!({"who": "ann"})).await;
    }
    api.shows(30, "status=suppressed").await;
    assert_eq!(write(&api, "DELETE", "ann", &json!({})).await.status, 204);
    crate::support::pause(std::time::Duration::from_secs(1)).await;
    for number in 0..30 {
        wire.event("a:b", &format!("after-{number}"), &json!({"who": "ann"})).await;
    }
    sink.receives(60, "/hook").await;
    assert_eq!(api.deliveries("status=suppressed").await.len(), 30);
}

#[tokio::test]
async fn what_is_muted_opens_no_window_for_others_and_is_counted_by_its_reason() {
    let (bugle, sink, wire, api) = fleet(&json!({"cooldownMs": 600_000})).await;
    prefers(&api, "ann", &json!({"preferences": [{"enabled": false}]})).await;
    wire.event("a:b", "1", &json!({"who": "ann"})).await;
    let muted = api.shows(1, "status=suppressed").await;
    assert_eq!(muted[0]["reason"], "muted");
    wire.event("a:b", "2", &json!({"who": "bob"})).await;
    assert_eq!(sink.receives(1, "/hook").await[0].json()["recipient"], "bob");
    wire.event("a:b", "3", &json!({"who": "bob"})).await;
    api.shows(1, "status=suppressed&recipient=bob").await;
    let counted = bugle.ask_all("/metrics").await;
    let router = counted.iter().find(|(name, ..)| name == "router").unwrap();
    let line = r#"bugle_outcomes_total{kind="webhook",state="suppressed",reason="muted"} 1"#;
    assert!(router.2.lines().any(|found| found == line), "{}", router.2);
}

#[tokio::test]
async fn an_evaluation_says_what_recipients_would_make_of_it() {
    let (_bugle, _sink, _wire, api) = fleet(&json!({})).await;
    prefers(&api, "ann", &json!({"preferences": [{"type": "a:b", "enabled": false}]})).await;
    let until = in_seconds(3_600);
    prefers(&api, "bob", &json!({"snoozedUntil": until})).await;
    let question = json!({"event": {"type": "a:b", "data": {"who": ["ann", "bob", "eve"]}}});
    let answer = api.post("/v1/rules/evaluate", &question).await.expect(200);
    let planned = answer["rules"][0]["deliveries"].as_array().unwrap();
    let told: Vec<_> = planned.iter().map(|one| (&one["would"], &one["reason"])).collect();
    let (send, muted) = (json!("send"), json!("muted"));
    assert_eq!(told, [(&json!("suppress"), &muted), (&send, &json!("snoozed")), (&send, &Value::Null)]);
    assert_eq!(planned[1]["heldUntil"], json!(until));
    assert!(planned[0]["note"].as_str().unwrap().contains("type a:b"), "{answer:#}");
    ensure(planned[2].get("heldUntil").is_none(), "nobody holds it").unwrap();
}

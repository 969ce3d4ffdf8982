//! Channels that are switched off for what came of their tries, and on again.

use serde_json::{Value, json};

use super::{CHANNELS, fleet, get, hook, make, send, test};
use crate::support::api::{Api, json as with_body, reply};
use crate::support::bugle::{Role, rule, webhook, with};
use crate::support::sink::Answer;
use crate::support::{LATER, SOON, ensure, eventually};

/// Waits until a channel says that it was switched off.
async fn switched_off(api: &Api, id: &str) -> Value {
    eventually(&format!("{id} is switched off"), LATER, async || {
        let channel = get(api, id).await;
        if channel["disabled"].is_object() {
            Ok(channel["disabled"].clone())
        } else {
            Err(channel.to_string())
        }
    })
    .await
}

#[tokio::test]
async fn a_webhook_that_discord_does_not_know_is_asked_no_more() {
    let (bugle, sink, api) = fleet(&json!({})).await;
    let path = "/api/v10/webhooks/1/t";
    let config = json!({ "url": "discord://1/t", "apiBase": sink.url("") });
    bugle
        .apply(&json!({
            "channels": [{ "id": "chat", "kind": "url", "config": config }],
            "rules": [rule("to-chat", "a:*", "chat")],
        }))
        .await;
    let unknown = json!({ "message": "Unknown Webhook", "code": 10015 });
    sink.script(path, [Answer::Refusal(404, unknown)]);
    let wire = bugle.wire().await;
    wire.event("a:b", "e-1", &json!({})).await;
    let disabled = switched_off(&api, "chat").await;
    assert_eq!(disabled["reason"], "gone", "{disabled}");
    assert!(disabled["why"].as_str().unwrap().contains("Discord does not know the webhook"), "{disabled}");
    let mut number = 1;
    eventually("what comes is suppressed", SOON, async || {
        number += 1;
        wire.event("a:b", &format!("e-{number}"), &json!({})).await;
        let held = api.shows(1, &format!("channel=chat&event=e-{number}")).await;
        ensure(held[0]["reason"] == "channel_disabled", format!("{held:?}"))
    })
    .await;
    let before = sink.requests(path).len();
    wire.event("a:b", "one-more", &json!({})).await;
    api.shows(1, "channel=chat&event=one-more").await;
    assert_eq!(sink.requests(path).len(), before);
}

#[tokio::test]
async fn a_receiver_that_wants_no_more_is_left_alone_and_people_are_told() {
    let (bugle, sink, api) = fleet(&json!({})).await;
    bugle
        .apply(&json!({
            "channels": [webhook("filed", &sink.url("/filed")), webhook("people", &sink.url("/people"))],
            "rules": [rule("to-filed", "a:*", "filed"), rule("told", "channel:*", "people")],
        }))
        .await;
    make(&api, "ops", &hook(&sink.url("/ops"))).await;
    test(&api, "ops").await.expect(200);
    for path in ["/filed", "/ops"] {
        sink.script(path, [Answer::Status(410)]);
    }
    let wire = bugle.wire().await;
    let mut number = 0;
    for id in ["filed", "ops"] {
        // The routers may hear of the test a moment later.
        eventually("a delivery fails", SOON, async || {
            number += 1;
            wire.event("a:b", &format!("e-{number}"), &json!({})).await;
            api.shows(1, &format!("channel={id}&event=e-{number}")).await;
            let failed = api.deliveries(&format!("channel={id}&status=failed")).await;
            ensure(!failed.is_empty(), "not yet")
        })
        .await;
        let disabled = switched_off(&api, id).await;
        assert_eq!(disabled["reason"], "gone", "{disabled}");
        assert!(disabled["why"].as_str().unwrap().contains("410"), "{disabled}");
    }
    let told = sink.receives(2, "/people").await;
    let mut data: Vec<Value> = told.iter().map(|request| request.json()["data"].clone()).collect();
    data.sort_by_key(|data| data["channel"].to_string());
    assert!(told.iter().all(|request| request.json()["type"] == "channel:disabled"));
    assert_eq!((&data[0]["channel"], &data[1]["channel"]), (&json!("filed"), &json!("ops")));
    assert_eq!((&data[0]["reason"], &data[0]["code"]), (&json!("gone"), &json!(410)));
    assert!(!format!("{data:?}").contains(&sink.port.to_string()), "{data:?}");

    let before = (sink.requests("/filed").len(), sink.requests("/ops").len());
    eventually("what comes is suppressed, with the cause", SOON, async || {
        number += 1;
        wire.event("a:b", &format!("e-{number}"), &json!({})).await;
        let held = api.shows(1, &format!("channel=ops&event=e-{number}")).await;
        ensure(held[0]["reason"] == "channel_disabled", format!("{held:?}"))
    })
    .await;
    let held = api.deliveries("channel=ops&status=suppressed").await;
    assert!(held[0]["detail"].as_str().unwrap().contains("410"), "{held:?}");
    assert_eq!((sink.requests("/filed").len(), sink.requests("/ops").len()), before);
    let metrics = metric(&bugle).await;
    assert!(metrics.contains("bugle_channels_disabled_total{cause=\"gone\"} 2"), "{metrics}");

    // Switched on again it gets what comes, also a file's, which says that it is on.
    for id in ["filed", "ops"] {
        let path = format!("/{id}");
        sink.script(&path, [Answer::Status(200)]);
        let switched =
            send(&api, "PATCH", &format!("{path}/enabled"), &json!({ "enabled": true })).await.expect(200);
        assert_eq!(switched, json!({ "id": id, "enabled": true }));
        assert_eq!(get(&api, id).await["disabled"], Value::Null);
        eventually("it gets what comes", SOON, async || {
            number += 1;
            wire.event("a:b", &format!("e-{number}"), &json!({})).await;
            let sent = api.shows(1, &format!("channel={id}&event=e-{number}")).await;
            ensure(sent[0]["status"] == "sent", format!("{sent:?}"))
        })
        .await;
    }
    send(&api, "PATCH", "/filed/enabled", &json!({ "enabled": false })).await.expect_problem(409);
}

#[tokio::test]
async fn another_address_of_its_connection_is_another_address_of_the_channel() {
    let (bugle, sink, api) = fleet(&json!({})).await;
    let shared = |path: &str| json!({ "kind": "webhook", "config": { "url": sink.url(path) } });
    let change = async |method: &str, body: &Value| {
        reply(with_body(api.request(method, "/v1/connections/hooks"), body)).await
    };
    change("PUT", &shared("/first")).await.expect(201);
    let on = |id: &str| json!({ "id": id, "kind": "webhook", "connection": "hooks", "retry": { "scheduleMs": [300] } });
    let filed = json!({ "channels": [on("filed")], "rules": [rule("to-filed", "f:*", "filed")] });
    bugle.apply_as("filed", &filed).await.ok();
    make(&api, "ops", &on("ops")).await;
    test(&api, "ops").await.expect(200);
    assert_eq!(get(&api, "ops").await["verificationStatus"], "verified");
    let renamed = change("PATCH", &json!({ "name": "Hooks" })).await.expect(200);
    assert_eq!(renamed["name"], "Hooks");
    assert_eq!(get(&api, "ops").await["verificationStatus"], "verified", "a name leads nowhere");
    sink.script("/first", [Answer::Status(410)]);
    let wire = bugle.wire().await;
    let mut number = 0;
    eventually("a delivery fails", SOON, async || {
        number += 1;
        wire.event("a:b", &format!("e-{number}"), &json!({})).await;
        api.shows(1, &format!("channel=ops&event=e-{number}")).await;
        ensure(!api.deliveries("channel=ops&status=failed").await.is_empty(), "not yet")
    })
    .await;
    assert_eq!(switched_off(&api, "ops").await["reason"], "gone");

    change("PATCH", &shared("/second")).await.expect(200);
    let moved = get(&api, "ops").await;
    assert_eq!(
        (&moved["disabled"], &moved["verificationStatus"]),
        (&Value::Null, &json!("pending")),
        "{moved}"
    );
    let pending = api.get(&format!("{CHANNELS}?verificationStatus=pending")).await.expect(200);
    assert_eq!(pending["channels"][0]["id"], "ops", "{pending}");
    let listed = bugle.cli(&["channels", "list"]).await.ok();
    assert!(listed.contains("bugle channels test ops"), "{listed}");
    let message = json!({ "channel": "ops", "title": "t", "body": "b" });
    api.post("/v1/notifications/send", &message).await.expect_problem(409);
    // What a file put there needs no test.
    assert_eq!(get(&api, "filed").await["verificationStatus"], "verified");
    wire.event("f:b", "f-1", &json!({})).await;
    sink.receives(1, "/second").await;
    test(&api, "ops").await.expect(200);
    assert_eq!(get(&api, "ops").await["verificationStatus"], "verified");
    eventually("it gets what comes", SOON, async || {
        number += 1;
        wire.event("a:b", &format!("e-{number}"), &json!({})).await;
        let sent = api.shows(1, &format!("channel=ops&event=e-{number}")).await;
        ensure(sent[0]["status"] == "sent", format!("{sent:?}"))
    })
    .await;
}

async fn metric(bugle: &crate::support::bugle::Bugle) -> String {
    let workers = bugle.take(Role::Worker);
    let mut text = String::new();
    for worker in &workers {
        text.push_str(&worker.admin("/metrics").await.1);
    }
    workers.into_iter().for_each(|worker| bugle.adopt(worker));
    text.lines().filter(|line| line.contains("channels_disabled")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_channel_on_which_nothing_works_for_too_long_is_switched_off_once_for_the_fleet() {
    let (bugle, sink, api) = fleet(&json!({})).await;
    sink.script("/broken", [Answer::Status(503)]);
    let quick = json!({ "retry": { "scheduleMs": vec![400; 50] }, "disableAfterMs": 2_500 });
    let broken = with(webhook("broken", &sink.url("/broken")), &quick);
    // It works every second time: whatever it bears, it is not switched off.
    sink.script("/shaky", [Answer::Status(503)]);
    let shaky = with(webhook("shaky", &sink.url("/shaky")), &quick);
    bugle
        .apply(&json!({
            "channels": [broken, shaky, webhook("people", &sink.url("/people"))],
            "rules": [rule("all", "a:*", "broken"), rule("shaky", "s:*", "shaky"), rule("told", "channel:disabled", "people")],
        }))
        .await;
    bugle.start_roles(&[Role::Worker]).await;
    let wire = bugle.wire().await;
    sink.script("/shaky", (0..200).map(|n| Answer::Status(if n % 2 == 0 { 503 } else { 200 })));
    for number in 0..4 {
        wire.event("a:b", &format!("e-{number}"), &json!({})).await;
    }
    let mut number = 0;
    let disabled = eventually("it is switched off", LATER, async || {
        number += 1;
        wire.event("s:b", &format!("s-{number}"), &json!({})).await;
        crate::support::pause(std::time::Duration::from_millis(100)).await;
        let channel = get(&api, "broken").await;
        if channel["disabled"].is_object() {
            Ok(channel["disabled"].clone())
        } else {
            Err(channel.to_string())
        }
    })
    .await;
    assert_eq!(disabled["reason"], "failing", "{disabled}");
    assert!(disabled["why"].as_str().unwrap().contains("answered 503"), "{disabled}");
    let told = sink.receives(1, "/people").await;
    assert_eq!(told[0].json()["data"]["channel"], "broken");
    // What waited for its next try ends as suppressed.
    api.shows_within(LATER, 4, "channel=broken&status=suppressed").await;
    api.shows_within(LATER, number, "channel=shaky&status=sent").await;
    assert_eq!(get(&api, "shaky").await["disabled"], Value::Null);
    assert_eq!(sink.requests("/people").len(), 1);
    assert!(metric(&bugle).await.contains("{cause=\"failing\"} 1"));
}

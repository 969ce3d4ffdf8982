//! Channels as documents: written on condition, shown without their secrets, removed when nobody needs them.

use serde_json::{Value, json};

use super::{CHANNELS, fleet, get, hook, make, send, test};
use crate::support::api::{json as with_body, reply, token};
use crate::support::bugle::{rule, webhook, with};
use crate::support::sink::Sink;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn fleet_documents() -> Value {
    json!({
        "channels": [webhook("filed", "https://filed.example/hunter2"),
                     { "id": "off", "kind": "console", "enabled": false }],
        "rules": [rule("to-filed", "x:*", "filed")],
    })
}

fn ids(page: &Value) -> Vec<&str> {
    page["channels"].as_array().unwrap().iter().map(|channel| channel["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_channel_lives_from_its_making_to_its_removal_and_its_secrets_are_never_read() {
    let (_bugle, sink, api) = fleet(&fleet_documents()).await;
    // Without an id it is called like its kind, and made again it is replaced.
    let secretive = json!({
        "kind": "webhook", "enabled": false,
        "config": { "url": sink.url("/hunter2"), "secrets": [SECRET], "headers": { "Authorization": "hunter2" } },
    });
    let made = send(&api, "POST", "", &secretive).await;
    let tag = made.header("etag");
    let made = made.expect(201);
    assert_eq!(
        (&made["id"], &made["meta"]["owner"], &made["meta"]["version"]),
        (&json!("webhook"), &json!("api"), &json!(1))
    );
    assert_eq!(
        made["config"],
        json!({ "url": "***", "secrets": ["***"], "headers": { "Authorization": "***" } })
    );
    // What was read may be sent back whole.
    let mut back = get(&api, "webhook").await;
    assert_eq!(back, made);
    back["timeoutMs"] = json!(4_000);
    back.as_object_mut().unwrap().remove("enabled");
    let again = send(&api, "POST", "", &back).await.expect(200);
    assert_eq!(
        (&again["meta"]["version"], &again["enabled"]),
        (&json!(2), &json!(false)),
        "it stays off: {again}"
    );
    let stale = with_body(api.request("PATCH", &format!("{CHANNELS}/webhook")), &json!({ "timeoutMs": 1 }));
    reply(stale.header("If-Match", &tag)).await.expect_problem(412);
    test(&api, "webhook").await.expect(200);
    let request = &sink.requests("/hunter2")[0];
    assert_eq!(request.headers["authorization"], "hunter2", "the mask did not replace the secret");
    assert!(request.headers.contains_key("webhook-signature"));
    let patched =
        send(&api, "PATCH", "/webhook", &json!({ "timeoutMs": null, "enabled": true })).await.expect(200);
    assert_eq!((&patched["timeoutMs"], &patched["enabled"]), (&Value::Null, &json!(true)));
    assert_eq!(patched["verificationStatus"], "verified", "{patched}");
    let reverted = send(&api, "POST", "/webhook/revert", &json!({ "version": 2 })).await.expect(200);
    assert_eq!((&reverted["timeoutMs"], &reverted["meta"]["version"]), (&json!(4_000), &json!(4)));
    assert_eq!(reverted["verificationStatus"], "verified", "its address came back with it");

    let page = api.get(&format!("{CHANNELS}?limit=2")).await.expect(200);
    let cursor = page["nextCursor"].as_str().unwrap();
    let rest = api.get(&format!("{CHANNELS}?cursor={cursor}")).await.expect(200);
    assert_eq!((ids(&page), ids(&rest)), (vec!["filed", "in_app"], vec!["off", "webhook"]));
    for (query, expected) in [
        ("kind=console", vec!["off"]),
        ("enabled=true", vec!["filed", "in_app"]),
        ("verificationStatus=verified", vec!["filed", "in_app", "off", "webhook"]),
        ("verificationStatus=pending", vec![]),
        ("owner=api", vec!["webhook"]),
        ("workspace=other", vec!["in_app"]),
    ] {
        assert_eq!(ids(&api.get(&format!("{CHANNELS}?{query}")).await.expect(200)), expected, "{query}");
    }
    for bad in ["kind=fax", "enabled=maybe", "verificationStatus=sure", "type=slack"] {
        api.get(&format!("{CHANNELS}?{bad}")).await.expect_problem(400);
    }
    api.delete(&format!("{CHANNELS}/webhook")).await.expect(204);
    api.get(&format!("{CHANNELS}/webhook")).await.expect_problem(404);
    api.delete(&format!("{CHANNELS}/webhook")).await.expect_problem(404);
    let versions = api.get(&format!("{CHANNELS}/webhook/versions")).await.expect(200);
    assert!(
        versions["versions"][0]["removed"] == true && !versions.to_string().contains("hunter2"),
        "{versions}"
    );
    // One of its name begins anew.
    let anew = send(&api, "POST", "", &secretive).await.expect(201);
    assert_eq!(anew["verificationStatus"], "pending", "{anew}");
}

#[tokio::test]
async fn what_a_file_owns_is_shown_and_tested_and_not_changed() {
    let (_bugle, _sink, api) = fleet(&fleet_documents()).await;
    let filed = get(&api, "filed").await;
    assert_eq!((&filed["config"]["url"], &filed["verificationStatus"]), (&json!("***"), &json!("verified")));
    send(&api, "PUT", "/filed", &hook("https://a.example/")).await.expect_problem(409);
    send(&api, "PATCH", "/filed", &json!({ "timeoutMs": 1 })).await.expect_problem(409);
    send(&api, "PATCH", "/off/enabled", &json!({ "enabled": true })).await.expect_problem(409);
    send(&api, "PATCH", "/off/enabled", &json!({ "enabled": "yes" })).await.expect_problem(400);
    send(&api, "PATCH", "/nowhere/enabled", &json!({ "enabled": true })).await.expect_problem(404);
    api.delete(&format!("{CHANNELS}/off")).await.expect_problem(409);
    let tested = test(&api, "off").await.expect(200);
    assert!(tested["note"].as_str().unwrap().contains("switched off"), "{tested}");
}

#[tokio::test]
async fn what_is_no_channel_is_refused_with_the_place_and_without_the_value() {
    let (_bugle, _sink, api) = fleet(&json!({})).await;
    for (body, pointer) in [
        (json!({ "config": {} }), "/kind"),
        (json!({ "kind": "fax" }), "/kind"),
        (json!({ "kind": "webhook", "config": { "url": "hunter2" } }), "/config/url"),
        (json!({ "kind": "webhook", "config": { "url": "***" } }), "/config/url"),
        (
            json!({ "kind": "webhook", "config": { "url": "https://a.example/", "secrets": ["whsec_hunter2+"] } }),
            "/config/secrets/0",
        ),
        (json!({ "kind": "webhook", "channelType": "slack" }), "/channelType"),
        (json!({ "kind": "console", "enabled": "auto" }), "/enabled"),
        (json!({ "kind": "console", "disableAfterMs": -1 }), "/disableAfterMs"),
        (json!({ "kind": "console", "id": "a b" }), "/id"),
        (
            json!({ "kind": "slack", "config": { "webhookUrl": "https://a.example/${BUGLE__NATS__URL:-x}" } }),
            "/config",
        ),
    ] {
        let problem = send(&api, "POST", "", &body).await.expect_problem(400);
        assert_eq!(problem["pointer"], pointer, "{body}: {problem}");
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
    }
}

#[tokio::test]
async fn a_stored_secret_does_not_follow_a_changed_address() {
    let (_bugle, sink, api) = fleet(&json!({})).await;
    let secretive = json!({
        "kind": "webhook", "config": { "url": sink.url("/ops"), "headers": { "Authorization": "hunter2" } },
    });
    send(&api, "PUT", "/ops", &secretive).await.expect(201);
    let evil = sink.url("/evil");
    let read = get(&api, "ops").await;
    let masked = json!({ "url": evil, "headers": { "Authorization": "***" } });
    for (method, body, place) in [
        ("PATCH", json!({ "config": { "url": evil } }), "/config/headers/Authorization"),
        ("PUT", with(read.clone(), &json!({ "config": masked })), "/config/headers/Authorization"),
        ("PATCH", json!({ "kind": "url" }), "/config/url"),
    ] {
        let problem = send(&api, method, "/ops", &body).await.expect_problem(400);
        assert_eq!(problem["pointer"], place, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("write the secret again") && !detail.contains("hunter2"), "{problem}");
    }
    assert_eq!(get(&api, "ops").await, read);
    let anew = json!({ "config": { "url": evil, "headers": { "Authorization": "another" } } });
    send(&api, "PATCH", "/ops", &anew).await.expect(200);
    test(&api, "ops").await.expect(200);
    assert_eq!(sink.requests("/evil")[0].headers["authorization"], "another");
}

#[tokio::test]
async fn a_channel_that_rules_name_is_removed_by_force_alone() {
    let (_bugle, sink, api) = fleet(&json!({})).await;
    make(&api, "ops", &hook(&sink.url("/ops"))).await;
    let problem = api.delete(&format!("{CHANNELS}/ops")).await.expect_problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("rules.default.to-ops"), "{problem}");
    get(&api, "ops").await;
    api.delete(&format!("{CHANNELS}/ops?force=true")).await.expect(204);
    api.get(&format!("{CHANNELS}/ops")).await.expect_problem(404);
}

#[tokio::test]
async fn operators_see_and_test_channels_and_administrators_change_them() {
    let (bugle, sink, admin) = fleet(&json!({})).await;
    let body = hook(&Sink::start().await.url("/"));
    send(&admin, "PUT", "/ops", &hook(&sink.url("/ops"))).await.expect(201);
    for (role, sees, changes) in [
        ("publisher", 403, 403),
        ("viewer", 403, 403),
        ("operator", 200, 403),
        ("agent", 403, 403),
        ("admin", 200, 200),
    ] {
        let more =
            if role == "agent" { json!({ "recipient": "bot-7", "workspace": "default" }) } else { json!({}) };
        let api = token(&bugle, role, &more).await;
        for path in ["", "/ops", "/ops/versions"] {
            assert_eq!(api.get(&format!("{CHANNELS}{path}")).await.status, sees, "{role} {path}");
        }
        assert_eq!(test(&api, "ops").await.status, sees, "{role}");
        assert_eq!(send(&api, "PATCH", "/ops", &json!({ "timeoutMs": 900 })).await.status, changes, "{role}");
        let switched = send(&api, "PATCH", "/ops/enabled", &json!({ "enabled": true })).await;
        assert_eq!(switched.status, changes, "{role}");
        if changes == 403 {
            send(&api, "POST", "", &body).await.expect_problem(403);
            send(&api, "PUT", "/new", &body).await.expect_problem(403);
            send(&api, "POST", "/ops/revert", &json!({ "version": 1 })).await.expect_problem(403);
            api.delete(&format!("{CHANNELS}/ops")).await.expect_problem(403);
        }
    }
    // A token of one workspace reaches no other, nor what the workers' environment holds.
    let bound = token(&bugle, "admin", &json!({ "workspace": "team" })).await;
    send(&bound, "PUT", "/own", &body).await.expect(201);
    assert_eq!(ids(&bound.get(CHANNELS).await.expect(200)), ["in_app", "own"]);
    send(&bound, "PUT", "/ops?workspace=default", &body).await.expect_problem(403);
    let sly = json!({ "kind": "webhook", "config": { "url": "https://a.example/", "headers": { "X": "${HOME}" } } });
    send(&bound, "PUT", "/sly", &sly).await.expect_problem(403);
    let whose = token(&bugle, "admin", &json!({ "workspace": "default", "recipient": "ann" })).await;
    whose.get(CHANNELS).await.expect_problem(403);
}

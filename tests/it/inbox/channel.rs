//! The channel `in_app`: in every workspace without a document, and like any other channel with one.

use serde_json::{Value, json};

use super::{fleet, holds, list, titles};
use crate::support::api::{Api, Reply, json as with_body, reply};
use crate::support::bugle::{rule, with};
use crate::support::database::Database;
use crate::support::wire::Wire;
use crate::support::{SOON, ensure, eventually, unique};

const CHANNEL: &str = "/v1/notification-channels/in_app";

async fn send(api: &Api, method: &str, path: &str, body: &Value) -> Reply {
    reply(with_body(api.request(method, &format!("{CHANNEL}{path}")), body)).await
}

#[tokio::test]
async fn it_is_shown_tested_and_sent_through_without_a_document() {
    let (bugle, api) = fleet(Database::sqlite()).await;
    let shown = api.get(CHANNEL).await.expect(200);
    assert_eq!(
        (&shown["kind"], &shown["enabled"], &shown["verificationStatus"]),
        (&json!("in_app"), &json!(true), &json!("verified"))
    );
    assert_eq!(
        (&shown["meta"]["builtIn"], &shown["meta"]["owner"]),
        (&json!(true), &json!("bugle")),
        "{shown:#}"
    );
    let tested = send(&api, "POST", "/test", &json!({ "recipient": "ann" })).await.expect(200);
    assert_eq!(tested["ok"], true);
    holds(&api, "ann", 1).await;
    let problem = send(&api, "POST", "/test", &json!({})).await.expect_problem(400);
    assert_eq!(problem["pointer"], "/recipient");
    let message = json!({ "channel": "in_app", "title": "Sent", "body": "b", "recipient": "ann" });
    let sent = api.post("/v1/notifications/send?wait=true", &message).await.expect(202);
    assert_eq!(sent["status"], "sent");
    assert_eq!(titles(&holds(&api, "ann", 2).await)[0], "Sent");
    let all = json!({ "channel": "in_app", "title": "All", "body": "b", "delayMs": 200 });
    api.post("/v1/notifications/send", &all).await.expect(202);
    assert_eq!(holds(&api, "eve", 1).await["notifications"][0]["recipient"], "*");
    let rows = bugle.cli(&["channels", "list", "--json"]).await.json_lines();
    assert_eq!((&rows[0]["id"], &rows[0]["owner"]), (&json!("in_app"), &json!("bugle")), "{rows:?}");
    let said = bugle.cli(&["channels", "test", "in_app", "--recipient", "bob"]).await.ok();
    assert!(said.contains("ok"), "{said}");
    holds(&api, "bob", 2).await;
}

#[tokio::test]
async fn rules_may_name_it_wherever_they_are_written() {
    let (bugle, api) = fleet(Database::sqlite()).await;
    api.post("/v1/rules", &rule("over-http", "a:*", "in_app")).await.expect(201);
    let said = bugle.apply_as("rules", &json!({ "rules": [rule("of-a-file", "b:*", "in_app")] })).await.ok();
    assert!(said.contains("of-a-file"), "{said}");
    let mistyped = bugle.apply_as("more", &json!({ "rules": [rule("r", "c:*", "in_ap")] })).await;
    assert!(mistyped.code != 0 && mistyped.stderr.contains("did you mean in_app?"), "{mistyped:?}");
    let problem = api.post("/v1/rules", &rule("r", "c:*", "inapp")).await.expect_problem(400);
    assert!(problem["detail"].as_str().unwrap().contains("did you mean in_app?"), "{problem}");
    let file = bugle.folder.join("rules.json").display().to_string();
    bugle.set("DOCUMENTS", &file);
    let checked = bugle.cli(&["check-config"]).await.ok();
    assert!(!checked.contains("note:"), "{checked}");
    let asked = json!({ "event": { "type": "a:b", "data": {} } });
    let evaluated = api.post("/v1/rules/evaluate", &asked).await.expect(200);
    assert_eq!(evaluated["rules"][0]["deliveries"][0]["would"], "send", "{evaluated:#}");
}

#[tokio::test]
async fn it_is_changed_by_a_document_of_its_name_and_kind() {
    let (bugle, api) = fleet(Database::sqlite()).await;
    for (method, path, body) in [
        ("PATCH", "", json!({ "timeoutMs": 900 })),
        ("PATCH", "/enabled", json!({ "enabled": false })),
        ("DELETE", "", json!({})),
    ] {
        let problem = send(&api, method, path, &body).await.expect_problem(409);
        assert!(problem["detail"].as_str().unwrap().contains("built in"), "{problem}");
    }
    let said = bugle.cli(&["channels", "disable", "in_app"]).await;
    assert!(said.code != 0 && said.stderr.contains("built in"), "{said:?}");
    let other = json!({ "kind": "console" });
    assert_eq!(send(&api, "PUT", "", &other).await.expect_problem(400)["pointer"], "/kind");
    let refused =
        bugle.apply_as("other", &json!({ "channels": [with(other, &json!({ "id": "in_app" }))] })).await;
    assert!(refused.code != 0 && refused.stderr.contains("/channels/0/kind"), "{refused:?}");

    // What was read may be sent back whole, and needs no test.
    let read = api.get(CHANNEL).await.expect(200);
    let made = send(&api, "PUT", "", &read).await.expect(201);
    assert_eq!((&made["meta"]["owner"], &made["verificationStatus"]), (&json!("api"), &json!("verified")));
    let ids = |page: &Value| {
        page["channels"].as_array().unwrap().iter().filter(|row| row["id"] == "in_app").count()
    };
    assert_eq!(ids(&api.get("/v1/notification-channels").await.expect(200)), 1);
    api.post("/v1/rules", &rule("r", "a:*", "in_app")).await.expect(201);
    let wire = bugle.wire().await;
    until(&wire, &api, "status=sent").await;
    send(&api, "PATCH", "/enabled", &json!({ "enabled": false })).await.expect(200);
    let held = until(&wire, &api, "status=suppressed").await;
    assert_eq!(held["reason"], "channel_disabled", "{held:#}");
    // A rule names it, and it is there without the document too.
    let before = list(&api, "recipient=ann").await["total"].as_u64().unwrap();
    send(&api, "DELETE", "", &json!({})).await.expect(204);
    eventually("inboxes fill again", SOON, async || {
        wire.event("a:b", &unique("e"), &json!({})).await;
        let now = list(&api, "recipient=ann").await["total"].as_u64().unwrap();
        ensure(now > before, now.to_string())
    })
    .await;
}

/// Events until one of them ends so: a change is in force within a second.
async fn until(wire: &Wire, api: &Api, query: &str) -> Value {
    eventually(query, SOON, async || {
        wire.event("a:b", &unique("e"), &json!({})).await;
        api.deliveries(query).await.into_iter().next().ok_or_else(|| "not yet".to_owned())
    })
    .await
}

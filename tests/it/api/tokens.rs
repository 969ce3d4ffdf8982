//! Who may do what: a token, a role, a workspace, a recipient.

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Role, everything_to, rule, webhook};
use crate::support::database::Database;
use crate::support::sink::Sink;
use crate::support::{SOON, ensure, eventually};

async fn installation() -> (Bugle, Sink) {
    let (bugle, sink) = (Bugle::on(NatsServer::shared().await, Database::sqlite()), Sink::start().await);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    (bugle, sink)
}

/// Makes a token and waits until the API knows it.
async fn token(bugle: &Bugle, wanted: &Value) -> (String, Api) {
    let made = bugle.api().post("/v1/tokens", wanted).await.expect(201);
    let api = bugle.api_as(made["token"].as_str().unwrap());
    eventually("a new token is known", SOON, async || {
        let status = api.get("/v1/deliveries").await.status;
        ensure(status != 401, "401")
    })
    .await;
    (made["id"].as_str().unwrap().to_owned(), api)
}

#[tokio::test]
async fn a_token_bound_to_a_recipient_is_bound_in_all_it_does() {
    let (bugle, _sink) = installation().await;
    let bound =
        |role: &str| json!({ "name": role, "role": role, "workspace": "default", "recipient": "ann" });
    let send =
        |recipient: &str| json!({ "channel": "hook", "title": "t", "body": "b", "recipient": recipient });
    let (_, operator) = token(&bugle, &bound("operator")).await;
    operator.post("/v1/notifications/send", &send("bob")).await.expect_problem(403);
    let own = operator.post("/v1/notifications/send", &send("ann")).await.expect(202);
    operator.get(&format!("/v1/deliveries/{}", own["id"].as_str().unwrap())).await.expect(200);
    let (_, admin) = token(&bugle, &bound("admin")).await;
    admin.get("/v1/tokens").await.expect_problem(403);
    admin.post("/v1/tokens", &json!({ "name": "x", "role": "admin" })).await.expect_problem(403);
}

#[tokio::test]
async fn each_role_may_do_what_it_is_for_and_nothing_else() {
    let (bugle, _sink) = installation().await;
    let event = json!({ "type": "a:b", "data": {} });
    let send = json!({ "channel": "hook", "title": "t", "body": "b" });
    // role, publishes, reads, sends, makes tokens
    for (role, publishes, reads, sends, makes) in [
        ("publisher", true, false, false, false),
        ("viewer", false, true, false, false),
        ("operator", true, true, true, false),
        ("agent", true, true, false, false),
        ("admin", true, true, true, true),
    ] {
        let recipient = if role == "agent" { json!("agent-7") } else { Value::Null };
        let mut wanted = json!({ "name": role, "role": role, "workspace": "default" });
        if !recipient.is_null() {
            wanted["recipient"] = recipient;
        }
        let (_, api) = token(&bugle, &wanted).await;
        let allowed = |may: bool, status: u16, what: &str| {
            assert_eq!(may, status != 403, "{role} {what}: {status}");
            assert_ne!(status, 401, "{role} {what}");
        };
        allowed(publishes, api.post("/v1/events", &event).await.status, "publishes");
        allowed(reads, api.get("/v1/deliveries/stats").await.status, "reads");
        allowed(sends, api.post("/v1/notifications/send", &send).await.status, "sends");
        let name = json!({ "name": "x", "role": "viewer", "workspace": "default" });
        allowed(makes, api.post("/v1/tokens", &name).await.status, "makes tokens");
        allowed(makes, api.get("/v1/tokens").await.status, "lists tokens");
    }
}

#[tokio::test]
async fn without_a_token_or_with_a_wrong_one_nothing_is_told() {
    let (bugle, _sink) = installation().await;
    for api in [bugle.api_as(""), bugle.api_as("not-a-token-of-this-installation")] {
        for path in ["/v1/deliveries", "/v1/deliveries/stats", "/v1/tokens", "/v1/deliveries/stream"] {
            let refused = api.get(path).await;
            assert!(refused.headers.contains_key("www-authenticate"), "{path}");
            refused.expect_problem(401);
        }
        api.post("/v1/events", &json!({ "type": "a:b" })).await.expect_problem(401);
    }
}

#[tokio::test]
async fn a_token_is_shown_once_and_a_revoked_one_is_refused_everywhere_within_a_second() {
    let (bugle, _sink) = installation().await;
    let wanted = json!({ "name": "dashboard", "role": "viewer", "workspace": "default" });
    let (id, viewer) = token(&bugle, &wanted).await;
    let listed = bugle.api().get("/v1/tokens").await.expect(200);
    assert!(listed.to_string().contains(&id) && listed.to_string().contains("dashboard"), "{listed:#}");
    assert!(!listed.to_string().contains(&viewer.token), "the secret is shown again");
    let revoked = bugle.api().delete(&format!("/v1/tokens/{id}")).await;
    assert!([200, 204].contains(&revoked.status), "{revoked:?}");
    eventually("it is refused", SOON, async || {
        let status = viewer.get("/v1/deliveries").await.status;
        ensure(status == 401, status.to_string())
    })
    .await;
    bugle.api().delete(&format!("/v1/tokens/{id}")).await.expect_problem(404);
}

#[tokio::test]
async fn a_token_outlives_the_api_and_serves_every_instance() {
    let (bugle, _sink) = installation().await;
    let (_, viewer) = token(&bugle, &json!({ "name": "v", "role": "viewer", "workspace": "default" })).await;
    bugle.kill_9(Role::Api);
    bugle.start_roles(&[Role::Api]).await;
    assert_eq!(bugle.api_as(&viewer.token).get("/v1/deliveries").await.status, 200);
}

#[tokio::test]
async fn a_token_of_a_recipient_sees_that_recipients_deliveries_only() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let to_people = json!({ "recipients": ["ann", "bob"] });
    let people = crate::support::bugle::with(rule("people", "*", "hook"), &to_people);
    bugle.start_with(&json!({ "channels": [webhook("hook", &sink.url("/hook"))], "rules": [people] })).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    let all = bugle.api().shows(2, "status=sent").await;
    let wanted = json!({ "name": "ann", "role": "viewer", "workspace": "default", "recipient": "ann" });
    let (_, ann) = token(&bugle, &wanted).await;
    let seen = ann.deliveries("").await;
    assert_eq!(seen.len(), 1, "{seen:#?}");
    assert_eq!(seen[0]["recipient"], "ann");
    let of_bob = all.iter().find(|delivery| delivery["recipient"] == "bob").unwrap();
    ann.get(&format!("/v1/deliveries/{}", of_bob["id"].as_str().unwrap())).await.expect_problem(404);
    ann.get("/v1/deliveries?recipient=bob").await.expect_problem(403);
    assert_eq!(ann.get("/v1/deliveries/stats").await.expect(200)["total"], 1);
    ann.get("/v1/dead-letters").await.expect_problem(403);
}

#[tokio::test]
async fn a_token_of_a_workspace_sees_and_does_nothing_elsewhere() {
    let (bugle, sink) = installation().await;
    let elsewhere =
        crate::support::bugle::with(everything_to(&sink.url("/red")), &json!({ "workspace": "red" }));
    bugle.apply_as("red", &elsewhere).await.ok();
    let (_, red) = token(&bugle, &json!({ "name": "red", "role": "admin", "workspace": "red" })).await;
    let event = json!({ "type": "a:b", "data": { "from": "red" } });
    eventually("red publishes into red", SOON, async || {
        red.post("/v1/events", &event).await;
        ensure(!sink.requests("/red").is_empty(), "nothing arrives")
    })
    .await;
    bugle.wire().await.event("a:b", "of-default", &json!({})).await;
    sink.receives(1, "/hook").await;
    let of_default = bugle.api().shows(1, "workspace=default&status=sent").await;
    let path = format!("/v1/deliveries/{}", of_default[0]["id"].as_str().unwrap());
    red.get(&path).await.expect_problem(404);
    let seen = red.shows(1, "").await;
    assert!(seen.iter().all(|delivery| delivery["event"] != "of-default"), "{seen:#?}");
    let refused = red.get("/v1/deliveries?workspace=default").await;
    assert!([403, 404].contains(&refused.status), "{refused:?}");
    red.post("/v1/tokens", &json!({ "name": "up", "role": "admin", "workspace": "default" }))
        .await
        .expect_problem(403);
    let heir = red.post("/v1/tokens", &json!({ "name": "heir", "role": "viewer" })).await.expect(201);
    let heir = bugle.api_as(heir["token"].as_str().unwrap());
    heir.get(&path).await.expect_problem(404);
}

//! Who may change connections, and that what they hold goes nowhere else.

use serde_json::json;

use super::{TOKEN, bot, fleet, patch, put};
use crate::support::api::token;
use crate::support::sink::Sink;

#[tokio::test]
async fn administrators_change_connections_and_nobody_carries_off_what_a_worker_knows() {
    let sink = Sink::start().await;
    let bugle = fleet(&sink).await;
    let admin = bugle.api();
    put(&admin, "/v1/connections/bot", &bot(&sink, TOKEN)).await.expect(201);
    for (role, sees, checks, changes) in [
        ("publisher", 403, 403, 403),
        ("viewer", 200, 403, 403),
        ("operator", 200, 200, 403),
        ("admin", 200, 200, 200),
    ] {
        let api = token(&bugle, role, &json!({})).await;
        assert_eq!(api.get("/v1/connections/bot").await.status, sees, "{role}");
        assert_eq!(
            patch(&api, "/v1/connections/bot", &json!({ "name": role })).await.status,
            changes,
            "{role}"
        );
        let checked = api.post("/v1/connections/bot/check", &json!({})).await.status;
        assert_eq!(checked == 403, checks == 403, "{role}: {checked}");
        if changes == 403 {
            put(&api, "/v1/connections/mine", &bot(&sink, "${HOME}")).await.expect_problem(403);
            api.delete("/v1/connections/bot").await.expect_problem(403);
        }
    }
    let settings = bot(&sink, "${BUGLE__SECRETS__KEY}");
    let refused = put(&admin, "/v1/connections/bot", &settings).await.expect_problem(400);
    assert_eq!(refused["pointer"], "/config", "{refused}");
    let team = token(&bugle, "admin", &json!({ "workspace": "team" })).await;
    put(&team, "/v1/connections/bot", &bot(&sink, "${HOME}")).await.expect_problem(403);
    put(&team, "/v1/connections/bot", &bot(&sink, TOKEN)).await.expect(201);
}

#[tokio::test]
async fn what_is_stored_goes_to_no_other_address_through_a_connection_or_a_channel_on_it() {
    let sink = Sink::start().await;
    let bugle = fleet(&sink).await;
    let admin = bugle.api();
    let team = token(&bugle, "admin", &json!({ "workspace": "team" })).await;
    let without = json!({ "kind": "telegram", "config": { "botToken": TOKEN } });
    for api in [&admin, &team] {
        put(api, "/v1/connections/bot", &without).await.expect(201);
        let evil = json!({ "config": { "apiBase": sink.url("") } });
        let refused = patch(api, "/v1/connections/bot", &evil).await.expect_problem(400);
        assert_eq!(refused["pointer"], "/config/botToken", "{refused}");
        assert!(refused["detail"].as_str().unwrap().contains("`apiBase` is another one"), "{refused}");
    }
    // A channel leads the token of its connection nowhere, unless its writer may name any variable.
    let channels = "/v1/notification-channels";
    let sly = json!({ "kind": "telegram", "connection": "bot", "config": { "chatId": 1, "apiBase": sink.url("") } });
    let refused = put(&team, &format!("{channels}/sly"), &sly).await.expect_problem(400);
    assert_eq!(refused["pointer"], "/config/apiBase", "{refused}");
    put(&admin, &format!("{channels}/sly"), &sly).await.expect(201);
    let good = json!({ "kind": "telegram", "connection": "bot", "config": { "chatId": 1 } });
    put(&team, &format!("{channels}/good"), &good).await.expect(201);
    let moved = json!({ "config": { "apiBase": sink.url("") } });
    patch(&team, &format!("{channels}/good"), &moved).await.expect_problem(400);
    // Nor does a connection lead the token of a channel on it.
    let empty = json!({ "kind": "telegram", "config": {} });
    put(&team, "/v1/connections/empty", &empty).await.expect(201);
    let own =
        json!({ "kind": "telegram", "connection": "empty", "config": { "chatId": 1, "botToken": TOKEN } });
    put(&team, &format!("{channels}/own"), &own).await.expect(201);
    let refused = patch(&team, "/v1/connections/empty", &moved).await.expect_problem(400);
    assert_eq!(refused["pointer"], "/config/apiBase", "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("the channel own"), "{refused}");
    let elsewhere =
        patch(&team, &format!("{channels}/own"), &json!({ "connection": null })).await.expect_problem(400);
    assert_eq!(elsewhere["pointer"], "/config/botToken", "{elsewhere}");
}

//! Connections: accounts that channels share, checked by the fleet, shown with their health, told when they sicken.

mod custody;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::api::{Api, Reply, json as with_body, reply};
use crate::support::bugle::{Bugle, Role, rule, webhook, with};
use crate::support::sink::{Answer, Sink};
use crate::support::{LATER, SOON, ensure, eventually};

const TOKEN: &str = "8675309:the-bots-token";

fn bot(sink: &Sink, token: &str) -> Value {
    json!({ "id": "bot", "kind": "telegram", "name": "The bot", "config": { "botToken": token, "apiBase": sink.url("") } })
}

fn chat(id: &str, chat_id: i64) -> Value {
    json!({ "id": id, "kind": "telegram", "connection": "bot", "config": { "chatId": chat_id },
            "retry": { "scheduleMs": [300] } })
}

fn known() -> Answer {
    Answer::Json(
        json!({ "ok": true, "result": { "id": 1, "is_bot": true, "first_name": "B", "message_id": 7 } }),
    )
}

fn unauthorized() -> Answer {
    Answer::Json(json!({ "ok": false, "error_code": 401, "description": "Unauthorized" }))
}

async fn put(api: &Api, path: &str, body: &Value) -> Reply {
    reply(with_body(api.request("PUT", path), body)).await
}

async fn patch(api: &Api, path: &str, body: &Value) -> Reply {
    reply(with_body(api.request("PATCH", path), body)).await
}

async fn fleet(sink: &Sink) -> Bugle {
    let bugle = Bugle::new().await;
    bugle.set("WORKER__CONNECTION_CHECK_SECONDS", "1");
    bugle
        .start_with(&json!({
            "channels": [webhook("ops", &sink.url("/ops"))],
            "rules": [{ "id": "own", "events": ["connection_issue", "connection:*", "channel:*"], "channels": ["ops"] }],
        }))
        .await;
    bugle
}

fn said(sink: &Sink, event_type: &str) -> Vec<Value> {
    let bodies = sink.requests("/ops").into_iter().map(|request| request.json());
    bodies.filter(|body| body["type"] == event_type).collect()
}

#[tokio::test]
async fn channels_share_an_account_and_follow_its_changes() {
    let sink = Sink::start().await;
    let (old, new) = (format!("/bot{TOKEN}/sendMessage"), "/bot1:another-token/sendMessage");
    for path in [old.as_str(), new, &format!("/bot{TOKEN}/getMe"), "/bot1:another-token/getMe"] {
        sink.script(path, [known()]);
    }
    let bugle = fleet(&sink).await;
    let api = bugle.api();
    put(&api, "/v1/connections/bot", &bot(&sink, TOKEN)).await.expect(201);
    let documents = json!({
        "channels": [chat("one", 1), chat("two", 2)],
        "rules": [{ "id": "all", "events": ["a:*"], "channels": ["one", "two"] }],
    });
    bugle.apply_as("chats", &documents).await.ok();
    let chats = |requests: Vec<crate::support::sink::Request>| {
        let mut chats: Vec<i64> =
            requests.iter().map(|request| request.json()["chat_id"].as_i64().unwrap()).collect();
        chats.sort_unstable();
        chats
    };
    let mut number = 0;
    eventually("an event goes to both", SOON, async || {
        number += 1;
        bugle.wire().await.event("a:b", &format!("first-{number}"), &json!({})).await;
        let found = chats(sink.requests(&old));
        ensure(found.contains(&1) && found.contains(&2), format!("{found:?}"))
    })
    .await;

    // Shown without its secret, and sent back whole with another name it stays what it is.
    let shown = api.get("/v1/connections/bot").await.expect(200);
    assert_eq!((&shown["config"]["botToken"], &shown["name"]), (&json!("***"), &json!("The bot")));
    let mut renamed = shown;
    renamed["name"] = json!("Another name");
    assert_eq!(put(&api, "/v1/connections/bot", &renamed).await.expect(200)["meta"]["version"], 2);
    let before = sink.requests(&old).len();
    bugle.wire().await.event("a:b", "e-2", &json!({})).await;
    sink.receives(before + 2, &old).await;

    let patch = json!({ "config": { "botToken": "1:another-token" } });
    reply(with_body(api.request("PATCH", "/v1/connections/bot"), &patch)).await.expect(200);
    eventually("the new token is used", SOON, async || {
        bugle.wire().await.event("a:b", &format!("e-{}", sink.requests(&old).len() + 10), &json!({})).await;
        ensure(!sink.requests(new).is_empty(), "not yet")
    })
    .await;
    let off = json!({ "enabled": false });
    reply(with_body(api.request("PATCH", "/v1/connections/bot"), &off)).await.expect(200);
    eventually("a connection that is off sends nothing", SOON, async || {
        bugle
            .wire()
            .await
            .event("a:b", &format!("off-{}", api.deliveries("status=suppressed").await.len()), &json!({}))
            .await;
        let found = api.deliveries("status=suppressed").await;
        ensure(found.iter().any(|found| found["reason"] == "channel_disabled"), format!("{found:?}"))
    })
    .await;
}

#[tokio::test]
async fn what_does_not_go_together_is_refused_with_its_place() {
    let sink = Sink::start().await;
    let bugle = fleet(&sink).await;
    let api = bugle.api();
    let lonely = json!({ "channels": [chat("one", 1)] });
    let said = bugle.apply_as("chats", &lonely).await;
    assert!(
        said.code != 0 && said.stderr.contains("/channels/0/connection: there is no connection bot"),
        "{said:?}"
    );
    for (body, pointer) in [
        (json!({ "kind": "telegram", "config": { "bottoken": "x" } }), "/config/bottoken"),
        (json!({ "kind": "telegram", "config": { "botToken": "***" } }), "/config/botToken"),
        (json!({ "kind": "pigeon" }), "/kind"),
        (json!({ "kind": "telegram", "colour": 1 }), "/colour"),
    ] {
        let refused = put(&api, "/v1/connections/bot", &body).await.expect_problem(400);
        assert_eq!(refused["pointer"], pointer, "{refused}");
    }
    api.get("/v1/connections/bot").await.expect_problem(404);
    put(&api, "/v1/connections/bot", &bot(&sink, TOKEN)).await.expect(201);
    let mut both = lonely.clone();
    both["channels"][0]["config"]["botToken"] = json!("hunter2");
    let said = bugle.apply_as("chats", &both).await;
    assert!(
        said.stderr.contains("/channels/0/config/botToken") && !said.stderr.contains("hunter2"),
        "{said:?}"
    );
    bugle.apply_as("chats", &lonely).await.ok();

    let refused = api.delete("/v1/connections/bot").await.expect_problem(409);
    assert!(
        refused["detail"].as_str().unwrap().contains("channels are on the connection bot: one"),
        "{refused}"
    );
    let other_kind = json!({ "kind": "slack", "config": {} });
    let refused = put(&api, "/v1/connections/bot", &other_kind).await.expect_problem(400);
    assert!(
        refused["detail"].as_str().unwrap().contains("the channel one on it could not use it"),
        "{refused}"
    );
    let listed = api.get("/v1/connections").await.expect(200);
    assert_eq!((&listed["connections"][0]["id"], &listed["nextCursor"]), (&json!("bot"), &Value::Null));
    bugle.apply_as("chats", &json!({ "channels": [webhook("w", &sink.url("/w"))] })).await;
    let file = bugle.folder.write("chats.json", "{}").display().to_string();
    bugle.cli(&["apply", "--force", "-f", &file]).await.ok();
    eventually("without channels it may go", SOON, async || {
        let status = api.delete("/v1/connections/bot").await.status;
        ensure(status == 204, status.to_string())
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_sickens_is_told_once_and_again() {
    let sink = Sink::start().await;
    let path = format!("/bot{TOKEN}/getMe");
    sink.script(&path, [known()]);
    let bugle = fleet(&sink).await;
    let second = { bugle.start_roles(&[Role::Worker]) };
    second.await;
    let api = bugle.api();
    put(&api, "/v1/connections/bot", &bot(&sink, TOKEN)).await.expect(201);
    let off = with(chat("off", 3), &json!({ "enabled": false }));
    bugle.apply_as("chats", &json!({ "channels": [chat("one", 1), chat("two", 2), off] })).await.ok();
    let stands = async |state: &str| {
        eventually(&format!("the connection is {state}"), LATER, async || {
            let health = api.get("/v1/connections/bot").await.expect(200)["health"].clone();
            if health["state"] == state { Ok(health) } else { Err(health.to_string()) }
        })
        .await
    };
    let well = stands("healthy").await;
    assert!(well["since"].is_string() && well.get("reason").is_none(), "{well}");

    sink.script(&path, [unauthorized()]);
    let sick = stands("unhealthy").await;
    assert_eq!(sick["reason"], "unauthorized", "{sick}");
    eventually("the illness is told", LATER, async || {
        let (issues, channels) = (said(&sink, "connection_issue"), said(&sink, "channel:unhealthy"));
        ensure(issues.len() == 1 && channels.len() == 2, format!("{issues:?} {channels:?}"))
    })
    .await;
    let issue = &said(&sink, "connection_issue")[0];
    let data = &issue["data"];
    assert_eq!((&data["connection"], &data["kind"]), (&json!("bot"), &json!("telegram")), "{issue}");
    assert_eq!((&data["channels"], &data["reason"]), (&json!(["one", "two"]), &json!("unauthorized")));
    assert_eq!(issue["severity"], "critical");
    // Two workers go on asking; nothing new is said.
    let asked = sink.requests(&path).len();
    sink.receives_within(LATER, asked + 3, &path).await;
    assert_eq!(said(&sink, "connection_issue").len(), 1);

    sink.script(&path, [known()]);
    stands("healthy").await;
    eventually("the recovery is told", LATER, async || {
        let (well, channels) = (said(&sink, "connection:recovered"), said(&sink, "channel:recovered"));
        ensure(well.len() == 1 && channels.len() == 2, format!("{well:?} {channels:?}"))
    })
    .await;
    let everything = format!("{:?}", sink.requests("/ops"));
    assert!(!everything.contains(TOKEN), "{everything}");
}

#[tokio::test]
async fn what_could_not_be_told_of_a_connection_is_told_when_it_can_be() {
    let sink = Sink::start().await;
    let path = format!("/bot{TOKEN}/getMe");
    sink.script(&path, [unauthorized()]);
    let bugle = fleet(&sink).await;
    let (api, wire) = (bugle.api(), bugle.wire().await);
    bugle
        .apply_as("chats", &json!({ "connections": [bot(&sink, TOKEN)], "channels": [chat("one", 1)] }))
        .await
        .ok();
    wire.refuses("EVENTS", true).await;
    sink.receives_within(LATER, sink.requests(&path).len() + 3, &path).await;
    wire.refuses("EVENTS", false).await;
    eventually("the illness is told", LATER, async || {
        let (issues, channels) = (said(&sink, "connection_issue"), said(&sink, "channel:unhealthy"));
        ensure(issues.len() == 1 && channels.len() == 1, format!("{issues:?} {channels:?}"))
    })
    .await;
    assert_eq!(api.get("/v1/connections/bot").await.expect(200)["health"]["state"], "unhealthy");
}

#[tokio::test]
async fn a_provider_that_hangs_holds_no_other_question_up() {
    let sink = Sink::start().await;
    sink.script("/bot1:slow/getMe", [Answer::Hold]);
    sink.script(&format!("/bot{TOKEN}/getMe"), [known()]);
    let bugle = fleet(&sink).await;
    let api = bugle.api();
    let slow = with(bot(&sink, "1:slow"), &json!({ "id": "a-slow-one" }));
    bugle.apply_as("bots", &json!({ "connections": [slow, bot(&sink, TOKEN)] })).await.ok();
    // In turn, and when somebody asks.
    eventually("the other one is known to be healthy", Duration::from_secs(6), async || {
        let health = api.get("/v1/connections/bot").await.expect(200)["health"].clone();
        ensure(health["state"] == "healthy", health.to_string())
    })
    .await;
    let nothing = json!({});
    let asked = async { api.post("/v1/connections/a-slow-one/check", &nothing).await };
    let other = async {
        sink.receives(2, "/bot1:slow/getMe").await;
        let began = Instant::now();
        api.post("/v1/connections/bot/check", &nothing).await.expect(200);
        began.elapsed()
    };
    let (_, took) = tokio::join!(asked, other);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_check_that_somebody_asks_for_is_made_by_a_worker_at_once() {
    let sink = Sink::start().await;
    sink.script(&format!("/bot{TOKEN}/getMe"), [unauthorized()]);
    let bugle = Bugle::new().await;
    bugle.start_with(&json!({ "rules": [rule("none", "x:y", "ops")], "channels": [webhook("ops", &sink.url("/ops"))] })).await;
    let api = bugle.api();
    api.post("/v1/connections/bot/check", &json!({})).await.expect_problem(404);
    put(&api, "/v1/connections/bot", &bot(&sink, TOKEN)).await.expect(201);
    put(&api, "/v1/connections/hooks", &json!({ "kind": "webhook" })).await.expect(201);
    let found = eventually("a worker knows the connection", SOON, async || {
        let reply = api.post("/v1/connections/bot/check", &json!({})).await;
        if reply.status == 200 { Ok(reply.body) } else { Err(format!("{reply:?}")) }
    })
    .await;
    assert_eq!((&found["state"], &found["reason"]), (&json!("unhealthy"), &json!("unauthorized")), "{found}");
    let nothing = eventually("a worker knows the other one", SOON, async || {
        let reply = api.post("/v1/connections/hooks/check", &json!({})).await;
        if reply.status == 200 { Ok(reply.body) } else { Err(format!("{reply:?}")) }
    })
    .await;
    assert!(
        nothing["state"] == "unknown" && nothing["detail"].as_str().unwrap().contains("nothing to ask"),
        "{nothing}"
    );
    bugle.kill_9(Role::Worker);
    eventually("no worker runs", LATER, async || {
        let reply = api.post("/v1/connections/bot/check", &json!({})).await;
        ensure(reply.status == 503, format!("{reply:?}"))
    })
    .await;
}

#[tokio::test]
async fn while_an_account_is_sick_its_channels_can_be_mended_and_none_comes_to_it() {
    let sink = Sink::start().await;
    let asked = format!("/bot{TOKEN}/getMe");
    sink.script(&asked, [known()]);
    let bugle = Bugle::new().await;
    bugle.start_with(&json!({ "channels": [webhook("ops", &sink.url("/ops"))] })).await;
    let api = bugle.api();
    let channel = |id: &str| format!("/v1/notification-channels/{id}");
    put(&api, "/v1/connections/bot", &bot(&sink, TOKEN)).await.expect(201);
    let on =
        |connection: &str| json!({ "kind": "telegram", "connection": connection, "config": { "chatId": 1 } });
    put(&api, &channel("chat"), &on("bot")).await.expect(201);
    sink.script(&asked, [unauthorized()]);
    let health = async |state: &str| {
        eventually(&format!("the connection is {state}"), LATER, async || {
            let health = api.get("/v1/connections/bot").await.expect(200)["health"].clone();
            ensure(health["state"] == state, health.to_string())
        })
        .await;
    };
    eventually("a worker hears that it is sick", SOON, async || {
        let reply = api.post("/v1/connections/bot/check", &json!({})).await;
        ensure(reply.body["state"] == "unhealthy", format!("{reply:?}"))
    })
    .await;
    let refused = put(&api, &channel("new"), &on("bot")).await.expect_problem(409);
    assert!(refused["detail"].as_str().unwrap().contains("the connection bot is not healthy"), "{refused}");
    let own = json!({ "kind": "telegram", "config": { "chatId": 1, "botToken": "1:own" } });
    put(&api, &channel("mover"), &own).await.expect(201);
    put(&api, &channel("mover"), &on("bot")).await.expect_problem(409);
    for change in [json!({ "fallback": ["ops"] }), json!({ "enabled": false }), json!({ "timeoutMs": 900 })] {
        patch(&api, &channel("chat"), &change).await.expect(200);
    }

    // Another token is another account: nothing is known of it, and somebody asks long before the five minutes are over.
    sink.script("/bot1:another-token/getMe", [known()]);
    let anew = json!({ "config": { "botToken": "1:another-token" } });
    let written = patch(&api, "/v1/connections/bot", &anew).await.expect(200);
    assert_eq!(written["health"]["state"], "unknown", "{written}");
    put(&api, &channel("new"), &on("bot")).await.expect(201);
    health("healthy").await;
    let listed = api.get("/v1/connections").await.expect(200);
    assert_eq!(listed["connections"][0]["health"]["state"], "healthy", "{listed}");
}

//! Tests of channels: a real message, and what its end says.

use serde_json::{Value, json};

use super::{CHANNELS, fleet, get, hook, make, send, test};
use crate::support::bugle::{Bugle, Role};
use crate::support::sink::{Answer, Sink};
use crate::support::{LATER, SOON, ensure, eventually, free_port};

#[tokio::test]
async fn a_channel_gets_nothing_before_a_test_of_its_address_goes_through() {
    let (bugle, sink, api) = fleet(&json!({})).await;
    let made = make(&api, "ops", &hook(&sink.url("/ops"))).await;
    assert_eq!((&made["verificationStatus"], &made["enabled"]), (&json!("pending"), &json!(true)), "{made}");
    let wire = bugle.wire().await;
    wire.event("a:b", "e-1", &json!({})).await;
    let held = api.shows(1, "channel=ops").await;
    assert_eq!(
        (&held[0]["status"], &held[0]["reason"]),
        (&json!("suppressed"), &json!("channel_unverified")),
        "{held:?}"
    );
    let message = json!({ "channel": "ops", "title": "t", "body": "b" });
    let refused = api.post("/v1/notifications/send", &message).await.expect_problem(409);
    assert!(refused["detail"].as_str().unwrap().contains(&format!("{CHANNELS}/ops/test")), "{refused}");
    assert!(sink.requests("/ops").is_empty());

    let tested = test(&api, "ops").await.expect(200);
    assert_eq!(
        (&tested["ok"], &tested["reason"], &tested["code"]),
        (&json!(true), &json!("accepted"), &json!(200))
    );
    let came = sink.requests("/ops")[0].json();
    assert_eq!((&came["type"], &came["severity"]), (&json!("channel:test"), &json!("info")), "{came}");
    assert!(came["title"].as_str().unwrap().contains("ops"), "{came}");
    assert_eq!(get(&api, "ops").await["verificationStatus"], "verified");
    // It left a record like anything that is sent, without a rule.
    let record = api.becomes(tested["delivery"].as_str().unwrap(), "sent").await;
    assert_eq!((&record["rule"], &record["eventType"]), (&Value::Null, &json!("channel:test")), "{record}");

    let mut number = 1;
    eventually("events go out", SOON, async || {
        number += 1;
        wire.event("a:b", &format!("e-{number}"), &json!({})).await;
        api.shows(number, "rule=to-ops").await;
        ensure(sink.requests("/ops").len() > 1, "nothing came")
    })
    .await;
    api.post("/v1/notifications/send?wait=true", &message).await.expect(202);

    // Another address is another channel.
    let patched =
        send(&api, "PATCH", "/ops", &json!({ "config": { "url": sink.url("/other") } })).await.expect(200);
    assert_eq!(patched["verificationStatus"], "pending", "{patched}");
    api.post("/v1/notifications/send", &message).await.expect_problem(409);
    let back = send(&api, "POST", "/ops/revert", &json!({ "version": 1 })).await.expect(200);
    assert_eq!(back["verificationStatus"], "verified", "{back}");
    let slower = send(&api, "PATCH", "/ops", &json!({ "timeoutMs": 5000 })).await.expect(200);
    assert_eq!(slower["verificationStatus"], "verified", "what is no address changes nothing: {slower}");
    assert!(sink.requests("/other").is_empty());
}

#[tokio::test]
async fn a_test_that_fails_says_why_and_gives_nothing_away() {
    let (bugle, sink, api) = fleet(&json!({})).await;
    sink.script("/hunter2/broken", [Answer::Status(500)]);
    sink.script("/hunter2/key", [Answer::Status(401)]);
    let nobody = format!("http://127.0.0.1:{}/hunter2", free_port());
    let variable = json!({ "kind": "slack", "config": { "webhookUrl": "${NOT_SET_ANYWHERE}/hunter2" } });
    let cases = [
        ("broken", hook(&sink.url("/hunter2/broken")), 502, "provider_error", "answered 500"),
        ("key", hook(&sink.url("/hunter2/key")), 502, "unauthorized", "answered 401"),
        ("nobody", hook(&nobody), 502, "unreachable", ""),
        ("private", hook("http://10.1.2.3/hunter2"), 422, "blocked_address", ""),
        ("unset", variable, 422, "misconfigured", "NOT_SET_ANYWHERE"),
    ];
    for (id, body, status, reason, said) in &cases {
        make(&api, id, body).await;
        let problem = test(&api, id).await.expect_problem(*status);
        assert_eq!(
            (&problem["test"]["ok"], &problem["test"]["reason"]),
            (&json!(false), &json!(reason)),
            "{problem}"
        );
        assert!(problem["detail"].as_str().unwrap().contains(said), "{problem}");
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
        assert_eq!(get(&api, id).await["verificationStatus"], "pending");
        let record = api.becomes(problem["test"]["delivery"].as_str().unwrap(), "failed").await;
        assert!(record["reason"] == *reason && !record.to_string().contains("hunter2"), "{record}");
    }
    assert!(bugle.dead_letters().await.is_empty(), "a test is tried once, and nobody has to send it again");
    assert!(!api.get(CHANNELS).await.body.to_string().contains("hunter2"));
    // A test that fails takes no verification away.
    make(&api, "good", &hook(&sink.url("/good"))).await;
    test(&api, "good").await.expect(200);
    sink.script("/good", [Answer::Status(503)]);
    test(&api, "good").await.expect_problem(502);
    assert_eq!(get(&api, "good").await["verificationStatus"], "verified");
    for role in [Role::Router, Role::Worker, Role::Recorder, Role::Api] {
        assert!(!bugle.log(role.word()).contains("hunter2"), "{role:?}");
    }
}

#[tokio::test]
async fn a_channel_that_reaches_people_is_tested_on_somebody() {
    let (_bugle, sink, api) = fleet(&json!({})).await;
    sink.script("/bot1:a/sendMessage", [Answer::Json(json!({ "ok": true, "result": { "message_id": 7 } }))]);
    let bot = json!({ "kind": "telegram", "config": { "botToken": "1:a", "apiBase": sink.url("") } });
    send(&api, "PUT", "/bot", &bot).await.expect(201);
    let problem = test(&api, "bot").await.expect_problem(400);
    assert_eq!(problem["pointer"], "/recipient");
    let ann = json!({ "recipient": "ann" });
    let problem = send(&api, "POST", "/bot/test", &ann).await.expect_problem(422);
    assert!(problem["detail"].as_str().unwrap().contains("no telegramChatId"), "{problem}");
    let contacts = json!({ "contacts": { "telegramChatId": "4815" } });
    let put = crate::support::api::json(api.request("PUT", "/v1/recipients/ann"), &contacts);
    crate::support::api::reply(put).await.expect(201);
    eventually("the worker knows the chat", SOON, async || {
        let tested = send(&api, "POST", "/bot/test", &ann).await;
        ensure(tested.status == 200, format!("{tested:?}"))
    })
    .await;
    assert_eq!(sink.requests("/bot1:a/sendMessage")[0].json()["chat_id"], 4815);
    assert_eq!(get(&api, "bot").await["verificationStatus"], "verified");
    send(&api, "POST", "/bot/test", &json!({ "receiver": "ann" })).await.expect_problem(400);
}

#[tokio::test]
async fn without_a_worker_it_says_so_at_once_and_with_two_apis_it_is_one_channel() {
    let bugle = Bugle::new().await;
    let sink = Sink::start().await;
    bugle.cli(&["setup"]).await.ok();
    bugle.start_roles(&[Role::Router, Role::Recorder, Role::Api]).await;
    let mut second = bugle.spawn(Role::Api);
    second.until_ready(LATER).await;
    let (one, mut two) = (bugle.api(), bugle.api());
    two.base = format!("http://127.0.0.1:{}", second.api_port.unwrap());
    send(&one, "PUT", "/ops", &hook(&sink.url("/ops"))).await.expect(201);
    let problem = test(&two, "ops").await.expect_problem(503);
    assert!(problem["detail"].as_str().unwrap().contains("no worker of the kind webhook"), "{problem}");
    let said = bugle.cli(&["channels", "test", "ops"]).await;
    assert!(said.code == 1 && said.stdout.contains("no worker of the kind webhook"), "{said:?}");
    // A worker of another kind is none.
    bugle.set("WORKER__KINDS", "console");
    bugle.start_roles(&[Role::Worker]).await;
    test(&two, "ops").await.expect_problem(503);
    bugle.set("WORKER__KINDS", "webhook");
    bugle.start_roles(&[Role::Worker]).await;
    test(&two, "ops").await.expect(200);
    assert_eq!(sink.requests("/ops").len(), 1);
    for api in [&one, &two] {
        assert_eq!(get(api, "ops").await["verificationStatus"], "verified");
        let listed = api.get(&format!("{CHANNELS}?verificationStatus=verified&owner=api")).await.expect(200);
        assert_eq!(listed["channels"][0]["id"], "ops", "{listed}");
    }
}

#[tokio::test]
async fn a_bot_says_which_chats_it_has_heard_of() {
    let (_bugle, sink, api) = fleet(&json!({})).await;
    let chat = json!({ "id": -1001, "type": "supergroup", "title": "Ops", "username": "ops" });
    let updates =
        json!({ "ok": true, "result": [{ "update_id": 1, "message": { "message_id": 1, "chat": chat } }] });
    sink.script("/bot1:hunter2/getUpdates", [Answer::Json(updates)]);
    sink.script("/bot1:hunter2/getMe", [Answer::Json(json!({ "ok": true, "result": {} }))]);
    let bot = json!({ "kind": "telegram", "config": { "botToken": "1:hunter2", "apiBase": sink.url("") } });
    send(&api, "PUT", "/bot", &bot).await.expect(201);
    send(&api, "PUT", "/ops", &hook(&sink.url("/ops"))).await.expect(201);
    let shared = crate::support::api::json(api.request("PUT", "/v1/connections/shared"), &bot);
    crate::support::api::reply(shared).await.expect(201);
    let path = "/telegram/detect-chats";
    let mut new = bot.clone();
    new["config"]["chatId"] = "${NOT_KNOWN_YET}".into();
    send(&api, "PUT", "/new", &new).await.expect(201);
    for of in [json!({ "channel": "bot" }), json!({ "channel": "new" }), json!({ "connectionId": "shared" })]
    {
        let found = send(&api, "POST", path, &of).await.expect(200);
        let expected = json!([{ "chatId": "-1001", "name": "Ops", "type": "supergroup", "username": "ops" }]);
        assert_eq!(found["chats"], expected, "{of}");
    }
    for (of, status) in [
        (json!({}), 400),
        (json!({ "channel": "ops" }), 400),
        (json!({ "channel": "bot", "connectionId": "shared" }), 400),
        (json!({ "channel": "nobody" }), 404),
        (json!({ "connectionId": "nobody" }), 404),
    ] {
        send(&api, "POST", path, &of).await.expect_problem(status);
    }
    let refused = json!({ "ok": false, "error_code": 401, "description": "Unauthorized" });
    sink.script("/bot1:hunter2/getUpdates", [Answer::Json(refused)]);
    let problem = send(&api, "POST", path, &json!({ "channel": "bot" })).await;
    assert!(problem.status == 502 || problem.status == 422, "{problem:?}");
    assert!(!problem.body.to_string().contains("hunter2"), "{problem:?}");

    // A channel on the connection is checked together with it.
    let on = |config: Value| json!({ "kind": "telegram", "connection": "shared", "config": config });
    send(&api, "PUT", "/on", &on(json!({ "chatId": -1001 }))).await.expect(201);
    let twice = send(&api, "PUT", "/twice", &on(json!({ "botToken": "2:b" }))).await.expect_problem(400);
    assert_eq!(twice["pointer"], "/config/botToken", "{twice}");
    let nowhere = json!({ "kind": "telegram", "connection": "shard", "config": {} });
    let nowhere = send(&api, "PUT", "/nowhere", &nowhere).await.expect_problem(400);
    assert!(nowhere["detail"].as_str().unwrap().contains("did you mean shared?"), "{nowhere}");
    sink.script(
        "/bot1:hunter2/sendMessage",
        [Answer::Json(json!({ "ok": true, "result": { "message_id": 1 } }))],
    );
    test(&api, "on").await.expect(200);
    assert_eq!(get(&api, "on").await["verificationStatus"], "verified");
}

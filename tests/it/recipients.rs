//! Where people are reached: written once, looked up when something is sent, seen by nobody who need not.

use serde_json::{Value, json};

use crate::support::api::{Api, json as with_body, reply};
use crate::support::bugle::{Bugle, Role, with};
use crate::support::sink::{Answer, Sink};
use crate::support::wire::Wire;

const CHAT: &str = "4815162342";

/// A fleet with a bot that writes to whom a rule names.
async fn fleet(recipients: &Value) -> (Bugle, Sink, Wire, Api) {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/bot1:a/sendMessage", [Answer::Json(json!({"ok": true, "result": {"message_id": 7}}))]);
    bugle
        .start_with(&json!({
            "channels": [{"id": "bot", "kind": "telegram", "config": {"botToken": "1:a", "apiBase": sink.url("")}}],
            "rules": [{"id": "r", "events": ["a:*"], "channels": ["bot"], "recipients": recipients,
                       "template": {"title": "For {{who}}"}}],
        }))
        .await;
    let (wire, api) = (bugle.wire().await, bugle.api());
    (bugle, sink, wire, api)
}

async fn put(api: &Api, id: &str, body: &Value) -> crate::support::api::Reply {
    reply(with_body(api.request("PUT", &format!("/v1/recipients/{id}")), body)).await
}

fn chats(sink: &Sink) -> Vec<Value> {
    sink.requests("/bot1:a/sendMessage").iter().map(|request| request.json()["chat_id"].clone()).collect()
}

#[tokio::test]
async fn each_recipient_is_written_to_where_they_are_now_and_who_has_no_address_is_recorded() {
    let (bugle, sink, wire, api) = fleet(&json!(["{{who}}", "bob"])).await;
    put(&api, "ann", &json!({"contacts": {"telegramChatId": CHAT}})).await.expect(201);
    wire.event("a:b", "e-1", &json!({"who": "ann"})).await;
    let held = api.shows(1, "status=suppressed").await;
    assert_eq!(
        (&held[0]["recipient"], &held[0]["reason"]),
        (&json!("bob"), &json!("no_address")),
        "{held:?}"
    );
    assert_eq!(held[0]["detail"], "the recipient has no telegramChatId");
    let sent = api.shows(1, "status=sent").await;
    assert_eq!(sent[0]["recipient"], "ann");
    assert_eq!(chats(&sink), [json!(4_815_162_342_i64)]);
    // A change is heard by a worker that has looked before.
    put(&api, "ann", &json!({"contacts": {"telegramChatId": "99"}})).await.expect(200);
    put(&api, "bob", &json!({"contacts": {"telegramChatId": "-5"}, "timeZone": "Asia/Tokyo"}))
        .await
        .expect(201);
    crate::support::eventually("the new chats are used", crate::support::SOON, async || {
        let known = chats(&sink);
        wire.event("a:b", &format!("e-{}", known.len() + 1), &json!({"who": "ann"})).await;
        sink.receives(known.len() + 2, "/bot1:a/sendMessage").await;
        let known = chats(&sink);
        if known.contains(&json!(99)) && known.contains(&json!(-5)) {
            Ok(())
        } else {
            Err(format!("{known:?}"))
        }
    })
    .await;
    // Addresses are in no record, no answer about deliveries and no log.
    assert!(!api.deliveries("").await.iter().any(|delivery| delivery.to_string().contains(CHAT)));
    for role in [Role::Router, Role::Worker, Role::Recorder, Role::Api] {
        assert!(!bugle.log(role.word()).contains(CHAT), "{role:?}");
    }
}

#[tokio::test]
async fn a_channel_that_needs_a_recipient_says_so() {
    let (_bugle, sink, wire, api) = fleet(&json!([])).await;
    wire.event("a:b", "e-1", &json!({"who": "ann"})).await;
    let held = api.shows(1, "status=suppressed").await;
    assert_eq!((&held[0]["reason"], &held[0]["recipient"]), (&json!("no_address"), &Value::Null), "{held:?}");
    let send = json!({"channel": "bot", "title": "Hello", "body": "there"});
    let problem = api.post("/v1/notifications/send", &send).await.expect_problem(400);
    assert!(problem["detail"].as_str().unwrap().contains("takes its address from a recipient"), "{problem}");
    put(&api, "ann", &json!({"contacts": {"telegramChatId": 1}})).await.expect(201);
    let sent = api.post("/v1/notifications/send?wait=true", &with(send, &json!({"recipient": "ann"}))).await;
    assert_eq!((&sent.body["status"], chats(&sink)), (&json!("sent"), vec![json!(1)]), "{}", sent.body);
}

#[tokio::test]
async fn contacts_are_written_on_condition_and_read_by_those_who_may() {
    let (bugle, _sink, _wire, api) = fleet(&json!([])).await;
    let ann = json!({"name": "Ann", "contacts": {"email": "ann@example.com"}, "timeZone": "Europe/Berlin"});
    let made = put(&api, "ann%40example.com", &ann).await;
    let tag = made.header("etag");
    let made = made.expect(201);
    assert_eq!((&made["id"], &made["kind"]), (&json!("ann@example.com"), &json!("human")), "{made}");
    let bad = put(&api, "bob", &json!({"contacts": {"email": "nowhere"}})).await.expect_problem(400);
    assert_eq!(bad["pointer"], "/contacts/email", "{bad}");
    put(&api, "bob", &json!({"id": "eve"})).await.expect_problem(400);
    let on_condition = async |body: &Value| {
        let request = with_body(api.request("PUT", "/v1/recipients/ann%40example.com"), body);
        reply(request.header("If-Match", &tag)).await.status
    };
    // The second one builds on what the first one has replaced.
    assert_eq!(on_condition(&with(ann.clone(), &json!({"name": "Anna"}))).await, 200);
    assert_eq!(on_condition(&ann).await, 412);
    // Viewers and others' tokens see nobody's contacts; a recipient's own token sees its own.
    let token = async |body: Value| {
        let made = api.post("/v1/tokens", &body).await.expect(201);
        bugle.api_as(made["token"].as_str().unwrap())
    };
    let path = "/v1/recipients/ann%40example.com";
    let viewer = token(json!({"name": "v", "role": "viewer"})).await;
    viewer.get(path).await.expect_problem(403);
    let own = token(json!({"name": "a", "role": "viewer", "recipient": "ann@example.com"})).await;
    assert_eq!(own.get(path).await.expect(200)["contacts"]["email"], "ann@example.com");
    assert_eq!(put(&own, "ann%40example.com", &ann).await.status, 403);
    let other = token(json!({"name": "b", "role": "agent", "recipient": "bob"})).await;
    other.get(path).await.expect_problem(403);
    let operator = token(json!({"name": "o", "role": "operator"})).await;
    operator.get(path).await.expect(200);
    assert_eq!(operator.delete(path).await.status, 204);
    api.get(path).await.expect_problem(404);
}

#[tokio::test]
async fn one_channel_may_send_again_and_the_others_may_not() {
    let (bugle, sink, _wire, api) = fleet(&json!([])).await;
    let left = json!({"contacts": {"telegramChatId": 1}, "unsubscribed": ["bot", "news"]});
    put(&api, "ann", &left).await.expect(201);
    let send = json!({"channel": "bot", "title": "Hello", "body": "there", "recipient": "ann"});
    let sent = async || api.post("/v1/notifications/send?wait=true", &send).await.body["status"].clone();
    assert_eq!(sent().await, "suppressed");
    let again = "/v1/recipients/ann/unsubscribed/bot";
    let viewer = crate::support::api::token(&bugle, "viewer", &json!({})).await;
    viewer.delete(again).await.expect_problem(403);
    api.delete(again).await.expect(204);
    assert_eq!(api.get("/v1/recipients/ann").await.expect(200)["unsubscribed"], json!(["news"]));
    for missing in [again, "/v1/recipients/nobody/unsubscribed/bot"] {
        api.delete(missing).await.expect_problem(404);
    }
    crate::support::eventually("a worker has heard of it", crate::support::SOON, async || {
        let status = sent().await;
        crate::support::ensure(status == "sent", status.to_string())
    })
    .await;
    assert!(chats(&sink).contains(&json!(1)));
}

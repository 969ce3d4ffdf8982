//! Web Push: what a browser can open, and subscriptions that end.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::subscribed;
use crate::clients::python;
use crate::support::api::{Api, json as with_body, reply};
use crate::support::bugle::{Bugle, with};
use crate::support::sink::{Answer, Request, Sink};

/// A browser's keys: those of RFC 8291, Appendix A.
const PRIVATE: &str = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
pub const P256DH: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
pub const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

/// The sender's, made as the documentation shows it.
pub const VAPID_PRIVATE: &str = "Out5OoD1EYMwZMV5qGLYdyRH6-cVJuacnURK4vvQ-_M";
pub const VAPID_PUBLIC: &str =
    "BEfG6HnSw5i8b8h50ENlrNsKI_AWTgmuIuHsa9tOD8BE8_Pg9joqyOYJD_pUqWzZBmhGjmFpCd7arL2Vk7Caj4U";

async fn fleet() -> (Bugle, Sink, Api) {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.set_variable("VAPID_PRIVATE_KEY", VAPID_PRIVATE);
    bugle.set_variable("VAPID_PUBLIC_KEY", VAPID_PUBLIC);
    let config = json!({
        "vapidPrivateKey": "${VAPID_PRIVATE_KEY}", "vapidPublicKey": "${VAPID_PUBLIC_KEY}",
        "subject": "mailto:ops@example.com", "baseUrl": "https://app.example",
    });
    bugle
        .start_with(&json!({
            "channels": [{"id": "web", "kind": "webpush", "config": config, "retry": {"scheduleMs": [300, 300]}}],
            "rules": [
                {"id": "all", "events": ["all:*"], "channels": ["web"], "severity": "critical",
                 "collapse": {"key": "{{incident}}"},
                 "template": {"title": "Help: {{what}}", "body": "It is **on fire**", "link": "/incidents/7",
                              "actions": [{"label": "Look", "url": "/look"}]}},
                {"id": "own", "events": ["own:*"], "channels": ["web"], "recipients": ["{{to}}"]},
            ],
        }))
        .await;
    let api = bugle.api();
    (bugle, sink, api)
}

async fn subscribe(api: &Api, sink: &Sink, path: &str, user: &str) -> Value {
    let subscription = json!({
        "endpoint": sink.url(path), "expirationTime": null, "keys": {"p256dh": P256DH, "auth": AUTH},
    });
    let body = json!({"subscription": subscription, "deviceName": path, "user": user});
    api.post("/v1/push-subscriptions", &body).await.expect(201)
}

/// What a browser reads: decrypted and verified by others' code.
async fn opened(python: &PathBuf, sink: &Sink, request: &Request) -> Value {
    let file = format!("{}/tests/it/push/open.py", env!("CARGO_MANIFEST_DIR"));
    let mut command = tokio::process::Command::new(python);
    command.args([&file, PRIVATE, AUTH, &sink.url("")]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let body = data_encoding::BASE64.encode(&request.bytes);
    let input = json!({"headers": request.headers, "body": body}).to_string();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_browser_opens_what_it_gets_and_others_code_verifies_who_sent_it() {
    let Some(python) = python() else { return };
    let (bugle, sink, api) = fleet().await;
    subscribe(&api, &sink, "/push/ann", "ann").await;
    subscribe(&api, &sink, "/push/bob", "bob").await;
    sink.script("/push/ann", [Answer::Status(201)]);
    bugle.wire().await.event("all:fire", "e-1", &json!({"what": "\"Grüße\" 🚀", "incident": 7})).await;
    let sent = api.shows(1, "status=sent").await;
    assert_eq!(sent[0]["detail"], "2 of 2 devices");
    let request = sink.receives(1, "/push/ann").await.remove(0);
    assert_eq!((&*request.headers["urgency"], &*request.headers["content-encoding"]), ("high", "aes128gcm"));
    assert!(request.headers["ttl"].parse::<u64>().is_ok_and(|ttl| ttl > 86_000), "{:?}", request.headers);
    let topic = &request.headers["topic"];
    assert!(topic.len() <= 32 && topic.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{topic}");
    let message = opened(&python, &sink, &request).await;
    let shown = &message["notification"];
    assert_eq!((&message["web_push"], &shown["title"]), (&json!(8030), &json!("Help: \"Grüße\" 🚀")));
    assert_eq!(
        (&shown["body"], &shown["navigate"]),
        (&json!("It is on fire"), &json!("https://app.example/incidents/7"))
    );
    assert_eq!(shown["actions"][0]["navigate"], "https://app.example/look");
    assert_eq!(shown["data"]["deliveryId"], sent[0]["id"]);
    // Every message is encrypted anew.
    let other = sink.receives(1, "/push/bob").await.remove(0);
    assert_ne!(request.bytes[..16], other.bytes[..16]);
    assert_eq!(opened(&python, &sink, &other).await, message);
}

#[tokio::test]
async fn a_browser_that_is_gone_is_removed_and_one_that_was_away_is_tried_again_alone() {
    let (bugle, sink, api) = fleet().await;
    for path in ["/push/well", "/push/lost", "/push/away"] {
        subscribe(&api, &sink, path, "ann").await;
    }
    sink.script("/push/well", [Answer::Status(201)]);
    sink.script("/push/lost", [Answer::Status(410)]);
    sink.script("/push/away", [Answer::Status(503), Answer::Status(201)]);
    bugle.wire().await.event("own:ping", "e-1", &json!({"to": "ann"})).await;
    let sent = api.shows(1, "status=sent").await;
    assert_eq!(
        (&sent[0]["detail"], &sent[0]["attempts"]),
        (&json!("2 of 3 devices; 1 is gone and was removed"), &json!(2))
    );
    let counts = ["/push/well", "/push/lost", "/push/away"].map(|path| sink.requests(path).len());
    assert_eq!(counts, [1, 1, 2]);
    assert_eq!(subscribed(&api, "kind=webpush").await.len(), 2);
    super::assert_no_leak(&bugle, &api.deliveries("").await, &["/push/", P256DH, AUTH, VAPID_PRIVATE]);
}

#[tokio::test]
async fn a_push_service_that_asks_for_a_pause_or_refuses_the_key_stops_nobody_elses_browser() {
    let (bugle, sink, api) = fleet().await;
    for user in ["ann", "eve", "bob"] {
        subscribe(&api, &sink, &format!("/push/{user}"), user).await;
    }
    sink.script("/push/ann", [Answer::Header(429, "retry-after", "86400".to_owned())]);
    sink.script("/push/eve", [Answer::Status(403)]);
    sink.script("/push/bob", [Answer::Status(201)]);
    let wire = bugle.wire().await;
    for (number, user) in ["ann", "eve", "bob"].into_iter().enumerate() {
        wire.event("own:ping", &format!("e-{number}"), &json!({"to": user})).await;
        sink.receives(1, &format!("/push/{user}")).await;
    }
    assert_eq!(api.shows(1, "status=sent").await[0]["recipient"], "bob");
    assert_eq!(api.shows(1, "status=failed").await[0]["reason"], "unauthorized");
    let waits = api.shows(1, "status=retrying").await.remove(0);
    let next = api.delivery(waits["id"].as_str().unwrap()).await["timeline"][0]["nextAt"].clone();
    let next: jiff::Timestamp = next.as_str().unwrap().parse().unwrap();
    assert!(next < jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3_601), "{waits:#}");
}

#[tokio::test]
async fn pages_are_told_the_public_key_and_nothing_else() {
    let (bugle, _sink, api) = fleet().await;
    let token = api.post("/v1/tokens", &json!({"name": "a", "role": "agent", "recipient": "ann"})).await;
    let own = bugle.api_as(token.expect(201)["token"].as_str().unwrap());
    let told = own.get("/v1/push-subscriptions/vapid-public-key").await.expect(200);
    assert_eq!(told, json!({"publicKey": VAPID_PUBLIC}));
    own.get("/v1/push-subscriptions/vapid-public-key?channel=web").await.expect(200);
    own.get("/v1/push-subscriptions/vapid-public-key?channel=other").await.expect_problem(404);
    // The key may be its connection's; a channel that is off has none.
    let keys = json!({ "vapidPrivateKey": VAPID_PRIVATE, "vapidPublicKey": VAPID_PUBLIC });
    let put = async |path: &str, body: &Value| reply(with_body(api.request("PUT", path), body)).await;
    put("/v1/connections/push", &json!({ "kind": "webpush", "config": keys })).await.expect(201);
    let shared = json!({ "kind": "webpush", "connection": "push", "enabled": true,
                         "config": { "subject": "mailto:ops@example.com", "baseUrl": "https://app.example" } });
    put("/v1/notification-channels/shared", &shared).await.expect(201);
    let of_shared = "/v1/push-subscriptions/vapid-public-key?channel=shared";
    assert_eq!(own.get(of_shared).await.expect(200), told);
    put("/v1/notification-channels/shared", &with(shared, &json!({ "enabled": false }))).await.expect(200);
    own.get(of_shared).await.expect_problem(404);
    let sly =
        with(keys, &json!({ "vapidPublicKey": "${VAPID_PRIVATE_KEY}", "vapidPrivateKey": "${ELSEWHERE}" }));
    let sly = json!({ "kind": "webpush",
                      "config": with(sly, &json!({ "subject": "mailto:ops@example.com", "baseUrl": "https://app.example" })) });
    put("/v1/notification-channels/sly", &sly).await.expect(201);
    let refused = own.get("/v1/push-subscriptions/vapid-public-key?channel=sly").await.expect_problem(503);
    assert!(!refused.to_string().contains(VAPID_PRIVATE), "{refused}");
}

//! What must not leak does not: hostile receivers echo all that they get, and nothing of it is found in any log, metric,
//! answer of the API or record.

use serde_json::{Value, json};

use crate::push::browsers::{AUTH, P256DH, VAPID_PRIVATE, VAPID_PUBLIC};
use crate::support::api::Api;
use crate::support::bugle::{Bugle, Role, rule, webhook, with};
use crate::support::sink::{Answer, Sink};
use crate::support::{LATER, ensure, eventually};

/// Each stands in one place of one configuration.
const MARKS: [&str; 15] = [
    "mark-in-a-webhook-path",
    "mark-in-a-query",
    "mark-in-a-header",
    "bWFyay1pbi1hLXNpZ25pbmctc2VjcmV0LTEyMzQ1Njc4",
    "mark-in-slacks-path",
    "8675309:mark-in-telegrams-token",
    "mark-in-a-secret-of-a-source",
    "mark-in-whatsapps-token",
    "mark-in-an-api-key",
    "mark-in-discords-token",
    "ann.mark-in-a-mailbox",
    "mark-in-expos-access-token",
    "mark-in-a-phones-token",
    VAPID_PRIVATE,
    "mark-in-a-browsers-endpoint",
];
const STATUSES: [u16; 9] = [200, 302, 400, 401, 404, 410, 429, 500, 503];

/// What a receiver says who has seen everything: our secrets and its own address.
fn echo(sink: &Sink) -> Value {
    json!({
        "ok": false, "error": MARKS[4], "error_code": 400, "description": format!("Bad Request: {} at {}", MARKS[5], sink.url("/")),
        "message": MARKS.join(" "), "url": sink.url("/x"),
    })
}

fn documents(sink: &Sink) -> Value {
    let mut channels = Vec::new();
    for status in STATUSES {
        let url = sink.url(&format!("/{}/{status}?token={}", MARKS[0], MARKS[1]));
        let config = json!({ "url": url, "secrets": [format!("whsec_{}", MARKS[3])], "headers": { "X-Token": MARKS[2] } });
        channels.push(with(webhook(&format!("webhook-{status}"), ""), &json!({ "config": config })));
    }
    let slack = format!("https://hooks.slack.com/services/T0/B0/{}", MARKS[4]);
    channels.push(
        json!({ "id": "slack", "kind": "slack", "config": { "webhookUrl": slack, "apiBase": sink.url("") } }),
    );
    channels.push(json!({ "id": "telegram", "kind": "telegram",
        "config": { "botToken": MARKS[5], "chatId": 1, "apiBase": sink.url("") } }));
    channels.push(
        json!({ "id": "on-a-bot", "kind": "telegram", "connection": "bot", "config": { "chatId": 1 } }),
    );
    channels
        .push(json!({ "id": "whatsapp", "kind": "whatsapp", "config": { "phoneNumberId": "106540352242922",
        "accessToken": MARKS[7], "to": "+491701234567", "apiBase": sink.url("") } }));
    channels.push(json!({ "id": "resend", "kind": "email", "config": { "provider": "resend", "apiKey": MARKS[8],
        "from": "bugle@example.com", "to": format!("{}@example.com", MARKS[10]), "apiBase": sink.url("") } }));
    channels.push(json!({ "id": "discord", "kind": "url",
        "config": { "url": format!("discord://123456789012345678/{}", MARKS[9]), "apiBase": sink.url("") } }));
    channels.push(json!({ "id": "phones", "kind": "expo", "config": { "accessToken": MARKS[11], "apiBase": sink.url("") } }));
    channels.push(json!({ "id": "browsers", "kind": "webpush",
        "config": { "vapidPrivateKey": MARKS[13], "vapidPublicKey": VAPID_PUBLIC, "subject": "mailto:ops@example.com", "baseUrl": "https://app.example" } }));
    // Nobody listens there, and nobody may.
    channels.push(webhook("refused", &format!("http://127.0.0.1:1/{}", MARKS[0])));
    channels.push(webhook("unresolved", &format!("http://receiver.invalid/{}", MARKS[0])));
    channels.push(webhook("blocked", &format!("http://10.1.2.3/{}", MARKS[0])));
    channels.push(webhook("broken", MARKS[0]));
    let rules: Vec<Value> = channels
        .iter()
        .map(|channel| channel["id"].as_str().unwrap())
        .map(|id| rule(id, "a:*", id))
        .collect();
    json!({
        "connections": [{ "id": "bot", "kind": "telegram", "config": { "botToken": MARKS[5], "apiBase": sink.url("") } }],
        "channels": channels, "rules": rules,
        "sources": [{ "id": "in", "http": { "secret": MARKS[6] } }],
    })
}

/// A phone and a browser.
fn devices(sink: &Sink) -> [Value; 2] {
    [
        json!({ "expoPushToken": format!("ExponentPushToken[{}]", MARKS[12]), "platform": "ios" }),
        json!({ "subscription": { "endpoint": sink.url(&format!("/push/{}", MARKS[14])), "keys": {
            "p256dh": P256DH, "auth": AUTH } } }),
    ]
}

/// Scripts every path with what a hostile receiver says.
fn echoes(sink: &Sink) {
    for status in STATUSES {
        let path = format!("/{}/{status}", MARKS[0]);
        match status {
            200 => sink.script(&path, [Answer::Json(echo(sink))]),
            302 => sink.script(&path, [Answer::Header(302, "location", sink.url(&path))]),
            429 => sink.script(&path, [Answer::Header(429, "retry-after", sink.url(&path))]),
            _ => sink.script(&path, [Answer::Refusal(status, echo(sink))]),
        }
    }
    for path in [
        format!("/services/T0/B0/{}", MARKS[4]),
        format!("/bot{}/sendMessage", MARKS[5]),
        format!("/bot{}/getMe", MARKS[5]),
        "/v23.0/106540352242922/messages".to_owned(),
        "/emails".to_owned(),
        format!("/api/webhooks/123456789012345678/{}", MARKS[9]),
        "/--/api/v2/push/send".to_owned(),
    ] {
        sink.script(&path, [Answer::Json(echo(sink))]);
    }
    sink.script(&format!("/push/{}", MARKS[14]), [Answer::Refusal(403, echo(sink))]);
}

/// All that an administrator can read.
async fn answers(api: &Api) -> Vec<String> {
    let mut found = Vec::new();
    let mut paths: Vec<String> = [
        "deliveries",
        "deliveries/stats",
        "dead-letters",
        "sources",
        "connections",
        "notification-channels",
        "rules",
        "push-subscriptions",
    ]
    .map(|name| format!("/v1/{name}"))
    .into();
    paths.extend(["/v1/sources/in", "/v1/sources/in/versions", "/v1/connections/bot"].map(str::to_owned));
    for delivery in api.deliveries("").await {
        let id = delivery["id"].as_str().unwrap().to_owned();
        paths.push(format!("/v1/deliveries/{id}"));
        paths.push(format!("/v1/deliveries/{id}/explanation"));
    }
    for letter in api.get("/v1/dead-letters").await.expect(200)["deadLetters"].as_array().unwrap() {
        paths.push(format!("/v1/dead-letters/{}", letter["sequence"]));
    }
    for path in paths {
        let reply = api.get(&path).await;
        found.push(format!("{path}: {}", reply.body));
    }
    found
}

#[tokio::test]
async fn no_secret_and_no_address_is_found_in_any_log_metric_answer_or_record() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    echoes(&sink);
    bugle.set("LOG__LEVEL", "trace");
    bugle.set("WORKER__CONNECTION_CHECK_SECONDS", "1");
    let documents = documents(&sink);
    bugle.cli(&["setup"]).await.ok();
    // One whose address is none is refused where it is applied; a variable brings it in all the same.
    let mut applied = documents.clone();
    let broken = applied["channels"].as_array_mut().unwrap().last_mut().unwrap();
    broken["config"]["url"] = json!("${BROKEN}");
    let said = bugle.apply_as("documents", &documents).await;
    assert!(said.code == 78 && said.stderr.contains("/config/url"), "{}", said.stderr);
    let mut everything = vec![said.stdout, said.stderr];
    let said = bugle.apply_as("documents", &applied).await;
    assert_eq!(said.code, 0, "{said:?}");
    everything.extend([said.stdout, said.stderr]);
    bugle.set_variable("BROKEN", MARKS[0]);
    bugle.start_roles(&Role::ALL).await;
    let (wire, api) = (bugle.wire().await, bugle.api());
    for device in devices(&sink) {
        everything.push(api.post("/v1/push-subscriptions", &device).await.expect(201).to_string());
    }
    wire.event("a:b", "e-1", &json!({ "x": 1 })).await;
    let channels = applied["channels"].as_array().unwrap().len();
    api.shows_within(LATER, channels, "").await;
    eventually("every channel was tried", LATER, async || {
        let mut untried = Vec::new();
        for delivery in api.deliveries("").await {
            let whole = api.delivery(delivery["id"].as_str().unwrap()).await;
            if whole["timeline"].as_array().is_none_or(Vec::is_empty) {
                untried.push(delivery["channel"].clone());
            }
        }
        ensure(untried.is_empty(), format!("{untried:?}"))
    })
    .await;
    sink.receives_within(LATER, 1, &format!("/bot{}/getMe", MARKS[5])).await;

    everything.extend(answers(&api).await);
    for (name, _, _) in bugle.readiness().await {
        everything.push(bugle.log(&name));
    }
    everything.push(crate::support::api::get_text(&format!("{}/metrics", api.base)).await.1);
    for said in [bugle.cli(&["dead", "list", "--json"]).await, bugle.cli(&["explain", "e-1"]).await] {
        everything.extend([said.stdout, said.stderr]);
    }
    let bucket = wire.js.get_stream(format!("KV_{}", wire.stream_name("CONFIG"))).await.unwrap();
    for sequence in 1..=bucket.cached_info().state.last_sequence {
        if let Ok(message) = bucket.get_raw_message(sequence).await {
            everything.push(String::from_utf8_lossy(&message.payload).into_owned());
        }
    }
    let address = format!("127.0.0.1:{}", sink.port);
    // A provider's base is a setting that whoever reads documents may read: there, and nowhere else.
    let everything = everything.join("\n").replace(&format!("\"apiBase\":\"http://{address}\""), "");
    assert!(
        everything.contains("attempt finished") && everything.contains("bugle_"),
        "nothing was looked at"
    );
    for secret in MARKS.iter().copied().chain([address.as_str(), "receiver.invalid", "10.1.2.3"]) {
        let place = everything.lines().find(|line| line.contains(secret));
        assert_eq!(place, None, "{secret} was found");
    }
}

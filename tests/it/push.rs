//! Pushes to devices: who gets them, who gets them again, and whose subscription ends.

pub mod browsers;
mod expo;
mod phones;
mod subscriptions;

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::bugle::{Bugle, Role, with};
use expo::{ACCESS_TOKEN, Expo};

/// Of a worker of this installation.
async fn metric(worker: &crate::support::bugle::Member, name: &str) -> f64 {
    let (_, text) = worker.admin("/metrics").await;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}

fn token(name: &str) -> String {
    format!("ExponentPushToken[{name}]")
}

async fn subscribe(api: &Api, name: &str, user: Option<&str>) -> Value {
    let mut body = json!({"expoPushToken": token(name), "platform": "ios", "deviceName": name});
    if let Some(user) = user {
        body["user"] = json!(user);
    }
    api.post("/v1/push-subscriptions", &body).await.expect(201)
}

async fn subscribed(api: &Api, query: &str) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/push-subscriptions?{query}{cursor}")).await.expect(200);
        found.extend(page["subscriptions"].as_array().unwrap().iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

/// A fleet whose events `a:*` go to phones, of the recipients that `to` names in the data.
async fn phones(more: &Value) -> (Bugle, Expo, Api) {
    let (bugle, expo) = (Bugle::new().await, Expo::start().await);
    let config = json!({"accessToken": ACCESS_TOKEN, "apiBase": expo.base, "receiptsAfterMs": 43_200_000});
    let channel = json!({"id": "phones", "kind": "expo", "config": with(config, more), "retry": {"scheduleMs": [300, 300]}});
    bugle
        .start_with(&json!({
            "channels": [channel],
            "rules": [
                {"id": "all", "events": ["all:*"], "channels": ["phones"], "template": {"title": "To all", "body": "Hello **you**"}},
                {"id": "own", "events": ["own:*"], "channels": ["phones"], "recipients": ["{{to}}"],
                 "template": {"title": "For {{to}}", "body": "Hello", "link": "/tasks/7"}},
            ],
        }))
        .await;
    let api = bugle.api();
    (bugle, expo, api)
}

/// Nothing of an address is where it does not belong.
fn assert_no_leak(bugle: &Bugle, shown: &[Value], addresses: &[&str]) {
    for address in addresses {
        for role in [Role::Router, Role::Worker, Role::Recorder, Role::Api] {
            assert!(!bugle.log(role.word()).contains(address), "{address} in the log of the {role:?}");
        }
        assert!(!json!(shown).to_string().contains(address), "{address} in {shown:#?}");
    }
}

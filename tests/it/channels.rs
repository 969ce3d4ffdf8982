//! Channels at run time: made and changed over the API, tested by workers, switched off for what came of their tries.

mod command_line;
mod documents;
mod standing;
mod tests;

use serde_json::{Value, json};

use crate::support::api::{Api, Reply, json as with_body, reply};
use crate::support::bugle::{Bugle, rule};
use crate::support::sink::Sink;

const CHANNELS: &str = "/v1/notification-channels";

/// A fleet with these documents of a file.
async fn fleet(documents: &Value) -> (Bugle, Sink, Api) {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(documents).await;
    let api = bugle.api();
    (bugle, sink, api)
}

/// A webhook's body for the API.
fn hook(url: &str) -> Value {
    json!({ "kind": "webhook", "config": { "url": url }, "retry": { "scheduleMs": [300, 300] } })
}

async fn send(api: &Api, method: &str, path: &str, body: &Value) -> Reply {
    reply(with_body(api.request(method, &format!("{CHANNELS}{path}")), body)).await
}

/// A channel and a rule that sends every event to it.
async fn make(api: &Api, id: &str, body: &Value) -> Value {
    let made = send(api, "PUT", &format!("/{id}"), body).await.expect(201);
    api.post("/v1/rules", &rule(&format!("to-{id}"), "a:*", id)).await.expect(201);
    made
}

async fn get(api: &Api, id: &str) -> Value {
    api.get(&format!("{CHANNELS}/{id}")).await.expect(200)
}

async fn test(api: &Api, id: &str) -> Reply {
    send(api, "POST", &format!("/{id}/test"), &json!({})).await
}

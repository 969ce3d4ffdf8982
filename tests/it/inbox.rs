//! Inboxes over HTTP: what lies in one, what is done to it, who may, what agents take, and what is told of it live.

mod agents;
mod channel;
mod claims;
mod creation;
mod deletion;
mod guide;
mod lists;
mod live;
mod marks;
mod privacy;
mod resume;
mod slow;
mod stream;
mod topics;
mod types;
mod ws;

use serde_json::{Value, json};

use crate::support::api::{Api, Reply, json as with_body, reply};
use crate::support::broker::NatsServer;
use crate::support::bugle::Bugle;
use crate::support::database::Database;
use crate::support::{SOON, eventually};

const INBOX: &str = "/v1/notifications";

/// A fleet without any document.
async fn fleet(database: Database) -> (Bugle, Api) {
    let bugle = Bugle::on(NatsServer::shared().await, database);
    bugle.start().await;
    let api = bugle.api();
    (bugle, api)
}

/// Makes a notification with these fields and gives its id.
async fn make(api: &Api, recipient: &str, more: &Value) -> String {
    let base = json!({ "recipient": recipient, "type": "task:done", "title": "Look" });
    let made = api.post(INBOX, &crate::support::bugle::with(base, more)).await.expect(201);
    assert_eq!(made["notifications"][0]["status"], "sent", "{made:#}");
    made["notifications"][0]["id"].as_str().unwrap().to_owned()
}

async fn list(api: &Api, query: &str) -> Value {
    api.get(&format!("{INBOX}?{query}")).await.expect(200)
}

fn titles(page: &Value) -> Vec<&str> {
    let all = page["notifications"].as_array().unwrap_or_else(|| panic!("{page:#}"));
    all.iter().map(|found| found["title"].as_str().unwrap()).collect()
}

async fn unread(api: &Api, recipient: &str) -> u64 {
    let count = api.get(&format!("{INBOX}/unread-count?recipient={recipient}")).await.expect(200);
    count["count"].as_u64().unwrap()
}

async fn send(api: &Api, method: &str, path: &str, body: &Value) -> Reply {
    reply(with_body(api.request(method, &format!("{INBOX}{path}")), body)).await
}

/// A POST that says all in its path.
async fn act(api: &Api, path: &str) -> Reply {
    reply(api.request("POST", &format!("{INBOX}{path}"))).await
}

/// Waits until an inbox lists so many.
async fn holds(api: &Api, recipient: &str, count: usize) -> Value {
    eventually(&format!("{recipient} has {count}"), SOON, async || {
        let page = list(api, &format!("recipient={recipient}")).await;
        if titles(&page).len() >= count { Ok(page) } else { Err(format!("{page:#}")) }
    })
    .await
}

//! Who reaches what of somebody else: every route of the API, tried by everybody on what is bob's. A route that has no row here
//! fails the test: whoever makes one says who may.

mod table;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use self::table::{COLUMNS, OF_ANN, Row, rows};
use super::{fleet, list, make};
use crate::support::api::{Api, http, json as with_body, reply, token};
use crate::support::bugle::{Bugle, with};
use crate::support::database::Database;

/// Stands in all that is bob's and is nobody else's business.
const SECRET: &str = "hunter2";

/// What is bob's.
struct Things {
    notification: String,
    doomed: String,
    delivery: String,
    pending: String,
    phone: String,
}

fn phone(name: &str) -> Value {
    json!({ "expoPushToken": format!("ExponentPushToken[{name}]"), "platform": "ios", "user": "bob", "deviceName": SECRET })
}

impl Things {
    async fn of_bob(api: &Api) -> Self {
        let said = json!({ "title": format!("{SECRET} title"), "body": format!("{SECRET} body"), "metadata": { "x": SECRET } });
        let (notification, doomed) = (make(api, "bob", &said).await, make(api, "bob", &said).await);
        let found = api.get(&format!("/v1/notifications/{notification}")).await.expect(200);
        let later = json!({ "channel": "in_app", "recipient": "bob", "title": SECRET, "body": SECRET, "delayMs": 3_600_000 });
        let pending = api.post("/v1/notifications/send", &later).await.expect(202);
        let made = api.post("/v1/push-subscriptions", &phone("phone")).await.expect(201);
        api.post("/v1/push-subscriptions", &phone("tablet")).await.expect(201);
        let known = with_body(api.request("PUT", "/v1/recipients/bob"), &json!({ "name": SECRET }));
        reply(known).await.expect(201);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (pending, phone) = (text(&pending["id"]), text(&made["id"]));
        Self { notification, doomed, delivery: text(&found["deliveryId"]), pending, phone }
    }

    /// A path that names what is bob's where it can.
    fn path(&self, template: &str) -> String {
        let id = match template {
            path if path.starts_with("/v1/notifications/send/") => &self.pending,
            path if path.starts_with("/v1/notifications/") => &self.notification,
            path if path.starts_with("/v1/deliveries/") => &self.delivery,
            path if path.starts_with("/v1/push-subscriptions/") => &self.phone,
            path if path.starts_with("/v1/recipients/") => "bob",
            path if path.ends_with("/test") => "in_app",
            _ => "none",
        };
        let path = template.replace("{id}", id).replace("{sequence}", "1").replace("{level}", "task");
        let path = path.replace("{channel}", "none").replace("{token}", "none");
        match template {
            "/v1/notifications"
            | "/v1/notifications/unread-count"
            | "/v1/notifications/read-all"
            | "/v1/notifications/stream"
            | "/v1/notifications/ws"
            | "/v1/notifications/preferences"
            | "/v1/deliveries"
            | "/v1/deliveries/stats"
            | "/v1/deliveries/stream" => path + "?recipient=bob",
            "/v1/push-subscriptions" => path + "?user=bob",
            _ => path,
        }
    }

    fn body(&self, method: &str, template: &str) -> Value {
        let message = json!({ "recipient": "bob", "title": "Hello" });
        match (method, template) {
            ("POST", "/v1/events") => json!({ "type": "a:b" }),
            ("POST", "/v1/notifications") => with(message, &json!({ "type": "a:b" })),
            ("PUT", "/v1/notifications") => json!({ "ids": [self.notification] }),
            ("DELETE", "/v1/notifications") => json!({ "ids": [self.doomed] }),
            (_, "/v1/notifications/preferences") => json!({ "preferences": [] }),
            ("POST", "/v1/notifications/claim") => json!({ "agent": "bob" }),
            ("POST", "/v1/notifications/send") => with(message, &json!({ "channel": "in_app", "body": "b" })),
            ("POST", "/v1/push-subscriptions") => with(phone("another"), &json!({ "deviceName": "another" })),
            ("DELETE", "/v1/push-subscriptions") => json!({ "expoPushToken": "ExponentPushToken[tablet]" }),
            ("POST", "/v1/notification-channels/{id}/test") => json!({ "recipient": "bob" }),
            _ => json!({}),
        }
    }

    /// What a request is answered, with all that came of its body.
    async fn answer(&self, api: &Api, row: &Row, more: &str) -> (u16, String) {
        let mut path = self.path(&row.path);
        // A list names him in its query, the others in their body.
        if row.method != "GET" && ["/v1/notifications", "/v1/push-subscriptions"].contains(&row.path.as_str())
        {
            path.truncate(row.path.len());
        }
        if !more.is_empty() {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(more);
        }
        let mut request = api.request(&row.method, &path);
        let body = self.body(&row.method, &row.path);
        if row.method != "GET" && row.path != "/v1/notifications/read-all" {
            request = with_body(request, &body);
        }
        let mut response = http().execute(request.build().unwrap()).await.unwrap();
        let (status, mut text) = (response.status().as_u16(), String::new());
        let patience = Duration::from_millis(if path.contains("/stream") { 300 } else { 20_000 });
        while let Ok(Ok(Some(bytes))) = tokio::time::timeout(patience, response.chunk()).await {
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        (status, text)
    }
}

/// What of bob's inbox and devices could have been changed by somebody.
async fn bobs(api: &Api) -> Value {
    let devices = api.get("/v1/push-subscriptions?user=bob").await.expect(200);
    let pending = api.get("/v1/deliveries?recipient=bob&status=scheduled").await.expect(200);
    json!([list(api, "recipient=bob").await, devices, pending])
}

/// Everybody who tries: without a token, of another workspace, bound to ann, and of each role.
async fn callers(bugle: &Bugle) -> Vec<Api> {
    let mut callers = vec![bugle.api_as(""), token(bugle, "admin", &json!({ "workspace": "red" })).await];
    for column in &COLUMNS[2..] {
        let (role, bound) = column.split_once(' ').unwrap_or((column, ""));
        let more = if bound.is_empty() { json!({}) } else { json!({ "recipient": "ann" }) };
        callers.push(token(bugle, role, &more).await);
    }
    callers
}

#[tokio::test]
async fn nobody_reaches_what_is_somebody_elses_on_any_path() {
    let (bugle, api) = fleet(Database::sqlite()).await;
    let things = Things::of_bob(&api).await;
    let description = api.get("/openapi.json").await.expect(200);
    let mut described = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        described
            .extend(methods.as_object().unwrap().keys().map(|method| (path.clone(), method.to_uppercase())));
    }
    let rows = rows();
    let known: BTreeSet<(String, String)> =
        rows.iter().map(|row| (row.path.clone(), row.method.clone())).collect();
    let unknown: Vec<_> = described.symmetric_difference(&known).collect();
    assert!(
        unknown.is_empty(),
        "say in tests/it/inbox/privacy/table.rs who may, or take away what is gone: {unknown:?}"
    );

    let callers = callers(&bugle).await;
    let before = bobs(&api).await;
    let mut wrong = Vec::new();
    // First those who must reach nothing, then those who may.
    for columns in [0..OF_ANN.end, OF_ANN.end..COLUMNS.len()] {
        for row in &rows {
            for column in columns.clone() {
                let (status, text) = things.answer(&callers[column], row, "").await;
                let (who, expected) = (COLUMNS[column], row.expected[column]);
                if !expected.holds(status) {
                    wrong.push(format!(
                        "{} {} by {who}: {status}, not {expected:?}: {text}",
                        row.method, row.path
                    ));
                }
                let told = OF_ANN.end > column || who == "publisher";
                if told && text.contains(SECRET) {
                    wrong.push(format!("{} {} tells {who}: {text}", row.method, row.path));
                }
            }
        }
        if columns.start == 0 {
            assert_eq!(bobs(&api).await, before, "somebody else changed what is bob's");
        }
    }
    // Whoever is of another workspace does not name this one.
    for row in &rows {
        let operation = &description["paths"][&row.path][row.method.to_lowercase()];
        let names = |parameter: &Value| parameter["name"] == "workspace";
        let takes = operation["parameters"].as_array().is_some_and(|all| all.iter().any(names));
        if takes && operation["security"] != json!([{}]) {
            let (status, text) = things.answer(&callers[1], row, "workspace=default").await;
            if status != 403 || text.contains(SECRET) {
                wrong.push(format!("{} {} of default by red: {status}: {text}", row.method, row.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

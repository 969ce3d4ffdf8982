//! A webhook: any endpoint of somebody's own.

use serde_json::{Value, json};

use super::subjects::{Documented, Subject};
use super::{HEADER_SECRET, PATH_SECRET, PRIVATE_KEY, SIGNING_SECRET};
use crate::channel::Kind;
use crate::outcome::Reason;

pub(super) fn subjects() -> Vec<Subject> {
    vec![
        way("", |base| config(base, &json!({}))),
        way("cloudevents", |base| config(base, &json!({ "format": "cloudevents" }))),
        way("cloudevents-binary", |base| config(base, &json!({ "format": "cloudevents-binary" }))),
        way("template", |base| {
            let template = json!({ "text": "{{title}}: {{text}}", "data": "{{data}}" });
            config(base, &json!({ "template": template, "secrets": [PRIVATE_KEY] }))
        }),
    ]
}

fn way(way: &'static str, config: fn(&str) -> Value) -> Subject {
    let kind = Kind::Webhook;
    Subject {
        kind,
        way,
        config,
        success: "",
        provider_id: None,
        body_decides: false,
        documented: documented(),
    }
}

fn config(base: &str, more: &Value) -> Value {
    let headers = json!({ "Authorization": HEADER_SECRET });
    let mut config =
        json!({ "url": format!("{base}/{PATH_SECRET}"), "secrets": [SIGNING_SECRET], "headers": headers });
    for (name, value) in more.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    config
}

fn documented() -> Vec<Documented> {
    vec![
        (301, "", "permanent", Reason::Rejected),
        (400, "{\"error\":\"bad\"}", "transient", Reason::Rejected),
        (401, "", "transient", Reason::Unauthorized),
        (404, "", "transient", Reason::Gone),
        (410, "", "permanent", Reason::Gone),
        (502, "<html>", "transient", Reason::ProviderError),
        (503, "", "transient", Reason::ProviderError),
    ]
}

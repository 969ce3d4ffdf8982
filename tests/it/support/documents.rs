//! Documents as tests want them: short.

use serde_json::{Value, json};

/// A webhook channel on a URL, with quick retries.
pub fn webhook(id: &str, url: &str) -> Value {
    json!({ "id": id, "kind": "webhook", "config": { "url": url }, "retry": { "scheduleMs": [300, 300] } })
}

/// A rule from one pattern to one channel.
pub fn rule(id: &str, pattern: &str, channel: &str) -> Value {
    json!({ "id": id, "events": [pattern], "channels": [channel] })
}

/// One webhook channel `hook` on a URL, and one rule `everything` from every event to it.
pub fn everything_to(url: &str) -> Value {
    json!({ "channels": [webhook("hook", url)], "rules": [rule("everything", "*", "hook")] })
}

/// `base` with the fields of `more` over it.
pub fn with(mut base: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        base[name] = value.clone();
    }
    base
}

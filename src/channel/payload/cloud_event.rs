//! A notification as a CloudEvent 1.0: structured in JSON, or binary with its attributes in headers.
//!
//! It is the notification that is the event here, not what it tells of: its id is the delivery's, so that a receiver knows a
//! repeat, and its subject is the type of what happened. Sources:
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>, and beside it `bindings/http-protocol-binding.md`,
//! `bindings/nats-protocol-binding.md` and `extensions/distributed-tracing.md`.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use crate::delivery::Delivery;
use crate::event::HOPS;

pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json";

const SPEC_VERSION: &str = "1.0";
const TYPE: &str = "bugle.notification";
const DATA_CONTENT_TYPE: &str = "application/json";

#[derive(Serialize)]
pub(super) struct CloudEvent<'a, D> {
    specversion: &'static str,
    id: &'a str,
    /// With the id it is unique, so a workspace is enough.
    source: String,
    #[serde(rename = "type")]
    event_type: &'static str,
    subject: &'a str,
    time: Timestamp,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    /// Whatever takes it in as an event goes on counting.
    buglehops: u32,
    data: D,
}

impl<'a, D> CloudEvent<'a, D> {
    pub fn of(delivery: &'a Delivery, data: D) -> Self {
        Self {
            specversion: SPEC_VERSION,
            id: delivery.id.as_str(),
            source: format!("/bugle/{}", delivery.workspace),
            event_type: TYPE,
            subject: delivery.event.event_type.as_str(),
            time: delivery.event.time,
            datacontenttype: DATA_CONTENT_TYPE,
            traceparent: delivery.event.traceparent.as_deref(),
            buglehops: delivery.event.hops + 1,
            data,
        }
    }

    /// The attributes as headers. The content type is left to its own header, as HTTP has it.
    pub fn headers(&self) -> Vec<(String, String)> {
        let header = |name: &str, value: &str| (format!("ce-{name}"), percent_encoded(value));
        let mut headers = vec![
            header("specversion", self.specversion),
            header("id", self.id),
            header("source", &self.source),
            header("type", self.event_type),
            header("subject", self.subject),
            header("time", &self.time.to_string()),
            header(HOPS, &self.buglehops.to_string()),
        ];
        headers.extend(self.traceparent.map(|traceparent| header("traceparent", traceparent)));
        headers
    }
}

/// Space, `"`, `%` and all that is not printable ASCII.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'%' => drop(write!(encoded, "%{byte:02X}")),
            b'!'..=b'~' => encoded.push(char::from(byte)),
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::channel::conformance::sample;
    use crate::event::EventType;

    #[test]
    fn a_notification_is_an_event_of_its_own() {
        let mut delivery = sample();
        delivery.event.traceparent =
            Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
        delivery.event.hops = 1;
        let event: Value = serde_json::to_value(CloudEvent::of(&delivery, json!({ "a": 1 }))).unwrap();
        let expected = json!({
            "specversion": "1.0", "id": "d_bivfuvuqt5zrxmfsw4jhrdbp", "source": "/bugle/default",
            "type": "bugle.notification", "subject": "task:created", "time": "2026-11-20T10:00:00Z",
            "datacontenttype": "application/json", "buglehops": 2, "data": { "a": 1 },
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        });
        assert_eq!(event, expected);
    }

    #[test]
    fn headers_are_percent_encoded_as_the_bindings_have_it() {
        assert_eq!(percent_encoded("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(percent_encoded("a\"%b~!\r\n"), "a%22%25b~!%0D%0A");
        let mut delivery = sample();
        delivery.event.event_type = EventType::parse("café:geöffnet").unwrap();
        let headers = CloudEvent::of(&delivery, ()).headers();
        assert!(headers.contains(&("ce-subject".to_owned(), "caf%C3%A9:ge%C3%B6ffnet".to_owned())));
        assert!(headers.contains(&("ce-buglehops".to_owned(), "1".to_owned())));
        assert!(!headers.iter().any(|(name, _)| name == "ce-traceparent"));
    }
}

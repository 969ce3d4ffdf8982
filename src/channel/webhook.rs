//! Webhooks to endpoints of somebody's own, signed as Standard Webhooks 1.0 has it.
//!
//! The body is the same on every try, so that a receiver may compare; the moment of the try is in a header, and signed with
//! it. `webhook-id` is the delivery's id: what a receiver recognises a repeat by. Source:
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::Sha256;
use url::Url;

use super::http::{HttpClient, classify_status, parse_endpoint};
use super::secret::{Redacted, below};
use super::{Adapter, Channel, Failure, Receipt, SendError, Try, Workshop, settings};
use crate::attachment::Attachment;
use crate::delivery::{Action, Delivery, Format};
use crate::outcome::Reason;
use crate::rule::fault::Fault;

/// Of a decoded secret: 192 to 512 bits, as the standard has it.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Headers that say how the request is framed or who sent it: ours alone.
const OWN_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "traceparent",
    "upgrade",
];

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookConfig {
    url: Redacted<String>,
    /// `whsec_…`, the first one in use and older ones until receivers have changed. Empty ones are ignored.
    #[serde(default)]
    secrets: Vec<Redacted<String>>,
    #[serde(default)]
    headers: BTreeMap<String, Redacted<String>>,
}

#[derive(Debug)]
pub struct Webhook {
    http: HttpClient,
    url: Redacted<Url>,
    secrets: Vec<Redacted<Vec<u8>>>,
    /// All that does not change from try to try.
    headers: HeaderMap,
}

impl Adapter for Webhook {
    type Config = WebhookConfig;

    fn show(delivery: &Delivery) -> Value {
        serde_json::to_value(Payload::of(delivery)).unwrap_or_default()
    }

    fn new(config: &Value, workshop: &Workshop) -> Result<Self, Fault> {
        let config: WebhookConfig = settings::read(config)?;
        let url = parse_endpoint(config.url.expose(), workshop.http.policy(), "/url")?;
        let mut secrets = Vec::new();
        for (index, secret) in config.secrets.iter().enumerate() {
            if !secret.expose().is_empty() {
                secrets.push(parse_secret(secret.expose(), &format!("/secrets/{index}"))?);
            }
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let (name, value) = parse_header(name, value.expose())?;
            headers.insert(name, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self { http: workshop.http.clone(), url: Redacted::new(url), secrets, headers })
    }
}

impl Webhook {
    fn headers(&self, delivery: &Delivery, body: &[u8], at: Timestamp) -> HeaderMap {
        let mut headers = self.headers.clone();
        let id = delivery.id.as_str();
        let timestamp = at.as_second().to_string();
        insert(&mut headers, "webhook-id", id);
        insert(&mut headers, "webhook-timestamp", &timestamp);
        if !self.secrets.is_empty() {
            let signatures: Vec<_> =
                self.secrets.iter().map(|secret| sign(secret.expose(), id, &timestamp, body)).collect();
            insert(&mut headers, "webhook-signature", &signatures.join(" "));
        }
        // Whatever makes an event of it says so, and a circle is noticed.
        insert(&mut headers, HOPS_HEADER, &(delivery.event.hops + 1).to_string());
        if let Some(traceparent) = &delivery.event.traceparent {
            insert(&mut headers, "traceparent", traceparent);
        }
        headers
    }
}

fn parse_secret(text: &str, pointer: &str) -> Result<Redacted<Vec<u8>>, Fault> {
    let bytes = text.strip_prefix("whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
    match bytes {
        Some(bytes) if SECRET_BYTES.contains(&bytes.len()) => Ok(Redacted::new(bytes)),
        Some(_) => Err(Fault::new(pointer.to_owned(), "is not 24 to 64 bytes long once decoded".to_owned())),
        None => Err(Fault::new(pointer.to_owned(), "is not `whsec_` and base64".to_owned())),
    }
}

fn parse_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Fault> {
    let fault = |message: &str| Fault::new(below("/headers", name), message.to_owned());
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        return Err(fault("is not a header's name"));
    };
    let lower = parsed.as_str();
    if lower.starts_with("webhook-") || lower == HOPS_HEADER || lower.starts_with("proxy-") || OWN_HEADERS.contains(&lower) {
        return Err(fault("is set by Bugle itself"));
    }
    let Ok(mut value) = HeaderValue::from_str(value) else {
        return Err(fault("has characters that a header cannot carry"));
    };
    value.set_sensitive(true);
    Ok((parsed, value))
}

/// A value that a header cannot carry is left out: only an event's own `traceparent` can be one.
fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn sign(secret: &[u8], id: &str, timestamp: &str, body: &[u8]) -> String {
    // HMAC takes keys of any length: the error cannot happen, and an empty signature verifies nowhere.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// How often the event of a webhook went out and came in again, this time included.
pub const HOPS_HEADER: &str = "bugle-hops";

impl Channel for Webhook {
    fn send<'a>(&'a self, attempt: Try<'a>) -> BoxFuture<'a, Result<Receipt, SendError>> {
        Box::pin(async move {
            let Try { delivery, at, .. } = attempt;
            let body = serde_json::to_vec(&Payload::of(delivery)).map_err(|_| {
                SendError::Ours(Failure::new(Reason::Internal, "the delivery could not be written as JSON"))
            })?;
            let headers = self.headers(delivery, &body, at);
            let answer = self.http.post(self.url.expose(), headers, Bytes::from(body), at).await?;
            classify_status(answer.status, answer.retry_after)?;
            Ok(Receipt { code: Some(answer.status), ..Receipt::default() })
        })
    }
}

/// What receivers see. A field more is fine, a field less breaks them: absent things are null.
#[derive(Serialize)]
struct Payload<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    /// When the event happened.
    timestamp: Timestamp,
    id: &'a str,
    workspace: &'a str,
    event: PayloadEvent<'a>,
    rule: Option<&'a str>,
    severity: &'a str,
    title: &'a str,
    body: &'a str,
    /// What the body is written in, when that is not Markdown.
    #[serde(skip_serializing_if = "Format::is_markdown")]
    format: Format,
    link: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Action]>::is_empty")]
    actions: &'a [Action],
    #[serde(skip_serializing_if = "<[Attachment]>::is_empty")]
    attachments: &'a [Attachment],
    recipient: Option<&'a str>,
    /// How many like it were held back since the last one.
    #[serde(rename = "heldBack")]
    held_back: u64,
    /// What has the same one takes the place of what was sent before.
    #[serde(rename = "collapseId", skip_serializing_if = "Option::is_none")]
    collapse_id: Option<&'a str>,
    data: &'a RawValue,
}

#[derive(Serialize)]
struct PayloadEvent<'a> {
    id: &'a str,
    source: &'a str,
}

impl<'a> Payload<'a> {
    fn of(delivery: &'a Delivery) -> Self {
        Self {
            event_type: delivery.event.event_type.as_str(),
            timestamp: delivery.event.time,
            id: delivery.id.as_str(),
            workspace: delivery.workspace.as_str(),
            event: PayloadEvent { id: &delivery.event.id, source: &delivery.event.source },
            rule: delivery.rule.as_ref().map(crate::ids::RuleId::as_str),
            severity: delivery.severity.as_str(),
            title: &delivery.title,
            body: &delivery.body,
            format: delivery.format,
            link: delivery.link.as_deref(),
            actions: &delivery.actions,
            attachments: &delivery.attachments,
            recipient: delivery.recipient.as_ref().map(crate::ids::Recipient::as_str),
            held_back: delivery.held_back,
            collapse_id: delivery.collapse_id.as_deref(),
            data: &delivery.data,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::channel::conformance::{sample, workshop};

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn webhook(config: &Value) -> Result<Webhook, Fault> {
        Webhook::new(config, &workshop())
    }

    #[test]
    fn the_signature_is_the_one_of_the_standards_own_example() {
        let key = parse_secret(SECRET, "").unwrap();
        let signature =
            sign(key.expose(), "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs_and_empty_ones_do_not() {
        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let url = "https://a.example/";
        for (secrets, count) in
            [(json!([]), 0), (json!([""]), 0), (json!(["", SECRET]), 1), (json!([SECRET, other]), 2)]
        {
            let webhook = webhook(&json!({ "url": url, "secrets": secrets })).unwrap();
            let headers = webhook.headers(&sample(), b"{}", Timestamp::UNIX_EPOCH);
            let signatures = headers.get("webhook-signature").map_or("", |value| value.to_str().unwrap());
            assert_eq!(signatures.split_whitespace().count(), count, "{secrets}");
            assert_eq!(headers.contains_key("webhook-signature"), count > 0);
            assert_eq!(headers["webhook-timestamp"], "0");
            assert_eq!(headers["webhook-id"], sample().id.as_str());
        }
    }

    #[test]
    fn faults_name_the_place_and_no_secret() {
        let url = "https://a.example/";
        for (config, pointer) in [
            (json!({}), "/url"),
            (json!({ "url": "hunter2" }), "/url"),
            (json!({ "url": url, "secret": "hunter2" }), "/secret"),
            (json!({ "url": url, "secrets": [SECRET, "hunter2"] }), "/secrets/1"),
            (json!({ "url": url, "secrets": ["whsec_hunter2+"] }), "/secrets/0"),
            (json!({ "url": url, "secrets": ["whsec_aHVudGVyMg=="] }), "/secrets/0"),
            (json!({ "url": url, "headers": { "Content-Type": "hunter2" } }), "/headers/Content-Type"),
            (json!({ "url": url, "headers": { "Webhook-Id": "hunter2" } }), "/headers/Webhook-Id"),
            (json!({ "url": url, "headers": { "HOST": "hunter2" } }), "/headers/HOST"),
            (json!({ "url": url, "headers": { "X A": "hunter2" } }), "/headers/X A"),
            (json!({ "url": url, "headers": { "X-A": "hunter2\r\nX-B: c" } }), "/headers/X-A"),
            (json!({ "url": url, "headers": { "X-A": ["hunter2"] } }), "/headers/X-A"),
        ] {
            let fault = webhook(&config).unwrap_err();
            assert_eq!(fault.pointer, pointer, "{fault}");
            assert!(!fault.message.contains("hunter2"), "{fault}");
        }
    }

    #[test]
    fn the_payload_holds_all_that_is_known_word_for_word() {
        let payload = serde_json::to_string(&Payload::of(&sample())).unwrap();
        let expected = concat!(
            r#"{"type":"task:created","timestamp":"2026-11-20T10:00:00Z","id":"d_bivfuvuqt5zrxmfsw4jhrdbp","#,
            r#""workspace":"default","event":{"id":"e-1","source":"tests"},"rule":"everything","severity":"warning","#,
            r#""title":"Task <created> & more","body":"**bold** snake_case_name\n\n<!channel>","link":null,"#,
            r#""recipient":null,"heldBack":0,"data":{"b":1, "a":1.0}}"#
        );
        assert_eq!(payload, expected);
    }

    #[test]
    fn a_traceparent_goes_on_and_a_broken_one_does_not_stop_the_delivery() {
        let webhook = webhook(&json!({ "url": "https://a.example/" })).unwrap();
        let mut delivery = sample();
        for (traceparent, expected) in [(Some("00-a-b-01"), true), (Some("a\nb"), false), (None, false)] {
            delivery.event.traceparent = traceparent.map(str::to_owned);
            let headers = webhook.headers(&delivery, b"", Timestamp::UNIX_EPOCH);
            assert_eq!(headers.contains_key("traceparent"), expected, "{traceparent:?}");
        }
    }

    #[test]
    fn nothing_secret_prints() {
        let config = json!({ "url": "https://a.example/hunter2", "secrets": [SECRET], "headers": { "Authorization": "hunter2" } });
        let printed = format!("{:?}", webhook(&config).unwrap());
        assert!(!printed.contains("hunter2") && !printed.contains("MfKQ"), "{printed}");
    }
}

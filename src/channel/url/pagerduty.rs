//! PagerDuty, Events API v2: `pagerduty://INTEGRATION_KEY[?region=eu]`.
//!
//! Triggers an incident. Its `dedup_key` is the collapse id, so that what belongs to one incident stays one, else the delivery's
//! id, so that a try that is made again makes no second one. Nothing is resolved: a notification does not know that it is over.
//! Source: <https://developer.pagerduty.com/docs/send-alert-event>.

use serde_json::value::RawValue;
use serde_json::{Value, json};
use url::Url;

use super::address::{Address, at, fault};
use super::message::Message;
use super::{Answer, Pace, Request, Service, by_status, field};
use crate::channel::http::HttpPolicy;
use crate::channel::secret::Redacted;
use crate::channel::{Failure, Receipt, SendError};
use crate::outcome::Reason;
use crate::rule::fault::Fault;

const KEY_BYTES: usize = 32;
const SUMMARY_UNITS_MAX: usize = 1024;
const TEXT_UNITS_MAX: usize = 16_000;
/// An event has 512 KB at most.
const DATA_BYTES_MAX: usize = 256 * 1024;
const DEDUP_BYTES_MAX: usize = 255;

struct PagerDuty {
    url: Redacted<Url>,
    key: Redacted<String>,
}

pub(super) fn open(address: &Address, _: &HttpPolicy) -> Result<Box<dyn Service>, Fault> {
    address.only_options(&["region"])?;
    if address.user().is_some() || address.password().is_some() {
        return Err(fault("has something before an @: Events API v2 takes the integration key alone, pagerduty://KEY"));
    }
    if !address.segments().is_empty() {
        return Err(fault("has a path, and this service has none"));
    }
    let key = address.host();
    if key.len() != KEY_BYTES || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(fault("has no integration key: 32 letters and digits"));
    }
    let server = match address.option("region").as_deref() {
        None | Some("us") => "https://events.pagerduty.com",
        Some("eu") => "https://events.eu.pagerduty.com",
        Some(_) => return Err(fault("has a `region` that is neither us nor eu")),
    };
    let url = at(server, &["v2", "enqueue"])?;
    Ok(Box::new(PagerDuty { url: Redacted::new(url), key: Redacted::new(key) }))
}

impl Service for PagerDuty {
    fn request(&self, message: &Message<'_>, _: Option<&str>) -> Request {
        let delivery = message.delivery;
        let mut details = json!({ "body": message.plain(TEXT_UNITS_MAX), "delivery": delivery.id.as_str() });
        if let Some(data) = data(&delivery.data) {
            details["data"] = data;
        }
        let summary = Some(message.title(SUMMARY_UNITS_MAX)).filter(|title| !title.is_empty());
        let links: Vec<_> = message.ways.iter().map(|way| json!({ "href": way.url, "text": way.label })).collect();
        let mut body = json!({
            "routing_key": self.key.expose(),
            "event_action": "trigger",
            "dedup_key": message.short_key(DEDUP_BYTES_MAX),
            "client": "Bugle",
            "links": links,
            "payload": {
                "summary": summary.unwrap_or_else(|| message.footer()),
                "source": delivery.event.source,
                // The same three words.
                "severity": delivery.severity.as_str(),
                "timestamp": delivery.event.time.to_string(),
                "class": delivery.event.event_type.as_str(),
                "custom_details": details,
            },
        });
        if let Some(link) = message.link() {
            body["client_url"] = link.into();
        }
        Request::post(&self.url, body)
    }

    fn classify(&self, answer: &Answer) -> Result<Receipt, SendError> {
        let text = String::from_utf8_lossy(&answer.body);
        if answer.status == 400 && text.contains("routing_key") {
            let failure = Failure::new(Reason::Unauthorized, "PagerDuty does not know the integration key").code(400);
            return Err(SendError::Ours(failure));
        }
        let receipt = by_status(answer)?;
        Ok(Receipt { provider_id: field(answer, "/dedup_key"), ..receipt })
    }

    fn limits(&self) -> Vec<(Vec<&str>, Pace)> {
        vec![(vec!["pagerduty", self.key.expose()], Pace { most: 120, seconds: 60 })]
    }
}

fn data(raw: &RawValue) -> Option<Value> {
    if raw.get().len() > DATA_BYTES_MAX {
        return None;
    }
    serde_json::from_str(raw.get()).ok()
}

//! Opsgenie, Alert API: `opsgenie://API_KEY[?region=eu]`. Atlassian ends it in April 2027.
//!
//! The alias is the collapse id, else the delivery's id, so that what belongs together stays one alert. It answers 202 and works
//! later. Sources: <https://docs.opsgenie.com/docs/alert-api#create-alert>, <https://docs.opsgenie.com/docs/response>,
//! <https://docs.opsgenie.com/docs/api-rate-limiting>.

use serde_json::json;
use url::Url;

use super::address::{Address, at, fault};
use super::message::Message;
use super::{Answer, Pace, Request, Service, by_status, field};
use crate::channel::http::HttpPolicy;
use crate::channel::secret::Redacted;
use crate::channel::{Failure, Receipt, SendError};
use crate::event::Severity;
use crate::outcome::Reason;
use crate::rule::fault::Fault;

const MESSAGE_UNITS_MAX: usize = 130;
const DESCRIPTION_BYTES_MAX: usize = 15_000;
const ALIAS_BYTES_MAX: usize = 512;
const SOURCE_UNITS_MAX: usize = 100;

struct Opsgenie {
    url: Redacted<Url>,
    key: Redacted<String>,
}

pub(super) fn open(address: &Address, _: &HttpPolicy) -> Result<Box<dyn Service>, Fault> {
    address.no_user()?;
    address.only_options(&["region"])?;
    if !address.segments().is_empty() {
        return Err(fault("has a path: who is told is for the integration in Opsgenie to say"));
    }
    let server = match address.option("region").as_deref() {
        None | Some("us") => "https://api.opsgenie.com",
        Some("eu") => "https://api.eu.opsgenie.com",
        Some(_) => return Err(fault("has a `region` that is neither us nor eu")),
    };
    let url = at(server, &["v2", "alerts"])?;
    Ok(Box::new(Opsgenie { url: Redacted::new(url), key: Redacted::new(address.host()) }))
}

impl Service for Opsgenie {
    fn request(&self, message: &Message<'_>, _: Option<&str>) -> Request {
        let priority = match message.delivery.severity {
            Severity::Info => "P5",
            Severity::Warning => "P3",
            Severity::Critical => "P1",
        };
        let delivery = message.delivery;
        let title = message.title(MESSAGE_UNITS_MAX);
        let body = json!({
            "message": if title.is_empty() { message.footer() } else { title },
            "alias": message.short_key(ALIAS_BYTES_MAX),
            "description": message.plain_with_links(DESCRIPTION_BYTES_MAX, char::len_utf8),
            "priority": priority,
            "source": crate::channel::text::cut(&delivery.event.source, SOURCE_UNITS_MAX),
            "details": { "type": delivery.event.event_type.as_str(), "delivery": delivery.id.as_str() },
        });
        let mut request = Request::post(&self.url, body);
        request.headers.push(("authorization", Redacted::new(format!("GenieKey {}", self.key.expose()))));
        request
    }

    fn classify(&self, answer: &Answer) -> Result<Receipt, SendError> {
        let ours = match answer.status {
            402 => Some("the account's plan does not allow alerts by its API"),
            403 => Some("the key may not create alerts"),
            _ => None,
        };
        if let Some(words) = ours {
            return Err(SendError::Ours(Failure::new(Reason::Unauthorized, words).code(answer.status)));
        }
        let receipt = by_status(answer)?;
        Ok(Receipt { provider_id: field(answer, "/requestId"), ..receipt })
    }

    /// Assumed: what it takes depends on the plan and the number of users, and is said nowhere as one number.
    fn limits(&self) -> Vec<(Vec<&str>, Pace)> {
        vec![(vec!["opsgenie", self.key.expose()], Pace { most: 60, seconds: 60 })]
    }
}

//! Gotify: `gotifys://HOST[:PORT][/PATH]/TOKEN`, with the token of an application.
//!
//! Markdown, in which a line feed alone is a space. Priorities below 4 make no sound on a phone, from 8 on a loud one. Sources:
//! <https://gotify.net/api-docs#/message/createMessage>, <https://gotify.net/docs/msgextras>.

use serde_json::json;
use url::Url;

use super::address::{Address, fault};
use super::message::Message;
use super::{Answer, Pace, Request, Service, by_status, field};
use crate::channel::http::HttpPolicy;
use crate::channel::secret::Redacted;
use crate::channel::{Receipt, SendError};
use crate::event::Severity;
use crate::rule::fault::Fault;

const TITLE_UNITS_MAX: usize = 250;
const MESSAGE_UNITS_MAX: usize = 16_000;

struct Gotify {
    url: Redacted<Url>,
    token: Redacted<String>,
}

pub(super) fn open(address: &Address, policy: &HttpPolicy) -> Result<Box<dyn Service>, Fault> {
    address.no_user()?;
    address.only_options(&[])?;
    let mut path = address.segments();
    let Some(token) = path.pop() else { return Err(fault("is not gotifys://HOST/TOKEN")) };
    path.push("message".to_owned());
    Ok(Box::new(Gotify { url: Redacted::new(address.server(&path, policy)?), token: Redacted::new(token) }))
}

impl Service for Gotify {
    fn request(&self, message: &Message<'_>, _: Option<&str>) -> Request {
        let priority = match message.delivery.severity {
            Severity::Info => 4,
            Severity::Warning => 6,
            Severity::Critical => 9,
        };
        let mut extras = json!({ "client::display": { "contentType": "text/markdown" } });
        if let Some(link) = message.link() {
            extras["client::notification"] = json!({ "click": { "url": link } });
        }
        let body = json!({
            "title": message.title(TITLE_UNITS_MAX), "message": message.or_footer(message.markdown(MESSAGE_UNITS_MAX, true)),
            "priority": priority, "extras": extras,
        });
        let mut request = Request::post(&self.url, body);
        request.headers.push(("x-gotify-key", self.token.clone()));
        request
    }

    fn classify(&self, answer: &Answer) -> Result<Receipt, SendError> {
        let receipt = by_status(answer)?;
        Ok(Receipt { provider_id: field(answer, "/id"), ..receipt })
    }

    fn limits(&self) -> Vec<(Vec<&str>, Pace)> {
        Vec::new()
    }
}

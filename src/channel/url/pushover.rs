//! Pushover: `pover://USER_KEY@TOKEN[/DEVICE]`, with the token of an application.
//!
//! Severity is the priority: `info` is quiet, `critical` passes quiet hours. The highest priority, which asks until somebody
//! answers, is never used. One image goes along. Source: <https://pushover.net/api>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use url::Url;

use super::address::{Address, at, fault};
use super::message::Message;
use super::{Answer, Pace, Request, Service, by_status, field};
use crate::attachment::Attachment;
use crate::channel::http::HttpPolicy;
use crate::channel::secret::Redacted;
use crate::channel::text::units;
use crate::channel::{Failure, Receipt, SendError};
use crate::event::Severity;
use crate::outcome::Reason;
use crate::rule::fault::Fault;

const TITLE_UNITS_MAX: usize = 250;
/// Characters, not bytes.
const MESSAGE_UNITS_MAX: usize = 1024;
const URL_UNITS_MAX: usize = 512;
/// 5 MB.
const IMAGE_BYTES_MAX: usize = 5_000_000;
const KEY_BYTES: usize = 30;

struct Pushover {
    url: Redacted<Url>,
    token: Redacted<String>,
    user: Redacted<String>,
    device: Option<String>,
}

pub(super) fn open(address: &Address, _: &HttpPolicy) -> Result<Box<dyn Service>, Fault> {
    address.only_options(&[])?;
    let (Some(user), None) = (address.user(), address.password()) else {
        return Err(fault("is not pover://USER_KEY@TOKEN"));
    };
    let token = address.host();
    let is_key = |key: &str| key.len() == KEY_BYTES && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_key(&user) || !is_key(&token) {
        return Err(fault("is not pover://USER_KEY@TOKEN: both have 30 letters and digits"));
    }
    let device = match address.segments().as_slice() {
        [] => None,
        [device] => Some(device.clone()),
        _ => return Err(fault("has more than one device")),
    };
    let url = at("https://api.pushover.net", &["1", "messages.json"])?;
    Ok(Box::new(Pushover {
        url: Redacted::new(url),
        token: Redacted::new(token),
        user: Redacted::new(user),
        device,
    }))
}

impl Service for Pushover {
    fn request(&self, message: &Message<'_>, _: Option<&str>) -> Request {
        let priority = match message.delivery.severity {
            Severity::Info => -1,
            Severity::Warning => 0,
            Severity::Critical => 1,
        };
        let text = message.or_footer(message.plain_with_links(MESSAGE_UNITS_MAX, char::len_utf16));
        let mut body = json!({
            "token": self.token.expose(), "user": self.user.expose(), "title": message.title(TITLE_UNITS_MAX),
            "message": text, "priority": priority, "timestamp": message.delivery.event.time.as_second(),
        });
        if let Some(link) = message.link().filter(|link| units(link) <= URL_UNITS_MAX) {
            body["url"] = link.into();
        }
        if let Some((image, bytes)) = image(message) {
            body["attachment_base64"] = STANDARD.encode(bytes).into();
            body["attachment_type"] = image.media_type().into();
        }
        if let Some(device) = &self.device {
            body["device"] = device.as_str().into();
        }
        Request::post(&self.url, body)
    }

    fn files(&self, message: &Message<'_>) -> usize {
        usize::from(image(message).is_some())
    }

    fn classify(&self, answer: &Answer) -> Result<Receipt, SendError> {
        let says = |name: &str| field(answer, name).as_deref() == Some("invalid");
        if (400..500).contains(&answer.status) && answer.status != 429 {
            let failure = |reason, what: &str| Failure::new(reason, format!("Pushover does not know the {what}"));
            if says("/token") {
                let failure = failure(Reason::Unauthorized, "application's token").code(answer.status);
                return Err(SendError::Ours(failure));
            }
            if says("/user") {
                return Err(SendError::Permanent(failure(Reason::Gone, "user").code(answer.status)));
            }
        }
        let receipt = by_status(answer)?;
        if field(answer, "/status").is_some_and(|status| status != "1") {
            let failure = Failure::new(Reason::Rejected, "refused, under a status that says the opposite");
            return Err(SendError::Permanent(failure.code(answer.status)));
        }
        Ok(Receipt { provider_id: field(answer, "/request"), ..receipt })
    }

    /// Its quota is an account's for a month, and none of a second is named: it asks for no more than two connections at once.
    fn limits(&self) -> Vec<(Vec<&str>, Pace)> {
        vec![(vec!["pushover", self.token.expose()], Pace { most: 2, seconds: 1 })]
    }
}

/// The first image.
fn image<'a>(message: &'a Message<'_>) -> Option<(&'a Attachment, Vec<u8>)> {
    message.files().find(|(file, bytes)| file.media_type().starts_with("image/") && bytes.len() <= IMAGE_BYTES_MAX)
}

//! ntfy: `ntfy://TOPIC` on ntfy.sh, `ntfys://[USER:PASSWORD@]HOST[:PORT]/TOPIC` on a server of one's own, with a token as
//! `?token=tk_…` or in the user's place.
//!
//! Published as JSON; severity is the priority, actions are buttons (three at most), the link opens at a tap. Longer messages than
//! 4,096 bytes would become a file. Source: <https://docs.ntfy.sh/publish/>.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
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

const CLOUD: &str = "ntfy.sh";
const TOPIC_BYTES_MAX: usize = 64;
const TITLE_UNITS_MAX: usize = 200;
const MESSAGE_BYTES_MAX: usize = 4096;
const ACTIONS_MAX: usize = 3;
/// The messages of a day are used up: 250 on ntfy.sh.
const DAILY_QUOTA: &str = "42908";
/// A day's quota is not there again in a minute.
const QUOTA_PAUSE: Duration = Duration::from_hours(1);

struct Ntfy {
    url: Redacted<Url>,
    topic: Redacted<String>,
    authorization: Option<Redacted<String>>,
}

pub(super) fn open(address: &Address, policy: &HttpPolicy) -> Result<Box<dyn Service>, Fault> {
    address.only_options(&["token"])?;
    let (url, topic) = match address.segments().as_slice() {
        [] if address.scheme() == "ntfy" && address.host() != CLOUD => (at("https://ntfy.sh", &[])?, address.host()),
        [topic] if address.host() == CLOUD => (at("https://ntfy.sh", &[])?, topic.clone()),
        [path @ .., topic] => (address.server(path, policy)?, topic.clone()),
        [] => return Err(fault("names no topic: ntfys://HOST/TOPIC")),
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if topic.len() > TOPIC_BYTES_MAX || !topic.bytes().all(legal) {
        return Err(fault("has a topic that is none: 1 to 64 of A-Z, a-z, 0-9, _ and -"));
    }
    Ok(Box::new(Ntfy { url: Redacted::new(url), topic: Redacted::new(topic), authorization: authorization(address)? }))
}

fn authorization(address: &Address) -> Result<Option<Redacted<String>>, Fault> {
    let bearer = |token: &str| Some(Redacted::new(format!("Bearer {token}")));
    Ok(match (address.option("token"), address.user(), address.password()) {
        (Some(token), None, None) => bearer(&token),
        (Some(_), _, _) => return Err(fault("has a token and a user: one of them is enough")),
        (None, Some(user), None) if user.starts_with("tk_") => bearer(&user),
        // ntfy takes a token as the password of nobody, too.
        (None, None, Some(password)) if password.starts_with("tk_") => bearer(&password),
        (None, Some(user), Some(password)) => {
            Some(Redacted::new(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))))
        }
        (None, None, None) => None,
        (None, _, _) => return Err(fault("has a user without a password, or the other way round")),
    })
}

impl Service for Ntfy {
    fn request(&self, message: &Message<'_>, _: Option<&str>) -> Request {
        let priority = match message.delivery.severity {
            Severity::Info => 3,
            Severity::Warning => 4,
            Severity::Critical => 5,
        };
        let link = message.link();
        // The link has a place of its own.
        let buttons = message.ways.iter().skip(usize::from(link.is_some())).take(ACTIONS_MAX);
        let actions: Vec<_> =
            buttons.map(|way| json!({ "action": "view", "label": way.label, "url": way.url })).collect();
        let mut body = json!({
            "topic": self.topic.expose(), "title": message.title(TITLE_UNITS_MAX), "priority": priority,
            "message": message.or_footer(message.plain_bytes(MESSAGE_BYTES_MAX)), "actions": actions,
        });
        if let Some(link) = link {
            body["click"] = link.into();
        }
        let mut request = Request::post(&self.url, body);
        request.headers.extend(self.authorization.clone().map(|value| ("authorization", value)));
        request
    }

    fn classify(&self, answer: &Answer) -> Result<Receipt, SendError> {
        if answer.status == 429 && field(answer, "/code").as_deref() == Some(DAILY_QUOTA) {
            let failure = Failure::new(Reason::RateLimited, "the messages of a day are used up").code(429);
            return Err(SendError::RateLimited { failure, retry_after: answer.retry_after.or(Some(QUOTA_PAUSE)) });
        }
        let receipt = by_status(answer)?;
        Ok(Receipt { provider_id: field(answer, "/id"), ..receipt })
    }

    /// Of ntfy.sh and of a server as it comes: 60 at once, and one more every five seconds. What a day has is not kept here: it
    /// depends on who is signed in.
    fn limits(&self) -> Vec<(Vec<&str>, Pace)> {
        vec![(vec!["ntfy", self.url.expose().as_str()], Pace { most: 60, seconds: 300 })]
    }
}

//! Rocket.Chat by incoming webhook: `rockets://ID/TOKEN@HOST[:PORT]?to=CHANNEL`, or `rockets://HOST[:PORT]/ID/TOKEN`.
//!
//! Its Markdown has no escape that all versions know, so the text is plain, and what would call somebody or make a link is parted
//! by a character of no width. A webhook that it does not know is answered 404 by older servers and 500, without a word, by newer
//! ones, where it cannot be told from trouble. Sources: <https://docs.rocket.chat/docs/integrations>,
//! <https://docs.rocket.chat/docs/rate-limiter>.

use serde_json::json;
use url::Url;

use super::address::{Address, fault};
use super::message::{Message, colour};
use super::{Answer, Pace, Request, Service, by_status, field};
use crate::channel::http::HttpPolicy;
use crate::channel::secret::Redacted;
use crate::channel::{Failure, Receipt, SendError};
use crate::outcome::Reason;
use crate::rule::fault::Fault;

const TITLE_UNITS_MAX: usize = 250;
/// A server takes 5,000 as it comes.
const TEXT_BYTES_MAX: usize = 4_000;

type Class = fn(Failure) -> SendError;

/// A part of the error, what it asks for, and what is said about it. It decides under any status.
const REFUSALS: [(&str, Class, Reason, &str); 3] = [
    (
        "Invalid integration id or token",
        SendError::Permanent,
        Reason::Gone,
        "Rocket.Chat does not know the webhook",
    ),
    (
        "overriding destination channel is disabled",
        SendError::Ours,
        Reason::Unauthorized,
        "the webhook may not choose its channel: leave out `to`, or allow it in the integration",
    ),
    (
        "error-user-lacks-message-impersonate-permission",
        SendError::Ours,
        Reason::Unauthorized,
        "the integration's user lacks the permission message-impersonate",
    ),
];

struct RocketChat {
    url: Redacted<Url>,
    channel: Option<String>,
}

/// Apprise writes the key where a user stands, and it has a slash in it: moved into the path.
pub(super) fn mended(text: &str) -> Option<String> {
    let (scheme, rest) = text.trim().split_once("://")?;
    if !matches!(scheme, "rocket" | "rockets") {
        return None;
    }
    let (key, server) = rest.split_once('@')?;
    let (server, query) = server.split_once('?').unwrap_or((server, ""));
    let server = server.trim_end_matches('/');
    Some(format!("{scheme}://{server}/{key}?{query}"))
}

pub(super) fn open(address: &Address, policy: &HttpPolicy) -> Result<Box<dyn Service>, Fault> {
    address.no_user()?;
    address.only_options(&["to"])?;
    let mut path = address.segments();
    let (Some(token), Some(id)) = (path.pop(), path.pop()) else {
        return Err(fault("is not rockets://ID/TOKEN@HOST"));
    };
    path.extend(["hooks".to_owned(), id, token]);
    let url = Redacted::new(address.server(&path, policy)?);
    Ok(Box::new(RocketChat { url, channel: address.option("to") }))
}

impl Service for RocketChat {
    fn request(&self, message: &Message<'_>, _: Option<&str>) -> Request {
        let title = message.title(TITLE_UNITS_MAX);
        let mut attachment = json!({
            "title": parted(&title), "color": format!("#{:06x}", colour(message.delivery.severity)),
            "text": parted(&message.plain_with_links(TEXT_BYTES_MAX, char::len_utf8)),
        });
        if let Some(link) = message.link() {
            attachment["title_link"] = link.into();
        }
        let mut body = json!({ "text": parted(&message.footer()), "attachments": [attachment] });
        if let Some(channel) = &self.channel {
            body["channel"] = channel.as_str().into();
        }
        Request::post(&self.url, body)
    }

    fn classify(&self, answer: &Answer) -> Result<Receipt, SendError> {
        let error = field(answer, "/error").unwrap_or_default();
        if let Some((_, class, reason, words)) = REFUSALS.iter().find(|(said, ..)| error.contains(said)) {
            return Err(class(Failure::new(*reason, *words).code(answer.status)));
        }
        let receipt = by_status(answer)?;
        if field(answer, "/success").as_deref() == Some("false") {
            let failure = Failure::new(Reason::Rejected, "refused, under a status that says the opposite");
            return Err(SendError::Permanent(failure.code(answer.status)));
        }
        Ok(receipt)
    }

    /// Of a server as it comes; each webhook has a count of its own.
    fn limits(&self) -> Vec<(Vec<&str>, Pace)> {
        vec![(vec!["rocket_chat", self.url.expose().as_str()], Pace { most: 10, seconds: 60 })]
    }
}

fn parted(text: &str) -> String {
    text.replace('@', "@\u{200b}").replace("](", "]\u{200b}(")
}

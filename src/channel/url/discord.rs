//! Discord by webhook: `discord://ID/TOKEN?thread=ID`, or the URL that Discord gives out.
//!
//! One embed, in which nobody is called. With `wait` Discord answers with the message, which a later one with the same collapse
//! id replaces. Its 429 says in the body, to the millisecond, when to come again. A webhook that it does not know
//! is not to be asked again. Discord asks those who call its API as a bot for a `User-Agent` of its own form; with a webhook it takes
//! ours. Sources: <https://docs.discord.com/developers/resources/webhook#execute-webhook>,
//! <https://docs.discord.com/developers/topics/rate-limits>.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use url::Url;

use super::address::{Address, at, fault};
use super::message::{Message, colour};
use super::{Answer, Pace, Request, Service, by_status, field};
use crate::channel::http::HttpPolicy;
use crate::channel::http::multipart::Part;
use crate::channel::markdown::escape_markdown;
use crate::channel::secret::Redacted;
use crate::channel::text::cut;
use crate::channel::{Failure, Receipt, SendError};
use crate::outcome::Reason;
use crate::rule::fault::Fault;

const TITLE_UNITS_MAX: usize = 256;
/// 4096, and an embed has 6,000 in all.
const DESCRIPTION_UNITS_MAX: usize = 4096;
const FILES_MAX: usize = 10;
/// Of all files together, less the rest of the form. On a server without boosts each may have 10 MiB; what a request may have
/// is not said.
const FILES_BYTES_MAX: usize = 10 * 1024 * 1024 - 64 * 1024;
const UNKNOWN_MESSAGE: &str = "10008";
/// Who goes on asking is shut out for a while: a 404 of this kind is the last answer.
const UNKNOWN_WEBHOOK: &str = "10015";
const HOSTS: [&str; 4] = ["discord.com", "discordapp.com", "ptb.discord.com", "canary.discord.com"];

struct Discord {
    url: Redacted<Url>,
    id: String,
    thread: Option<String>,
}

pub(super) fn open(address: &Address, _: &HttpPolicy) -> Result<Box<dyn Service>, Fault> {
    address.no_user()?;
    match address.segments().as_slice() {
        [token] => built(address, &address.host(), token),
        _ => Err(fault("is not discord://ID/TOKEN")),
    }
}

/// `https://discord.com/api/webhooks/ID/TOKEN`, perhaps with a version in it.
pub(super) fn native(address: &Address) -> Option<Result<Box<dyn Service>, Fault>> {
    if !HOSTS.contains(&address.host().as_str()) {
        return None;
    }
    let segments = address.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    Some(match path.as_slice() {
        ["api", "webhooks", id, token] | ["api", _, "webhooks", id, token] => built(address, id, token),
        _ => Err(fault("is no webhook of Discord: https://discord.com/api/webhooks/ID/TOKEN")),
    })
}

fn built(address: &Address, id: &str, token: &str) -> Result<Box<dyn Service>, Fault> {
    address.only_options(&["thread", "thread_id"])?;
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault("is not discord://ID/TOKEN: the id is a number"));
    }
    let thread = address.option("thread").or_else(|| address.option("thread_id"));
    if thread.as_ref().is_some_and(|thread| !thread.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(fault("has a `thread` that is not a number"));
    }
    let url = at("https://discord.com/api/v10/webhooks", &[id, token])?;
    Ok(Box::new(Discord { url: Redacted::new(url), id: id.to_owned(), thread }))
}

impl Service for Discord {
    fn request(&self, message: &Message<'_>, earlier: Option<&str>) -> Request {
        let delivery = message.delivery;
        let title = escape_markdown(&message.title(TITLE_UNITS_MAX));
        let mut embed = json!({
            // Escapes count.
            "title": cut(&title, TITLE_UNITS_MAX).trim_end_matches('\\'),
            "description": message.markdown(DESCRIPTION_UNITS_MAX, false),
            "color": colour(delivery.severity),
            "timestamp": delivery.event.time.to_string(),
            "footer": { "text": message.footer() },
        });
        if let Some(link) = message.link() {
            embed["url"] = link.into();
        }
        let files = parts(message);
        let listed: Vec<_> = files.iter().enumerate().map(|(id, part)| json!({ "id": id, "filename": part.file })).collect();
        // An edit keeps the files that are listed, and no others.
        let body = json!({ "embeds": [embed], "allowed_mentions": { "parse": [] }, "attachments": listed });
        let mut request = Request::post(&self.url, body);
        request.files = files;
        if let Some(earlier) = earlier {
            request.method = Method::PATCH;
            if let Ok(mut path) = request.url.path_segments_mut() {
                path.extend(["messages", earlier]);
            }
        } else {
            request.url.query_pairs_mut().append_pair("wait", "true");
        }
        if let Some(thread) = &self.thread {
            request.url.query_pairs_mut().append_pair("thread_id", thread);
        }
        request
    }

    fn files(&self, message: &Message<'_>) -> usize {
        parts(message).len()
    }

    fn replaces(&self) -> bool {
        true
    }

    fn is_gone(&self, answer: &Answer) -> bool {
        answer.status == 404 && field(answer, "/code").as_deref() == Some(UNKNOWN_MESSAGE)
    }

    fn classify(&self, answer: &Answer) -> Result<Receipt, SendError> {
        if answer.status == 429 {
            let seconds = field(answer, "/retry_after").and_then(|text| text.parse::<f64>().ok());
            let wait = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let failure = Failure::new(Reason::RateLimited, "answered 429").code(429);
            // A proxy before Discord answers with the header alone; both agree where both are there, up to its fraction.
            let retry_after = wait.filter(|wait| !wait.is_zero()).or(answer.retry_after);
            return Err(SendError::RateLimited { failure, retry_after });
        }
        if answer.status == 404 && field(answer, "/code").as_deref() == Some(UNKNOWN_WEBHOOK) {
            let failure = Failure::new(Reason::Gone, "Discord does not know the webhook").code(404);
            return Err(SendError::Permanent(failure.for_good()));
        }
        let receipt = by_status(answer)?;
        let id = field(answer, "/id");
        Ok(Receipt { provider_id: id.clone(), handle: id, ..receipt })
    }

    /// As they were seen: Discord documents none, tells them in headers, and may change them.
    fn limits(&self) -> Vec<(Vec<&str>, Pace)> {
        let of = |what| vec!["discord", self.id.as_str(), what];
        vec![(of("s"), Pace { most: 5, seconds: 2 }), (of("min"), Pace { most: 30, seconds: 60 })]
    }
}

/// As many as a message takes: the first ones that stay below its limit together.
fn parts(message: &Message<'_>) -> Vec<Part> {
    let mut room = FILES_BYTES_MAX;
    let mut parts = Vec::new();
    for (file, bytes) in message.files().take(FILES_MAX) {
        let Some(left) = room.checked_sub(bytes.len()) else { break };
        room = left;
        let content_type = file.media_type().to_owned();
        parts.push(Part { name: format!("files[{}]", parts.len()), file: Some(file.name.clone()), content_type, bytes });
    }
    parts
}

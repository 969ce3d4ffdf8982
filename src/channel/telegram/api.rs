//! Calls of the Bot API and what their answers mean.
//!
//! The bot's token is part of the URL, and a gateway may echo the URL in an error: of an answer only words are quoted, and
//! none that could hold a token, a chat or an address. Source: <https://core.telegram.org/bots/api#making-requests>.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::channel::http::{Answer, HttpClient, classify_provider_status, parse_endpoint, rebase};
use crate::channel::secret::Redacted;
use crate::channel::text::{cut, one_line};
use crate::channel::{Failure, SendError, Workshop};
use crate::outcome::Reason;
use crate::rule::fault::Fault;

const API_BASE: &str = "https://api.telegram.org";

/// The longest wait that is believed, as for `Retry-After`.
const RETRY_AFTER_MAX_S: u64 = 86_400;

/// Of Telegram's own description of an error.
pub(super) const DESCRIPTION_UNITS_MAX: usize = 200;

/// More digits in a row are an id.
const DIGITS_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Bot {
    pub http: HttpClient,
    /// With the token in it, up to the method's name.
    base: Redacted<Url>,
    pub token: Redacted<String>,
}

impl Bot {
    pub fn new(token: Redacted<String>, api_base: Option<&str>, workshop: &Workshop) -> Result<Self, Fault> {
        let text = token.expose();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let is_token = text.split_once(':').is_some_and(|(id, rest)| {
            let number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
            number && !rest.is_empty() && rest.bytes().all(legal)
        });
        if !is_token {
            let legal =
                "is not a bot's token: digits, a colon, then letters, digits, _ and -, without `bot` before them";
            return Err(Fault::new("/botToken".to_owned(), legal.to_owned()));
        }
        let base = api_base.filter(|base| !base.is_empty()).unwrap_or(API_BASE);
        let base = parse_endpoint(base, workshop.http.policy(), "/apiBase")?;
        let mut url = base.clone();
        url.set_path(&format!("/bot{text}/"));
        Ok(Self { http: workshop.http.clone(), base: Redacted::new(rebase(&url, &base)), token })
    }

    /// The URL of a method, which has the token in it.
    pub fn url(&self, method: &str) -> Redacted<Url> {
        let mut url = self.base.expose().clone();
        url.set_path(&format!("{}{method}", self.base.expose().path()));
        Redacted::new(url)
    }

    pub async fn post_json(
        &self,
        http: &HttpClient,
        method: &str,
        request: &impl Serialize,
        at: Timestamp,
    ) -> Result<Answer, SendError> {
        let body = serde_json::to_vec(request).map_err(|_| {
            SendError::Ours(Failure::new(Reason::Internal, "the message could not be written as JSON"))
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        http.post(self.url(method).expose(), headers, Bytes::from(body), at).await
    }

    /// A call that is about a chat. Of `secrets` nothing is quoted.
    pub async fn ask(
        &self,
        method: &str,
        request: &impl Serialize,
        at: Timestamp,
        secrets: &[&str],
    ) -> Result<Verdict, SendError> {
        let answer = self.post_json(&self.http, method, request, at).await?;
        self.classify(&answer, secrets)
    }

    pub fn classify(&self, answer: &Answer, secrets: &[&str]) -> Result<Verdict, SendError> {
        let secrets: Vec<&str> = secrets.iter().copied().chain([self.token.expose().as_str()]).collect();
        classify(answer, &secrets)
    }
}

/// What an answer says, unless it is an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted {
        message_id: Option<i64>,
        status: u16,
    },
    /// An edit that changes nothing.
    Unchanged {
        status: u16,
    },
    /// The message to edit is gone, or too old.
    Lost,
    /// The group is a supergroup now, with this id.
    Moved(i64),
}

#[derive(Deserialize)]
pub(super) struct ApiAnswer {
    pub ok: bool,
    result: Option<Sent>,
    pub error_code: Option<u16>,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    parameters: Parameters,
}

/// A message, or `true`, or whatever a method answers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Sent {
    Message { message_id: i64 },
    Other(serde::de::IgnoredAny),
}

#[derive(Default, Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

/// Of `secrets` nothing may be quoted: the token, and the chat of a recipient.
pub(super) fn classify(answer: &Answer, secrets: &[&str]) -> Result<Verdict, SendError> {
    let api = read(answer)?;
    if api.ok {
        let message_id = match api.result {
            Some(Sent::Message { message_id }) => Some(message_id),
            Some(Sent::Other(_)) | None => None,
        };
        return Ok(Verdict::Accepted { message_id, status: answer.status });
    }
    if let Some(to) = api.parameters.migrate_to_chat_id {
        return Ok(Verdict::Moved(to));
    }
    let says = |words: &[&str]| is_said(&api.description, words);
    match api.error_code.unwrap_or(answer.status) {
        400 if says(&["message is not modified"]) => Ok(Verdict::Unchanged { status: answer.status }),
        400 if says(&["message to edit not found", "message can't be edited", "message_id_invalid"]) => {
            Ok(Verdict::Lost)
        }
        code => Err(refusal(&api, code, answer.retry_after, secrets)),
    }
}

pub(super) fn read(answer: &Answer) -> Result<ApiAnswer, SendError> {
    serde_json::from_slice(&answer.body).or_else(|_| {
        classify_provider_status(answer.status, answer.retry_after)?;
        // It may have been sent: another try may repeat it, giving up may lose it.
        let failure = Failure::new(Reason::ProviderError, "the answer was cut short or is not Telegram's");
        Err(SendError::Transient { failure: failure.code(answer.status), retry_after: None })
    })
}

fn refusal(api: &ApiAnswer, code: u16, header: Option<Duration>, secrets: &[&str]) -> SendError {
    let asked = api.parameters.retry_after.filter(|&seconds| seconds > 0);
    let retry_after = asked.map(|seconds| Duration::from_secs(seconds.min(RETRY_AFTER_MAX_S))).or(header);
    let failure = |reason, detail: &str| Failure::new(reason, detail).code(code);
    let said = quotable(&api.description, secrets);
    match code {
        400 if is_said(&api.description, &GONE) => SendError::Permanent(failure(Reason::Gone, &said)),
        // A wrong token is an unknown path, or a known one that is not authorized.
        401 | 404 => SendError::Ours(failure(Reason::Unauthorized, "Telegram does not know the bot's token")),
        // Blocked by the user, kicked from the group, never started.
        403 => SendError::Permanent(failure(Reason::Gone, &said)),
        429 => SendError::RateLimited {
            failure: failure(Reason::RateLimited, "Telegram asks for a pause"),
            retry_after,
        },
        400..=499 => SendError::Permanent(failure(Reason::Rejected, &said)),
        // 5xx, and what contradicts itself.
        _ => SendError::Transient { failure: failure(Reason::ProviderError, &said), retry_after },
    }
}

/// The chat or the topic is not there: whatever is sent, it will not be.
const GONE: [&str; 6] = [
    "chat not found",
    "user not found",
    "peer_id_invalid",
    "group chat was deactivated",
    "group chat was upgraded",
    "message thread not found",
];

pub(super) fn is_said(description: &str, words: &[&str]) -> bool {
    let description = description.to_ascii_lowercase();
    words.iter().any(|known| description.contains(known))
}

/// Telegram's own words, which say best what is wrong, unless they could hold an id, an address or the token.
pub(super) fn quotable(description: &str, secrets: &[&str]) -> String {
    let description = one_line(description);
    let mut parts = secrets.iter().flat_map(|secret| secret.split(':')).filter(|part| !part.is_empty());
    let secret = parts.any(|part| description.contains(part));
    let id = description.split(|ch: char| !ch.is_ascii_digit()).any(|digits| digits.len() > DIGITS_MAX);
    if description.is_empty() || secret || id || description.contains(['/', '@']) {
        return "Telegram refused the message".to_owned();
    }
    cut(&format!("Telegram answered: {description}"), DESCRIPTION_UNITS_MAX)
}

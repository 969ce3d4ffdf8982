//! Telegram by the Bot API: `sendMessage` in HTML, to one chat.
//!
//! The bot's token is part of the URL, and a gateway may echo the URL in an error: nothing of an answer is quoted but what
//! is known not to hold it. `ok: false` counts under every status. The limit of 4096 is on the text without tags and
//! escapes, in UTF-16 units. Source: <https://core.telegram.org/bots/api#sendmessage>.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use url::Url;

use super::http::{Answer, HttpClient, classify_provider_status, parse_endpoint, rebase};
use super::markdown::{Document, escape_html, safe_link};
use super::secret::Redacted;
use super::text::{cut, one_line, units};
use super::{Adapter, Channel, Failure, Receipt, SendError, Try, Workshop, settings};
use crate::delivery::Delivery;
use crate::outcome::Reason;
use crate::rule::fault::Fault;

const API_BASE: &str = "https://api.telegram.org";

const TEXT_UNITS_MAX: usize = 4096;

/// Shares of it, so that the body always has most.
const TITLE_UNITS_MAX: usize = 256;
const CONTEXT_UNITS_MAX: usize = 256;

/// The longest wait that is believed, as for `Retry-After`.
const RETRY_AFTER_MAX_S: u64 = 86_400;

/// Of Telegram's own description of an error.
const DESCRIPTION_UNITS_MAX: usize = 200;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TelegramConfig {
    bot_token: Redacted<String>,
    /// A number, the same as text (from a variable), or `@name` of a public channel. None: each recipient's own chat.
    chat_id: Option<Id>,
    /// A topic of a forum.
    thread_id: Option<Id>,
    /// Takes the place of `https://api.telegram.org`.
    api_base: Option<String>,
}

/// A number or a text: variables bring texts only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Id {
    Number(i64),
    Name(String),
}

impl JsonSchema for Id {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Id".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"] })
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;

        impl Visitor<'_> for IdVisitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a text")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Id, E> {
                Ok(Id::Number(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Id, E> {
                i64::try_from(number).map(Id::Number).map_err(|_| E::custom("too large"))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
                let text = text.trim();
                Ok(text.parse().map_or_else(|_| Id::Name(text.to_owned()), Id::Number))
            }
        }

        deserializer.deserialize_any(IdVisitor)
    }
}

#[derive(Debug)]
pub struct Telegram {
    http: HttpClient,
    /// With the token in it.
    url: Redacted<Url>,
    token: Redacted<String>,
    /// None: the recipient's.
    chat_id: Option<Id>,
    thread_id: Option<i64>,
}

impl Adapter for Telegram {
    type Config = TelegramConfig;

    fn show(delivery: &Delivery) -> Value {
        text(delivery).into()
    }

    fn new(config: &Value, workshop: &Workshop) -> Result<Self, Fault> {
        let config: TelegramConfig = settings::read(config)?;
        let token = config.bot_token.expose();
        if token.is_empty()
            || !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":_-".contains(&byte))
        {
            let legal = "is not a bot's token: digits, a colon, then letters, digits, _ and -";
            return Err(Fault::new("/botToken".to_owned(), legal.to_owned()));
        }
        let named = |name: &str| name.strip_prefix('@').is_some_and(|rest| !rest.is_empty());
        if matches!(&config.chat_id, Some(Id::Name(name)) if !named(name)) {
            return Err(Fault::new("/chatId".to_owned(), "is neither a number nor an @name".to_owned()));
        }
        let thread_id = match config.thread_id {
            Some(Id::Number(id)) => Some(id),
            Some(Id::Name(name)) if name.is_empty() => None,
            Some(Id::Name(_)) => {
                return Err(Fault::new("/threadId".to_owned(), "is not a number".to_owned()));
            }
            None => None,
        };
        let base = config.api_base.as_deref().filter(|base| !base.is_empty()).unwrap_or(API_BASE);
        let base = parse_endpoint(base, workshop.http.policy(), "/apiBase")?;
        let mut url = base.clone();
        url.set_path(&format!("/bot{token}/sendMessage"));
        Ok(Self {
            http: workshop.http.clone(),
            url: Redacted::new(rebase(&url, &base)),
            token: config.bot_token,
            chat_id: config.chat_id,
            thread_id,
        })
    }

    fn probe<'a>(
        config: &'a Value,
        workshop: &'a Workshop,
        at: Timestamp,
    ) -> Option<BoxFuture<'a, Result<(), SendError>>> {
        Some(Box::pin(Self::probe(config, workshop, at)))
    }
}

impl Telegram {
    /// Asks who the bot is (`getMe`).
    ///
    /// # Errors
    /// As a try, and when the configuration cannot be used.
    pub async fn probe(config: &Value, workshop: &Workshop, at: Timestamp) -> Result<(), SendError> {
        #[derive(Deserialize)]
        struct Known {
            ok: bool,
        }
        let telegram = Self::new(config, workshop)
            .map_err(|fault| SendError::Ours(Failure::new(Reason::Misconfigured, fault.to_string())))?;
        let mut url = telegram.url.expose().clone();
        let path = url.path().replace("/sendMessage", "/getMe");
        url.set_path(&path);
        let answer = telegram.http.ask(Method::GET, &url, HeaderMap::new(), Bytes::new(), at).await?;
        match serde_json::from_slice::<Known>(&answer.body) {
            Ok(Known { ok: true }) => Ok(()),
            Ok(Known { ok: false }) | Err(_) => classify(&answer, &[telegram.token.expose(), ""]).map(drop),
        }
    }
}

impl Channel for Telegram {
    fn send<'a>(&'a self, attempt: Try<'a>) -> BoxFuture<'a, Result<Receipt, SendError>> {
        Box::pin(async move {
            let Try { delivery, to, at, .. } = attempt;
            let recipients = to.and_then(|to| to.expose().parse().ok()).map(Id::Number);
            let chat_id = self.chat_id.as_ref().or(recipients.as_ref()).ok_or_else(|| {
                SendError::Ours(Failure::new(Reason::Misconfigured, "there is no chat to send it to"))
            })?;
            let request = SendMessage {
                chat_id,
                message_thread_id: self.thread_id,
                text: text(delivery),
                parse_mode: "HTML",
                link_preview_options: LinkPreviewOptions { is_disabled: true },
            };
            let body = serde_json::to_vec(&request).map_err(|_| {
                SendError::Ours(Failure::new(Reason::Internal, "the message could not be written as JSON"))
            })?;
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let answer = self.http.post(self.url.expose(), headers, Bytes::from(body), at).await?;
            let secrets = [Some(self.token.expose()), to.map(Redacted::expose)];
            classify(&answer, &secrets.map(|secret| secret.map_or("", String::as_str)))
        })
    }
}

/// Title, body, and a line with severity, type, time and link. The body gives way when it is too long.
fn text(delivery: &Delivery) -> String {
    let title = cut(&one_line(&delivery.title), TITLE_UNITS_MAX);
    let (context, context_units) = context(delivery);
    let taken = units(&title) + context_units + "\n\n\n\n".len();
    let body = Document::parse(&delivery.body).to_telegram(TEXT_UNITS_MAX - taken);
    let title = if title.is_empty() { title } else { format!("<b>{}</b>", escape_html(&title)) };
    [title, body, context].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// The line, and how long it is without tags and escapes.
fn context(delivery: &Delivery) -> (String, usize) {
    let event_type = cut(&one_line(delivery.event.event_type.as_str()), CONTEXT_UNITS_MAX);
    let time = delivery.event.time.strftime("%Y-%m-%d %H:%M UTC");
    let line = format!("{} · {event_type} · {time}", delivery.severity.as_str());
    let mut length = units(&line);
    let mut context = format!("<i>{}</i>", escape_html(&line));
    if let Some(link) = &delivery.link {
        let (shown, markup) = if let Some(url) = safe_link(link) {
            ("Open".to_owned(), format!("<a href=\"{}\">Open</a>", escape_html(&url)))
        } else {
            let shown = cut(&one_line(link), CONTEXT_UNITS_MAX);
            let markup = escape_html(&shown);
            (shown, markup)
        };
        length += units(" · ") + units(&shown);
        context.extend([" · ", &markup]);
    }
    (context, length)
}

#[derive(Serialize)]
struct SendMessage<'a> {
    chat_id: &'a Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_thread_id: Option<i64>,
    text: String,
    parse_mode: &'static str,
    link_preview_options: LinkPreviewOptions,
}

#[derive(Serialize)]
struct LinkPreviewOptions {
    is_disabled: bool,
}

#[derive(Deserialize)]
struct ApiAnswer {
    ok: bool,
    result: Option<Message>,
    error_code: Option<u16>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Deserialize)]
struct Message {
    message_id: i64,
}

#[derive(Default, Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

/// Of `secrets` nothing may be quoted: the token, and the chat of a recipient.
fn classify(answer: &Answer, secrets: &[&str]) -> Result<Receipt, SendError> {
    let Ok(api) = serde_json::from_slice::<ApiAnswer>(&answer.body) else {
        classify_provider_status(answer.status, answer.retry_after)?;
        // It may have been sent: another try may repeat it, giving up may lose it.
        let failure = Failure::new(Reason::ProviderError, "the answer was cut short or is not Telegram's");
        return Err(SendError::Transient { failure: failure.code(answer.status), retry_after: None });
    };
    if api.ok {
        let provider_id = api.result.map(|message| message.message_id.to_string());
        return Ok(Receipt { provider_id, code: Some(answer.status), ..Receipt::default() });
    }
    let code = api.error_code.unwrap_or(answer.status);
    let asked = api.parameters.retry_after.filter(|&seconds| seconds > 0);
    let retry_after =
        asked.map(|seconds| Duration::from_secs(seconds.min(RETRY_AFTER_MAX_S))).or(answer.retry_after);
    let failure = |reason, detail: &str| Failure::new(reason, detail).code(code);
    if api.parameters.migrate_to_chat_id.is_some() {
        let detail = "the group has become a supergroup and has a new chat id";
        return Err(SendError::Permanent(failure(Reason::Gone, detail)));
    }
    let said = quotable(&api.description, secrets);
    Err(match code {
        400 if is_gone(&api.description) => SendError::Permanent(failure(Reason::Gone, &said)),
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
    })
}

/// The chat or the topic is not there: whatever is sent, it will not be.
fn is_gone(description: &str) -> bool {
    let description = description.to_ascii_lowercase();
    [
        "chat not found",
        "user not found",
        "peer_id_invalid",
        "group chat was deactivated",
        "group chat was upgraded",
        "message thread not found",
    ]
    .iter()
    .any(|known| description.contains(known))
}

/// Telegram's own words, which say best what is wrong, unless they could hold an address or the token.
fn quotable(description: &str, secrets: &[&str]) -> String {
    let description = one_line(description);
    let mut parts = secrets.iter().flat_map(|secret| secret.split(':')).filter(|part| !part.is_empty());
    let secret = parts.any(|part| description.contains(part));
    if description.is_empty() || secret || description.contains('/') {
        return "Telegram refused the message".to_owned();
    }
    cut(&format!("Telegram answered: {description}"), DESCRIPTION_UNITS_MAX)
}

#[cfg(test)]
mod tests;

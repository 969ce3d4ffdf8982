//! Services by one URL, in the style of Apprise: Discord, Microsoft Teams, ntfy, Gotify, Mattermost, PagerDuty and others.
//!
//! The URL is the credential. Each service is a file below that says what its URL means, what it is asked and what its answers
//! mean; the request goes out here, through the client of all channels. It is no dispatcher to anywhere: an unknown scheme is
//! refused. The URLs are those of <https://appriseit.com/services/>, as far as they are taken.

mod address;
mod discord;
mod google_chat;
mod gotify;
mod mattermost;
mod message;
mod ntfy;
mod opsgenie;
mod pagerduty;
mod pushover;
mod rocket_chat;
mod teams;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use self::address::{Address, fault};
use self::message::Message;
use super::http::multipart::{Part, form};
use super::http::{Answer, HttpClient, HttpPolicy, classify_provider, parse_endpoint, rebase};
use super::secret::Redacted;
use super::{Adapter, Channel, Limit, Receipt, SendError, Try, Workshop, settings};
use crate::delivery::Delivery;
use crate::ids::digest;
use crate::rule::fault::{Fault, unknown_word};

const JSON: &str = "application/json";
/// The part of a form that holds the JSON, as Discord has it.
const FORM_JSON: &str = "payload_json";

const SHOWN_UNITS_MAX: usize = 10_000;

type Open = fn(&Address, &HttpPolicy) -> Result<Box<dyn Service>, Fault>;

/// The schemes and their services. Those of a server of one's own have a twin for plain http, without the `s`.
const SERVICES: [(&str, Open); 15] = [
    ("discord", discord::open),
    ("gchat", google_chat::open),
    ("gotify", gotify::open),
    ("gotifys", gotify::open),
    ("mmost", mattermost::open),
    ("mmosts", mattermost::open),
    ("ntfy", ntfy::open),
    ("ntfys", ntfy::open),
    ("opsgenie", opsgenie::open),
    ("pagerduty", pagerduty::open),
    ("pover", pushover::open),
    ("rocket", rocket_chat::open),
    ("rockets", rocket_chat::open),
    ("workflow", teams::open),
    ("workflows", teams::open),
];

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UrlConfig {
    /// `discord://…`, `ntfys://…` and so on, or the URL that Discord, Teams or Google Chat gave out.
    #[schemars(extend("x-address" = true))]
    url: Redacted<String>,
    /// Takes the place of the service's own server; the path stays.
    #[schemars(extend("x-address" = true))]
    api_base: Option<String>,
}

/// One service, as its URL says.
trait Service: Send + Sync {
    /// What it is asked. `earlier` is the handle of what was sent before under the same collapse id.
    fn request(&self, message: &Message<'_>, earlier: Option<&str>) -> Request;

    /// What its answer means. Status codes that say all go to [`classify_provider`].
    ///
    /// # Errors
    /// Whatever is no success.
    fn classify(&self, answer: &Answer) -> Result<Receipt, SendError>;

    /// What it may be asked, with a part of the name of what is limited.
    fn limits(&self) -> Vec<(Vec<&str>, Pace)>;

    /// How many files it takes along.
    fn files(&self, _message: &Message<'_>) -> usize {
        0
    }

    /// Whether a later message takes the place of an earlier one of the same thing.
    fn replaces(&self) -> bool {
        false
    }

    /// Whether what was sent before cannot be changed any more, so that a new one is sent.
    fn is_gone(&self, _answer: &Answer) -> bool {
        false
    }
}

struct Request {
    method: Method,
    url: Url,
    headers: Vec<(&'static str, Redacted<String>)>,
    body: Value,
    /// They go out in a form, beside the JSON.
    files: Vec<Part>,
}

impl Request {
    fn post(url: &Redacted<Url>, body: Value) -> Self {
        Self { method: Method::POST, url: url.expose().clone(), headers: Vec::new(), body, files: Vec::new() }
    }
}

/// At most `most` in any span of `seconds`, all at once if need be.
struct Pace {
    most: u32,
    seconds: u64,
}

pub struct UrlChannel {
    http: HttpClient,
    base: Option<Url>,
    service: Box<dyn Service>,
}

impl Adapter for UrlChannel {
    type Config = UrlConfig;

    fn show(delivery: &Delivery) -> Value {
        let message = Message::of(delivery);
        let title = message.title(SHOWN_UNITS_MAX);
        json!({ "title": title, "markdown": message.markdown(SHOWN_UNITS_MAX, false), "footer": message.footer() })
    }

    fn new(config: &Value, workshop: &Workshop) -> Result<Self, Fault> {
        let config: UrlConfig = settings::read(config)?;
        let policy = workshop.http.policy();
        let service = open(config.url.expose(), policy)?;
        let base = config.api_base.filter(|base| !base.is_empty());
        let base = base.map(|base| parse_endpoint(&base, policy, "/apiBase")).transpose()?;
        Ok(Self { http: workshop.http.clone(), base, service })
    }
}

fn open(text: &str, policy: &HttpPolicy) -> Result<Box<dyn Service>, Fault> {
    if text.trim().is_empty() {
        return Err(fault("is empty"));
    }
    // Rocket.Chat's key has a slash in it, and stands where a user does.
    let address = match rocket_chat::mended(text) {
        Some(mended) => Address::parse(&mended)?,
        None => Address::parse(text)?,
    };
    if matches!(address.scheme(), "https" | "http") {
        let native = [discord::native, google_chat::native, teams::native].into_iter().find_map(|native| native(&address));
        return native.unwrap_or_else(|| {
            Err(fault("is the URL of no service that is known by it: take the service's own scheme, or the kind webhook"))
        });
    }
    if let Some((_, open)) = SERVICES.iter().find(|(scheme, _)| *scheme == address.scheme()) {
        return open(&address, policy);
    }
    let schemes = SERVICES.map(|(scheme, _)| scheme);
    Err(fault(&format!("has a scheme that is not known: {}", unknown_word(address.scheme(), &schemes))))
}

impl UrlChannel {
    async fn ask(&self, message: &Message<'_>, earlier: Option<&str>, attempt: &Try<'_>) -> Result<Answer, SendError> {
        let request = self.service.request(message, earlier);
        let url = match &self.base {
            Some(base) => rebase(&request.url, base),
            None => request.url,
        };
        let json = request.body.to_string().into_bytes();
        let (content_type, body) = if request.files.is_empty() {
            (JSON.to_owned(), json)
        } else {
            let mut parts = request.files;
            parts.push(Part { name: FORM_JSON.to_owned(), file: None, content_type: JSON.to_owned(), bytes: json });
            form(attempt.delivery.id.as_str(), &parts)
        };
        let mut headers = HeaderMap::new();
        if let Ok(content_type) = HeaderValue::from_str(&content_type) {
            headers.insert(CONTENT_TYPE, content_type);
        }
        for (name, value) in request.headers {
            if let Ok(mut value) = HeaderValue::from_str(value.expose()) {
                value.set_sensitive(true);
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        self.http.ask(request.method, &url, headers, Bytes::from(body), attempt.at).await
    }
}

impl Channel for UrlChannel {
    fn send<'a>(&'a self, attempt: Try<'a>) -> BoxFuture<'a, Result<Receipt, SendError>> {
        Box::pin(async move {
            let message = Message::of(attempt.delivery);
            let mut answer = self.ask(&message, attempt.earlier, &attempt).await?;
            if attempt.earlier.is_some() && self.service.is_gone(&answer) {
                answer = self.ask(&message, None, &attempt).await?;
            }
            let receipt = self.service.classify(&answer)?;
            Ok(Receipt { code: Some(answer.status), note: message.note(self.service.files(&message)), ..receipt })
        })
    }

    fn replaces(&self) -> bool {
        self.service.replaces()
    }

    fn limits(&self, _attempt: &Try<'_>) -> Vec<Limit> {
        let limit = |(of, pace): (Vec<&str>, Pace)| Limit {
            of: digest(&of),
            most: pace.most,
            per: Duration::from_secs(pace.seconds),
            burst: pace.most,
            cost: 1,
        };
        self.service.limits().into_iter().map(limit).collect()
    }
}

/// Those whose status says all.
fn by_status(answer: &Answer) -> Result<Receipt, SendError> {
    classify_provider(answer).map(|()| Receipt::default())
}

/// The field of a JSON answer, as text.
fn field(answer: &Answer, pointer: &str) -> Option<String> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    match body.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        found @ (Value::Number(_) | Value::Bool(_)) => Some(found.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests;

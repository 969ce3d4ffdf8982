//! Web Push: to browsers, each through the push service that its subscription names (RFC 8030), encrypted for it alone.
//!
//! The payload is declarative: browsers that know it show it without a line of script, the others hand the same JSON to the page's
//! service worker. Subscribers name their push services themselves: what one of them answers says something of that browser,
//! and never pauses the channel.
//! Sources: <https://www.rfc-editor.org/rfc/rfc8030>, <https://www.w3.org/TR/push-api/#declarative-push-message>.

mod encrypt;
mod vapid;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::http::{Answer, HttpClient, classify_provider_status, parse_endpoint};
use super::markdown::{Document, safe_link};
use super::secret::Redacted;
use super::tally::{Answered, Count};
use super::text::{cut, cut_json, one_line};
use super::{Adapter, Channel, Failure, Receipt, SendError, Try, Workshop, settings};
use crate::delivery::{Action, Delivery};
use crate::device::{Device, Way, decoded};
use crate::event::Severity;
use crate::ids::digest;
use crate::outcome::Reason;
use crate::rule::fault::Fault;
use encrypt::{Receiver, encrypt};
pub use encrypt::is_public_key;
use vapid::Vapid;

/// Push services take 4,096 bytes. Mozilla's hands those for Firefox on Android on to Google in base64, so that 2,744 remain, and
/// encrypted it is 103 bytes longer. <https://mozilla-services.github.io/autopush-rs/http.html>
const PAYLOAD_BYTES_MAX: usize = 2_600;
const TITLE_UNITS_MAX: usize = 200;
const BODY_UNITS_MAX: usize = 4_096;
/// Browsers show two.
const ACTIONS_MAX: usize = 2;

/// How long a push service may keep it for a browser that is away.
const TTL_S: u64 = 24 * 3600;
const TTL_S_MAX: u64 = 28 * 24 * 3600;

/// Requests on their way at once.
const AT_ONCE: usize = 32;
/// Beyond the time of a try: who has answered by then counts, and who has not is left.
const GRACE: Duration = Duration::from_secs(1);
/// No push service keeps a browser waiting for longer, whatever it asks for: others may wait beside it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebPushConfig {
    /// base64url of 32 bytes.
    vapid_private_key: Redacted<String>,
    /// base64url of 65 bytes: what pages subscribe with.
    vapid_public_key: String,
    /// Where push services reach the sender: `mailto:` or `https:`.
    subject: String,
    /// Where the application lives: links that are paths begin there, and notifications without a link open it.
    base_url: String,
    /// How long a push service keeps it for a browser that is away. A day by default, and never beyond the delivery's own time.
    #[schemars(range(max = TTL_S_MAX))]
    ttl_seconds: Option<u64>,
}

pub struct WebPush {
    http: HttpClient,
    vapid: Vapid,
    base: Url,
    ttl_seconds: u64,
}

impl fmt::Debug for WebPush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebPush").field("ttl_seconds", &self.ttl_seconds).finish_non_exhaustive()
    }
}

impl Adapter for WebPush {
    type Config = WebPushConfig;

    fn show(delivery: &Delivery) -> Value {
        serde_json::to_value(payload(delivery, None)).unwrap_or_default()
    }

    fn new(config: &Value, workshop: &Workshop) -> Result<Self, Fault> {
        let config: WebPushConfig = settings::read(config)?;
        let vapid = Vapid::new(&config.vapid_private_key, &config.vapid_public_key, &config.subject)?;
        let base = parse_endpoint(&config.base_url, workshop.http.policy(), "/baseUrl")?;
        let ttl_seconds = config.ttl_seconds.unwrap_or(TTL_S);
        if ttl_seconds > TTL_S_MAX {
            return Err(Fault::new("/ttlSeconds", format!("is more than {TTL_S_MAX}: four weeks")));
        }
        Ok(Self { http: workshop.http.clone(), vapid, base, ttl_seconds })
    }
}

impl Channel for WebPush {
    fn send<'a>(&'a self, attempt: Try<'a>) -> BoxFuture<'a, Result<Receipt, SendError>> {
        Box::pin(async move {
            let Try { delivery, devices, at, .. } = attempt;
            let payload = serde_json::to_vec(&payload(delivery, Some(&self.base))).map_err(|_| {
                SendError::Ours(Failure::new(Reason::Internal, "the message could not be written as JSON"))
            })?;
            let headers = self.headers(delivery, at);
            let mut pushes: Vec<BoxFuture<'_, _>> = Vec::with_capacity(devices.len());
            for (index, device) in devices.iter().enumerate() {
                let (headers, payload) = (headers.clone(), payload.as_slice());
                pushes.push(Box::pin(async move { (index, self.push(device, headers, payload, at).await) }));
            }
            let mut answers = stream::iter(pushes).buffer_unordered(AT_ONCE);
            let mut known: Vec<Option<Result<Answer, SendError>>> = vec![None; devices.len()];
            let all = async {
                while let Some((index, answer)) = answers.next().await {
                    known[index] = Some(answer);
                }
            };
            // Who has not answered by then is left.
            tokio::time::timeout(self.http.timeout() + GRACE, all).await.ok();
            drop(answers);
            count(devices, known, || SendError::late(self.http.timeout()))
        })
    }
}

impl WebPush {
    fn headers(&self, delivery: &Delivery, at: Timestamp) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
        let worth = u64::try_from(delivery.expires_at.as_second() - at.as_second()).unwrap_or(0);
        headers.insert("ttl", HeaderValue::from(self.ttl_seconds.min(worth)));
        let urgency = match delivery.severity {
            Severity::Info => "low",
            Severity::Warning => "normal",
            Severity::Critical => "high",
        };
        headers.insert("urgency", HeaderValue::from_static(urgency));
        // At most 32 characters of base64url; it replaces what waits under the same one.
        let topic = delivery.collapse_id.as_ref().map(|id| digest(&["topic", id]));
        if let Some(topic) = topic.and_then(|topic| HeaderValue::from_str(&topic).ok()) {
            headers.insert("topic", topic);
        }
        headers
    }

    async fn push(
        &self,
        device: &Device,
        mut headers: HeaderMap,
        payload: &[u8],
        at: Timestamp,
    ) -> Result<Answer, SendError> {
        let Way::WebPush { endpoint, keys } = &device.way else {
            let failure = Failure::new(Reason::Internal, "the device is no browser");
            return Err(SendError::Permanent(failure));
        };
        let unusable =
            || SendError::Permanent(Failure::new(Reason::Rejected, "the subscription cannot be used"));
        let url = Url::parse(endpoint).map_err(|_| unusable())?;
        let receiver = decoded(&keys.p256dh).zip(decoded(&keys.auth));
        let receiver = receiver.map(|(public_key, auth)| Receiver { public_key, auth });
        let body = receiver.and_then(|receiver| encrypt(&receiver, payload)).ok_or_else(unusable)?;
        let token = self.vapid.authorization(&url, at).ok_or_else(|| {
            SendError::Ours(Failure::new(Reason::Internal, "the VAPID token could not be signed"))
        })?;
        headers.insert(AUTHORIZATION, token);
        self.http.post(&url, headers, Bytes::from(body), at).await
    }
}

#[derive(Serialize)]
struct Payload {
    web_push: u16,
    notification: Notification,
}

#[derive(Serialize)]
struct Notification {
    title: String,
    body: String,
    navigate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    /// When the event happened, in Unix milliseconds.
    timestamp: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<Button>,
    data: Data,
}

#[derive(Serialize)]
struct Button {
    action: String,
    title: String,
    navigate: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    #[serde(rename = "type")]
    event_type: String,
    severity: &'static str,
    delivery_id: String,
}

/// The body gives way when it is too long. Without a base links stay as they are.
fn payload(delivery: &Delivery, base: Option<&Url>) -> Payload {
    let home = || base.map(Url::to_string).unwrap_or_default();
    let buttons = delivery.actions.iter().take(ACTIONS_MAX).enumerate();
    let actions = buttons.map(|(index, Action { label, url })| Button {
        action: (index + 1).to_string(),
        title: cut(&one_line(label), TITLE_UNITS_MAX),
        navigate: absolute(url, base).unwrap_or_else(home),
    });
    let event_type = delivery.event.event_type.as_str();
    let title = [&delivery.title, event_type].map(one_line).into_iter().find(|title| !title.is_empty());
    let notification = Notification {
        // A browser refuses a declarative message without one.
        title: cut(&title.unwrap_or_default(), TITLE_UNITS_MAX),
        body: String::new(),
        navigate: delivery.link.as_deref().and_then(|link| absolute(link, base)).unwrap_or_else(home),
        tag: delivery.collapse_id.as_ref().map(|id| digest(&["topic", id])),
        timestamp: delivery.event.time.as_millisecond(),
        actions: actions.collect(),
        data: Data {
            event_type: event_type.to_owned(),
            severity: delivery.severity.as_str(),
            delivery_id: delivery.id.to_string(),
        },
    };
    let mut payload = Payload { web_push: 8030, notification };
    let length = |payload: &Payload| serde_json::to_vec(payload).map_or(0, |json| json.len());
    if length(&payload) > PAYLOAD_BYTES_MAX {
        payload.notification.actions.clear();
    }
    if length(&payload) > PAYLOAD_BYTES_MAX {
        payload.notification.navigate = home();
    }
    let room = PAYLOAD_BYTES_MAX.saturating_sub(length(&payload));
    let body = Document::of(delivery).to_plain(BODY_UNITS_MAX);
    payload.notification.body = cut_json(&body, room);
    payload
}

/// A link as a browser can open it from anywhere.
fn absolute(link: &str, base: Option<&Url>) -> Option<String> {
    if let Some(url) = safe_link(link) {
        return Some(url);
    }
    if !link.starts_with('/') {
        return None;
    }
    match base {
        Some(base) => base.join(link).ok().filter(|url| url.origin() == base.origin()).map(String::from),
        None => Some(link.to_owned()),
    }
}

/// One answer after the other; `late` for those that came too late.
fn count(
    devices: &[Device],
    known: Vec<Option<Result<Answer, SendError>>>,
    late: impl Fn() -> SendError,
) -> Result<Receipt, SendError> {
    let answered = known.into_iter().map(|answer| answer.unwrap_or_else(|| Err(late())));
    let judged: Vec<(Option<u16>, Answered)> = answered
        .map(|answer| match answer {
            Ok(answer) => (Some(answer.status), classify(&answer)),
            Err(error) => (None, Answered::Failed(error)),
        })
        .collect();
    let ours = is_our_key_refused(devices.iter().zip(judged.iter().map(|(_, answered)| answered)));
    let mut count = Count::default();
    for (device, (code, answered)) in devices.iter().zip(judged) {
        if let (Some(code), Answered::Reached(_)) = (code, &answered) {
            count.code(code);
        }
        count.add(device.key(), if ours { answered } else { of_that_browser_alone(answered) });
    }
    count.result(Duration::ZERO)
}

/// A refused key is one that the browser did not subscribe with. It is ours that is wrong when nobody accepts it, and not only
/// the browsers of one user.
fn is_our_key_refused<'a>(judged: impl Iterator<Item = (&'a Device, &'a Answered)>) -> bool {
    let mut refusing: Vec<&Device> = Vec::new();
    for (device, answered) in judged {
        match answered {
            Answered::Reached(_) => return false,
            Answered::Failed(SendError::Ours(failure)) if failure.reason == Reason::Unauthorized => {
                refusing.push(device);
            }
            Answered::Gone(_) | Answered::Failed(_) => {}
        }
    }
    let of_one = |pair: &[&Device]| pair[0].user.is_some() && pair[0].user == pair[1].user;
    refusing.len() > 1 && !refusing.windows(2).all(of_one)
}

fn of_that_browser_alone(answered: Answered) -> Answered {
    match answered {
        // Its subscription's, unless it is our signature that could not be made.
        Answered::Failed(SendError::Ours(failure)) if failure.reason == Reason::Unauthorized => {
            Answered::Failed(SendError::Permanent(failure))
        }
        Answered::Reached(_) | Answered::Gone(_) | Answered::Failed(_) => answered,
    }
}

fn classify(answer: &Answer) -> Answered {
    let failure = |reason, detail: &str| Failure::new(reason, detail).code(answer.status);
    match answer.status {
        404 | 410 => Answered::Gone(failure(Reason::Gone, "the subscription is no more")),
        401 | 403 => Answered::Failed(SendError::Ours(failure(
            Reason::Unauthorized,
            "the push service refuses the VAPID key: the browser subscribed with another one",
        ))),
        413 => Answered::Failed(SendError::Permanent(failure(
            Reason::Rejected,
            "the push service finds it too large",
        ))),
        status => match classify_provider_status(status, answer.retry_after.map(|wait| wait.min(RETRY_AFTER_MAX))) {
            Ok(()) => Answered::Reached(None),
            // A pause for that browser, not for all of the channel.
            Err(SendError::RateLimited { failure, retry_after }) => {
                Answered::Failed(SendError::Transient { failure, retry_after })
            }
            Err(error) => Answered::Failed(error),
        },
    }
}

#[cfg(test)]
pub(super) mod tests;

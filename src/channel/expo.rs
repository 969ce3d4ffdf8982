//! Expo: to phones, through Expo's push service, in batches of 100.
//!
//! An accepted batch says one by one whether it took the message (a ticket); what Apple and Google made of it is asked later, by the
//! tickets (a receipt). Messages of Expo's errors quote tokens: only its own error words are told. Sources:
//! <https://docs.expo.dev/push-notifications/sending-notifications/>, and expo-server-sdk-node for `collapseId`, `tag` and
//! `interruptionLevel`.

mod answer;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::http::{Answer, HttpClient, parse_endpoint, rebase};
use super::markdown::Document;
use super::secret::Redacted;
use super::tally::{Answered, Asking, Count, Told};
use super::text::{cut, cut_json, one_line};
use super::{Adapter, Channel, Failure, Limit, Receipt, SendError, Try, Workshop, settings};
use crate::delivery::Delivery;
use crate::device::{Device, Way};
use crate::event::Severity;
use crate::ids::digest;
use crate::outcome::Reason;
use crate::rule::fault::Fault;

const API_BASE: &str = "https://exp.host";
const SEND: &str = "/--/api/v2/push/send";
const RECEIPTS: &str = "/--/api/v2/push/getReceipts";

/// Expo's own limits: of a request, and of a project in a second.
const BATCH: usize = 100;
const PER_SECOND: u32 = 600;
/// A request for receipts may name 1,000; Expo's own client names 300.
const RECEIPTS_BATCH: usize = 300;
/// As many connections as Expo's own client opens.
const AT_ONCE: usize = 6;

/// Apple and Google take 4096 bytes, with what Expo puts around it.
const PAYLOAD_BYTES_MAX: usize = 3_500;
const TITLE_UNITS_MAX: usize = 200;
const BODY_UNITS_MAX: usize = 4_096;
/// 300 receipts, each with an error and its message.
const ANSWER_BYTES_MAX: usize = 512 * 1024;

/// The notification channel of Android that approvals are shown in, unless another one is named.
const CHANNEL: &str = "approvals";
const SOUND: &str = "default";
/// Expo's advice; receipts are kept for a day.
const RECEIPTS_AFTER_MS: u64 = 15 * 60 * 1000;
const RECEIPTS_AFTER_MS_MAX: u64 = 12 * 3600 * 1000;

/// Beyond the time of a try: who has answered by then counts, and who has not is left.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExpoConfig {
    /// Needed where the project asks for it (enhanced push security).
    access_token: Option<Redacted<String>>,
    /// The notification channel of Android, which the app has made. `approvals` by default.
    channel_id: Option<String>,
    /// A category of the app, for its own buttons.
    category_id: Option<String>,
    /// `default` by default; `none` for silence.
    sound: Option<String>,
    /// When to ask what became of the messages. 15 minutes by default, as Expo advises.
    #[schemars(range(min = 1, max = RECEIPTS_AFTER_MS_MAX))]
    receipts_after_ms: Option<u64>,
    /// Takes the place of `https://exp.host`.
    #[schemars(extend("x-address" = true))]
    api_base: Option<String>,
}

#[derive(Debug)]
pub struct Expo {
    http: HttpClient,
    send_url: Url,
    receipts_url: Url,
    authorization: Option<HeaderValue>,
    /// What is limited: all that one access token sends, or else all of a workspace.
    account: Option<String>,
    style: Style,
    receipts_after: Duration,
}

/// What a channel says of every message.
#[derive(Debug)]
struct Style {
    channel_id: String,
    category_id: Option<String>,
    sound: Option<String>,
}

impl Adapter for Expo {
    type Config = ExpoConfig;

    fn show(delivery: &Delivery) -> Value {
        let style =
            Style { channel_id: CHANNEL.to_owned(), category_id: None, sound: Some(SOUND.to_owned()) };
        serde_json::to_value(message(delivery, &style)).unwrap_or_default()
    }

    fn new(config: &Value, workshop: &Workshop) -> Result<Self, Fault> {
        let config: ExpoConfig = settings::read(config)?;
        let text = |text: Option<String>| text.filter(|text| !text.is_empty());
        let token = config.access_token.as_ref().map(|token| token.expose().trim()).filter(|token| !token.is_empty());
        let authorization = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}"))).transpose();
        let mut authorization =
            authorization.map_err(|_| Fault::new("/accessToken", "cannot be sent in a header"))?;
        if let Some(header) = &mut authorization {
            header.set_sensitive(true);
        }
        let receipts_after_ms = config.receipts_after_ms.unwrap_or(RECEIPTS_AFTER_MS);
        if !(1..=RECEIPTS_AFTER_MS_MAX).contains(&receipts_after_ms) {
            return Err(Fault::new("/receiptsAfterMs", format!("is out of range: 1 to {RECEIPTS_AFTER_MS_MAX}")));
        }
        let base = text(config.api_base).unwrap_or_else(|| API_BASE.to_owned());
        let base = parse_endpoint(&base, workshop.http.policy(), "/apiBase")?;
        let url = |path: &str| {
            let mut url = base.clone();
            url.set_path(path);
            rebase(&url, &base)
        };
        Ok(Self {
            http: workshop.http.with_body_bytes_max(ANSWER_BYTES_MAX),
            send_url: url(SEND),
            receipts_url: url(RECEIPTS),
            account: token.map(|token| digest(&["expo-token", token])),
            authorization,
            style: Style {
                channel_id: text(config.channel_id).unwrap_or_else(|| CHANNEL.to_owned()),
                category_id: text(config.category_id),
                sound: text(config.sound).or(Some(SOUND.to_owned())).filter(|sound| sound != "none"),
            },
            receipts_after: Duration::from_millis(receipts_after_ms),
        })
    }
}

impl Channel for Expo {
    fn send<'a>(&'a self, attempt: Try<'a>) -> BoxFuture<'a, Result<Receipt, SendError>> {
        Box::pin(async move {
            let Try { delivery, devices, at, .. } = attempt;
            let message = serde_json::to_value(message(delivery, &self.style)).map_err(|_| {
                SendError::Ours(Failure::new(Reason::Internal, "the message could not be written as JSON"))
            })?;
            let mut batches: Vec<BoxFuture<'_, Known<'_>>> = Vec::new();
            for batch in devices.chunks(BATCH) {
                batches.push(Box::pin(self.batch(&message, batch.iter().collect(), at)));
            }
            let mut answers = stream::iter(batches).buffer_unordered(AT_ONCE);
            let mut known = Vec::with_capacity(devices.len());
            let all = async {
                while let Some(answered) = answers.next().await {
                    known.extend(answered);
                }
            };
            // Who has not answered by then is left.
            tokio::time::timeout(self.http.timeout() + GRACE, all).await.ok();
            drop(answers);
            let mut count = Count::default();
            let mut silent: Vec<&Device> = devices.iter().collect();
            for (device, code, answered) in known {
                silent.retain(|other| !std::ptr::eq(*other, device));
                if let Some(code) = code {
                    count.code(code);
                }
                count.add(device.key(), answered);
            }
            for device in silent {
                count.add(device.key(), Answered::Failed(SendError::late(self.http.timeout())));
            }
            count.result(self.receipts_after)
        })
    }

    fn limits(&self, attempt: &Try<'_>) -> Vec<Limit> {
        let workspace = || digest(&["workspace", attempt.delivery.workspace.as_str()]);
        let account = self.account.clone().unwrap_or_else(workspace);
        vec![Limit {
            of: format!("expo-project.{account}"),
            most: PER_SECOND,
            per: Duration::from_secs(1),
            burst: PER_SECOND,
            cost: u32::try_from(attempt.devices.len()).unwrap_or(u32::MAX).max(1),
        }]
    }

    fn ask<'a>(&'a self, asking: Asking<'a>) -> BoxFuture<'a, Result<Told, SendError>> {
        Box::pin(async move {
            let mut told = Told::default();
            for tickets in asking.tickets.chunks(RECEIPTS_BATCH) {
                let ids: Vec<&str> = tickets.iter().map(|ticket| ticket.id.as_str()).collect();
                let answer = self.post(&self.receipts_url, &json!({ "ids": ids }), asking.at).await?;
                answer::receipts(&answer, tickets, &mut told)?;
            }
            Ok(told)
        })
    }
}

type Known<'a> = Vec<(&'a Device, Option<u16>, Answered)>;

impl Expo {
    async fn batch<'a>(&self, message: &Value, devices: Vec<&'a Device>, at: Timestamp) -> Known<'a> {
        let answer = match self.post_to(message, &devices, at).await {
            Ok(answer) => answer,
            Err(error) => return all(devices, None, &error),
        };
        let Some(projects) = answer::projects(&answer) else { return judged(devices, &answer) };
        // Devices of several projects: Expo says which belongs to which, and wants a request for each.
        let mut known = Vec::new();
        let mut rest = devices;
        for tokens in projects {
            let (of_project, others): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|device| tokens.iter().any(|token| token == device.way.address()));
            rest = others;
            if of_project.is_empty() {
                continue;
            }
            match self.post_to(message, &of_project, at).await {
                Ok(answer) => known.extend(judged(of_project, &answer)),
                Err(error) => known.extend(all(of_project, None, &error)),
            }
        }
        let unnamed = Failure::new(Reason::Rejected, "Expo does not say which project the device belongs to");
        known.extend(all(rest, Some(answer.status), &SendError::Permanent(unnamed.code(answer.status))));
        known
    }

    async fn post_to(&self, message: &Value, devices: &[&Device], at: Timestamp) -> Result<Answer, SendError> {
        let mut message = message.clone();
        message["to"] = devices
            .iter()
            .filter_map(|device| match &device.way {
                Way::Expo { expo_push_token } => Some(expo_push_token.as_str()),
                Way::WebPush { .. } => None,
            })
            .collect();
        self.post(&self.send_url, &json!([message]), at).await
    }

    async fn post(&self, url: &Url, body: &Value, at: Timestamp) -> Result<Answer, SendError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        self.http.post(url, headers, Bytes::from(body.to_string()), at).await
    }
}

fn all<'a>(devices: Vec<&'a Device>, code: Option<u16>, error: &SendError) -> Known<'a> {
    devices.into_iter().map(|device| (device, code, Answered::Failed(error.clone()))).collect()
}

fn judged<'a>(devices: Vec<&'a Device>, answer: &Answer) -> Known<'a> {
    let code = Some(answer.status);
    match answer::tickets(answer, devices.len()) {
        Ok(tickets) => {
            devices.into_iter().zip(tickets).map(|(device, answered)| (device, code, answered)).collect()
        }
        Err(error) => all(devices, code, &error),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    title: String,
    body: String,
    data: Data<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sound: Option<&'a str>,
    priority: &'static str,
    channel_id: &'a str,
    /// Unix seconds: the same for every try, unlike a time to live.
    expiration: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    category_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interruption_level: Option<&'static str>,
    /// What has the same one takes the other's place: on iOS, and on Android.
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

/// For the app: what it is, and where it leads.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    severity: &'static str,
    delivery_id: &'a str,
}

/// The body gives way when it is too long.
fn message<'a>(delivery: &'a Delivery, style: &'a Style) -> Message<'a> {
    let group = delivery.collapse_id.as_ref().map(|id| digest(&["topic", id]));
    let mut message = Message {
        title: cut(&one_line(&delivery.title), TITLE_UNITS_MAX),
        body: String::new(),
        data: Data {
            event_type: delivery.event.event_type.as_str(),
            url: delivery.link.as_deref(),
            severity: delivery.severity.as_str(),
            delivery_id: delivery.id.as_str(),
        },
        sound: style.sound.as_deref(),
        priority: "high",
        channel_id: &style.channel_id,
        expiration: delivery.expires_at.as_second(),
        category_id: style.category_id.as_deref(),
        interruption_level: match delivery.severity {
            Severity::Critical => Some("time-sensitive"),
            Severity::Info | Severity::Warning => None,
        },
        collapse_id: group.clone(),
        tag: group,
    };
    let length = |message: &Message<'_>| serde_json::to_vec(message).map_or(0, |json| json.len());
    if length(&message) > PAYLOAD_BYTES_MAX {
        message.data.url = None;
    }
    let room = PAYLOAD_BYTES_MAX.saturating_sub(length(&message));
    let body = Document::of(delivery).to_plain(BODY_UNITS_MAX);
    message.body = cut_json(&body, room);
    message
}

#[cfg(test)]
mod tests;

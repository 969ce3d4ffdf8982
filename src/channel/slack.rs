//! Slack: one Block Kit message, by an incoming webhook or by a bot that can also replace it, answer it and add files.
//!
//! A webhook's URL is its credential, and it belongs to one channel; what it posted cannot be changed. A bot's answers are 200 also
//! when they are a no: the word in the body decides. What a bot replaces may have been deleted by a person: then it is posted
//! anew. Sources: <https://docs.slack.dev/reference/methods/chat.postMessage>,
//! <https://docs.slack.dev/reference/methods/chat.update>, <https://docs.slack.dev/apis/web-api/rate-limits>,
//! <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>.

mod answer;
mod bot;
mod files;
mod handle;
mod message;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::http::{HttpClient, parse_endpoint, rebase};
use super::secret::Redacted;
use super::{Adapter, Channel, Failure, Limit, Receipt, SendError, Try, Workshop, settings};
use crate::delivery::Delivery;
use crate::ids::digest;
use crate::outcome::Reason;
use crate::rule::fault::Fault;
use bot::Bot;

const API_BASE: &str = "https://slack.com";

/// An answer repeats the message, with six bytes for a character that is not ASCII: what is cut off could not be read, and would be
/// sent again.
const ANSWER_BYTES_MAX: usize = 512 * 1024;

/// Slack allows about one message a second in a channel, by whatever way it comes, and bears a short burst.
const PACE: Duration = Duration::from_secs(1);

/// `chat.update` is a method of tier 3: 50 or more a minute for each app in a workspace, over all its channels.
const EDITS: (u32, Duration) = (50, Duration::from_secs(60));
const EDITS_BURST: u32 = 10;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend(
    "required" = [],
    "allOf" = [{ "oneOf": [{ "required": ["webhookUrl"] }, { "required": ["botToken", "channelId"] }] }]
))]
pub struct SlackConfig {
    /// An incoming webhook. This, or `botToken` and `channelId`.
    #[schemars(extend("x-address" = true))]
    webhook_url: Option<Redacted<String>>,
    /// `xoxb-…`, with the scope `chat:write`; for files also `files:write`.
    bot_token: Option<Redacted<String>>,
    /// Where a bot posts: the id of a channel or of a direct message, or of a user, like `C0123456789`.
    channel_id: Option<String>,
    /// What a bot does with what it posted before about the same thing: replace it (`edit`, the default), or answer it.
    updates: Option<Updates>,
    /// Answers are shown in the channel too.
    reply_broadcast: Option<bool>,
    /// Takes the place of `https://hooks.slack.com` or `https://slack.com`; the path stays.
    #[schemars(extend("x-address" = true))]
    api_base: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Updates {
    #[default]
    Edit,
    Thread,
}

/// A bot, of a connection, which may have more that channels share.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BotConfig {
    bot_token: Redacted<String>,
    api_base: Option<String>,
}

/// The one way out that a configuration describes.
enum Way<'a> {
    Webhook(&'a str),
    Bot { token: &'a str, channel: &'a str },
}

#[derive(Debug)]
pub struct Slack {
    http: HttpClient,
    out: Out,
    /// What its limit is kept under.
    limit: String,
    /// What the limit of the bot's edits is kept under, if it edits.
    edits: Option<String>,
}

#[derive(Debug)]
enum Out {
    Webhook(Redacted<Url>),
    Bot(Bot),
}

impl SlackConfig {
    fn way(&self) -> Result<Way<'_>, Fault> {
        let webhook = self.webhook_url.as_ref().map(|url| url.expose().as_str()).filter(|url| !url.is_empty());
        let token = self.bot_token.as_ref().map(|token| token.expose().as_str()).filter(|text| !text.is_empty());
        let channel = self.channel_id.as_deref().filter(|id| !id.is_empty());
        let fault = |place: &str, message: &str| Err(Fault::new(place.to_owned(), message.to_owned()));
        match (webhook, token, channel) {
            (None, None, None) => {
                fault("/webhookUrl", "is missing: this is needed, or botToken and channelId")
            }
            (None, None, Some(_)) => fault("/botToken", "is missing: channelId needs it"),
            (None, Some(_), None) => fault("/channelId", "is missing: botToken needs it"),
            (Some(_), Some(_), _) => fault("/botToken", "does not go with webhookUrl: choose one of the two"),
            (Some(_), None, Some(_)) => {
                fault("/channelId", "does not go with webhookUrl, which belongs to one channel already")
            }
            (Some(_), None, None) if self.updates.is_some() => {
                fault("/updates", "needs a botToken: an incoming webhook cannot change or answer what it posted")
            }
            (_, _, _) if self.reply_broadcast == Some(true) && self.updates != Some(Updates::Thread) => {
                fault("/replyBroadcast", "needs updates: thread beside it")
            }
            (Some(url), None, None) => Ok(Way::Webhook(url)),
            (None, Some(token), Some(channel)) => Ok(Way::Bot { token, channel }),
        }
    }
}

impl Adapter for Slack {
    type Config = SlackConfig;

    fn check(config: &SlackConfig) -> Result<(), Fault> {
        config.way().map(drop)
    }

    fn show(delivery: &Delivery) -> Value {
        message::message(delivery, &files::inline(delivery))
    }

    fn new(config: &Value, workshop: &Workshop) -> Result<Self, Fault> {
        let config: SlackConfig = settings::read(config)?;
        let policy = workshop.http.policy();
        let base = config.api_base.as_deref().filter(|base| !base.is_empty());
        let base = base.map(|base| parse_endpoint(base, policy, "/apiBase")).transpose()?;
        let (out, of, bot) = match config.way()? {
            Way::Webhook(url) => {
                let of = digest(&["slack-webhook", url]);
                let url = parse_endpoint(url, policy, "/webhookUrl")?;
                let url = base.map_or_else(|| url.clone(), |base| rebase(&url, &base));
                (Out::Webhook(Redacted::new(url)), of, None)
            }
            Way::Bot { token, channel } => {
                let updates = config.updates.unwrap_or_default();
                let bot = Bot::new(token, base.as_ref())?.posting(channel, updates)?;
                let bot = bot.broadcasting(config.reply_broadcast == Some(true));
                let edits = updates == Updates::Edit;
                (Out::Bot(bot), digest(&["slack-bot", token, channel]), edits.then(|| digest(&["slack-bot", token])))
            }
        };
        let http = workshop.http.with_body_bytes_max(ANSWER_BYTES_MAX);
        let edits = bot.map(|of| format!("slack-edits.{of}"));
        Ok(Self { http, out, limit: format!("slack-channel.{of}"), edits })
    }

    fn probe<'a>(
        config: &'a Value,
        workshop: &'a Workshop,
        at: Timestamp,
    ) -> Option<BoxFuture<'a, Result<(), SendError>>> {
        settings::has(config, "botToken").then(|| Box::pin(Self::probe(config, &workshop.http, at)) as BoxFuture<'_, _>)
    }
}

impl Channel for Slack {
    fn send<'a>(&'a self, attempt: Try<'a>) -> BoxFuture<'a, Result<Receipt, SendError>> {
        Box::pin(async move {
            match &self.out {
                Out::Webhook(url) => self.post(url.expose(), attempt).await,
                Out::Bot(bot) => bot.send(&self.http, attempt).await,
            }
        })
    }

    fn replaces(&self) -> bool {
        matches!(&self.out, Out::Bot(bot) if bot.updates == Updates::Edit)
    }

    fn follows(&self) -> bool {
        matches!(&self.out, Out::Bot(bot) if bot.updates == Updates::Thread)
    }

    /// Whether it is an edit shows only when its turn has come: of what may be one, the first message counts too.
    fn limits(&self, attempt: &Try<'_>) -> Vec<Limit> {
        let mut limits = vec![Limit { of: self.limit.clone(), most: 1, per: PACE, burst: 1, cost: 1 }];
        let edits = self.edits.as_ref().filter(|_| attempt.delivery.collapse_id.is_some());
        limits.extend(edits.map(|of| {
            let (most, per) = EDITS;
            Limit { of: of.clone(), most, per, burst: EDITS_BURST, cost: 1 }
        }));
        limits
    }
}

impl Slack {
    async fn post(&self, url: &Url, attempt: Try<'_>) -> Result<Receipt, SendError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let message = message::message(attempt.delivery, &files::inline(attempt.delivery));
        let body = Bytes::from(message.to_string());
        answer::of_webhook(&self.http.post(url, headers, body, attempt.at).await?)
    }

    /// Asks Slack whether a connection's token is good (`auth.test`).
    ///
    /// # Errors
    /// What is wrong with it, as a try would say it.
    pub async fn probe(connection: &Value, http: &HttpClient, at: Timestamp) -> Result<(), SendError> {
        let misconfigured = |fault: Fault| {
            let detail = format!("the connection's configuration cannot be used: {fault}");
            SendError::Ours(Failure::new(Reason::Misconfigured, detail))
        };
        let connection: BotConfig = settings::read(connection).map_err(misconfigured)?;
        let base = connection.api_base.as_deref().filter(|base| !base.is_empty());
        let base = base.map(|base| parse_endpoint(base, http.policy(), "/apiBase")).transpose();
        let bot = Bot::new(connection.bot_token.expose(), base.map_err(misconfigured)?.as_ref());
        bot.map_err(misconfigured)?.test(http, at).await
    }
}

#[cfg(test)]
mod tests;

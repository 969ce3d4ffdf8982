//! Channels: the ways out. A channel's kind is an adapter, one file that makes one try and knows no attempt numbers.
//!
//! Adding a kind is one file below `channel/`, one line in the registry at the end of this file, and one row in
//! `docs/channels.md`. What a failure means is decided by the adapter that saw the answer, never further up.

#[cfg(test)]
mod conformance;
pub mod http;
mod id;
pub mod markdown;
mod payload;
pub mod secret;
mod settings;
pub mod standing;
pub mod tally;
pub mod text;

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bus::Bus;
use crate::delivery::Delivery;
use crate::device::Device;
use crate::documents::{
    BURST_MAX, DISABLE_AFTER_MS_MAX, EXPIRY_MS_MAX, FALLBACKS_MAX, PER_SECOND_MAX, PER_SECOND_MIN,
    RETRIES_MAX, RETRY_WAIT_MS_MAX, TIMEOUT_MS_MAX,
};
use crate::ids::{ChannelId, ConnectionId};
use crate::outcome::Reason;
use crate::rule::fault::Fault;
use secret::Redacted;
use tally::{Asking, Tally, Told};

/// A channel's document, as files, the API and the bucket hold it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::config_by_kind)]
pub struct ChannelSpec {
    pub id: ChannelId,
    pub kind: Kind,
    /// The connection whose settings it shares. What stands there does not stand in `config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionId>,
    #[serde(default)]
    pub enabled: Enabled,
    /// Settings of the kind. Strings may hold `${VAR}` and `${VAR:-default}`, replaced by the worker.
    #[serde(default = "empty_object")]
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub config: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySpec>,
    /// How long after its event a delivery is worth sending. Default 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = EXPIRY_MS_MAX))]
    pub expires_in_ms: Option<u64>,
    /// How long one try may take. Default 10 seconds, at most 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = TIMEOUT_MS_MAX))]
    pub timeout_ms: Option<u64>,
    /// The channel is switched off when every try failed for so long. 0: never. Default 5 days for webhooks, never for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = DISABLE_AFTER_MS_MAX))]
    pub disable_after_ms: Option<u64>,
    /// How much may go out, in place of the limits that the kind has by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// The channels that get what this one cannot deliver: the first that is on and works.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = FALLBACKS_MAX))]
    pub fallback: Vec<ChannelId>,
    /// How long a delivery waits for a channel on which nothing works before it is handed to a fallback. Default 5 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = EXPIRY_MS_MAX))]
    pub fallback_after_ms: Option<u64>,
}

/// `rateLimit`: for the whole fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Lasting; may be a fraction.
    #[schemars(range(min = PER_SECOND_MIN, max = PER_SECOND_MAX))]
    pub per_second: f64,
    /// How many may go at once after a quiet time. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = BURST_MAX))]
    pub burst: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetrySpec {
    /// The waits between tries, in milliseconds, each with ±20 % of jitter. When they are used up it is given up.
    #[schemars(length(max = RETRIES_MAX), inner(range(min = 1, max = RETRY_WAIT_MS_MAX)))]
    pub schedule_ms: Vec<u64>,
}

/// `enabled: true | false | auto`. `auto` is resolved when the document is applied: on when every variable that the
/// configuration names without a default is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Enabled {
    #[default]
    On,
    Off,
    Auto,
}

impl Serialize for Enabled {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::On => serializer.serialize_bool(true),
            Self::Off => serializer.serialize_bool(false),
            Self::Auto => serializer.serialize_str("auto"),
        }
    }
}

impl<'de> Deserialize<'de> for Enabled {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = Value::deserialize(deserializer)?;
        match (found.as_bool(), found.as_str()) {
            (Some(true), _) => Ok(Self::On),
            (Some(false), _) => Ok(Self::Off),
            (None, Some("auto")) => Ok(Self::Auto),
            (None, _) => Err(serde::de::Error::custom(format!("{found} is none of true, false, \"auto\""))),
        }
    }
}

impl JsonSchema for Enabled {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Enabled".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": [true, false, "auto"] })
    }
}

fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}

/// Makes one try of one delivery.
pub trait Channel: Send + Sync {
    /// The caller bounds its time.
    fn send<'a>(&'a self, attempt: Try<'a>) -> BoxFuture<'a, Result<Receipt, SendError>>;

    /// True when it replaces an earlier message of the same thing. Such tries are made one after the other, and an older event
    /// never takes the place of a newer one.
    fn replaces(&self) -> bool {
        false
    }

    /// True when it answers the first message of the same thing and leaves that as it is: then only the first try is made alone.
    fn follows(&self) -> bool {
        false
    }

    /// What the provider's limits say about such a try: it counts against each of them.
    fn limits(&self, _attempt: &Try<'_>) -> Vec<Limit> {
        Vec::new()
    }

    /// Asks what became of what the provider accepted, where it gives [tickets](tally::Ticket). The caller bounds its time.
    fn ask<'a>(&'a self, _asking: Asking<'a>) -> BoxFuture<'a, Result<Told, SendError>> {
        Box::pin(async { Ok(Told::default()) })
    }
}

/// A limit of a provider: in any span of `per` at most `most` are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// What is limited, the same in all channels that share it: a bot, a chat, an account. It becomes a part of a subject,
    /// so secrets and addresses are digested.
    pub of: String,
    pub most: u32,
    pub per: Duration,
    /// How many may go at once, of `most`. It is taken off the lasting rate, so no more than an eighth of `most` is made use of
    /// (a quarter, where `per` is above a second).
    pub burst: u32,
    /// How many this try is, at most four fifths of `most`. Up to the burst it costs what it is, beyond it nearly twice that.
    pub cost: u32,
}

/// What an adapter is told of a try. It has no memory and no clock of its own.
#[derive(Debug, Clone, Copy)]
pub struct Try<'a> {
    pub delivery: &'a Delivery,
    /// The recipient's address, for a channel that has none of its own.
    pub to: Option<&'a Redacted<String>>,
    /// The [`Receipt::handle`] of what was sent before under the same collapse id: to be replaced or answered.
    pub earlier: Option<&'a str>,
    /// Whom it goes to, for kinds that address devices; none for the others.
    pub devices: &'a [Device],
    /// Where this recipient can end what this channel sends to them.
    pub unsubscribe: Option<&'a str>,
    /// The moment of the try.
    pub at: Timestamp,
}

impl<'a> Try<'a> {
    /// To the one place of the channel, with nothing sent before.
    #[must_use]
    pub fn of(delivery: &'a Delivery, at: Timestamp) -> Self {
        Self { delivery, to: None, earlier: None, devices: &[], unsubscribe: None, at }
    }
}

/// What the provider said when it accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    pub provider_id: Option<String>,
    pub code: Option<u16>,
    /// What it takes to replace or answer this message later, in the adapter's own words. Kept for whoever has the same
    /// collapse id; holds no secret.
    pub handle: Option<String>,
    /// What did not go out although the message did, like an attachment. Recorded as the detail.
    pub note: Option<String>,
    /// What became of it at each of its devices, where it has several.
    pub tally: Option<Box<Tally>>,
}

/// What every kind gives to the registry.
pub trait Adapter: Channel + Sized + 'static {
    /// Its settings, with unknown fields refused.
    type Config: DeserializeOwned + JsonSchema;

    /// Builds it from its settings, in which `${VAR}` is already replaced.
    ///
    /// # Errors
    /// The place in `config` and what is wrong with it. Never the value of a secret.
    fn new(config: &Value, workshop: &Workshop) -> Result<Self, Fault>;

    /// What its settings need beyond their fields and types, as far as it shows before `${VAR}` is replaced.
    ///
    /// # Errors
    /// As [`Adapter::new`].
    fn check(_config: &Self::Config) -> Result<(), Fault> {
        Ok(())
    }

    /// What it makes of a delivery, for people who ask: a text, or the JSON that the provider gets.
    fn show(delivery: &Delivery) -> Value;

    /// Asks the provider whether the account works, without sending anything; `config` is that of a connection, in which
    /// `${VAR}` is already replaced, and lacks what channels bring. None: there is nothing to ask.
    #[must_use]
    fn probe<'a>(
        _config: &'a Value,
        _workshop: &'a Workshop,
        _at: Timestamp,
    ) -> Option<BoxFuture<'a, Result<(), SendError>>> {
        None
    }
}

/// Why a try failed, and so what to do: the variant says what to do, the reason what to count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// May pass by itself: try again. A `retry_after` lengthens the wait.
    Transient { failure: Failure, retry_after: Option<Duration> },
    /// The provider asks everybody for a pause: costs no attempt.
    RateLimited { failure: Failure, retry_after: Option<Duration> },
    /// Will never pass: give up at once.
    Permanent(Failure),
    /// Our credentials, our configuration, our bug: costs no attempt, the delivery's expiry bounds it.
    Ours(Failure),
}

impl SendError {
    /// Nothing was heard within the time of a try.
    #[must_use]
    pub fn late(timeout: Duration) -> Self {
        let detail = format!("no answer within {} ms", timeout.as_millis());
        Self::Transient { failure: Failure::new(Reason::Timeout, detail), retry_after: None }
    }

    #[must_use]
    pub fn failure(&self) -> &Failure {
        match self {
            Self::Transient { failure, .. }
            | Self::RateLimited { failure, .. }
            | Self::Permanent(failure)
            | Self::Ours(failure) => failure,
        }
    }

    /// The same class with another failure.
    #[must_use]
    pub fn with_failure(self, change: impl FnOnce(Failure) -> Failure) -> Self {
        match self {
            Self::Transient { failure, retry_after } => {
                Self::Transient { failure: change(failure), retry_after }
            }
            Self::RateLimited { failure, retry_after } => {
                Self::RateLimited { failure: change(failure), retry_after }
            }
            Self::Permanent(failure) => Self::Permanent(change(failure)),
            Self::Ours(failure) => Self::Ours(change(failure)),
        }
    }
}

/// What went wrong. `detail` is shown to people and stored: it never holds a secret, an address or a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub reason: Reason,
    pub code: Option<u16>,
    pub detail: String,
    /// What became of it at each of its devices, where it has several.
    pub tally: Option<Box<Tally>>,
}

impl Failure {
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, code: None, detail: detail.into(), tally: None }
    }

    #[must_use]
    pub fn code(mut self, code: u16) -> Self {
        self.code = Some(code);
        self
    }
}

/// One try, unless the channel says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// What adapters are built with: everything they share.
#[derive(Clone)]
pub struct Workshop {
    pub http: http::HttpClient,
    /// The worker's connection to the broker; None where channels are only checked.
    pub bus: Option<Bus>,
}

/// Defines the kinds: one line each, `Variant "word" module::Type`, in the order in which they are listed.
macro_rules! registry {
    ($($variant:ident $word:literal $module:ident::$adapter:ident;)+) => {
        $(pub mod $module;)+

        /// The adapters there are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum Kind { $(#[serde(rename = $word)] $variant,)+ }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Builds the adapter from its configuration, in which `${VAR}` is already replaced.
            ///
            /// # Errors
            /// The place and the fault, relative to `config`. Never the value of a secret.
            pub fn build(self, config: &Value, workshop: &Workshop) -> Result<Box<dyn Channel>, Fault> {
                match self {
                    $(Self::$variant => Ok(Box::new(<$module::$adapter as Adapter>::new(config, workshop)?)),)+
                }
            }

            /// Checks what can be known of a configuration before `${VAR}` is replaced: its fields and their types.
            ///
            /// # Errors
            /// The place and the fault, relative to `config`. Never the value of a secret.
            pub fn check(self, config: &Value) -> Result<(), Fault> {
                match self {
                    $(Self::$variant => {
                        let config = settings::read::<<$module::$adapter as Adapter>::Config>(config)?;
                        <$module::$adapter as Adapter>::check(&config)
                    })+
                }
            }

            /// What its adapter makes of a delivery, for people who ask: a text, or the JSON that the provider gets.
            #[must_use]
            pub fn show(self, delivery: &Delivery) -> Value {
                match self {
                    $(Self::$variant => <$module::$adapter as Adapter>::show(delivery),)+
                }
            }

            /// Asks the provider whether the account of a connection works. None: there is nothing to ask.
            #[must_use]
            pub fn probe<'a>(
                self,
                config: &'a Value,
                workshop: &'a Workshop,
                at: Timestamp,
            ) -> Option<BoxFuture<'a, Result<(), SendError>>> {
                match self {
                    $(Self::$variant => <$module::$adapter as Adapter>::probe(config, workshop, at),)+
                }
            }

            /// The JSON Schema of a configuration before `${VAR}` is replaced.
            #[must_use]
            pub fn config_schema(self) -> Value {
                match self {
                    $(Self::$variant => crate::schema::config::<<$module::$adapter as Adapter>::Config>(),)+
                }
            }
        }
    };
}

registry! {
    Console "console" console::Console;
    Webhook "webhook" webhook::Webhook;
    Slack "slack" slack::Slack;
    Telegram "telegram" telegram::Telegram;
    WhatsApp "whatsapp" whatsapp::WhatsApp;
    Email "email" email::Email;
    Expo "expo" expo::Expo;
    WebPush "webpush" webpush::WebPush;
    Nats "nats" nats::Nats;
    Url "url" url::UrlChannel;
}

impl Kind {
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

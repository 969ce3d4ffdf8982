//! Channels: the ways out. A channel's kind is an adapter, one file that makes one try and knows no attempt numbers.
//!
//! Adding a kind is one file below `channel/`, one line in the registry at the end of this file, and one row in
//! `docs/channels.md`. What a failure means is decided by the adapter that saw the answer, never further up.

#[cfg(test)]
pub(crate) mod conformance;
pub mod http;
mod id;
pub mod markdown;
mod payload;
pub mod secret;
pub mod settings;
mod spec;
pub mod standing;
pub mod tally;
pub mod text;

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bus::Bus;
use crate::delivery::Delivery;
use crate::device::Device;
use crate::outcome::Reason;
use crate::rule::fault::Fault;
use secret::Redacted;
pub use spec::{ChannelSpec, Enabled, RateLimit, RetrySpec};
use tally::{Asking, Tally, Told};

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
    /// The trace context that its request carries; the event's own where there is none.
    pub traceparent: Option<&'a str>,
    /// The moment of the try.
    pub at: Timestamp,
}

impl<'a> Try<'a> {
    /// To the one place of the channel, with nothing sent before.
    #[must_use]
    pub fn of(delivery: &'a Delivery, at: Timestamp) -> Self {
        Self { delivery, to: None, earlier: None, devices: &[], unsubscribe: None, traceparent: None, at }
    }

    /// What a receiver of ours continues the trace with: `traceparent` and `tracestate`.
    pub fn trace_headers(&self) -> impl Iterator<Item = (&'static str, &'a str)> + use<'a> {
        let event = &self.delivery.event;
        let parent = self.traceparent.or(event.traceparent.as_deref());
        let state = event.tracestate.as_deref().filter(|_| parent.is_some());
        [("traceparent", parent), ("tracestate", state)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
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

    /// True when whoever was asked is not to be asked again, ever.
    #[must_use]
    pub fn wants_no_more(&self) -> bool {
        self.failure().wants_no_more
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
    /// The receiver is not to be asked again, ever: a channel whose own address that is gets switched off.
    pub wants_no_more: bool,
}

impl Failure {
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, code: None, detail: detail.into(), tally: None, wants_no_more: false }
    }

    #[must_use]
    pub fn for_good(self) -> Self {
        Self { wants_no_more: true, ..self }
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
    InApp "in_app" in_app::InApp;
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

//! What became of a delivery, and why: the records that the history is made of.
//!
//! State and reason are closed enums, so that they can be counted; prose goes into `detail`. An outcome never carries
//! a secret or an address.

mod fault;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::channel::Kind;
use crate::delivery::{Delivery, ENVELOPE_VERSION};
use crate::event::{EventRef, Severity};
use crate::ids::{ChannelId, DeliveryId, Recipient, RuleId, WorkspaceId};

/// Defines a closed enum of words, the same on the wire, in SQL and in metrics.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text)
            }
        }

        // The derived one does not see the words that the macro puts in.
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .enum_values(Some(Self::ALL.iter().map(|word| word.as_str())))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let words: Vec<_> = Self::ALL.iter().map(|word| word.as_str()).collect();
                schemars::json_schema!({ "type": "string", "enum": words })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

pub use fault::Fault;

words! {
    /// Where a delivery stands. The last three are final.
    State {
        /// Waits for its time, or for a worker after a redrive.
        Scheduled = "scheduled",
        /// A try failed and the next one has its time.
        Retrying = "retrying",
        /// The provider accepted it.
        Sent = "sent",
        /// Given up; it is in the dead letters.
        Failed = "failed",
        /// Deliberately not sent.
        Suppressed = "suppressed",
    }
}

impl State {
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Sent | Self::Failed | Self::Suppressed => true,
            Self::Scheduled | Self::Retrying => false,
        }
    }
}

words! {
    /// Why it stands there. One closed list for outcomes, dead letters and metrics.
    Reason {
        /// The provider said yes.
        Accepted = "accepted",
        /// The provider told later what became of what it had accepted.
        Confirmed = "confirmed",
        /// Many devices: some were tried, the others follow at once.
        Continued = "continued",
        /// It was sent with a delay or a time.
        Delayed = "delayed",
        /// Its channel lets it go later: nothing was tried yet.
        Waiting = "waiting",
        /// An operator sent it again.
        Redriven = "redriven",
        /// An operator had its event routed again.
        Replayed = "replayed",
        /// No answer in time.
        Timeout = "timeout",
        /// No connection: name resolution, refused, reset, TLS.
        Unreachable = "unreachable",
        /// The provider answered that it is broken (5xx).
        ProviderError = "provider_error",
        /// The provider has nothing against us, but does not reach this recipient now.
        Deferred = "deferred",
        /// The provider asks for a pause (429).
        RateLimited = "rate_limited",
        /// The provider refused this very message (4xx).
        Rejected = "rejected",
        /// The provider refused our credentials (401, 403).
        Unauthorized = "unauthorized",
        /// The address is no more (404, 410, an unknown chat).
        Gone = "gone",
        /// The network policy forbids the address.
        BlockedAddress = "blocked_address",
        /// The channel's configuration cannot be used.
        Misconfigured = "misconfigured",
        /// Its time was over before it could be sent.
        Expired = "expired",
        /// No channel of that id.
        UnknownChannel = "unknown_channel",
        /// The channel is switched off.
        ChannelDisabled = "channel_disabled",
        /// Nobody knows yet whether the channel's address is right: no test of it went through.
        ChannelUnverified = "channel_unverified",
        /// The rule's cooldown holds it back.
        Cooldown = "cooldown",
        /// The same was said within the rule's window.
        Duplicate = "duplicate",
        /// A newer event of the same thing was shown before it.
        Superseded = "superseded",
        /// The rule is asleep at this hour.
        OutsideHours = "outside_hours",
        /// The recipient does not want to hear of it.
        Muted = "muted",
        /// The recipient has quiet hours: it goes out when they end.
        QuietHours = "quiet_hours",
        /// The recipient wants to hear nothing until a moment of theirs: it goes out then.
        Snoozed = "snoozed",
        /// The recipient has no address that the channel could use.
        NoAddress = "no_address",
        /// The recipient wants to hear no more through this channel.
        Unsubscribed = "unsubscribed",
        /// Another channel got it in place of this one.
        FailedOver = "failed_over",
        /// Cancelled before it fired.
        Cancelled = "cancelled",
        /// Handed out again and again without a verdict.
        Poison = "poison",
        /// The message could not be read.
        Undecodable = "undecodable",
        /// A source's message made no event.
        Unmapped = "unmapped",
        /// A rule that an event brought is not valid.
        InvalidRule = "invalid_rule",
        /// It is larger than the broker carries.
        TooLarge = "too_large",
        /// Our own fault.
        Internal = "internal",
    }
}

/// What a failed try speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// What the receiver did or did not do, whatever was to be sent.
    Receiver,
    /// This very message.
    Message,
    /// How we are set up: nobody was asked.
    Configuration,
    /// Neither the channel nor the message: one recipient, a pause that was asked for, or no try at all.
    Nothing,
}

impl Reason {
    #[must_use]
    pub fn about(self) -> About {
        match self {
            Self::Timeout | Self::Unreachable | Self::ProviderError | Self::Unauthorized | Self::Gone => {
                About::Receiver
            }
            Self::Rejected => About::Message,
            Self::BlockedAddress | Self::Misconfigured => About::Configuration,
            Self::Accepted
            | Self::Confirmed
            | Self::Continued
            | Self::Delayed
            | Self::Waiting
            | Self::Redriven
            | Self::Replayed
            | Self::Deferred
            | Self::RateLimited
            | Self::Expired
            | Self::UnknownChannel
            | Self::ChannelDisabled
            | Self::ChannelUnverified
            | Self::Cooldown
            | Self::Duplicate
            | Self::Superseded
            | Self::OutsideHours
            | Self::Muted
            | Self::QuietHours
            | Self::Snoozed
            | Self::NoAddress
            | Self::Unsubscribed
            | Self::FailedOver
            | Self::Cancelled
            | Self::Poison
            | Self::Unmapped
            | Self::InvalidRule
            | Self::Undecodable
            | Self::TooLarge
            | Self::Internal => About::Nothing,
        }
    }
}

/// One record: an attempt's end, a suppression, or a time that was set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    pub v: u16,
    pub delivery: DeliveryId,
    pub workspace: WorkspaceId,
    pub event: EventRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleId>,
    pub scope: String,
    pub channel: ChannelId,
    /// None when the channel is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Recipient>,
    pub severity: Severity,
    pub title: String,
    pub body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    pub state: State,
    pub reason: Reason,
    /// In words, for people; cut to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The provider's own status code, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// 0 when nothing was tried.
    pub attempt: u32,
    pub redrive: u32,
    /// With delivery, redrive and attempt the key of a try: a rate-limited try costs no attempt, and is one all the same.
    #[serde(default)]
    pub postponed: u32,
    pub at: Timestamp,
    /// How long the try took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// When the next try is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// The provider's id of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// The delivery that this one was made in place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_of: Option<DeliveryId>,
}

/// Longer details are cut: a provider's page of HTML is not history.
const DETAIL_CHARS_MAX: usize = 500;

const TOO_LARGE: &str = "given up: with what is left to do it is larger than the broker carries";

/// What is said about a delivery, beside what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub state: State,
    pub reason: Reason,
    pub detail: Option<String>,
    pub code: Option<u16>,
    pub next_at: Option<Timestamp>,
    pub provider_id: Option<String>,
}

impl Verdict {
    #[must_use]
    pub fn new(state: State, reason: Reason) -> Self {
        Self { state, reason, detail: None, code: None, next_at: None, provider_id: None }
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl Outcome {
    /// An outcome of a delivery whose attempt (if `tried`) ended at `at`.
    #[must_use]
    pub fn of(
        delivery: &Delivery,
        verdict: Verdict,
        tried: Option<std::time::Duration>,
        at: Timestamp,
    ) -> Self {
        Self {
            v: ENVELOPE_VERSION,
            delivery: delivery.id.clone(),
            workspace: delivery.workspace.clone(),
            event: delivery.event.clone(),
            rule: delivery.rule.clone(),
            scope: delivery.scope.clone(),
            channel: delivery.channel.clone(),
            kind: delivery.kind,
            recipient: delivery.recipient.clone(),
            severity: delivery.severity,
            title: delivery.title.clone(),
            body: delivery.body_in_markdown(),
            link: delivery.link.clone(),
            state: verdict.state,
            reason: verdict.reason,
            detail: verdict.detail.or_else(|| delivery.note.clone()).map(|text| cut(&text)),
            code: verdict.code,
            attempt: if tried.is_some() { delivery.attempt } else { 0 },
            redrive: delivery.redrive,
            postponed: delivery.postponed,
            at,
            duration_ms: tried.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            next_at: verdict.next_at,
            provider_id: verdict.provider_id,
            fallback_of: delivery.origin.as_ref().map(|origin| origin.delivery.clone()),
        }
    }
}

impl Outcome {
    /// In place of this one, when what it leads to is more than the broker carries.
    #[must_use]
    pub fn given_up_too_large(&self) -> Self {
        let cause = self.detail.as_deref().unwrap_or(self.reason.as_str());
        let detail = cut(&format!("{TOO_LARGE}; {cause}"));
        let (state, reason, next_at) = (State::Failed, Reason::TooLarge, None);
        Self { state, reason, next_at, detail: Some(detail), ..self.clone() }
    }

    /// As the history has it when the broker does not carry it whole.
    #[must_use]
    pub fn without_body(&self) -> Self {
        Self { body: String::new(), ..self.clone() }
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

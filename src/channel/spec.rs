//! A channel as people write it down, and as files, the API and the bucket hold it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Kind;
use crate::documents::{
    BURST_MAX, DISABLE_AFTER_MS_MAX, EXPIRY_MS_MAX, FALLBACKS_MAX, PER_SECOND_MAX, PER_SECOND_MIN,
    RETRIES_MAX, RETRY_WAIT_MS_MAX, TIMEOUT_MS_MAX,
};
use crate::ids::{ChannelId, ConnectionId};

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

impl ChannelSpec {
    /// One that is on and has nothing but its kind.
    #[must_use]
    pub fn plain(id: ChannelId, kind: Kind) -> Self {
        Self {
            id,
            kind,
            connection: None,
            enabled: Enabled::On,
            config: empty_object(),
            retry: None,
            expires_in_ms: None,
            timeout_ms: None,
            disable_after_ms: None,
            rate_limit: None,
            fallback: Vec::new(),
            fallback_after_ms: None,
        }
    }
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

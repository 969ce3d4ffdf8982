//! Devices: phones and browsers that somebody subscribed to pushes, and where each of them is reached.
//!
//! There may be millions, so they lie beside the recipients: read on demand, never held whole. A token, an endpoint and its
//! keys are addresses: they are stored, and shown nowhere.

pub mod reach;

use data_encoding::{BASE64URL, BASE64URL_NOPAD};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use url::Host;

use crate::channel::Kind;
use crate::channel::http::{HttpPolicy, parse_endpoint};
use crate::channel::webpush::is_public_key;
use crate::delivery::ENVELOPE_VERSION;
use crate::documents::strict;
use crate::ids::{DeviceId, Recipient};
use crate::rule::fault::Fault;

/// More than anybody carries: the one that was seen longest ago goes.
pub const DEVICES_PER_USER_MAX: usize = 20;
/// What only says "still here" is written this seldom.
const SEEN_AGAIN_S: i64 = 3600;

const NAME_CHARS_MAX: usize = 100;
const TOKEN_BYTES_MAX: usize = 200;
const ENDPOINT_BYTES_MAX: usize = 2048;
const AUTH_BYTES: usize = 16;
const P256DH_BYTES: usize = 65;
/// A masked address keeps so many of its last characters, when it has many more.
const SHOWN_CHARS: usize = 4;
const MASKED_CHARS_MIN: usize = 12;
/// Stands for the user of a device that belongs to nobody in particular: no encoded name looks like it.
const NOBODY: &str = "_";

crate::outcome::words! {
    /// What a device runs.
    Platform {
        Ios = "ios",
        Android = "android",
        Web = "web",
    }
}

/// How a device is reached.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Way {
    Expo { expo_push_token: String },
    WebPush { endpoint: String, keys: Keys },
}

/// What a browser gives to encrypt for it (RFC 8291), in base64url.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, utoipa::ToSchema)]
pub struct Keys {
    pub p256dh: String,
    pub auth: String,
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Way {
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Expo { .. } => Kind::Expo,
            Self::WebPush { .. } => Kind::WebPush,
        }
    }

    #[must_use]
    pub fn address(&self) -> &str {
        match self {
            Self::Expo { expo_push_token } => expo_push_token,
            Self::WebPush { endpoint, .. } => endpoint,
        }
    }

    /// Enough of it to tell two devices apart.
    #[must_use]
    pub fn masked(&self) -> String {
        let address = self.address().trim_end_matches(']');
        let inner = address.rsplit_once(['[', '/']).map_or(address, |(_, inner)| inner);
        let count = inner.chars().count();
        let shown = if count < MASKED_CHARS_MIN { 0 } else { SHOWN_CHARS };
        let end: String = inner.chars().skip(count - shown).collect();
        match self {
            Self::Expo { .. } => format!("ExponentPushToken[…{end}]"),
            Self::WebPush { endpoint, .. } => {
                let url = url::Url::parse(endpoint).ok();
                let scheme = url.as_ref().map_or("https", url::Url::scheme);
                let host = url.as_ref().and_then(url::Url::host_str).unwrap_or_default();
                format!("{scheme}://{host}/…{end}")
            }
        }
    }
}

/// A device, as the bucket holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    pub v: u16,
    pub id: DeviceId,
    #[serde(flatten)]
    pub way: Way,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// None: it belongs to the workspace, and gets only what goes to all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Recipient>,
    pub created_at: Timestamp,
    /// To the hour.
    pub last_seen_at: Timestamp,
    /// The place in the bucket that it had before it was written anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<u64>,
    /// Its place in the bucket; 0 before it has one.
    #[serde(skip)]
    pub revision: u64,
}

impl Device {
    #[must_use]
    pub fn key(&self) -> DeviceKey {
        DeviceKey { user: self.user.clone(), id: self.id.clone() }
    }

    /// True when it says no more than `known`, which was seen a moment ago.
    #[must_use]
    pub fn adds_nothing_to(&self, known: &Self) -> bool {
        let same = Self {
            created_at: known.created_at,
            last_seen_at: known.last_seen_at,
            moved_from: known.moved_from,
            revision: known.revision,
            ..self.clone()
        };
        same == *known && self.last_seen_at.as_second() - known.last_seen_at.as_second() < SEEN_AGAIN_S
    }
}

/// Which device: whose, and which of theirs. Written as one text, as keys and messages have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceKey {
    pub user: Option<Recipient>,
    pub id: DeviceId,
}

impl DeviceKey {
    /// The token of a key for a user.
    #[must_use]
    pub fn user_token(user: Option<&Recipient>) -> String {
        user.map_or_else(|| NOBODY.to_owned(), |user| BASE64URL_NOPAD.encode(user.as_str().as_bytes()))
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (user, id) = text.split_once('.')?;
        let user = match user {
            NOBODY => None,
            encoded => {
                let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?;
                Some(Recipient::parse(std::str::from_utf8(&bytes).ok()?).ok()?)
            }
        };
        Some(Self { user, id: DeviceId::parse(id).ok()? })
    }
}

impl std::fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", Self::user_token(self.user.as_ref()), self.id)
    }
}

impl Serialize for DeviceKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeviceKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("is not the key of a device"))
    }
}

/// What an app or a page sends about the device it runs on: one of `expoPushToken` and `subscription`.
#[derive(Deserialize, JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subscribe {
    /// As `getExpoPushTokenAsync` gives it.
    #[serde(default)]
    pub expo_push_token: Option<String>,
    /// As the browser's `PushSubscription.toJSON()` gives it.
    #[serde(default)]
    pub subscription: Option<BrowserSubscription>,
    #[serde(default)]
    pub platform: Option<Platform>,
    /// For people.
    #[serde(default)]
    pub device_name: Option<String>,
    /// Whose it is; a token that belongs to a recipient says it already.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub user: Option<Recipient>,
}

#[derive(Deserialize, JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrowserSubscription {
    pub endpoint: String,
    /// Unix milliseconds.
    #[serde(default)]
    pub expiration_time: Option<f64>,
    pub keys: Keys,
}

/// Reads what was sent into a device, and checks it.
///
/// # Errors
/// The place and the fault, which never repeats an address.
pub fn read(body: Value, policy: &HttpPolicy, now: Timestamp) -> Result<Device, Fault> {
    let sent: Subscribe = strict(body)?;
    let way = match (sent.expo_push_token, sent.subscription) {
        (Some(token), None) if is_expo_token(&token) => Way::Expo { expo_push_token: token },
        (Some(_), None) => {
            return Err(Fault::new("/expoPushToken", "is no Expo push token: ExponentPushToken[…]"));
        }
        (None, Some(found)) => web_push(found, policy, now).map_err(|fault| fault.below("/subscription"))?,
        (Some(_), Some(_)) => {
            return Err(Fault::new("/subscription", "and expoPushToken exclude each other"));
        }
        (None, None) => return Err(Fault::here("has neither an expoPushToken nor a subscription")),
    };
    let name = sent.device_name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let bad = |name: &String| name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control);
    if name.as_ref().is_some_and(bad) {
        let message = format!("has at most {NAME_CHARS_MAX} characters, none of them a control character");
        return Err(Fault::new("/deviceName", message));
    }
    let platform = sent.platform.or_else(|| (way.kind() == Kind::WebPush).then_some(Platform::Web));
    Ok(Device {
        v: ENVELOPE_VERSION,
        id: DeviceId::of(way.address()),
        way,
        platform,
        device_name: name,
        user: sent.user,
        created_at: now,
        last_seen_at: now,
        moved_from: None,
        revision: 0,
    })
}

fn is_expo_token(token: &str) -> bool {
    let inner = ["ExponentPushToken[", "ExpoPushToken["].iter().find_map(|head| token.strip_prefix(head));
    let legal = |inner: &str| {
        !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    token.len() <= TOKEN_BYTES_MAX && inner.and_then(|inner| inner.strip_suffix(']')).is_some_and(legal)
}

fn web_push(found: BrowserSubscription, policy: &HttpPolicy, now: Timestamp) -> Result<Way, Fault> {
    if found.endpoint.len() > ENDPOINT_BYTES_MAX {
        return Err(Fault::new("/endpoint", format!("is longer than {ENDPOINT_BYTES_MAX} bytes")));
    }
    let url = parse_endpoint(&found.endpoint, policy, "/endpoint")?;
    let forbidden = match url.host() {
        Some(Host::Ipv4(address)) => !policy.permits(address.into()),
        Some(Host::Ipv6(address)) => !policy.permits(address.into()),
        Some(Host::Domain(name)) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
        None => true,
    };
    if forbidden {
        return Err(Fault::new("/endpoint", "is not a public address"));
    }
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of centuries are exact")]
    if found.expiration_time.is_some_and(|at| at <= now.as_millisecond() as f64) {
        return Err(Fault::new("/expirationTime", "is over: subscribe anew"));
    }
    let point =
        decoded(&found.keys.p256dh).filter(|point| point.len() == P256DH_BYTES && is_public_key(point));
    if point.is_none() {
        return Err(Fault::new("/keys/p256dh", "is no uncompressed point of P-256 in base64url"));
    }
    if decoded(&found.keys.auth).is_none_or(|auth| auth.len() != AUTH_BYTES) {
        return Err(Fault::new("/keys/auth", format!("is not {AUTH_BYTES} bytes in base64url")));
    }
    Ok(Way::WebPush { endpoint: found.endpoint, keys: found.keys })
}

/// base64url, padded or not: browsers leave the padding out, libraries do not always.
#[must_use]
pub fn decoded(text: &str) -> Option<Vec<u8>> {
    let (bytes, padded) = (text.as_bytes(), text.ends_with('='));
    if padded { BASE64URL.decode(bytes) } else { BASE64URL_NOPAD.decode(bytes) }.ok()
}

#[cfg(test)]
mod tests;

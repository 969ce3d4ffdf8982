//! The names of things: each id is a type, parsed once at the edge, and a delivery's id is derived from what it is.
//!
//! The derivation is part of the wire format: changing it gives every delivery in flight a second identity.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

/// Why a text is not an id: what was found and what is legal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {found:?} is not valid: {legal}")]
pub struct IdError {
    what: &'static str,
    found: String,
    legal: &'static str,
}

/// Defines a newtype over `String` with one checked way in.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $legal:literal, $schema:tt, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// # Errors
            /// When the text breaks the rule stated on the type.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    return Ok(Self(text.to_owned()));
                }
                let found = text.chars().take(80).collect();
                Err(IdError { what: $what, found, legal: $legal })
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text_id!(
    /// The tenant: `[a-z0-9_-]{1,63}`. It is a token of subjects and keys.
    WorkspaceId, "workspace", "1 to 63 of a-z, 0-9, _ and -",
    { "type": "string", "pattern": "^[a-z0-9_-]{1,63}$" },
    |text| name_like(text, 63, |byte| byte.is_ascii_lowercase())
);
text_id!(
    /// `[A-Za-z0-9_-]{1,64}`, unique in its workspace.
    RuleId, "rule id", "1 to 64 of A-Z, a-z, 0-9, _ and -",
    { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" },
    |text| name_like(text, 64, |byte| byte.is_ascii_alphabetic())
);
text_id!(
    /// `[A-Za-z0-9_-]{1,64}`, unique in its workspace.
    ChannelId, "channel id", "1 to 64 of A-Z, a-z, 0-9, _ and -",
    { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" },
    |text| name_like(text, 64, |byte| byte.is_ascii_alphabetic())
);
text_id!(
    /// `[A-Za-z0-9_-]{1,64}`, unique in its workspace.
    SourceId, "source id", "1 to 64 of A-Z, a-z, 0-9, _ and -",
    { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" },
    |text| name_like(text, 64, |byte| byte.is_ascii_alphabetic())
);
text_id!(
    /// `[A-Za-z0-9_-]{1,64}`, unique in its workspace.
    ConnectionId, "connection id", "1 to 64 of A-Z, a-z, 0-9, _ and -",
    { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" },
    |text| name_like(text, 64, |byte| byte.is_ascii_alphabetic())
);
text_id!(
    /// A person or an agent: 1 to 256 bytes of UTF-8 without control characters. Encoded wherever a subject needs it.
    Recipient, "recipient", "1 to 256 bytes of UTF-8 without control characters",
    { "type": "string", "minLength": 1, "maxLength": 256 },
    |text| !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control)
);
text_id!(
    /// A task or a mission, as producers call it: 1 to 256 bytes of UTF-8 without control characters.
    ScopedId, "id of a task or mission", "1 to 256 bytes of UTF-8 without control characters",
    { "type": "string", "minLength": 1, "maxLength": 256 },
    |text| !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control)
);
text_id!(
    /// `d_` and 24 characters of base 32: 120 bits of a SHA-256 (see [`DeliveryKey`]).
    DeliveryId, "delivery id", "d_ and 24 characters of a-z, 2-7",
    { "type": "string", "pattern": "^d_[a-z2-7]{24}$" },
    |text| text.strip_prefix("d_").is_some_and(|rest| {
        rest.len() == 24 && rest.bytes().all(|byte| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte))
    })
);

text_id!(
    /// `n_` and the 24 characters of the delivery that made it.
    NotificationId, "notification id", "n_ and 24 characters of a-z, 2-7",
    { "type": "string", "pattern": "^n_[a-z2-7]{24}$" },
    |text| text.strip_prefix("n_").is_some_and(|rest| {
        rest.len() == 24 && rest.bytes().all(|byte| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte))
    })
);

impl NotificationId {
    /// What a delivery puts into an inbox, however often it does.
    #[must_use]
    pub fn of(delivery: &DeliveryId) -> Self {
        Self(format!("n_{}", &delivery.as_str()["d_".len()..]))
    }
}

text_id!(
    /// `p_` and 24 characters of base 32: the digest of what the device is addressed by.
    DeviceId, "id of a push subscription", "p_ and 24 characters of a-z, 2-7",
    { "type": "string", "pattern": "^p_[a-z2-7]{24}$" },
    |text| text.strip_prefix("p_").is_some_and(|rest| {
        rest.len() == 24 && rest.bytes().all(|byte| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte))
    })
);

impl Recipient {
    /// Everybody of a workspace.
    pub const EVERYBODY: &str = "*";

    #[must_use]
    pub fn everybody() -> Self {
        Self(Self::EVERYBODY.to_owned())
    }

    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.0 == Self::EVERYBODY
    }
}

impl DeviceId {
    /// The same token or endpoint is the same device.
    #[must_use]
    pub fn of(address: &str) -> Self {
        Self(format!("p_{}", digest(&["device", address])))
    }
}

fn name_like(text: &str, bytes_max: usize, letter: fn(u8) -> bool) -> bool {
    (1..=bytes_max).contains(&text.len())
        && text.bytes().all(|byte| letter(byte) || byte.is_ascii_digit() || byte == b'_' || byte == b'-')
}

impl DeliveryId {
    /// The id of the delivery that another channel gets in place of this one, in that life of it.
    #[must_use]
    pub fn in_place(&self, redrive: u32, channel: &ChannelId) -> Self {
        Self(format!("d_{}", digest(&["in-place", self.as_str(), &redrive.to_string(), channel.as_str()])))
    }
}

impl DeliveryId {
    /// The id under which a replay that wants fresh ones sends it again: the same each time that this job does it.
    #[must_use]
    pub fn afresh(&self, job: &str) -> Self {
        Self(format!("d_{}", digest(&["replay", job, self.as_str()])))
    }
}

impl WorkspaceId {
    /// The workspace of whoever names none.
    #[must_use]
    pub fn default_workspace() -> Self {
        Self("default".to_owned())
    }
}

impl Default for WorkspaceId {
    fn default() -> Self {
        Self::default_workspace()
    }
}

/// What makes a delivery that one and no other. Doing a step twice on the same key is doing it once.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryKey<'a> {
    pub workspace: &'a WorkspaceId,
    pub source: &'a str,
    pub event: &'a str,
    pub scope: &'a str,
    /// None for a delivery sent without a rule.
    pub rule: Option<&'a RuleId>,
    pub channel: &'a ChannelId,
    pub recipient: Option<&'a Recipient>,
}

impl DeliveryKey<'_> {
    /// Hashes the fields, each behind its length, so that no two keys share their bytes.
    #[must_use]
    pub fn id(&self) -> DeliveryId {
        let mut hasher = Sha256::new();
        let rule = self.rule.map_or("", RuleId::as_str);
        let recipient = self.recipient.map_or("", Recipient::as_str);
        let fields = [
            self.workspace.as_str(),
            self.source,
            self.event,
            self.scope,
            rule,
            self.channel.as_str(),
            recipient,
        ];
        for field in fields {
            hasher.update((field.len() as u64).to_be_bytes());
            hasher.update(field.as_bytes());
        }
        DeliveryId(format!("d_{}", short_base32(&hasher.finalize())))
    }
}

/// The first 120 bits in lower-case base 32: 24 characters, legal in subjects, keys and URLs.
fn short_base32(digest: &[u8]) -> String {
    data_encoding::BASE32_NOPAD.encode(&digest[..15]).to_ascii_lowercase()
}

/// A short digest of texts whose own characters or length a subject or a key could not take.
#[must_use]
pub fn digest(parts: &[&str]) -> String {
    short_base32(&hashed(parts).finalize())
}

/// The same as bytes; at most 32.
#[must_use]
pub fn digest_bytes<const N: usize>(parts: &[&str]) -> [u8; N] {
    let whole = hashed(parts).finalize();
    std::array::from_fn(|index| whole[index])
}

fn hashed(parts: &[&str]) -> Sha256 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key<'a>(
        workspace: &'a WorkspaceId,
        channel: &'a ChannelId,
        event: &'a str,
        scope: &'a str,
    ) -> DeliveryKey<'a> {
        DeliveryKey { workspace, source: "s", event, scope, rule: None, channel, recipient: None }
    }

    #[test]
    fn a_delivery_id_depends_on_every_field_and_on_nothing_else() {
        let (workspace, channel) = (WorkspaceId::default(), ChannelId::parse("c").unwrap());
        let rule = RuleId::parse("r").unwrap();
        let recipient = Recipient::parse("ann").unwrap();
        let base = key(&workspace, &channel, "e", "global");
        let others = [
            DeliveryKey { source: "t", ..base },
            DeliveryKey { event: "f", ..base },
            DeliveryKey { scope: "task:1", ..base },
            DeliveryKey { rule: Some(&rule), ..base },
            DeliveryKey { recipient: Some(&recipient), ..base },
        ];
        assert_eq!(base.id(), base.id());
        for other in others {
            assert_ne!(base.id(), other.id());
        }
        assert!(DeliveryId::parse(base.id().as_str()).is_ok());
    }

    #[test]
    fn what_stands_in_for_a_delivery_has_one_id_for_each_channel_and_life() {
        let (workspace, channel) = (WorkspaceId::default(), ChannelId::parse("c").unwrap());
        let (first, other) = (key(&workspace, &channel, "e", "global").id(), ChannelId::parse("d").unwrap());
        assert_eq!(first.in_place(0, &other), first.in_place(0, &other));
        assert_ne!(first.in_place(0, &other), first.in_place(1, &other));
        assert_ne!(first.in_place(0, &other), first.in_place(0, &channel));
        assert!(DeliveryId::parse(first.in_place(0, &other).as_str()).is_ok());
    }

    #[test]
    fn neighbouring_fields_do_not_run_together() {
        let (workspace, channel) = (WorkspaceId::default(), ChannelId::parse("c").unwrap());
        assert_ne!(key(&workspace, &channel, "ab", "c").id(), key(&workspace, &channel, "a", "bc").id());
    }

    #[test]
    fn the_derivation_never_changes() {
        let (workspace, channel) = (WorkspaceId::default(), ChannelId::parse("c").unwrap());
        assert_eq!(key(&workspace, &channel, "e", "global").id().as_str(), "d_s4embne4rzupod7z7x7fklw7");
    }

    #[test]
    fn names_refuse_what_a_subject_or_a_url_would_misread() {
        for bad in ["", "a.b", "a b", "a*", "a>", "ä", &"x".repeat(65)] {
            assert!(RuleId::parse(bad).is_err(), "{bad}");
            assert!(ChannelId::parse(bad).is_err(), "{bad}");
        }
        assert!(WorkspaceId::parse("Default").is_err(), "upper case is not a workspace");
        assert!(Recipient::parse("ann@example.com, the 2nd").is_ok());
        assert!(Recipient::parse("a\nb").is_err());
    }
}

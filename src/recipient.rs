//! Recipients: the people and agents that notifications are for, and where each channel reaches them.
//!
//! There may be millions, so they have a bucket of their own: read on demand, never held whole. Their contacts are personal
//! data and never appear in records, errors or logs.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::channel::{ChannelSpec, Kind};
use crate::ids::{ChannelId, Recipient};
use crate::rule::fault::Fault;

const NAME_CHARS_MAX: usize = 200;
/// RFC 5321.
const EMAIL_BYTES_MAX: usize = 254;

/// A recipient's document, as the API and the bucket hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecipientSpec {
    pub id: Recipient,
    #[serde(default)]
    pub kind: RecipientKind,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default)]
    pub contacts: Contacts,
    /// IANA, like `Europe/Berlin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Channels through which they want to hear no more. Left out when it is written: as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsubscribed: Option<BTreeSet<ChannelId>>,
}

/// An agent can never act as a human.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecipientKind {
    #[default]
    Human,
    Agent,
}

/// Where channels reach a recipient.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Contacts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The chat with the bot: a number, as text or not.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number_or_text")]
    #[schemars(schema_with = "number_or_text_schema")]
    pub telegram_chat_id: Option<String>,
    /// A phone number with its country: `+491701234567`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whatsapp: Option<String>,
}

/// Contacts do not print.
impl std::fmt::Debug for Contacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// One of the contacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    TelegramChatId,
    WhatsApp,
    Email,
}

/// Where a channel sends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// To the one place that its configuration names.
    Fixed,
    /// There too, once for each recipient, who is named in the message.
    Named,
    /// To where this contact of each recipient says.
    Contact(Contact),
    /// To every device of each recipient; without one, to every device of the workspace.
    Devices,
    /// Into the inbox of each recipient; without one, into everybody's.
    Inbox,
}

impl Addressing {
    /// True when it goes to what recipients have: a test is for one of them, never for all.
    #[must_use]
    pub fn is_of_recipients(self) -> bool {
        match self {
            Self::Contact(_) | Self::Devices | Self::Inbox => true,
            Self::Fixed | Self::Named => false,
        }
    }
}

impl Contact {
    /// The field that holds it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TelegramChatId => "telegramChatId",
            Self::WhatsApp => "whatsapp",
            Self::Email => "email",
        }
    }

    #[must_use]
    pub fn of(self, contacts: &Contacts) -> Option<&str> {
        match self {
            Self::TelegramChatId => contacts.telegram_chat_id.as_deref(),
            Self::WhatsApp => contacts.whatsapp.as_deref(),
            Self::Email => contacts.email.as_deref(),
        }
    }
}

impl ChannelSpec {
    #[must_use]
    pub fn addressing(&self) -> Addressing {
        let named = |field| self.config.get(field).is_some_and(|value| !value.is_null());
        match self.kind {
            Kind::Webhook | Kind::Nats => Addressing::Named,
            Kind::Telegram if !named("chatId") => Addressing::Contact(Contact::TelegramChatId),
            Kind::WhatsApp if !named("to") => Addressing::Contact(Contact::WhatsApp),
            Kind::Email if !named("to") => Addressing::Contact(Contact::Email),
            Kind::Expo | Kind::WebPush => Addressing::Devices,
            Kind::InApp => Addressing::Inbox,
            Kind::Console | Kind::Slack | Kind::Telegram | Kind::WhatsApp | Kind::Email | Kind::Url => {
                Addressing::Fixed
            }
        }
    }
}

/// Checks a recipient as it is written.
///
/// # Errors
/// The place and the fault, which does not repeat a contact.
pub fn check(spec: &RecipientSpec) -> Result<(), Fault> {
    if let Some(name) = &spec.name
        && (name.trim().is_empty()
            || name.chars().count() > NAME_CHARS_MAX
            || name.chars().any(char::is_control))
    {
        let message = format!("has 1 to {NAME_CHARS_MAX} characters, none of them a control character");
        return Err(Fault::new("/name", message));
    }
    if let Some(zone) = &spec.time_zone
        && TimeZone::get(zone).is_err()
    {
        return Err(Fault::new("/timeZone", format!("{zone:?} is no IANA time zone, like Europe/Berlin")));
    }
    let Contacts { email, telegram_chat_id, whatsapp } = &spec.contacts;
    if email.as_deref().is_some_and(|email| !is_email(email)) {
        return Err(Fault::new("/contacts/email", "is no e-mail address: one name, @, one domain"));
    }
    if telegram_chat_id.as_deref().is_some_and(|id| id.parse::<i64>().is_err()) {
        return Err(Fault::new("/contacts/telegramChatId", "is not a number"));
    }
    if whatsapp.as_deref().is_some_and(|number| !is_phone_number(number)) {
        return Err(Fault::new("/contacts/whatsapp", "is no phone number like +491701234567"));
    }
    Ok(())
}

/// E.164, with the plus in front.
pub(crate) fn is_phone_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    let digit = |byte: u8| byte.is_ascii_digit();
    (7..=15).contains(&digits.len()) && digits.bytes().all(digit) && !digits.starts_with('0')
}

/// What every mail server would refuse is refused here; the rest only it can know.
fn is_email(text: &str) -> bool {
    let plain = |text: &str| !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    let parts = text.rsplit_once('@');
    let fits = parts
        .is_some_and(|(name, domain)| plain(name) && plain(domain) && !name.contains(['@', '<', '>', ',']));
    fits && text.len() <= EMAIL_BYTES_MAX
}

fn number_or_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    Ok(Option::<Either>::deserialize(deserializer)?.map(|either| match either {
        Either::Number(number) => number.to_string(),
        Either::Text(text) => text,
    }))
}

fn number_or_text_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": ["integer", "string", "null"] })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::documents::strict;

    fn read(more: &Value) -> Result<RecipientSpec, Fault> {
        let mut value = json!({"id": "ann"});
        for (name, field) in more.as_object().unwrap() {
            value[name] = field.clone();
        }
        let spec: RecipientSpec = strict(value)?;
        check(&spec).map(|()| spec)
    }

    #[test]
    fn contacts_are_checked_and_faults_name_the_place_and_no_contact() {
        for (more, pointer) in [
            (json!({"contacts": {"email": "hunter2"}}), "/contacts/email"),
            (json!({"contacts": {"email": "hunter2@a b"}}), "/contacts/email"),
            (json!({"contacts": {"email": "hunter2@x, eve@y"}}), "/contacts/email"),
            (json!({"contacts": {"email": "ann\r\nbcc:hunter2@x"}}), "/contacts/email"),
            (json!({"contacts": {"telegramChatId": "@hunter2"}}), "/contacts/telegramChatId"),
            (json!({"contacts": {"whatsapp": "0170hunter2"}}), "/contacts/whatsapp"),
            (json!({"contacts": {"whatsapp": "491701234567"}}), "/contacts/whatsapp"),
            (json!({"contacts": {"telegramChatid": "1"}}), "/contacts/telegramChatid"),
            (json!({"timeZone": "Mars/Olympus"}), "/timeZone"),
            (json!({"kind": "robot"}), "/kind"),
            (json!({"name": "\u{7}"}), "/name"),
        ] {
            let fault = read(&more).unwrap_err();
            assert_eq!(fault.pointer, pointer, "{fault}");
            assert!(!fault.message.contains("hunter2"), "{fault}");
        }
    }

    #[test]
    fn a_chat_is_a_number_however_it_is_written() {
        for chat in [json!(-1001), json!("-1001")] {
            let spec =
                read(&json!({"contacts": {"telegramChatId": chat, "email": "ann@example.com"}})).unwrap();
            assert_eq!(Contact::TelegramChatId.of(&spec.contacts), Some("-1001"));
            assert!(!format!("{spec:?}").contains("1001"));
        }
    }
}

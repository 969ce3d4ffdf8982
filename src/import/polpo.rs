//! Polpo: `settings.notifications` of its configuration, or that object alone.
//!
//! Its rules keep their meaning where Bugle has it; a rule whose condition or patterns would mean something else is left
//! out rather than sent too often. Source: Polpo's documentation of notifications and its code.

mod condition;
mod elsewhere;
mod ids;
mod rule;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Import, Remark};
use crate::apply::files;
use crate::channel::secret::{ExpandError, expand};
use crate::channel::{ChannelSpec, Enabled, Kind};
use crate::documents::{self, check_channel};
use crate::ids::ChannelId;
use crate::rule::fault::{Fault, field_pointer, shortened, unknown_field};
use ids::unique;

const SECTIONS: [&str; 2] = ["channels", "rules"];

/// The fields of a kind's channels, which have the same names in Polpo and in Bugle. None: Polpo has no such kind.
fn fields_of(kind: Kind) -> Option<&'static [&'static str]> {
    match kind {
        // Polpo's `whatsapp` is a personal account: see `Reader::channel`.
        Kind::Console
        | Kind::InApp
        | Kind::WhatsApp
        | Kind::Expo
        | Kind::WebPush
        | Kind::Nats
        | Kind::Url => None,
        Kind::Webhook => Some(&["url", "headers"]),
        Kind::Slack => Some(&["webhookUrl"]),
        Kind::Telegram => Some(&["botToken", "chatId"]),
        Kind::Email => Some(&["provider", "host", "port", "apiKey", "from", "to"]),
    }
}

/// # Errors
/// When there is nothing of Polpo's notifications in it.
pub fn read(value: &Value) -> Result<Import, Fault> {
    let whole = value.pointer("/settings/notifications").map(|found| ("/settings/notifications", found));
    let bare = || SECTIONS.iter().any(|name| value.get(name).is_some()).then_some(("", value));
    let Some((place, found)) = whole.or_else(bare) else {
        return Err(Fault::here("has no settings.notifications, and no channels or rules of its own"));
    };
    let Some(fields) = found.as_object() else {
        return Err(Fault::new(place, "must be an object with channels and rules"));
    };
    let mut reader = Reader::default();
    for name in fields.keys().filter(|name| !SECTIONS.contains(&name.as_str())) {
        reader.left_out(format!("{place}{}", field_pointer(name)), unknown_field(name, &SECTIONS));
    }
    if let Some(channels) = fields.get("channels") {
        reader.channels(channels, &format!("{place}/channels"));
    }
    if let Some(rules) = fields.get("rules") {
        reader.rules(rules, &format!("{place}/rules"));
    }
    if !place.is_empty() {
        reader.elsewhere(value, "", place);
    }
    Ok(reader.import)
}

#[derive(Debug, Default)]
struct Reader {
    import: Import,
    /// By the name in Polpo's file; None for one that was left out.
    channels: BTreeMap<String, Option<ChannelId>>,
}

impl Reader {
    fn left_out(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.import.remarks.push(Remark::LeftOut(Fault::new(place, message)));
    }

    fn changed(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.import.remarks.push(Remark::Changed(Fault::new(place, message)));
    }

    fn channels(&mut self, found: &Value, place: &str) {
        let Some(fields) = found.as_object() else {
            return self.left_out(place, "must be an object of channels by their names");
        };
        for (name, channel) in fields {
            let place = format!("{place}{}", field_pointer(name));
            let spec = self.channel(name, channel, &place);
            self.channels.insert(name.clone(), spec.as_ref().map(|spec| spec.id.clone()));
            self.import.channels.extend(spec);
        }
    }

    fn channel(&mut self, name: &str, found: &Value, place: &str) -> Option<ChannelSpec> {
        let word = found.get("type").and_then(Value::as_str);
        let Some(word) = word else {
            self.left_out(place, "has no `type`, which says what kind of channel it is");
            return None;
        };
        if word == Kind::WhatsApp.as_str() {
            self.left_out(
                place,
                "goes through a personal WhatsApp account, which Bugle does not use: Meta bans such accounts; \
                 a channel of the kind `whatsapp` needs an account of Meta's Cloud API",
            );
            return None;
        }
        let kind = Kind::parse(word).and_then(|kind| Some((kind, fields_of(kind)?)));
        let Some((kind, known)) = kind else {
            let message = format!(
                "this Bugle has no channels of the kind `{}`; its kinds are {}",
                shortened(word),
                documents::kinds()
            );
            self.left_out(place, message);
            return None;
        };
        let config = self.config(found, known, place);
        let mut config = if kind == Kind::Webhook { self.without_own_headers(config, place) } else { config };
        if kind == Kind::Email {
            // Polpo's default is another one.
            config.entry("provider").or_insert_with(|| "resend".into());
        }
        let id = self.channel_id(name, place)?;
        let (retry, expires_in_ms, timeout_ms, disable_after_ms) = (None, None, None, None);
        let enabled = Enabled::On;
        let spec = ChannelSpec {
            id,
            kind,
            connection: None,
            enabled,
            config: config.into(),
            retry,
            expires_in_ms,
            timeout_ms,
            disable_after_ms,
            rate_limit: None,
            fallback: Vec::new(),
            fallback_after_ms: None,
        };
        match check_channel(&spec).and_then(|()| files::check_config(&spec)) {
            Ok(()) => Some(spec),
            Err(fault) => {
                let inner = fault.pointer.strip_prefix("/config").unwrap_or(&fault.pointer);
                self.left_out(
                    format!("{place}{inner}"),
                    format!("{}; the channel is left out", fault.message),
                );
                None
            }
        }
    }

    /// The fields that the kind has.
    fn config(&mut self, found: &Value, known: &[&str], place: &str) -> Map<String, Value> {
        let mut config = Map::new();
        for (name, value) in found.as_object().into_iter().flatten().filter(|(name, _)| *name != "type") {
            if known.contains(&name.as_str()) {
                config.insert(name.clone(), literal(value));
            } else {
                self.left_out(format!("{place}{}", field_pointer(name)), unknown_field(name, known));
            }
        }
        config
    }

    /// Headers that Bugle sets itself would make the whole channel unusable.
    fn without_own_headers(&mut self, mut config: Map<String, Value>, place: &str) -> Map<String, Value> {
        let Some(headers) = config.get_mut("headers").and_then(Value::as_object_mut) else { return config };
        for name in headers.keys().cloned().collect::<Vec<_>>() {
            let mut alone = Map::new();
            alone.insert(name.clone(), "x".into());
            let config = json!({ "url": "https://example.com", "headers": alone });
            if let Err(fault) = files::build(Kind::Webhook, &config) {
                headers.remove(&name);
                self.left_out(format!("{place}{}", fault.pointer), fault.message);
            }
        }
        config
    }

    fn channel_id(&mut self, name: &str, place: &str) -> Option<ChannelId> {
        let taken = |id: &str| self.channels.values().flatten().any(|known| known.as_str() == id);
        let id = unique(name, "channel", taken);
        if id != name {
            self.changed(place, format!("its id is {id}"));
        }
        ChannelId::parse(&id).ok()
    }
}

/// Polpo replaces `${NAME}` only; what else begins so stays as it is there, and has to be written `$${` here.
fn literal(value: &Value) -> Value {
    match value {
        Value::String(text) if expand(text, &|_| Some(String::new())) == Err(ExpandError::Malformed) => {
            text.replace("${", "$${").into()
        }
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), literal(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests;

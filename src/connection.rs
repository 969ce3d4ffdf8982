//! Connections: a bot or an account that several channels share, with its health.
//!
//! A channel that names one has its own settings on top of the connection's. No field stands in both: which one holds
//! must not be a matter of knowing our order.

pub mod events;
pub mod health;
pub mod probes;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::channel::{ChannelSpec, Kind};
use crate::ids::ConnectionId;
use crate::rule::fault::{Fault, field_pointer, nearest};
use crate::schema;
use crate::secrets;

const NAME_CHARS_MAX: usize = 200;

/// A connection's document, as files, the API and the bucket hold it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::part_by_kind)]
pub struct ConnectionSpec {
    pub id: ConnectionId,
    pub kind: Kind,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = NAME_CHARS_MAX))]
    pub name: Option<String>,
    /// Off: its channels send nothing.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Settings of the kind, as many as its channels share. Strings may hold `${VAR}` and `${VAR:-default}`, replaced by the
    /// worker.
    #[serde(default = "nothing")]
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub config: Value,
}

fn yes() -> bool {
    true
}

fn nothing() -> Value {
    Value::Object(Map::new())
}

/// Checks what can be known of a connection without its environment.
///
/// # Errors
/// The place and the fault; never a value of its settings.
pub fn check(spec: &ConnectionSpec) -> Result<(), Fault> {
    if spec.name.as_ref().is_some_and(|name| name.chars().count() > NAME_CHARS_MAX) {
        return Err(Fault::new("/name", format!("is longer than {NAME_CHARS_MAX} characters")));
    }
    check_part(spec.kind, &spec.config).map_err(|fault| fault.below("/config"))
}

/// Checks the connections of a file.
///
/// # Errors
/// The place and the fault.
pub fn check_list(specs: &[ConnectionSpec]) -> Result<(), Fault> {
    for (index, spec) in specs.iter().enumerate() {
        let place = format!("/connections/{index}");
        check(spec).map_err(|fault| fault.below(&place))?;
        if specs[..index].iter().any(|earlier| earlier.id == spec.id) {
            return Err(Fault::new(format!("{place}/id"), format!("connection {} is there twice", spec.id)));
        }
    }
    Ok(())
}

/// Checks the settings of a channel: whole where it stands alone, as a part of them where a connection has the rest.
///
/// # Errors
/// The place and the fault.
pub fn check_config(spec: &ChannelSpec) -> Result<(), Fault> {
    let checked = match spec.connection {
        Some(_) => check_part(spec.kind, &spec.config),
        None => secrets::mask::check_unmasked(&secrets::config_schema(spec.kind), &spec.config)
            .and_then(|()| spec.kind.check(&spec.config)),
    };
    checked.map_err(|fault| fault.below("/config"))
}

/// Fields and types, and none that is missing.
fn check_part(kind: Kind, config: &Value) -> Result<(), Fault> {
    if !config.is_object() {
        return Err(Fault::here("must be an object"));
    }
    let whole = secrets::config_schema(kind);
    secrets::mask::check_unmasked(&whole, config)?;
    let fault = schema::shape::fault(&schema::part((*whole).clone()), config);
    fault.map_or(Ok(()), Err)
}

/// The settings of a channel on its connection.
///
/// # Errors
/// The place in the channel: another kind, or a field that is in both.
pub fn merged(connection: &ConnectionSpec, channel: &ChannelSpec) -> Result<Value, Fault> {
    if connection.kind != channel.kind {
        let message =
            format!("is {}, and the connection {} is {}", channel.kind, connection.id, connection.kind);
        return Err(Fault::new("/kind", message));
    }
    let mut merged = connection.config.as_object().cloned().unwrap_or_default();
    for (name, value) in channel.config.as_object().into_iter().flatten() {
        if merged.insert(name.clone(), value.clone()).is_some() {
            let message = format!("is in the connection {} too: it belongs in one of them", connection.id);
            return Err(Fault::new(format!("/config{}", field_pointer(name)), message));
        }
    }
    Ok(Value::Object(merged))
}

/// Checks a channel's settings together with those of its connection.
///
/// # Errors
/// The place in the channel, and that it may be missing in the connection too.
pub fn check_on(connection: &ConnectionSpec, channel: &ChannelSpec) -> Result<(), Fault> {
    let config = merged(connection, channel)?;
    channel.kind.check(&config).map_err(|fault| {
        let message = format!("{} (together with the connection {})", fault.message, connection.id);
        Fault::new(format!("/config{}", fault.pointer), message)
    })
}

/// What is wrong with a connection that nobody knows, and which one was probably meant.
#[must_use]
pub fn unknown(id: &ConnectionId, known: &[&str]) -> Fault {
    let hint = match nearest(id.as_str(), known) {
        Some(meant) => format!("did you mean {meant}?"),
        None => "see `connections`".to_owned(),
    };
    Fault::new("/connection", format!("there is no connection {id}: {hint}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::documents::{check_channel, strict};

    fn connection(value: Value) -> ConnectionSpec {
        strict(value).unwrap()
    }

    fn channel(config: &Value) -> ChannelSpec {
        strict(json!({ "id": "c", "kind": "telegram", "connection": "bot", "config": config })).unwrap()
    }

    fn bot() -> ConnectionSpec {
        connection(json!({ "id": "bot", "kind": "telegram", "config": { "botToken": "${TOKEN}" } }))
    }

    #[test]
    fn a_channel_has_its_settings_on_top_of_its_connections() {
        let chat = channel(&json!({ "chatId": "1" }));
        assert_eq!(check(&bot()), Ok(()));
        assert_eq!(check_channel(&chat), Ok(()));
        assert_eq!(merged(&bot(), &chat).unwrap(), json!({ "botToken": "${TOKEN}", "chatId": "1" }));
        assert_eq!(check_on(&bot(), &chat), Ok(()));
    }

    #[test]
    fn a_field_in_both_another_kind_and_what_neither_has_are_faults_of_the_channel() {
        let both = channel(&json!({ "botToken": "hunter2", "chatId": "1" }));
        let fault = check_on(&bot(), &both).unwrap_err();
        assert_eq!(fault.pointer, "/config/botToken");
        assert!(!fault.message.contains("hunter2"), "{fault}");
        let slack = connection(json!({ "id": "bot", "kind": "slack" }));
        assert_eq!(check_on(&slack, &channel(&json!({}))).unwrap_err().pointer, "/kind");
        let empty = connection(json!({ "id": "bot", "kind": "telegram" }));
        let fault = check_on(&empty, &channel(&json!({ "chatId": "1" }))).unwrap_err();
        assert_eq!(fault.pointer, "/config/botToken");
        assert!(fault.message.contains("together with the connection bot"), "{fault}");
    }

    #[test]
    fn a_part_of_the_settings_is_checked_for_its_fields_and_types() {
        for (config, place) in [
            (json!({ "bottoken": "x" }), "/config/bottoken"),
            (json!({ "botToken": 1 }), "/config/botToken"),
            (json!({ "botToken": "***" }), "/config/botToken"),
        ] {
            let spec = ConnectionSpec { config: config.clone(), ..bot() };
            assert_eq!(check(&spec).unwrap_err().pointer, place);
            assert_eq!(check_channel(&channel(&config)).unwrap_err().pointer, place);
        }
        let alone: ChannelSpec = strict(json!({ "id": "c", "kind": "telegram", "config": {} })).unwrap();
        assert_eq!(check_channel(&alone).unwrap_err().pointer, "/config/botToken");
    }
}

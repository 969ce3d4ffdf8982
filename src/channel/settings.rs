//! Reads a channel's `config` into the struct of its kind, and says what is wrong without repeating what was found.
//!
//! serde quotes values in its messages ("invalid type: string \"xoxb-…\""), and any value here may be a secret: its
//! messages are taken apart and only the harmless half is passed on.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::secret::below;
use crate::rule::fault::{Fault, unknown_field};

/// # Errors
/// The place in `config` and what is expected there; an unknown field is named.
pub fn read<T: DeserializeOwned>(config: &Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(config).map_err(|error| {
        let message = error.inner().to_string();
        fault(pointer(error.path()), &message)
    })
}

/// True when a field is there and says something: variables have empty defaults. For a part of the settings, in which others
/// may be missing.
#[must_use]
pub fn has(config: &Value, name: &str) -> bool {
    match config.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => true,
    }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer = format!("{pointer}/{index}"),
            Segment::Map { key } => pointer = below(&pointer, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

fn fault(pointer: String, message: &str) -> Fault {
    if let Some((field, rest)) = quoted(message, "unknown field ") {
        let place = if pointer.ends_with(&below("", field)) { pointer } else { below(&pointer, field) };
        // "…, expected one of `url`, `secrets`": every second piece between the backticks.
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        return Fault::new(place, unknown_field(field, &known));
    }
    if let Some((field, _)) = quoted(message, "missing field ") {
        return Fault::new(below(&pointer, field), "is missing".to_owned());
    }
    // "invalid type: <the value>, expected <words of ours>": the last `, expected ` is serde's own.
    match message.rsplit_once(", expected ") {
        Some((_, expected)) => Fault::new(pointer, format!("expected {expected}")),
        None => Fault::new(pointer, "is not valid".to_owned()),
    }
}

/// What stands in backticks behind `prefix`, and what follows it.
fn quoted<'a>(message: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    message.strip_prefix(prefix)?.strip_prefix('`')?.split_once('`')
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "read by nobody: the faults are what is tested")]
    struct Settings {
        url: String,
        #[serde(default)]
        secrets: Vec<String>,
    }

    #[test]
    fn faults_name_the_place_and_never_the_value() {
        for (config, pointer, message) in [
            (
                json!({ "url": "u", "secert": 1 }),
                "/secert",
                "`secert` is not a known field; did you mean `secrets`?; the fields here are url, secrets",
            ),
            (json!({}), "/url", "is missing"),
            (json!({ "url": 8_675_309 }), "/url", "expected a string"),
            (json!({ "url": "u", "secrets": "hunter2" }), "/secrets", "expected a sequence"),
            (json!({ "url": "u", "secrets": ["a", { "hunter2": 1 }] }), "/secrets/1", "expected a string"),
            (json!("hunter2, expected"), "", "expected struct Settings"),
        ] {
            let fault = read::<Settings>(&config).unwrap_err();
            assert_eq!((fault.pointer.as_str(), fault.message.as_str()), (pointer, message), "{config}");
        }
    }
}

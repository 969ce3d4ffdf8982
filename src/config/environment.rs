//! The one door to the environment: variables that set something, those that documents name, and files in place of both.
//!
//! `NAME_FILE` stands for the content of that file wherever `NAME` could stand, so that a secret need not be in the
//! environment, where every child and every crash report sees it.

use std::path::Path;

use figment::value::{Dict, Num, Value};

use super::ConfigError;
use crate::rule::fault::guess;

/// In front of every setting in the environment.
pub const ENVIRONMENT_PREFIX: &str = "BUGLE__";
/// Behind the name of a variable whose value is in a file.
const IN_FILE: &str = "_FILE";

/// An environment variable, for `${VAR}` in channels: itself, or the content of the file that `VAR_FILE` names.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    variable(name).or_else(|| {
        let file = variable(&format!("{name}{IN_FILE}"))?;
        match content(Path::new(&file)) {
            Ok(text) => Some(text),
            Err(error) => {
                tracing::error!(variable = format!("{name}{IN_FILE}"), file, %error, "a variable's file cannot be read");
                None
            }
        }
    })
}

#[expect(clippy::disallowed_methods, reason = "the one door to the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Without the end of the line that editors and `echo` leave.
fn content(file: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(file).map(|text| text.trim_end_matches(['\n', '\r']).to_owned())
}

/// The variables that set something.
pub(super) fn own_variables() -> Result<Vec<(String, String)>, ConfigError> {
    let mut found = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with(ENVIRONMENT_PREFIX)) else { continue };
        let value = value.to_str().ok_or_else(|| ConfigError(format!("{name} is not UTF-8")))?;
        found.push((name.to_owned(), value.to_owned()));
    }
    Ok(found)
}

/// The key that a variable sets and its value, in the type of the key's default.
pub(super) fn setting(defaults: &Dict, name: &str, text: &str) -> Result<(Vec<String>, Value), ConfigError> {
    if let Some(value) = default_of(defaults, name) {
        return typed(value, name, text).map(|value| (path(name), value));
    }
    let base = name.strip_suffix(IN_FILE);
    if let Some((base, value)) = base.and_then(|base| Some((base, default_of(defaults, base)?))) {
        let text = content(Path::new(text))
            .map_err(|error| ConfigError(format!("{name}: the file {text} cannot be read: {error}")))?;
        return typed(value, name, &text).map(|value| (path(base), value));
    }
    let known = variables(defaults, ENVIRONMENT_PREFIX);
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Err(ConfigError(format!("{name} sets no known key{}: see config/default.toml", guess(name, &known))))
}

/// Two variables for one key: which of them holds would be chance.
pub(super) fn refuse_twice(defaults: &Dict, environment: &[(String, String)]) -> Result<(), ConfigError> {
    let set = |wanted: &str| environment.iter().any(|(name, _)| name == wanted);
    let twice =
        |name: &str| default_of(defaults, name).is_none() && name.strip_suffix(IN_FILE).is_some_and(set);
    match environment.iter().find(|(name, _)| twice(name)) {
        Some((name, _)) => Err(ConfigError(format!(
            "{name} and {} are both set: only one of them can hold",
            name.trim_end_matches(IN_FILE)
        ))),
        None => Ok(()),
    }
}

fn path(name: &str) -> Vec<String> {
    name[ENVIRONMENT_PREFIX.len()..].split("__").map(str::to_lowercase).collect()
}

/// The default of the key that a variable of this name sets; None for a section, and for what is no key.
fn default_of<'a>(defaults: &'a Dict, name: &str) -> Option<&'a Value> {
    let path = path(name);
    let mut found = defaults.get(path.first()?)?;
    for part in &path[1..] {
        found = found.as_dict()?.get(part)?;
    }
    (found.as_dict().is_none()).then_some(found)
}

fn typed(default: &Value, name: &str, text: &str) -> Result<Value, ConfigError> {
    let wrong = |wanted: &str| ConfigError(format!("{name} must be {wanted}"));
    Ok(match default {
        Value::Array(..) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::from(items.map(str::to_owned).collect::<Vec<String>>())
        }
        Value::Bool(..) => Value::from(text.parse::<bool>().map_err(|_| wrong("true or false"))?),
        Value::Num(_, Num::F64(_) | Num::F32(_)) => {
            Value::from(text.parse::<f64>().map_err(|_| wrong("a number"))?)
        }
        Value::Num(..) => Value::from(text.parse::<u64>().map_err(|_| wrong("a whole number"))?),
        Value::String(..) | Value::Char(..) | Value::Empty(..) | Value::Dict(..) => {
            Value::from(text.to_owned())
        }
    })
}

/// The variables of all keys.
fn variables(defaults: &Dict, head: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in defaults {
        let name = format!("{head}{}", key.to_uppercase());
        match value.as_dict() {
            Some(section) => found.extend(variables(section, &format!("{name}__"))),
            None => found.push(name),
        }
    }
    found
}

pub(super) fn nested(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |inner, key| Value::from(Dict::from([(key.clone(), inner)])))
}

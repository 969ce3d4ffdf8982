//! What must not leak: values that do not print, and the variables of the environment that bring them in.
//!
//! Replacement is one pass: what a variable holds is never looked at again, so a value with `${` in it stays as it is.
//! Faults name variables, never what they hold, nor the text around them.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::rule::fault::Fault;

/// A value that neither `{:?}` nor `{}` shows. Reading it is a word that a reviewer can search for.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(value)
    }

    #[must_use]
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Redacted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

/// Its schema says `writeOnly`: that is how a secret's place in a document is known.
impl<T: JsonSchema> JsonSchema for Redacted<T> {
    /// Under a name of its own it would take the name of what it hides.
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        schema.insert("writeOnly".to_owned(), true.into());
        schema
    }
}

/// Where variables come from: the environment, or a table in tests.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a text could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    #[error("the variable {name} is not set")]
    UnsetVariable { name: String },
    /// It would else go out as it stands, and be noticed by the provider only.
    #[error("`${{` opens no variable: write ${{NAME}} or ${{NAME:-default}}, and $${{ for the text itself")]
    Malformed,
}

/// A text, taken apart.
enum Part<'a> {
    Text(&'a str),
    Variable { name: &'a str, default: Option<&'a str> },
}

/// Replaces `${VAR}` and `${VAR:-default}` anywhere in `text`; `$${` stands for `${`. As in a shell, a default also
/// takes the place of an empty value.
///
/// # Errors
/// The first variable that is not set and has no default, or a `${` that is no variable.
pub fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, ExpandError> {
    let mut expanded = String::with_capacity(text.len());
    for part in parts(text)? {
        match part {
            Part::Text(text) => expanded.push_str(text),
            Part::Variable { name, default: Some(default) } => match lookup(name) {
                Some(value) if !value.is_empty() => expanded.push_str(&value),
                Some(_) | None => expanded.push_str(default),
            },
            Part::Variable { name, default: None } => match lookup(name) {
                Some(value) => expanded.push_str(&value),
                None => return Err(ExpandError::UnsetVariable { name: name.to_owned() }),
            },
        }
    }
    Ok(expanded)
}

fn parts(text: &str) -> Result<Vec<Part<'_>>, ExpandError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            parts.push(Part::Text(&rest[..start - 1]));
            parts.push(Part::Text("${"));
            rest = &rest[start + 2..];
            continue;
        }
        parts.push(Part::Text(&rest[..start]));
        let inside = &rest[start + 2..];
        let end = inside.find('}').ok_or(ExpandError::Malformed)?;
        let (name, default) = match inside[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inside[..end], None),
        };
        if !is_variable_name(name) {
            return Err(ExpandError::Malformed);
        }
        parts.push(Part::Variable { name, default });
        rest = &inside[end + 1..];
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

/// True for a text that names variables and holds nothing itself, not even a default.
#[must_use]
pub fn is_reference(text: &str) -> bool {
    let holds_nothing = |part: &Part<'_>| match part {
        Part::Text(text) => text.is_empty(),
        Part::Variable { default, .. } => default.is_none_or(str::is_empty),
    };
    parts(text).is_ok_and(|parts| parts.iter().all(holds_nothing))
}

fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Expands every string of a document; names of fields are left alone.
///
/// # Errors
/// The place in the document and the name of the variable.
pub fn expand_value(value: &Value, lookup: Lookup<'_>) -> Result<Value, Fault> {
    expand_at(value, lookup, "")
}

fn expand_at(value: &Value, lookup: Lookup<'_>, pointer: &str) -> Result<Value, Fault> {
    match value {
        Value::String(text) => match expand(text, lookup) {
            Ok(expanded) => Ok(Value::String(expanded)),
            Err(error) => Err(Fault::new(pointer, error.to_string())),
        },
        Value::Array(items) => {
            let mut expanded = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                expanded.push(expand_at(item, lookup, &format!("{pointer}/{index}"))?);
            }
            Ok(Value::Array(expanded))
        }
        Value::Object(fields) => {
            let mut expanded = Map::new();
            for (name, field) in fields {
                expanded.insert(name.clone(), expand_at(field, lookup, &below(pointer, name))?);
            }
            Ok(Value::Object(expanded))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(value.clone()),
    }
}

/// The JSON pointer of a field (RFC 6901).
pub(super) fn below(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Every variable that is named, also those with a default.
#[must_use]
pub fn variables(value: &Value) -> Vec<String> {
    let of = |text: &str| -> Vec<String> {
        let parts = parts(text).unwrap_or_default().into_iter();
        let name = |part: Part<'_>| match part {
            Part::Variable { name, .. } => Some(name.to_owned()),
            Part::Text(_) => None,
        };
        parts.filter_map(name).collect()
    };
    match value {
        Value::String(text) => of(text),
        Value::Array(items) => items.iter().flat_map(variables).collect(),
        Value::Object(fields) => fields.values().flat_map(variables).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// The variables that must be set, each once, in the order in which they stand: what `enabled: auto` waits for.
#[must_use]
pub fn variables_without_default(value: &Value) -> Vec<String> {
    let mut names = Vec::new();
    collect(value, &mut names);
    names
}

fn collect(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            for part in parts(text).unwrap_or_default() {
                match part {
                    Part::Variable { name, default: None } if !names.iter().any(|known| known == name) => {
                        names.push(name.to_owned());
                    }
                    Part::Variable { .. } | Part::Text(_) => {}
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "TOKEN" => Some("s3cret".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${TOKEN}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_anywhere_in_a_string() {
        for (text, expected) in [
            ("Token token=${TOKEN}", "Token token=s3cret"),
            ("${TOKEN}${TOKEN}", "s3crets3cret"),
            ("${NOT_SET:-fallback}", "fallback"),
            ("${EMPTY:-fallback}", "fallback"),
            ("${EMPTY}", ""),
            ("${NOT_SET:-}", ""),
            ("${NOT_SET:-a:-b}", "a:-b"),
            ("$${TOKEN} $TOKEN $", "${TOKEN} $TOKEN $"),
            ("no variable }", "no variable }"),
        ] {
            assert_eq!(expand(text, &environment).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_value_is_never_expanded_again() {
        assert_eq!(expand("${NESTED}", &environment).unwrap(), "${TOKEN}");
    }

    #[test]
    fn an_unset_variable_is_named_and_a_malformed_one_is_refused() {
        let unset = ExpandError::UnsetVariable { name: "NOT_SET".to_owned() };
        assert_eq!(expand("x${NOT_SET}", &environment), Err(unset));
        for text in ["${", "${}", "${TOKEN", "${a b}", "${1X}", "${:-x}"] {
            assert_eq!(expand(text, &environment), Err(ExpandError::Malformed), "{text}");
        }
    }

    #[test]
    fn a_fault_has_the_place_and_no_value() {
        let config = json!({ "url": "${TOKEN}", "headers": { "a/b": ["${TOKEN}", "${TOKEN} ${GONE}"] } });
        let fault = expand_value(&config, &environment).unwrap_err();
        assert_eq!(fault.pointer, "/headers/a~1b/1");
        assert_eq!(fault.message, "the variable GONE is not set");
        let expanded = expand_value(&json!({ "a": [1, "${TOKEN}"], "b": null }), &environment).unwrap();
        assert_eq!(expanded, json!({ "a": [1, "s3cret"], "b": null }));
    }

    #[test]
    fn variables_without_default_are_listed_once_each() {
        let config = json!({ "a": "${B}${A}", "c": ["${A}", "${D:-x}", "$${E}"], "z": 1 });
        assert_eq!(variables_without_default(&config), ["B", "A"]);
        assert!(variables_without_default(&json!({})).is_empty());
    }

    #[test]
    fn a_redacted_value_does_not_print() {
        assert_eq!(format!("{:?}", Some(Redacted::new("s3cret"))), "Some([redacted])");
    }
}

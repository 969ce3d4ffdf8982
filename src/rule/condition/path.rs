//! Paths into an event: `task.tags[0]`, `_event.type`.
//!
//! Any run of `.`, `[` and `]` separates steps. A number is an index where it meets a list and a key where it meets an
//! object. There is no way to write a key that holds a separator, and strings are not walked into.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;
use thiserror::Error;

use super::Facts;

/// The first step of paths that leave the data for the envelope. A field of this name in the data is out of reach.
pub const ENVELOPE: &str = "_event";
/// More than any field that a human names.
pub const PATH_BYTES_MAX: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    /// Never empty.
    steps: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathError {
    #[error(
        "the path names nothing; a path is steps joined by dots, such as `task.status` or `task.tags[0]`"
    )]
    Empty,
    #[error("the path has {0} bytes, more than {PATH_BYTES_MAX}")]
    TooLong(usize),
    #[error("`{ENVELOPE}` needs a name behind it, such as `{ENVELOPE}.type`")]
    WholeEnvelope,
}

impl Path {
    /// # Errors
    /// When it names nothing that could be looked up.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong(text.len()));
        }
        let steps = text.split(['.', '[', ']']).filter(|step| !step.is_empty());
        let steps: Vec<String> = steps.map(str::to_owned).collect();
        match steps.as_slice() {
            [] => Err(PathError::Empty),
            [only] if only == ENVELOPE => Err(PathError::WholeEnvelope),
            _ => Ok(Self { steps }),
        }
    }

    #[must_use]
    pub fn steps(&self) -> &[String] {
        &self.steps
    }

    /// None where a step is missing; null where null is found.
    pub fn find<'a>(&self, facts: &'a impl Facts) -> Option<Cow<'a, Value>> {
        match self.steps.as_slice() {
            [root, name, rest @ ..] if root == ENVELOPE => walk(facts.envelope(name)?, rest),
            steps => walk(Cow::Borrowed(facts.data()), steps),
        }
    }
}

fn walk<'a>(from: Cow<'a, Value>, steps: &[String]) -> Option<Cow<'a, Value>> {
    let mut here = from;
    for step in steps {
        here = match here {
            Cow::Borrowed(value) => child(value, step)?,
            Cow::Owned(value) => Cow::Owned(child(&value, step)?.into_owned()),
        };
    }
    Some(here)
}

fn child<'a>(value: &'a Value, step: &str) -> Option<Cow<'a, Value>> {
    match value {
        Value::Object(fields) => fields.get(step).map(Cow::Borrowed),
        Value::Array(items) if step == "length" => Some(Cow::Owned(Value::from(items.len()))),
        Value::Array(items) => items.get(index(step)?).map(Cow::Borrowed),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// `parse` alone would take `+1` and `01`.
fn index(step: &str) -> Option<usize> {
    let canonical = step == "0" || !step.starts_with('0');
    let digits = step.bytes().all(|byte| byte.is_ascii_digit());
    if canonical && digits { step.parse().ok() } else { None }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.steps.join("."))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::Case;
    use super::*;

    fn found(path: &str, data: &Value) -> Option<Value> {
        let case = Case::with_envelope(data, json!({ "type": "task:created", "list": [1, { "a": "deep" }] }));
        Path::parse(path).unwrap().find(&case).map(Cow::into_owned)
    }

    #[test]
    fn all_spellings_of_a_path_are_one_path() {
        let plain = Path::parse("a.0.b").unwrap();
        for spelling in ["a[0].b", ".a..0.b.", "a[0][b]", "[a][0]b"] {
            assert_eq!(Path::parse(spelling).unwrap(), plain, "{spelling}");
        }
        assert_eq!(plain.to_string(), "a.0.b");
    }

    #[test]
    fn a_path_that_names_nothing_is_refused() {
        for text in ["", ".", "[]", "...]["] {
            assert_eq!(Path::parse(text), Err(PathError::Empty), "{text:?}");
        }
        assert_eq!(Path::parse("_event."), Err(PathError::WholeEnvelope));
        assert_eq!(Path::parse(&"a.".repeat(1000)), Err(PathError::TooLong(2000)));
    }

    #[test]
    fn the_envelope_is_beside_the_data() {
        let data = json!({ "type": "mine", "_event": { "type": "forged" } });
        assert_eq!(found("_event.type", &data), Some(json!("task:created")));
        assert_eq!(found("type", &data), Some(json!("mine")));
        assert_eq!(found("_event.other", &data), None);
        assert_eq!(found("_event.list[1].a", &data), Some(json!("deep")));
        assert_eq!(found("_event.list.length", &data), Some(json!(2)));
        assert_eq!(found("a._event", &json!({ "a": { "_event": 1 } })), Some(json!(1)));
    }

    #[test]
    fn only_a_plain_number_indexes_a_list() {
        let data = json!({ "l": [1, 2], "o": { "01": "key" }, "s": "text" });
        assert_eq!(found("l.1", &data), Some(json!(2)));
        assert_eq!(found("l.2", &data), None);
        assert_eq!(found("o.01", &data), Some(json!("key")));
        for path in ["l.01", "l.+1", "l.-1", "l.1e0", "l.99999999999999999999", "s.0", "s.length", "l.x"] {
            assert_eq!(found(path, &data), None, "{path}");
        }
    }
}

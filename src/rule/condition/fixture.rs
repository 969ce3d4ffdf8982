//! What the tests of conditions share: the vectors, and an event that is only JSON.
//!
//! The envelope is JSON too, so that a test can hold anything in it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::Facts;

#[derive(Debug, Deserialize)]
pub struct Vector {
    pub condition: Value,
    pub data: Value,
    /// A boolean, or `"invalid"`.
    pub expected: Value,
}

pub fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../../../tests/vectors/condition.json")).unwrap()
}

/// Every string, number, boolean and null in the vectors, once each.
pub fn scalars_of_the_vectors() -> Vec<Value> {
    let mut waiting: Vec<Value> = vectors().into_iter().flat_map(|v| [v.condition, v.data]).collect();
    let mut scalars: Vec<Value> = Vec::new();
    while let Some(value) = waiting.pop() {
        match value {
            Value::Array(items) => waiting.extend(items),
            Value::Object(fields) => waiting.extend(fields.into_iter().map(|(_, value)| value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)
                if !scalars.contains(&value) =>
            {
                scalars.push(value);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    scalars
}

pub struct Case<'a> {
    data: &'a Value,
    envelope: Value,
}

impl<'a> Case<'a> {
    pub fn of(data: &'a Value) -> Self {
        Self::with_envelope(data, Value::Null)
    }

    pub fn with_envelope(data: &'a Value, envelope: Value) -> Self {
        Self { data, envelope }
    }
}

impl Facts for Case<'_> {
    fn data(&self) -> &Value {
        self.data
    }

    fn envelope(&self, name: &str) -> Option<Cow<'_, Value>> {
        // Owned, as a real event's envelope is.
        self.envelope.get(name).cloned().map(Cow::Owned)
    }
}

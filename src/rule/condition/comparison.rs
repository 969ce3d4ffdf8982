//! One comparison: what a path leads to against a value of the rule.
//!
//! Comparisons never fail. What cannot be compared, such as a missing field with `<`, does not hold; each negated operator
//! is the exact opposite of its sibling, so that `!=` and `not_includes` hold for a missing field.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::Value;

use super::Facts;
use super::path::Path;
use super::scalar::{Exact, Scalar};

#[derive(Debug, Clone)]
pub(super) struct Comparison {
    pub path: Path,
    pub test: Test,
}

#[derive(Debug, Clone)]
pub(super) enum Test {
    Exists,
    NotExists,
    Equals(Scalar),
    Differs(Scalar),
    Orders(Order, Bound),
    Includes(Scalar),
    NotIncludes(Scalar),
    In(Vec<Scalar>),
    NotIn(Vec<Scalar>),
    StartsWith(String),
    EndsWith(String),
    Matches(Regex),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The value of an ordering: a string that spells a number is that number.
#[derive(Debug, Clone)]
pub(super) enum Bound {
    Number(Exact),
    Text(String),
}

impl Comparison {
    pub fn holds(&self, facts: &impl Facts) -> bool {
        self.test.accepts(self.path.find(facts).as_deref())
    }
}

impl Test {
    fn accepts(&self, found: Option<&Value>) -> bool {
        let text = || found.and_then(Value::as_str);
        match self {
            Self::Exists => exists(found),
            Self::NotExists => !exists(found),
            Self::Equals(value) => value.equals(found),
            Self::Differs(value) => !value.equals(found),
            Self::Orders(order, bound) => {
                found.and_then(|found| bound.compared_to(found)).is_some_and(|found| order.allows(found))
            }
            Self::Includes(value) => includes(found, value),
            Self::NotIncludes(value) => !includes(found, value),
            Self::In(values) => values.iter().any(|value| value.equals(found)),
            Self::NotIn(values) => !values.iter().any(|value| value.equals(found)),
            Self::StartsWith(start) => text().is_some_and(|text| text.starts_with(start)),
            Self::EndsWith(end) => text().is_some_and(|text| text.ends_with(end)),
            Self::Matches(regex) => text().is_some_and(|text| regex.is_match(text)),
        }
    }
}

fn exists(found: Option<&Value>) -> bool {
    found.is_some_and(|found| !found.is_null())
}

fn includes(found: Option<&Value>, value: &Scalar) -> bool {
    match found {
        Some(Value::String(text)) => *value != Scalar::Null && text.contains(&*value.text()),
        Some(Value::Array(items)) => items.iter().any(|item| value.is_same(item)),
        None | Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => false,
    }
}

impl Bound {
    /// How a found value stands to this one; None where they have no order.
    fn compared_to(&self, found: &Value) -> Option<Ordering> {
        match (Self::of(found)?, self) {
            (Self::Number(found), Self::Number(bound)) => Some(found.compare(*bound)),
            (Self::Text(found), Self::Text(bound)) => Some(found.as_str().cmp(bound)),
            (Self::Number(_), Self::Text(_)) | (Self::Text(_), Self::Number(_)) => None,
        }
    }

    /// None for what has no order.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Some(Self::Number(Exact::of(number))),
            Value::String(text) => {
                Some(Exact::spelled(text).map_or_else(|| Self::Text(text.clone()), Self::Number))
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl Order {
    fn allows(self, found: Ordering) -> bool {
        match self {
            Self::Less => found.is_lt(),
            Self::LessOrEqual => found.is_le(),
            Self::Greater => found.is_gt(),
            Self::GreaterOrEqual => found.is_ge(),
        }
    }
}

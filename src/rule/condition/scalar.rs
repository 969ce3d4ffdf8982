//! Strings, numbers, booleans and null: how they compare.
//!
//! A string that is a JSON number equals that number, and two strings are equal only letter by letter: `1` equals `"1"` and
//! `"1.0"`, which are not equal to each other. Integers compare exactly, beyond 2^53 too, since ids are that long.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value};

/// From here on a number is written with an exponent, as in JavaScript, whose texts people expect.
const EXPONENT_FROM: f64 = 1e21;
const EXPONENT_BELOW: f64 = 1e-6;
/// Whole numbers below this fit an `i128` with room; serde reads integers beyond 64 bits as `f64`.
const INTEGER_BELOW: f64 = 1e30;

/// The value of a comparison. Lists and objects equal nothing and are none.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    Null,
    Bool(bool),
    Number(Exact),
    /// With the number that it spells, if it does.
    Text(String, Option<Exact>),
}

/// A number by its value, however it was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Exact {
    Integer(i128),
    /// It has a fraction, or it is 1e30 or more either way. Never NaN.
    Float(f64),
}

/// Two values that are equal have the same key; two that have the same key may still differ (`"1"` and `"1.0"`). So an
/// index by key finds all candidates, and the condition decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key<'a> {
    Bool(bool),
    Integer(i128),
    /// By bits.
    Float(u64),
    Text(Cow<'a, str>),
}

impl Scalar {
    /// None for a list or an object.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::Null),
            Value::Bool(flag) => Some(Self::Bool(*flag)),
            Value::Number(number) => Some(Self::Number(Exact::of(number))),
            Value::String(text) => Some(Self::Text(text.clone(), Exact::spelled(text))),
            Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// `==` of conditions; None is a missing field.
    #[must_use]
    pub fn equals(&self, found: Option<&Value>) -> bool {
        match (self, found) {
            (Self::Null, None | Some(Value::Null)) => true,
            (Self::Text(_, spelled), Some(Value::Number(number))) => *spelled == Some(Exact::of(number)),
            (Self::Number(number), Some(Value::String(text))) => Exact::spelled(text) == Some(*number),
            (_, Some(value)) => self.is_same(value),
            (_, None) => false,
        }
    }

    /// Equal and of one type: what a list has to hold to include it.
    #[must_use]
    pub fn is_same(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(ours), Value::Bool(theirs)) => ours == theirs,
            (Self::Number(ours), Value::Number(theirs)) => *ours == Exact::of(theirs),
            (Self::Text(ours, _), Value::String(theirs)) => ours == theirs,
            (Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(..), _) => false,
        }
    }

    /// As a template would print it.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Null => Cow::Borrowed(""),
            Self::Bool(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
            Self::Number(number) => Cow::Owned(number.text()),
            Self::Text(text, _) => Cow::Borrowed(text),
        }
    }

    /// None for null, which missing fields equal too.
    #[must_use]
    pub fn index_key(&self) -> Option<Key<'_>> {
        match self {
            Self::Null => None,
            Self::Bool(flag) => Some(Key::Bool(*flag)),
            Self::Number(number) | Self::Text(_, Some(number)) => Some(number.key()),
            Self::Text(text, None) => Some(Key::Text(Cow::Borrowed(text))),
        }
    }
}

/// The key under which a field's value is looked up; None for what no scalar but null equals.
#[must_use]
pub fn index_key_of(value: &Value) -> Option<Key<'_>> {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        Value::Bool(flag) => Some(Key::Bool(*flag)),
        Value::Number(number) => Some(Exact::of(number).key()),
        Value::String(text) => match Exact::spelled(text) {
            Some(number) => Some(number.key()),
            None => Some(Key::Text(Cow::Borrowed(text))),
        },
    }
}

impl Key<'_> {
    #[must_use]
    pub fn into_owned(self) -> Key<'static> {
        match self {
            Self::Bool(flag) => Key::Bool(flag),
            Self::Integer(number) => Key::Integer(number),
            Self::Float(bits) => Key::Float(bits),
            Self::Text(text) => Key::Text(Cow::Owned(text.into_owned())),
        }
    }
}

impl Exact {
    #[must_use]
    pub fn of(number: &Number) -> Self {
        if let Some(signed) = number.as_i64() {
            return Self::Integer(signed.into());
        }
        if let Some(unsigned) = number.as_u64() {
            return Self::Integer(unsigned.into());
        }
        // serde_json has no other numbers as long as nobody turns on arbitrary precision.
        Self::of_float(number.as_f64().unwrap_or(f64::INFINITY))
    }

    #[expect(clippy::cast_possible_truncation, reason = "whole and below 1e30, which an i128 holds")]
    #[must_use]
    pub fn of_float(float: f64) -> Self {
        if float.fract() == 0.0 && float.abs() < INTEGER_BELOW {
            return Self::Integer(float as i128);
        }
        Self::Float(float)
    }

    /// The number that a text spells, if it is a JSON number and nothing else, not even white space.
    #[must_use]
    pub fn spelled(text: &str) -> Option<Self> {
        let first = *text.as_bytes().first()?;
        let last = *text.as_bytes().last()?;
        if !(first == b'-' || first.is_ascii_digit()) || !last.is_ascii_digit() {
            return None;
        }
        let number: Number = serde_json::from_str(text).ok()?;
        Some(Self::of(&number))
    }

    /// By value.
    #[expect(clippy::cast_possible_truncation, reason = "a float between two integers is below 2^53")]
    #[must_use]
    pub fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(ours), Self::Integer(theirs)) => ours.cmp(&theirs),
            (Self::Float(ours), Self::Float(theirs)) => ours.total_cmp(&theirs),
            (Self::Float(_), Self::Integer(_)) => other.compare(self).reverse(),
            (Self::Integer(_), Self::Float(theirs)) if theirs.abs() >= INTEGER_BELOW => {
                if theirs > 0.0 {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            (Self::Integer(ours), Self::Float(theirs)) => {
                if ours <= theirs.floor() as i128 {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
        }
    }

    /// The shortest text that is this number again.
    #[expect(clippy::cast_precision_loss, reason = "an integer beyond 64 bits was made of an f64")]
    #[must_use]
    pub fn text(self) -> String {
        let float = match self {
            Self::Integer(integer) if integer.unsigned_abs() < 10_u128.pow(21) => return integer.to_string(),
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        };
        if (EXPONENT_BELOW..EXPONENT_FROM).contains(&float.abs()) {
            return float.to_string();
        }
        let text = format!("{float:e}");
        if text.contains("e-") { text } else { text.replace('e', "e+") }
    }

    fn key(self) -> Key<'static> {
        match self {
            Self::Integer(number) => Key::Integer(number),
            Self::Float(float) => Key::Float(float.to_bits()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::scalars_of_the_vectors;
    use super::*;

    #[test]
    fn equal_values_have_equal_keys() {
        let mut values = scalars_of_the_vectors();
        values.extend(
            ["1.0", "1e0", "10e-1", "0.5", "5e-1", "-0", "0", "-0.0", "1e400", "01", " 1", "1 "]
                .map(Value::from),
        );
        values.extend([json!(1.0), json!(-0.0), json!(0.5), json!(u64::MAX), json!(i64::MIN), json!(1e300)]);
        values.extend(
            ["18446744073709551615", "-9223372036854775808", "1e300", "[1]", "nan", "inf"].map(Value::from),
        );
        let mut equal = 0;
        for ours in &values {
            let scalar = Scalar::of(ours).unwrap();
            for theirs in values.iter().filter(|theirs| scalar.equals(Some(theirs))) {
                assert_eq!(scalar.index_key(), index_key_of(theirs), "{ours} {theirs}");
                equal += 1;
            }
        }
        assert!(equal > values.len());
    }

    #[test]
    fn equality_has_no_direction() {
        let values = scalars_of_the_vectors();
        for ours in &values {
            for theirs in &values {
                let forth = Scalar::of(ours).unwrap().equals(Some(theirs));
                assert_eq!(forth, Scalar::of(theirs).unwrap().equals(Some(ours)), "{ours} {theirs}");
            }
        }
    }

    #[test]
    fn long_ids_are_not_rounded() {
        let id = Scalar::of(&json!(9_007_199_254_740_993_i64)).unwrap();
        assert!(id.equals(Some(&json!("9007199254740993"))));
        assert!(!id.equals(Some(&json!(9_007_199_254_740_992_i64))));
        assert!(!id.equals(Some(&json!(9_007_199_254_740_992.0))));
    }

    #[test]
    fn only_a_json_number_spells_a_number() {
        for text in [
            "",
            " 1",
            "1 ",
            "01",
            "+1",
            "0x10",
            "1.",
            ".5",
            "NaN",
            "Infinity",
            "-",
            "1e400",
            "2026-01-01",
            "1,5",
        ] {
            assert_eq!(Exact::spelled(text), None, "{text:?}");
        }
        for text in ["10", "1e1", "10.0", "100E-1"] {
            assert_eq!(Exact::spelled(text), Some(Exact::Integer(10)), "{text:?}");
        }
    }

    #[test]
    fn integers_and_floats_compare_by_value() {
        let ascending = [
            Exact::Float(-1e300),
            Exact::Integer(i64::MIN.into()),
            Exact::Float(-0.5),
            Exact::Integer(0),
            Exact::Float(0.5),
            Exact::Integer(1),
            Exact::Float(1.5),
            Exact::Integer(9_007_199_254_740_993),
            Exact::Float(1e300),
        ];
        for (i, ours) in ascending.iter().enumerate() {
            for (j, theirs) in ascending.iter().enumerate() {
                assert_eq!(ours.compare(*theirs), i.cmp(&j), "{ours:?} {theirs:?}");
            }
        }
    }

    #[test]
    fn a_number_reads_as_in_javascript() {
        let texts = [
            (json!(1.0), "1"),
            (json!(-0.0), "0"),
            (json!(1.5), "1.5"),
            (json!(90_000), "90000"),
            (json!(1e20), "100000000000000000000"),
            (json!(1e21), "1e+21"),
            (json!(-1.5e300), "-1.5e+300"),
            (json!(0.000_001), "0.000001"),
            (json!(0.000_000_1), "1e-7"),
            (json!(u64::MAX), "18446744073709551615"),
        ];
        for (value, text) in texts {
            assert_eq!(Scalar::of(&value).unwrap().text(), text);
        }
    }
}

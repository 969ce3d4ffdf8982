//! The event's values as the engine sees them, and the engine's values as text.
//!
//! Null becomes undefined: to a template, missing and null are one thing, in `default` as in a condition's `==`.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr, ValueKind};
use serde_json::Value as Json;

use super::text::{Unmarked, VALUE_ENDS, VALUE_STARTS};
use super::{OUTPUT_BYTES_MAX, RenderError};
use crate::rule::condition::Exact;

/// An `in` walks through them at the price of one step.
pub(super) const VALUES_MAX: usize = 10_000;
/// Nothing longer can be rendered anyhow, so that the rest of a long string is not handed to the engine.
const STRING_BYTES_MAX: usize = OUTPUT_BYTES_MAX + 4;

#[derive(Debug)]
struct List(Vec<Value>);

#[derive(Debug)]
struct Fields(BTreeMap<Arc<str>, Value>);

/// Counts what it converts, over one rendering.
#[derive(Debug, Default)]
pub(super) struct Converter {
    values: usize,
}

impl Converter {
    pub fn convert(&mut self, json: &Json) -> Result<Value, RenderError> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(RenderError::TooMuchData);
        }
        match json {
            Json::Null => Ok(Value::UNDEFINED),
            Json::Bool(flag) => Ok(Value::from(*flag)),
            Json::Number(number) => Ok(match Exact::of(number) {
                Exact::Integer(integer) => {
                    i64::try_from(integer).map_or_else(|_| Value::from(integer), Value::from)
                }
                Exact::Float(float) => Value::from(float),
            }),
            Json::String(text) => Ok(Value::from(&text[..text.floor_char_boundary(STRING_BYTES_MAX)])),
            Json::Array(items) => {
                let items: Result<_, _> = items.iter().map(|item| self.convert(item)).collect();
                Ok(Value::from_object(List(items?)))
            }
            Json::Object(fields) => self.fields(fields.iter().map(|(name, value)| (name.as_str(), value))),
        }
    }

    pub fn fields<'a>(
        &mut self,
        fields: impl Iterator<Item = (&'a str, &'a Json)>,
    ) -> Result<Value, RenderError> {
        let mut converted = BTreeMap::new();
        for (name, value) in fields {
            converted.insert(Arc::from(name), self.convert(value)?);
        }
        Ok(Value::from_object(Fields(converted)))
    }
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        if key.as_str() == Some("length") {
            return Some(Value::from(self.0.len()));
        }
        self.0.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_items(self.0.iter().cloned(), f)
    }
}

impl Object for Fields {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str() {
            Some(name) => self.0.get(name).cloned(),
            // `task.0` is a field named 0 where it is no index.
            None => self.0.get(key.as_usize()?.to_string().as_str()).cloned(),
        }
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.0.get(key).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.keys().map(|name| Value::from(Arc::clone(name))).collect())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_json(&Value::from_dyn_object(Arc::clone(self)), f)
    }
}

/// What the filter `markdown` makes: its marks are marks.
#[derive(Debug)]
pub(super) struct Markdown(pub String);

impl Object for Markdown {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Prints what an expression came to, between marks that say so.
pub(super) fn print(value: &Value, output: &mut impl Write) -> fmt::Result {
    if value.downcast_object_ref::<Markdown>().is_some() {
        return write_value(value, &mut Unmarked(output));
    }
    output.write_str(VALUE_STARTS)?;
    write_value(value, &mut Unmarked(output))?;
    output.write_str(VALUE_ENDS)
}

/// As [`super::text::write_text`] does for JSON.
pub(super) fn write_value(value: &Value, output: &mut impl Write) -> fmt::Result {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Ok(()),
        ValueKind::Bool | ValueKind::Number => output.write_str(&scalar_text(value)),
        ValueKind::Map => write_json(value, output),
        ValueKind::Seq | ValueKind::Iterable => write_items(value.try_iter().into_iter().flatten(), output),
        ValueKind::String | ValueKind::Bytes | ValueKind::Plain | ValueKind::Invalid | _ => {
            write!(output, "{value}")
        }
    }
}

fn write_items(items: impl Iterator<Item = Value>, output: &mut impl Write) -> fmt::Result {
    for (index, item) in items.enumerate() {
        if index > 0 {
            output.write_char(',')?;
        }
        write_value(&item, output)?;
    }
    Ok(())
}

pub(super) fn write_json(value: &Value, output: &mut impl Write) -> fmt::Result {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => output.write_str("null"),
        ValueKind::Bool | ValueKind::Number => output.write_str(&scalar_text(value)),
        ValueKind::Seq | ValueKind::Iterable => {
            output.write_char('[')?;
            for (index, item) in value.try_iter().into_iter().flatten().enumerate() {
                if index > 0 {
                    output.write_char(',')?;
                }
                write_json(&item, output)?;
            }
            output.write_char(']')
        }
        ValueKind::Map => {
            output.write_char('{')?;
            for (index, name) in value.try_iter().into_iter().flatten().enumerate() {
                if index > 0 {
                    output.write_char(',')?;
                }
                write!(output, "{}:", Json::from(name.to_string()))?;
                write_json(&value.get_item(&name).unwrap_or_default(), output)?;
            }
            output.write_char('}')
        }
        ValueKind::String | ValueKind::Bytes | ValueKind::Plain | ValueKind::Invalid | _ => {
            write!(output, "{}", Json::from(value.to_string()))
        }
    }
}

/// The engine writes `True` and `1.0`, as Python does.
fn scalar_text(value: &Value) -> String {
    if value.kind() == ValueKind::Bool {
        return value.is_true().to_string();
    }
    if value.is_integer() {
        let integer = i128::try_from(value.clone());
        return integer.map_or_else(|_| value.to_string(), |integer| Exact::Integer(integer).text());
    }
    f64::try_from(value.clone()).map_or_else(|_| value.to_string(), |float| Exact::of_float(float).text())
}

//! From a schema and a value to the first fault of shape, in words for the person who wrote it.
//!
//! It looks at fields, words, types and times, not at limits and patterns: the code that reads a value says those better. Where
//! several shapes of object are allowed it stays silent.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::rule::fault::{Fault, field_pointer, nearest, shortened, unknown_field, unknown_word};

/// How a time is written.
pub const TIME_ALLOWED: &str = "RFC 3339 is allowed, such as 2026-01-31T12:00:00Z";

/// Looks for a field that is not known or missing, a word that is not allowed, a value of another type.
#[must_use]
pub fn fault(schema: &Value, value: &Value) -> Option<Fault> {
    Shape { root: schema }.fault(schema, value)
}

struct Shape<'a> {
    root: &'a Value,
}

impl<'a> Shape<'a> {
    fn fault(&self, schema: &'a Value, value: &Value) -> Option<Fault> {
        let mut shapes = Vec::new();
        self.collect(schema, &mut shapes);
        // Anything goes.
        if shapes.is_empty() {
            return None;
        }
        if let Some(fault) = misfit(&shapes, value) {
            let message = self.several(schema).map(|what| format!("{}: {what}", fault.message));
            return Some(Fault { message: message.unwrap_or(fault.message), ..fault });
        }
        match value {
            Value::Object(fields) => {
                let mut known = shapes.iter().filter(|shape| shape.contains_key("properties"));
                match (known.next(), known.next()) {
                    (Some(shape), None) => self.fields(shape, fields),
                    (Some(_), Some(_)) => None,
                    (None, _) => self.entries(&shapes, fields),
                }
            }
            Value::Array(items) => {
                let inner = shapes.iter().find_map(|shape| shape.get("items"))?;
                let mut faults = items
                    .iter()
                    .enumerate()
                    .filter_map(|(index, item)| Some(self.fault(inner, item)?.below(&format!("/{index}"))));
                faults.next()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }

    /// Of a map with names that anybody may choose.
    fn entries(&self, shapes: &[&'a Map<String, Value>], fields: &Map<String, Value>) -> Option<Fault> {
        let inner = shapes.iter().find_map(|shape| shape.get("additionalProperties"))?;
        fields.iter().find_map(|(name, value)| Some(self.fault(inner, value)?.below(&field_pointer(name))))
    }

    fn fields(&self, shape: &'a Map<String, Value>, fields: &Map<String, Value>) -> Option<Fault> {
        let properties = shape.get("properties")?.as_object()?;
        let open = shape.get("additionalProperties") == Some(&Value::Bool(true));
        if let Some(unknown) = fields.keys().find(|name| !open && !properties.contains_key(*name)) {
            let mut known: Vec<&str> = properties.keys().map(String::as_str).collect();
            known.retain(|name| !name.starts_with('$'));
            return Some(Fault::new(field_pointer(unknown), unknown_field(unknown, &known)));
        }
        for (name, inner) in fields {
            let known = properties.get(name);
            if let Some(fault) = known.and_then(|known| self.fault(known, inner)) {
                return Some(fault.below(&field_pointer(name)));
            }
        }
        let required = shape.get("required").and_then(Value::as_array);
        let mut required = required.into_iter().flatten().filter_map(Value::as_str);
        let missing = required.find(|name| !fields.contains_key(*name))?;
        // Another attribute may be it, mistyped.
        let is_it = |found: &&String| nearest(found, &[missing]).is_some();
        let instead = fields.keys().filter(|name| open && !properties.contains_key(*name)).find(is_it);
        let guess = instead.map(|found| format!("; did you mean `{missing}` by `{}`?", shortened(found)));
        let message = format!("`{missing}` is missing{}", guess.unwrap_or_default());
        Some(Fault::new(field_pointer(missing), message))
    }

    /// What a value is that may be one of several objects, in the words of its schema.
    fn several(&self, schema: &'a Value) -> Option<String> {
        if let Some(place) = schema.get("$ref").and_then(Value::as_str) {
            return self.several(self.root.pointer(place.strip_prefix('#')?)?);
        }
        let choices = ["anyOf", "oneOf"].into_iter().find_map(|word| schema.get(word)?.as_array())?;
        if choices.iter().filter(|choice| choice.get("properties").is_some()).count() < 2 {
            return choices.iter().find_map(|choice| self.several(choice));
        }
        let words = schema.get("description")?.as_str()?.trim_end_matches('.');
        let mut characters = words.chars();
        Some(characters.next()?.to_lowercase().chain(characters).collect())
    }

    /// The shapes that a schema allows: itself, or what it refers to and chooses from.
    fn collect(&self, schema: &'a Value, shapes: &mut Vec<&'a Map<String, Value>>) {
        let Some(fields) = schema.as_object() else { return };
        if let Some(place) =
            fields.get("$ref").and_then(Value::as_str).and_then(|place| place.strip_prefix('#'))
        {
            self.root.pointer(place).into_iter().for_each(|target| self.collect(target, shapes));
            return;
        }
        let choices =
            ["anyOf", "oneOf"].into_iter().filter_map(|word| fields.get(word)?.as_array()).flatten();
        let before = shapes.len();
        choices.for_each(|choice| self.collect(choice, shapes));
        if shapes.len() == before {
            shapes.push(fields);
        }
    }
}

/// A value that none of the shapes takes: of another type, or none of their words.
fn misfit(shapes: &[&Map<String, Value>], value: &Value) -> Option<Fault> {
    let (mut words, mut types) = (Vec::new(), Vec::new());
    for shape in shapes {
        let listed = shape.get("enum").and_then(Value::as_array);
        let before = words.len();
        words.extend(listed.into_iter().flatten().chain(shape.get("const")));
        if words.len() > before {
            continue;
        }
        match shape.get("type") {
            Some(Value::Array(several)) => types.extend(several.iter().filter_map(Value::as_str)),
            Some(one) => types.extend(one.as_str()),
            None => return None,
        }
    }
    if let Some(fault) = unreadable(shapes, value) {
        return Some(fault);
    }
    if words.contains(&value) || types.iter().any(|wanted| is(value, wanted)) {
        return None;
    }
    types.retain(|wanted| *wanted != "null");
    if words.is_empty() {
        let mut wanted: Vec<&str> = Vec::new();
        for name in types.into_iter().map(named) {
            if !wanted.contains(&name) {
                wanted.push(name);
            }
        }
        return Some(Fault::here(format!("found {}; {} is allowed", found(value), wanted.join(" or "))));
    }
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_null()).map(shown).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let message = match value.as_str() {
        Some(text) => unknown_word(text, &words),
        None => format!("found {}; allowed are {}", found(value), words.join(", ")),
    };
    Some(Fault::here(message))
}

/// What has the right type and is still no time, or no number that the field can hold: a library would say it in its words.
fn unreadable(shapes: &[&Map<String, Value>], value: &Value) -> Option<Fault> {
    let all =
        |test: fn(&Map<String, Value>) -> bool| shapes.iter().all(|shape| is_null(shape) || test(shape));
    match value {
        Value::String(text) if all(is_time) && text.parse::<Timestamp>().is_err() => {
            Some(Fault::here(format!("is no time: {TIME_ALLOWED}")))
        }
        Value::Number(number) if all(is_unsigned) && number.as_i64().is_some_and(i64::is_negative) => {
            Some(Fault::here(format!("found {number}; 0 or more is allowed")))
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => None,
    }
}

fn is_null(shape: &Map<String, Value>) -> bool {
    shape.get("type").and_then(Value::as_str) == Some("null")
}

fn is_time(shape: &Map<String, Value>) -> bool {
    shape.get("format").and_then(Value::as_str) == Some("date-time")
}

fn is_unsigned(shape: &Map<String, Value>) -> bool {
    shape.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint"))
}

fn shown(word: &Value) -> String {
    word.as_str().map_or_else(|| word.to_string(), str::to_owned)
}

fn is(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Null => wanted == "null",
        Value::Bool(_) => wanted == "boolean",
        Value::Number(number) => wanted == "number" || (wanted == "integer" && !number.is_f64()),
        Value::String(_) => wanted == "string",
        Value::Array(_) => wanted == "array",
        Value::Object(_) => wanted == "object",
    }
}

fn named(wanted: &str) -> &str {
    match wanted {
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a text",
        "array" => "a list",
        "object" => "an object",
        other => other,
    }
}

/// What was found, without its value.
fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

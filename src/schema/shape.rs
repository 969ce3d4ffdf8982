//! From a schema and a value to the first fault of shape, in words for the person who wrote it.
//!
//! It looks at fields, words and types, not at limits and patterns: the code that reads a value says those better. Where
//! several shapes of object are allowed it stays silent.

use serde_json::{Map, Value};

use crate::rule::fault::{Fault, field_pointer, unknown_field, unknown_word};

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
                    (Some(_), Some(_)) | (None, _) => None,
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
        Some(Fault::here(format!("`{missing}` is missing")))
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

//! The schema of the configuration file: types and limits from the struct, meanings and defaults from
//! `config/default.toml`, which is where every setting is explained.

use serde_json::{Map, Value};

use crate::config::{DEFAULTS, Settings};

/// Nothing is required, since the built-in defaults come first.
#[must_use]
pub fn schema() -> Value {
    let mut schema = super::inline::<Settings>();
    optional(&mut schema);
    let defaults = DEFAULTS.parse::<toml::Table>().ok().and_then(|table| serde_json::to_value(table).ok());
    let defaults = defaults.unwrap_or_default();
    for Explained { section, key, text } in explained() {
        let place = section
            .iter()
            .chain([&key])
            .fold(String::new(), |place, part| format!("{place}/properties/{part}"));
        let Some(fields) = schema.pointer_mut(&place).and_then(Value::as_object_mut) else { continue };
        let default = section.iter().chain([&key]).try_fold(&defaults, |table, part| table.get(part));
        if let Some(default) = default {
            fields.insert("default".to_owned(), default.clone());
        }
        if !text.is_empty() {
            fields.insert("description".to_owned(), text.into());
        }
    }
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema
}

fn optional(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    fields.remove("required");
    let properties = fields.get_mut("properties").and_then(Value::as_object_mut);
    properties.map(Map::values_mut).into_iter().flatten().for_each(optional);
}

/// A key and the comment in front of it.
struct Explained<'a> {
    section: Vec<&'a str>,
    key: &'a str,
    text: String,
}

fn explained<'a>() -> Vec<Explained<'a>> {
    let (mut found, mut section, mut comment) = (Vec::new(), Vec::new(), Vec::new());
    for line in DEFAULTS.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').split('.').collect();
        } else if let Some((key, _)) = line.split_once(" = ") {
            found.push(Explained { section: section.clone(), key, text: comment.join(" ") });
        }
        comment.clear();
    }
    found
}

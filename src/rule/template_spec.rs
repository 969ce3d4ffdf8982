//! A rule's `template`: a body, or an object with `title`, `body`, `link` and, by kind of channel, a body or an object of
//! these again. What a kind does not say of its own is the general one.
//!
//! A name that nobody knows is refused where a rule is written ([`check_names`]), and left alone where it is read from the
//! bucket: a newer process may know more kinds.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::fault::{Fault, field_pointer, nearest};
use crate::channel::Kind;
use crate::route::template::Template;

const PARTS: [&str; 3] = ["title", "body", "link"];

/// None: the default.
#[derive(Debug, Default)]
pub struct Parts {
    pub title: Option<Template>,
    pub body: Option<Template>,
    pub link: Option<Template>,
}

/// Every template of a rule.
#[derive(Debug, Default)]
pub struct Templates {
    pub general: Parts,
    kinds: Vec<(Kind, Parts)>,
}

impl Templates {
    /// # Errors
    /// The place, relative to `template`, and the fault.
    pub fn compile(spec: &Value) -> Result<Self, Fault> {
        let Value::Object(fields) = spec else {
            return Ok(Self { general: parts(spec)?, kinds: Vec::new() });
        };
        let mut kinds = Vec::new();
        for (name, value) in fields {
            if let Some(kind) = Kind::parse(name) {
                kinds.push((kind, parts(value).map_err(|fault| fault.below(&field_pointer(name)))?));
            }
        }
        Ok(Self { general: parts(spec)?, kinds })
    }

    /// What a kind says of its own; None when it says nothing.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Option<&Parts> {
        self.kinds.iter().find(|(of, _)| *of == kind).map(|(_, parts)| parts)
    }
}

fn parts(spec: &Value) -> Result<Parts, Fault> {
    match spec {
        Value::String(body) => Ok(Parts { body: Some(Template::compile(body)?), ..Parts::default() }),
        Value::Object(fields) => {
            let [title, body, link] = PARTS.map(|name| part(fields, name));
            Ok(Parts { title: title?, body: body?, link: link? })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            Err(Fault::here(format!("must be a text, the body, or an object with {}", PARTS.join(", "))))
        }
    }
}

fn part(fields: &Map<String, Value>, name: &str) -> Result<Option<Template>, Fault> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(source)) => {
            Template::compile(source).map(Some).map_err(|fault| fault.below(&field_pointer(name)))
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(Fault::new(field_pointer(name), "must be a text"))
        }
    }
}

/// # Errors
/// The place of a name that is none, relative to `template`, and what was probably meant.
pub fn check_names(spec: &Value) -> Result<(), Fault> {
    let Value::Object(fields) = spec else { return Ok(()) };
    let known: Vec<&str> = PARTS.into_iter().chain(Kind::ALL.iter().map(|kind| kind.as_str())).collect();
    check_fields(fields, &known)?;
    for kind in Kind::ALL {
        if let Some(Value::Object(fields)) = fields.get(kind.as_str()) {
            check_fields(fields, &PARTS).map_err(|fault| fault.below(&field_pointer(kind.as_str())))?;
        }
    }
    Ok(())
}

fn check_fields(fields: &Map<String, Value>, known: &[&str]) -> Result<(), Fault> {
    let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
    let available = match nearest(name, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("there are {}", known.join(", ")),
    };
    Err(Fault::new(field_pointer(name), format!("`{name}` is not a known field; {available}")))
}

/// The shape of a template: a text, or its parts, with those of single kinds.
pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    let parts = || json!({ "title": { "type": "string" }, "body": { "type": "string" }, "link": { "type": "string" } });
    let mut properties = parts();
    for kind in Kind::ALL {
        properties[kind.as_str()] = json!({ "anyOf": [
            { "type": "string" },
            { "type": "object", "properties": parts(), "additionalProperties": false },
        ] });
    }
    json_schema!({ "anyOf": [
        { "type": "string" },
        { "type": "object", "properties": properties, "additionalProperties": false },
        { "type": "null" },
    ] })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn refused(spec: &Value, expected: &str) {
        let fault = check_names(spec).and_then(|()| Templates::compile(spec).map(drop)).unwrap_err();
        assert!(fault.to_string().starts_with(expected), "{fault}");
    }

    #[test]
    fn a_fault_has_its_place_and_what_was_meant() {
        refused(&json!(5), "must be a text");
        refused(&json!({ "titel": "x" }), "at /titel: `titel` is not a known field; did you mean `title`?");
        refused(&json!({ "slak": "x" }), "at /slak: `slak` is not a known field; did you mean `slack`?");
        refused(
            &json!({ "pigeon": "x" }),
            "at /pigeon: `pigeon` is not a known field; there are title, body, link,",
        );
        refused(
            &json!({ "slack": { "boddy": "x" } }),
            "at /slack/boddy: `boddy` is not a known field; did you mean `body`?",
        );
        refused(&json!({ "slack": { "telegram": "x" } }), "at /slack/telegram:");
        refused(&json!({ "slack": 5 }), "at /slack: must be a text");
        refused(&json!({ "title": 5 }), "at /title: must be a text");
        refused(&json!({ "telegram": { "link": ["x"] } }), "at /telegram/link: must be a text");
        refused(&json!({ "body": "a\n{{ x" }), "at /body: line 2: `{{` is not closed");
        refused(&json!({ "slack": "{{ x|uper }}" }), "at /slack: line 1: there is no filter `uper`");
        refused(&json!({ "console": { "title": "{% if %}" } }), "at /console/title: line 1:");
    }

    #[test]
    fn names_of_newer_processes_are_read_over() {
        let templates =
            Templates::compile(&json!({ "body": "b", "pigeon": 5, "slack": { "card": {} } })).unwrap();
        assert!(templates.general.body.is_some() && templates.of(Kind::Slack).is_some());
        assert!(templates.of(Kind::Telegram).is_none());
    }

    #[test]
    fn every_kind_is_known() {
        for kind in Kind::ALL {
            for spec in [json!({ kind.as_str(): "x" }), json!({ kind.as_str(): { "body": "x" } })] {
                check_names(&spec).unwrap();
                assert!(Templates::compile(&spec).unwrap().of(*kind).unwrap().body.is_some());
            }
        }
    }
}

//! A rule's `template`: a body, or an object with `title`, `body`, `format`, `link` and, by kind of channel, a body or an object of
//! these again. What a kind does not say of its own is the general one.
//!
//! A name that nobody knows is refused where a rule is written ([`check_names`]), and left alone where it is read from the
//! bucket: a newer process may know more kinds.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::fault::{Fault, field_pointer, nearest};
use crate::channel::Kind;
use crate::delivery::{ACTIONS_MAX, Format};
use crate::route::template::Template;

const TEXTS: [&str; 3] = ["title", "body", "link"];
const ACTIONS: &str = "actions";
const FORMAT: &str = "format";
const FORMATS: [&str; 2] = ["markdown", "html"];
const PARTS: [&str; 5] = ["title", "body", "link", ACTIONS, FORMAT];

/// None: the default.
#[derive(Debug, Default)]
pub struct Parts {
    pub title: Option<Template>,
    pub body: Option<Template>,
    /// Of the body.
    pub format: Option<Format>,
    pub link: Option<Template>,
    pub actions: Option<Vec<ActionTemplate>>,
}

/// A button before it is rendered.
#[derive(Debug)]
pub struct ActionTemplate {
    pub label: Template,
    pub url: Template,
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
            let [title, body, link] = TEXTS.map(|name| part(fields, name));
            let (actions, format) = (actions(fields)?, format(fields)?);
            Ok(Parts { title: title?, body: body?, format, link: link?, actions })
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

fn format(fields: &Map<String, Value>) -> Result<Option<Format>, Fault> {
    let Some(found) = fields.get(FORMAT).filter(|found| !found.is_null()) else { return Ok(None) };
    let format = found.as_str().and_then(Format::parse);
    let wrong = || Fault::new(format!("/{FORMAT}"), format!("must be one of {}", FORMATS.join(", ")));
    format.map(Some).ok_or_else(wrong)
}

fn actions(fields: &Map<String, Value>) -> Result<Option<Vec<ActionTemplate>>, Fault> {
    let Some(found) = fields.get(ACTIONS).filter(|found| !found.is_null()) else { return Ok(None) };
    let place = |index: usize| format!("/{ACTIONS}/{index}");
    let wrong = || Fault::new(format!("/{ACTIONS}"), format!("must be a list of at most {ACTIONS_MAX}"));
    let items = found.as_array().filter(|items| items.len() <= ACTIONS_MAX).ok_or_else(wrong)?;
    let mut actions = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let fields = item
            .as_object()
            .ok_or_else(|| Fault::new(place(index), "must be an object with label and url"))?;
        let text = |name: &str| {
            let part = part(fields, name).map_err(|fault| fault.below(&place(index)))?;
            part.ok_or_else(|| Fault::new(format!("{}/{name}", place(index)), "is missing"))
        };
        actions.push(ActionTemplate { label: text("label")?, url: text("url")? });
    }
    Ok(Some(actions))
}

/// # Errors
/// The place of a name that is none, relative to `template`, and what was probably meant.
pub fn check_names(spec: &Value) -> Result<(), Fault> {
    let Value::Object(fields) = spec else { return Ok(()) };
    let known: Vec<&str> = PARTS.into_iter().chain(Kind::ALL.iter().map(|kind| kind.as_str())).collect();
    check_fields(fields, &known)?;
    check_actions(fields)?;
    for kind in Kind::ALL {
        if let Some(Value::Object(fields)) = fields.get(kind.as_str()) {
            let checked = check_fields(fields, &PARTS).and_then(|()| check_actions(fields));
            checked.map_err(|fault| fault.below(&field_pointer(kind.as_str())))?;
        }
    }
    Ok(())
}

fn check_actions(fields: &Map<String, Value>) -> Result<(), Fault> {
    for (index, action) in fields.get(ACTIONS).and_then(Value::as_array).into_iter().flatten().enumerate() {
        let Some(fields) = action.as_object() else { continue };
        check_fields(fields, &["label", "url"])
            .map_err(|fault| fault.below(&format!("/{ACTIONS}/{index}")))?;
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
    let text = || json!({ "type": "string" });
    let action = json!({ "type": "object", "properties": { "label": text(), "url": text() },
        "required": ["label", "url"], "additionalProperties": false });
    let actions = json!({ "type": "array", "items": action, "maxItems": ACTIONS_MAX });
    let format = json!({ "enum": FORMATS });
    let parts =
        || json!({ "title": text(), "body": text(), "link": text(), ACTIONS: actions, FORMAT: format });
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
            "at /pigeon: `pigeon` is not a known field; there are title, body, link, actions,",
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
        refused(&json!({ "format": "rtf" }), "at /format: must be one of markdown, html");
        refused(&json!({ "slack": { "format": 1 } }), "at /slack/format: must be one of");
        refused(&json!({ "actions": "x" }), "at /actions: must be a list");
        refused(&json!({ "actions": [{ "label": "x" }] }), "at /actions/0/url: is missing");
        refused(&json!({ "actions": [{ "label": "x", "url": "{{ x" }] }), "at /actions/0/url: line 1:");
        refused(
            &json!({ "slack": { "actions": [{ "label": "x", "url": "y", "stile": "z" }] } }),
            "at /slack/actions/0/stile: `stile` is not a known field",
        );
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

//! Any receiver's format: a JSON value whose texts are templates over the delivery.
//!
//! It is JSON by construction: what a template prints is a JSON text, whatever is in it. A text that is one path and nothing
//! else, like `{{ data.count }}`, becomes the value it leads to, with its type; null where it leads nowhere. Names of fields
//! are no templates.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::Payload;
use crate::channel::markdown::Document;
use crate::channel::secret::below;
use crate::channel::{Failure, SendError};
use crate::delivery::Delivery;
use crate::outcome::Reason;
use crate::route::template::{OUTPUT_BYTES_MAX, RenderError, Template};
use crate::rule::condition::{Facts, Path};
use crate::rule::fault::{Fault, unknown_word};

/// What a template may name: the fields of [`Payload`], and the body without its Markdown.
const FIELDS: [&str; 17] = [
    "type",
    "timestamp",
    "id",
    "workspace",
    "event",
    "rule",
    "severity",
    "title",
    "body",
    "text",
    "link",
    "actions",
    "attachments",
    "recipient",
    "heldBack",
    "collapseId",
    "data",
];

#[derive(Debug)]
pub(super) struct PayloadTemplate(Node);

#[derive(Debug)]
enum Node {
    Constant(Value),
    Whole(Path),
    /// With its place, for when it cannot render.
    Text(Box<Template>, String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl PayloadTemplate {
    /// # Errors
    /// The place and the fault.
    pub fn compile(value: &Value) -> Result<Self, Fault> {
        node(value, "").map(Self)
    }

    /// # Errors
    /// When an expression makes no sense for this delivery.
    pub fn render(&self, delivery: &Delivery) -> Result<Value, SendError> {
        let known = Known::of(delivery)?;
        fill(&self.0, &known)
    }
}

fn node(value: &Value, pointer: &str) -> Result<Node, Fault> {
    Ok(match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Node::Constant(value.clone()),
        Value::String(text) => text_node(text, pointer)?,
        Value::Array(items) => {
            let mut nodes = Vec::new();
            for (index, item) in items.iter().enumerate() {
                nodes.push(node(item, &format!("{pointer}/{index}"))?);
            }
            Node::List(nodes)
        }
        Value::Object(fields) => {
            let mut nodes = Vec::new();
            for (name, field) in fields {
                nodes.push((name.clone(), node(field, &below(pointer, name))?));
            }
            Node::Object(nodes)
        }
    })
}

fn text_node(text: &str, pointer: &str) -> Result<Node, Fault> {
    let fault = |fault: Fault| fault.below(pointer);
    if let Some(inside) = only_path(text) {
        let path = Path::parse(inside).map_err(|error| Fault::new(pointer, error.to_string()))?;
        return match path.steps().first() {
            Some(root) if FIELDS.contains(&root.as_str()) || root == "_event" => Ok(Node::Whole(path)),
            Some(root) => Err(Fault::new(pointer, unknown_word(root, &FIELDS))),
            None => Err(Fault::new(pointer, "names nothing")),
        };
    }
    if !text.contains(['{', '}']) {
        return Ok(Node::Constant(Value::String(text.to_owned())));
    }
    Ok(Node::Text(Box::new(Template::compile(text).map_err(fault)?), pointer.to_owned()))
}

/// The path of a text that is one path alone.
fn only_path(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let plain = |ch: char| ch.is_alphanumeric() || matches!(ch, '_' | '.' | '[' | ']');
    (!inside.is_empty() && inside.chars().all(plain)).then_some(inside)
}

fn fill(node: &Node, known: &Known<'_>) -> Result<Value, SendError> {
    Ok(match node {
        Node::Constant(value) => value.clone(),
        Node::Whole(path) => path.find(known).map_or(Value::Null, Cow::into_owned),
        Node::Text(template, place) => {
            Value::String(template.render(known).map_err(|error| misfit(place, &error))?)
        }
        Node::List(nodes) => {
            Value::Array(nodes.iter().map(|node| fill(node, known)).collect::<Result<_, _>>()?)
        }
        Node::Object(nodes) => {
            let mut fields = Map::new();
            for (name, node) in nodes {
                fields.insert(name.clone(), fill(node, known)?);
            }
            Value::Object(fields)
        }
    })
}

/// A receiver needs its own format: there is nothing else to send instead, and no later try would help. The engine's own words
/// may quote a value.
fn misfit(place: &str, error: &RenderError) -> SendError {
    let why = match error {
        RenderError::TooLong => format!("its text is longer than {OUTPUT_BYTES_MAX} bytes"),
        RenderError::TooMuchWork => "it takes too many steps".to_owned(),
        RenderError::TooMuchData => "it works on too many values".to_owned(),
        RenderError::Failed(_) => "an expression makes no sense for what is in the event".to_owned(),
    };
    let detail = format!("config/template{place} could not render: {why}");
    SendError::Permanent(Failure::new(Reason::Misconfigured, detail))
}

/// A delivery as its template sees it.
struct Known<'a> {
    fields: Value,
    delivery: &'a Delivery,
}

impl<'a> Known<'a> {
    fn of(delivery: &'a Delivery) -> Result<Self, SendError> {
        let fields = serde_json::to_value(Payload::of(delivery)).map_err(|_| {
            SendError::Ours(Failure::new(Reason::Internal, "the delivery could not be written as JSON"))
        })?;
        let mut known = Self { fields, delivery };
        if let Some(fields) = known.fields.as_object_mut() {
            let text = Document::of(delivery).to_plain(OUTPUT_BYTES_MAX);
            fields.insert("text".to_owned(), text.into());
        }
        Ok(known)
    }
}

impl Facts for Known<'_> {
    fn data(&self) -> &Value {
        &self.fields
    }

    /// The same names as in a rule's templates.
    fn envelope(&self, name: &str) -> Option<Cow<'_, Value>> {
        let (delivery, event) = (self.delivery, &self.delivery.event);
        let text = match name {
            "id" => event.id.clone(),
            "type" => event.event_type.as_str().to_owned(),
            "source" => event.source.clone(),
            "time" => event.time.to_string(),
            "workspace" => delivery.workspace.as_str().to_owned(),
            "severity" => delivery.severity.as_str().to_owned(),
            "traceparent" => event.traceparent.clone()?,
            _ => return None,
        };
        Some(Cow::Owned(Value::String(text)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::channel::conformance::sample;

    fn rendered(template: &Value) -> Value {
        PayloadTemplate::compile(template).unwrap().render(&sample()).unwrap()
    }

    #[test]
    fn texts_are_templates_and_a_path_alone_keeps_its_type() {
        let template = json!({
            "summary": "{{ severity|upper }}: {{title}}", "n": "{{ data.b }}", "f": "{{data.a}}", "all": "{{data}}",
            "list": ["{{ severity }}", 7, null, true, "plain", "{% raw %}{{x}}{% endraw %}"], "gone": "{{data.x.y}}",
            "joined": "[{{data.x}}]", "{{title}}": "{{_event.source}}", "text": "{{text}}", "event": "{{event.id}}",
        });
        let expected = json!({
            "summary": "WARNING: Task <created> & more", "n": 1, "f": 1.0, "all": { "b": 1, "a": 1.0 },
            "list": ["warning", 7, null, true, "plain", "{{x}}"], "gone": null, "joined": "[]",
            "{{title}}": "tests", "text": "bold snake_case_name\n\n<!channel>", "event": "e-1",
        });
        assert_eq!(rendered(&template), expected);
    }

    #[test]
    fn hostile_text_stays_a_text() {
        let mut delivery = sample();
        delivery.title = "\"},{\"a\":\"{{data}}\n\u{0}\\".to_owned();
        let template = PayloadTemplate::compile(&json!({ "t": "<{{title}}>" })).unwrap();
        let body = template.render(&delivery).unwrap().to_string();
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["t"], format!("<{}>", delivery.title));
    }

    #[test]
    fn every_field_of_the_payload_can_be_named() {
        let mut delivery = sample();
        delivery.collapse_id = Some("c".to_owned());
        delivery.actions.push(crate::delivery::Action { label: "a".to_owned(), url: "/b".to_owned() });
        let file = json!({ "name": "a", "text": "b" });
        delivery.attachments.push(serde_json::from_value(file).unwrap());
        let known = Known::of(&delivery).unwrap();
        let mut names: Vec<_> = known.fields.as_object().unwrap().keys().map(String::as_str).collect();
        let mut fields = FIELDS.to_vec();
        names.sort_unstable();
        fields.sort_unstable();
        assert_eq!(names, fields);
    }

    #[test]
    fn faults_name_the_place() {
        for (template, pointer, message) in [
            (json!({ "a": ["x", "{{ titel }}"] }), "/a/1", "did you mean `title`?"),
            (json!({ "a/b": "{{ title|uper }}" }), "/a~1b", "no filter `uper`"),
            (json!({ "a": { "b": "{{ title" } }), "/a/b", "not closed"),
            (json!("{{_event}}"), "", "_event"),
        ] {
            let fault = PayloadTemplate::compile(&template).unwrap_err();
            assert_eq!(fault.pointer, pointer, "{fault}");
            assert!(fault.message.contains(message), "{fault}");
        }
    }

    #[test]
    fn what_cannot_render_is_given_up_with_its_place_and_no_value() {
        let mut delivery = sample();
        delivery.title = "hunter2".to_owned();
        let template = PayloadTemplate::compile(&json!({ "a": [{ "b": "{{ title + 1 }}" }] })).unwrap();
        let SendError::Permanent(failure) = template.render(&delivery).unwrap_err() else {
            panic!("not permanent")
        };
        assert_eq!(failure.reason, Reason::Misconfigured);
        assert!(failure.detail.starts_with("config/template/a/0/b could not render"), "{}", failure.detail);
        assert!(!failure.detail.contains("hunter2"), "{}", failure.detail);
    }
}

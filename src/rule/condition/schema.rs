//! The shape of a condition as a JSON Schema. What its parser says of a fault is better; this is for editors.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::Condition;
use super::parse::COMPARISONS_MAX;

impl JsonSchema for Condition {
    fn schema_name() -> Cow<'static, str> {
        "Condition".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let inner = generator.subschema_for::<Self>().to_value();
        let list = json!({ "type": "array", "items": inner });
        let scalar = json!({ "type": ["string", "number", "boolean", "null"] });
        let several = json!({ "type": "array", "items": scalar, "maxItems": COMPARISONS_MAX });
        json_schema!({
            "description": "One of and, or, not, or a comparison of a field of the event's data, such as {field: to, op: ==, value: failed}.",
            "anyOf": [
                combinator("and", &list),
                combinator("or", &list),
                combinator("not", &inner),
                comparison(&["==", "!=", "includes", "not_includes"], Some(&scalar)),
                comparison(&["<", "<=", ">", ">="], Some(&json!({ "type": ["string", "number"] }))),
                comparison(&["in", "not_in"], Some(&several)),
                comparison(&["starts_with", "ends_with", "matches"], Some(&json!({ "type": "string" }))),
                comparison(&["exists", "not_exists"], None),
            ],
        })
    }
}

fn combinator(word: &str, inner: &Value) -> Value {
    json!({ "type": "object", "properties": { word: inner }, "required": [word], "additionalProperties": false })
}

/// Without `value` it may hold anything and is not looked at.
fn comparison(operators: &[&str], value: Option<&Value>) -> Value {
    let mut required = vec!["field", "op"];
    required.extend(value.map(|_| "value"));
    let field = json!({
        "type": "string",
        "minLength": 1,
        "description": "A path into the event's data, such as `task.retries` or `items[0].id`; `_event.type` and the like reach its envelope.",
    });
    let properties =
        json!({ "field": field, "op": { "enum": operators }, "value": value.unwrap_or(&Value::Bool(true)) });
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

#[cfg(test)]
mod tests {
    use super::super::parse::OPERATORS;
    use super::*;

    #[test]
    fn the_schema_has_every_operator_once() {
        let schema = SchemaGenerator::default().into_root_schema_for::<Condition>().to_value();
        let shapes = schema["anyOf"].as_array().unwrap().iter();
        let listed = shapes.filter_map(|shape| shape["properties"]["op"]["enum"].as_array()).flatten();
        let mut listed: Vec<&str> = listed.filter_map(Value::as_str).collect();
        listed.sort_unstable();
        let mut operators = OPERATORS.to_vec();
        operators.sort_unstable();
        assert_eq!(listed, operators);
    }
}

//! The places of secrets in a value, and the fields that say where these are sent, by its schema.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::rule::fault::field_pointer;

/// The schema of what nobody knows: every field is one that it does not have.
pub(super) static ALL_SECRET: LazyLock<Value> =
    LazyLock::new(|| json!({ "properties": {}, "additionalProperties": false }));

/// The JSON pointers of all secrets, in the order of the value. A field that a closed schema does not have counts as one: what
/// a newer version wrote is not shown by an older one.
#[must_use]
pub fn places(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Walk { root: schema, found: &mut found }.walk(&[schema], value, String::new());
    found
}

/// The fields of a configuration that say where its secrets are sent: those whose type is marked `x-address`.
pub fn addresses(schema: &Value) -> impl Iterator<Item = &str> {
    let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    fields
        .filter(|(_, field)| field.get("x-address") == Some(&Value::Bool(true)))
        .map(|(name, _)| name.as_str())
}

/// The first address that is another one in `after` than in `before`.
#[must_use]
pub fn moved<'a>(schema: &'a Value, before: &Value, after: &Value) -> Option<&'a str> {
    addresses(schema).find(|name| said(before, name) != said(after, name))
}

fn said<'a>(config: &'a Value, name: &str) -> Option<&'a Value> {
    config.get(name).filter(|value| !value.is_null())
}

struct Walk<'a, 'b> {
    root: &'a Value,
    found: &'b mut Vec<String>,
}

impl<'a> Walk<'a, '_> {
    fn walk(&mut self, schemas: &[&'a Value], value: &Value, place: String) {
        let mut shapes = Vec::new();
        schemas.iter().for_each(|schema| self.collect(schema, &mut shapes));
        let secret = shapes.iter().any(|shape| shape.get("writeOnly") == Some(&Value::Bool(true)));
        if secret && !value.is_null() {
            self.found.push(place);
            return;
        }
        match value {
            Value::Object(fields) => {
                for (name, inner) in fields {
                    let place = format!("{place}{}", field_pointer(name));
                    match known(&shapes, name) {
                        Some(schemas) => self.walk(&schemas, inner, place),
                        None => self.found.push(place),
                    }
                }
            }
            Value::Array(items) => {
                let schemas: Vec<&Value> = shapes.iter().filter_map(|shape| shape.get("items")).collect();
                for (index, item) in items.iter().enumerate() {
                    self.walk(&schemas, item, format!("{place}/{index}"));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// A schema and all that it refers to and chooses from.
    fn collect(&self, schema: &'a Value, shapes: &mut Vec<&'a Map<String, Value>>) {
        let Some(fields) = schema.as_object() else { return };
        shapes.push(fields);
        if let Some(place) = fields.get("$ref").and_then(Value::as_str) {
            let target = place.strip_prefix('#').and_then(|place| self.root.pointer(place));
            target.into_iter().for_each(|target| self.collect(target, shapes));
        }
        let choices = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|word| fields.get(word)?.as_array());
        choices.flatten().for_each(|choice| self.collect(choice, shapes));
    }
}

/// The schemas of a field; None when the object is closed and has no such field.
fn known<'a>(shapes: &[&'a Map<String, Value>], name: &str) -> Option<Vec<&'a Value>> {
    let named: Vec<&Value> = shapes.iter().filter_map(|shape| shape.get("properties")?.get(name)).collect();
    if !named.is_empty() {
        return Some(named);
    }
    let any: Vec<&Value> = shapes
        .iter()
        .filter_map(|shape| shape.get("additionalProperties"))
        .filter(|schema| **schema != Value::Bool(false))
        .collect();
    let closed = shapes.iter().any(|shape| shape.contains_key("properties"));
    if any.is_empty() && closed { None } else { Some(any) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::*;
    use crate::channel::Kind;
    use crate::channel::secret::Redacted;
    use crate::schema;
    use crate::source::SourceSpec;

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "its schema is what is tested")]
    struct Login {
        user: String,
        password: Option<Redacted<String>>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "its schema is what is tested")]
    enum Either {
        #[serde(rename = "login")]
        Login(Login),
        #[serde(rename = "token")]
        Token(Redacted<String>),
    }

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "its schema is what is tested")]
    struct Config {
        plain: String,
        single: Option<Redacted<String>>,
        list: Vec<Redacted<String>>,
        map: BTreeMap<String, Redacted<String>>,
        open: BTreeMap<String, Value>,
        inner: Option<Login>,
        choice: Vec<Either>,
    }

    #[test]
    fn secrets_are_found_in_lists_maps_options_and_choices_and_nothing_else_is() {
        let value = json!({
            "plain": "p", "single": "s", "list": ["a", "b"], "map": { "x/y": "m" }, "open": { "any": { "thing": 1 } },
            "inner": { "user": "u", "password": "w" }, "choice": [{ "login": { "user": "u", "password": "w" } }, { "token": "t" }],
            "unknown": { "of": "a newer version" },
        });
        let mut expected = [
            "/single",
            "/list/0",
            "/list/1",
            "/map/x~1y",
            "/inner/password",
            "/choice/0/login/password",
            "/choice/1/token",
            "/unknown",
        ];
        expected.sort_unstable();
        for schema in [schema::config::<Config>(), (*schema::of::<Config>()).clone()] {
            let mut found = places(&schema, &value);
            found.sort_unstable();
            assert_eq!(found, expected);
        }
        let empty = json!({ "single": null, "inner": { "password": null }, "list": [] });
        assert!(places(&schema::config::<Config>(), &empty).is_empty());
    }

    #[test]
    fn a_kind_that_nobody_knows_is_all_secret() {
        assert_eq!(places(&ALL_SECRET, &json!({ "a": 1, "b": { "c": "d" } })), ["/a", "/b"]);
    }

    #[test]
    fn the_secrets_of_kinds_and_sources_are_known() {
        let webhook = json!({ "url": "u", "secrets": ["s"], "headers": { "Authorization": "h" } });
        assert_eq!(
            places(&Kind::Webhook.config_schema(), &webhook),
            ["/headers/Authorization", "/secrets/0", "/url"]
        );
        let telegram = json!({ "botToken": "t", "chatId": 1 });
        assert_eq!(places(&Kind::Telegram.config_schema(), &telegram), ["/botToken"]);
        let source =
            json!({ "id": "s", "http": { "secret": "a", "secrets": ["b"] }, "map": { "type": "x" } });
        assert_eq!(places(&schema::of::<SourceSpec>(), &source), ["/http/secret", "/http/secrets/0"]);
    }

    #[test]
    fn every_field_that_leads_somewhere_is_known_for_an_address() {
        // Where a person or a page is led is no address of ours.
        let not_ours = ["baseUrl", "previewUrl"];
        let leads = |name: &str| {
            ["url", "base", "host", "port", "server"].iter().any(|word| name.to_lowercase().contains(word))
        };
        for kind in Kind::ALL {
            let schema = kind.config_schema();
            let known: Vec<&str> = addresses(&schema).collect();
            let fields =
                schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
            let unknown: Vec<&str> = fields
                .filter(|name| leads(name) && !known.contains(name) && !not_ours.contains(name))
                .collect();
            assert!(unknown.is_empty(), "{kind}: {unknown:?} is not marked x-address");
        }
        let email = Kind::Email.config_schema();
        assert_eq!(
            addresses(&email).collect::<Vec<_>>(),
            ["apiBase", "host", "port", "provider", "security"]
        );
        let (here, there) = (json!({ "host": "a", "port": null }), json!({ "host": "b" }));
        assert_eq!(
            (moved(&email, &here, &there), moved(&email, &here, &json!({ "host": "a" }))),
            (Some("host"), None)
        );
    }
}

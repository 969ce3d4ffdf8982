//! JSON Schemas (2020-12) of what people write, generated from the types that read it: for editors, and for our own faults.
//!
//! A schema knows one document. What depends on others, on variables or on addresses is checked elsewhere, so a document
//! that passes may still be refused, and one that is refused here is refused everywhere.

pub mod settings;
pub mod shape;

use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::channel::{ChannelSpec, Kind};
use crate::connection::ConnectionSpec;
use crate::documents::DocumentFile;
use crate::fixture::FixtureFile;
use crate::rule::RuleSpec;
use crate::source::SourceSpec;

crate::outcome::words! {
    /// The schemas that are published.
    Name {
        /// A file of documents.
        Documents = "documents",
        /// One rule.
        Rule = "rule",
        /// One channel.
        Channel = "channel",
        /// Tests of rules.
        Fixtures = "fixtures",
        /// One source.
        Source = "source",
        /// One connection.
        Connection = "connection",
        /// The configuration file.
        Settings = "settings",
    }
}

impl Name {
    /// The schema under this name, with its `$id`.
    #[must_use]
    pub fn schema(self) -> Value {
        let (mut schema, title) = match self {
            Self::Documents => (root::<DocumentFile>(), "Bugle: a file of documents"),
            Self::Rule => (root::<RuleSpec>(), "Bugle: a rule"),
            Self::Channel => (root::<ChannelSpec>(), "Bugle: a channel"),
            Self::Fixtures => (root::<FixtureFile>(), "Bugle: tests of rules"),
            Self::Source => (root::<SourceSpec>(), "Bugle: a source"),
            Self::Connection => (root::<ConnectionSpec>(), "Bugle: a connection"),
            Self::Settings => (settings::schema(), "Bugle: the configuration file"),
        };
        schema["$id"] = format!("urn:bugle:schema:{self}").into();
        schema["title"] = title.into();
        schema
    }
}

/// The schema of a type, made once.
#[must_use]
pub fn of<T: JsonSchema + 'static>() -> Arc<Value> {
    static MADE: Mutex<BTreeMap<TypeId, Arc<Value>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(made.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(root::<T>())))
}

fn root<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    close(&mut schema);
    schema
}

/// A schema without references, to be put into another one.
fn inline<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    close(&mut schema);
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("title");
    }
    schema
}

/// At the edges every unknown field is refused, also where the bucket is read leniently.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("properties").is_some_and(Value::is_object) {
                fields.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            // A case names some of the fields of the object around it.
            let open = ["if", "then", "not", "default", "enum", "const"];
            fields
                .iter_mut()
                .filter(|(name, _)| !open.contains(&name.as_str()))
                .for_each(|(_, inner)| close(inner));
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A channel's `config` has the fields of its kind.
pub fn config_by_kind(schema: &mut Schema) {
    let mut cases = Vec::new();
    for kind in Kind::ALL {
        let config = kind.config_schema();
        let needed = config.get("required").is_some().then_some("config");
        let is_kind = json!({ "kind": { "const": kind.as_str() } });
        cases.push(json!({
            "if": { "properties": is_kind, "required": ["kind"], "not": { "required": ["connection"] } },
            "then": { "properties": { "config": config }, "required": Vec::from_iter(needed) },
        }));
        cases.push(json!({
            "if": { "properties": is_kind, "required": ["kind", "connection"] },
            "then": { "properties": { "config": part(config) } },
        }));
    }
    schema.insert("allOf".to_owned(), cases.into());
}

/// A connection's `config` has some of the fields of its kind.
pub fn part_by_kind(schema: &mut Schema) {
    let case = |kind: &Kind| {
        json!({
            "if": { "properties": { "kind": { "const": kind.as_str() } }, "required": ["kind"] },
            "then": { "properties": { "config": part(kind.config_schema()) } },
        })
    };
    schema.insert("allOf".to_owned(), Kind::ALL.iter().map(case).collect());
}

/// The schema of a configuration of which somebody else has the rest.
#[must_use]
pub fn part(mut config: Value) -> Value {
    if let Some(fields) = config.as_object_mut() {
        fields.remove("required");
    }
    config
}

/// The schema of the configuration of a kind.
#[must_use]
pub fn config<T: JsonSchema>() -> Value {
    inline::<T>()
}

#[cfg(test)]
mod tests;

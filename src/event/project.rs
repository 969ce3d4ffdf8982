//! The project that an event belongs to, as producers name it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Event;

/// The attribute for producers whose data does not say it.
const ATTRIBUTE: &str = "project";
/// Longer ones are no ids.
pub const PROJECT_BYTES_MAX: usize = 256;

impl Event {
    /// `data.projectId`, `data.project.id`, `data.project` as a text, or the attribute `project`; the first that is an id.
    #[must_use]
    pub fn project(&self) -> Option<String> {
        named(&self.data, &self.attributes)
    }
}

/// The same for data that came without an envelope.
#[must_use]
pub fn named_in(data: &Value) -> Option<String> {
    named(data, &BTreeMap::new())
}

fn named(data: &Value, attributes: &BTreeMap<String, String>) -> Option<String> {
    let project = data.get("project");
    let places = [data.get("projectId"), project.and_then(|project| project.get("id")), project];
    let found = places.into_iter().flatten().find_map(id);
    found.or_else(|| attributes.get(ATTRIBUTE).filter(|text| is_id(text)).cloned())
}

fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| is_id(text)),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// 1 to 256 bytes without control characters.
#[must_use]
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= PROJECT_BYTES_MAX && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_place_that_holds_an_id_names_the_project() {
        let attributes = BTreeMap::from([(ATTRIBUTE.to_owned(), "by-attribute".to_owned())]);
        for (data, project) in [
            (json!({"projectId": "p-1", "project": {"id": "p-2"}}), Some("p-1")),
            (json!({"projectId": 17}), Some("17")),
            (json!({"projectId": "", "project": {"id": "p-2", "name": "Two"}}), Some("p-2")),
            (json!({"project": "p-3"}), Some("p-3")),
            (json!({"project": {"name": "Four"}}), Some("by-attribute")),
            (json!({"projectId": ["p"], "project": true}), Some("by-attribute")),
            (json!({"projectId": "x".repeat(257)}), Some("by-attribute")),
            (json!([1]), Some("by-attribute")),
        ] {
            assert_eq!(named(&data, &attributes).as_deref(), project, "{data}");
        }
        assert_eq!(named_in(&json!({"title": "none"})), None);
    }
}

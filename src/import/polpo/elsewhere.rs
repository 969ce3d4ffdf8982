//! Places outside of `settings.notifications` from which Polpo makes rules too.

use serde_json::Value;

use super::Reader;
use crate::rule::fault::field_pointer;

/// Lists of channels that Polpo turns into rules of its own, and the events of those.
const HIDDEN: [(&str, &str); 3] = [
    ("warningChannels", "`sla:warning`"),
    ("violationChannels", "`sla:violated` and `sla:met`"),
    ("notifyChannels", "the events of this gate, checkpoint or delay"),
];

impl Reader {
    /// Looks through the whole file but for `read`, which was read.
    pub(super) fn elsewhere(&mut self, value: &Value, place: &str, read: &str) {
        let inner: Vec<(String, &Value)> = match value {
            Value::Object(fields) => {
                fields.iter().map(|(name, inner)| (field_pointer(name), inner)).collect()
            }
            Value::Array(items) => {
                items.iter().enumerate().map(|(index, item)| (format!("/{index}"), item)).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
        };
        for (name, inner) in inner {
            let here = format!("{place}{name}");
            let hidden = HIDDEN.into_iter().find(|(field, _)| name == format!("/{field}"));
            if here == read {
                continue;
            }
            if name == "/notifications" && inner.get("rules").is_some() {
                self.left_out(here, scoped(place));
            } else if let (Some((_, events)), Some(false)) = (hidden, inner.as_array().map(Vec::is_empty)) {
                self.left_out(
                    here,
                    format!("Polpo makes rules of it: write one for {events} with these channels"),
                );
            } else {
                self.elsewhere(inner, &here, read);
            }
        }
    }
}

fn scoped(place: &str) -> String {
    let last = |word: &str| place.rfind(word);
    let scope = match (last("task"), last("mission")) {
        (None, None) => "{task|mission}",
        (task, mission) if task > mission => "task",
        (_, _) => "mission",
    };
    format!("rules of a scope are no documents of a file: set them with PUT /v1/scopes/{scope}/{{id}}")
}

//! How urgent a producer says that something is, in the words that producers use, and how severe that is.

use serde_json::Value;

use super::{Event, Severity};

/// A word for how much something matters, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urgency {
    pub word: String,
    pub severity: Severity,
}

/// The words of an urgency.
pub const URGENCIES: [(&str, Severity); 3] =
    [("low", Severity::Info), ("medium", Severity::Warning), ("high", Severity::Critical)];

/// Severities are words of one, too.
pub const WORDS: [&str; 6] = ["info", "warning", "critical", "low", "medium", "high"];

/// Where `critical` is a word beside them, `high` is no more than a warning.
pub const PRIORITIES: [(&str, Severity); 4] = [
    ("low", Severity::Info),
    ("medium", Severity::Info),
    ("high", Severity::Warning),
    ("critical", Severity::Critical),
];

impl Urgency {
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let severity = |severity: Severity| Self { word: word.trim().to_owned(), severity };
        let severities = || Severity::parse(&word.trim().to_ascii_lowercase()).map(severity);
        among(&URGENCIES, word).or_else(severities)
    }
}

impl Event {
    /// What `data.urgency` says or, where that is no word of one, `data.priority`.
    #[must_use]
    pub fn urgency(&self) -> Option<Urgency> {
        let word = |name| self.data.get(name).and_then(Value::as_str);
        word("urgency")
            .and_then(Urgency::parse)
            .or_else(|| word("priority").and_then(|word| among(&PRIORITIES, word)))
    }
}

fn among(words: &[(&str, Severity)], word: &str) -> Option<Urgency> {
    let (_, severity) = words.iter().find(|(known, _)| known.eq_ignore_ascii_case(word.trim()))?;
    Some(Urgency { word: word.trim().to_owned(), severity: *severity })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_urgency_of_the_producer_counts_before_its_priority() {
        for (data, expected) in [
            (json!({"urgency": "low"}), Some(("low", Severity::Info))),
            (json!({"urgency": "medium", "priority": "critical"}), Some(("medium", Severity::Warning))),
            (json!({"urgency": "High"}), Some(("High", Severity::Critical))),
            (json!({"urgency": "warning"}), Some(("warning", Severity::Warning))),
            (json!({"priority": "low"}), Some(("low", Severity::Info))),
            (json!({"priority": "medium"}), Some(("medium", Severity::Info))),
            (json!({"priority": "high"}), Some(("high", Severity::Warning))),
            (json!({"priority": "critical"}), Some(("critical", Severity::Critical))),
            (json!({"urgency": "whenever", "priority": "high"}), Some(("high", Severity::Warning))),
            (json!({"urgency": 3, "priority": null}), None),
        ] {
            let event = crate::route::texts::tests::event_of(&data);
            let found = event.urgency();
            let found = found.as_ref().map(|urgency| (urgency.word.as_str(), urgency.severity));
            assert_eq!(found, expected, "{data}");
        }
    }
}

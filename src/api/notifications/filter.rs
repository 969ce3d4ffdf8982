//! What of an inbox a request is about: the same names in a query and, where something is done to all of it, in a body.

use serde_json::{Map, Value};

use super::whose::RECIPIENT;
use crate::api::documents::sent;
use crate::api::problem::Problem;
use crate::api::query::{Query, moment};
use crate::event::{EventType, Severity};
use crate::rule::fault::{Fault, field_pointer};
use crate::store::inbox::list::{InboxCursor, InboxFilter};

/// Without those that say whose it is.
pub const FILTERS: [&str; 11] = [
    "unread",
    "dismissed",
    "type",
    "severity",
    "source",
    "sourceType",
    "sourceId",
    "project",
    "since",
    "until",
    "text",
];
/// Types or severities of one request.
const WORDS_MAX: usize = 50;
const TEXT_CHARS_MAX: usize = 200;

/// Everything that a request over filters may name, and what more it takes.
#[must_use]
pub fn known(more: &[&'static str]) -> Vec<&'static str> {
    FILTERS.iter().copied().chain(["workspace", RECIPIENT]).chain(more.iter().copied()).collect()
}

impl Query {
    /// # Errors
    /// 400 that names the parameter.
    pub fn inbox_filter(&self) -> Result<InboxFilter, Problem> {
        let (source_type, source_id) = self.source()?;
        let (unread, dismissed) = (self.flag("unread")?, self.flag("dismissed")?);
        if unread && dismissed {
            return Err(Problem::invalid(
                "parameters unread and dismissed: what was dismissed is not unread: ask for one of them",
            ));
        }
        Ok(InboxFilter {
            unread,
            dismissed,
            types: self.words("type", |word| {
                EventType::parse(word)
                    .map(|found| found.as_str().to_owned())
                    .map_err(|error| error.to_string())
            })?,
            severities: self.words("severity", |word| {
                Severity::parse(word).ok_or_else(|| format!("{word:?} is none of info, warning, critical"))
            })?,
            source_type,
            source_id,
            project: self.parsed("project", plain)?,
            since: self.parsed("since", moment)?,
            until: self.parsed("until", moment)?,
            text: self.parsed("text", |text| match text.chars().count() {
                1..=TEXT_CHARS_MAX => plain(text),
                _ => Err(format!("has 1 to {TEXT_CHARS_MAX} characters")),
            })?,
        })
    }

    /// # Errors
    /// 400 when it is no cursor of ours.
    pub fn inbox_cursor(&self) -> Result<Option<InboxCursor>, Problem> {
        let parse = |text: &str| InboxCursor::parse(text).ok_or_else(|| "take it from nextCursor".to_owned());
        self.parsed("cursor", parse)
    }

    /// `source=task:42`, or its parts.
    fn source(&self) -> Result<(Option<String>, Option<String>), Problem> {
        let whole = self.parsed("source", |text| {
            let (kind, id) = text.split_once(':').ok_or("is a type and an id, like task:42")?;
            Ok((plain(kind)?, plain(id)?))
        })?;
        let parts = (self.parsed("sourceType", plain)?, self.parsed("sourceId", plain)?);
        match (whole, parts) {
            (None, parts) => Ok(parts),
            (Some((kind, id)), (None, None)) => Ok((Some(kind), Some(id))),
            (Some(_), _) => {
                Err(Problem::invalid("parameter source: sourceType and sourceId say the same, name either"))
            }
        }
    }

    /// Several by comma.
    fn words<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Problem> {
        let found = self.parsed(name, |text| {
            if text.split(',').count() > WORDS_MAX {
                return Err(format!("has more than {WORDS_MAX} words"));
            }
            text.split(',').map(|word| parse(word.trim())).collect()
        })?;
        Ok(found.unwrap_or_default())
    }
}

/// A database finds none with a NUL, and one of them takes no such question.
fn plain(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(format!("{text:?} is empty or has control characters"));
    }
    Ok(text.to_owned())
}

/// A query with what the body says beside it.
///
/// # Errors
/// 400 that names the place.
pub fn with_body(query: Query, body: &[u8]) -> Result<Query, Problem> {
    let fields = if body.is_empty() { Map::new() } else { sent(body)? };
    let mut more = Vec::new();
    for (name, value) in fields {
        let text = match &value {
            Value::Null => continue,
            Value::Array(words) => {
                let words: Option<Vec<String>> = words.iter().map(scalar).collect();
                words.map(|words| words.join(","))
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => scalar(&value),
        };
        let wrong =
            || Problem::fault(Fault::new(field_pointer(&name), "is neither a word nor a list of words"));
        more.push((name.clone(), text.ok_or_else(wrong)?));
    }
    Ok(query.with(more))
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_combine_and_have_two_spellings_where_events_have() {
        let query =
            "type=task.done,a:b&severity=info,critical&source=task:t:1&unread=true&since=5&text=50%25";
        let filter = Query::parse(query).only(&known(&[])).unwrap().inbox_filter().unwrap();
        assert_eq!(filter.types, ["task:done", "a:b"]);
        assert_eq!(filter.severities, [Severity::Info, Severity::Critical]);
        assert_eq!((filter.source_type.as_deref(), filter.source_id.as_deref()), (Some("task"), Some("t:1")));
        assert!(filter.unread && !filter.dismissed);
        assert_eq!((filter.since.unwrap().as_millisecond(), filter.text.as_deref()), (5, Some("50%")));
    }

    #[test]
    fn bad_values_are_named() {
        for (query, named) in [
            ("type=a b", "type"),
            ("type=", "type"),
            ("severity=loud", "severity"),
            ("source=task", "source"),
            ("source=task:", "source"),
            ("source=a:b&sourceId=b", "source"),
            ("project=%00", "project"),
            ("text=", "text"),
            ("unread=yes", "unread"),
            ("since=tomorrow", "since"),
        ] {
            let problem = Query::parse(query).inbox_filter().unwrap_err();
            assert!(problem.detail.contains(named), "{query}: {}", problem.detail);
        }
        assert!(Query::parse("cursor=x").inbox_cursor().is_err());
    }

    #[test]
    fn a_body_says_what_a_query_would() {
        let read = |query: &str, body: &str| {
            with_body(Query::parse(query), body.as_bytes())?.only(&known(&[]))?.inbox_filter()
        };
        let same = read("type=a,b&dismissed=true&since=7", "").unwrap();
        assert_eq!(
            read("since=7", r#"{"type": ["a", "b"], "dismissed": true, "project": null}"#).unwrap(),
            same
        );
        for (query, body, named) in [
            ("", r#"{"source": {"type": "task"}}"#, "word"),
            ("", r#"{"tipe": "a"}"#, "tipe"),
            ("type=a", r#"{"type": "b"}"#, "more than once"),
            ("", "[]", "object"),
        ] {
            let problem = read(query, body).unwrap_err();
            assert!(problem.detail.contains(named), "{body}: {}", problem.detail);
        }
    }
}

//! Query parameters, read strictly: an unknown name or a bad value is a 400 that names it, never silently dropped.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;

use super::Shared;
use super::problem::Problem;
use crate::documents::Key;
use crate::ids::WorkspaceId;
use crate::outcome::State;
use crate::rule::pattern::Pattern;
use crate::store::deliveries::{Cursor, Filter};

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 500;
/// Patterns of one request.
const PATTERNS_MAX: usize = 20;
/// Parameters that may come more than once.
const REPEATED: [&str; 2] = ["status", "pattern"];

/// The parameters of a request, in their order.
#[derive(Debug, Clone)]
pub struct Query(Vec<(String, String)>);

impl FromRequestParts<Shared> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Problem> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// What the filters of deliveries are called.
pub const FILTERS: [&str; 12] = [
    "workspace",
    "status",
    "channel",
    "kind",
    "rule",
    "event",
    "eventType",
    "recipient",
    "severity",
    "fallbackOf",
    "since",
    "until",
];

impl Query {
    #[must_use]
    pub fn parse(query: &str) -> Self {
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// Parameters that came in another way.
    #[must_use]
    pub const fn of(parameters: Vec<(String, String)>) -> Self {
        Self(parameters)
    }

    /// # Errors
    /// 400 for a name that is not known here, or that comes twice where one value is meant.
    pub fn only(self, known: &[&str]) -> Result<Self, Problem> {
        for (name, _) in &self.0 {
            if !known.contains(&name.as_str()) {
                return Err(Problem::invalid(format!(
                    "unknown parameter {name}: known are {}",
                    if known.is_empty() { "none here".to_owned() } else { known.join(", ") }
                )));
            }
            if !REPEATED.contains(&name.as_str())
                && self.0.iter().filter(|(other, _)| other == name).count() > 1
            {
                return Err(Problem::invalid(format!("parameter {name} comes more than once")));
            }
        }
        Ok(self)
    }

    /// The same with more of them behind.
    #[must_use]
    pub(super) fn with(mut self, more: Vec<(String, String)>) -> Self {
        self.0.extend(more);
        self
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Problem> {
        let wrong = |error: String| Problem::invalid(format!("parameter {name}: {error}"));
        self.get(name).map(|text| parse(text).map_err(wrong)).transpose()
    }

    /// # Errors
    /// 400 when it is no workspace.
    pub fn workspace(&self) -> Result<Option<WorkspaceId>, Problem> {
        self.parsed("workspace", |text| WorkspaceId::parse(text).map_err(|error| error.to_string()))
    }

    /// # Errors
    /// 400 unless it is true or false.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        let flag = self
            .parsed(name, |text| text.parse().map_err(|_| format!("{text:?} is neither true nor false")))?;
        Ok(flag.unwrap_or(false))
    }

    /// # Errors
    /// 400 outside 1 to 500.
    pub fn limit(&self) -> Result<u32, Problem> {
        let limit = self.parsed("limit", |text| match text.parse() {
            Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
            _ => Err(format!("{text:?} is not a number from 1 to {LIMIT_MAX}")),
        })?;
        Ok(limit.unwrap_or(LIMIT_DEFAULT))
    }

    /// # Errors
    /// 400 unless it is a whole number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.parsed(name, |text| text.parse().map_err(|_| format!("{text:?} is not a whole number")))
    }

    /// # Errors
    /// 400 when it is no cursor of ours.
    pub fn cursor(&self) -> Result<Option<Cursor>, Problem> {
        self.parsed("cursor", |text| Cursor::parse(text).ok_or_else(|| "take it from nextCursor".to_owned()))
    }

    /// # Errors
    /// 400 when it is no cursor of ours.
    pub fn key_cursor(&self) -> Result<Option<Key>, Problem> {
        let parse = |text: &str| {
            let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
            Key::parse(&String::from_utf8(bytes).ok()?)
        };
        self.parsed("cursor", |text| parse(text).ok_or_else(|| "take it from nextCursor".to_owned()))
    }

    /// The patterns of event types; every type where there are none.
    ///
    /// # Errors
    /// 400 when one is no pattern, or there are too many.
    pub fn patterns(&self) -> Result<Vec<Pattern>, Problem> {
        let given: Vec<&str> =
            self.0.iter().filter(|(name, _)| name == "pattern").map(|(_, text)| text.as_str()).collect();
        if given.len() > PATTERNS_MAX {
            let detail = format!("parameter pattern: {} of them: at most {PATTERNS_MAX}", given.len());
            return Err(Problem::invalid(detail));
        }
        let wrong = |error| Problem::invalid(format!("parameter pattern: {error}"));
        let given = if given.is_empty() { vec!["*"] } else { given };
        given.into_iter().map(|text| Pattern::parse(text).map_err(wrong)).collect()
    }

    /// The filters of deliveries, without the workspace.
    ///
    /// # Errors
    /// 400 that names the parameter.
    pub fn filter(&self) -> Result<Filter, Problem> {
        let id = |error: crate::ids::IdError| error.to_string();
        Ok(Filter {
            workspace: None,
            status: self.states()?,
            channel: self.parsed("channel", |text| crate::ids::ChannelId::parse(text).map_err(id))?,
            kind: self.parsed("kind", |text| {
                let unknown = || format!("{text:?} is none of {}", crate::documents::kinds());
                crate::channel::Kind::parse(text).ok_or_else(unknown)
            })?,
            rule: self.parsed("rule", |text| crate::ids::RuleId::parse(text).map_err(id))?,
            event: self.parsed("event", |text| {
                let legal = !text.chars().any(char::is_control);
                legal.then(|| text.to_owned()).ok_or_else(|| "an id has no control characters".to_owned())
            })?,
            event_type: self.parsed("eventType", |text| {
                let parsed = crate::event::EventType::parse(&text.replace('.', ":"));
                parsed.map(|parsed| parsed.as_str().to_owned()).map_err(|error| error.to_string())
            })?,
            recipient: self.parsed("recipient", |text| crate::ids::Recipient::parse(text).map_err(id))?,
            severity: self.parsed("severity", |text| {
                let unknown = || format!("{text:?} is none of info, warning, critical");
                crate::event::Severity::parse(text).ok_or_else(unknown)
            })?,
            fallback_of: self.parsed("fallbackOf", |text| crate::ids::DeliveryId::parse(text).map_err(id))?,
            since: self.parsed("since", moment)?,
            until: self.parsed("until", moment)?,
        })
    }

    /// `status=failed,retrying` or `status` several times.
    fn states(&self) -> Result<Vec<State>, Problem> {
        let mut states = Vec::new();
        for word in self.0.iter().filter(|(name, _)| name == "status").flat_map(|(_, value)| value.split(','))
        {
            let known = State::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
            let unknown = || Problem::invalid(format!("parameter status: {word:?} is none of {known}"));
            states.push(State::parse(word.trim()).ok_or_else(unknown)?);
        }
        Ok(states)
    }
}

/// The place of a document in a list.
#[must_use]
pub fn cursor_of(key: &Key) -> String {
    BASE64URL_NOPAD.encode(key.to_string().as_bytes())
}

/// RFC 3339, or Unix milliseconds.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let milliseconds = text.parse::<i64>().ok().and_then(|number| Timestamp::from_millisecond(number).ok());
    let wrong = || {
        let hint = if text.contains(' ') { ": in an address + is written %2B" } else { "" };
        format!("{text:?} is neither RFC 3339 nor Unix milliseconds{hint}")
    };
    milliseconds.or_else(|| text.parse().ok()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_combine_and_states_may_be_several() {
        let query = Query::parse(
            "status=failed,retrying&status=sent&channel=hook&since=2026-01-02T00:00:00Z&until=5",
        );
        let filter = query.filter().unwrap();
        assert_eq!(filter.status, [State::Failed, State::Retrying, State::Sent]);
        assert_eq!(filter.channel.unwrap().as_str(), "hook");
        assert_eq!(filter.until.unwrap().as_millisecond(), 5);
    }

    #[test]
    fn bad_values_are_named() {
        for (query, named) in [
            ("status=done", "status"),
            ("limit=0", "limit"),
            ("limit=501", "limit"),
            ("limit=-2", "limit"),
            ("cursor=xyz", "cursor"),
            ("since=yesterday", "since"),
            ("kind=fax", "kind"),
            ("channel=a.b", "channel"),
        ] {
            let query = Query::parse(query);
            let problem = query.filter().err().or(query.limit().err()).or(query.cursor().err()).unwrap();
            assert!(problem.detail.contains(named), "{}", problem.detail);
        }
    }

    #[test]
    fn patterns_may_be_several_and_each_must_be_one() {
        let texts = |query: &str| {
            let patterns = Query::parse(query).patterns()?;
            Ok::<_, Problem>(patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(texts("").unwrap(), ["*"]);
        assert_eq!(texts("pattern=task.*&pattern=sla:**").unwrap(), ["task:*", "sla:**"]);
        assert!(Query::parse("pattern=a&pattern=b").only(&["pattern"]).is_ok());
        for query in ["pattern=", "pattern=a&pattern=b::c", &"pattern=a&".repeat(21)] {
            assert!(texts(query).unwrap_err().detail.contains("pattern"), "{query}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_an_error() {
        assert!(Query::parse("statuss=failed").only(&FILTERS).unwrap_err().detail.contains("statuss"));
        assert!(Query::parse("rule=a&rule=b").only(&FILTERS).is_err());
    }
}

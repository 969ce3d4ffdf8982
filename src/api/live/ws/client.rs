//! What clients of a WebSocket may say, and how much.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::query::Query;

/// Of one message.
pub const BYTES_MAX: usize = 4 * 1024;
/// Messages in [`WINDOW`].
const MESSAGES_MAX: usize = 20;
const WINDOW: Duration = Duration::from_secs(10);
/// Pings in a row that are not answered.
const UNANSWERED_MAX: u8 = 2;

crate::outcome::words! {
    /// What can be subscribed to.
    Topic {
        /// The inbox of this connection: it is from the start.
        Notifications = "notifications",
        Events = "events",
        Deliveries = "deliveries",
    }
}

/// What a client asks for.
#[derive(Debug)]
pub enum Asked {
    Ping,
    /// What was missed behind this place.
    Resume(String),
    /// What comes of a topic that passes the filters, behind this place or from now on.
    Subscribe(Topic, Query, Option<u64>),
    Unsubscribe(Topic),
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    after: Option<Value>,
    topic: Option<String>,
    /// The filters of a topic.
    #[serde(flatten)]
    filters: Map<String, Value>,
}

/// # Errors
/// A sentence that says what is wrong.
pub fn parse(text: &str) -> Result<Asked, String> {
    let wrong = "a message is a JSON object with a type, such as {\"type\":\"ping\"}";
    let message: Message = serde_json::from_str(text).map_err(|_| wrong.to_owned())?;
    match message.kind.as_str() {
        "ping" => Ok(Asked::Ping),
        "resume" => match message.after {
            Some(Value::String(after)) => Ok(Asked::Resume(after)),
            _ => Err("resume needs after: the last id that came, a string".to_owned()),
        },
        "subscribe" => {
            let topic = topic(message.topic)?;
            let after = message.after.map(|after| seq(&after)).transpose()?;
            let filters = message.filters.into_iter().map(|(name, value)| parameters(name, value));
            let filters = filters.collect::<Result<Vec<_>, _>>()?.concat();
            Ok(Asked::Subscribe(topic, Query::of(filters), after))
        }
        "unsubscribe" => Ok(Asked::Unsubscribe(topic(message.topic)?)),
        other => {
            Err(format!("{other:?} is no type of message: there are ping, resume, subscribe, unsubscribe"))
        }
    }
}

fn topic(asked: Option<String>) -> Result<Topic, String> {
    let asked = asked.unwrap_or_default();
    let known = || Topic::ALL.iter().map(|topic| topic.as_str()).collect::<Vec<_>>().join(", ");
    Topic::parse(&asked).ok_or_else(|| format!("there is no topic {asked:?}: there are {}", known()))
}

fn seq(after: &Value) -> Result<u64, String> {
    after
        .as_u64()
        .ok_or_else(|| format!("after is the seq of the last frame of its topic, a number: not {after}"))
}

/// A filter as the parameters of a query: a list is one of them several times.
fn parameters(name: String, value: Value) -> Result<Vec<(String, String)>, String> {
    let wrong = |value: &Value| format!("{name} is a text or a list of texts: not {value}");
    match value {
        Value::String(text) => Ok(vec![(name, text)]),
        Value::Array(texts) => {
            let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| wrong(value));
            texts.iter().map(|value| Ok((name.clone(), text(value)?))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(wrong(&value)),
    }
}

/// How much a client says, and whether it answers.
#[derive(Default)]
pub struct Manners {
    /// When its last messages came; empty for most.
    times: VecDeque<Instant>,
    unanswered: u8,
}

impl Manners {
    /// Notes a message. False when it is one too many.
    pub fn says(&mut self, now: Instant) -> bool {
        while self.times.front().is_some_and(|first| now.duration_since(*first) >= WINDOW) {
            self.times.pop_front();
        }
        self.times.push_back(now);
        self.times.len() <= MESSAGES_MAX
    }

    /// Notes a ping that is sent. False when those before were not answered.
    pub fn is_asked(&mut self) -> bool {
        let answers = self.unanswered < UNANSWERED_MAX;
        self.unanswered += 1;
        answers
    }

    /// Notes an answer; an answer to nothing is a message like others.
    pub fn answers(&mut self, now: Instant) -> bool {
        if std::mem::take(&mut self.unanswered) == 0 { self.says(now) } else { true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read_and_what_is_wrong_is_said() {
        assert!(matches!(parse(r#"{"type":"ping"}"#), Ok(Asked::Ping)));
        let resume = parse(r#"{"type":"resume","after":"12.7"}"#);
        assert!(matches!(resume, Ok(Asked::Resume(after)) if after == "12.7"));
        let subscribe =
            r#"{"type":"subscribe","topic":"events","pattern":["a:*","b:c"],"after":7,"workspace":"w"}"#;
        let Ok(Asked::Subscribe(Topic::Events, query, Some(7))) = parse(subscribe) else {
            panic!("{subscribe}")
        };
        assert_eq!(query.patterns().unwrap().len(), 2);
        assert_eq!(query.get("workspace"), Some("w"));
        let unsubscribe = parse(r#"{"type":"unsubscribe","topic":"deliveries"}"#);
        assert!(matches!(unsubscribe, Ok(Asked::Unsubscribe(Topic::Deliveries))));
        for (text, said) in [
            ("", "JSON object"),
            ("[]", "JSON object"),
            (r#"{"after":"1.1"}"#, "type"),
            (r#"{"type":"resume"}"#, "needs after"),
            (r#"{"type":"resume","after":12}"#, "a string"),
            (r#"{"type":"subscribe","topic":"weather"}"#, "notifications, events, deliveries"),
            (r#"{"type":"subscribe","topic":"events","after":"7"}"#, "a number: not \"7\""),
            (r#"{"type":"subscribe","topic":"events","pattern":{}}"#, "pattern is a text or a list of texts"),
            (r#"{"type":"subscribe","topic":"events","pattern":[1]}"#, "not 1"),
            (r#"{"type":"unsubscribe"}"#, "there is no topic"),
            (r#"{"type":"dance"}"#, "\"dance\""),
        ] {
            let detail = parse(text).unwrap_err();
            assert!(detail.contains(said), "{detail}");
        }
    }

    #[test]
    fn the_twenty_first_message_in_ten_seconds_is_one_too_many() {
        let (mut manners, start) = (Manners::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!((0..10).all(|_| manners.says(at(0))) && (0..10).all(|_| manners.says(at(5))));
        assert!(!manners.says(at(9)));
        let mut manners = Manners::default();
        assert!((0..20).all(|_| manners.says(at(0))));
        assert!(manners.says(at(10)), "the window is over");
    }

    #[test]
    fn two_pings_may_be_missed() {
        let (mut manners, now) = (Manners::default(), Instant::now());
        assert!(manners.is_asked() && manners.is_asked());
        assert!(manners.answers(now));
        assert!(manners.is_asked() && manners.is_asked() && !manners.is_asked());
    }

    #[test]
    fn an_answer_to_nothing_is_a_message() {
        let (mut manners, now) = (Manners::default(), Instant::now());
        assert!((0..20).all(|_| manners.answers(now)));
        assert!(!manners.answers(now));
    }
}

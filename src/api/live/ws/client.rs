//! What clients of a WebSocket may say, and how much.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

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
    }
}

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Ping,
    /// What was missed behind this place.
    Resume(String),
    Subscribe(Topic),
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    after: Option<String>,
    topic: Option<String>,
}

/// # Errors
/// A sentence that says what is wrong.
pub fn parse(text: &str) -> Result<Asked, String> {
    let message: Message = serde_json::from_str(text)
        .map_err(|error| format!("a message is a JSON object with a type: {error}"))?;
    match message.kind.as_str() {
        "ping" => Ok(Asked::Ping),
        "resume" => message
            .after
            .map(Asked::Resume)
            .ok_or_else(|| "resume needs after: the last id that came".to_owned()),
        "subscribe" => {
            let topic = message.topic.unwrap_or_default();
            let known = || Topic::ALL.iter().map(|topic| topic.as_str()).collect::<Vec<_>>().join(", ");
            Topic::parse(&topic)
                .map(Asked::Subscribe)
                .ok_or_else(|| format!("there is no topic {topic:?}: there are {}", known()))
        }
        other => Err(format!("{other:?} is no type of message: there are ping, resume, subscribe")),
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
        assert_eq!(parse(r#"{"type":"ping"}"#), Ok(Asked::Ping));
        assert_eq!(parse(r#"{"type":"resume","after":"12.7"}"#), Ok(Asked::Resume("12.7".to_owned())));
        let subscribe = r#"{"type":"subscribe","topic":"notifications","id":1}"#;
        assert_eq!(parse(subscribe), Ok(Asked::Subscribe(Topic::Notifications)));
        for (text, said) in [
            ("", "JSON object"),
            ("[]", "JSON object"),
            (r#"{"after":"1.1"}"#, "type"),
            (r#"{"type":"resume"}"#, "needs after"),
            (r#"{"type":"subscribe","topic":"weather"}"#, "notifications"),
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

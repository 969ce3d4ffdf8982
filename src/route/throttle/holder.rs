//! What the broker holds of a window: who opened it and those before it, and until when it lasts.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Entrant, Pass};

/// So long an event that is handed out again finds itself among those that opened an earlier window: as long as the broker
/// remembers ids. Every key lives this long in the broker, however short its window.
pub(super) const MEMORY: Duration = Duration::from_secs(120);
/// So many of those are kept.
const EARLIER_MAX: usize = 32;

/// What a window holds: who opened it, and until when it lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Holder {
    /// The event's place in its stream: a redelivered event finds itself, a republished one does not.
    pub(super) event: String,
    pub(super) until_ms: i64,
    /// What was held back since the window before it was opened.
    #[serde(default)]
    pub(super) held_back: u64,
    /// Who opened the windows before this one, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) earlier: Vec<Earlier>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Earlier {
    pub(super) event: String,
    pub(super) until_ms: i64,
    #[serde(default)]
    pub(super) held_back: u64,
}

impl Holder {
    pub(super) fn opened_by(&self, event: &str) -> bool {
        self.event == event || self.earlier.iter().any(|earlier| earlier.event == event)
    }

    pub(super) fn answer(&self, entrant: Entrant<'_>) -> Pass {
        if self.event == entrant.event {
            return Pass::Open(self.held_back);
        }
        if let Some(earlier) = self.earlier.iter().find(|earlier| earlier.event == entrant.event) {
            return Pass::Open(earlier.held_back);
        }
        Pass::Closed(Timestamp::from_millisecond(self.until_ms).unwrap_or(Timestamp::MAX))
    }

    pub(super) fn holds_back(&self, entrant: Entrant<'_>) -> bool {
        self.decides(entrant) && matches!(self.answer(entrant), Pass::Closed(_))
    }

    /// Who opened the window that this one falls into.
    pub(super) fn opener<'a>(&'a self, entrant: Entrant<'a>) -> &'a str {
        if self.opened_by(entrant.event) {
            return entrant.event;
        }
        let at = entrant.stored_at.as_millisecond();
        let earlier = self.earlier.iter().rev().find(|earlier| earlier.until_ms > at);
        earlier.map_or(&self.event, |earlier| &earlier.event)
    }

    /// True when the window has an answer for this one: it came before the window's end, or opened it or one before it.
    pub(super) fn decides(&self, entrant: Entrant<'_>) -> bool {
        self.until_ms > entrant.stored_at.as_millisecond() || self.opened_by(entrant.event)
    }

    /// The next window, opened by another one.
    pub(super) fn next(self, event: &str, until_ms: i64, held_back: u64, now: Timestamp) -> Self {
        let forgotten = now.as_millisecond() - i64::try_from(MEMORY.as_millis()).unwrap_or(i64::MAX);
        let last = Earlier { event: self.event, until_ms: self.until_ms, held_back: self.held_back };
        let mut earlier = vec![last];
        earlier.extend(self.earlier);
        earlier.retain(|earlier| earlier.until_ms > forgotten);
        earlier.truncate(EARLIER_MAX);
        Self { event: event.to_owned(), until_ms, held_back, earlier }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn an_event_that_comes_again_is_answered_as_the_first_time() {
        let first = Holder { event: "e1".to_owned(), until_ms: 2_000, held_back: 0, earlier: Vec::new() };
        let second = first.clone().next("e9", 12_000, 7, at(10_000));
        let entrant = |event, ms| Entrant { event, stored_at: at(ms) };
        // Whoever opened a window that is long over was sent.
        assert!(second.decides(entrant("e1", 0)));
        assert_eq!(second.answer(entrant("e1", 0)), Pass::Open(0));
        assert_eq!(second.answer(entrant("e9", 10_000)), Pass::Open(7));
        // Whoever was held back stays so, by its own window or by one after it.
        assert!(first.decides(entrant("e2", 1_999)));
        assert_eq!(first.answer(entrant("e2", 1_999)), Pass::Closed(at(2_000)));
        assert!(second.decides(entrant("e2", 1_999)));
        // And it belongs to the window that it fell into.
        assert_eq!((first.opener(entrant("e2", 1_999)), second.opener(entrant("e2", 1_999))), ("e1", "e1"));
        assert_eq!((second.opener(entrant("e1", 0)), second.opener(entrant("e4", 11_000))), ("e1", "e9"));
        // What came after the window's end opens the next one.
        assert!(!first.decides(entrant("e3", 2_000)));
    }

    #[test]
    fn the_memory_has_bounds() {
        let mut holder = Holder { event: "e0".to_owned(), until_ms: 10, held_back: 0, earlier: Vec::new() };
        for number in 1..100 {
            holder = holder.next(&format!("e{number}"), number * 10, 0, at(number * 10));
        }
        assert_eq!(holder.earlier.len(), EARLIER_MAX);
        assert!(holder.opened_by("e98") && !holder.opened_by("e1"));
        let later = holder.next("e100", 900_000_000, 0, at(890_000_000));
        assert!(later.earlier.is_empty());
    }
}

//! Windows in memory, for events that are only thought through: tests of rules, without a broker and without a clock.
//!
//! The decision is the fleet's own; only who remembers it differs. Here a window begins when its event was stored, since
//! nothing is ever routed late.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Entrant, Holder, Pass};
use crate::outcome::Reason;
use crate::route::windows::Window;
use crate::route::{Firing, Step};

/// The windows that were opened so far.
#[derive(Debug, Default)]
pub struct Rehearsal {
    taken: HashMap<Vec<String>, Holder>,
    held_back: HashMap<Vec<String>, u64>,
}

/// What holds a firing back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    pub reason: Reason,
    pub until: Timestamp,
}

impl Rehearsal {
    /// Asks for all windows of a firing, in their order. One that goes through stands for what was held back before it.
    pub fn enter(&mut self, firing: &mut Firing, entrant: Entrant<'_>) -> Option<Closed> {
        for window in &firing.windows {
            if self.taken.get(&window.key).is_some_and(|holder| holder.holds_back(entrant))
                && let Pass::Closed(until) = self.pass(window, entrant)
            {
                return Some(Closed { reason: window.reason, until });
            }
        }
        let mut held_back = 0;
        for window in &firing.windows {
            match self.pass(window, entrant) {
                Pass::Open(before) => held_back += before,
                Pass::Closed(until) => return Some(Closed { reason: window.reason, until }),
            }
        }
        firing.stand_for(held_back);
        for index in 0..firing.steps.len() {
            if let Some(window) = firing.inbox_window(&firing.steps[index])
                && let Pass::Closed(_) = self.pass(&window, entrant)
            {
                firing.steps[index] = Step::Suppress(firing.steps[index].delivery().clone(), window.reason);
            }
        }
        None
    }

    fn pass(&mut self, window: &Window, entrant: Entrant<'_>) -> Pass {
        let holder = match self.taken.remove(&window.key) {
            Some(holder) if holder.decides(entrant) => holder,
            before => self.opened(window, before, entrant),
        };
        let pass = holder.answer(entrant);
        self.taken.insert(window.key.clone(), holder);
        if window.reason == Reason::Cooldown {
            let count = self.held_back.entry(window.key.clone()).or_default();
            match pass {
                Pass::Open(taken) => *count = count.saturating_sub(taken),
                Pass::Closed(_) => *count += 1,
            }
        }
        pass
    }

    fn opened(&self, window: &Window, before: Option<Holder>, entrant: Entrant<'_>) -> Holder {
        let length = i64::try_from(window.length.as_millis()).unwrap_or(i64::MAX);
        let until_ms = entrant.stored_at.as_millisecond().saturating_add(length);
        let held_back = self.held_back.get(&window.key).copied().unwrap_or_default();
        match before {
            Some(before) => before.next(entrant.event, until_ms, held_back, entrant.stored_at),
            None => Holder { event: entrant.event.to_owned(), until_ms, held_back, earlier: Vec::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn window(reason: Reason) -> Firing {
        let window = Window { key: vec!["k".to_owned()], length: Duration::from_secs(10), reason };
        Firing { windows: vec![window], group: None, inbox: None, steps: Vec::new() }
    }

    #[test]
    fn what_is_held_back_is_counted_for_the_next_one_that_goes_through() {
        let mut rehearsal = Rehearsal::default();
        let mut enter = |event, second| {
            let stored_at = Timestamp::from_second(second).unwrap();
            rehearsal.pass(&window(Reason::Cooldown).windows[0], Entrant { event, stored_at })
        };
        let end = Timestamp::from_second(10).unwrap();
        assert_eq!(enter("a", 0), Pass::Open(0));
        assert_eq!(enter("b", 5), Pass::Closed(end));
        assert_eq!(enter("a", 6), Pass::Open(0), "handed out again");
        assert_eq!(enter("c", 9), Pass::Closed(end));
        assert_eq!(enter("d", 10), Pass::Open(2));
        assert_eq!(enter("e", 21), Pass::Open(0));
    }

    #[test]
    fn what_the_cooldown_holds_back_was_not_said_and_is_no_duplicate_later() {
        let mut rehearsal = Rehearsal::default();
        let window = |key: &str, reason, seconds| Window {
            key: vec![key.to_owned()],
            length: Duration::from_secs(seconds),
            reason,
        };
        let mut enter = |event, key, second| {
            let windows = vec![window(key, Reason::Duplicate, 3_600), window("rule", Reason::Cooldown, 60)];
            let mut firing = Firing { windows, group: None, inbox: None, steps: Vec::new() };
            let stored_at = Timestamp::from_second(second).unwrap();
            rehearsal.enter(&mut firing, Entrant { event, stored_at }).map(|closed| closed.reason)
        };
        assert_eq!(enter("a", "k0", 0), None);
        assert_eq!(enter("b", "k1", 10), Some(Reason::Cooldown));
        assert_eq!(enter("c", "k0", 20), Some(Reason::Duplicate));
        assert_eq!(enter("d", "k1", 120), None);
    }

    #[test]
    fn the_first_closed_window_says_why() {
        let mut rehearsal = Rehearsal::default();
        let entrant = |event| Entrant { event, stored_at: Timestamp::UNIX_EPOCH };
        assert_eq!(rehearsal.enter(&mut window(Reason::Duplicate), entrant("a")), None);
        let closed = rehearsal.enter(&mut window(Reason::Duplicate), entrant("b")).unwrap();
        assert_eq!(closed.reason, Reason::Duplicate);
    }
}

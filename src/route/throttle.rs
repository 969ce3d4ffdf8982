//! Cooldowns, held by the whole fleet: a window is a message that only the first publish can store.
//!
//! The message lives until its TTL, which has whole seconds only and is no more than garbage collection: the exact
//! end of the window is in its value. The client's own TTL call for buckets is not used: it makes the second window
//! permanent.
//!
//! An event that is handed out again is answered as it was the first time, also when its window is over: what was sent
//! must not be called suppressed afterwards, nor the other way round. So a window holds back whatever was stored before
//! its end, whenever that is routed, and remembers who opened those before it.
//!
//! What a cooldown holds back is counted in the broker, each event once; who opens the next window takes the count along.

pub mod rehearsal;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::windows::{Group, Window};
use crate::bus::{Bus, BusError, claim, count};
use crate::clock;
use crate::ids::WorkspaceId;
use crate::outcome::Reason;

/// Windows remembered in this process, so that a busy key costs no round trip.
const REMEMBERED_MAX: usize = 100_000;

/// So long an event that is handed out again finds itself among those that opened an earlier window: as long as the broker
/// remembers ids. Every key lives this long in the broker, however short its window.
const MEMORY: Duration = Duration::from_secs(120);
/// So many of those are kept.
const EARLIER_MAX: usize = 32;

/// What a window holds: who opened it, and until when it lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Holder {
    /// The event's place in its stream: a redelivered event finds itself, a republished one does not.
    event: String,
    until_ms: i64,
    /// What was held back since the window before it was opened.
    #[serde(default)]
    held_back: u64,
    /// Who opened the windows before this one, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<Earlier>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Earlier {
    event: String,
    until_ms: i64,
    #[serde(default)]
    held_back: u64,
}

/// Who asks for a window.
#[derive(Debug, Clone, Copy)]
pub struct Entrant<'a> {
    /// The event's place in its stream.
    pub event: &'a str,
    /// When the broker stored it.
    pub stored_at: Timestamp,
}

/// Asks for windows, and remembers those that are taken.
#[derive(Default)]
pub struct Throttle {
    taken: Mutex<HashMap<String, Holder>>,
}

/// Whether the event may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// It goes out, and stands for so many that were held back before it.
    Open(u64),
    /// Another event holds the window until then.
    Closed(Timestamp),
}

/// What all windows of a firing say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// It goes out, and stands for so many that were held back before it.
    Open(u64),
    /// The window of this reason holds it back until then.
    Closed(Reason, Timestamp),
}

impl Throttle {
    /// Asks for all windows of a firing, in their order. What a later one holds back does not open those before it.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub async fn enter_all(
        &self,
        bus: &Bus,
        workspace: &WorkspaceId,
        windows: &[Window],
        entrant: Entrant<'_>,
    ) -> Result<Passes, BusError> {
        let several = windows.len() > 1;
        for window in windows.iter().filter(|_| several) {
            if self.holds_back(bus, workspace, window, entrant).await?
                && let Pass::Closed(until) = self.enter(bus, workspace, window, entrant).await?
            {
                return Ok(Passes::Closed(window.reason, until));
            }
        }
        let mut held_back = 0;
        for window in windows {
            match self.enter(bus, workspace, window, entrant).await? {
                Pass::Open(before) => held_back += before,
                Pass::Closed(until) => return Ok(Passes::Closed(window.reason, until)),
            }
        }
        Ok(Passes::Open(held_back))
    }

    /// True when the window is closed for this event as it stands.
    async fn holds_back(
        &self,
        bus: &Bus,
        workspace: &WorkspaceId,
        window: &Window,
        entrant: Entrant<'_>,
    ) -> Result<bool, BusError> {
        let key: Vec<&str> = window.key.iter().map(String::as_str).collect();
        let subject = bus.names.throttle(workspace, &key);
        let holder = match self.remembered(&subject, entrant) {
            Some(holder) => Some(holder),
            None => claim::last::<Holder>(bus, &subject).await?.map(|(holder, _)| holder),
        };
        Ok(holder.is_some_and(|holder| holder.holds_back(entrant)))
    }

    /// Opens the window for this event, or says who is in it.
    ///
    /// # Errors
    /// When the broker did not answer; asking again is safe.
    pub async fn enter(
        &self,
        bus: &Bus,
        workspace: &WorkspaceId,
        window: &Window,
        entrant: Entrant<'_>,
    ) -> Result<Pass, BusError> {
        let key: Vec<&str> = window.key.iter().map(String::as_str).collect();
        let subject = bus.names.throttle(workspace, &key);
        // Nobody wants to know how often the same was said.
        let counter = (window.reason == Reason::Cooldown).then(|| bus.names.held_back(workspace, &key));
        let holder = if let Some(holder) = self.remembered(&subject, entrant) {
            holder
        } else {
            let holder = take(bus, &subject, counter.as_deref(), entrant, window.length).await?;
            self.remember(subject, holder.clone());
            holder
        };
        let pass = holder.answer(entrant);
        if let Some(counter) = counter {
            settle(bus, counter, pass, entrant).await?;
        }
        Ok(pass)
    }

    /// The id of the group that this event falls into.
    ///
    /// # Errors
    /// When the broker did not answer; asking again is safe.
    pub async fn join(
        &self,
        bus: &Bus,
        workspace: &WorkspaceId,
        group: &Group,
        entrant: Entrant<'_>,
    ) -> Result<String, BusError> {
        let Some(length) = group.length else { return Ok(group.id(workspace, "")) };
        let key: Vec<&str> = group.key.iter().map(String::as_str).collect();
        let subject = bus.names.throttle(workspace, &key);
        let holder = if let Some(holder) = self.remembered(&subject, entrant) {
            holder
        } else {
            let holder = take(bus, &subject, None, entrant, length).await?;
            self.remember(subject, holder.clone());
            holder
        };
        Ok(group.id(workspace, holder.opener(entrant)))
    }

    fn remembered(&self, subject: &str, entrant: Entrant<'_>) -> Option<Holder> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.get(subject).filter(|holder| holder.decides(entrant)).cloned()
    }

    fn remember(&self, subject: String, holder: Holder) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= REMEMBERED_MAX {
            let now = clock::now().as_millisecond();
            taken.retain(|_, holder| holder.until_ms > now);
            if taken.len() >= REMEMBERED_MAX {
                taken.clear();
            }
        }
        taken.insert(subject, holder);
    }
}

impl Holder {
    fn opened_by(&self, event: &str) -> bool {
        self.event == event || self.earlier.iter().any(|earlier| earlier.event == event)
    }

    fn answer(&self, entrant: Entrant<'_>) -> Pass {
        if self.event == entrant.event {
            return Pass::Open(self.held_back);
        }
        if let Some(earlier) = self.earlier.iter().find(|earlier| earlier.event == entrant.event) {
            return Pass::Open(earlier.held_back);
        }
        Pass::Closed(Timestamp::from_millisecond(self.until_ms).unwrap_or(Timestamp::MAX))
    }

    fn holds_back(&self, entrant: Entrant<'_>) -> bool {
        self.decides(entrant) && matches!(self.answer(entrant), Pass::Closed(_))
    }

    /// Who opened the window that this one falls into.
    fn opener<'a>(&'a self, entrant: Entrant<'a>) -> &'a str {
        if self.opened_by(entrant.event) {
            return entrant.event;
        }
        let at = entrant.stored_at.as_millisecond();
        let earlier = self.earlier.iter().rev().find(|earlier| earlier.until_ms > at);
        earlier.map_or(&self.event, |earlier| &earlier.event)
    }

    /// True when the window has an answer for this one: it came before the window's end, or opened it or one before it.
    fn decides(&self, entrant: Entrant<'_>) -> bool {
        self.until_ms > entrant.stored_at.as_millisecond() || self.opened_by(entrant.event)
    }

    /// The next window, opened by another one.
    fn next(self, event: &str, until_ms: i64, held_back: u64, now: Timestamp) -> Self {
        let forgotten = now.as_millisecond() - i64::try_from(MEMORY.as_millis()).unwrap_or(i64::MAX);
        let last = Earlier { event: self.event, until_ms: self.until_ms, held_back: self.held_back };
        let mut earlier = vec![last];
        earlier.extend(self.earlier);
        earlier.retain(|earlier| earlier.until_ms > forgotten);
        earlier.truncate(EARLIER_MAX);
        Self { event: event.to_owned(), until_ms, held_back, earlier }
    }
}

/// Counts what is held back, and takes from the count what a window's opener stands for.
async fn settle(bus: &Bus, counter: String, pass: Pass, entrant: Entrant<'_>) -> Result<(), BusError> {
    match pass {
        Pass::Closed(_) => count::add(bus, counter.clone(), 1, &format!("{counter}/{}", entrant.event)).await,
        Pass::Open(0) => Ok(()),
        Pass::Open(held_back) => {
            let taken = i64::try_from(held_back).unwrap_or(i64::MAX);
            count::add(bus, counter.clone(), -taken, &format!("{counter}/{}", entrant.event)).await
        }
    }
}

/// Opens a window unless one answers already; gives back the one that does.
async fn take(
    bus: &Bus,
    subject: &str,
    counter: Option<&str>,
    entrant: Entrant<'_>,
    length: Duration,
) -> Result<Holder, BusError> {
    let now = clock::now();
    let length_ms = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    let until_ms = now.as_millisecond().saturating_add(length_ms);
    let first = Holder { event: entrant.event.to_owned(), until_ms, held_back: 0, earlier: Vec::new() };
    let first = Holder { held_back: held_back(bus, counter).await?, ..first };
    let (mut mine, mut expected) = (first.clone(), 0);
    let keep = length.max(MEMORY) + Duration::from_secs(2);
    for _ in 0..claim::LOOKS_MAX {
        match claim::put(bus, subject, &mine, Some(keep), expected).await {
            Ok(_) => return Ok(mine),
            Err(BusError::Conflict) => {}
            Err(error) => return Err(error),
        }
        match claim::last::<Holder>(bus, subject).await? {
            Some((holder, _)) if holder.decides(entrant) => return Ok(holder),
            // Its time is over and the broker has not collected it yet: replace exactly that one.
            Some((holder, sequence)) => {
                mine = holder.next(entrant.event, until_ms, held_back(bus, counter).await?, now);
                expected = sequence;
            }
            None => {
                (mine, expected) = (first.clone(), 0);
                claim::again().await;
            }
        }
    }
    Err(claim::contended())
}

/// Gives a window back that nothing came of: what opened it could not be stored.
///
/// # Errors
/// When the broker did not answer.
pub async fn leave(bus: &Bus, workspace: &WorkspaceId, window: &Window, event: &str) -> Result<(), BusError> {
    let key: Vec<&str> = window.key.iter().map(String::as_str).collect();
    let subject = bus.names.throttle(workspace, &key);
    let Some((holder, sequence)) = claim::last::<Holder>(bus, &subject).await? else { return Ok(()) };
    if holder.event != event {
        return Ok(());
    }
    let mut earlier = holder.earlier.into_iter();
    let Some(Earlier { event, until_ms, held_back }) = earlier.next() else {
        return claim::forget(bus, subject).await;
    };
    let before = Holder { event, until_ms, held_back, earlier: earlier.collect() };
    match claim::put(bus, &subject, &before, Some(MEMORY), sequence).await {
        Ok(_) | Err(BusError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Where a window stands, for whoever asks without entering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Until when it is closed; None: it is open.
    pub until: Option<Timestamp>,
    /// The one who asks opened it.
    pub own: bool,
    /// What was held back since something went through.
    pub held_back: u64,
}

/// An event's place in its stream, as windows remember it.
#[must_use]
pub fn place(epoch: &str, sequence: u64, id: &str) -> String {
    format!("{epoch}/{sequence}/{id}")
}

/// Looks at a window, in the name of a stored event (its [`place`]) or of one that never was.
///
/// # Errors
/// When the broker did not answer.
pub async fn look(
    bus: &Bus,
    workspace: &WorkspaceId,
    window: &Window,
    event: Option<&str>,
) -> Result<Standing, BusError> {
    let key: Vec<&str> = window.key.iter().map(String::as_str).collect();
    let now = clock::now().as_millisecond();
    let holder = claim::last::<Holder>(bus, &bus.names.throttle(workspace, &key)).await?;
    let holder = holder.map(|(holder, _)| holder).filter(|holder| holder.until_ms > now);
    let own = holder.as_ref().is_some_and(|holder| event.is_some_and(|event| holder.opened_by(event)));
    let counter = (window.reason == Reason::Cooldown).then(|| bus.names.held_back(workspace, &key));
    let held_back = held_back(bus, counter.as_deref()).await?;
    let until = holder.and_then(|holder| Timestamp::from_millisecond(holder.until_ms).ok());
    Ok(Standing { until, own, held_back })
}

async fn held_back(bus: &Bus, counter: Option<&str>) -> Result<u64, BusError> {
    match counter {
        Some(counter) => Ok(u64::try_from(count::value(bus, counter).await?).unwrap_or(0)),
        None => Ok(0),
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

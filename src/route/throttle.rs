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

mod holder;
pub mod rehearsal;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use self::holder::{Earlier, Holder, MEMORY};
use super::windows::{Group, Window};
use crate::bus::{Bus, BusError, claim, count};
use crate::clock;
use crate::ids::WorkspaceId;
use crate::outcome::Reason;
use jiff::Timestamp;

/// Windows remembered in this process, so that a busy key costs no round trip.
const REMEMBERED_MAX: usize = 100_000;

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

//! Finding an event of the past by its id, in a stream that has no index by ids.
//!
//! It is looked for backwards in slices of time, since most questions are about what just happened; a slice is read
//! forwards. Workspace and type make the broker send less, and there is a bound on what is looked at in all.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Explanation, explained};
use crate::bus::consumer::Received;
use crate::bus::directory::Directory;
use crate::bus::reader::{self, From, Reader};
use crate::bus::{Bus, BusError, StreamName, topology};
use crate::event::Event;
use crate::ids::WorkspaceId;
use crate::route::World;
use crate::route::carried::Carriers;
use crate::route::handler::{decoded, through};
use crate::route::texts::Texts;
use crate::route::throttle;

/// Events asked for at once.
const BATCH: usize = 1_000;

/// Which event.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub id: String,
    pub workspace: Option<WorkspaceId>,
    pub source: Option<String>,
    /// The type that its subject says.
    pub on_subject_of: Option<String>,
    /// The slices: each reaches from its moment to the one before it, the first one to `until` or to the end.
    pub since: Vec<Timestamp>,
    pub until: Option<Timestamp>,
    /// So many events are looked at.
    pub looks_max: u64,
}

/// An event as it lies in the stream.
#[derive(Debug)]
pub struct Past {
    pub event: Event,
    pub message: Received,
}

/// What a search came to.
#[derive(Debug, Default)]
pub struct Search {
    /// All that the first slice holds which holds any, oldest first.
    pub found: Vec<Past>,
    pub looked_at: u64,
    /// The bound was reached before the end.
    pub bounded: bool,
}

/// What a stored event is held against: everything as it is now.
pub struct Present {
    pub bus: Bus,
    pub directory: Arc<Directory>,
    pub texts: Arc<Texts>,
}

/// The slices for an event of which only the id is known.
#[must_use]
pub fn slices(now: Timestamp) -> Vec<Timestamp> {
    let ago =
        |hours: i64| now.checked_sub(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::UNIX_EPOCH);
    vec![ago(1), ago(6), ago(24), ago(72), Timestamp::UNIX_EPOCH]
}

impl Present {
    /// Looks for an event, and tells how many were looked at so far.
    ///
    /// # Errors
    /// When the broker does not answer, or there is no stream of events.
    pub async fn find(&self, wanted: &Wanted, mut progress: impl FnMut(u64)) -> Result<Search, BusError> {
        let end = topology::stream(&self.bus, StreamName::Events).await?.cached_info().state.last_sequence;
        let mut slice = Slice {
            bus: &self.bus,
            epoch: reader::epoch(&self.bus, StreamName::Events).await?.into(),
            wanted,
            before: end + 1,
            search: Search::default(),
        };
        let filter = self.bus.names.event_filter(wanted.workspace.as_ref(), wanted.on_subject_of.as_deref());
        for since in &wanted.since {
            let from = From::Time(*since);
            let mut reader = Reader::open(&self.bus, StreamName::Events, filter.clone(), from).await?;
            slice.read(&mut reader, &mut progress).await?;
            if !slice.search.found.is_empty() || slice.search.bounded {
                break;
            }
        }
        Ok(slice.search)
    }

    /// Holds a stored event against what is in force, at a moment; None: when the broker stored it.
    ///
    /// # Errors
    /// When the broker does not say how the windows stand.
    pub async fn explain(&self, past: &Past, at: Option<Timestamp>) -> Result<Explanation, BusError> {
        let Past { event, message } = past;
        let explanation = self.explain_at(event, at.unwrap_or(message.stored_at), Some(message)).await?;
        Ok(Explanation { event: Some(event.reference()), stored_at: Some(message.stored_at), ..explanation })
    }

    /// Holds any event against what is in force, at a moment.
    ///
    /// # Errors
    /// As [`Self::explain`].
    pub async fn explain_at(
        &self,
        event: &Event,
        at: Timestamp,
        message: Option<&Received>,
    ) -> Result<Explanation, BusError> {
        let snapshot = self.directory.snapshot();
        let place = message.map(|message| throttle::place(&message.epoch, message.sequence, &event.id));
        let through = message.and_then(through);
        let (scopes, carried) = snapshot.scopes_of(event, through, &Carriers::default());
        let (rules, channels, texts) = (&snapshot.rules, &snapshot.channels, &*self.texts);
        let world = World { rules, scopes: &scopes, channels, texts, at };
        let explanation = explained(&self.bus, event, world, place.as_deref()).await?;
        Ok(explanation.of_carried(carried.as_deref()))
    }
}

/// One pass over a part of the stream.
struct Slice<'a> {
    bus: &'a Bus,
    epoch: Arc<str>,
    wanted: &'a Wanted,
    /// What has this place or a later one was looked at already, or came after the question.
    before: u64,
    search: Search,
}

impl Slice<'_> {
    async fn read(&mut self, reader: &mut Reader, progress: &mut impl FnMut(u64)) -> Result<(), BusError> {
        let (end, mut first) = (self.before, None);
        let mut more = reader.pending_at_start > 0;
        while more {
            let entries = reader.next(BATCH).await?;
            // Nothing comes when what was counted has expired meanwhile.
            more = entries.last().is_some_and(|last| last.pending > 0);
            for entry in entries {
                let late = self.wanted.until.is_some_and(|until| entry.stored_at > until);
                if entry.sequence >= end || late {
                    more = false;
                    break;
                }
                if self.search.looked_at >= self.wanted.looks_max {
                    self.search.bounded = true;
                    return Ok(());
                }
                first = first.or(Some(entry.sequence));
                self.look(entry);
            }
            progress(self.search.looked_at);
        }
        self.before = first.unwrap_or(end);
        Ok(())
    }

    fn look(&mut self, entry: reader::Entry) {
        self.search.looked_at += 1;
        let message = Received::once_more(Arc::clone(&self.epoch), entry);
        // What is no event is among the dead letters.
        let Ok(event) = decoded(self.bus, &message) else { return };
        let source = self.wanted.source.as_ref();
        if event.id == self.wanted.id && source.is_none_or(|source| *source == event.source) {
            self.search.found.push(Past { event, message });
        }
    }
}

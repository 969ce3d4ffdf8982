//! A walk through a stream, from a place to the end that it had at the start, as slowly as its owner likes.
//!
//! The broker forgets a reader that asks for nothing for a while; a walk that rested too long goes on with a new one.

use std::time::{Duration, Instant};

use super::reader::{Entry, From, Reader};
use super::{Bus, BusError, StreamName};

/// Well before the broker forgets a reader.
const REST_MAX: Duration = Duration::from_secs(15);

pub struct Walk {
    bus: Bus,
    stream: StreamName,
    filter: String,
    /// Messages asked for at once.
    ask: usize,
    reader: Reader,
    asked_at: Instant,
    /// The place of the last message.
    last: u64,
    /// How many there were at the start.
    pub pending: u64,
    more: bool,
}

impl Walk {
    /// # Errors
    /// When the broker refuses or does not answer.
    pub async fn open(
        bus: &Bus,
        (stream, filter): (StreamName, String),
        from: From,
        ask: usize,
    ) -> Result<Self, BusError> {
        let reader = Reader::open(bus, stream, filter.clone(), from).await?.asking(ask);
        let (pending, asked_at) = (reader.pending_at_start, Instant::now());
        let (bus, more) = (bus.clone(), pending > 0);
        Ok(Self { bus, stream, filter, ask, reader, asked_at, last: 0, pending, more })
    }

    /// What comes next; None at the end.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, BusError> {
        if self.last > 0 && self.more && self.asked_at.elapsed() > REST_MAX {
            let from = From::Sequence(self.last + 1);
            let reader = Reader::open(&self.bus, self.stream, self.filter.clone(), from).await?;
            self.reader = reader.asking(self.ask);
            self.more = self.reader.pending_at_start > 0;
        }
        if !self.more {
            return Ok(None);
        }
        let entries = self.reader.next(self.ask).await?;
        self.asked_at = Instant::now();
        // Nothing comes when what was counted has expired or was removed meanwhile.
        self.more = entries.last().is_some_and(|last| last.pending > 0);
        self.last = entries.last().map_or(self.last, |last| last.sequence);
        Ok(Some(entries))
    }
}

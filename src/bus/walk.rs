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
    /// Where it goes on.
    from: From,
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
        Ok(Self { bus, stream, filter, ask, reader, asked_at, from, pending, more })
    }

    /// What comes next; None at the end. The broker says where that is: an answer that is late, and so empty, is not the end.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, BusError> {
        while self.more {
            if self.asked_at.elapsed() > REST_MAX {
                self.begin_again().await?;
                continue;
            }
            let entries = self.reader.next(self.ask).await?;
            self.asked_at = Instant::now();
            let Some(last) = entries.last() else {
                self.begin_again().await?;
                continue;
            };
            self.more = last.pending > 0;
            self.from = From::Sequence(last.sequence + 1);
            return Ok(Some(entries));
        }
        Ok(None)
    }

    /// With a new reader, where it stands.
    async fn begin_again(&mut self) -> Result<(), BusError> {
        let reader = Reader::open(&self.bus, self.stream, self.filter.clone(), self.from).await?;
        self.reader = reader.asking(self.ask);
        (self.more, self.asked_at) = (self.reader.pending_at_start > 0, Instant::now());
        Ok(())
    }
}

//! Where a client stands in which stream of the broker.

use crate::bus::{Bus, BusError, StreamName, reader, topology};

pub struct Place {
    pub stream: StreamName,
    /// The stream's creation: one made anew counts from one again.
    pub epoch: String,
    /// The last sequence that was read.
    pub last: u64,
    /// Something between what was asked for and this place is no longer there.
    pub gap: bool,
}

impl Place {
    /// Behind `resume`, or behind the stream's end.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn find(bus: &Bus, stream: StreamName, resume: Option<u64>) -> Result<Self, BusError> {
        let epoch = reader::epoch(bus, stream).await?;
        let info = topology::stream(bus, stream).await?;
        let state = &info.cached_info().state;
        let (last, gap) = match resume {
            None => (state.last_sequence, false),
            // An id of a stream that was made anew meanwhile, or that lost its end.
            Some(id) if id > state.last_sequence => (state.last_sequence, true),
            Some(id) => (id, id + 1 < state.first_sequence),
        };
        Ok(Self { stream, epoch, last, gap })
    }

    /// The same place after the stream was out of sight.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn again(&self, bus: &Bus) -> Result<Self, BusError> {
        let found = Self::find(bus, self.stream, Some(self.last)).await?;
        // Everything in a stream made anew is new to this client.
        if found.epoch == self.epoch { Ok(found) } else { Ok(Self { last: 0, gap: true, ..found }) }
    }
}

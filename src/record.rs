//! The recorder: makes SQL from the record stream, exactly once, by keeping its position where the rows are.
//!
//! One transaction holds a batch's rows and the step of the position; whoever loses that step drops its batch and reads
//! on from where the winner stands. Several may run: a standby works as soon as the position stops moving.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::bus::reader::{self, Entry, From, Reader};
use crate::bus::{Bus, BusError, StreamName, topology};
use crate::clock;
use crate::config::Keep;
use crate::health::Pulse;
use crate::metrics;
use crate::outcome::Outcome;
use crate::store::record::{Position, Recorded};
use crate::store::{Store, StoreError};

/// Outcomes of one transaction at most.
const BATCH_MAX: usize = 1_000;
const AFTER_TROUBLE: Duration = Duration::from_millis(500);
/// A standby looks this often; a position that stood still for so long belongs to nobody.
const STANDBY_LOOK: Duration = Duration::from_millis(150);

/// Why the recorder starts over.
enum Trouble {
    Bus(BusError),
    Store(StoreError),
    /// Another recorder wrote first.
    LostRace,
}

pub struct Recorder {
    bus: Bus,
    store: Store,
    keep: Keep,
    pulse: Pulse,
}

impl Recorder {
    #[must_use]
    pub fn new(bus: Bus, store: Store, keep: Keep, pulse: Pulse) -> Self {
        Self { bus, store, keep, pulse }
    }

    /// Records until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.record_for_ever() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn record_for_ever(&self) {
        loop {
            match self.record_until_trouble().await {
                Trouble::LostRace => {
                    tracing::info!("another recorder is at work: standing by");
                    self.stand_by().await;
                }
                Trouble::Bus(error) => {
                    self.pulse.trouble();
                    tracing::warn!(%error, "recording is interrupted");
                    clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
                }
                Trouble::Store(error) => {
                    self.pulse.trouble();
                    tracing::warn!(%error, "the database does not take outcomes at the moment; they wait in the broker");
                    clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
                }
            }
        }
    }

    async fn record_until_trouble(&self) -> Trouble {
        match self.try_record().await {
            Ok(never) => match never {},
            Err(trouble) => trouble,
        }
    }

    async fn try_record(&self) -> Result<std::convert::Infallible, Trouble> {
        let mut position = self.position().await?;
        // The whole stream: the position must reach its last sequence, which is what the API compares it with.
        let everything = String::new();
        let mut reader =
            Reader::open(&self.bus, StreamName::Records, everything, From::Sequence(position.seq + 1))
                .await?;
        metrics::record_lag(reader.pending_at_start);
        loop {
            let entries = reader.next(BATCH_MAX).await?;
            if let Some(last) = entries.last() {
                let lag = last.pending;
                position = self.record(&position, &entries, lag).await?;
            }
            self.pulse.beat();
        }
    }

    async fn record(&self, from: &Position, entries: &[Entry], lag: u64) -> Result<Position, Trouble> {
        let outcomes: Vec<Outcome> = entries.iter().filter_map(decode).collect();
        let to = entries.last().map_or(from.seq, |last| last.sequence);
        let started = Instant::now();
        match self.store.record(from, to, &outcomes).await? {
            Recorded::Done => {
                metrics::recorded(outcomes.len(), started.elapsed(), lag);
                tracing::debug!(outcomes = outcomes.len(), to, lag, "recorded");
                Ok(Position { seq: to, ..from.clone() })
            }
            Recorded::LostRace => Err(Trouble::LostRace),
        }
    }

    /// Where to read on, after a look at what the stream still has.
    async fn position(&self) -> Result<Position, Trouble> {
        topology::ensure_stream(&self.bus, StreamName::Records, &self.keep).await?;
        let epoch = reader::epoch(&self.bus, StreamName::Records).await?;
        let stream = self.bus.names.stream(StreamName::Records);
        let info = topology::stream(&self.bus, StreamName::Records).await?;
        let state = &info.cached_info().state;
        let known = self.store.position(&stream).await?;
        let Some(known) = known else {
            return Ok(Position { stream, epoch, seq: 0 });
        };
        if known.epoch != epoch {
            tracing::warn!(stream, "the record stream was made anew: recording from its beginning");
            return self.reset(&known, Position { stream, epoch, seq: 0 }).await;
        }
        if known.seq > state.last_sequence {
            tracing::error!(
                recorded = known.seq,
                last = state.last_sequence,
                "the broker lost records that the history has: going on at its end"
            );
            return self.reset(&known, Position { stream, epoch, seq: state.last_sequence }).await;
        }
        let missed = state.first_sequence.saturating_sub(known.seq + 1);
        if missed > 0 && known.seq > 0 {
            metrics::records_missed(missed);
            tracing::error!(
                missed,
                "records expired in the broker before the database could take them: the history has a gap"
            );
        }
        Ok(known)
    }

    async fn reset(&self, from: &Position, to: Position) -> Result<Position, Trouble> {
        match self.store.reset(from, &to).await? {
            Recorded::Done => Ok(to),
            Recorded::LostRace => Err(Trouble::LostRace),
        }
    }

    /// Returns when the position stood still although there is something to record.
    async fn stand_by(&self) {
        let mut before = None;
        loop {
            clock::sleep(clock::jittered(STANDBY_LOOK)).await;
            let stream = self.bus.names.stream(StreamName::Records);
            let Ok(Some(now)) = self.store.position(&stream).await else { return };
            let Ok(info) = topology::stream(&self.bus, StreamName::Records).await else { return };
            self.pulse.beat();
            let waiting = info.cached_info().state.last_sequence > now.seq;
            if waiting && before == Some(now.seq) {
                return;
            }
            before = Some(now.seq);
        }
    }
}

fn decode(entry: &Entry) -> Option<Outcome> {
    match serde_json::from_slice(&entry.payload) {
        Ok(outcome) => Some(outcome),
        Err(error) => {
            metrics::record_unreadable();
            tracing::error!(sequence = entry.sequence, %error, "a record cannot be read: it is left out of the history");
            None
        }
    }
}

impl std::convert::From<BusError> for Trouble {
    fn from(error: BusError) -> Self {
        Self::Bus(error)
    }
}

impl std::convert::From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

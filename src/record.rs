//! The recorder: makes SQL from the record stream, exactly once, by keeping its position where the rows are.
//!
//! One transaction holds a batch's rows and the step of the position; whoever loses that step drops its batch and reads
//! on from where the winner stands. Several may run: a standby works as soon as the position stops moving.

mod keeper;
mod lag;

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bus::reader::{self, Entry, From, Reader};
use crate::bus::{Bus, BusError, StreamName, live, topology};
use crate::clock;
use crate::config::{Keep, Settings};
use crate::delivery::{ENVELOPE_VERSION, envelope_version};
use crate::health::Pulse;
use crate::metrics;
use crate::notification::item::Item;
use crate::outcome::Outcome;
use crate::store::record::{Batch, Position, Recorded};
use crate::store::{Store, StoreError};

use self::keeper::Keeper;
use self::lag::Written;

/// Outcomes of one transaction at most.
const BATCH_MAX: usize = 1_000;
/// Outcomes that are read before the database asks for them.
const READ_AHEAD: usize = 2 * BATCH_MAX;
const AFTER_TROUBLE: Duration = Duration::from_millis(500);
const AFTER_NEWER: Duration = Duration::from_secs(10);
/// Longer than a statement may take.
const ANSWER_MAX: Duration = Duration::from_secs(40);
/// A standby looks this often; a position that stood still for so long belongs to nobody.
const STANDBY_LOOK: Duration = Duration::from_millis(150);

/// A message of the record stream.
struct Record {
    sequence: u64,
    /// How many wait behind it.
    pending: u64,
    /// None when it cannot be read; the position moves over it all the same.
    told: Option<Told>,
}

/// What a record tells.
enum Told {
    Outcome(Box<Outcome>),
    Item(Box<Item>),
}

/// Why the recorder starts over.
enum Trouble {
    Bus(BusError),
    Store(StoreError),
    /// Another recorder wrote first.
    LostRace,
    /// A record of a newer version, at this place.
    Newer(u64),
}

pub struct Recorder {
    bus: Bus,
    store: Store,
    keep: Keep,
    pulse: Pulse,
    keeper: Keeper,
    written: Written,
}

impl Recorder {
    #[must_use]
    pub fn new(bus: Bus, store: Store, settings: &Settings, pulse: Pulse) -> Self {
        let keeper = Keeper::new(bus.clone(), store.clone(), settings.kept());
        Self { bus, store, keep: settings.keep, pulse, keeper, written: Written::default() }
    }

    /// Records until `stop`, and removes what is kept no longer.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.record_for_ever() => {}
            () = self.keeper.run() => {}
            () = self.written.measure(&self.bus) => {}
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
                Trouble::Newer(sequence) => {
                    self.pulse.trouble();
                    tracing::error!(
                        sequence,
                        "a record that a newer version wrote: update this recorder, it waits here"
                    );
                    clock::sleep(clock::jittered(AFTER_NEWER)).await;
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
        let position = self.position().await?;
        self.written.set(position.seq);
        // The whole stream: the position must reach its last sequence, which is what the API compares it with.
        let everything = String::new();
        let mut reader =
            Reader::open(&self.bus, StreamName::Records, everything, From::Sequence(position.seq + 1))
                .await?;
        // While the database writes one batch the next one is read. Whichever fails, both are dropped, and reading starts
        // anew from where the database stands.
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        let (never, _) = tokio::try_join!(self.read(&mut reader, sender), self.write(position, receiver))?;
        Ok(never)
    }

    async fn read(
        &self,
        reader: &mut Reader,
        sender: mpsc::Sender<Record>,
    ) -> Result<std::convert::Infallible, Trouble> {
        loop {
            for entry in reader.next(BATCH_MAX).await? {
                let told = self.decode(&entry)?;
                let record = Record { sequence: entry.sequence, pending: entry.pending, told };
                // Nobody listens only when the writing failed, which ends both.
                let _sent = sender.send(record).await;
            }
            if sender.capacity() == sender.max_capacity() {
                self.pulse.beat();
            }
        }
    }

    async fn write(
        &self,
        mut position: Position,
        mut receiver: mpsc::Receiver<Record>,
    ) -> Result<std::convert::Infallible, Trouble> {
        let mut records = Vec::with_capacity(BATCH_MAX);
        // Whoever recorded before may have been killed before it told of what it wrote.
        live::look(&self.bus).await;
        loop {
            receiver.recv_many(&mut records, BATCH_MAX).await;
            let Some(last) = records.last() else {
                return Err(Trouble::Bus(BusError::Request("the reading ended".to_owned())));
            };
            let (to, lag) = (last.sequence, last.pending);
            let mut batch = Batch::default();
            for told in records.drain(..).filter_map(|record| record.told) {
                match told {
                    Told::Outcome(outcome) => batch.outcomes.push(*outcome),
                    Told::Item(item) => batch.items.push(*item),
                }
            }
            position = self.record(&position, &batch, to, lag).await?;
            self.pulse.beat();
        }
    }

    fn decode(&self, entry: &Entry) -> Result<Option<Told>, Trouble> {
        if self.bus.names.is_inbox(&entry.subject) {
            return Ok(read::<Item>(entry, |item| item.v)?.map(Told::Item));
        }
        Ok(read::<Outcome>(entry, |outcome| outcome.v)?.map(Told::Outcome))
    }

    async fn record(&self, from: &Position, batch: &Batch, to: u64, lag: u64) -> Result<Position, Trouble> {
        let started = Instant::now();
        match in_time(self.store.record(from, to, batch)).await? {
            Recorded::Done(announcements) => {
                self.written.set(to);
                let (outcomes, items) = (batch.outcomes.len(), batch.items.len());
                metrics::recorded(outcomes, items, started.elapsed(), lag);
                tracing::debug!(outcomes, items, to, lag, "recorded");
                for announcement in announcements {
                    live::announce(&self.bus, announcement).await;
                }
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
        let known = in_time(self.store.position(&stream)).await?;
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
                "the broker lost records that the history has: recording from its beginning, since new ones have old numbers"
            );
            return self.reset(&known, Position { stream, epoch, seq: 0 }).await;
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
        match in_time(self.store.reset(from, &to)).await? {
            Recorded::Done(_) => Ok(to),
            Recorded::LostRace => Err(Trouble::LostRace),
        }
    }

    /// Returns when the position stood still although there is something to record.
    async fn stand_by(&self) {
        let mut before = None;
        loop {
            clock::sleep(clock::jittered(STANDBY_LOOK)).await;
            let stream = self.bus.names.stream(StreamName::Records);
            let Ok(Some(now)) = in_time(self.store.position(&stream)).await else { return };
            self.written.set(now.seq);
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

/// A database whose host vanished answers nothing at all: its connection would be waited for for hours.
async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| StoreError::Unavailable("no answer in time".to_owned());
    tokio::time::timeout(ANSWER_MAX, work).await.map_err(late)?
}

/// None for what is no record of ours. One that a newer process wrote stops the recording: to step over it would lose it.
fn read<T: DeserializeOwned>(entry: &Entry, version: impl Fn(&T) -> u16) -> Result<Option<Box<T>>, Trouble> {
    match serde_json::from_slice::<T>(&entry.payload) {
        Ok(found) if version(&found) <= ENVELOPE_VERSION => Ok(Some(Box::new(found))),
        Ok(_) => Err(Trouble::Newer(entry.sequence)),
        // A word that a newer process knows reads like this.
        Err(_) if envelope_version(&entry.payload).is_some() => Err(Trouble::Newer(entry.sequence)),
        Err(error) => {
            metrics::record_unreadable();
            tracing::error!(sequence = entry.sequence, %error, "a record cannot be read: it is left out of the history");
            Ok(None)
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

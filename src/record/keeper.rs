//! The keeper: removes from SQL what is kept no longer, batch after batch. It runs beside every recorder; several at once do each
//! other's work and no harm.
//!
//! Inboxes that are too full are looked for every few seconds, all else in runs of a minute. Between two batches it rests for as
//! long as the last one took, so that whoever writes has the database for half of the time at least.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::in_time;
use crate::bus::{Bus, live};
use crate::clock;
use crate::config::Kept;
use crate::metrics;
use crate::notification::change::Announcement;
use crate::store::retention::What;
use crate::store::{Store, StoreError};

/// How often inboxes that are too full are looked for.
const LOOK: Duration = Duration::from_secs(5);
/// How often all else is looked for.
const RUN: Duration = Duration::from_secs(60);
/// The shortest rest between two batches.
const REST: Duration = Duration::from_millis(20);
/// Changes stay for so long: whoever comes back later reads the whole list.
const CHANGES: SignedDuration = SignedDuration::from_hours(7 * 24);

pub(super) struct Keeper {
    bus: Bus,
    store: Store,
    kept: Kept,
    /// Since it was last told.
    tally: Mutex<Tally>,
}

/// What was removed, and how long that took.
#[derive(Default)]
struct Tally {
    removed: Vec<(What, u64)>,
    took: Duration,
}

impl Keeper {
    pub(super) fn new(bus: Bus, store: Store, kept: Kept) -> Self {
        Self { bus, store, kept, tally: Mutex::default() }
    }

    /// Runs for ever.
    pub(super) async fn run(&self) {
        tokio::join!(self.look_for_excess(), self.run_by_the_minute());
    }

    async fn look_for_excess(&self) {
        loop {
            let done = self.remove_excess().await;
            let next = if is_well(done) { LOOK } else { RUN };
            clock::sleep(clock::jittered(next)).await;
        }
    }

    async fn run_by_the_minute(&self) {
        loop {
            let done = self.remove_old().await;
            self.tell();
            is_well(done);
            clock::sleep(clock::jittered(RUN)).await;
        }
    }

    async fn remove_excess(&self) -> Result<(), StoreError> {
        for (workspace, fullest) in in_time(self.store.fullest_inboxes()).await? {
            let most = self.kept.inbox_max(&workspace);
            let mut more = fullest > i64::from(most);
            while more {
                let batch = self.store.remove_excess(&workspace, most, clock::now());
                more = self.remove_from_inboxes(What::Excess, batch).await?;
            }
        }
        Ok(())
    }

    async fn remove_old(&self) -> Result<(), StoreError> {
        let now = clock::now();
        for (workspace, oldest) in in_time(self.store.oldest_notifications()).await? {
            let since = self.kept.inbox_since(&workspace, now);
            let mut more = oldest < since;
            while more {
                let batch = self.store.remove_expired(&workspace, since, clock::now());
                more = self.remove_from_inboxes(What::Expired, batch).await?;
            }
        }
        // Before changes go: by those of gone broadcasts their marks are found.
        while self.remove_rows(What::Marks, self.store.remove_marks()).await? {}
        let since = now.checked_sub(CHANGES).unwrap_or(Timestamp::UNIX_EPOCH);
        while self.remove_rows(What::Changes, self.store.remove_old_changes(since)).await? {}
        while self.remove_rows(What::Changes, self.store.remove_surplus_changes()).await? {}
        self.remove_history(now).await
    }

    async fn remove_history(&self, now: Timestamp) -> Result<(), StoreError> {
        for (workspace, oldest) in in_time(self.store.oldest_deliveries()).await? {
            let Some(since) = self.kept.history_since(&workspace, now) else { continue };
            let (mut more, mut place) = (oldest < since, None);
            while more {
                let started = Instant::now();
                let batch = self.store.remove_deliveries(&workspace, since, place.as_ref());
                let removed = in_time(batch).await?;
                let rows = [(What::Deliveries, removed.deliveries), (What::Outcomes, removed.outcomes)];
                self.note(&rows, started.elapsed()).await;
                more = removed.next.is_some();
                place = removed.next;
            }
        }
        Ok(())
    }

    /// True when there may be more.
    async fn remove_from_inboxes(
        &self,
        what: What,
        batch: impl Future<Output = Result<Vec<Announcement>, StoreError>>,
    ) -> Result<bool, StoreError> {
        let started = Instant::now();
        let told = in_time(batch).await?;
        let took = started.elapsed();
        let count = told.iter().map(|told| told.changes.len() as u64).sum();
        for announcement in told {
            live::announce(&self.bus, announcement).await;
        }
        self.note(&[(what, count)], took).await;
        Ok(count > 0)
    }

    /// True when there may be more.
    async fn remove_rows(
        &self,
        what: What,
        batch: impl Future<Output = Result<u64, StoreError>>,
    ) -> Result<bool, StoreError> {
        let started = Instant::now();
        let count = in_time(batch).await?;
        self.note(&[(what, count)], started.elapsed()).await;
        Ok(count > 0)
    }

    /// Counts a batch and rests after it.
    async fn note(&self, rows: &[(What, u64)], took: Duration) {
        let rows: Vec<_> = rows.iter().copied().filter(|(_, count)| *count > 0).collect();
        if rows.is_empty() {
            return;
        }
        for (what, count) in &rows {
            metrics::retention_removed(*what, *count);
        }
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).add(&rows, took);
        clock::sleep(took.max(REST)).await;
    }

    fn tell(&self) {
        let tally = std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner));
        if !tally.removed.is_empty() {
            tracing::info!(removed = %tally, took_ms = tally.took.as_millis(), "removed what is kept no longer");
        }
    }
}

impl Tally {
    fn add(&mut self, rows: &[(What, u64)], took: Duration) {
        self.took += took;
        for (what, count) in rows {
            match self.removed.iter_mut().find(|(known, _)| known == what) {
                Some((_, sum)) => *sum += count,
                None => self.removed.push((*what, *count)),
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> =
            self.removed.iter().map(|(what, count)| format!("{what}: {count}")).collect();
        f.write_str(&parts.join(", "))
    }
}

fn is_well(done: Result<(), StoreError>) -> bool {
    let Err(error) = done else { return true };
    tracing::warn!(%error, "what is kept no longer cannot be removed at the moment: trying again in a minute");
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_says_what_was_removed_and_how_many_of_each() {
        let mut tally = Tally::default();
        tally.add(&[(What::Deliveries, 2), (What::Outcomes, 5)], Duration::from_millis(3));
        tally.add(&[(What::Deliveries, 1)], Duration::from_millis(4));
        assert_eq!((tally.to_string().as_str(), tally.took.as_millis()), ("deliveries: 3, outcomes: 5", 7));
    }
}

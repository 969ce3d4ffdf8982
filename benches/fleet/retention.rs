//! How long a batch of the keeper takes: of inboxes that are too full, of old notifications, of changes, of the history.

use std::time::Instant;

use bugle::ids::WorkspaceId;
use bugle::outcome::Outcome;
use bugle::store::Store;
use bugle::store::record::{Batch, Position};
use jiff::{SignedDuration, Timestamp};

use crate::inbox::{INBOXES, item};
use crate::recorder::{POSTGRES, SQLITE, fresh, sent};
use crate::report::Report;
use crate::{Anything, percentile};

const SECTION: &str = "retention";
/// Of each inbox.
const ITEMS: u64 = 60;
const CAP: u32 = 50;
const DELIVERIES: u64 = 30_000;
const BATCH: u64 = 1_000;
/// Batches of each sort at most.
const BATCHES: usize = 40;

pub async fn measure(report: &mut Report) -> Anything<()> {
    for database in [SQLITE, POSTGRES] {
        let Some((url, _folder)) = fresh(&database) else {
            println!("  no PostgreSQL: left out");
            return Ok(());
        };
        let store = Store::open(&url, 4)?;
        store.migrate().await?;
        fill(&store).await?;
        let (workspace, now) = (WorkspaceId::default(), Timestamp::now() + SignedDuration::from_hours(1));
        let name = database.name;

        let mut batches = Batches::default();
        while batches.go_on() {
            let started = Instant::now();
            let told = store.remove_excess(&workspace, CAP, now).await?;
            batches.note(started, told.iter().map(|told| told.changes.len() as u64).sum());
        }
        batches.report(report, &format!("{name}, of inboxes that are too full"));
        let mut batches = Batches::default();
        while batches.go_on() {
            let started = Instant::now();
            let told = store.remove_expired(&workspace, now, now).await?;
            batches.note(started, told.iter().map(|told| told.changes.len() as u64).sum());
        }
        batches.report(report, &format!("{name}, of old notifications"));
        let mut batches = Batches::default();
        while batches.go_on() {
            let started = Instant::now();
            batches.note(started, store.remove_old_changes(now).await?);
        }
        batches.report(report, &format!("{name}, of changes"));
        let (mut batches, mut place) = (Batches::default(), None);
        while batches.go_on() {
            let started = Instant::now();
            let removed = store.remove_deliveries(&workspace, now, place.as_ref()).await?;
            batches.note(started, removed.deliveries + removed.outcomes);
            place = removed.next;
        }
        batches.report(report, &format!("{name}, of the history"));
    }
    Ok(())
}

async fn fill(store: &Store) -> Anything<()> {
    let mut position = Position { stream: "bench".to_owned(), epoch: "1".to_owned(), seq: 0 };
    let mut record = async |batch: Batch| -> Anything<()> {
        let to = position.seq + 1;
        store.record(&position, to, &batch).await?;
        position.seq = to;
        Ok(())
    };
    for first in (0..INBOXES * ITEMS).step_by(BATCH as usize) {
        let items = (first..first + BATCH).map(item).collect();
        record(Batch { outcomes: Vec::new(), items }).await?;
    }
    for first in (0..DELIVERIES).step_by(BATCH as usize) {
        let outcomes: Vec<Outcome> = (first..first + BATCH).map(sent).collect();
        record(Batch { outcomes, items: Vec::new() }).await?;
    }
    Ok(())
}

/// Milliseconds of each batch, and how many rows they removed.
#[derive(Default)]
struct Batches {
    took: Vec<f64>,
    rows: u64,
    is_over: bool,
}

impl Batches {
    fn go_on(&self) -> bool {
        !self.is_over && self.took.len() < BATCHES
    }

    fn note(&mut self, started: Instant, rows: u64) {
        self.is_over = rows == 0;
        if rows > 0 {
            self.took.push(started.elapsed().as_secs_f64() * 1_000.0);
            self.rows += rows;
        }
    }

    fn report(mut self, report: &mut Report, words: &str) {
        let rows = self.rows as f64 / self.took.len() as f64;
        self.took.sort_by(f64::total_cmp);
        report.state(SECTION, format!("{words}, rows of a batch"), rows, "rows");
        report.state(SECTION, format!("{words}, p50"), percentile(&self.took, 0.5), "ms");
        report.state(SECTION, format!("{words}, longest"), percentile(&self.took, 1.0), "ms");
    }
}

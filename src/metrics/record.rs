//! What the recorder counts: what it writes, what waits for it, and what is kept no longer.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::names::{
    NOTIFICATIONS_RECORDED, RECORD_BATCH, RECORD_LAG, RECORD_LAG_SECONDS, RECORD_SECONDS, RECORDED,
    RECORDS_MISSED, RECORDS_UNREADABLE, RETENTION_REMOVED,
};
use crate::store::retention::What;

pub fn recorded(outcomes: usize, notifications: usize, took: Duration, lag: u64) {
    histogram!(RECORD_BATCH).record(u32::try_from(outcomes).unwrap_or(u32::MAX));
    counter!(RECORDED).increment(outcomes as u64);
    counter!(NOTIFICATIONS_RECORDED).increment(notifications as u64);
    histogram!(RECORD_SECONDS).record(took.as_secs_f64());
    if lag == 0 {
        record_lag(0, Duration::ZERO);
    }
}

/// How many records the database does not have yet, and how long the oldest of them waits.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub fn record_lag(messages: u64, oldest: Duration) {
    gauge!(RECORD_LAG).set(messages as f64);
    gauge!(RECORD_LAG_SECONDS).set(oldest.as_secs_f64());
}

pub fn record_unreadable() {
    counter!(RECORDS_UNREADABLE).increment(1);
}

pub fn records_missed(count: u64) {
    counter!(RECORDS_MISSED).increment(count);
}

pub fn retention_removed(what: What, rows: u64) {
    counter!(RETENTION_REMOVED, "what" => what.as_str()).increment(rows);
}

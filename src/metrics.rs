//! Every metric, in this one folder: `names` has what they are called, `zero` the labels that they start with, and the others count.
//!
//! Deliveries and attempts are different nouns: a delivery has one end, an attempt is one try. The users' metric is the
//! age of a delivery from its event to its acceptance, waiting included.

mod api;
mod dead;
mod names;
mod open;
mod pace;
mod process;
mod record;
mod streams;
mod waiting;
mod zero;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{LazyLock, PoisonError, RwLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use serde::{Deserialize, Serialize};

pub use self::api::{Limit, api_request, request_limited};
pub use self::dead::{dead_letter, job_items, job_let_go, job_started};
pub use self::open::Unattached;
pub use self::pace::{circuits_open, pace_lost, pace_reserved, pace_waited};
pub use self::process::{database_lost, database_up, nats_connected, nats_disconnected, process};
pub use self::record::{record_lag, record_unreadable, recorded, records_missed, retention_removed};
pub use self::streams::{Followed, OpenStream, StreamEnd, Transport, inbox_caught_up};
pub use self::waiting::{events_waiting, lane_waiting};

use self::names::{
    ATTEMPT_SECONDS, ATTEMPTS, ATTEMPTS_RUNNING, CHANNELS_DISABLED, DELIVERIES_PUBLISHED, DELIVERY_AGE,
    DEVICES_REMOVED, DOCUMENTS_UNREADABLE, EVENTS_MATCHED, EVENTS_ROUTED, LEASES_OVER,
    OUTCOME_STORE_FAILURES, OUTCOMES, OWN_EVENTS, PACE_WAIT, PANICS, POSTPONED, QUEUE_BYTES, QUEUE_BYTES_MAX,
    QUEUE_MESSAGES, RECORD_BATCH, REPEATS, RULES_FIRED, SOURCE_MESSAGES,
};
use crate::app::Role;
use crate::channel::Kind;
use crate::channel::standing::Cause;
use crate::clock;
use crate::delivery::Delivery;
use crate::outcome::{Outcome, State};

const AGE_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0,
    86_400.0,
];
const SECONDS_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Up to what the recorder writes in one transaction.
const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0];

/// Installs the recorder of this process and starts every label at zero.
///
/// # Errors
/// When one is installed already.
pub fn install(role: Role) -> Result<PrometheusHandle, String> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(DELIVERY_AGE.to_owned()), AGE_BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Full(PACE_WAIT.to_owned()), AGE_BUCKETS))
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Full(RECORD_BATCH.to_owned()), BATCH_BUCKETS)
        })
        .and_then(|builder| builder.set_buckets(SECONDS_BUCKETS))
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| error.to_string())?;
    names::describe();
    streams::describe();
    dead::describe();
    zero::start(role);
    process::started(role);
    Ok(handle)
}

fn kind_of(delivery: &Delivery) -> &'static str {
    delivery.kind.map_or("unknown", Kind::as_str)
}

/// Handles by their labels: at tens of thousands of messages a second, making a key for each count would show.
struct Family<K, H> {
    handles: LazyLock<RwLock<HashMap<K, H>>>,
    make: fn(K) -> H,
}

impl<K: Copy + Eq + Hash, H: Clone> Family<K, H> {
    const fn new(make: fn(K) -> H) -> Self {
        Self { handles: LazyLock::new(RwLock::default), make }
    }

    fn get(&self, labels: K) -> H {
        let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handles.get(&labels) {
            return handle.clone();
        }
        drop(handles);
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        handles.entry(labels).or_insert_with(|| (self.make)(labels)).clone()
    }
}

pub fn event_routed(rules_fired: usize) {
    static COUNTERS: Family<&str, Counter> = Family::new(|name| counter!(name));
    COUNTERS.get(EVENTS_ROUTED).increment(1);
    COUNTERS.get(EVENTS_MATCHED).increment(u64::from(rules_fired > 0));
    COUNTERS.get(RULES_FIRED).increment(rules_fired as u64);
}

pub fn delivery_published(delivery: &Delivery) {
    static COUNTERS: Family<(&str, &str), Counter> =
        Family::new(|(kind, lane)| counter!(DELIVERIES_PUBLISHED, "kind" => kind, "lane" => lane));
    COUNTERS.get((kind_of(delivery), delivery.lane().as_str())).increment(1);
}

pub fn devices_removed(delivery: &Delivery, count: u64) {
    counter!(DEVICES_REMOVED, "kind" => kind_of(delivery)).increment(count);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub fn queue(messages: u64, bytes: u64, bytes_max: u64) {
    gauge!(QUEUE_MESSAGES).set(messages as f64);
    gauge!(QUEUE_BYTES).set(bytes as f64);
    gauge!(QUEUE_BYTES_MAX).set(bytes_max as f64);
}

pub fn outcome(outcome: &Outcome) {
    static COUNTERS: Family<(&str, &str, &str), Counter> = Family::new(
        |(kind, state, reason)| counter!(OUTCOMES, "kind" => kind, "state" => state, "reason" => reason),
    );
    // Tests run with this: whoever makes an outcome of a new sort adds it to what there is from the start.
    debug_assert!(zero::is_known(outcome), "{}/{} is not in metrics::zero", outcome.state, outcome.reason);
    let kind = outcome.kind.map_or("unknown", Kind::as_str);
    COUNTERS.get((kind, outcome.state.as_str(), outcome.reason.as_str())).increment(1);
}

static RUNNING: Family<&str, Gauge> = Family::new(|kind| gauge!(ATTEMPTS_RUNNING, "kind" => kind));

pub fn attempt_started(delivery: &Delivery) {
    RUNNING.get(kind_of(delivery)).increment(1.0);
}

pub fn attempt_finished(delivery: &Delivery, outcome: &Outcome, took: Duration) {
    static COUNTERS: Family<(&str, &str, &str), Counter> = Family::new(
        |(kind, lane, state)| counter!(ATTEMPTS, "kind" => kind, "lane" => lane, "state" => state),
    );
    static LENGTHS: Family<&str, Histogram> = Family::new(|kind| histogram!(ATTEMPT_SECONDS, "kind" => kind));
    static AGES: Family<(&str, &str), Histogram> =
        Family::new(|(kind, lane)| histogram!(DELIVERY_AGE, "kind" => kind, "lane" => lane));
    let (kind, lane) = (kind_of(delivery), delivery.lane().as_str());
    RUNNING.get(kind).decrement(1.0);
    COUNTERS.get((kind, lane, outcome.state.as_str())).increment(1);
    LENGTHS.get(kind).record(took.as_secs_f64());
    if outcome.state == State::Sent {
        let age = outcome.at.duration_since(delivery.event.time).as_secs_f64().max(0.0);
        AGES.get((kind, lane)).record(age);
    }
}

pub fn postponed(why: &'static str) {
    counter!(POSTPONED, "why" => why).increment(1);
}

pub fn channel_disabled(cause: Cause) {
    counter!(CHANNELS_DISABLED, "cause" => cause.as_str()).increment(1);
}

pub fn own_event(result: &'static str) {
    counter!(OWN_EVENTS, "result" => result).increment(1);
}

pub fn repeat_dropped() {
    counter!(REPEATS).increment(1);
}

pub fn lease_over() {
    counter!(LEASES_OVER).increment(1);
}

pub fn outcome_store_failed() {
    counter!(OUTCOME_STORE_FAILURES).increment(1);
}

pub fn document_unreadable() {
    counter!(DOCUMENTS_UNREADABLE).increment(1);
}

pub fn handler_panicked() {
    counter!(PANICS).increment(1);
}

crate::outcome::words! {
    /// What became of an event of a source, or of a message that made none.
    SourceResult {
        Published = "published",
        /// It was there already.
        Duplicate = "duplicate",
        /// It made no event: among the dead letters.
        Unmapped = "unmapped",
        /// A webhook without the secret.
        Unauthorized = "unauthorized",
    }
}

pub fn source_messages(way: &'static str, result: SourceResult, count: usize) {
    counter!(SOURCE_MESSAGES, "way" => way, "result" => result.as_str()).increment(count as u64);
}

/// Keeps the recorder's memory bounded; runs as long as the process.
pub async fn upkeep(handle: PrometheusHandle) {
    loop {
        clock::sleep(Duration::from_secs(5)).await;
        handle.run_upkeep();
    }
}

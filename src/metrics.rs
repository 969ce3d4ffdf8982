//! Every metric, named and described in this one file. Labels are closed words: never an id, an address or a type.
//!
//! Deliveries and attempts are different nouns: a delivery has one end, an attempt is one try. The users' metric is the
//! age of a delivery from its event to its acceptance, waiting included.

mod api;
mod dead;
mod open;
mod pace;
mod streams;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{LazyLock, PoisonError, RwLock};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use serde::{Deserialize, Serialize};

pub use self::api::{Limit, api_request, request_limited};
pub use self::dead::{dead_letter, job_items, job_let_go, job_started};
pub use self::open::Unattached;
pub use self::pace::{circuits_open, pace_lost, pace_reserved, pace_waited};
pub use self::streams::{Followed, OpenStream, StreamEnd, Transport, inbox_caught_up};

use crate::channel::Kind;
use crate::channel::standing::Cause;
use crate::clock;
use crate::delivery::{Delivery, Lane};
use crate::outcome::{Outcome, State};
use crate::store::retention::What;

const EVENTS_ROUTED: &str = "bugle_events_routed_total";
const RULES_FIRED: &str = "bugle_rules_fired_total";
const DELIVERIES_PUBLISHED: &str = "bugle_deliveries_published_total";
const QUEUE_MESSAGES: &str = "bugle_queue_messages";
const QUEUE_BYTES: &str = "bugle_queue_bytes";
const OUTCOMES: &str = "bugle_outcomes_total";
const ATTEMPTS: &str = "bugle_attempts_total";
const ATTEMPT_SECONDS: &str = "bugle_attempt_seconds";
const ATTEMPTS_RUNNING: &str = "bugle_attempts_running";
const DELIVERY_AGE: &str = "bugle_delivery_age_seconds";
const POSTPONED: &str = "bugle_deliveries_postponed_total";
const PACE_WAIT: &str = "bugle_pace_wait_seconds";
const PACE_SWAPS: &str = "bugle_pace_reservations_total";
const PACE_LOST: &str = "bugle_pace_moments_lost_total";
const CIRCUITS_OPEN: &str = "bugle_circuits_open";
const REPEATS: &str = "bugle_repeats_dropped_total";
const DEVICES_REMOVED: &str = "bugle_devices_removed_total";
const LEASES_OVER: &str = "bugle_messages_lapsed_total";
const OWN_EVENTS: &str = "bugle_own_events_total";
const OUTCOME_STORE_FAILURES: &str = "bugle_outcome_store_failures_total";
const RECORDED: &str = "bugle_outcomes_recorded_total";
const NOTIFICATIONS_RECORDED: &str = "bugle_notifications_recorded_total";
const RECORD_SECONDS: &str = "bugle_record_seconds";
const RECORD_LAG: &str = "bugle_record_lag_messages";
const RECORDS_UNREADABLE: &str = "bugle_records_unreadable_total";
const RECORDS_MISSED: &str = "bugle_records_missed_total";
const RETENTION_REMOVED: &str = "bugle_retention_removed_total";
const DOCUMENTS_UNREADABLE: &str = "bugle_documents_unreadable_total";
const PANICS: &str = "bugle_handler_panics_total";
const DISCONNECTS: &str = "bugle_nats_disconnects_total";
const REQUESTS: &str = "bugle_api_requests_total";
const REQUESTS_LIMITED: &str = "bugle_api_requests_limited_total";
const SOURCE_MESSAGES: &str = "bugle_source_messages_total";
const SOURCES_UNATTACHED: &str = "bugle_sources_unattached";
const CHANNELS_DISABLED: &str = "bugle_channels_disabled_total";
const BUILD: &str = "bugle_build_info";

const AGE_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0,
    86_400.0,
];
const SECONDS_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Installs the recorder of this process and starts every label at zero.
///
/// # Errors
/// When one is installed already.
pub fn install() -> Result<PrometheusHandle, String> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(DELIVERY_AGE.to_owned()), AGE_BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Full(PACE_WAIT.to_owned()), AGE_BUCKETS))
        .and_then(|builder| builder.set_buckets(SECONDS_BUCKETS))
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| error.to_string())?;
    describe();
    streams::describe();
    dead::describe();
    start_at_zero();
    Ok(handle)
}

fn describe() {
    for (name, what) in [
        (EVENTS_ROUTED, "Events that were matched against the rules."),
        (RULES_FIRED, "Rules that fired, before cooldowns."),
        (DELIVERIES_PUBLISHED, "Deliveries handed to the workers."),
        (OUTCOMES, "Outcomes published, by kind, state and reason."),
        (ATTEMPTS, "Tries that ended, by kind, lane and the state they led to."),
        (POSTPONED, "Deliveries put off without a try, by cause."),
        (PACE_SWAPS, "Reservations of rate, each for all who waited, by result."),
        (PACE_LOST, "Moments of a rate that were reserved and passed unused, by why."),
        (DEVICES_REMOVED, "Push subscriptions removed because a provider said that they are over, by kind."),
        (REPEATS, "Repeats of finished deliveries that were not sent again."),
        (
            LEASES_OVER,
            "Messages held beyond the broker's wait, by a process that stood still, and let go untouched.",
        ),
        (OWN_EVENTS, "Events about deliveries that rules asked for, by what became of them."),
        (OUTCOME_STORE_FAILURES, "Outcomes that the broker did not store at once; they are stored later."),
        (RECORDED, "Outcomes written to the database."),
        (NOTIFICATIONS_RECORDED, "Notifications written into inboxes, new ones and new texts."),
        (RECORDS_UNREADABLE, "Records that could not be read and were left out of the history."),
        (RECORDS_MISSED, "Records that the broker had forgotten before the database could take them."),
        (
            RETENTION_REMOVED,
            "Rows removed from the database because they are kept no longer, by what they were.",
        ),
        (
            DOCUMENTS_UNREADABLE,
            "Documents in the bucket that could not be read; the last good form stays in force.",
        ),
        (CHANNELS_DISABLED, "Channels switched off for what came of their tries."),
        (PANICS, "Handlers that panicked; their messages are handed out again."),
        (DISCONNECTS, "Times that the connection to NATS was lost."),
        (REQUESTS, "API requests, by method and class of status."),
        (REQUESTS_LIMITED, "API requests refused with 429, by the limit that they were over."),
    ] {
        describe_counter!(name, Unit::Count, what);
    }
    describe_histogram!(ATTEMPT_SECONDS, Unit::Seconds, "Length of one try, by kind.");
    describe_histogram!(
        DELIVERY_AGE,
        Unit::Seconds,
        "From an event to the acceptance of its delivery, waiting included."
    );
    describe_histogram!(
        PACE_WAIT,
        Unit::Seconds,
        "How long a delivery waited for its channel's rate, by kind."
    );
    describe_gauge!(
        CIRCUITS_OPEN,
        Unit::Count,
        "Channels on which nothing works, as this worker knows the fleet."
    );
    describe_histogram!(RECORD_SECONDS, Unit::Seconds, "Length of one transaction of the recorder.");
    describe_gauge!(ATTEMPTS_RUNNING, Unit::Count, "Tries running now, by kind.");
    describe_gauge!(QUEUE_MESSAGES, Unit::Count, "Deliveries and timers in the queue, as routers see it.");
    describe_gauge!(QUEUE_BYTES, Unit::Bytes, "Bytes in the queue, as routers see it.");
    describe_gauge!(RECORD_LAG, Unit::Count, "Records that the database does not have yet.");
    describe_counter!(
        SOURCE_MESSAGES,
        Unit::Count,
        "Messages of sources, by way and by what became of them."
    );
    describe_gauge!(SOURCES_UNATTACHED, Unit::Count, "Sources whose stream cannot be read at the moment.");
    describe_gauge!(BUILD, Unit::Count, "1, with the version as label.");
}

fn start_at_zero() {
    for name in [
        EVENTS_ROUTED,
        RULES_FIRED,
        REPEATS,
        LEASES_OVER,
        OUTCOME_STORE_FAILURES,
        RECORDED,
        NOTIFICATIONS_RECORDED,
        RECORDS_UNREADABLE,
        RECORDS_MISSED,
        DOCUMENTS_UNREADABLE,
        PANICS,
        DISCONNECTS,
    ] {
        counter!(name).absolute(0);
    }
    for kind in Kind::ALL {
        gauge!(CIRCUITS_OPEN, "kind" => kind.as_str()).set(0.0);
        for lane in Lane::ALL {
            counter!(DELIVERIES_PUBLISHED, "kind" => kind.as_str(), "lane" => lane.as_str()).absolute(0);
            for state in [State::Sent, State::Retrying, State::Failed] {
                counter!(ATTEMPTS, "kind" => kind.as_str(), "lane" => lane.as_str(), "state" => state.as_str()).absolute(0);
            }
        }
    }
    for kind in [Kind::Expo, Kind::WebPush] {
        counter!(DEVICES_REMOVED, "kind" => kind.as_str()).absolute(0);
    }
    for what in What::ALL {
        counter!(RETENTION_REMOVED, "what" => what.as_str()).absolute(0);
    }
    for result in ["published", "refused"] {
        counter!(OWN_EVENTS, "result" => result).absolute(0);
    }
    for cause in Cause::ALL {
        counter!(CHANNELS_DISABLED, "cause" => cause.as_str()).absolute(0);
    }
    for result in ["done", "conflict"] {
        counter!(PACE_SWAPS, "result" => result).absolute(0);
    }
    for why in pace::LOST {
        counter!(PACE_LOST, "why" => why).absolute(0);
    }
    for why in ["paused", "share", "pace", "circuit", "thread"] {
        counter!(POSTPONED, "why" => why).absolute(0);
    }
    for way in ["nats", "http"] {
        for became in SourceResult::ALL {
            counter!(SOURCE_MESSAGES, "way" => way, "result" => became.as_str()).absolute(0);
        }
    }
    api::start_at_zero();
    streams::start_at_zero();
    dead::start_at_zero();
    gauge!(SOURCES_UNATTACHED).set(0.0);
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
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
pub fn queue(messages: u64, bytes: u64) {
    gauge!(QUEUE_MESSAGES).set(messages as f64);
    gauge!(QUEUE_BYTES).set(bytes as f64);
}

pub fn outcome(outcome: &Outcome) {
    static COUNTERS: Family<(&str, &str, &str), Counter> = Family::new(
        |(kind, state, reason)| counter!(OUTCOMES, "kind" => kind, "state" => state, "reason" => reason),
    );
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

pub fn recorded(outcomes: usize, notifications: usize, took: Duration, lag: u64) {
    counter!(RECORDED).increment(outcomes as u64);
    counter!(NOTIFICATIONS_RECORDED).increment(notifications as u64);
    histogram!(RECORD_SECONDS).record(took.as_secs_f64());
    record_lag(lag);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub fn record_lag(lag: u64) {
    gauge!(RECORD_LAG).set(lag as f64);
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

pub fn document_unreadable() {
    counter!(DOCUMENTS_UNREADABLE).increment(1);
}

pub fn handler_panicked() {
    counter!(PANICS).increment(1);
}

pub fn nats_disconnected() {
    counter!(DISCONNECTS).increment(1);
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

//! Every metric by its name, with the words that `/metrics` says about it. Labels are closed words: never an id, an address or
//! a type.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(super) const EVENTS_ROUTED: &str = "bugle_events_routed_total";
pub(super) const RULES_FIRED: &str = "bugle_rules_fired_total";
pub(super) const DELIVERIES_PUBLISHED: &str = "bugle_deliveries_published_total";
pub(super) const QUEUE_MESSAGES: &str = "bugle_queue_messages";
pub(super) const QUEUE_BYTES: &str = "bugle_queue_bytes";
pub(super) const OUTCOMES: &str = "bugle_outcomes_total";
pub(super) const ATTEMPTS: &str = "bugle_attempts_total";
pub(super) const ATTEMPT_SECONDS: &str = "bugle_attempt_seconds";
pub(super) const ATTEMPTS_RUNNING: &str = "bugle_attempts_running";
pub(super) const DELIVERY_AGE: &str = "bugle_delivery_age_seconds";
pub(super) const POSTPONED: &str = "bugle_deliveries_postponed_total";
pub(super) const PACE_WAIT: &str = "bugle_pace_wait_seconds";
pub(super) const PACE_SWAPS: &str = "bugle_pace_reservations_total";
pub(super) const PACE_LOST: &str = "bugle_pace_moments_lost_total";
pub(super) const CIRCUITS_OPEN: &str = "bugle_circuits_open";
pub(super) const REPEATS: &str = "bugle_repeats_dropped_total";
pub(super) const DEVICES_REMOVED: &str = "bugle_devices_removed_total";
pub(super) const LEASES_OVER: &str = "bugle_messages_lapsed_total";
pub(super) const OWN_EVENTS: &str = "bugle_own_events_total";
pub(super) const DEAD_LETTERS: &str = "bugle_dead_letters_total";
pub(super) const JOBS_RUNNING: &str = "bugle_jobs_running";
pub(super) const JOB_ITEMS: &str = "bugle_job_items_total";
pub(super) const OUTCOME_STORE_FAILURES: &str = "bugle_outcome_store_failures_total";
pub(super) const RECORDED: &str = "bugle_outcomes_recorded_total";
pub(super) const NOTIFICATIONS_RECORDED: &str = "bugle_notifications_recorded_total";
pub(super) const RECORD_SECONDS: &str = "bugle_record_seconds";
pub(super) const RECORD_LAG: &str = "bugle_record_lag_messages";
pub(super) const RECORDS_UNREADABLE: &str = "bugle_records_unreadable_total";
pub(super) const RECORDS_MISSED: &str = "bugle_records_missed_total";
pub(super) const RETENTION_REMOVED: &str = "bugle_retention_removed_total";
pub(super) const DOCUMENTS_UNREADABLE: &str = "bugle_documents_unreadable_total";
pub(super) const PANICS: &str = "bugle_handler_panics_total";
pub(super) const DISCONNECTS: &str = "bugle_nats_disconnects_total";
pub(super) const REQUESTS: &str = "bugle_api_requests_total";
pub(super) const REQUESTS_LIMITED: &str = "bugle_api_requests_limited_total";
pub(super) const SOURCE_MESSAGES: &str = "bugle_source_messages_total";
pub(super) const SOURCES_UNATTACHED: &str = "bugle_sources_unattached";
pub(super) const CHANNELS_DISABLED: &str = "bugle_channels_disabled_total";
pub(super) const BUILD: &str = "bugle_build_info";
pub(super) const EVENTS_MATCHED: &str = "bugle_events_matched_total";
pub(super) const EVENTS_PENDING: &str = "bugle_events_pending_messages";
pub(super) const EVENTS_OLDEST: &str = "bugle_events_oldest_seconds";
pub(super) const LANE_PENDING: &str = "bugle_lane_pending_messages";
pub(super) const LANE_IN_HAND: &str = "bugle_lane_in_hand_messages";
pub(super) const LANE_OLDEST: &str = "bugle_lane_oldest_seconds";
pub(super) const QUEUE_BYTES_MAX: &str = "bugle_queue_bytes_max";
pub(super) const RECORD_BATCH: &str = "bugle_record_batch_outcomes";
pub(super) const RECORD_LAG_SECONDS: &str = "bugle_record_lag_seconds";
pub(super) const DATABASE_UP: &str = "bugle_database_up";
pub(super) const DATABASE_OUTAGES: &str = "bugle_database_outages_total";
pub(super) const CONNECTED: &str = "bugle_nats_connected";
pub(super) const READY: &str = "bugle_ready";
// What every process of the world calls them: dashboards of others find them.
pub(super) const MEMORY: &str = "process_resident_memory_bytes";
pub(super) const STARTED: &str = "process_start_time_seconds";

pub(super) fn describe() {
    describe_counters();
    describe_gauges();
    describe_histograms();
}

fn describe_counters() {
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
        (EVENTS_MATCHED, "Events that at least one rule fired for."),
        (SOURCE_MESSAGES, "Messages of sources, by way and by what became of them."),
        (DATABASE_OUTAGES, "Times that the database stopped answering this process."),
    ] {
        describe_counter!(name, Unit::Count, what);
    }
}

fn describe_gauges() {
    for (name, unit, what) in [
        (CIRCUITS_OPEN, Unit::Count, "Channels on which nothing works, as this worker knows the fleet."),
        (ATTEMPTS_RUNNING, Unit::Count, "Tries running now, by kind."),
        (EVENTS_PENDING, Unit::Count, "Events that are not routed yet, those in hand included."),
        (
            EVENTS_OLDEST,
            Unit::Seconds,
            "Age of the oldest event that is not routed yet; 0 when there is none.",
        ),
        (LANE_PENDING, Unit::Count, "Deliveries that no worker has taken yet, by kind and lane."),
        (LANE_IN_HAND, Unit::Count, "Deliveries that workers have in hand, by kind and lane."),
        (
            LANE_OLDEST,
            Unit::Seconds,
            "How long the oldest delivery of a lane lies there; 0 when there is none.",
        ),
        (QUEUE_MESSAGES, Unit::Count, "Deliveries and timers in the queue, as routers see it."),
        (QUEUE_BYTES, Unit::Bytes, "Bytes in the queue, as routers see it."),
        (QUEUE_BYTES_MAX, Unit::Bytes, "Bytes in the queue at which routing stops."),
        (RECORD_LAG, Unit::Count, "Records that the database does not have yet."),
        (RECORD_LAG_SECONDS, Unit::Seconds, "Age of the oldest record that the database does not have yet."),
        (SOURCES_UNATTACHED, Unit::Count, "Sources whose stream cannot be read at the moment."),
        (DATABASE_UP, Unit::Count, "1 while the database answers this process."),
        (CONNECTED, Unit::Count, "1 while this process is connected to NATS."),
        (READY, Unit::Count, "1 while this process is ready, as /readyz says."),
        (BUILD, Unit::Count, "1, with version, revision and role as labels."),
        (MEMORY, Unit::Bytes, "Memory of this process that is not swapped out."),
        (STARTED, Unit::Seconds, "When this process started, in Unix time."),
    ] {
        describe_gauge!(name, unit, what);
    }
}

fn describe_histograms() {
    for (name, unit, what) in [
        (ATTEMPT_SECONDS, Unit::Seconds, "Length of one try, by kind."),
        (DELIVERY_AGE, Unit::Seconds, "From an event to the acceptance of its delivery, waiting included."),
        (PACE_WAIT, Unit::Seconds, "How long a delivery waited for its channel's rate, by kind."),
        (RECORD_SECONDS, Unit::Seconds, "Length of one transaction of the recorder."),
        (RECORD_BATCH, Unit::Count, "Outcomes in one transaction of the recorder."),
    ] {
        describe_histogram!(name, unit, what);
    }
}

//! The labels that can occur, from the start: a series that begins when something happens hides the first time from every rate.

use metrics::{counter, gauge, histogram};

use super::names::{
    ATTEMPT_SECONDS, ATTEMPTS, ATTEMPTS_RUNNING, CHANNELS_DISABLED, CIRCUITS_OPEN, DATABASE_OUTAGES,
    DELIVERIES_PUBLISHED, DELIVERY_AGE, DEVICES_REMOVED, DISCONNECTS, DOCUMENTS_UNREADABLE, EVENTS_MATCHED,
    EVENTS_ROUTED, LEASES_OVER, NOTIFICATIONS_RECORDED, OUTCOME_STORE_FAILURES, OUTCOMES, OWN_EVENTS,
    PACE_LOST, PACE_SWAPS, PACE_WAIT, PANICS, POSTPONED, RECORD_BATCH, RECORD_SECONDS, RECORDED,
    RECORDS_MISSED, RECORDS_UNREADABLE, REPEATS, RETENTION_REMOVED, RULES_FIRED, SOURCE_MESSAGES,
    SOURCES_UNATTACHED,
};
use super::{SourceResult, api, dead, pace, streams};
use crate::app::Role;
use crate::channel::Kind;
use crate::channel::standing::Cause;
use crate::delivery::Lane;
use crate::outcome::{Outcome, Reason, State};
use crate::store::retention::What;

/// Starts what is small everywhere, and what has many labels in the roles that count it.
pub(super) fn start(role: Role) {
    everywhere();
    api::start_at_zero();
    dead::start_at_zero();
    streams::start_at_zero();
    match role {
        Role::Router => outcomes(),
        Role::Worker => {
            outcomes();
            tries();
        }
        Role::Recorder => {
            database();
            recording();
        }
        Role::Api => {
            outcomes();
            database();
        }
        Role::All => {
            outcomes();
            tries();
            database();
            recording();
        }
    }
}

fn everywhere() {
    for name in [
        EVENTS_ROUTED,
        EVENTS_MATCHED,
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
        for lane in Lane::ALL {
            counter!(DELIVERIES_PUBLISHED, "kind" => kind.as_str(), "lane" => lane.as_str()).absolute(0);
        }
    }
    for what in What::ALL {
        counter!(RETENTION_REMOVED, "what" => what.as_str()).absolute(0);
    }
    for result in ["published", "refused"] {
        counter!(OWN_EVENTS, "result" => result).absolute(0);
    }
    for way in ["nats", "http"] {
        for became in SourceResult::ALL {
            counter!(SOURCE_MESSAGES, "way" => way, "result" => became.as_str()).absolute(0);
        }
    }
    gauge!(SOURCES_UNATTACHED).set(0.0);
}

fn outcomes() {
    for reason in Reason::ALL {
        for state in states(*reason) {
            for kind in Kind::ALL.iter().map(|kind| kind.as_str()).chain(unknown(*reason)) {
                counter!(OUTCOMES, "kind" => kind, "state" => state.as_str(), "reason" => reason.as_str())
                    .absolute(0);
            }
        }
    }
}

/// True when an outcome has a series from the start.
pub(super) fn is_known(outcome: &Outcome) -> bool {
    states(outcome.reason).contains(&outcome.state)
        && (outcome.kind.is_some() || unknown(outcome.reason).is_some())
}

/// What a delivery's kind is called when it names no channel that exists.
fn unknown(reason: Reason) -> Option<&'static str> {
    (reason == Reason::UnknownChannel).then_some("unknown")
}

/// The states that outcomes with this reason have.
fn states(reason: Reason) -> &'static [State] {
    match reason {
        Reason::Accepted => &[State::Sent],
        Reason::Confirmed => &[State::Sent, State::Retrying],
        Reason::Continued => &[State::Retrying],
        Reason::Delayed
        | Reason::Waiting
        | Reason::Redriven
        | Reason::Replayed
        | Reason::QuietHours
        | Reason::Snoozed => &[State::Scheduled],
        Reason::Timeout
        | Reason::Unreachable
        | Reason::ProviderError
        | Reason::Deferred
        | Reason::RateLimited
        | Reason::Rejected
        | Reason::Unauthorized
        | Reason::Gone
        | Reason::BlockedAddress
        | Reason::Misconfigured
        | Reason::Internal => &[State::Retrying, State::Failed],
        Reason::UnknownChannel => &[State::Failed, State::Suppressed],
        Reason::Expired | Reason::Poison | Reason::TooLarge => &[State::Failed],
        Reason::ChannelDisabled
        | Reason::ChannelUnverified
        | Reason::Cooldown
        | Reason::Duplicate
        | Reason::Superseded
        | Reason::OutsideHours
        | Reason::Muted
        | Reason::NoAddress
        | Reason::Unsubscribed
        | Reason::FailedOver
        | Reason::Cancelled => &[State::Suppressed],
        // Of messages that became no delivery.
        Reason::Undecodable | Reason::Unmapped | Reason::InvalidRule => &[],
    }
}

fn tries() {
    for kind in Kind::ALL.iter().map(|kind| kind.as_str()) {
        gauge!(CIRCUITS_OPEN, "kind" => kind).set(0.0);
        gauge!(ATTEMPTS_RUNNING, "kind" => kind).set(0.0);
        // Made and not recorded to: they begin with no observation.
        let _made = (histogram!(ATTEMPT_SECONDS, "kind" => kind), histogram!(PACE_WAIT, "kind" => kind));
        for lane in Lane::ALL {
            let _made = histogram!(DELIVERY_AGE, "kind" => kind, "lane" => lane.as_str());
            for state in [State::Sent, State::Retrying, State::Failed] {
                counter!(ATTEMPTS, "kind" => kind, "lane" => lane.as_str(), "state" => state.as_str())
                    .absolute(0);
            }
        }
    }
    for kind in [Kind::Expo, Kind::WebPush] {
        counter!(DEVICES_REMOVED, "kind" => kind.as_str()).absolute(0);
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
}

fn database() {
    counter!(DATABASE_OUTAGES).absolute(0);
}

fn recording() {
    let _made = (histogram!(RECORD_SECONDS), histogram!(RECORD_BATCH));
}

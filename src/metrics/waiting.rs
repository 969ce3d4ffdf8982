//! What waits in the broker to be routed and to be sent, as it was looked up last.

use std::time::Duration;

use metrics::gauge;

use super::names::{EVENTS_OLDEST, EVENTS_PENDING, LANE_IN_HAND, LANE_OLDEST, LANE_PENDING};
use crate::channel::Kind;
use crate::delivery::Lane;

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub fn events_waiting(messages: u64, oldest: Duration) {
    gauge!(EVENTS_PENDING).set(messages as f64);
    gauge!(EVENTS_OLDEST).set(oldest.as_secs_f64());
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub fn lane_waiting((kind, lane): (Kind, Lane), pending: u64, in_hand: u64, oldest: Duration) {
    let labels = [("kind", kind.as_str()), ("lane", lane.as_str())];
    gauge!(LANE_PENDING, &labels).set(pending as f64);
    gauge!(LANE_IN_HAND, &labels).set(in_hand as f64);
    gauge!(LANE_OLDEST, &labels).set(oldest.as_secs_f64());
}

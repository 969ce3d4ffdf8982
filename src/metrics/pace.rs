//! What is counted of rates and circuits.

use std::collections::HashMap;
use std::time::Duration;

use metrics::{Counter, Histogram, counter, gauge, histogram};

use super::names::{CIRCUITS_OPEN, PACE_LOST, PACE_SWAPS, PACE_WAIT};
use super::{Family, kind_of};
use crate::channel::Kind;
use crate::delivery::Delivery;

/// Somebody's turn has come.
pub fn pace_waited(delivery: &Delivery, waited: Duration) {
    static WAITS: Family<&str, Histogram> = Family::new(|kind| histogram!(PACE_WAIT, "kind" => kind));
    WAITS.get(kind_of(delivery)).record(waited.as_secs_f64());
}

pub fn pace_reserved(conflict: bool) {
    static COUNTERS: Family<&str, Counter> = Family::new(|result| counter!(PACE_SWAPS, "result" => result));
    COUNTERS.get(if conflict { "conflict" } else { "done" }).increment(1);
}

/// Why moments of a rate pass unused.
pub const LOST: [&str; 5] = ["late", "paused", "busy", "share", "circuit"];

/// So many moments of a rate that were reserved pass unused.
pub fn pace_lost(why: &'static str, moments: usize) {
    static COUNTERS: Family<&str, Counter> = Family::new(|why| counter!(PACE_LOST, "why" => why));
    if moments > 0 {
        COUNTERS.get(why).increment(moments as u64);
    }
}

/// The kinds of the channels whose circuits are open.
pub fn circuits_open(kinds: impl Iterator<Item = Kind>) {
    let mut open: HashMap<Kind, u32> = HashMap::new();
    for kind in kinds {
        *open.entry(kind).or_default() += 1;
    }
    for kind in Kind::ALL {
        gauge!(CIRCUITS_OPEN, "kind" => kind.as_str()).set(open.get(kind).copied().unwrap_or(0));
    }
}

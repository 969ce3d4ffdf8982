//! What was given up, and the long work that sends it again or routes events once more.

use metrics::{Counter, Unit, counter, describe_counter, describe_gauge, gauge};

use super::names::{DEAD_LETTERS, JOB_ITEMS, JOBS_RUNNING};
use crate::jobs::{Kind, Result};
use crate::outcome::{Fault, Reason};

pub fn dead_letter(reason: Reason) {
    dead_letters(reason).increment(1);
}

fn dead_letters(reason: Reason) -> Counter {
    // A failure for a reason that is none would be our own fault.
    let fault = reason.fault().unwrap_or(Fault::Ours);
    counter!(DEAD_LETTERS, "reason" => reason.as_str(), "fault" => fault.as_str())
}

pub fn job_started(kind: Kind) {
    gauge!(JOBS_RUNNING, "kind" => kind.as_str()).increment(1.0);
}

pub fn job_let_go(kind: Kind) {
    gauge!(JOBS_RUNNING, "kind" => kind.as_str()).decrement(1.0);
}

pub fn job_items(kind: Kind, result: Result, count: u64) {
    counter!(JOB_ITEMS, "kind" => kind.as_str(), "result" => result.as_str()).increment(count);
}

pub(super) fn describe() {
    describe_counter!(
        DEAD_LETTERS,
        Unit::Count,
        "Deliveries and messages given up, by reason and by whose fault it was."
    );
    describe_gauge!(JOBS_RUNNING, Unit::Count, "Jobs that this process works on, by kind.");
    describe_counter!(JOB_ITEMS, Unit::Count, "What jobs did, by kind and by what came of it.");
}

pub(super) fn start_at_zero() {
    for reason in Reason::ALL.iter().filter(|reason| reason.fault().is_some()) {
        dead_letters(*reason).absolute(0);
    }
    for kind in Kind::ALL {
        gauge!(JOBS_RUNNING, "kind" => kind.as_str()).set(0.0);
        for result in Result::ALL {
            job_items(*kind, *result, 0);
        }
    }
}

//! Repeats and their reasons: at least once may send twice, and only for a reason.

use std::collections::BTreeSet;

use super::{Checker, Toll};
use crate::chaos::fleet::RECONNECT_MS;
use crate::chaos::log::{Explains, Receipt, Struck};

/// A request is on its way for so long before its receiver has read it, and an acknowledgement after its outcome is stored:
/// what the broker had acknowledged this short a time before it was killed may come again.
const ON_THE_WAY_MS: u64 = 500;

/// The broker's wait for an acknowledgement, and the time between two looks at a consumer.
const ROUTED_MS: u64 = 35_000;

/// A server writes down what was taken from its queues this often (`sync_interval`).
const UNSYNCED_MS: u64 = 120_000;
/// A timer that comes back fires this soon.
const FIRED_MS: u64 = 3_000;
/// A consumer made anew hands out what it finds this soon; in a cluster it needs a leader first.
const HANDED_OUT_MS: u64 = 15_000;

impl Checker<'_> {
    /// Every acceptance beyond the first has a fault that struck while an earlier try of that delivery was in flight.
    pub fn repeats(&mut self) {
        self.found.faults = vec![Toll::default(); self.log.faults.len()];
        let mut accepted: Vec<u64> =
            self.log.receipts.iter().filter(|receipt| receipt.accepted).map(|receipt| receipt.at).collect();
        accepted.sort_unstable();
        for (fault, toll) in self.log.faults.iter().zip(&mut self.found.faults) {
            toll.until_next = accepted.iter().find(|at| **at >= fault.to).map(|at| at - fault.to);
        }
        let deliveries: BTreeSet<&str> = self.index.receipts.keys().copied().collect();
        for delivery in deliveries {
            let receipts = self.index.receipts(delivery).to_vec();
            let mut flights = Vec::new();
            let mut acceptances = 0;
            let mut struck = BTreeSet::new();
            let mut receipts_before = Vec::new();
            for receipt in receipts {
                if receipt.accepted {
                    acceptances += 1;
                    if acceptances > 1 {
                        self.found.duplicates += 1;
                        if let Some((fault, reach)) = self.explanation(&flights, receipt.at) {
                            let toll = &mut self.found.faults[fault];
                            toll.duplicates += 1;
                            toll.reach = toll.reach.max(reach);
                        } else if self.answered_late(&receipts_before) {
                            self.found.late += 1;
                        } else {
                            let detail = format!("{delivery}: {:?}", self.index.receipts(delivery));
                            self.violation("a repeat that no fault explains", detail);
                        }
                    }
                }
                let flight = self.flight(receipt);
                struck.extend(
                    self.log
                        .faults
                        .iter()
                        .enumerate()
                        .filter(|(_, fault)| meets(fault, flight))
                        .map(|(index, _)| index),
                );
                flights.push(flight);
                receipts_before.push(receipt);
            }
            for fault in struck {
                self.found.faults[fault].in_flight += 1;
            }
        }
    }

    /// True when a receiver accepted, and its answer came after the time of the try: that is recorded, and tried again.
    fn answered_late(&self, before: &[&Receipt]) -> bool {
        let records = self.index.records(before.first().map_or("", |receipt| &receipt.delivery));
        before.iter().filter(|receipt| receipt.accepted).any(|receipt| {
            let ends = records.iter().filter(|record| record.attempt > 0 && record.stored + 1 >= receipt.at);
            let first = ends.min_by_key(|record| record.stored);
            first.is_some_and(|record| record.state == "retrying" && record.reason == "timeout")
        })
    }

    /// From when to when a try was in flight: until its outcome, or that of whoever repeated it, was stored.
    fn flight(&self, receipt: &Receipt) -> (u64, u64) {
        let tried = self.index.records(&receipt.delivery).iter().filter(|record| record.attempt > 0);
        let stored = tried.map(|record| record.stored);
        // The broker's clock is this machine's; its milliseconds may be cut where ours are not.
        let stored =
            stored.filter(|stored| *stored + 1 >= receipt.at).min().unwrap_or(u64::MAX - ON_THE_WAY_MS);
        (receipt.at.saturating_sub(ON_THE_WAY_MS), stored + ON_THE_WAY_MS)
    }

    /// The fault that an earlier try met, and how long before it the outcome of that try was stored.
    fn explanation(&self, flights: &[(u64, u64)], again: u64) -> Option<(usize, u64)> {
        let first = |met: fn(&Struck, (u64, u64)) -> bool| {
            self.log.faults.iter().enumerate().find_map(|(index, fault)| {
                let flight = flights.iter().find(|flight| met(fault, **flight))?;
                Some((index, fault.from.saturating_sub(flight.1 - ON_THE_WAY_MS)))
            })
        };
        first(meets).or_else(|| first(reaches)).or_else(|| self.brought_back(flights, again))
    }

    /// What a killed server's files brought back: at once when it was a timer, else when a consumer was made anew.
    fn brought_back(&self, flights: &[(u64, u64)], again: u64) -> Option<(usize, u64)> {
        let soon = |after: u64, ms: u64| (after..after + ms).contains(&again);
        let anew = self.log.faults.iter().filter(|fault| fault.name.starts_with("delete a consumer"));
        let anew: Vec<u64> = anew.map(|fault| fault.from).filter(|at| soon(*at, HANDED_OUT_MS)).collect();
        self.log.faults.iter().enumerate().find_map(|(index, fault)| {
            let mut before = flights.iter().map(|(_, to)| fault.from.checked_sub(to - ON_THE_WAY_MS));
            let reach = before.find_map(|reach| reach.filter(|reach| *reach < UNSYNCED_MS))?;
            let back = fault.to.saturating_sub(RECONNECT_MS);
            let handed_out =
                soon(back, FIRED_MS) || soon(fault.to, FIRED_MS) || anew.iter().any(|at| *at > fault.from);
            (fault.explains == Explains::Restart && handed_out).then_some((index, reach))
        })
    }
}

/// True when a fault that may lead to repeats struck in that time.
fn meets(fault: &Struck, (from, to): (u64, u64)) -> bool {
    match fault.explains {
        Explains::Nothing => false,
        Explains::Moment => (from..=to).contains(&fault.from),
        Explains::Span | Explains::Restart | Explains::SpanAndRouted => fault.from <= to && fault.to >= from,
    }
}

/// The same for what had been routed before it struck.
fn reaches(fault: &Struck, (from, to): (u64, u64)) -> bool {
    fault.explains == Explains::SpanAndRouted && fault.from <= to + ROUTED_MS && fault.to >= from
}

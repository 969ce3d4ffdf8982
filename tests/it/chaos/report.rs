//! What a run found: a table for people, a file for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::checker::Findings;
use super::log::{Explains, Log};
use super::plan::Planned;

/// One run and its findings.
pub struct Report<'a> {
    pub seed: u64,
    pub nodes: usize,
    pub seconds: u64,
    pub plan: &'a [Planned],
    pub log: &'a Log,
    pub findings: &'a Findings,
    pub fell: &'a [(String, i32)],
}

/// What the faults of one kind came to.
#[derive(Default)]
struct Line {
    times: usize,
    in_flight: usize,
    duplicates: usize,
    reach: u64,
    slowest_next: u64,
}

const SHOWN: usize = 20;

impl Report<'_> {
    fn lines(&self) -> BTreeMap<String, Line> {
        let mut lines: BTreeMap<String, Line> = BTreeMap::new();
        for planned in self.plan {
            lines.entry(planned.fault.name()).or_default();
        }
        for (fault, toll) in self.log.faults.iter().zip(&self.findings.faults) {
            let line = lines.entry(fault.name.clone()).or_default();
            line.times += 1;
            line.in_flight += toll.in_flight;
            line.duplicates += toll.duplicates;
            line.reach = line.reach.max(toll.reach);
            line.slowest_next = line.slowest_next.max(toll.until_next.unwrap_or_default());
        }
        lines
    }

    fn acknowledged(&self) -> usize {
        self.log.events.iter().filter(|event| event.acknowledged.is_some()).count()
    }

    fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for row in &self.log.rows {
            *counts.entry(row.status.as_str()).or_default() += 1;
        }
        counts
    }

    pub fn table(&self) -> String {
        let mut text = String::new();
        let place =
            if self.nodes == 1 { "one server".to_owned() } else { format!("a cluster of {}", self.nodes) };
        let head = format!("\nfaults for {} s on {place}, seed {}", self.seconds, self.seed);
        writeln!(text, "{head}\n").unwrap();
        let heads = ["times", "in flight", "sent twice", "stored before", "next delivery"];
        let [times, in_flight, twice, before, next] = heads;
        writeln!(text, "{:<28} {times:>5} {in_flight:>10} {twice:>10} {before:>14} {next:>14}", "fault")
            .unwrap();
        for (name, line) in self.lines() {
            let Line { times, in_flight, duplicates, reach, slowest_next } = line;
            writeln!(
                text,
                "{name:<28} {times:>5} {in_flight:>10} {duplicates:>10} {reach:>11} ms {slowest_next:>11} ms"
            )
            .unwrap();
        }
        let retried: u32 = self.log.events.iter().map(|event| event.tries.saturating_sub(1)).sum();
        let confirmed = self.log.sends.iter().filter(|send| send.delivery.is_some()).count();
        writeln!(
            text,
            "\n{} events acknowledged ({} never, {retried} publishes repeated), {confirmed} of {} sends",
            self.acknowledged(),
            self.log.events.len() - self.acknowledged(),
            self.log.sends.len()
        )
        .unwrap();
        writeln!(
            text,
            "{} deliveries {:?}, {} requests received, {} accepted twice ({} answered too late), {} dead letters",
            self.log.rows.len(),
            self.counts(),
            self.log.receipts.len(),
            self.findings.duplicates,
            self.findings.late,
            self.log.letters.len()
        )
        .unwrap();
        if !self.fell.is_empty() {
            writeln!(text, "ended by themselves and started again: {:?}", self.fell).unwrap();
        }
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for violation in &self.findings.violations {
            *kinds.entry(violation.what).or_default() += 1;
        }
        if kinds.is_empty() {
            writeln!(text, "nothing lost, nothing made up, every repeat explained by a fault").unwrap();
        }
        for (what, count) in kinds {
            writeln!(text, "VIOLATED: {what}: {count}").unwrap();
        }
        for violation in self.findings.violations.iter().take(SHOWN) {
            writeln!(text, "  {}: {}", violation.what, violation.detail).unwrap();
            if let Some(delivery) = violation.delivery() {
                text.push_str(&self.story(delivery));
            }
        }
        text
    }

    /// All that is known of a delivery, in its order, between the faults around it.
    fn story(&self, delivery: &str) -> String {
        let mut lines = BTreeMap::new();
        for receipt in self.log.receipts.iter().filter(|receipt| receipt.delivery == delivery) {
            lines
                .entry(receipt.at)
                .or_insert_with(Vec::new)
                .push(format!("received, accepted {}", receipt.accepted));
        }
        for record in self.log.records.iter().filter(|record| record.delivery == delivery) {
            lines.entry(record.stored).or_insert_with(Vec::new).push(format!("{record:?}"));
        }
        let (first, last) = (lines.keys().next().copied(), lines.keys().last().copied());
        for fault in &self.log.faults {
            let near = |at: Option<u64>| at.is_some_and(|at| at.abs_diff(fault.from) < 40_000);
            if near(first) || near(last) {
                lines.entry(fault.from).or_default().push(format!("--- {} until {}", fault.name, fault.to));
            }
        }
        let mut text = String::new();
        for (at, what) in lines {
            for what in what {
                writeln!(text, "      {at} {what}").unwrap();
            }
        }
        text
    }

    /// Writes the same as JSON and returns where.
    pub fn write(&self) -> PathBuf {
        let explains = |explains: Explains| match explains {
            Explains::Nothing => "nothing",
            Explains::Moment => "moment",
            Explains::Span => "span",
            Explains::Restart => "span and what came back from its files",
            Explains::SpanAndRouted => "span and what was routed before",
        };
        let faults = self.log.faults.iter().zip(&self.findings.faults).map(|(fault, toll)| {
            json!({
                "fault": fault.name, "fromMs": fault.from, "toMs": fault.to, "explains": explains(fault.explains),
                "inFlight": toll.in_flight, "sentTwice": toll.duplicates, "storedBeforeMs": toll.reach, "nextDeliveryMs": toll.until_next,
            })
        });
        let violations: Vec<_> = self
            .findings
            .violations
            .iter()
            .map(|violation| json!({ "what": violation.what, "detail": violation.detail }))
            .collect();
        let report = json!({
            "seed": self.seed, "nodes": self.nodes, "seconds": self.seconds, "faults": faults.collect::<Vec<_>>(),
            "eventsAcknowledged": self.acknowledged(), "events": self.log.events.len(), "sends": self.log.sends.len(),
            "deliveries": self.counts(), "received": self.log.receipts.len(), "sentTwice": self.findings.duplicates, "answeredLate": self.findings.late,
            "deadLetters": self.log.letters.len(), "endedByThemselves": self.fell, "violations": violations,
        });
        let name = format!("chaos-{}-{}.json", self.nodes, self.seed);
        let path = target(&name);
        std::fs::write(&path, serde_json::to_vec_pretty(&report).unwrap()).unwrap();
        path
    }

    /// Keeps what the processes said: a seed repeats the faults, and not every race.
    pub fn keep_logs(&self, folder: &Path, brokers: impl Iterator<Item = (String, String)>) -> PathBuf {
        let kept = target(&format!("chaos-{}-{}-logs", self.nodes, self.seed));
        std::fs::create_dir_all(&kept).unwrap();
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                std::fs::copy(entry.path(), kept.join(entry.file_name())).unwrap();
            }
        }
        for (name, log) in brokers {
            std::fs::write(kept.join(format!("nats-{name}.log")), log).unwrap();
        }
        kept
    }
}

fn target(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(name)
}

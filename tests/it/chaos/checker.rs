//! Compares what was acknowledged with what was recorded and what was received, event by event. Pure: a log in, findings
//! out; it shares no code with what it checks.

mod repeats;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::load::COOLDOWN;
use super::log::{Cancel, Case, Explains, Log, Receipt, Record, Row, Step, Struck};

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is wrong, and where.
    pub violations: Vec<Violation>,
    /// Accepted requests beyond the first of a delivery.
    pub duplicates: usize,
    /// Of these, as no fault explains them: the receiver answered after the time of the try.
    pub late: usize,
    /// For each fault: what was in flight at it and what of it was accepted again.
    pub faults: Vec<Toll>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub what: &'static str,
    pub detail: String,
}

/// What a fault cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Toll {
    pub in_flight: usize,
    pub duplicates: usize,
    /// The oldest outcome stored before it whose delivery came again: so many milliseconds before.
    pub reach: u64,
    /// From its end to the next acceptance, in milliseconds; None when nothing came any more.
    pub until_next: Option<u64>,
}

impl Violation {
    /// The delivery that it is about.
    pub fn delivery(&self) -> Option<&str> {
        let start = self.detail.find("d_")?;
        let end = self.detail[start..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        Some(&self.detail[start..end.map_or(self.detail.len(), |end| start + end)])
    }
}

pub fn check(log: &Log) -> Findings {
    let mut checker = Checker { log, index: Index::of(log), found: Findings::default() };
    checker.pending();
    checker.events();
    checker.sends();
    checker.phantoms();
    checker.cooldowns();
    checker.finals();
    checker.history();
    checker.letters();
    checker.repeats();
    checker.found
}

/// The log by what it is asked for.
struct Index<'a> {
    rows: HashMap<&'a str, &'a Row>,
    by_event: HashMap<&'a str, Vec<&'a Row>>,
    /// Of sends, by title.
    by_title: HashMap<&'a str, Vec<&'a Row>>,
    receipts: HashMap<&'a str, Vec<&'a Receipt>>,
    records: HashMap<&'a str, Vec<&'a Record>>,
}

impl<'a> Index<'a> {
    fn of(log: &'a Log) -> Self {
        let mut index = Self {
            rows: log.rows.iter().map(|row| (row.delivery.as_str(), row)).collect(),
            by_event: HashMap::new(),
            by_title: HashMap::new(),
            receipts: HashMap::new(),
            records: HashMap::new(),
        };
        for row in &log.rows {
            let by = if row.rule.is_some() {
                index.by_event.entry(row.event.as_str())
            } else {
                index.by_title.entry(row.title.as_str())
            };
            by.or_default().push(row);
        }
        for receipt in &log.receipts {
            index.receipts.entry(&receipt.delivery).or_default().push(receipt);
        }
        for record in &log.records {
            index.records.entry(&record.delivery).or_default().push(record);
        }
        for receipts in index.receipts.values_mut() {
            receipts.sort_by_key(|receipt| receipt.at);
        }
        index
    }

    fn receipts(&self, delivery: &str) -> &[&'a Receipt] {
        self.receipts.get(delivery).map_or(&[], Vec::as_slice)
    }

    fn records(&self, delivery: &str) -> &[&'a Record] {
        self.records.get(delivery).map_or(&[], Vec::as_slice)
    }

    fn accepted(&self, delivery: &str) -> usize {
        self.receipts(delivery).iter().filter(|receipt| receipt.accepted).count()
    }
}

struct Checker<'a> {
    log: &'a Log,
    index: Index<'a>,
    found: Findings,
}

impl Checker<'_> {
    fn violation(&mut self, what: &'static str, detail: impl Into<String>) {
        self.found.violations.push(Violation { what, detail: detail.into() });
    }

    fn pending(&mut self) {
        for left in &self.log.pending {
            self.violation("pending at the end", left.clone());
        }
        for row in &self.log.rows {
            if !["sent", "failed", "suppressed"].contains(&row.status.as_str()) {
                let detail = format!("{} of event {} is {}", row.delivery, row.event, row.status);
                self.violation("pending at the end", detail);
            }
        }
    }

    /// Every event has exactly the deliveries that its rules ask for, each with an end that fits.
    fn events(&mut self) {
        for event in &self.log.events {
            let rows = self.index.by_event.get(event.id.as_str()).cloned().unwrap_or_default();
            for channel in event.case.channels() {
                let here: Vec<_> = rows.iter().filter(|row| row.channel == *channel).collect();
                let place = format!("event {} ({:?}) for {channel}", event.id, event.case);
                match here.as_slice() {
                    // What the broker never acknowledged may be there or not.
                    [] if event.acknowledged.is_none() && rows.is_empty() => {}
                    [] => self.violation("lost", format!("{place}: acknowledged, and not in the history")),
                    [row] => self.end(row, event.case.ends(), &place),
                    _ => self.violation("two deliveries for one", format!("{place}: {here:?}")),
                }
            }
            for row in rows {
                let fits = event.case.channels().contains(&row.channel.as_str())
                    && row.rule.as_deref() == event.case.rule();
                if !fits {
                    let detail = format!("event {} ({:?}): {row:?}", event.id, event.case);
                    self.violation("phantom", detail);
                }
            }
        }
    }

    /// One delivery's end is one of these, and its receiver agrees.
    fn end(&mut self, row: &Row, ends: &[(&str, &str)], place: &str) {
        let fits = |(state, reason): &(&str, &str)| {
            row.status == *state && (reason.is_empty() || row.reason == *reason)
        };
        if !ends.iter().any(fits) {
            self.violation("wrong end", format!("{place}: {} ({}), not {ends:?}", row.status, row.reason));
        }
        let accepted = self.index.accepted(&row.delivery);
        if row.status == "sent" && accepted == 0 {
            self.violation("sent, and never received", format!("{place}: {}", row.delivery));
        }
        if row.status != "sent" && accepted > 0 {
            let detail = format!("{place}: {} is {} ({})", row.delivery, row.status, row.reason);
            self.violation("received, and not sent", detail);
        }
    }

    fn sends(&mut self) {
        const SENT: (&str, &str) = ("sent", "");
        const CANCELLED: (&str, &str) = ("suppressed", "cancelled");
        for send in &self.log.sends {
            let rows = self.index.by_title.get(send.key.as_str()).cloned().unwrap_or_default();
            let place = format!("send {}", send.key);
            let ends: &[(&str, &str)] = match send.cancel {
                Cancel::No | Cancel::TooLate => &[SENT],
                Cancel::Confirmed => &[CANCELLED],
                Cancel::Asked => &[SENT, CANCELLED],
            };
            match (rows.as_slice(), &send.delivery) {
                ([], None) => {}
                ([], Some(id)) => {
                    self.violation("lost", format!("{place}: answered with {id}, and not in the history"));
                }
                ([row], id) => {
                    if id.as_ref().is_some_and(|id| *id != row.delivery) {
                        self.violation("two deliveries for one", format!("{place}: {id:?} and {row:?}"));
                    }
                    self.end(row, ends, &place);
                }
                (_, _) => self.violation("two deliveries for one", format!("{place}: {rows:?}")),
            }
        }
    }

    /// Nothing is there that nobody asked for.
    fn phantoms(&mut self) {
        let events: HashSet<&str> = self.log.events.iter().map(|event| event.id.as_str()).collect();
        let sends: HashSet<&str> = self.log.sends.iter().map(|send| send.key.as_str()).collect();
        for row in &self.log.rows {
            let known = match row.rule {
                Some(_) => events.contains(row.event.as_str()),
                None => sends.contains(row.title.as_str()),
            };
            if !known {
                self.violation("phantom", format!("nobody asked for {row:?}"));
            }
        }
        for receipt in &self.log.receipts {
            match self.index.rows.get(receipt.delivery.as_str()) {
                None => self.violation("phantom", format!("received, and not in the history: {receipt:?}")),
                Some(row) if row.channel != receipt.channel => {
                    self.violation("phantom", format!("received at the wrong place: {receipt:?} {row:?}"));
                }
                Some(_) => {}
            }
        }
    }

    /// A window lets one through: no key has more than fit into the time, and none is silenced altogether.
    fn cooldowns(&mut self) {
        let mut keys: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
        for event in &self.log.events {
            let Case::Cool(key) = &event.case else { continue };
            let rows = self.index.by_event.get(event.id.as_str());
            let passed = rows.is_some_and(|rows| rows.iter().any(|row| row.status == "sent"));
            let (begun, count) = keys.entry(key).or_insert((event.begun, 0));
            *begun = (*begun).min(event.begun);
            *count += usize::from(passed);
        }
        let end = self.log.records.iter().map(|record| record.stored).max().unwrap_or_default();
        let window = u64::try_from(COOLDOWN.as_millis()).unwrap();
        for (key, (begun, passed)) in keys {
            let most = usize::try_from(end.saturating_sub(begun) / window).unwrap() + 1;
            if passed == 0 || passed > most {
                self.violation("cooldown", format!("key {key}: {passed} passed, 1 to {most} may"));
            }
        }
    }

    /// Within one life a delivery has one final state, however often it was reported.
    fn finals(&mut self) {
        let mut finals: HashMap<(&str, u64), BTreeSet<&str>> = HashMap::new();
        for record in &self.log.records {
            if rank(&record.state) > 0 {
                finals.entry((&record.delivery, record.redrive)).or_default().insert(&record.state);
            }
        }
        let double: Vec<String> = finals
            .iter()
            .filter(|(_, states)| states.len() > 1)
            .map(|((delivery, _), states)| format!("{delivery}: {states:?}"))
            .collect();
        for detail in double {
            self.violation("two final outcomes", detail);
        }
    }

    /// The history is what the outcomes say, and nothing else.
    fn history(&mut self) {
        let deliveries: BTreeSet<&str> = self.index.records.keys().copied().collect();
        for delivery in &deliveries {
            let records = self.index.records(delivery);
            let Some(row) = self.index.rows.get(delivery).copied() else {
                let detail = format!("{delivery}: {} outcomes, and no row", records.len());
                self.violation("history differs", detail);
                continue;
            };
            let best = records.iter().map(|record| (record.redrive, rank(&record.state))).max();
            let said = Some((row.redrive, rank(&row.status)));
            let tries = records.iter().filter(|record| record.redrive == row.redrive);
            let tries = tries.map(|record| record.attempt).max().unwrap_or_default();
            // A repeat of an earlier try may say more tries than the one that stands.
            if best != said || (rank(&row.status) == 0 && row.attempts != tries) || row.attempts > tries {
                let detail = format!("{delivery}: {row:?}, {tries} tries, outcomes {records:?}");
                self.violation("history differs", detail);
            }
        }
        for row in &self.log.rows {
            if !deliveries.contains(row.delivery.as_str()) {
                self.violation("history differs", format!("no outcome ever said {row:?}"));
            }
        }
        let told: BTreeSet<Step> = self.log.records.iter().map(step).collect();
        let kept: BTreeSet<Step> = self.log.steps.iter().cloned().collect();
        let differ: Vec<String> = told.symmetric_difference(&kept).map(|step| format!("{step:?}")).collect();
        for detail in differ {
            self.violation("history differs", detail);
        }
    }

    /// A dead letter has a cause that fits, and whatever failed has one.
    fn letters(&mut self) {
        let mut kept: HashMap<&str, &str> = HashMap::new();
        let unreadable: HashSet<&str> = self
            .log
            .events
            .iter()
            .filter(|event| event.case == Case::Unreadable)
            .map(|event| event.id.as_str())
            .collect();
        for letter in &self.log.letters {
            if letter.reason.is_empty() {
                self.violation("dead letter without a cause", format!("{letter:?}"));
            }
            if let Some(delivery) = &letter.delivery {
                kept.insert(delivery, &letter.reason);
                if self.index.rows.get(delivery.as_str()).is_none_or(|row| row.status != "failed") {
                    self.violation("dead letter of what did not fail", format!("{letter:?}"));
                }
            } else if letter.reason != "undecodable"
                || !letter.text.rsplit(' ').next().is_some_and(|id| unreadable.contains(id))
            {
                self.violation("dead letter without a cause", format!("{letter:?}"));
            }
        }
        let failed: Vec<&Row> = self.log.rows.iter().filter(|row| row.status == "failed").collect();
        for row in failed {
            if !kept.contains_key(row.delivery.as_str()) {
                self.violation("failed, and no dead letter", format!("{row:?}"));
            }
        }
        let texts: HashSet<&str> =
            self.log.letters.iter().filter_map(|letter| letter.text.rsplit(' ').next()).collect();
        for event in &self.log.events {
            if event.case == Case::Unreadable
                && event.acknowledged.is_some()
                && !texts.contains(event.id.as_str())
            {
                self.violation("lost", format!("unreadable event {}: no dead letter", event.id));
            }
        }
    }
}

fn rank(state: &str) -> u8 {
    match state {
        "sent" => 3,
        "failed" => 2,
        "suppressed" => 1,
        _ => 0,
    }
}

fn step(record: &Record) -> Step {
    Step {
        delivery: record.delivery.clone(),
        redrive: record.redrive,
        attempt: record.attempt,
        postponed: record.postponed,
        state: record.state.clone(),
    }
}

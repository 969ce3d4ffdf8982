//! What each thing that was found means. Every rule says why it matters, and the next step.

mod servers;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

pub(super) use self::servers::servers;
use super::{Check, Database, Found};
use crate::app::Role;
use crate::overview::Hold;

/// Clocks that differ more make timers, windows and ages wrong that people see.
const SKEW_MS_MAX: i64 = 2_000;
/// A consumer that has so much in hand gives out nothing soon.
const IN_HAND_PERCENT: u64 = 90;

const UNSEEN: &str = "what cannot be seen cannot be judged";
const AS_OPERATOR: &str =
    "run this as the operator's NATS user, which may read all of JetStream (docs/security.md)";

fn unseen(check: &'static str, error: &str) -> Check {
    Check::warn(check, format!("could not be looked up: {error}"), UNSEEN, AS_OPERATOR)
}

fn listed<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}

pub(super) fn streams(found: &Found) -> Vec<Check> {
    const NAME: &str = "streams";
    let compared = match &found.streams {
        Ok(compared) => compared,
        Err(error) => return vec![unseen(NAME, error)],
    };
    let mut checks = Vec::new();
    let missing = listed(compared.iter().filter(|one| one.missing).map(|one| &one.name));
    if !missing.is_empty() {
        checks.push(Check::fail(
            NAME,
            format!("missing: {missing}"),
            "nothing can be stored there",
            "bugle setup",
        ));
    }
    for one in compared.iter().filter(|one| !one.differs.is_empty()) {
        let said = format!("{} has another {} than this version makes", one.name, listed(&one.differs));
        checks.push(Check::warn(NAME, said, "promises of Bugle rest on these settings", "bugle setup"));
    }
    let offline = compared.iter().filter(|one| one.behind > 0 || !one.has_leader);
    let offline = listed(offline.map(|one| &one.name));
    if !offline.is_empty() {
        let said = format!("without a leader, or with replicas that are away or behind: {offline}");
        checks.push(Check::fail(
            NAME,
            said,
            "one more failure stops them",
            "look at the servers: nats server report jetstream",
        ));
    }
    let reached = found.servers.iter().filter(|server| server.version.is_ok()).count();
    if reached >= 3 && found.replicas < 3 {
        let said = format!("nats.replicas is {} in a cluster of {reached}", found.replicas);
        let why = "the failure of one server takes streams with it";
        checks.push(Check::fail("replicas", said, why, "set nats.replicas = 3, then bugle setup"));
    } else {
        checks
            .push(Check::ok("replicas", format!("{} of each stream, as nats.replicas says", found.replicas)));
    }
    if checks.iter().all(|check| check.check != NAME) {
        checks.push(Check::ok(
            NAME,
            format!("{} streams and buckets are as this version makes them", compared.len()),
        ));
    }
    checks
}

/// How much of its time in the stream something has waited already.
fn is_late(oldest: Option<Timestamp>, kept: Option<Duration>, now: Timestamp) -> bool {
    let age = oldest.and_then(|at| Duration::try_from(now.duration_since(at)).ok());
    matches!((age, kept), (Some(age), Some(kept)) if age > kept / 2)
}

pub(super) fn queues(found: &Found) -> Vec<Check> {
    const NAME: &str = "queues";
    let consumers = match &found.consumers {
        Ok(consumers) => consumers,
        Err(error) => return vec![unseen(NAME, error)],
    };
    let mut checks = Vec::new();
    if consumers.iter().all(|one| one.waiting.kind.is_some()) {
        checks.push(Check::warn(
            NAME,
            "no router has ever run here: its consumer is missing",
            "events wait unrouted",
            "start bugle-router",
        ));
    }
    for one in consumers {
        let name = one.waiting.name();
        if one.waiting.in_hand * 100 >= one.in_hand_max * IN_HAND_PERCENT {
            let said = format!("{name}: {} of {} are in hand", one.waiting.in_hand, one.in_hand_max);
            checks.push(Check::fail(
                NAME,
                said,
                "at the bound nothing more is handed out",
                "look at the processes that hold them: bugle status",
            ));
        }
        if is_late(one.waiting.oldest, one.kept, found.at) {
            let said = format!(
                "{name}: the oldest has waited for more than half of the time that its stream keeps it"
            );
            checks.push(Check::fail(
                NAME,
                said,
                "what expires before it is taken is lost",
                "start more of its processes, or keep longer (keep.events_days), then bugle setup",
            ));
        }
    }
    match (&found.queued, &found.processes) {
        (Ok(queued), Ok(processes)) => {
            let sent = |kind: &str| {
                processes.iter().any(|heard| heard.presence.process.kinds.iter().any(|sent| sent == kind))
            };
            for (kind, count) in queued.iter().filter(|(kind, _)| !sent(kind)) {
                let said =
                    format!("{count} deliveries of kind {kind} wait, and no worker of that kind answers");
                checks.push(Check::fail(
                    NAME,
                    said,
                    "nobody sends them, until they expire",
                    format!("start a worker with {kind} among worker.kinds"),
                ));
            }
        }
        (Err(error), _) => checks.push(unseen(NAME, error)),
        (Ok(_), Err(_)) => {}
    }
    if checks.is_empty() {
        checks.push(Check::ok(NAME, format!("{} consumers keep up", consumers.len())));
    }
    checks
}

pub(super) fn processes(found: &Found) -> Vec<Check> {
    const NAME: &str = "processes";
    let processes = match &found.processes {
        Ok(processes) => processes,
        Err(error) => return vec![unseen(NAME, error)],
    };
    let mut checks = Vec::new();
    for role in [Role::Router, Role::Worker, Role::Recorder, Role::Api] {
        if !processes.iter().any(|heard| heard.presence.process.does(role)) {
            let said = format!("no {} answers", role.as_str());
            let next = format!("start bugle-{}, or let its NATS user subscribe to bugle.ping", role.as_str());
            checks.push(Check::fail(NAME, said, "its work waits until one is there", next));
        }
    }
    for heard in processes {
        let name = heard.presence.process.name();
        if !heard.presence.ready {
            let said = format!("{name} is not ready: {}", heard.presence.complaints.join("; "));
            checks.push(Check::fail(NAME, said, "it does not do its work", "read its log"));
        }
        if heard.skew_ms.abs() > SKEW_MS_MAX {
            let said = format!("the clock of {name} differs from this machine's by {} ms", heard.skew_ms);
            checks.push(Check::fail(
                NAME,
                said,
                "cooldowns, quiet hours, rates and ages are wrong there",
                "let a time service (chrony, systemd-timesyncd) set the clock",
            ));
        }
    }
    let versions: BTreeSet<&str> =
        processes.iter().map(|heard| heard.presence.process.version.as_str()).collect();
    if versions.len() > 1 {
        let said = format!("versions differ: {}", listed(&versions));
        checks.push(Check::warn(
            NAME,
            said,
            "two versions are for the time of a rollout",
            "finish the rollout",
        ));
    }
    if checks.is_empty() {
        checks.push(Check::ok(NAME, format!("{} answer and are ready", processes.len())));
    }
    checks
}

pub(super) fn database(found: &Found) -> Check {
    const NAME: &str = "database";
    match &found.database {
        Database::Unseen => Check::ok(NAME, "not looked at: database.url is not set here"),
        Database::Away(error) => Check::fail(
            NAME,
            error.clone(),
            "deliveries go on; the history stands still until it is back",
            "check database.url, and whether it runs",
        ),
        Database::There { steps: (made, known), .. } if made < known => {
            let said = format!("its tables are at step {made} of {known}");
            Check::fail(NAME, said, "this version cannot write what it has to", "bugle setup")
        }
        Database::There { steps: (made, known), .. } if made > known => {
            let said = format!("its tables are at step {made}, and this program knows {known}");
            Check::warn(
                NAME,
                said,
                "an older program looks at a newer database",
                "run the doctor of the newer version",
            )
        }
        Database::There { oldest, kept, behind, .. } if is_late(*oldest, *kept, found.at) => {
            let said = format!(
                "{behind} records wait, the oldest for more than half of the time that the broker keeps it"
            );
            Check::fail(
                NAME,
                said,
                "what expires before it is recorded is missing in the history",
                "start bugle-recorder, or keep longer (keep.records_days), then bugle setup",
            )
        }
        Database::There { behind, .. } => {
            Check::ok(NAME, format!("it answers, its tables are up to date, {behind} records behind"))
        }
    }
}

pub(super) fn documents(found: &Found) -> Vec<Check> {
    const NAME: &str = "documents";
    let documents = match &found.documents {
        Ok(documents) => documents,
        Err(error) => return vec![unseen(NAME, error)],
    };
    let mut checks = Vec::new();
    if !documents.unreadable.is_empty() {
        let said = format!("cannot be read by this version: {}", listed(&documents.unreadable));
        checks.push(Check::fail(
            NAME,
            said,
            "the last form that could be read counts, and after a restart none",
            "write them anew, or update this program",
        ));
    }
    if !documents.old_keys.is_empty() {
        let said = format!("sealed with another key than the one in force: {}", listed(&documents.old_keys));
        checks.push(Check::warn(
            NAME,
            said,
            "without the old key they cannot be opened",
            "bugle secrets rotate",
        ));
    }
    match &found.channels {
        Err(error) => checks.push(unseen("channels", error)),
        Ok(channels) => {
            for held in channels.iter().filter(|held| held.state != Hold::Off) {
                let said = format!(
                    "{}/{}: {} {}",
                    held.workspace,
                    held.channel,
                    held.state,
                    held.why.as_deref().unwrap_or_default()
                );
                let next = format!("bugle channels test {}", held.channel);
                checks.push(Check::warn(
                    "channels",
                    said.trim().to_owned(),
                    "what is for it waits, or is not sent",
                    next,
                ));
            }
        }
    }
    if checks.is_empty() {
        checks.push(Check::ok(NAME, "all of them can be read"));
    }
    checks
}

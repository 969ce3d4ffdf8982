//! Long work that somebody asked for: dead letters sent again by a filter, events of the past routed once more.
//!
//! A job lies in the broker with all that was done of it, and any API process goes on with it. No process keeps it in its
//! memory: whoever holds it writes down about once a second how far it came, and what is done again after a crash has the ids
//! that it had before.

pub mod ask;
pub mod board;
pub mod foreman;
mod hand;
pub mod moment;
mod redrive;
mod replay;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bus::Names;
use crate::dead::filter::Filter;
use crate::ids::{RuleId, WorkspaceId};
use crate::outcome::words;
pub use hand::{Tools, preview};

/// Where nothing is said.
pub const RATE_DEFAULT: u32 = 50;
pub const RATE_MAX: u32 = 1_000;
/// So many of what a dry run would send are shown.
pub const SAMPLE_MAX: usize = 20;
/// So many things that went wrong are told word for word.
const ERRORS_MAX: usize = 5;

words! {
    Kind {
        /// Dead letters are sent again.
        Redrive = "redrive",
        /// Events are routed again.
        Replay = "replay",
    }
}

words! {
    /// Where a job stands. All but the first are final.
    State {
        /// Somebody works on it, or it waits for somebody who does.
        Running = "running",
        Done = "done",
        Cancelled = "cancelled",
        /// Given up; `why` says for what.
        Failed = "failed",
    }
}

words! {
    /// What came of one letter or delivery.
    Result {
        Sent = "sent",
        /// It was sent before, or is on its way.
        Known = "known",
        /// Not sent, on purpose.
        Suppressed = "suppressed",
        Failed = "failed",
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Work {
    Redrive { filter: Filter },
    Replay { replay: Replay },
}

/// Which events, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    /// Stored at or after.
    pub since: Timestamp,
    /// Stored before.
    pub until: Timestamp,
    /// Patterns, as rules have them; empty: every type but Bugle's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<String>,
    /// The event's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Only by these rules; empty: by all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleId>,
    /// Send everything again, as something new.
    #[serde(default)]
    pub fresh_ids: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    pub v: u16,
    pub id: String,
    /// None: of all workspaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceId>,
    #[serde(flatten)]
    pub work: Work,
    pub rate_per_second: u32,
    /// Nothing is done; `sample` shows what would be.
    #[serde(default)]
    pub dry_run: bool,
    /// Who asked for it.
    pub by: String,
    /// The digest of the request that has an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub state: State,
    /// Why it is given up, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The place in its stream up to which it is done.
    pub position: u64,
    /// Where it ends: what comes later is none of its business.
    pub end: u64,
    /// So many are to be looked at, as counted at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    pub counts: Counts,
    /// The process that works on it; none: it waits for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Of a dry run: what would be sent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// Looked at.
    pub seen: u64,
    /// Of those, what was meant.
    pub matched: u64,
    /// On their way again; of a dry run: what would be.
    pub sent: u64,
    /// Not sent, since they were sent before or are on their way.
    pub known: u64,
    /// By reason.
    pub suppressed: BTreeMap<String, u64>,
    /// By why.
    pub failed: BTreeMap<String, u64>,
    /// The first of those, word for word.
    pub errors: Vec<String>,
}

impl Counts {
    pub(crate) fn fail(&mut self, why: &str, error: impl FnOnce() -> String) {
        *self.failed.entry(why.to_owned()).or_default() += 1;
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error());
        }
    }

    /// How many of each result.
    #[must_use]
    pub fn of(&self, result: Result) -> u64 {
        match result {
            Result::Sent => self.sent,
            Result::Known => self.known,
            Result::Suppressed => self.suppressed.values().sum(),
            Result::Failed => self.failed.values().sum(),
        }
    }
}

impl Job {
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.work {
            Work::Redrive { .. } => Kind::Redrive,
            Work::Replay { .. } => Kind::Replay,
        }
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.state {
            State::Running => false,
            State::Done | State::Cancelled | State::Failed => true,
        }
    }

    /// Its key in the bucket.
    #[must_use]
    pub fn key(&self) -> String {
        Names::job(self.workspace.as_ref(), &self.id)
    }

    /// In one line, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let Counts { seen, matched, sent, known, .. } = &self.counts;
        let would = match (self.dry_run, self.kind()) {
            (true, _) => "would be sent",
            (false, Kind::Redrive) => "sent again",
            (false, Kind::Replay) => "sent",
        };
        let mut words =
            vec![format!("{seen} looked at"), format!("{matched} matched"), format!("{sent} {would}")];
        let listed = |map: &BTreeMap<String, u64>| {
            map.iter().map(|(why, count)| format!("{count} {why}")).collect::<Vec<_>>().join(", ")
        };
        if *known > 0 {
            words.push(format!("{known} known already"));
        }
        for (count, what, why) in [
            (self.counts.of(Result::Suppressed), "held back", &self.counts.suppressed),
            (self.counts.of(Result::Failed), "not sent", &self.counts.failed),
        ] {
            if count > 0 {
                words.push(format!("{count} {what} ({})", listed(why)));
            }
        }
        words.join(", ")
    }
}

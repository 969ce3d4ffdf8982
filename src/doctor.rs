//! `bugle doctor`: what of servers, processes and documents would lose data or stall, and what to do about it. Pure: what was found is an
//! argument.

pub mod gather;
mod rules;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bus::topology::Compared;
use crate::bus::waiting::Waiting;
use crate::overview::HeldBack;
use crate::presence::Heard;

crate::outcome::words! {
    /// How it stands with one thing.
    Verdict {
        Ok = "ok",
        /// It works, and will not for ever.
        Warn = "warn",
        /// It loses data, or stands still.
        Fail = "fail",
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    pub check: &'static str,
    pub verdict: Verdict,
    pub found: String,
    /// Why it matters; None where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
    /// The next step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Check {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), why: None, next: None }
    }

    fn warn(
        check: &'static str,
        found: impl Into<String>,
        why: &'static str,
        next: impl Into<String>,
    ) -> Self {
        Self { check, verdict: Verdict::Warn, found: found.into(), why: Some(why), next: Some(next.into()) }
    }

    fn fail(
        check: &'static str,
        found: impl Into<String>,
        why: &'static str,
        next: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(check, found, why, next) }
    }
}

/// What was found. What could not be looked up is an error with its words.
#[derive(Debug, Clone)]
pub struct Found {
    pub at: Timestamp,
    /// The servers that the settings name, and those that these name.
    pub servers: Vec<Server>,
    /// Of the server that was talked to.
    pub max_payload: usize,
    /// As Bugle's settings have it.
    pub replicas: usize,
    /// None where nobody said where to look.
    pub sync_interval: Option<Result<Sync, String>>,
    pub account: Result<Account, String>,
    pub streams: Result<Vec<Compared>, String>,
    pub consumers: Result<Vec<Consumer>, String>,
    /// Kinds of which deliveries lie in the queue.
    pub queued: Result<Vec<(String, u64)>, String>,
    pub processes: Result<Vec<Heard>, String>,
    pub database: Database,
    pub documents: Result<Documents, String>,
    pub channels: Result<Vec<HeldBack>, String>,
}

#[derive(Debug, Clone)]
pub struct Server {
    pub address: String,
    /// Its version, or why it cannot be used.
    pub version: Result<String, String>,
    /// The settings name it: it is not only what other servers say.
    pub named: bool,
}

/// How servers write to their disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    Always,
    Every(std::time::Duration),
}

/// What the account uses of what it may. None: as much as there is.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    pub storage: u64,
    pub limit: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct Consumer {
    pub waiting: Waiting,
    /// It is full at so many.
    pub in_hand_max: u64,
    /// How long its stream keeps a message; None for ever.
    pub kept: Option<std::time::Duration>,
}

#[derive(Debug, Clone)]
pub enum Database {
    /// None is to be seen from here.
    Unseen,
    Away(String),
    There {
        /// Its tables, as many steps as were made, and as many as this program knows.
        steps: (u64, u64),
        behind: u64,
        /// When the first record was stored that it has not.
        oldest: Option<Timestamp>,
        /// How long the broker keeps records.
        kept: Option<std::time::Duration>,
    },
}

#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// Keys of those that this version cannot read.
    pub unreadable: Vec<String>,
    /// Documents with secrets that another key sealed than the one in force.
    pub old_keys: Vec<String>,
}

/// What all of it means, in the order in which one looks.
#[must_use]
pub fn judge(found: &Found) -> Vec<Check> {
    let mut checks = rules::servers(found);
    checks.extend(rules::streams(found));
    checks.extend(rules::queues(found));
    checks.extend(rules::processes(found));
    checks.push(rules::database(found));
    checks.extend(rules::documents(found));
    checks
}

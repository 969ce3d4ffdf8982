//! Channels that are switched off for what comes of their tries: the receiver wants no more, or every try failed for longer
//! than the channel bears.
//!
//! Since when nothing works is known to the fleet (`shelf::standing`): whoever has a success takes it back. How many tries
//! that were, each worker counts for itself. What is our own fault, or a pause that was asked for, counts for nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::circuit::state::Whose;
use super::gone::There;
use crate::bus::directory::Directory;
use crate::bus::{Bus, BusError};
use crate::channel::ChannelSpec;
use crate::channel::standing::{Cause, ChannelStanding, Disabled, Failing as Since, digest_of};
use crate::connection::ConnectionSpec;
use crate::metrics;
use crate::outcome::{About, Outcome, State};
use crate::own_events::disabled;
use crate::publish::publish_own;
use crate::route::channels::Id;
use crate::shelf::standing;

/// The author of what a worker finds out.
const AUTHOR: &str = "worker";
/// So many tries of one worker have to fail besides the first: two events in a month say nothing.
const TRIES_MIN: u32 = 3;
/// A channel that works every second time is noted this often at most, or after a tenth of what it bears.
const NOTED_AGAIN: Duration = Duration::from_secs(60);

/// What this worker counts.
#[derive(Debug, Clone, Copy)]
struct Run {
    since: Timestamp,
    tries: u32,
    noted: Timestamp,
}

/// What a try shows of its channel.
pub struct Seen<'a> {
    pub outcome: &'a Outcome,
    pub spec: &'a ChannelSpec,
    pub connection: Option<&'a ConnectionSpec>,
    pub whose: Whose,
    /// Whoever is there said so, for good.
    pub wants_no_more: bool,
}

/// What a try changes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Turn {
    Nothing,
    /// Nothing works from here on.
    Begins(String),
    /// Something works again.
    Ends,
    Disables(Cause, String),
}

pub struct Failing {
    bus: Bus,
    directory: Arc<Directory>,
    runs: Mutex<HashMap<Id, Run>>,
}

impl Failing {
    #[must_use]
    pub fn new(bus: Bus, directory: Arc<Directory>) -> Self {
        Self { bus, directory, runs: Mutex::default() }
    }

    /// Takes note of a try.
    pub async fn note(&self, seen: &Seen<'_>) {
        let outcome = seen.outcome;
        let id = (outcome.workspace.clone(), outcome.channel.clone());
        let snapshot = self.directory.snapshot();
        let standing = snapshot.channels.standing(&id);
        let turn = turn(&mut self.runs(), &id, seen, standing.map(Arc::as_ref));
        let done = match turn {
            Turn::Nothing => return,
            Turn::Begins(digest) => Box::pin(self.begins(outcome, digest)).await,
            Turn::Ends => Box::pin(self.ends(outcome)).await,
            Turn::Disables(cause, digest) => Box::pin(self.disables(outcome, cause, digest)).await,
        };
        if let Err(error) = done {
            tracing::warn!(workspace = %id.0, channel = %id.1, %error, "what a try says about its channel was not noted");
            self.runs().remove(&id);
        }
    }

    pub fn forget_gone(&self, there: &There<'_>) {
        self.runs().retain(|channel, _| there.has(channel));
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<Id, Run>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn begins(&self, outcome: &Outcome, digest: String) -> Result<(), BusError> {
        let since = Since { digest, since: outcome.at };
        let begins = |standing: &mut ChannelStanding| {
            if standing.failing(&since.digest).is_none() {
                standing.failing = Some(since.clone());
            }
        };
        standing::change(&self.bus, (&outcome.workspace, &outcome.channel), AUTHOR, begins).await.map(|_| ())
    }

    async fn ends(&self, outcome: &Outcome) -> Result<(), BusError> {
        let ends = |standing: &mut ChannelStanding| standing.failing = None;
        standing::change(&self.bus, (&outcome.workspace, &outcome.channel), AUTHOR, ends).await.map(|_| ())
    }

    /// The event first, under an id that whoever finds out the same gives it too: a channel that is off tells nobody more.
    async fn disables(&self, outcome: &Outcome, cause: Cause, digest: String) -> Result<(), BusError> {
        let of = (&outcome.workspace, &outcome.channel);
        loop {
            let (mut known, revision) = standing::read(&self.bus, of.0, of.1).await?;
            let since = known.failing(&digest).map(|failing| failing.since);
            if known.disabled(&digest).is_some() || (cause == Cause::Failing && since.is_none()) {
                return Ok(());
            }
            let why = why(cause, since, outcome);
            let disabled = Disabled { digest: digest.clone(), at: outcome.at, cause, why };
            let event = disabled::event(outcome, &disabled, revision);
            known.disabled = Some(disabled);
            if let Some(error) = publish_own(&self.bus, of.0, event).await.error {
                return Err(BusError::Request(error));
            }
            if standing::write(&self.bus, of, AUTHOR, &known, revision).await?.is_some() {
                metrics::channel_disabled(cause);
                tracing::warn!(workspace = %of.0, channel = %of.1, cause = cause.as_str(), "channel switched off");
                return Ok(());
            }
        }
    }
}

fn why(cause: Cause, since: Option<Timestamp>, outcome: &Outcome) -> String {
    match (cause, since) {
        (Cause::Failing, Some(since)) => format!(
            "every try since {since} failed, the last one with: {}",
            outcome.detail.as_deref().unwrap_or(outcome.reason.as_str())
        ),
        (Cause::Gone | Cause::Failing, _) => {
            let answer = outcome.detail.as_deref().unwrap_or(outcome.reason.as_str());
            format!("its receiver wants no more: {answer}")
        }
    }
}

/// What a try changes, and counts it.
fn turn(
    runs: &mut HashMap<Id, Run>,
    id: &Id,
    Seen { outcome, spec, connection, whose, wants_no_more }: &Seen<'_>,
    standing: Option<&ChannelStanding>,
) -> Turn {
    let at = outcome.at;
    if outcome.state == State::Sent {
        let Some(failing) = standing.and_then(|standing| standing.failing.as_ref()) else {
            return Turn::Nothing;
        };
        // Others that went out meanwhile say the same.
        let run = runs.entry(id.clone()).or_insert(Run {
            since: failing.since,
            tries: 0,
            noted: Timestamp::UNIX_EPOCH,
        });
        if run.tries == 0 && at.duration_since(run.noted) < SignedDuration::from_secs(1) {
            return Turn::Nothing;
        }
        (run.tries, run.noted) = (0, at);
        return Turn::Ends;
    }
    if *whose == Whose::Channel && *wants_no_more {
        return Turn::Disables(Cause::Gone, digest_of(spec, *connection));
    }
    let counts =
        *whose != Whose::Device && matches!(outcome.reason.about(), About::Receiver | About::Message);
    let Some(bears) = spec.disable_after().filter(|_| counts) else { return Turn::Nothing };
    let bears = SignedDuration::from_millis(i64::try_from(bears).unwrap_or(i64::MAX));
    let digest = digest_of(spec, *connection);
    let Some(failing) = standing.and_then(|standing| standing.failing(&digest)) else {
        let again = SignedDuration::try_from(NOTED_AGAIN).unwrap_or_default().min(bears / 10);
        let known = runs.get(id).is_some_and(|run| at.duration_since(run.noted) < again);
        if known {
            return Turn::Nothing;
        }
        runs.insert(id.clone(), Run { since: at, tries: 0, noted: at });
        return Turn::Begins(digest);
    };
    let run = runs.entry(id.clone()).or_insert(Run { since: failing.since, tries: 0, noted: at });
    if run.since != failing.since {
        (run.since, run.tries) = (failing.since, 0);
    }
    run.tries = run.tries.saturating_add(1);
    if run.tries < TRIES_MIN || at.duration_since(failing.since) < bears {
        return Turn::Nothing;
    }
    Turn::Disables(Cause::Failing, digest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::{ChannelId, WorkspaceId};

    fn outcome(state: &str, reason: &str, code: u16, second: i64) -> Outcome {
        serde_json::from_value(json!({
            "v": 1, "delivery": "d_aaaaaaaaaaaaaaaaaaaaaaaa", "workspace": "default", "scope": "global", "channel": "c", "kind": "webhook",
            "severity": "info", "title": "t", "body": "b", "state": state, "reason": reason, "code": code,
            "attempt": 1, "redrive": 0, "at": Timestamp::from_second(second).unwrap(),
            "event": {"id": "e", "source": "s", "type": "a:b", "time": "2026-01-01T00:00:00Z"},
        }))
        .unwrap()
    }

    fn spec(bears_ms: u64) -> ChannelSpec {
        let config = json!({"url": "https://a.example/"});
        serde_json::from_value(
            json!({"id": "c", "kind": "webhook", "config": config, "disableAfterMs": bears_ms}),
        )
        .unwrap()
    }

    /// What tries at these seconds change, with what they change noted.
    fn turns(spec: &ChannelSpec, tries: &[(&str, &str, i64)]) -> Vec<String> {
        turns_at(Whose::Channel, spec, tries)
    }

    fn turns_at(whose: Whose, spec: &ChannelSpec, tries: &[(&str, &str, i64)]) -> Vec<String> {
        let (mut runs, mut standing) = (HashMap::new(), ChannelStanding::default());
        let id = (WorkspaceId::default(), ChannelId::parse("c").unwrap());
        let mut words = Vec::new();
        for (state, reason, second) in tries {
            let outcome = outcome(state, reason, 500, *second);
            let seen = Seen { outcome: &outcome, spec, connection: None, whose, wants_no_more: false };
            words.push(match turn(&mut runs, &id, &seen, Some(&standing)) {
                Turn::Nothing => "-".to_owned(),
                Turn::Begins(digest) => {
                    standing.failing = Some(Since { digest, since: outcome.at });
                    "begins".to_owned()
                }
                Turn::Ends => {
                    standing.failing = None;
                    "ends".to_owned()
                }
                Turn::Disables(cause, _) => cause.as_str().to_owned(),
            });
        }
        words
    }

    #[test]
    fn a_channel_is_switched_off_when_every_try_failed_for_as_long_as_it_bears_and_there_were_some() {
        let fails = |second| ("retrying", "provider_error", second);
        let spec = spec(10_000);
        assert_eq!(turns(&spec, &[0, 1, 2, 3, 9, 10].map(fails)), ["begins", "-", "-", "-", "-", "failing"]);
        assert_eq!(turns(&spec, &[0, 100, 200, 300].map(fails)), ["begins", "-", "-", "failing"]);
    }

    #[test]
    fn one_success_begins_it_all_anew() {
        let spec = spec(10_000);
        let (fails, works) =
            (|second| ("retrying", "timeout", second), |second| ("sent", "accepted", second));
        let tries =
            [fails(0), fails(5), works(9), works(9), fails(11), fails(12), fails(13), fails(14), fails(21)];
        assert_eq!(turns(&spec, &tries), ["begins", "-", "ends", "-", "begins", "-", "-", "-", "failing"]);
    }

    #[test]
    fn what_hosts_of_devices_do_switches_no_channel_off() {
        let tries: Vec<_> = (0..9).map(|n| ("retrying", "timeout", n * 100)).collect();
        assert!(turns_at(Whose::Device, &spec(10_000), &tries).iter().all(|word| word == "-"));
    }

    #[test]
    fn our_own_faults_and_pauses_count_for_nothing_and_zero_means_never() {
        for reason in ["rate_limited", "misconfigured", "blocked_address", "internal"] {
            let tries: Vec<_> = (0..9).map(|n| ("retrying", reason, n * 100)).collect();
            assert!(turns(&spec(10_000), &tries).iter().all(|word| word == "-"), "{reason}");
        }
        let tries: Vec<_> = (0..9).map(|n| ("retrying", "timeout", n * 1_000_000)).collect();
        assert!(turns(&spec(0), &tries).iter().all(|word| word == "-"));
    }

    #[test]
    fn a_receiver_that_wants_no_more_is_heard_at_once() {
        let id = (WorkspaceId::default(), ChannelId::parse("c").unwrap());
        let (gone, spec) = (outcome("failed", "gone", 410, 0), spec(0));
        let seen = |whose, wants_no_more| {
            let seen = Seen { outcome: &gone, spec: &spec, connection: None, whose, wants_no_more };
            turn(&mut HashMap::new(), &id, &seen, None)
        };
        assert_eq!(seen(Whose::Channel, true), Turn::Disables(Cause::Gone, digest_of(&spec, None)));
        assert_eq!(seen(Whose::Recipient, true), Turn::Nothing);
        assert_eq!(seen(Whose::Channel, false), Turn::Nothing);
    }
}

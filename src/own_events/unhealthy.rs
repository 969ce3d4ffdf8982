//! Channels on which nothing works any more: `channel:unhealthy`, once an hour for the fleet, and `channel:recovered`.
//!
//! Each worker counts its own tries. What a receiver says of one message (it refuses it, or asks for a pause) says nothing
//! about the channel.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bus::{Bus, BusError, claim};
use crate::channel::secret::Redacted;
use crate::clock;
use crate::event::OWN_SOURCE;
use crate::ids::{ChannelId, WorkspaceId};
use crate::outcome::{Outcome, Reason, State};
use crate::publish::publish_own;

/// So many tries in a row have to fail, and for so long: a receiver that restarts is nobody's concern.
const TRIES_MIN: u32 = 5;
const TIME_MIN: SignedDuration = SignedDuration::from_secs(30);
/// While it goes on, it is said again after this long.
const SAID_FOR: Duration = Duration::from_secs(3600);
/// A little shorter, so that the claim is over when a worker would say it again.
const CLAIMED_FOR: Duration = Duration::from_secs(3600 - 60);
/// What took the place of a claim that is over may go soon.
const OVER_FOR: Duration = Duration::from_secs(1);

/// What the tries on a channel came to since the last one that worked.
#[derive(Debug, Clone)]
struct Run {
    since: Timestamp,
    tries: u32,
    /// When this worker last spoke of it.
    said: Option<Timestamp>,
}

/// What a try changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Unhealthy { since: Timestamp, tries: u32 },
    Recovered,
}

/// Who told the fleet.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claim {
    unhealthy: bool,
}

/// The channels of this worker that fail now.
#[derive(Default)]
pub struct Unhealthy(RwLock<HashMap<(WorkspaceId, ChannelId), Run>>);

impl Unhealthy {
    /// Tells the fleet what a try changed.
    pub async fn tell(&self, bus: &Bus, outcome: &Outcome, turn: Turn) {
        if let Err(error) = tell(bus, outcome, turn).await {
            tracing::warn!(channel = %outcome.channel, %error, "how a channel stands was not told");
            self.take_back(outcome, turn);
        }
    }

    /// Takes note of a try, and says whether it changes how its channel stands.
    pub fn turn(&self, outcome: &Outcome, to: Option<&Redacted<String>>) -> Option<Turn> {
        let works = match (outcome.state, outcome.reason) {
            (State::Sent, _) => true,
            // Where each recipient has an address of their own, one that is gone is theirs.
            (_, Reason::Gone) if to.is_some() => return None,
            (_, reason) if is_the_channels(reason) => false,
            _ => return None,
        };
        // Nearly always there is nothing to look at.
        if works && self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return None;
        }
        let key = (outcome.workspace.clone(), outcome.channel.clone());
        let mut runs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if works {
            return runs.remove(&key)?.said.map(|_| Turn::Recovered);
        }
        runs.entry(key).or_insert_with(|| Run { since: outcome.at, tries: 0, said: None }).failed(outcome.at)
    }

    /// The next try says it again.
    fn take_back(&self, outcome: &Outcome, turn: Turn) {
        let key = (outcome.workspace.clone(), outcome.channel.clone());
        let mut runs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match turn {
            Turn::Unhealthy { .. } => drop(runs.get_mut(&key).map(|run| run.said = None)),
            Turn::Recovered => {
                let said = Some(outcome.at);
                runs.entry(key).or_insert(Run { since: outcome.at, tries: 0, said });
            }
        }
    }
}

impl Run {
    fn failed(&mut self, at: Timestamp) -> Option<Turn> {
        self.tries = self.tries.saturating_add(1);
        let again = SignedDuration::try_from(SAID_FOR).unwrap_or(SignedDuration::MAX);
        let due = self.said.is_none_or(|said| at.duration_since(said) >= again);
        if !due || self.tries < TRIES_MIN || at.duration_since(self.since) < TIME_MIN {
            return None;
        }
        self.said = Some(at);
        Some(Turn::Unhealthy { since: self.since, tries: self.tries })
    }
}

/// True when a failure says something about the channel, whatever was to be sent.
fn is_the_channels(reason: Reason) -> bool {
    match reason {
        Reason::Timeout
        | Reason::Unreachable
        | Reason::ProviderError
        | Reason::Unauthorized
        | Reason::Gone
        | Reason::BlockedAddress
        | Reason::Misconfigured => true,
        Reason::Accepted
        | Reason::Confirmed
        | Reason::Continued
        | Reason::Delayed
        | Reason::Redriven
        | Reason::RateLimited
        | Reason::Rejected
        | Reason::Expired
        | Reason::UnknownChannel
        | Reason::ChannelDisabled
        | Reason::Cooldown
        | Reason::Duplicate
        | Reason::Superseded
        | Reason::OutsideHours
        | Reason::NoAddress
        | Reason::Unsubscribed
        | Reason::Cancelled
        | Reason::Poison
        | Reason::Unmapped
        | Reason::InvalidRule
        | Reason::Undecodable
        | Reason::TooLarge
        | Reason::Internal => false,
    }
}

/// Tells it unless another worker did.
async fn tell(bus: &Bus, outcome: &Outcome, turn: Turn) -> Result<(), BusError> {
    let subject = bus.names.unhealthy(&outcome.workspace, &outcome.channel);
    let unhealthy = matches!(turn, Turn::Unhealthy { .. });
    let expected = match claim::last::<Claim>(bus, &subject).await? {
        // Another worker told it.
        Some((said, _)) if said.unhealthy == unhealthy => return Ok(()),
        // It is said again within the hour, or there is nothing to take back.
        None if !unhealthy => return Ok(()),
        Some((_, sequence)) => sequence,
        None => 0,
    };
    let keep = |unhealthy: bool| Some(if unhealthy { CLAIMED_FOR } else { OVER_FOR });
    let mine = match claim::put(bus, &subject, &Claim { unhealthy }, keep(unhealthy), expected).await {
        Ok(sequence) => sequence,
        Err(BusError::Conflict) => return Ok(()),
        Err(error) => return Err(error),
    };
    let published = publish_own(bus, &outcome.workspace, event(outcome, turn)).await;
    tracing::warn!(workspace = %outcome.workspace, channel = %outcome.channel, ?turn, "how a channel stands has changed");
    let Some(error) = published.error else { return Ok(()) };
    // Not told: whoever comes next may. If this fails too, it is told when the claim is over.
    let back = Claim { unhealthy: !unhealthy };
    if let Err(error) = claim::put(bus, &subject, &back, keep(!unhealthy), mine).await {
        tracing::debug!(%error, "the claim stays");
    }
    Err(BusError::Request(error))
}

fn event(outcome: &Outcome, turn: Turn) -> Value {
    let channel = json!({"channel": outcome.channel, "kind": outcome.kind});
    let (event_type, severity, mut data) = match turn {
        Turn::Unhealthy { since, tries } => {
            let more = json!({"reason": outcome.reason, "error": outcome.detail, "code": outcome.code,
                "since": since, "failures": tries});
            ("channel:unhealthy", "warning", more)
        }
        Turn::Recovered => ("channel:recovered", "info", json!({})),
    };
    for name in ["channel", "kind"] {
        data[name] = channel[name].clone();
    }
    json!({
        "id": clock::random_id(), "source": OWN_SOURCE, "type": event_type, "time": outcome.at, "severity": severity,
        "data": data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(state: &str, reason: &str, second: i64) -> Outcome {
        serde_json::from_value(json!({
            "v": 1, "delivery": "d_aaaaaaaaaaaaaaaaaaaaaaaa", "workspace": "default", "scope": "global", "channel": "c", "kind": "webhook",
            "severity": "info", "title": "t", "body": "b", "state": state, "reason": reason, "detail": "it is broken",
            "attempt": 1, "redrive": 0, "at": Timestamp::from_second(second).unwrap(),
            "event": {"id": "e", "source": "s", "type": "a:b", "time": "2026-01-01T00:00:00Z"},
        }))
        .unwrap()
    }

    #[test]
    fn a_channel_is_unhealthy_after_enough_failures_for_long_enough_and_says_so_once() {
        let channels = Unhealthy::default();
        let fails = |second| channels.turn(&outcome("retrying", "provider_error", second), None);
        // Many at once are a moment's trouble.
        assert!((0..20).all(|_| fails(100).is_none()));
        let since = Timestamp::from_second(100).unwrap();
        assert_eq!(fails(130), Some(Turn::Unhealthy { since, tries: 21 }));
        assert_eq!(fails(131), None);
        assert_eq!(fails(130 + 3_600), Some(Turn::Unhealthy { since, tries: 23 }));
        assert_eq!(channels.turn(&outcome("sent", "accepted", 4_000), None), Some(Turn::Recovered));
        assert_eq!(channels.turn(&outcome("sent", "accepted", 4_001), None), None);
    }

    #[test]
    fn what_one_message_came_to_says_nothing_about_its_channel() {
        let channels = Unhealthy::default();
        for second in 0..100 {
            assert_eq!(channels.turn(&outcome("failed", "rejected", second), None), None);
            let chat = Redacted::new("1".to_owned());
            assert_eq!(channels.turn(&outcome("failed", "gone", second), Some(&chat)), None);
            assert_eq!(channels.turn(&outcome("retrying", "rate_limited", second), None), None);
        }
        assert!(channels.0.read().unwrap().is_empty());
        // Few tries, far apart, are none that would be known.
        assert!(
            (1..5).all(|hour| channels.turn(&outcome("retrying", "timeout", hour * 3_600), None).is_none())
        );
        assert!(channels.turn(&outcome("retrying", "timeout", 5 * 3_600), None).is_some());
    }

    #[test]
    fn the_event_says_which_channel_and_why() {
        let failed = outcome("retrying", "provider_error", 130);
        let said = event(&failed, Turn::Unhealthy { since: Timestamp::UNIX_EPOCH, tries: 7 });
        assert_eq!(said["type"], "channel:unhealthy");
        let data = &said["data"];
        assert_eq!(
            (&data["channel"], &data["reason"], &data["failures"]),
            (&json!("c"), &json!("provider_error"), &json!(7))
        );
        assert_eq!((&data["kind"], &data["error"]), (&json!("webhook"), &json!("it is broken")));
    }
}

//! `channel:unhealthy`, when the fleet stops sending through a channel and once an hour while that lasts, and
//! `channel:recovered`.
//!
//! When that is, is decided in one place (`deliver::circuit`): here it is only told, by whoever is about to move the circuit.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::bus::{Bus, BusError};
use crate::clock;
use crate::event::OWN_SOURCE;
use crate::ids::ChannelId;
use crate::outcome::Outcome;
use crate::publish::publish_own;

/// Then whoever finds out next tells it.
const TRIES: u32 = 10;
const AFTER_TROUBLE: Duration = Duration::from_millis(500);

/// What a try changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Unhealthy { since: Timestamp, tries: u32 },
    Recovered,
}

/// The id of such an event. `before`: since when the circuit stood as it did until now, or when this was told last.
#[must_use]
pub fn id(event_type: &str, channel: &ChannelId, before: Timestamp) -> String {
    format!("{}/{channel}/{before}", event_type.replace(':', "-"))
}

/// Tells it, under one [`id`] whoever does it and however often that takes.
///
/// # Errors
/// When the broker does not take it for a while.
pub async fn tell(bus: &Bus, outcome: &Outcome, turn: Turn, before: Timestamp) -> Result<(), BusError> {
    tracing::warn!(workspace = %outcome.workspace, channel = %outcome.channel, ?turn, "how a channel stands has changed");
    let event = event(outcome, turn, before);
    for tried in 1.. {
        let published = publish_own(bus, &outcome.workspace, event.clone()).await;
        match published.error {
            None => break,
            Some(error) if tried >= TRIES => return Err(BusError::Request(error)),
            Some(_) => clock::sleep(clock::jittered(AFTER_TROUBLE)).await,
        }
    }
    Ok(())
}

fn event(outcome: &Outcome, turn: Turn, before: Timestamp) -> Value {
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
        "id": id(event_type, &outcome.channel, before), "source": OWN_SOURCE, "type": event_type, "time": outcome.at, "severity": severity,
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
    fn the_event_says_which_channel_and_why() {
        let failed = outcome("retrying", "provider_error", 130);
        let before = Timestamp::UNIX_EPOCH;
        let said = event(&failed, Turn::Unhealthy { since: before, tries: 7 }, before);
        assert_eq!(said["id"], "channel-unhealthy/c/1970-01-01T00:00:00Z");
        assert_eq!(said["type"], "channel:unhealthy");
        let data = &said["data"];
        assert_eq!(
            (&data["channel"], &data["reason"], &data["failures"]),
            (&json!("c"), &json!("provider_error"), &json!(7))
        );
        assert_eq!((&data["kind"], &data["error"]), (&json!("webhook"), &json!("it is broken")));
    }
}

//! What Bugle says about itself as events. Here those about deliveries, for rules that ask for them: `notification:sent`,
//! `notification:failed` and `notification:suppressed`.
//!
//! They are made from RECORDS, by whichever router gets a record, under an id that the delivery gives them. Nobody reads
//! the records for them before a rule somewhere names them literally. What such an event leads to makes no event itself, so
//! that nothing feeds itself.

pub mod disabled;
pub mod farewell;
pub mod unhealthy;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bus::consumer::{self, Begin, Handler, Origin, Own, Received, Slots, Source, Stop, Verdict};
use crate::bus::directory::Directory;
use crate::bus::subject::OWN_EVENTS_DURABLE;
use crate::bus::{Bus, BusError, StreamName, floor};
use crate::clock;
use crate::config::Keep;
use crate::delivery::{ENVELOPE_VERSION, envelope_version};
use crate::event::{OWN_SOURCE, Severity};
use crate::health::Pulse;
use crate::metrics;
use crate::outcome::{Outcome, Reason, State};
use crate::publish::{SERVICE_UNAVAILABLE, publish_own};

/// Records in work at once.
const SLOTS: usize = 256;
/// The broker is away or refuses: the record waits this long.
const AFTER_TROUBLE: Duration = Duration::from_secs(2);
/// Written by a newer process: one of that version takes it.
const AFTER_NEWER_VERSION: Duration = Duration::from_secs(30);

/// The event that says this; None for what is not final, and for deliveries that such an event caused.
#[must_use]
pub fn about(outcome: &Outcome) -> Option<Value> {
    // What was confirmed was told when it was sent.
    let told = (outcome.state, outcome.reason) == (State::Sent, Reason::Confirmed);
    if !outcome.state.is_final() || outcome.event.is_own() || told {
        return None;
    }
    let failed = outcome.state == State::Failed;
    let severity = if failed { Severity::Warning } else { Severity::Info };
    Some(json!({
        "id": format!("{}/r{}/{}", outcome.delivery, outcome.redrive, outcome.state),
        "source": OWN_SOURCE,
        "type": format!("notification:{}", outcome.state),
        "time": outcome.at,
        "severity": severity,
        "data": {
            "delivery": outcome.delivery,
            "rule": outcome.rule,
            "scope": outcome.scope,
            "channel": outcome.channel,
            "kind": outcome.kind,
            "recipient": outcome.recipient,
            "title": outcome.title,
            "severity": outcome.severity,
            "state": outcome.state,
            "reason": outcome.reason,
            "error": outcome.detail.as_ref().filter(|_| failed),
            "code": outcome.code,
            "attempt": outcome.attempt,
            "redrive": outcome.redrive,
            "event": outcome.event,
        }
    }))
}

/// Makes events of records.
pub struct Announcer {
    bus: Bus,
    directory: Arc<Directory>,
}

impl Announcer {
    #[must_use]
    pub fn new(bus: Bus, directory: Arc<Directory>) -> Self {
        Self { bus, directory }
    }

    /// Runs until `stop.soft`; reads no record before a rule asks for it, here or earlier.
    pub async fn run(self, keep: Keep, stop: Stop, pulse: Pulse) {
        tokio::select! {
            () = self.wanted(&pulse) => {}
            () = stop.soft.cancelled() => return,
        }
        floor::keep(self.bus.clone(), StreamName::Records, OWN_EVENTS_DURABLE, stop.hard.clone());
        let source = Source {
            origin: Origin::Own(Own {
                stream: StreamName::Records,
                filter: self.bus.names.outcome_filter(None),
                begin: Begin::New,
            }),
            durable: OWN_EVENTS_DURABLE.into(),
            slots: Slots::new(SLOTS),
            gate: None,
        };
        consumer::run(self.bus.clone(), keep, source, Arc::new(self), stop, pulse).await;
    }

    /// Once there is a consumer it is read on, asked for or not: who asks later does not want what was before.
    async fn wanted(&self, pulse: &Pulse) {
        let mut begun = floor::start(&self.bus, StreamName::Records, OWN_EVENTS_DURABLE).await;
        while begun.is_err() {
            clock::sleep(AFTER_TROUBLE).await;
            begun = floor::start(&self.bus, StreamName::Records, OWN_EVENTS_DURABLE).await;
        }
        if !matches!(begun, Ok(Some(_))) && !self.directory.snapshot().rules.any_names_own_events() {
            pulse.beat();
            self.directory.until(|snapshot| snapshot.rules.any_names_own_events()).await;
        }
    }

    async fn announce(&self, outcome: &Outcome) -> Result<(), BusError> {
        if !self.directory.snapshot().rules.names_own_events(&outcome.workspace) {
            return Ok(());
        }
        let Some(event) = about(outcome) else { return Ok(()) };
        let published = publish_own(&self.bus, &outcome.workspace, event).await;
        match published.error {
            Some(error) if published.status == SERVICE_UNAVAILABLE => Err(BusError::Request(error)),
            Some(error) => {
                metrics::own_event("refused");
                tracing::error!(delivery = %outcome.delivery, error, "an event about a delivery was not published");
                Ok(())
            }
            None => {
                metrics::own_event("published");
                Ok(())
            }
        }
    }
}

impl Handler for Announcer {
    async fn handle(&self, message: &Received) -> Verdict {
        if envelope_version(&message.payload).is_some_and(|version| version > ENVELOPE_VERSION) {
            return Verdict::HandBack(clock::jittered(AFTER_NEWER_VERSION));
        }
        match serde_json::from_slice(&message.payload) {
            Ok(outcome) => match self.announce(&outcome).await {
                Ok(()) => Verdict::Done,
                Err(error) => {
                    tracing::warn!(sequence = message.sequence, %error, "an event about a delivery waits");
                    Verdict::Again(clock::jittered(AFTER_TROUBLE))
                }
            },
            // The recorder counts and reports it: it reads the same record.
            Err(error) => {
                tracing::debug!(sequence = message.sequence, %error, "a record that cannot be read");
                Verdict::Done
            }
        }
    }

    async fn poison(&self, message: &Received) -> Verdict {
        metrics::own_event("refused");
        tracing::error!(sequence = message.sequence, "a record that no event can be made of: left out");
        Verdict::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELIVERY: &str = "d_aaaaaaaaaaaaaaaaaaaaaaaa";

    fn outcome(event_type: &str, state: &str) -> Outcome {
        serde_json::from_value(json!({
            "v": 1, "delivery": DELIVERY, "workspace": "default", "scope": "global", "rule": "r", "channel": "c",
            "kind": "webhook", "severity": "info", "title": "t", "body": "b", "state": state, "reason": "rejected",
            "detail": "it said no", "attempt": 2, "redrive": 1, "at": "2026-01-01T00:00:00Z",
            "event": {"id": "e", "source": "s", "type": event_type, "time": "2026-01-01T00:00:00Z"},
        }))
        .unwrap()
    }

    #[test]
    fn an_event_says_what_became_of_which_delivery_and_why() {
        let event = about(&outcome("task:done", "failed")).unwrap();
        assert_eq!(event["type"], "notification:failed");
        assert_eq!(event["id"], format!("{DELIVERY}/r1/failed"));
        assert_eq!(event["severity"], "warning");
        let data = &event["data"];
        assert_eq!(
            (&data["rule"], &data["channel"], &data["attempt"]),
            (&json!("r"), &json!("c"), &json!(2))
        );
        assert_eq!((&data["error"], &data["event"]["type"]), (&json!("it said no"), &json!("task:done")));
        let sent = about(&outcome("task:done", "sent")).unwrap();
        assert_eq!((&sent["type"], &sent["data"]["error"]), (&json!("notification:sent"), &Value::Null));
    }

    #[test]
    fn what_is_not_final_or_was_caused_by_such_an_event_makes_none() {
        assert!(about(&outcome("task:done", "retrying")).is_none());
        assert!(about(&outcome("task:done", "scheduled")).is_none());
        assert!(about(&outcome("notification:failed", "failed")).is_none());
        assert!(about(&outcome("notification", "sent")).is_none());
    }
}

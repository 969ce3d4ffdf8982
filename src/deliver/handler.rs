//! One lane of a worker: from a message on the queue to a delivery in hand, and from what came of it to a verdict.
//!
//! What cannot be read is kept among the dead letters; what a newer process wrote is left to newer ones.

use std::sync::Arc;
use std::time::Duration;

use super::adapters::Adapters;
use super::circuit::Circuits;
use super::failing::Failing;
use super::finished::Finished;
use super::hand::Hand;
use super::pace::Pace;
use super::pauses::Pauses;
use super::share::Shares;
use crate::bus::consumer::{Handler, Received, Verdict as Settle};
use crate::bus::directory::Directory;
use crate::bus::people::People;
use crate::bus::{Bus, BusError};
use crate::clock;
use crate::dead;
use crate::delivery::{Delivery, ENVELOPE_VERSION, envelope_version};
use crate::outcome::Reason;
use crate::unsubscribe::Links;

/// The broker is away or refuses: the message waits this long.
const AFTER_TROUBLE: Duration = Duration::from_secs(2);
/// Written by a newer process, or for a channel whose document a newer one wrote: another one of that version takes it, or
/// this one after its own update.
const AFTER_NEWER_VERSION: Duration = Duration::from_secs(30);

/// What the lanes of a worker share.
pub struct Tools {
    pub bus: Bus,
    pub directory: Arc<Directory>,
    pub adapters: Adapters,
    pub pauses: Arc<Pauses>,
    pub finished: Finished,
    pub people: Arc<People>,
    pub unsubscribe: Links,
    pub failing: Failing,
    pub circuits: Arc<Circuits>,
    pub pace: Pace,
}

/// One lane of one kind.
pub struct Worker {
    pub tools: Arc<Tools>,
    pub shares: Shares,
}

impl Handler for Worker {
    async fn handle(&self, message: &Received) -> Settle {
        let delivery: Delivery = match serde_json::from_slice(&message.payload) {
            Ok(delivery) => delivery,
            Err(error) => return self.unreadable(message, &error).await,
        };
        if delivery.v > ENVELOPE_VERSION {
            return newer(message, delivery.v);
        }
        let hand = Hand {
            tools: &self.tools,
            delivery: &delivery,
            sequence: message.sequence,
            lease: &message.lease,
        };
        let result = match hand.deliver(&self.shares).await {
            // Put off it would be larger than the broker carries: in hand it would stay for ever.
            Err(BusError::TooLarge { .. }) => {
                Box::pin(hand.give_up(None, Reason::TooLarge, "it is too large to be put off")).await
            }
            result => result,
        };
        settle(&delivery, result)
    }

    async fn poison(&self, message: &Received) -> Settle {
        if let Some(version) =
            envelope_version(&message.payload).filter(|version| *version > ENVELOPE_VERSION)
        {
            return newer(message, version);
        }
        match serde_json::from_slice::<Delivery>(&message.payload) {
            // What was handed back for its channel's document broke nothing, however often that was.
            Ok(delivery) if self.tools.directory.snapshot().is_unreadable(&delivery) => {
                self.handle(message).await
            }
            Ok(delivery) => {
                tracing::error!(
                    subject = message.subject,
                    sequence = message.sequence,
                    "a delivery handed out again and again: given up"
                );
                let step = format!("s{}", message.sequence);
                let detail = Some("handed out again and again without a verdict".to_owned());
                settle(
                    &delivery,
                    Box::pin(dead::give_up(&self.tools.bus, &delivery, Reason::Poison, detail, &step)).await,
                )
            }
            Err(error) => self.unreadable(message, &error).await,
        }
    }
}

fn newer(message: &Received, version: u16) -> Settle {
    let sequence = message.sequence;
    tracing::error!(
        sequence,
        version,
        "a delivery of a newer version is left to newer workers: update this one"
    );
    Settle::HandBack(clock::jittered(AFTER_NEWER_VERSION))
}

impl Worker {
    async fn unreadable(&self, message: &Received, error: &serde_json::Error) -> Settle {
        if let Some(version) =
            envelope_version(&message.payload).filter(|version| *version > ENVELOPE_VERSION)
        {
            return newer(message, version);
        }
        tracing::error!(subject = message.subject, sequence = message.sequence, %error, "a delivery that cannot be read: kept among the dead letters");
        let bus = &self.tools.bus;
        let grave = dead::Grave {
            subject: bus.names.dead_message(),
            id: format!("deliveries/s{}", message.sequence),
            reason: Reason::Undecodable,
            detail: error.to_string(),
        };
        match Box::pin(dead::bury(bus, message, &grave)).await {
            Ok(()) => Settle::Done,
            Err(_) => Settle::Again(clock::jittered(AFTER_TROUBLE)),
        }
    }
}

fn settle(delivery: &Delivery, result: Result<(), BusError>) -> Settle {
    match result {
        Ok(()) => Settle::Done,
        Err(error @ BusError::Unreadable(_)) => {
            tracing::error!(delivery = %delivery.id, %error, "a delivery is left to newer workers: update this one");
            Settle::HandBack(clock::jittered(AFTER_NEWER_VERSION))
        }
        Err(error) => {
            tracing::warn!(delivery = %delivery.id, %error, "a delivery could not be taken on now");
            Settle::Again(clock::jittered(AFTER_TROUBLE))
        }
    }
}

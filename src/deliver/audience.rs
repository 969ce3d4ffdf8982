//! Devices that a delivery is for, some at a time; and what a try with them leads to besides its outcome.

mod pass;

use std::time::Duration;

use jiff::Timestamp;

use super::addresses::Destination;
use super::hand::Hand;
use super::handler::Tools;
use super::{Decision, Next, after};
use crate::bus::{BusError, devices, schedule};
use crate::channel::Kind;
use crate::channel::tally::Tally;
use crate::clock;
use crate::delivery::Delivery;
use crate::device::reach::{Audience, DEVICES_PER_TRY_MAX, Reach, Receipts};
use crate::device::{Device, DeviceKey};
use crate::metrics;
use crate::outcome::{Reason, State, Verdict};

/// Between two tries to store what a send led to.
const STORE_AGAIN: Duration = Duration::from_millis(500);

/// The devices of the next try; why there is nobody to send to.
pub(super) async fn find(
    tools: &Tools,
    kind: Kind,
    delivery: &Delivery,
) -> Result<Result<Destination, (Reason, String)>, BusError> {
    let audience = next(tools, kind, delivery).await?;
    if audience.is_nobody() {
        let whose = if delivery.recipient.is_some() { "the recipient" } else { "the workspace" };
        return Ok(Err((Reason::NoAddress, format!("{whose} has no push subscription of this kind"))));
    }
    Ok(Ok(Destination { audience: Some(audience), ..Destination::default() }))
}

/// None are left when the last of them was removed meanwhile.
async fn next(tools: &Tools, kind: Kind, delivery: &Delivery) -> Result<Audience, BusError> {
    let (bus, workspace) = (&tools.bus, &delivery.workspace);
    let mut rest = delivery.reach.as_deref().cloned().unwrap_or_default();
    while !rest.todo.is_empty() {
        let next = rest.todo.len().min(DEVICES_PER_TRY_MAX);
        let keys: Vec<DeviceKey> = rest.todo.drain(..next).collect();
        let devices = devices::get(bus, workspace, kind, &keys).await?;
        if !devices.is_empty() {
            return Ok(Audience { devices, rest });
        }
    }
    let devices = match (rest.after, &delivery.recipient) {
        (None, _) => Vec::new(),
        (Some(_), Some(user)) => {
            rest.after = None;
            tools.people.devices.of(bus, workspace, kind, user).await?
        }
        (Some(after), None) => pass::step(bus, (workspace, kind), after, &mut rest).await?,
    };
    Ok(Audience { devices, rest })
}

impl Hand<'_> {
    /// Stores what a try led to besides its outcome: when its tickets are asked for, and whose subscriptions are over.
    /// `self` has the reach that the try came to.
    pub(super) async fn after_devices(&self, tally: Tally, tried: &[Device], decision: &Decision) {
        if !tally.tickets.is_empty() {
            let now = clock::now();
            let settled = matches!(decision.next, Next::Settled);
            let reach = self.delivery.reach.as_deref();
            let receipts = Receipts {
                whole: settled && reach.is_some_and(|reach| reach.reached == tally.reached),
                tickets: tally.tickets,
                sent_at: now,
                after_ms: u64::try_from(tally.ask_after.as_millis()).unwrap_or(u64::MAX),
                asked: 0,
                settled,
                confirmed: 0,
                gone: 0,
                refused: 0,
                again: 0,
                why: None,
            };
            self.ask_then(receipts, after(now, tally.ask_after)).await;
        }
        let gone: Vec<&Device> = tried.iter().filter(|device| tally.gone.contains(&device.key())).collect();
        self.remove_gone(&gone).await;
    }

    /// Sets the time to ask for receipts, however long that takes; to know what became of it is not worth more than it is.
    async fn ask_then(&self, receipts: Receipts, due: Timestamp) {
        let asking = self.asking(receipts);
        loop {
            match self.beside(&asking, due, "receipts").await {
                Ok(()) => return,
                Err(error @ BusError::TooLarge { .. }) => {
                    tracing::warn!(delivery = %self.delivery.id, %error, "receipts are not asked for");
                    return;
                }
                Err(error) => {
                    metrics::outcome_store_failed();
                    tracing::warn!(delivery = %self.delivery.id, %error, "the time to ask for receipts is not stored yet");
                    clock::sleep(clock::jittered(STORE_AGAIN)).await;
                }
            }
        }
    }

    /// The message that asks for receipts when its time comes.
    pub(super) fn asking(&self, receipts: Receipts) -> Delivery {
        let reach = Reach { receipts: Some(receipts), after: None, ..Reach::default() };
        Delivery { reach: Some(Box::new(reach)), once: false, turn: None, ..self.delivery.clone() }
    }

    pub(super) async fn beside(
        &self,
        delivery: &Delivery,
        due: Timestamp,
        what: &str,
    ) -> Result<(), BusError> {
        let step = format!("s{}-{what}", self.sequence);
        schedule::beside(&self.tools.bus, delivery, due, &step).await.map(|_| ())
    }

    /// One that cannot be removed now is found gone again.
    pub(super) async fn remove_gone(&self, gone: &[&Device]) {
        let (delivery, mut removed) = (self.delivery, 0);
        for device in gone {
            match devices::remove(&self.tools.bus, &delivery.workspace, device).await {
                Ok(true) => removed += 1,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(workspace = %delivery.workspace, %error, "a push subscription that is over is not removed yet");
                }
            }
        }
        if removed > 0 {
            metrics::devices_removed(delivery, removed);
            tracing::info!(delivery = %delivery.id, workspace = %delivery.workspace, channel = %delivery.channel, removed, "push subscriptions that are over were removed");
        }
    }
}

impl Decision {
    /// The attempt is not over: there are more devices.
    pub(super) fn go_on(reach: &Reach, now: Timestamp) -> Self {
        let told = reach.summary().unwrap_or_default();
        let verdict = Verdict {
            next_at: Some(now),
            ..Verdict::new(State::Retrying, Reason::Continued).detail(format!("{told} so far; others follow"))
        };
        Self { verdict, next: Next::GoOn, pause_until: None }
    }
}

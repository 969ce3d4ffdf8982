//! What recipients would make of a firing: their preferences, and the windows of their inboxes, as they stand now.

use std::collections::HashMap;

use crate::bus::people::{self, Wishes};
use crate::bus::{Bus, BusError};
use crate::clock;
use crate::delivery::Delivery;
use crate::event::Event;
use crate::ids::Recipient;
use crate::preferences::Judgement;
use crate::route::{Firing, Step, throttle};

/// Those that were asked so far. None: they have no preferences.
#[derive(Default)]
pub(super) struct Asked(HashMap<Recipient, Option<Wishes>>);

impl Asked {
    pub async fn heeded(&mut self, bus: &Bus, event: &Event, firing: Firing) -> Result<Firing, BusError> {
        for recipient in firing.asked() {
            if !self.0.contains_key(recipient) {
                let wishes = people::read_wishes(bus, &event.workspace, recipient).await?;
                self.0.insert(recipient.clone(), wishes);
            }
        }
        let now = clock::now();
        let judge = |delivery: &Delivery| {
            let wishes = delivery.recipient.as_ref().and_then(|recipient| self.0.get(recipient)?.as_ref());
            wishes.map_or(Judgement::Pass, |wishes| wishes.judge(delivery, now))
        };
        Ok(firing.heeding(now, judge))
    }
}

/// What the window of an inbox holds back goes nowhere.
pub(super) async fn inbox_windows(
    bus: &Bus,
    event: &Event,
    firing: &mut Firing,
    place: Option<&str>,
) -> Result<(), BusError> {
    for index in 0..firing.steps.len() {
        let Some(window) = firing.inbox_window(&firing.steps[index]) else { continue };
        let standing = throttle::look(bus, &event.workspace, &window, place).await?;
        if standing.until.is_some() && !standing.own {
            firing.steps[index] = Step::Suppress(firing.steps[index].delivery().clone(), window.reason);
        }
    }
    Ok(())
}

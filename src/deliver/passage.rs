//! What a channel lets pass before a try: its circuit, its rate, its share of the slots. Whoever does not pass is stored
//! before the verdict: put off, handed to another channel, or given up.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::attempt::Standpoint;
use super::circuit::state::Passage;
use super::hand::Hand;
use super::share::Shares;
use super::turn::Held;
use super::{addresses, after, failover};
use crate::bus::BusError;
use crate::channel::ChannelSpec;
use crate::clock;
use crate::metrics;
use crate::outcome::Reason;

/// Those who waited for a pause come back spread over this long.
const AFTER_PAUSE_SPREAD: Duration = Duration::from_secs(5);
/// Another delivery was faster to be the one that is tried: it may be over in a moment.
const BESIDE_A_PROBE: Duration = Duration::from_secs(2);

impl Hand<'_> {
    /// What the channel itself lets pass: its circuit, its rate, its share of the slots.
    pub(super) async fn through(&self, spec: &Arc<ChannelSpec>, shares: &Shares) -> Result<(), BusError> {
        let (delivery, now) = (self.delivery, clock::now());
        let passage = self.tools.circuits.passage(&delivery.workspace, spec, now);
        if let Passage::ClosedUntil(until) = passage {
            return Box::pin(self.hold_back(spec, until)).await;
        }
        let destination = match addresses::destination(self.tools, spec, delivery).await? {
            Ok(destination) => destination,
            Err((reason, why)) => return self.suppress(reason, Some(why)).await,
        };
        let built = self.tools.adapters.get(&delivery.workspace, spec);
        let limits = built.limits(&destination.attempt(delivery, None, now));
        let paused = self.paused(limits.iter().map(|place| place.of.as_str()), now);
        let held = match (limits.is_empty(), paused) {
            (true, None) => None,
            // Everybody at once behind the pause would only lead to the next one.
            (true, Some(until)) => {
                let due = after(until, AFTER_PAUSE_SPREAD.mul_f64(clock::chance()));
                return self.put_off(spec, due, "paused").await;
            }
            (false, paused) => match Box::pin(self.turn(spec, limits, paused, shares)).await? {
                Some(held) => Some(held),
                None => return Ok(()),
            },
        };
        let share = shares.enter(&delivery.workspace, &delivery.channel).await;
        self.still_ours()?;
        let share = match share {
            Ok(share) => share,
            Err(wait) => {
                held.iter().for_each(|held| held.lose("share"));
                return self.put_off(spec, after(now, clock::jittered(wait)), "share").await;
            }
        };
        if let Some(held) = &held {
            let now = clock::now();
            // Both may have changed while it waited in hand.
            let paused = self.paused(held.limits(), now).is_some();
            if paused || !held.counts(now) {
                let why = if paused { "paused" } else { "late" };
                return Box::pin(self.wait_in_line(spec, &held.anew(why), now)).await;
            }
            metrics::pace_waited(delivery, held.waited(now));
        }
        let probe = match passage {
            Passage::Probe => Box::pin(self.tools.circuits.probe(delivery, spec, clock::now())).await?,
            Passage::Free | Passage::ClosedUntil(_) => None,
        };
        if passage == Passage::Probe && probe.is_none() {
            held.iter().for_each(|held| held.lose("circuit"));
            return self.put_off(spec, after(now, clock::jittered(BESIDE_A_PROBE)), "circuit").await;
        }
        let narrowest = held.as_ref().and_then(Held::narrowest);
        let made = self.try_alone(&built, Standpoint { destination: &destination, probe, narrowest }).await;
        drop(share);
        made
    }

    /// Until when its channel pauses, or one of the limits that it counts against.
    fn paused<'a>(&self, limits: impl Iterator<Item = &'a str>, now: Timestamp) -> Option<Timestamp> {
        let pauses = &self.tools.pauses;
        let own = pauses.until(&self.delivery.workspace, &self.delivery.channel, now);
        limits.map(|limit| pauses.limit_until(limit, now)).fold(own, Option::max)
    }

    /// Nothing works on its channel: to another one when it has waited long enough, else until the next probe.
    async fn hold_back(&self, spec: &ChannelSpec, until: Timestamp) -> Result<(), BusError> {
        let now = clock::now();
        let Some(stand_in) = self.stand_in(spec) else {
            return self.put_off(spec, until, "circuit").await;
        };
        let over = failover::patience_over(self.delivery, spec);
        if over > now {
            return self.put_off(spec, until.min(over), "circuit").await;
        }
        self.hand_over(&stand_in).await?;
        let why = failover::told(Some("nothing works on the channel"), &stand_in);
        self.suppress(Reason::FailedOver, Some(why)).await
    }
}

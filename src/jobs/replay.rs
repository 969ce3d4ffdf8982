//! Events of the past, routed again. It waits until the history knows what had happened when it began: what was sent must not be
//! sent again because the database is behind.

use std::sync::Arc;
use std::time::Duration;

use super::hand::{End, Hand, Trouble};
use super::{Replay, SAMPLE_MAX};
use crate::bus::consumer::Received;
use crate::bus::reader::{self, Entry, From};
use crate::bus::walk::Walk;
use crate::bus::{Bus, BusError, StreamName, topology};
use crate::clock;
use crate::event::Event;
use crate::ids::DeliveryId;
use crate::route::Step;
use crate::route::handler::{Again, Router, Tally, decoded};
use crate::rule::pattern::Pattern;

/// Between two looks at how far the history has come.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

pub(super) async fn pass(hand: &mut Hand<'_>, replay: &Replay) -> Result<End, Trouble> {
    if let Some(end) = history(hand).await? {
        return Ok(end);
    }
    let bus = &hand.tools.bus;
    let from = match hand.job.position {
        0 => From::Time(replay.since),
        position => From::Sequence(position + 1),
    };
    let filter = bus.names.event_filter(hand.job.workspace.as_ref(), None);
    let mut walk = Walk::open(bus, (StreamName::Events, filter), from, hand.ask()).await?;
    let epoch: Arc<str> = reader::epoch(bus, StreamName::Events).await?.into();
    let patterns: Vec<Pattern> =
        replay.event_types.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
    hand.job.total.get_or_insert(walk.pending);
    while let Some(entries) = walk.next().await? {
        for entry in entries {
            if entry.sequence > hand.job.end || entry.stored_at >= replay.until {
                return Ok(End::Done);
            }
            let sequence = entry.sequence;
            if let Some((event, message)) = wanted(bus, &epoch, entry, (replay, &patterns)) {
                if let Some(end) = hand.turn().await? {
                    return Ok(end);
                }
                one(hand, replay, &event, &message).await?;
            }
            hand.job.counts.seen += 1;
            if let Some(end) = hand.reached(sequence).await? {
                return Ok(end);
            }
        }
    }
    Ok(End::Done)
}

/// Waits until the history has what was recorded so far.
async fn history(hand: &mut Hand<'_>) -> Result<Option<End>, Trouble> {
    let bus = &hand.tools.bus;
    let last = topology::stream(bus, StreamName::Records).await?.cached_info().state.last_sequence;
    let name = bus.names.stream(StreamName::Records);
    loop {
        let position = hand.tools.store.position(&name).await?.map_or(0, |position| position.seq);
        if position >= last {
            return Ok(None);
        }
        if let Some(end) = hand.reached(hand.job.position).await? {
            return Ok(Some(end));
        }
        hand.job.why = Some(format!("waits for the history: {} records are missing", last - position));
        clock::sleep(LOOK_AGAIN).await;
    }
}

/// The event that is meant; None for another one, and for what is none: that is among the dead letters.
fn wanted(
    bus: &Bus,
    epoch: &Arc<str>,
    entry: Entry,
    (replay, patterns): (&Replay, &[Pattern]),
) -> Option<(Event, Received)> {
    let message = Received::once_more(Arc::clone(epoch), entry);
    let event = decoded(bus, &message).ok()?;
    // As rules want events: what Bugle says about itself only where a pattern writes its first segment out.
    let own = event.is_own();
    let matches = |pattern: &Pattern| {
        (!own || pattern.starts_literally()) && pattern.matches(event.event_type.as_str())
    };
    let of_type = if patterns.is_empty() { !own } else { patterns.iter().any(matches) };
    let of_id = replay.event.as_ref().is_none_or(|id| event.id == *id);
    (of_type && of_id).then_some((event, message))
}

async fn one(hand: &mut Hand<'_>, replay: &Replay, event: &Event, message: &Received) -> Result<(), Trouble> {
    let (job, router) = (hand.job.id.clone(), &hand.tools.router);
    let again =
        Again { job: &job, at: hand.job.created_at, rules: &replay.rules, fresh_ids: replay.fresh_ids };
    let mut tally = Tally::default();
    let planned = match router.plan_again(event, message, again).await {
        // A newer process wrote that channel: this event is not for us.
        Err(error @ BusError::Unreadable(_)) => {
            hand.job.counts.matched += 1;
            hand.job.counts.fail("unreadable", || format!("{}: {error}", event.id));
            return Ok(());
        }
        planned => planned?,
    };
    let ids: Vec<DeliveryId> = planned
        .iter()
        .flat_map(|firing| &firing.steps)
        .map(|step: &Step| step.delivery().id.clone())
        .collect();
    let history = hand.tools.store.seen(&event.workspace, &ids).await?;
    let left = router.without_known(planned, &history, &mut tally).await?;
    if hand.job.dry_run {
        Router::would_send(left, &mut tally);
    } else {
        Box::pin(router.send_again((event, message), left, again, &mut tally)).await?;
        hand.charge(tally.sent);
    }
    count(hand, event, tally);
    Ok(())
}

fn count(hand: &mut Hand<'_>, event: &Event, tally: Tally) {
    let counts = &mut hand.job.counts;
    counts.matched += 1;
    counts.sent += tally.sent;
    counts.known += tally.known;
    for (reason, count) in tally.suppressed {
        *counts.suppressed.entry(reason.to_string()).or_default() += count;
    }
    for (reason, count) in tally.failed {
        for _ in 0..count {
            counts.fail(reason.as_str(), || format!("{}: {reason}", event.id));
        }
    }
    for delivery in tally.going {
        if hand.job.sample.len() < SAMPLE_MAX {
            hand.job.sample.push(serde_json::json!({
                "event": delivery.event.id, "eventType": delivery.event.event_type, "rule": delivery.rule,
                "channel": delivery.channel, "recipient": delivery.recipient, "delivery": delivery.id,
                "title": delivery.title,
            }));
        }
    }
}

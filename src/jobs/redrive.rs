//! Dead letters sent again, as a filter says: each is published under the id of its letter, then forgotten, then counted.

use super::SAMPLE_MAX;
use super::hand::{End, Hand};
use crate::bus::BusError;
use crate::dead::filter::Filter;
use crate::dead::letters::{self, Letter, RedriveError};

pub(super) async fn pass(hand: &mut Hand<'_>, filter: &Filter) -> Result<End, BusError> {
    let bus = &hand.tools.bus;
    let mut walk = letters::walk(bus, filter, hand.job.position + 1, hand.ask()).await?;
    hand.job.total.get_or_insert(walk.pending);
    let wanted = filter.compiled();
    while let Some(entries) = walk.next().await? {
        for entry in entries {
            // What died after the job was made is not its business: it would send the same for ever.
            if entry.sequence > hand.job.end {
                return Ok(End::Done);
            }
            let letter = letters::listed(bus, &entry);
            let is_wanted = wanted.holds(&letter);
            if is_wanted && let Some(end) = hand.turn().await? {
                return Ok(end);
            }
            if is_wanted {
                one(hand, &letter).await?;
            }
            hand.job.counts.seen += 1;
            if let Some(end) = hand.reached(letter.sequence).await? {
                return Ok(end);
            }
        }
    }
    Ok(End::Done)
}

async fn one(hand: &mut Hand<'_>, letter: &Letter) -> Result<(), BusError> {
    if hand.job.dry_run {
        hand.job.counts.matched += 1;
        hand.job.counts.sent += 1;
        if hand.job.sample.len() < SAMPLE_MAX {
            hand.job.sample.push(sample(letter));
        }
        return Ok(());
    }
    let done = letters::redrive(&hand.tools.bus, letter.sequence).await;
    if let Err(RedriveError::Bus(error)) = done {
        return Err(error);
    }
    hand.charge(1);
    let counts = &mut hand.job.counts;
    counts.matched += 1;
    match done {
        Ok(_) => counts.sent += 1,
        // Somebody was faster, perhaps this very job before it was taken over.
        Err(RedriveError::Unknown(_)) => counts.known += 1,
        Err(error) => counts.fail(error.word(), || format!("{}: {error}", letter.sequence)),
    }
    Ok(())
}

/// What it is, without what it says.
fn sample(letter: &Letter) -> serde_json::Value {
    let mut sample = serde_json::json!({
        "sequence": letter.sequence, "reason": letter.reason, "fault": letter.fault, "at": letter.at,
    });
    if let Some(delivery) = &letter.delivery {
        sample["delivery"] = serde_json::json!(delivery.id);
        sample["channel"] = serde_json::json!(delivery.channel);
        sample["recipient"] = serde_json::json!(delivery.recipient);
        sample["eventType"] = serde_json::json!(delivery.event.event_type);
        sample["title"] = serde_json::json!(delivery.title);
    }
    sample
}

//! One thing, one message: who may show it now, and what there is to replace or to answer.
//!
//! Tries that replace a message are made one after the other for the whole fleet, or an older text could land on a newer one.
//! A claim has an end, so that a worker that is killed while it holds one blocks nobody for longer than half a minute. One that is killed
//! between the provider's answer and the storing of the handle may post twice, never not at all.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::adapters::Built;
use super::attempt::Standpoint;
use super::hand::Hand;
use super::{after, doubling};
use crate::bus::{BusError, StreamName, claim};
use crate::channel::http::BODY_WAIT;
use crate::channel::{Receipt, SendError};
use crate::clock;
use crate::outcome::Reason;

/// A thing that another one shows is waited for with the delivery in hand for this long; most tries are over by then.
const HELD_MAX: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Then it is put off, doubling from the first to the second.
const PUT_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// Between the longest try and the end of its claim: the handle is stored in it, and clocks differ.
const MARGIN: Duration = Duration::from_secs(3);
/// What nothing was said of for a week is told anew, where people look: its message is far up by then.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// A first try that failed leaves nothing behind.
const KEPT_EMPTY: Duration = Duration::from_secs(1);
/// Between two tries to store a handle.
const STORE_AGAIN: Duration = Duration::from_millis(500);

/// What is stored of a thing on a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thing {
    /// The [`Receipt::handle`] of its message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handle: Option<String>,
    /// The time of the event that it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shown: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taken: Option<Taken>,
}

/// A try that is being made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Taken {
    /// The step of the delivery in hand.
    by: String,
    until_ms: i64,
}

/// What an adapter does with an earlier message of the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Replaces,
    Follows,
}

/// Whether a try may be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Once the thing is claimed.
    Take,
    /// Beside others.
    Go,
    /// Until then somebody else has claimed it.
    Wait(Timestamp),
    /// A newer event is shown already.
    Superseded,
}

/// A try's claim to show a thing.
pub(super) struct Claim {
    subject: String,
    /// As it was found.
    thing: Thing,
    /// The message that is the claim; for one who goes beside others, that which was found.
    sequence: u64,
    taken: bool,
}

enum Entry {
    Mine(Claim),
    Later(Timestamp),
    Superseded,
}

impl Claim {
    /// What it takes to replace or to answer the message that is there.
    pub(super) fn earlier(&self) -> Option<&str> {
        self.thing.handle.as_deref()
    }
}

fn answer(thing: &Thing, event: Timestamp, by: &str, way: Way, now: Timestamp) -> Answer {
    match way {
        Way::Replaces if thing.shown.is_some_and(|shown| event < shown) => return Answer::Superseded,
        Way::Follows if thing.handle.is_some() => return Answer::Go,
        Way::Replaces | Way::Follows => {}
    }
    let taken = thing.taken.as_ref().filter(|taken| taken.by != by);
    let until = taken.and_then(|taken| Timestamp::from_millisecond(taken.until_ms).ok());
    match until.filter(|until| *until > now) {
        Some(until) => Answer::Wait(until),
        None => Answer::Take,
    }
}

/// What is stored of it after a try.
fn left(thing: &Thing, sent: &Result<Receipt, SendError>, event: Timestamp, now: Timestamp) -> Thing {
    let Ok(receipt) = sent else { return Thing { taken: None, ..thing.clone() } };
    // An event from the future must not hold back those of the present.
    let event = event.min(now);
    Thing {
        handle: receipt.handle.clone().or_else(|| thing.handle.clone()),
        shown: Some(thing.shown.map_or(event, |shown| shown.max(event))),
        taken: None,
    }
}

/// As long as its window, or a week after its last use; and no shorter than a delivery of it may still wait for its retry.
fn kept(window_ms: Option<u64>, expires_at: Timestamp, now: Timestamp) -> Duration {
    let life = window_ms.map_or(KEPT, Duration::from_millis);
    let waits = Duration::try_from(expires_at.duration_since(now)).unwrap_or_default();
    life.max(waits)
}

impl Hand<'_> {
    /// Makes the try, alone where others show the same thing.
    pub(super) async fn try_alone(&self, built: &Built, standpoint: Standpoint<'_>) -> Result<(), BusError> {
        let Some((way, collapse_id)) = way(built).zip(self.delivery.collapse_id.as_deref()) else {
            self.attempt(built, standpoint, None).await;
            return Ok(());
        };
        let entry = Box::pin(self.enter(way, collapse_id, built.timeout)).await?;
        if let Entry::Mine(claim) = entry {
            self.attempt(built, standpoint, Some(&claim)).await;
            return Ok(());
        }
        if let Some(probe) = &standpoint.probe {
            // Another delivery shows whether the channel works again.
            self.tools.circuits.release(self.delivery, probe, clock::now()).await?;
        }
        match entry {
            Entry::Mine(_) => Ok(()),
            Entry::Later(due) => self.put_off(&built.spec, due, "thread").await,
            Entry::Superseded => {
                let why = "a newer event of the same thing was shown before it".to_owned();
                self.suppress(Reason::Superseded, Some(why)).await
            }
        }
    }

    async fn enter(&self, way: Way, collapse_id: &str, timeout: Duration) -> Result<Entry, BusError> {
        let (bus, delivery, by) = (&self.tools.bus, self.delivery, self.message_id());
        let subject = bus.names.receipt(delivery, collapse_id);
        let began = Instant::now();
        loop {
            let found = claim::last_in::<Thing>(bus, StreamName::Receipts, &subject).await?;
            let (thing, sequence) = found.unwrap_or_default();
            let now = clock::now();
            let until = match answer(&thing, delivery.event.time, &by, way, now) {
                Answer::Superseded => return Ok(Entry::Superseded),
                Answer::Go => return Ok(Entry::Mine(Claim { subject, thing, sequence, taken: false })),
                Answer::Take => {
                    let until = after(now, timeout + BODY_WAIT + MARGIN);
                    let taken = Taken { by: by.clone(), until_ms: until.as_millisecond() };
                    let mine = Thing { taken: Some(taken), ..thing.clone() };
                    match claim::put(bus, &subject, &mine, Some(self.kept(now)), sequence).await {
                        Ok(sequence) => {
                            self.still_ours()?;
                            return Ok(Entry::Mine(Claim { subject, thing, sequence, taken: true }));
                        }
                        Err(BusError::Conflict) => until,
                        Err(error) => return Err(error),
                    }
                }
                Answer::Wait(until) => until,
            };
            if began.elapsed() >= HELD_MAX {
                let wait = clock::jittered(doubling(PUT_OFF, delivery.held));
                // A claim that was not given back ends by itself.
                return Ok(Entry::Later(after(now, wait).min(after(until, LOOK_AGAIN))));
            }
            clock::sleep(clock::jittered(LOOK_AGAIN)).await;
            self.still_ours()?;
        }
    }

    fn kept(&self, now: Timestamp) -> Duration {
        kept(self.delivery.collapse_ms, self.delivery.expires_at, now)
    }

    /// Stores what the try left behind, and gives the claim back. A handle is stored however long that takes.
    pub(super) async fn release(&self, held: &Claim, sent: &Result<Receipt, SendError>) {
        if sent.is_err() && !held.taken {
            return;
        }
        let (bus, delivery, now) = (&self.tools.bus, self.delivery, clock::now());
        let left = left(&held.thing, sent, delivery.event.time, now);
        let keep = if left == Thing::default() { KEPT_EMPTY } else { self.kept(now) };
        let mut expected = held.sequence;
        loop {
            let stored = claim::put(bus, &held.subject, &left, Some(keep), expected).await;
            let Err(error) = stored else { return };
            if matches!(error, BusError::Conflict) {
                let found = claim::last_in::<Thing>(bus, StreamName::Receipts, &held.subject).await;
                match found {
                    // Its stream was deleted meanwhile.
                    Ok(None) if expected != 0 => expected = 0,
                    // The claim had ended, or another one who goes beside was quicker: theirs stands.
                    Ok(_) => return,
                    Err(error) => tracing::debug!(%error, "what is stored of a thing cannot be read"),
                }
            }
            if sent.is_err() {
                // Nothing to keep, and the claim ends by itself.
                return;
            }
            tracing::warn!(delivery = %delivery.id, %error, "what shows a thing is not stored yet");
            clock::sleep(clock::jittered(STORE_AGAIN)).await;
        }
    }
}

fn way(built: &Built) -> Option<Way> {
    let adapter = built.adapter.as_ref().ok()?;
    if adapter.replaces() {
        return Some(Way::Replaces);
    }
    adapter.follows().then_some(Way::Follows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Failure;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn thing(handle: Option<&str>, shown: Option<i64>, taken: Option<(&str, i64)>) -> Thing {
        Thing {
            handle: handle.map(str::to_owned),
            shown: shown.map(at),
            taken: taken.map(|(by, until)| Taken { by: by.to_owned(), until_ms: until * 1_000 }),
        }
    }

    fn posted(handle: Option<&str>) -> Receipt {
        Receipt { handle: handle.map(str::to_owned), ..Receipt::default() }
    }

    #[test]
    fn one_after_the_other_replaces_what_is_shown() {
        let asked = |thing: &Thing, event| answer(thing, at(event), "me", Way::Replaces, at(100));
        assert_eq!(asked(&Thing::default(), 5), Answer::Take);
        assert_eq!(asked(&thing(None, None, Some(("other", 110))), 5), Answer::Wait(at(110)));
        assert_eq!(asked(&thing(Some("h"), Some(4), Some(("other", 110))), 5), Answer::Wait(at(110)));
        assert_eq!(asked(&thing(Some("h"), Some(4), None), 5), Answer::Take);
    }

    #[test]
    fn a_claim_that_is_over_or_ones_own_blocks_nobody() {
        let asked =
            |by, until| answer(&thing(None, None, Some((by, until))), at(5), "me", Way::Replaces, at(100));
        assert_eq!(asked("other", 100), Answer::Take);
        assert_eq!(asked("me", 110), Answer::Take);
    }

    #[test]
    fn an_older_event_does_not_take_the_place_of_a_newer_one_and_an_equal_one_does() {
        let shown = thing(Some("h"), Some(10), Some(("other", 110)));
        let asked = |event, way| answer(&shown, at(event), "me", way, at(100));
        assert_eq!(asked(9, Way::Replaces), Answer::Superseded);
        assert_eq!(asked(10, Way::Replaces), Answer::Wait(at(110)));
        assert_eq!(asked(9, Way::Follows), Answer::Go, "an answer takes nobody's place");
    }

    #[test]
    fn those_who_answer_wait_for_the_first_message_alone() {
        let asked = |thing: &Thing| answer(thing, at(5), "me", Way::Follows, at(100));
        assert_eq!(asked(&thing(None, None, Some(("other", 110)))), Answer::Wait(at(110)));
        assert_eq!(asked(&thing(Some("h"), Some(1), Some(("other", 110)))), Answer::Go);
    }

    #[test]
    fn a_try_leaves_its_handle_and_a_failure_what_was_there() {
        let before = thing(Some("old"), Some(4), None);
        assert_eq!(
            left(&before, &Ok(posted(Some("new"))), at(5), at(100)),
            thing(Some("new"), Some(5), None)
        );
        assert_eq!(left(&before, &Ok(posted(None)), at(5), at(100)), thing(Some("old"), Some(5), None));
        let failed = Err(SendError::Permanent(Failure::new(Reason::Gone, "gone")));
        assert_eq!(left(&before, &failed, at(5), at(100)), before);
        assert_eq!(left(&Thing::default(), &failed, at(5), at(100)), Thing::default());
    }

    #[test]
    fn an_event_from_the_future_holds_nobody_back() {
        let now = at(100);
        let shown = left(&Thing::default(), &Ok(posted(Some("h"))), at(9_999), now);
        assert_eq!(answer(&shown, at(101), "me", Way::Replaces, at(101)), Answer::Take);
    }

    #[test]
    fn a_handle_lives_as_long_as_its_window_and_as_its_deliveries_may_wait() {
        let expires = at(160);
        assert_eq!(kept(None, expires, at(100)), KEPT);
        assert_eq!(kept(Some(3_600_000), expires, at(100)), Duration::from_secs(3_600));
        assert_eq!(kept(Some(1_000), expires, at(100)), Duration::from_secs(60));
        assert_eq!(kept(Some(1_000), expires, at(200)), Duration::from_secs(1));
    }
}

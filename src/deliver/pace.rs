//! The fleet's rate: who may send when, by limits that all workers share.
//!
//! A limit's book lies in the broker and is changed by compare and swap. One reservation is on its way for a limit and
//! process, for all who wait here: one each would spend the rate on conflicts. What was reserved and not used is lost, never
//! used twice.

pub mod book;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use self::book::{Ask, Book, Rate};
use crate::bus::{Bus, BusError, StreamName, claim};
use crate::channel::{ChannelSpec, Kind, Limit, RateLimit};
use crate::clock;
use crate::ids::{WorkspaceId, digest};
use crate::metrics;
use crate::task;

/// The broker remembers a book for this long after it is of no consequence: clocks differ a little.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Limits that this process remembers; beyond it those that nobody waits for are read again when they are needed.
const KNOWN_MAX: usize = 10_000;

/// A limit, and where its book is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The limit with its figures: when they change the book is another.
    pub of: String,
    pub kind: Kind,
    pub rate: Rate,
    pub cost: u32,
}

impl Place {
    #[must_use]
    pub fn of(kind: Kind, limit: &Limit) -> Self {
        let Limit { of, most, per, burst, cost } = limit;
        let figures = format!("{most}/{}/{burst}", per.as_millis());
        Self { of: digest(&[of, &figures]), kind, rate: Rate::of(limit), cost: *cost }
    }

    /// The one that a channel's document sets for itself.
    #[must_use]
    pub fn own(workspace: &WorkspaceId, spec: &ChannelSpec) -> Option<Self> {
        let RateLimit { per_second, burst } = spec.rate_limit.as_ref()?;
        let burst = burst.unwrap_or(1);
        let parts = ["own", workspace.as_str(), spec.id.as_str(), &format!("{per_second}/{burst}")];
        Some(Self { of: digest(&parts), kind: spec.kind, rate: Rate::lasting(*per_second, burst), cost: 1 })
    }
}

/// None: the moment would be too late.
type Answer = Result<Option<i64>, String>;

/// The limits that this process reserves from.
pub struct Pace {
    bus: Bus,
    queues: Mutex<HashMap<String, Arc<Queue>>>,
}

#[derive(Default)]
struct Queue(Mutex<Line>);

/// Who waits for a reservation.
#[derive(Default)]
struct Line {
    waiting: Vec<(Ask, oneshot::Sender<Answer>)>,
    /// Somebody reserves for all of them.
    served: bool,
    /// The book as it was left, with its sequence.
    known: Option<(Book, u64)>,
}

impl Queue {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pace {
    #[must_use]
    pub fn new(bus: Bus) -> Self {
        Self { bus, queues: Mutex::default() }
    }

    /// The moment of a slot, which is taken with it; None when it would be too late.
    ///
    /// # Errors
    /// When the broker did not answer. What was taken all the same is lost.
    pub async fn reserve(&self, place: &Place, ask: Ask) -> Result<Option<i64>, BusError> {
        let subject = self.bus.names.limit(place.kind, &place.of);
        let queue = self.queue(&subject);
        let (sender, answer) = oneshot::channel();
        let serve = {
            let mut line = queue.line();
            line.waiting.push((ask, sender));
            !std::mem::replace(&mut line.served, true)
        };
        if serve {
            // In a task: whoever asked may be gone before the others have their answer.
            let (bus, rate) = (self.bus.clone(), place.rate);
            task::spawn("pace", async move { serve_line(&bus, &subject, rate, &queue).await });
        }
        let gone = || BusError::Request("a reservation was not answered".to_owned());
        answer.await.map_err(|_| gone())?.map_err(BusError::Request)
    }

    fn queue(&self, subject: &str) -> Arc<Queue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(subject) {
            return Arc::clone(queue);
        }
        if queues.len() >= KNOWN_MAX {
            queues.retain(|_, queue| queue.line().served);
        }
        Arc::clone(queues.entry(subject.to_owned()).or_default())
    }
}

async fn serve_line(bus: &Bus, subject: &str, rate: Rate, queue: &Queue) {
    loop {
        let (group, known) = {
            let mut line = queue.line();
            if line.waiting.is_empty() {
                line.served = false;
                return;
            }
            (std::mem::take(&mut line.waiting), line.known)
        };
        let asks: Vec<Ask> = group.iter().map(|(ask, _)| *ask).collect();
        let answers = reserve(bus, subject, rate, &asks, known).await;
        let (answers, known) = match answers {
            Ok((found, known)) => (found.into_iter().map(Ok).collect(), known),
            Err(error) => (vec![Err(error.to_string()); asks.len()], None),
        };
        queue.line().known = known;
        for ((_, sender), answer) in group.into_iter().zip::<Vec<Answer>>(answers) {
            // Who does not wait any more leaves its slot unused.
            drop(sender.send(answer));
        }
    }
}

type Reserved = (Vec<Option<i64>>, Option<(Book, u64)>);

/// One swap for all of them, again when another process was first.
async fn reserve(
    bus: &Bus,
    subject: &str,
    rate: Rate,
    asks: &[Ask],
    mut known: Option<(Book, u64)>,
) -> Result<Reserved, BusError> {
    for _ in 0..claim::LOOKS_MAX {
        let now = clock::now().as_microsecond();
        let (before, sequence) = known.unwrap_or((Book::new(rate, now), 0));
        let mut book = before;
        let found: Vec<Option<i64>> = asks.iter().map(|ask| book.reserve(rate, now, ask)).collect();
        if found.iter().all(Option::is_none) {
            return Ok((found, known));
        }
        let left = u64::try_from(book.over(rate) + rate.span() - now).unwrap_or(0);
        let keep = Some(Duration::from_micros(left) + KEPT_FOR);
        match claim::put(bus, subject, &book, keep, sequence).await {
            Ok(sequence) => {
                metrics::pace_reserved(false);
                return Ok((found, Some((book, sequence))));
            }
            Err(BusError::Conflict) => metrics::pace_reserved(true),
            Err(error) => return Err(error),
        }
        known = claim::last_in::<Book>(bus, StreamName::Pace, subject).await?;
        if known.is_none_or(|(_, found)| found == sequence) {
            claim::again().await;
        }
    }
    Err(claim::contended())
}

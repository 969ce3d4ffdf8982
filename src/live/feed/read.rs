//! The steps in which a feed reads SQL. Each is a future of its own, so that a feed which reads nothing holds none.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::live::catch_up::PAGE;
use crate::live::follower::Follower;
use crate::live::place::{Place, Side};
use crate::live::{Hub, Topics};
use crate::notification::change::Change;
use crate::store::StoreError;
use crate::store::inbox::Owner;
use crate::store::inbox::changes::{Behind, Standing};

const AFTER_TROUBLE: Duration = Duration::from_millis(500);
/// What is told is committed, so that looking once is enough, but for a database that is an older one.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Who reads what.
#[derive(Clone)]
pub struct Reader {
    pub hub: Arc<Hub>,
    pub follower: Arc<Follower>,
    pub topics: Topics,
}

/// How far the reading has come.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    pub from: Place,
    /// Sides of which all there was has been read.
    pub complete: [bool; 2],
}

/// What a step came to.
pub enum Step {
    Page(Side, Vec<Change>),
    /// All was read, and from here on it is told.
    Done,
    /// What is told filled the queue meanwhile: that goes first.
    Full,
    /// Changes that should come next are no longer kept.
    Expired,
    /// Where the inbox stands.
    Anew(Standing),
}

impl Reader {
    /// A page of what was missed, or the change to what is told.
    pub async fn catch_up(self, mut reading: Reading) -> (Step, Reading) {
        for (at, side) in Side::BOTH.into_iter().enumerate() {
            let Some(topic) = self.topics.of(side) else { continue };
            while !self.follower.is_live(side) {
                let from = reading.from.of(side);
                if reading.complete[at] {
                    if !topic.go_live(&self.follower, from) {
                        reading.complete[at] = false;
                    } else if !self.follower.is_live(side) {
                        return (Step::Full, reading);
                    }
                    continue;
                }
                let behind = self.page(&topic.owner, from).await;
                if behind.gap {
                    return (Step::Expired, reading);
                }
                reading.complete[at] = behind.changes.len() < PAGE as usize;
                if let Some(last) = behind.changes.last() {
                    reading.from.set(side, last.seq);
                    return (Step::Page(side, behind.changes), reading);
                }
                if topic.last() > from {
                    clock::sleep(LOOK_AGAIN).await;
                }
            }
        }
        (Step::Done, reading)
    }

    /// A page of what lies before `until`.
    pub async fn replay(self, mut reading: Reading, until: Place) -> (Step, Reading) {
        for side in Side::BOTH {
            let Some(topic) = self.topics.of(side) else { continue };
            let (from, until) = (reading.from.of(side), until.of(side));
            if from >= until {
                continue;
            }
            let mut behind = self.page(&topic.owner, from).await;
            if behind.gap {
                return (Step::Expired, reading);
            }
            let is_last = behind.changes.last().is_none_or(|last| last.seq >= until);
            behind.changes.retain(|change| change.seq <= until);
            let read = behind.changes.last().map_or(until, |last| last.seq);
            reading.from.set(side, if is_last { until } else { read });
            return (Step::Page(side, behind.changes), reading);
        }
        (Step::Done, reading)
    }

    /// Where the inbox stands now.
    pub async fn anew(self, reading: Reading) -> (Step, Reading) {
        (Step::Anew(self.standing().await), reading)
    }

    pub async fn standing(self) -> Standing {
        self.until_answered(|| self.hub.store.standing(&self.follower.owner)).await
    }

    async fn page(&self, inbox: &Owner, after: u64) -> Behind {
        self.until_answered(|| async {
            match self.hub.store.changes(inbox, &self.follower.owner, after, PAGE).await {
                Err(StoreError::Broken(what)) => {
                    tracing::error!(recipient = %inbox.recipient, what, "a change of an inbox cannot be read: told as a gap");
                    Ok(Behind { changes: Vec::new(), gap: true })
                }
                answer => answer,
            }
        })
        .await
    }

    /// While the database is away the client notices nothing but silence.
    async fn until_answered<T, W: Future<Output = Result<T, StoreError>>>(&self, ask: impl Fn() -> W) -> T {
        loop {
            match self.hub.ask(&ask).await {
                Ok(answer) => return answer,
                Err(error) => {
                    tracing::debug!(%error, "a live inbox waits for the database");
                    clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
                }
            }
        }
    }
}

//! One who follows an inbox, as the hub sees them: a short queue, where its end stands, and how many are unread there.
//!
//! The queue is bounded, and what comes when it is full is not lost: it lies in SQL, and the feed reads it from there once the
//! queue is taken ([`Taken::Behind`]). Only who takes nothing for long is cut.

mod end;
mod unread;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::frame::is_told;
use super::heard::Heard;
use super::place::{Place, Side};
use crate::metrics::Transport;
use crate::notification::change::ChangeKind;
use crate::store::inbox::Owner;
use crate::store::inbox::changes::Standing;
pub use end::End;
use unread::Unread;

/// Changes that wait for a client.
pub const QUEUE_MAX: usize = 64;
/// A client who takes nothing of what waits for this long is cut.
pub const SLOW_AFTER: Duration = Duration::from_secs(10);

/// Whether somebody may still follow.
pub trait Pass: Send + Sync {
    /// Asked twice a second.
    fn holds(&self) -> bool;

    /// What has to be asked elsewhere, every two seconds; None when nothing has.
    fn look_up(&self) -> Option<LookUp>;
}

pub type LookUp = Pin<Box<dyn Future<Output = bool> + Send>>;

pub struct Follower {
    pub number: u64,
    pub owner: Owner,
    pub transport: Transport,
    pass: Box<dyn Pass>,
    since: Instant,
    state: Mutex<State>,
}

/// What waits in the queue.
pub struct Entry {
    pub side: Side,
    pub heard: Arc<Heard>,
    /// The number of unread ones, where it changed it.
    pub unread: Option<u64>,
}

struct State {
    queue: VecDeque<Entry>,
    /// The end of the queue.
    queued: Place,
    /// Sides whose changes come as they are heard.
    live: [bool; 2],
    unread: Unread,
    /// The number of unread ones is to be told whatever comes.
    tell_unread: bool,
    behind: Option<Behind>,
    /// Since when something waits of which nothing was taken, here or in the connection.
    waiting: Option<Instant>,
    heartbeat: bool,
    /// Whether they may still is to be looked up.
    check: bool,
    end: Option<End>,
    waker: Option<Waker>,
}

/// Why a follower is no longer told what is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// The queue was full.
    Full,
    /// Changes that it has not seen are no longer kept, or the database is an older one.
    Lost,
}

/// What there is for the client.
pub enum Taken {
    Entries(VecDeque<Entry>),
    Unread(u64),
    /// All was taken, and there is more in SQL.
    Behind(Behind),
    Heartbeat,
    /// Whether they may still has to be looked up.
    Check,
    End(End),
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Took {
    Yes,
    /// And how many are unread is not known by it.
    Uncounted,
    /// They are not told what is heard any more.
    Left,
}

const fn at(side: Side) -> usize {
    match side {
        Side::Own => 0,
        Side::Everybody => 1,
    }
}

impl Follower {
    #[must_use]
    pub fn new(number: u64, owner: Owner, pass: Box<dyn Pass>, transport: Transport) -> Self {
        let state = State {
            queue: VecDeque::new(),
            queued: Place::default(),
            live: [false; 2],
            unread: Unread::default(),
            tell_unread: false,
            behind: None,
            waiting: None,
            heartbeat: false,
            check: false,
            end: None,
            waker: None,
        };
        Self { number, owner, transport, pass, since: Instant::now(), state: Mutex::new(state) }
    }

    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.owner.recipient.is_everybody()
    }

    #[must_use]
    pub fn holds(&self, newest: Duration) -> bool {
        // A token that was made just now may not be known here yet.
        self.since.elapsed() < newest || self.pass.holds()
    }

    #[must_use]
    pub fn look_up(&self) -> Option<LookUp> {
        self.pass.look_up()
    }

    /// Begins at `from`, with what is known of the inbox at `standing`.
    pub fn begin(&self, from: Place, standing: Standing) {
        let mut state = self.lock();
        state.queue.clear();
        state.queued = from;
        state.live = [false; 2];
        state.behind = None;
        state.unread = Unread::at(standing);
    }

    /// Begins again behind `from`, after the queue was full; how many are unread is known.
    pub fn rejoin(&self, from: Place) {
        self.lock().queued = from;
    }

    /// From now on what is heard of this side comes; for the topic, which knows that nothing lies between.
    pub fn go_live(&self, side: Side, from: u64) -> bool {
        let mut state = self.lock();
        if state.behind.is_some() {
            return false;
        }
        state.queued.set(side, from);
        state.live[at(side)] = true;
        true
    }

    #[must_use]
    pub fn is_live(&self, side: Side) -> bool {
        self.lock().live[at(side)]
    }

    /// A change that was heard.
    pub fn tell(&self, side: Side, heard: &Arc<Heard>) -> Took {
        let mut state = self.lock();
        if !state.live[at(side)] {
            return Took::Left;
        }
        if heard.seq <= state.queued.of(side) {
            return Took::Yes;
        }
        if state.queue.len() >= QUEUE_MAX {
            state.leave(Behind::Full);
            state.waiting.get_or_insert_with(Instant::now);
            return Took::Left;
        }
        let (unread, took) = self.note(&mut state, side, heard);
        if self.sees(side, heard) {
            state.queue.push_back(Entry { side, heard: Arc::clone(heard), unread });
            state.waiting.get_or_insert_with(Instant::now);
            state.wake();
        }
        took
    }

    /// A change that was read from SQL for this follower alone.
    pub fn read(&self, side: Side, heard: Heard) -> (Option<Entry>, Took) {
        let mut state = self.lock();
        let (unread, took) = self.note(&mut state, side, &heard);
        let entry = self.sees(side, &heard).then(|| Entry { side, heard: Arc::new(heard), unread });
        (entry, took)
    }

    fn note(&self, state: &mut State, side: Side, heard: &Heard) -> (Option<u64>, Took) {
        state.queued.set(side, heard.seq);
        if self.is_about_others(side, heard.kind) {
            return (None, Took::Yes);
        }
        // Of a broadcast that changed it depends on what each of them did with it.
        let known = side == Side::Own || self.is_everybody() || heard.kind == ChangeKind::Created;
        let was_counting = state.unread.is_counting();
        let unread = state.unread.note(side, heard.seq, known.then_some(heard.unread));
        let took = if state.unread.is_counting() && !was_counting { Took::Uncounted } else { Took::Yes };
        (unread, took)
    }

    /// Whether they are told of a change at all.
    #[must_use]
    pub fn sees(&self, side: Side, heard: &Heard) -> bool {
        is_told(heard) && !self.is_about_others(side, heard.kind)
    }

    /// What is done with a broadcast under the name of everybody is nobody else's mark.
    fn is_about_others(&self, side: Side, kind: ChangeKind) -> bool {
        let of_all = match kind {
            ChangeKind::Created | ChangeKind::Updated | ChangeKind::Deleted => true,
            ChangeKind::Delivered
            | ChangeKind::Read
            | ChangeKind::Unread
            | ChangeKind::Dismissed
            | ChangeKind::Restored
            | ChangeKind::AllRead => false,
        };
        side == Side::Everybody && !self.is_everybody() && !of_all
    }

    /// How many were unread at a moment. False when it has to be asked again.
    pub fn count(&self, standing: Standing) -> bool {
        let mut state = self.lock();
        let before = state.unread.shown();
        if !state.unread.count(standing) {
            return false;
        }
        state.tell_unread |= state.unread.shown() != before;
        state.wake();
        true
    }

    /// Tells how many are unread, in any case.
    pub fn tell_unread(&self) {
        let mut state = self.lock();
        state.tell_unread = true;
        state.wake();
    }

    /// What is heard does not lead on from where they stand.
    pub fn lose(&self) {
        self.lock().leave(Behind::Lost);
    }

    pub fn end(&self, end: End) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        state.wake();
    }

    /// Why it was ended by this side.
    #[must_use]
    pub fn ended(&self, now: Instant) -> Option<End> {
        let state = self.lock();
        state.end.or_else(|| state.is_slow(now).then_some(End::Slow))
    }

    pub fn beat(&self) {
        let mut state = self.lock();
        // The last one was not taken in all that time.
        if state.heartbeat {
            state.end.get_or_insert(End::Slow);
        }
        state.heartbeat = true;
        state.wake();
    }

    /// Whether they may still is looked up, where that has to be asked elsewhere.
    pub fn check(&self) {
        if self.pass.look_up().is_some() {
            let mut state = self.lock();
            state.check = true;
            state.wake();
        }
    }

    /// True when the client took nothing for too long.
    #[must_use]
    pub fn is_slow(&self, now: Instant) -> bool {
        self.lock().is_slow(now)
    }

    /// Something was handed to the connection, which comes back for more once the client took it.
    pub fn handed(&self) {
        self.lock().waiting.get_or_insert_with(Instant::now);
    }

    /// What there is for the client, in its order; the queue stays while `hold`.
    pub fn take(&self, hold: bool, context: &Context<'_>) -> Poll<Taken> {
        let mut state = self.lock();
        state.waiting = None;
        match state.end {
            // What is in the queue still goes out.
            Some(End::Shutdown) if !state.queue.is_empty() && !hold => {}
            Some(end) => return Poll::Ready(Taken::End(end)),
            None => {}
        }
        if std::mem::take(&mut state.check) {
            return Poll::Ready(Taken::Check);
        }
        if !hold {
            if !state.queue.is_empty() {
                return Poll::Ready(Taken::Entries(std::mem::take(&mut state.queue)));
            }
            if let Some(behind) = state.behind.take() {
                return Poll::Ready(Taken::Behind(behind));
            }
            if state.tell_unread && !state.unread.is_counting() {
                state.tell_unread = false;
                return Poll::Ready(Taken::Unread(state.unread.shown()));
            }
        }
        if std::mem::take(&mut state.heartbeat) {
            return Poll::Ready(Taken::Heartbeat);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_slow(&self, now: Instant) -> bool {
        self.waiting.is_some_and(|since| now.saturating_duration_since(since) > SLOW_AFTER)
    }

    fn leave(&mut self, why: Behind) {
        self.live = [false; 2];
        self.behind = Some(match (self.behind, why) {
            (Some(Behind::Lost), _) | (_, Behind::Lost) => Behind::Lost,
            (_, Behind::Full) => Behind::Full,
        });
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
pub(super) mod tests;

//! One inbox that somebody follows: how far its changes were passed on, and to whom. They are passed on under its lock, so that each
//! follower gets them in their order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::follower::{Follower, Took};
use super::heard::{Heard, Told};
use super::place::Side;
use crate::ids::Recipient;
use crate::notification::change::ChangeKind;
use crate::store::inbox::Owner;

pub struct Topic {
    pub owner: Owner,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Up to here its changes were passed on.
    last: u64,
    /// Changes up to here exist.
    known: u64,
    /// Somebody reads what was missed.
    catching_up: bool,
    /// Those who are told what is heard.
    followers: HashMap<u64, Arc<Follower>>,
    /// Those who follow it or are about to.
    feeds: usize,
}

/// What has to be done after a change was heard.
#[derive(Default)]
pub struct Aftermath {
    /// What was missed has to be read.
    pub catch_up: bool,
    /// Those whose unread ones have to be counted anew.
    pub uncounted: Vec<Arc<Follower>>,
}

impl Topic {
    #[must_use]
    pub fn new(owner: Owner) -> Self {
        Self { owner, state: Mutex::default() }
    }

    fn side(&self) -> Side {
        if self.is_everybody() { Side::Everybody } else { Side::Own }
    }

    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.owner.recipient.is_everybody()
    }

    pub fn enter(&self) {
        self.lock().feeds += 1;
    }

    /// True when nobody is left.
    pub fn leave(&self, follower: &Follower) -> bool {
        let mut state = self.lock();
        state.followers.remove(&follower.number);
        state.feeds -= 1;
        state.feeds == 0
    }

    /// Begins to pass on what is heard to somebody who has seen all up to `from`. False when there is more to read before.
    pub fn go_live(&self, follower: &Arc<Follower>, from: u64) -> bool {
        let mut state = self.lock();
        if state.last > from {
            return false;
        }
        if !follower.go_live(self.side(), from) {
            return true;
        }
        if state.followers.is_empty() {
            state.last = from;
            state.known = state.known.max(from);
        }
        state.followers.insert(follower.number, Arc::clone(follower));
        true
    }

    /// What was heard.
    pub fn hear(&self, told: Told) -> Aftermath {
        let mut state = self.lock();
        state.known = state.known.max(told.last);
        if state.followers.is_empty() {
            // Whoever comes reads up to here first.
            state.last = state.last.max(told.last);
            return Aftermath::default();
        }
        if state.catching_up || told.last <= state.last {
            return Aftermath::default();
        }
        // What a broadcast's new text is to somebody depends on their marks.
        let by_marks =
            self.is_everybody() && told.changes.iter().any(|change| change.kind == ChangeKind::Updated);
        if told.before > state.last || told.changes.is_empty() || by_marks {
            state.catching_up = true;
            return Aftermath { catch_up: true, uncounted: Vec::new() };
        }
        let mut uncounted = Vec::new();
        for heard in told.changes.into_iter().map(Arc::new) {
            state.pass_on(self.side(), &heard, &|_, _| None, &mut uncounted);
        }
        state.last = told.last;
        Aftermath { catch_up: false, uncounted }
    }

    /// Something may have been missed: what it is, is read. True when nobody does yet and somebody follows.
    pub fn doubt(&self) -> bool {
        let mut state = self.lock();
        let begins = !state.catching_up && !state.followers.is_empty();
        state.catching_up |= begins;
        begins
    }

    #[must_use]
    pub fn last(&self) -> u64 {
        self.lock().last
    }

    /// Those who are told what is heard, each once.
    #[must_use]
    pub fn recipients(&self) -> Vec<Recipient> {
        let state = self.lock();
        let mut recipients: Vec<Recipient> =
            state.followers.values().map(|follower| follower.owner.recipient.clone()).collect();
        drop(state);
        recipients.sort_unstable();
        recipients.dedup();
        recipients
    }

    #[must_use]
    pub fn has_followers(&self) -> bool {
        !self.lock().followers.is_empty()
    }

    /// Passes on what was read behind `last`; `view` is how a follower sees a change, where it is not as everybody does.
    pub fn pass_on(
        &self,
        changes: Vec<Heard>,
        view: &dyn Fn(&Follower, &Heard) -> Option<Arc<Heard>>,
    ) -> Vec<Arc<Follower>> {
        let (mut state, mut uncounted) = (self.lock(), Vec::new());
        for heard in changes.into_iter().map(Arc::new) {
            if heard.seq > state.last {
                state.pass_on(self.side(), &heard, view, &mut uncounted);
                state.last = heard.seq;
            }
        }
        uncounted
    }

    /// All there was has been read. False when more is known to be there by now.
    pub fn caught_up(&self, read_up_to: u64) -> bool {
        let mut state = self.lock();
        if state.followers.is_empty() {
            // Whoever comes reads up to here first.
            state.last = state.last.max(state.known);
        } else if state.known > state.last && state.known > read_up_to {
            return false;
        }
        state.known = state.last;
        state.catching_up = false;
        true
    }

    #[must_use]
    pub fn known(&self) -> u64 {
        self.lock().known
    }

    /// What follows does not lead on from what was passed on: it goes on at `last`, and who follows begins anew.
    pub fn begin_anew(&self, last: u64) {
        let mut state = self.lock();
        (state.last, state.known, state.catching_up) = (last, last, false);
        for (_, follower) in state.followers.drain() {
            follower.lose();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pass_on(
        &mut self,
        side: Side,
        heard: &Arc<Heard>,
        view: &dyn Fn(&Follower, &Heard) -> Option<Arc<Heard>>,
        uncounted: &mut Vec<Arc<Follower>>,
    ) {
        self.followers.retain(|_, follower| {
            let seen = view(follower, heard);
            match follower.tell(side, seen.as_ref().unwrap_or(heard)) {
                Took::Yes => true,
                Took::Uncounted => {
                    uncounted.push(Arc::clone(follower));
                    true
                }
                Took::Left => false,
            }
        });
    }
}

#[cfg(test)]
mod tests;

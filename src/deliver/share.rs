//! How much of a worker one channel or one workspace may hold, so that a slow endpoint delays nobody else.
//!
//! A channel over its share whose slots come free quickly waits a moment for its own next one: putting it off would
//! churn timers for a channel that is fast but alone. One whose slots do not is put off at once by the broker's timer,
//! and the slot that it would wait in goes to somebody else. Those who are put off come back one behind the other, as
//! quickly as slots came free: all at once they would only be put off again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::gone::There;
use crate::ids::{ChannelId, WorkspaceId};

/// Nobody waits for a slot of its own channel when that should take longer: meanwhile the wait keeps others out.
const WAIT_EXPECTED_MAX: Duration = Duration::from_millis(100);
/// What was expected may be wrong; nobody waits longer than this.
const WAIT_MAX: Duration = Duration::from_millis(250);
/// Slots that came free longer ago than a few of these count no more.
const MEMORY: Duration = Duration::from_secs(1);
/// A channel of which nothing is known is taken for a quick one.
const RATE_AT_FIRST: f64 = 1_000.0;
/// Nobody is put off for less than the first and for more than the second: a channel that hung may be well by then.
const PUT_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(32));
/// Of a lane's slots so many may be held by those who wait for a rate; who finds no room waits by timer.
const WAITING_PART: f64 = 0.5;
/// Slots a second of a channel that does not move at all.
const RATE_MIN: f64 = 0.5;

/// The shares of one lane's slots.
pub struct Shares {
    channels: Pool<(WorkspaceId, ChannelId)>,
    workspaces: Pool<WorkspaceId>,
    /// Room for those who wait a moment for their channel's rate.
    pub waiting: Semaphore,
}

/// Held while a try runs.
pub struct Share {
    _channel: Held,
    _workspace: Held,
}

impl Shares {
    /// Of `slots`, one channel may hold this part and one workspace that part; at least one slot each.
    #[must_use]
    pub fn new(slots: usize, channel_part: f64, workspace_part: f64) -> Self {
        Self {
            channels: Pool::new(part(slots, channel_part)),
            workspaces: Pool::new(part(slots, workspace_part)),
            waiting: Semaphore::new(part(slots, WAITING_PART)),
        }
    }

    /// A share, or for how long to put it off, when the share is used up and does not move.
    ///
    /// # Errors
    /// The time until it should come back.
    pub async fn enter(&self, workspace: &WorkspaceId, channel: &ChannelId) -> Result<Share, Duration> {
        let channel = self.channels.enter((workspace.clone(), channel.clone())).await?;
        let workspace = self.workspaces.enter(workspace.clone()).await?;
        Ok(Share { _channel: channel, _workspace: workspace })
    }

    /// Slots that are still held stay counted.
    pub fn forget_gone(&self, there: &There<'_>) {
        self.channels.keep(|channel| there.has(channel));
        self.workspaces.keep(|workspace| there.has_workspace(workspace));
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "slots are few and parts are between 0 and 1"
)]
fn part(slots: usize, part: f64) -> usize {
    ((slots as f64 * part).round() as usize).clamp(1, slots.max(1))
}

struct Pool<K> {
    max: usize,
    users: Mutex<HashMap<K, Arc<User>>>,
}

struct User {
    slots: Arc<Semaphore>,
    pace: Mutex<Pace>,
    waiting: AtomicU32,
}

/// How quickly slots come free: each counts less the longer it is ago.
struct Pace {
    last: Instant,
    recent: f64,
    /// When the last one of those who were put off comes back.
    back: Instant,
}

impl Pace {
    fn note(&mut self, now: Instant) {
        self.recent = self.recent_at(now) + 1.0;
        self.last = now;
    }

    fn recent_at(&self, now: Instant) -> f64 {
        let ago = now.saturating_duration_since(self.last).as_secs_f64();
        self.recent * (-ago / MEMORY.as_secs_f64()).exp()
    }

    /// How many slots should come free within the longest wait that is worth it.
    fn expected(&self, now: Instant) -> f64 {
        self.recent_at(now) * WAIT_EXPECTED_MAX.as_secs_f64() / MEMORY.as_secs_f64()
    }

    /// A place behind those who were put off before.
    fn put_off(&mut self, now: Instant) -> Duration {
        let (first, last) = PUT_OFF;
        let rate = (self.recent_at(now) / MEMORY.as_secs_f64()).max(RATE_MIN);
        self.back = (self.back + Duration::from_secs_f64(1.0 / rate)).clamp(now + first, now + last);
        self.back - now
    }
}

impl User {
    fn new(slots: usize) -> Self {
        let now = Instant::now();
        let pace = Mutex::new(Pace { last: now, recent: RATE_AT_FIRST, back: now });
        Self { slots: Arc::new(Semaphore::new(slots)), pace, waiting: AtomicU32::new(0) }
    }

    /// A slot of its own, if one comes free soon.
    async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.waiting);
        let expected = self.pace().expected(Instant::now());
        if f64::from(before + 1) > expected {
            return None;
        }
        let slot = Arc::clone(&self.slots).acquire_owned();
        tokio::time::timeout(WAIT_MAX, slot).await.ok()?.ok()
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts somebody who waits, until it is dropped.
struct Waits<'a>(&'a AtomicU32);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Held {
    user: Arc<User>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.user.pace().note(Instant::now());
    }
}

impl<K: Eq + Hash> Pool<K> {
    fn new(max: usize) -> Self {
        Self { max, users: Mutex::default() }
    }

    async fn enter(&self, key: K) -> Result<Held, Duration> {
        let user = self.user(key);
        let permit = match Arc::clone(&user.slots).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => user.wait().await.ok_or_else(|| user.pace().put_off(Instant::now()))?,
        };
        Ok(Held { user, _permit: permit })
    }

    /// Whoever holds a slot or waits for one has a part of its user.
    fn keep(&self, is_there: impl Fn(&K) -> bool) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|key, user| is_there(key) || Arc::strong_count(user) > 1);
    }

    fn user(&self, key: K) -> Arc<User> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(users.entry(key).or_insert_with(|| Arc::new(User::new(self.max))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::channels::Channels;

    #[tokio::test]
    async fn a_stuck_channel_leaves_the_rest_of_the_slots_to_others() {
        let shares = Shares::new(8, 0.75, 1.0);
        let (workspace, slow, quick) =
            (WorkspaceId::default(), ChannelId::parse("slow").unwrap(), ChannelId::parse("quick").unwrap());
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(shares.enter(&workspace, &slow).await.expect("within its share"));
        }
        assert!(shares.enter(&workspace, &slow).await.is_err());
        assert!(shares.enter(&workspace, &quick).await.is_ok());
        held.pop();
        assert!(shares.enter(&workspace, &slow).await.is_ok());
    }

    #[tokio::test]
    async fn a_channel_that_is_gone_is_forgotten_when_it_holds_nothing() {
        let shares = Shares::new(8, 0.75, 1.0);
        let (workspace, channel) = (WorkspaceId::default(), ChannelId::parse("c").unwrap());
        let held = shares.enter(&workspace, &channel).await.expect("within its share");
        let known =
            || shares.channels.users.lock().unwrap().len() + shares.workspaces.users.lock().unwrap().len();
        let mut channels = Channels::new();
        shares.forget_gone(&There::of(&channels));
        assert_eq!(known(), 2);
        drop(held);
        let spec = serde_json::json!({"id": "c", "kind": "console"});
        channels.put((workspace, channel), Arc::new(serde_json::from_value(spec).unwrap()), "api");
        shares.forget_gone(&There::of(&channels));
        assert_eq!(known(), 2);
        shares.forget_gone(&There::of(&Channels::new()));
        assert_eq!(known(), 0);
    }

    #[test]
    fn those_who_are_put_off_come_back_as_quickly_as_slots_come_free() {
        let now = Instant::now();
        let seconds = |pace: &mut Pace| pace.put_off(now).as_secs_f64().round();
        let mut quick = Pace { last: now, recent: 100.0, back: now };
        let waits: Vec<f64> = (0..201).map(|_| seconds(&mut quick)).collect();
        assert_eq!((waits[0], waits[100], waits[200]), (1.0, 2.0, 3.0));
        let mut stuck = Pace { last: now, recent: 0.0, back: now };
        let waits: Vec<f64> = (0..40).map(|_| seconds(&mut stuck)).collect();
        assert_eq!((waits[0], waits[1], waits[39]), (2.0, 4.0, 32.0));
    }
}

//! How much of a worker one channel or one workspace may hold, so that a slow endpoint delays nobody else.
//!
//! A channel over its share that still moves waits a moment for its own next slot; one that does not move is put off
//! at once by the broker's timer, and the slot goes to somebody else.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ids::{ChannelId, WorkspaceId};

/// A share in which nothing ended for this long counts as stuck.
const STUCK_AFTER: Duration = Duration::from_millis(250);

/// The shares of one lane's slots.
pub struct Shares {
    channels: Pool<(WorkspaceId, ChannelId)>,
    workspaces: Pool<WorkspaceId>,
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
        }
    }

    /// None when the share is used up and does not move.
    pub async fn enter(&self, workspace: &WorkspaceId, channel: &ChannelId) -> Option<Share> {
        let channel = self.channels.enter((workspace.clone(), channel.clone())).await?;
        let workspace = self.workspaces.enter(workspace.clone()).await?;
        Some(Share { _channel: channel, _workspace: workspace })
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
    moved: Mutex<Instant>,
}

struct Held {
    user: Arc<User>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.user.moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl<K: Eq + Hash> Pool<K> {
    fn new(max: usize) -> Self {
        Self { max, users: Mutex::default() }
    }

    async fn enter(&self, key: K) -> Option<Held> {
        let user = self.user(key);
        if let Ok(permit) = Arc::clone(&user.slots).try_acquire_owned() {
            return Some(Held { user, _permit: permit });
        }
        let still = user.moved.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        let patience = STUCK_AFTER.checked_sub(still)?;
        let permit =
            tokio::time::timeout(patience, Arc::clone(&user.slots).acquire_owned()).await.ok()?.ok()?;
        Some(Held { user, _permit: permit })
    }

    fn user(&self, key: K) -> Arc<User> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let slots = Arc::new(Semaphore::new(self.max));
            Arc::new(User { slots, moved: Mutex::new(Instant::now()) })
        };
        Arc::clone(users.entry(key).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stuck_channel_leaves_the_rest_of_the_slots_to_others() {
        let shares = Shares::new(8, 0.75, 1.0);
        let (workspace, slow, quick) =
            (WorkspaceId::default(), ChannelId::parse("slow").unwrap(), ChannelId::parse("quick").unwrap());
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(shares.enter(&workspace, &slow).await.expect("within its share"));
        }
        assert!(shares.enter(&workspace, &slow).await.is_none());
        assert!(shares.enter(&workspace, &quick).await.is_some());
        held.pop();
        assert!(shares.enter(&workspace, &slow).await.is_some());
    }
}

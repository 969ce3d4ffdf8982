//! Reading from SQL what was not heard of an inbox: once for all who follow it.
//!
//! A broadcast is seen by each with their own marks: they are read along, and only who has marked it gets a view of their own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::Hub;
use super::follower::Follower;
use super::heard::Heard;
use super::topic::Topic;
use crate::clock;
use crate::ids::{NotificationId, Recipient};
use crate::metrics;
use crate::notification::Notification;
use crate::notification::change::Change;
use crate::store::StoreError;
use crate::store::inbox::followed::Marks;

/// Changes that are read at once.
pub const PAGE: u32 = 200;
/// Of broadcasts fewer, since the marks of all who follow come along.
const PAGE_OF_BROADCASTS: u32 = 20;
const AFTER_TROUBLE: Duration = Duration::from_millis(500);

type MarksById = HashMap<NotificationId, HashMap<Recipient, Marks>>;

impl Hub {
    /// Reads what was missed of an inbox, until there is no more. One at a time for each inbox.
    pub(super) fn catch_up(self: &Arc<Self>, topic: Arc<Topic>) {
        metrics::inbox_caught_up();
        let (hub, stop) = (Arc::clone(self), self.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = hub.catch_up_with(&topic) => {}
                () = stop.cancelled() => {}
            }
        });
    }

    async fn catch_up_with(&self, topic: &Arc<Topic>) {
        loop {
            match self.read_on(topic).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(StoreError::Broken(what)) => {
                    tracing::error!(
                        workspace = %topic.owner.workspace,
                        recipient = %topic.owner.recipient,
                        what,
                        "a change of an inbox cannot be read: who follows is told of a gap"
                    );
                    if self.pass_over(topic).await.is_ok() {
                        return;
                    }
                    clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
                }
                Err(error) => {
                    // There may be thousands of them: the sweep warns.
                    tracing::debug!(%error, "changes of an inbox that were missed cannot be read at the moment");
                    clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
                }
            }
        }
    }

    /// True at the end.
    async fn read_on(&self, topic: &Topic) -> Result<bool, StoreError> {
        let (owner, known) = (&topic.owner, topic.known());
        let page = if topic.is_everybody() { PAGE_OF_BROADCASTS } else { PAGE };
        let behind = self.ask(|| self.store.changes(owner, owner, topic.last(), page)).await?;
        if behind.gap {
            self.pass_over(topic).await?;
            return Ok(true);
        }
        let is_last_page = behind.changes.len() < page as usize;
        let marks =
            if topic.is_everybody() { self.marks(topic, &behind.changes).await? } else { HashMap::new() };
        let shown: HashMap<NotificationId, Notification> = behind
            .changes
            .iter()
            .filter_map(|change| change.notification.as_deref())
            .filter(|shown| marks.contains_key(&shown.id))
            .map(|shown| (shown.id.clone(), shown.clone()))
            .collect();
        let view = |follower: &Follower, heard: &Heard| {
            let id = heard.id.as_ref()?;
            let marks = marks.get(id)?.get(&follower.owner.recipient)?;
            Some(Arc::new(heard.seen_as(&marks.over(shown.get(id)?))))
        };
        let changes = behind.changes.into_iter().map(Heard::of).collect();
        for follower in topic.pass_on(changes, &view) {
            self.count_anew(&follower);
        }
        Ok(is_last_page && topic.caught_up(known))
    }

    /// What was missed cannot be told any more.
    async fn pass_over(&self, topic: &Topic) -> Result<(), StoreError> {
        let found = self.ask(|| self.store.last_changes(std::slice::from_ref(&topic.owner))).await?;
        topic.begin_anew(found.first().map_or(0, |(_, last)| *last));
        Ok(())
    }

    async fn marks(&self, topic: &Topic, changes: &[Change]) -> Result<MarksById, StoreError> {
        let mut ids: Vec<&NotificationId> = changes
            .iter()
            .filter(|change| change.notification.is_some())
            .filter_map(|change| change.id.as_ref())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let (mut found, followers) = (MarksById::new(), topic.recipients());
        for (id, recipient, marks) in
            self.ask(|| self.store.broadcast_marks(&topic.owner.workspace, &ids, &followers)).await?
        {
            found.entry(id).or_default().insert(recipient, marks);
        }
        Ok(found)
    }
}

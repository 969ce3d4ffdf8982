//! Counting anew how many are unread, for followers whose number a change does not say: a broadcast that got another text, or
//! that is gone, alters it for each by what they did with it. They are counted many at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Hub;
use super::follower::Follower;
use crate::clock;
use crate::ids::{Recipient, WorkspaceId};

const AT_ONCE: usize = 500;
const AFTER_TROUBLE: Duration = Duration::from_millis(500);

impl Hub {
    pub(super) async fn recount(self: Arc<Self>, mut waiting: mpsc::UnboundedReceiver<Arc<Follower>>) {
        let work = async {
            let mut some = Vec::new();
            while waiting.recv_many(&mut some, AT_ONCE).await > 0 {
                let mut by_workspace: BTreeMap<WorkspaceId, Vec<Arc<Follower>>> = BTreeMap::new();
                for follower in some.drain(..) {
                    by_workspace.entry(follower.owner.workspace.clone()).or_default().push(follower);
                }
                for (workspace, followers) in by_workspace {
                    self.recount_some(&workspace, followers).await;
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn recount_some(&self, workspace: &WorkspaceId, mut followers: Vec<Arc<Follower>>) {
        while !followers.is_empty() {
            let mut recipients: Vec<&Recipient> =
                followers.iter().map(|follower| &follower.owner.recipient).collect();
            recipients.sort_unstable();
            recipients.dedup();
            let found = match self.ask(|| self.store.standings(workspace, &recipients)).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "unread notifications cannot be counted at the moment");
                    clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
                    continue;
                }
            };
            // What changed meanwhile in such a way again is counted again.
            followers.retain(|follower| {
                let standing = found.get(&follower.owner.recipient);
                standing.is_some_and(|standing| !follower.count(*standing))
            });
        }
    }
}

//! The hub's ear: one subscription for all inboxes. What nobody follows is told from its subject and never decoded.
//!
//! It also looks whether something was missed: after a loss of the connection, when a recorder says that it took over, and now
//! and then in any case. And it keeps the followers' time: heartbeats, slow clients, tokens that are gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::sync::{Notify, watch};

use super::Hub;
use super::follower::End;
use super::heard::Told;
use super::topic::Topic;
use crate::bus::{BusError, live};
use crate::clock;
use crate::health::Pulse;

/// Between two looks at all inboxes that are followed.
const SWEEP: Duration = Duration::from_secs(30);
const SWEPT_AT_ONCE: usize = 500;
const AFTER_TROUBLE: Duration = Duration::from_millis(500);
/// A subscription of a new connection reaches all servers of a cluster within this time.
const SETTLED: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(500);
/// In ticks: 30 seconds.
const HEARTBEAT_TICKS: u64 = 60;
/// In ticks: two seconds.
const CHECK_TICKS: u64 = 4;
/// A token that was made just now is known to every process within this time.
pub const NEW_TOKEN: Duration = Duration::from_millis(1_500);

impl Hub {
    /// Runs until the stop, and ends all feeds then.
    pub(super) async fn run(self: Arc<Self>, pulse: Pulse) {
        let look = Notify::new();
        let work = async {
            tokio::join!(
                self.hear(&pulse, &look),
                self.sweep(&look),
                self.keep_time(),
                self.watch_losses(&look)
            )
        };
        tokio::select! {
            _ = work => {}
            () = self.stop.cancelled() => {}
        }
        self.close();
    }

    async fn hear(self: &Arc<Self>, pulse: &Pulse, look: &Notify) {
        loop {
            match self.hear_until_trouble(pulse, look).await {
                Ok(()) => tracing::warn!("changes of inboxes are not told any more: listening anew"),
                Err(error) => tracing::warn!(%error, "changes of inboxes are not heard at the moment"),
            }
            pulse.trouble();
            clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
        }
    }

    async fn hear_until_trouble(self: &Arc<Self>, pulse: &Pulse, look: &Notify) -> Result<(), BusError> {
        let mut told = live::hear(&self.bus).await?;
        pulse.beat();
        look.notify_one();
        let look_subject = self.bus.names.live_look();
        while let Some(message) = told.next().await {
            if message.subject.as_str() == look_subject {
                look.notify_one();
            } else if let Some(topic) = self.topic(&message.subject) {
                self.pass_on(&topic, &message.payload);
            }
        }
        Ok(())
    }

    fn pass_on(self: &Arc<Self>, topic: &Arc<Topic>, payload: &[u8]) {
        let Some(told) = Told::parse(payload) else {
            tracing::debug!("an announcement cannot be read: its changes are looked up");
            if topic.doubt() {
                self.catch_up(Arc::clone(topic));
            }
            return;
        };
        let aftermath = topic.hear(told);
        for follower in &aftermath.uncounted {
            self.count_anew(follower);
        }
        if aftermath.catch_up {
            self.catch_up(Arc::clone(topic));
        }
    }

    async fn watch_losses(&self, look: &Notify) {
        let mut losses: watch::Receiver<u64> = self.bus.losses();
        while losses.changed().await.is_ok() {
            while !self.bus.is_connected() {
                clock::sleep(TICK).await;
            }
            look.notify_one();
            clock::sleep(SETTLED).await;
            look.notify_one();
        }
    }

    async fn sweep(self: &Arc<Self>, look: &Notify) {
        loop {
            let asked = tokio::time::timeout(clock::jittered(SWEEP), look.notified()).await.is_ok();
            tracing::debug!(asked, "looking whether changes of inboxes were missed");
            let mut warned = false;
            while let Err(error) = self.look_at_all().await {
                if !std::mem::replace(&mut warned, true) {
                    tracing::warn!(%error, "whether changes of inboxes were missed is not known at the moment");
                }
                clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
            }
        }
    }

    async fn look_at_all(self: &Arc<Self>) -> Result<(), crate::store::StoreError> {
        let topics: Vec<Arc<Topic>> =
            self.all_topics().into_iter().filter(|topic| topic.has_followers()).collect();
        for some in topics.chunks(SWEPT_AT_ONCE) {
            // Before the look: what was passed on by then is there.
            let passed_on: Vec<u64> = some.iter().map(|topic| topic.last()).collect();
            let owners: Vec<_> = some.iter().map(|topic| topic.owner.clone()).collect();
            let found = self.ask(|| self.store.last_changes(&owners)).await?;
            let found: std::collections::HashMap<_, _> = found.into_iter().collect();
            for (topic, passed_on) in some.iter().zip(passed_on) {
                let last = found.get(&topic.owner).copied().unwrap_or_default();
                if last < passed_on {
                    tracing::warn!(
                        last,
                        passed_on,
                        "the database is an older one than followers of an inbox have seen"
                    );
                    topic.begin_anew(last);
                } else if last > topic.last() && topic.doubt() {
                    self.catch_up(Arc::clone(topic));
                }
            }
        }
        Ok(())
    }

    async fn keep_time(&self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for tick in 0_u64.. {
            ticks.tick().await;
            self.each(|follower| {
                if !follower.holds(NEW_TOKEN) {
                    follower.end(End::Revoked);
                } else if follower.is_slow(Instant::now()) {
                    follower.end(End::Slow);
                } else if follower.number % HEARTBEAT_TICKS == tick % HEARTBEAT_TICKS {
                    follower.beat();
                } else if follower.number % CHECK_TICKS == tick % CHECK_TICKS {
                    follower.check();
                }
            });
        }
    }
}

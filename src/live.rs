//! Inboxes live: what changes in them, passed on to whoever follows one, without gap or repeat and in the order of each inbox.
//!
//! One [`Hub`] a process hears all announcements ([`hear`]) and hands the changes of an inbox to its [`topic`], which hands them to
//! its [`follower`]s. Nothing rests on hearing: the changes have numbers and lie in SQL, and whatever was not heard is read from
//! there ([`catch_up`]: once for all followers of an inbox). A [`feed`] is what one client gets; where it stands is a
//! [`place`], and what it is told are [`frame`]s, whatever the wire.

mod catch_up;
pub mod feed;
pub mod follower;
pub mod frame;
mod hear;
mod heard;
pub mod place;
mod recount;
mod topic;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::Bus;
use crate::health::Health;
use crate::metrics::Transport;
use crate::store::inbox::Owner;
use crate::store::{Store, StoreError};
use crate::task;
use feed::Feed;
use follower::{End, Follower, Pass};
use place::{Place, Side};
use topic::Topic;

/// Less than the connections that there are.
const READERS_MAX: usize = 4;
/// A database whose host vanished answers nothing at all: its connection would be waited for for hours.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// All who follow inboxes through this process.
pub struct Hub {
    bus: Bus,
    store: Store,
    /// By the subject on which their changes are told.
    topics: RwLock<HashMap<String, Arc<Topic>>>,
    followers: RwLock<HashMap<u64, Arc<Follower>>>,
    numbers: AtomicU64,
    /// Those whose unread ones have to be counted anew.
    uncounted: mpsc::UnboundedSender<Arc<Follower>>,
    closed: AtomicBool,
    /// Who reads SQL: requests need connections too, and a crowd that comes back at once waits in a line.
    readers: Semaphore,
    /// What must end before the process does.
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The inboxes that somebody sees: their own and everybody's; of `*` just the one.
#[derive(Clone)]
struct Topics {
    own: Option<Arc<Topic>>,
    everybody: Arc<Topic>,
}

impl Topics {
    fn of(&self, side: Side) -> Option<&Arc<Topic>> {
        match side {
            Side::Own => self.own.as_ref(),
            Side::Everybody => Some(&self.everybody),
        }
    }
}

impl Hub {
    /// Hears of changes until `stop`; then every feed ends.
    #[must_use]
    pub fn start(bus: &Bus, store: &Store, health: &Health, stop: &CancellationToken) -> Arc<Self> {
        let pulse = health.pulse("live inboxes");
        let (bus, store, stop) = (bus.clone(), store.clone(), stop.clone());
        let (uncounted, counting) = mpsc::unbounded_channel();
        let hub = Arc::new(Self {
            bus,
            store,
            topics: RwLock::default(),
            followers: RwLock::default(),
            numbers: AtomicU64::default(),
            uncounted,
            closed: AtomicBool::new(false),
            readers: Semaphore::new(READERS_MAX),
            tasks: TaskTracker::new(),
            stop,
        });
        task::spawn("live inboxes", Arc::clone(&hub).run(pulse));
        task::spawn("unread counts", Arc::clone(&hub).recount(counting));
        hub
    }

    /// Follows an inbox, behind `after` or from now on.
    ///
    /// # Errors
    /// When the database is not available, for a WebSocket. A stream waits for it.
    pub async fn follow(
        self: &Arc<Self>,
        owner: Owner,
        after: Option<Place>,
        pass: Box<dyn Pass>,
        transport: Transport,
    ) -> Result<Feed, StoreError> {
        // From here on what is told of these inboxes is noted: what is read now and what is heard then meet.
        let topics = self.join(&owner);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let follower = Arc::new(Follower::new(number, owner, pass, transport));
        let mut feed = Feed::new(Arc::clone(self), Arc::clone(&follower), topics);
        match transport {
            Transport::Sse => feed.begin_soon(after),
            Transport::Ws => feed.begin(after).await?,
        }
        self.followers.write().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&follower));
        if self.closed.load(Ordering::SeqCst) {
            follower.end(End::Shutdown);
        }
        Ok(feed)
    }

    /// What runs on for a feed has this in hand, and the process waits for it.
    pub fn token(&self) -> tokio_util::task::task_tracker::TaskTrackerToken {
        self.tasks.token()
    }

    /// Waits until nothing runs for a feed any more, after the stop.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.each(|follower| follower.end(End::Shutdown));
    }

    fn each(&self, mut then: impl FnMut(&Arc<Follower>)) {
        for follower in self.followers.read().unwrap_or_else(PoisonError::into_inner).values() {
            then(follower);
        }
    }

    fn join(&self, owner: &Owner) -> Topics {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let mut join = |owner: &Owner| {
            let subject = self.bus.names.live(&owner.workspace, &owner.recipient);
            let topic = topics.entry(subject).or_insert_with(|| Arc::new(Topic::new(owner.clone())));
            topic.enter();
            Arc::clone(topic)
        };
        let own = (!owner.recipient.is_everybody()).then(|| join(owner));
        Topics { own, everybody: join(&owner.everybody()) }
    }

    fn leave(&self, follower: &Follower, left: &Topics) {
        self.followers.write().unwrap_or_else(PoisonError::into_inner).remove(&follower.number);
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        for topic in [left.own.as_ref(), Some(&left.everybody)].into_iter().flatten() {
            if topic.leave(follower) {
                let Owner { workspace, recipient } = &topic.owner;
                topics.remove(&self.bus.names.live(workspace, recipient));
            }
        }
    }

    fn topic(&self, subject: &str) -> Option<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(subject).cloned()
    }

    fn all_topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn count_anew(&self, follower: &Arc<Follower>) {
        // Fails only when the process ends.
        drop(self.uncounted.send(Arc::clone(follower)));
    }

    /// Asks the database, in line and in time.
    async fn ask<T, W>(&self, work: impl FnOnce() -> W) -> Result<T, StoreError>
    where
        W: Future<Output = Result<T, StoreError>>,
    {
        let late = |_| StoreError::Unavailable("no answer in time".to_owned());
        let in_line = async {
            let permit = self.readers.acquire().await;
            // Boxed, and not before: who waits in line is small.
            let answer = Box::pin(work()).await;
            drop(permit);
            answer
        };
        tokio::time::timeout(ANSWER_MAX, in_line).await.map_err(late)?
    }
}

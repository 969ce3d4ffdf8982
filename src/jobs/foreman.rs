//! Hears of jobs, and takes those that nobody works on.
//!
//! A holder shows that it lives by writing. Who hears nothing of a job for some seconds, by its own clock, takes it over: no two
//! machines have to agree on the time.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::board::{self, Held};
use super::hand::{self, Tools};
use super::{Job, State};
use crate::bus::consumer::Stop;
use crate::bus::{BusError, topology};
use crate::clock;
use crate::delivery::{ENVELOPE_VERSION, envelope_version};
use crate::health::Pulse;

/// Ten times as long as a holder is silent.
const SILENT_FOR: Duration = Duration::from_secs(10);
/// Jobs of one process: a long one must not keep a dry run waiting.
const AT_ONCE: usize = 4;
const AFTER_TROUBLE: Duration = Duration::from_millis(500);
const BATCH_MAX: usize = 500;

pub struct Foreman {
    tools: Tools,
    /// What this process is called as a holder.
    name: String,
    in_hand: Mutex<HashSet<String>>,
}

/// What was heard last of a job.
struct Heard {
    held: Held,
    at: Instant,
}

impl Foreman {
    #[must_use]
    pub fn new(tools: Tools) -> Arc<Self> {
        Arc::new(Self { tools, name: format!("api-{}", clock::random_id()), in_hand: Mutex::default() })
    }

    /// For dry runs that somebody waits for.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Works until the stop.
    pub async fn run(self: Arc<Self>, stop: Stop, pulse: Pulse) {
        let (taken, to_do) = mpsc::channel(AT_ONCE);
        tokio::join!(self.follow(taken, &stop, &pulse), self.work(to_do, &stop));
    }

    async fn work(&self, mut to_do: mpsc::Receiver<Held>, stop: &Stop) {
        let mut running = FuturesUnordered::new();
        let mut open = true;
        loop {
            tokio::select! {
                taken = to_do.recv(), if open => match taken {
                    Some(held) => running.push(Box::pin(self.one(held, stop))),
                    None => open = false,
                },
                Some(()) = running.next(), if !running.is_empty() => {}
                else => return,
            }
        }
    }

    async fn one(&self, held: Held, stop: &Stop) {
        let key = held.job.key();
        hand::work(&self.tools, held, stop.soft.clone()).await;
        self.in_hand().remove(&key);
    }

    fn in_hand(&self) -> MutexGuard<'_, HashSet<String>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(&self, taken: mpsc::Sender<Held>, stop: &Stop, pulse: &Pulse) {
        while !stop.soft.is_cancelled() {
            let heard = tokio::select! {
                heard = self.hear_all(&taken, pulse) => heard,
                () = stop.soft.cancelled() => return,
            };
            if let Err(error) = heard {
                pulse.trouble();
                tracing::warn!(%error, "jobs are not followed at the moment");
                clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
            }
        }
    }

    async fn hear_all(&self, taken: &mpsc::Sender<Held>, pulse: &Pulse) -> Result<(), BusError> {
        topology::ensure_buckets(&self.tools.bus).await?;
        let mut reader = board::open(&self.tools.bus).await?;
        let mut known: HashMap<String, Heard> = HashMap::new();
        loop {
            for entry in reader.next(BATCH_MAX).await? {
                // What a newer process wrote is for newer ones.
                let is_ours = envelope_version(&entry.payload).is_some_and(|v| v <= ENVELOPE_VERSION);
                let job: Option<Job> = serde_json::from_slice(&entry.payload).ok().filter(|_| is_ours);
                match job {
                    Some(job) if job.state == State::Running => {
                        let held = Held { revision: entry.sequence, job };
                        known.insert(entry.subject, Heard { held, at: Instant::now() });
                    }
                    Some(_) | None => drop(known.remove(&entry.subject)),
                }
            }
            pulse.beat();
            for heard in known.values_mut() {
                let Held { job, .. } = &heard.held;
                let is_free = job.holder.is_none() || heard.at.elapsed() > SILENT_FOR;
                let may_take = !self.in_hand().contains(&job.key()) && self.in_hand().len() < AT_ONCE;
                if is_free && may_take {
                    heard.at = Instant::now();
                    self.take(&heard.held, taken).await?;
                }
            }
        }
    }

    async fn take(&self, held: &Held, taken: &mpsc::Sender<Held>) -> Result<(), BusError> {
        let job = Job { holder: Some(self.name.clone()), updated_at: clock::now(), ..held.job.clone() };
        match board::update(&self.tools.bus, &job, held.revision).await {
            Ok(revision) => {
                self.in_hand().insert(job.key());
                // The other end lives as long as this one.
                if taken.send(Held { job, revision }).await.is_err() {
                    tracing::debug!("nobody works on jobs any more");
                }
                Ok(())
            }
            // Another process was faster.
            Err(BusError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

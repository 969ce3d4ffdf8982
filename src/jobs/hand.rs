//! What works on one job: it waits for its turn, keeps count, writes down how far it came, and notices when the job is no longer
//! its own.

use std::time::{Duration, Instant};

use super::{Counts, Job, Kind, Result as Became, State, Work, board, redrive, replay};
use crate::bus::{Bus, BusError};
use crate::clock;
use crate::metrics;
use crate::route::handler::Router;
use crate::store::{Store, StoreError};

/// How often it is written down how far a job has come.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// What the broker or the database refuses is tried again after so long.
const AFTER_TROUBLE: Duration = Duration::from_secs(1);
/// A job whose next step fails for so long is given up.
const TROUBLE_MAX: Duration = Duration::from_secs(15 * 60);
/// Letters and events read at once, each of them perhaps of a quarter of a megabyte.
const READ_MIN: usize = 10;
const READ_MAX: usize = 200;
/// A dry run that somebody waits for looks at so many, for so long.
const PREVIEW_LOOKS: u64 = 10_000;
const PREVIEW_FOR: Duration = Duration::from_secs(10);

/// What jobs are done with.
pub struct Tools {
    pub bus: Bus,
    pub store: Store,
    pub router: Router,
}

/// Why a pass over the stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Done,
    /// It was cancelled, or is somebody else's by now.
    Lost,
    /// This process is told to stop.
    Stopped,
    /// A preview looked at as much as it may.
    Bounded,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) struct Hand<'a> {
    pub tools: &'a Tools,
    pub job: Job,
    /// The revision of what was written last; None: a preview, which lies nowhere.
    revision: Option<u64>,
    stop: tokio_util::sync::CancellationToken,
    started: Instant,
    saved: Instant,
    /// When the next one may be sent.
    next: Instant,
    /// What the metrics know of.
    told: Counts,
}

impl<'a> Hand<'a> {
    fn new(tools: &'a Tools, held: board::Held, stop: tokio_util::sync::CancellationToken) -> Self {
        let now = Instant::now();
        let (told, revision) = (held.job.counts.clone(), Some(held.revision));
        Self { tools, job: held.job, revision, stop, started: now, saved: now, next: now, told }
    }

    /// So many are read at once: what lies in this process is worked off within seconds, and no more than it has room for.
    pub fn ask(&self) -> usize {
        if self.job.dry_run {
            return READ_MAX;
        }
        (self.job.rate_per_second as usize * 2).clamp(READ_MIN, READ_MAX)
    }

    /// Waits until the next one may be sent.
    pub async fn turn(&mut self) -> Result<Option<End>, BusError> {
        while !self.job.dry_run {
            let wait = self.next.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            tokio::select! {
                () = clock::sleep(wait.min(SAVE_EVERY)) => {}
                () = self.stop.cancelled() => return Ok(Some(End::Stopped)),
            }
            if let Some(end) = self.keep().await? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// So many were sent: the next one waits the longer. A pause is not made good by a burst.
    pub fn charge(&mut self, sent: u64) {
        let sent = u32::try_from(sent).unwrap_or(u32::MAX);
        let span = Duration::from_secs(1).saturating_mul(sent) / self.job.rate_per_second.max(1);
        self.next = self.next.max(Instant::now()) + span;
    }

    /// Up to here it is done. Writes that down when it is time to.
    pub async fn reached(&mut self, position: u64) -> Result<Option<End>, BusError> {
        self.job.position = position;
        self.job.why = None;
        self.keep().await
    }

    async fn keep(&mut self) -> Result<Option<End>, BusError> {
        if self.stop.is_cancelled() {
            return Ok(Some(End::Stopped));
        }
        if self.revision.is_none() {
            let enough = self.job.counts.seen >= PREVIEW_LOOKS || self.started.elapsed() > PREVIEW_FOR;
            return Ok(enough.then_some(End::Bounded));
        }
        if self.saved.elapsed() < SAVE_EVERY { Ok(None) } else { self.save().await }
    }

    /// Writes the job down, unless it is no longer in this hand.
    pub async fn save(&mut self) -> Result<Option<End>, BusError> {
        let Some(revision) = self.revision else { return Ok(None) };
        self.job.updated_at = clock::now();
        self.tell();
        match board::update(&self.tools.bus, &self.job, revision).await {
            Ok(revision) => {
                (self.revision, self.saved) = (Some(revision), Instant::now());
                Ok(None)
            }
            Err(BusError::Conflict) => self.look_again().await,
            Err(error) => Err(error),
        }
    }

    /// Somebody else wrote: the one who cancelled, who took it over, or ourselves, without hearing of it.
    async fn look_again(&mut self) -> Result<Option<End>, BusError> {
        let found = board::get(&self.tools.bus, &self.job.key()).await?;
        let Some(found) =
            found.filter(|found| found.job.holder == self.job.holder || self.job.holder.is_none())
        else {
            return Ok(Some(End::Lost));
        };
        if found.job.is_over() {
            // The last word on what was done before the end.
            let last = Job { state: found.job.state, why: found.job.why, holder: None, ..self.job.clone() };
            match board::update(&self.tools.bus, &last, found.revision).await {
                Ok(_) | Err(BusError::Conflict) => return Ok(Some(End::Lost)),
                Err(error) => return Err(error),
            }
        }
        self.revision = Some(board::update(&self.tools.bus, &self.job, found.revision).await?);
        self.saved = Instant::now();
        Ok(None)
    }

    fn tell(&mut self) {
        for result in Became::ALL.iter().filter(|_| !self.job.dry_run) {
            let count = self.job.counts.of(*result).saturating_sub(self.told.of(*result));
            metrics::job_items(self.job.kind(), *result, count);
        }
        self.told = self.job.counts.clone();
    }

    async fn pass(&mut self) -> Result<End, Trouble> {
        match self.job.work.clone() {
            Work::Redrive { filter } => Ok(Box::pin(redrive::pass(self, &filter)).await?),
            Work::Replay { replay } => Box::pin(replay::pass(self, &replay)).await,
        }
    }

    /// Ends the job, or lets go of it. What cannot be written now is found by whoever takes it next.
    async fn leave(&mut self, end: End) {
        match end {
            End::Done => self.job.state = State::Done,
            End::Stopped | End::Bounded => {}
            End::Lost => return,
        }
        let holder = self.job.holder.take();
        if let Err(error) = self.save_as(holder).await {
            tracing::warn!(job = self.job.id, %error, "how a job ended is not stored: another process goes on with it");
        }
    }

    async fn save_as(&mut self, holder: Option<String>) -> Result<(), BusError> {
        let Some(revision) = self.revision else { return Ok(()) };
        self.job.updated_at = clock::now();
        self.tell();
        match board::update(&self.tools.bus, &self.job, revision).await {
            Ok(_) => Ok(()),
            Err(BusError::Conflict) => {
                self.job.holder = holder;
                let found = board::get(&self.tools.bus, &self.job.key()).await?;
                if let Some(found) = found.filter(|found| found.job.holder == self.job.holder) {
                    let state = if found.job.is_over() { found.job.state } else { self.job.state };
                    let last = Job { state, holder: None, ..self.job.clone() };
                    board::update(&self.tools.bus, &last, found.revision).await?;
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Works on a job until it is over, somebody else's, or this process stops.
pub(super) async fn work(tools: &Tools, held: board::Held, stop: tokio_util::sync::CancellationToken) {
    let kind: Kind = held.job.kind();
    let mut hand = Hand::new(tools, held, stop);
    metrics::job_started(kind);
    tracing::info!(job = hand.job.id, %kind, position = hand.job.position, "job taken");
    let mut trouble_at: Option<(Instant, u64)> = None;
    let end = loop {
        let trouble = match hand.pass().await {
            Ok(end) => break end,
            Err(trouble) => trouble,
        };
        tracing::warn!(job = hand.job.id, error = %trouble, "a job cannot go on at the moment");
        let position = hand.job.position;
        let (since, _) = trouble_at.filter(|(_, at)| *at == position).unwrap_or((Instant::now(), position));
        trouble_at = Some((since, position));
        hand.job.why = Some(trouble.to_string());
        if since.elapsed() > TROUBLE_MAX {
            hand.job.state = State::Failed;
            break End::Stopped;
        }
        tokio::select! {
            () = clock::sleep(AFTER_TROUBLE) => {}
            () = hand.stop.cancelled() => break End::Stopped,
        }
        match hand.save().await {
            Ok(Some(end)) => break end,
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "the trouble of a job is not written down"),
        }
    };
    hand.leave(end).await;
    metrics::job_let_go(kind);
    tracing::info!(job = hand.job.id, %kind, ?end, state = %hand.job.state, done = hand.job.words(), "job let go");
}

/// A dry run for somebody who waits for it: as far as it comes in a few seconds.
///
/// # Errors
/// When the broker or the database does not answer.
pub async fn preview(tools: &Tools, job: Job) -> Result<(Job, bool), BusError> {
    let held = board::Held { job: Job { dry_run: true, ..job }, revision: 0 };
    let mut hand =
        Hand { revision: None, ..Hand::new(tools, held, tokio_util::sync::CancellationToken::new()) };
    let end = hand.pass().await.map_err(|trouble| match trouble {
        Trouble::Bus(error) => error,
        Trouble::Store(error) => BusError::request(error),
    })?;
    let state = if end == End::Done { State::Done } else { State::Running };
    Ok((Job { state, ..hand.job }, end == End::Bounded))
}

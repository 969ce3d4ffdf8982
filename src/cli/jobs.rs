//! `bugle jobs`, and following a job that a command began. The work is done by API processes: a command that is interrupted
//! stops nothing.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::say;
use crate::app::{Failure, roles};
use crate::bus::Bus;
use crate::clock;
use crate::config::Settings;
use crate::ids::WorkspaceId;
use crate::jobs::ask::{self, AskError};
use crate::jobs::board::{self, Held};
use crate::jobs::{Job, State};

#[derive(Debug, Subcommand)]
pub enum Jobs {
    /// List jobs, the newest first.
    List {
        #[arg(long)]
        workspace: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Show one, whole, as JSON; or follow it to its end.
    Show {
        id: String,
        #[arg(long)]
        follow: bool,
        /// One JSON object a change.
        #[arg(long, requires = "follow")]
        json: bool,
    },
    /// Stop one. What it sent is sent.
    Cancel { id: String },
}

impl Default for Jobs {
    fn default() -> Self {
        Self::List { workspace: None, json: false }
    }
}

/// How a job is to run, and what is to be said of it.
#[derive(Debug, Default, Args)]
pub struct Terms {
    /// Do nothing, and say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// So many a second at most, from 1 to 1000; 50 when left out.
    #[arg(long, value_name = "NUMBER")]
    rate: Option<u32>,
    /// Print one JSON object for each change.
    #[arg(long)]
    json: bool,
    /// Begin it, and do not wait for its end.
    #[arg(long)]
    detach: bool,
}

impl Terms {
    /// True when something is said that only a job can do.
    pub fn ask_for_a_job(&self) -> bool {
        self.rate.is_some() || self.json || self.detach
    }

    /// The same in the words of jobs.
    pub fn asked(&self) -> ask::Terms {
        ask::Terms { rate_per_second: self.rate, dry_run: self.dry_run, by: "cli".to_owned() }
    }
}

/// What was asked for is no job.
pub fn refused(error: AskError) -> Failure {
    match error {
        AskError::Invalid(..) => Failure::config(error),
        AskError::Bus(error) => Failure::run(error),
    }
}

pub async fn jobs(settings: &Settings, command: &Jobs) -> Result<(), Failure> {
    let bus = roles::connect_now(settings).await?;
    match command {
        Jobs::List { workspace, json } => {
            let workspace = workspace.as_deref().map(WorkspaceId::parse).transpose();
            let found = board::list(&bus, workspace.map_err(Failure::config)?.as_ref()).await;
            let found = found.map_err(Failure::run)?;
            for Held { job, .. } in &found {
                say(&if *json { json_of(job)? } else { line(job) })?;
            }
            if found.is_empty() && !json { say("there are no jobs") } else { Ok(()) }
        }
        Jobs::Show { id, follow, json } => {
            let held = find(&bus, id).await?;
            if *follow {
                return self::follow(&bus, held.job, *json).await;
            }
            say(&serde_json::to_string_pretty(&held.job).map_err(Failure::run)?)
        }
        Jobs::Cancel { id } => {
            let held = find(&bus, id).await?;
            let cancelled = board::cancel(&bus, &held.job.key()).await.map_err(Failure::run)?;
            let state = cancelled.map_or(State::Cancelled, |job| job.state);
            match state {
                State::Cancelled => say(&format!("job {id} is cancelled: what it sent is sent")),
                State::Running | State::Done | State::Failed => {
                    Err(Failure::run(format!("job {id} is over: it is {state}")))
                }
            }
        }
    }
}

async fn find(bus: &Bus, id: &str) -> Result<Held, Failure> {
    let found = board::find(bus, None, id).await.map_err(Failure::run)?;
    found.ok_or_else(|| Failure::run(format!("there is no job {id}: jobs are kept for 30 days")))
}

/// Puts a job up, and follows it.
pub async fn start(bus: &Bus, job: Job, terms: &Terms) -> Result<(), Failure> {
    board::put_up(bus, &job).await.map_err(Failure::run)?;
    if terms.detach {
        if terms.json {
            return say(&json_of(&job)?);
        }
        return say(&format!("job {} began: bugle jobs show {} --follow", job.id, job.id));
    }
    follow(bus, job, terms.json).await
}

/// Between two looks at a job.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Without a terminal a line comes so often.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// A job that nobody took for so long is told of.
const UNTAKEN_FOR: Duration = Duration::from_secs(10);

async fn follow(bus: &Bus, job: Job, json: bool) -> Result<(), Failure> {
    let id = job.id.clone();
    tokio::select! {
        followed = watch(bus, job, json) => followed,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(Failure::run)?;
            note(&format!("\njob {id} goes on without this command:\n  bugle jobs show {id} --follow\n  bugle jobs cancel {id}"))
        }
    }
}

async fn watch(bus: &Bus, mut job: Job, json: bool) -> Result<(), Failure> {
    let bar = std::io::stderr().is_terminal() && !json;
    let (started, mut told_at, mut revision, mut untaken) = (Instant::now(), Instant::now(), 0, false);
    let begun_at = job.position;
    if !json {
        note(&format!("job {} began", job.id))?;
    }
    while !job.is_over() || revision == 0 {
        // What is asked for must survive a broker that is away for a moment.
        if let Ok(Some(found)) = board::get(bus, &job.key()).await {
            let changed = found.revision != revision;
            (job, revision) = (found.job, found.revision);
            if json && changed {
                say(&json_of(&job)?)?;
            }
        }
        if !untaken && job.holder.is_none() && !job.is_over() && started.elapsed() > UNTAKEN_FOR {
            untaken = true;
            note(&format!("no API process has taken job {} yet: it waits for one", job.id))?;
        }
        if bar {
            draw(&job, begun_at, started)?;
        } else if !json && told_at.elapsed() > LINE_EVERY && !job.is_over() {
            told_at = Instant::now();
            note(&job.words())?;
        }
        if !job.is_over() {
            clock::sleep(LOOK_AGAIN).await;
        }
    }
    if bar {
        note("")?;
    }
    end(&job, json)
}

fn end(job: &Job, json: bool) -> Result<(), Failure> {
    if !json {
        if job.dry_run {
            say("nothing is done; this would be:")?;
        }
        job.sample.iter().try_for_each(|item| say(&format!("  {item}")))?;
        job.counts.errors.iter().try_for_each(|error| say(&format!("not sent: {error}")))?;
        say(&format!("{}: {}", job.state, job.words()))?;
    }
    match job.state {
        State::Done | State::Running => Ok(()),
        State::Cancelled => Err(Failure::run(format!("job {} was cancelled", job.id))),
        State::Failed => {
            let why = job.why.as_deref().unwrap_or("it does not say why");
            Err(Failure::run(format!("job {} was given up: {why}", job.id)))
        }
    }
}

const BAR_WIDTH: u64 = 24;

fn draw(job: &Job, begun_at: u64, started: Instant) -> Result<(), Failure> {
    let (seen, total) = (job.counts.seen, job.total.unwrap_or_default().max(1));
    let done = (seen.min(total) * BAR_WIDTH / total).min(BAR_WIDTH);
    let bar: String = (0..BAR_WIDTH).map(|at| if at < done { '█' } else { '░' }).collect();
    let elapsed = started.elapsed().as_secs().max(1);
    let rate = job.counts.sent / elapsed;
    let left = if seen == 0 || job.position == begun_at {
        String::new()
    } else {
        format!(", {} s left", total.saturating_sub(seen) * elapsed / seen)
    };
    let mut terminal = std::io::stderr().lock();
    write!(terminal, "\r\u{1b}[2K{bar} {seen}/{total}  {} sent, {rate}/s{left}", job.counts.sent)
        .and_then(|()| terminal.flush())
        .map_err(Failure::run)
}

/// What is no result goes beside the results.
fn note(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stderr().lock(), "{text}").map_err(Failure::run)
}

fn json_of(job: &Job) -> Result<String, Failure> {
    serde_json::to_string(job).map_err(Failure::run)
}

fn line(job: &Job) -> String {
    let workspace = job.workspace.as_ref().map_or("all workspaces", WorkspaceId::as_str);
    let dry = if job.dry_run { " (dry run)" } else { "" };
    format!(
        "{}  {:<9} {:<8}{dry} {workspace}  {}  {}",
        job.id,
        job.state,
        job.kind(),
        job.created_at,
        job.words()
    )
}

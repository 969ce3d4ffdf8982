//! `bugle dead`: what was given up, and sending it again, one by one or by a filter.

use clap::{Args, Subcommand};

use super::{jobs, say};
use crate::app::{Failure, roles};
use crate::bus::Bus;
use crate::clock;
use crate::config::Settings;
use crate::dead::filter::{Filter, PARTS};
use crate::dead::letters::{self, Letter};
use crate::ids::WorkspaceId;
use crate::jobs::ask;

#[derive(Debug, Subcommand)]
pub enum Dead {
    /// List dead letters, oldest first.
    List {
        #[command(flatten)]
        which: Which,
        /// From this number on.
        #[arg(long, default_value_t = 1)]
        from: u64,
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[arg(long)]
        json: bool,
    },
    /// Show one dead letter, whole, as JSON.
    Show { number: u64 },
    /// Send dead letters again: by their numbers at once, or all that match as a job that an API process works on.
    Redrive(Redrive),
}

/// Which letters: everything that is said must hold.
#[derive(Debug, Default, Args)]
pub struct Which {
    /// Only of this workspace.
    #[arg(long)]
    workspace: Option<String>,
    #[arg(long)]
    channel: Option<String>,
    /// The channel's kind, such as slack.
    #[arg(long)]
    kind: Option<String>,
    #[arg(long)]
    reason: Option<String>,
    /// recipient, provider, configuration or ours.
    #[arg(long)]
    fault: Option<String>,
    #[arg(long)]
    rule: Option<String>,
    /// A pattern of event types, such as task:*.
    #[arg(long, value_name = "PATTERN")]
    event_type: Option<String>,
    #[arg(long)]
    recipient: Option<String>,
    /// Given up since: 2h, 3d, or a time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Given up before.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Debug, Args)]
pub struct Redrive {
    #[arg(required_unless_present_any = ["all", "channel", "kind", "reason", "fault", "rule", "event_type", "recipient", "since", "until"])]
    numbers: Vec<u64>,
    /// All of them, as far as the filters agree.
    #[arg(long, conflicts_with = "numbers")]
    all: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    terms: jobs::Terms,
}

impl Which {
    fn filter(&self) -> Result<Filter, Failure> {
        let texts = [
            &self.channel,
            &self.kind,
            &self.reason,
            &self.fault,
            &self.rule,
            &self.event_type,
            &self.recipient,
            &self.since,
            &self.until,
        ];
        let (mut filter, now) = (Filter::default(), clock::now());
        for (part, text) in PARTS.iter().zip(texts) {
            if let Some(text) = text {
                let wrong = |error| Failure::config(format!("--{}: {error}", flag(part)));
                filter.set(part, text, now).map_err(wrong)?;
            }
        }
        filter.workspace =
            self.workspace.as_deref().map(WorkspaceId::parse).transpose().map_err(Failure::config)?;
        Ok(filter)
    }
}

fn flag(part: &str) -> &str {
    if part == "eventType" { "event-type" } else { part }
}

pub async fn dead(settings: &Settings, command: &Dead) -> Result<(), Failure> {
    let bus = roles::connect_now(settings).await?;
    match command {
        Dead::List { which, from, limit, json } => list(&bus, &which.filter()?, (*from, *limit), *json).await,
        Dead::Show { number } => {
            let letter = letters::get(&bus, *number).await.map_err(Failure::run)?;
            let letter = letter.ok_or_else(|| Failure::run(format!("there is no dead letter {number}")))?;
            say(&serde_json::to_string_pretty(&letter).map_err(Failure::run)?)
        }
        Dead::Redrive(Redrive { numbers, which, terms, .. }) => {
            let filter = which.filter()?;
            if !numbers.is_empty() && filter != Filter::default() {
                let sentence = "numbers say which letters are meant: give them, or filters, and not both";
                return Err(Failure::config(sentence));
            }
            if !numbers.is_empty() && terms.ask_for_a_job() {
                let sentence = "numbers are sent again at once: --rate, --json and --detach are for filters";
                return Err(Failure::config(sentence));
            }
            if !numbers.is_empty() && terms.dry_run {
                return would_redrive(&bus, numbers).await;
            }
            if !numbers.is_empty() {
                return redrive(&bus, numbers).await;
            }
            let job = ask::redrive(&bus, filter, terms.asked()).await.map_err(jobs::refused)?;
            jobs::start(&bus, job, terms).await
        }
    }
}

/// Goes on over parts that hold nothing, until there is enough or all was looked at.
async fn list(
    bus: &Bus,
    filter: &Filter,
    (mut from, limit): (u64, usize),
    json: bool,
) -> Result<(), Failure> {
    let (mut shown, mut next) = (0, Some(from));
    while let Some(at) = next.filter(|_| shown < limit) {
        from = at;
        let page = letters::list(bus, filter, from, limit - shown).await.map_err(Failure::run)?;
        for letter in &page.letters {
            say(&if json { serde_json::to_string(letter).map_err(Failure::run)? } else { line(letter) })?;
        }
        shown += page.letters.len();
        next = page.next;
    }
    match next {
        _ if json => Ok(()),
        Some(next) => say(&format!("there may be more: --from {next}")),
        None if shown == 0 && from == 1 => say("there are no dead letters"),
        None => Ok(()),
    }
}

async fn would_redrive(bus: &Bus, numbers: &[u64]) -> Result<(), Failure> {
    say("nothing is done; this would be sent again:")?;
    for number in numbers {
        match letters::get(bus, *number).await.map_err(Failure::run)? {
            Some(letter) => say(&line(&letter))?,
            None => say(&format!("there is no dead letter {number}"))?,
        }
    }
    Ok(())
}

/// Goes on after a letter that cannot be sent again, and says so at the end.
async fn redrive(bus: &Bus, numbers: &[u64]) -> Result<(), Failure> {
    let mut failed = 0;
    for number in numbers {
        match letters::redrive(bus, *number).await {
            Ok(letter) => say(&format!("sent again: {}", line(&letter)))?,
            Err(error) => {
                failed += 1;
                say(&format!("not sent: {number}: {error}"))?;
            }
        }
    }
    if failed > 0 {
        return Err(Failure::run(format!("{failed} of {} dead letters were not sent again", numbers.len())));
    }
    say(&format!("{} sent again", numbers.len()))
}

fn line(letter: &Letter) -> String {
    let what = match (&letter.delivery, &letter.message) {
        (Some(delivery), _) => {
            format!("{} → {} “{}”", delivery.event.event_type.as_str(), delivery.channel, delivery.title)
        }
        (None, Some(message)) if message.subject.is_empty() => format!("webhook ({} bytes)", message.bytes),
        (None, Some(message)) => format!("message on {} ({} bytes)", message.subject, message.bytes),
        (None, None) => String::new(),
    };
    let detail = letter.detail.as_deref().unwrap_or_default();
    let fault = letter.fault.map_or("", |fault| fault.as_str());
    format!("{:>6}  {fault:<13} {:<16} {what}  {detail}", letter.sequence, letter.reason)
}

//! From what somebody asks for to a job: checked in one place for the API and the command line.

use jiff::Timestamp;

use super::{Counts, Job, RATE_DEFAULT, RATE_MAX, Replay, State, Work, moment};
use crate::bus::{Bus, BusError, StreamName, topology};
use crate::clock;
use crate::dead::filter::Filter;
use crate::delivery::ENVELOPE_VERSION;
use crate::ids::{RuleId, WorkspaceId};
use crate::rule::pattern::Pattern;

/// What every job is asked for with.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    pub rate_per_second: Option<u32>,
    pub dry_run: bool,
    pub by: String,
}

/// Why there is no job: a sentence for whoever asked, or the broker's trouble.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("{0}: {1}")]
    Invalid(&'static str, String),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// A replay as people write it.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub since: String,
    pub until: Option<String>,
    pub event_types: Vec<String>,
    pub event: Option<String>,
    pub rules: Vec<String>,
    pub fresh_ids: bool,
}

/// A job that sends again what lies among the dead letters now.
///
/// # Errors
/// When the rate is out of range, or the broker does not answer.
pub async fn redrive(bus: &Bus, filter: Filter, terms: Terms) -> Result<Job, AskError> {
    let (rate, now) = (rate(&terms)?, clock::now());
    let end = topology::stream(bus, StreamName::Dead).await?.cached_info().state.last_sequence;
    let workspace = filter.workspace.clone();
    Ok(job((workspace, Work::Redrive { filter }), (rate, end, now), terms))
}

/// A job that routes again what was stored of a workspace.
///
/// # Errors
/// When something is not valid, or the broker does not answer.
pub async fn replay(
    bus: &Bus,
    workspace: WorkspaceId,
    wanted: Wanted,
    terms: Terms,
) -> Result<Job, AskError> {
    let (rate, now) = (rate(&terms)?, clock::now());
    let invalid = |name| move |why| AskError::Invalid(name, why);
    let since = moment::parse(&wanted.since, now).map_err(invalid("since"))?;
    let until = wanted.until.as_deref().map(|text| moment::parse(text, now)).transpose();
    let until = until.map_err(invalid("until"))?.unwrap_or(now).min(now);
    if since >= until {
        return Err(AskError::Invalid("since", format!("{since} is not before {until}, where it ends")));
    }
    let mut event_types = Vec::new();
    for text in &wanted.event_types {
        let pattern = Pattern::parse(text).map_err(|error| invalid("eventType")(error.to_string()))?;
        event_types.push(pattern.as_str().to_owned());
    }
    let rules = wanted.rules.iter().map(|text| RuleId::parse(text)).collect::<Result<_, _>>();
    let rules = rules.map_err(|error| invalid("rules")(error.to_string()))?;
    let Wanted { event, fresh_ids, .. } = wanted;
    let replay = Replay { since, until, event_types, event, rules, fresh_ids };
    let end = topology::stream(bus, StreamName::Events).await?.cached_info().state.last_sequence;
    Ok(job((Some(workspace), Work::Replay { replay }), (rate, end, now), terms))
}

fn rate(terms: &Terms) -> Result<u32, AskError> {
    let rate = terms.rate_per_second.unwrap_or(RATE_DEFAULT);
    if (1..=RATE_MAX).contains(&rate) {
        return Ok(rate);
    }
    Err(AskError::Invalid("ratePerSecond", format!("{rate} is not a number from 1 to {RATE_MAX}")))
}

fn job(
    (workspace, work): (Option<WorkspaceId>, Work),
    (rate_per_second, end, now): (u32, u64, Timestamp),
    terms: Terms,
) -> Job {
    Job {
        v: ENVELOPE_VERSION,
        id: format!("j_{}", clock::random_id()),
        workspace,
        work,
        rate_per_second,
        dry_run: terms.dry_run,
        by: terms.by,
        request: None,
        created_at: now,
        updated_at: now,
        state: State::Running,
        why: None,
        position: 0,
        end,
        total: None,
        counts: Counts::default(),
        holder: None,
        sample: Vec::new(),
    }
}

//! `bugle replay`: events of the past, routed again.

use clap::Args;

use super::jobs;
use crate::app::{Failure, roles};
use crate::config::Settings;
use crate::ids::WorkspaceId;
use crate::jobs::ask::{self, Wanted};

#[derive(Debug, Args)]
pub struct Replay {
    /// From here on: 2h, 3d, or a time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: String,
    /// Up to here; now when left out.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only by this rule; may be given several times.
    #[arg(long = "rule", value_name = "RULE")]
    rules: Vec<String>,
    /// Only events of a type that matches, such as task:*; may be given several times.
    #[arg(long = "event-type", value_name = "PATTERN")]
    event_types: Vec<String>,
    /// Only the event with this id.
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    #[arg(long, default_value = "default")]
    workspace: String,
    /// Send everything again as something new, also what was sent before.
    #[arg(long)]
    fresh_ids: bool,
    #[command(flatten)]
    terms: jobs::Terms,
}

pub async fn replay(settings: &Settings, arguments: &Replay) -> Result<(), Failure> {
    let workspace = WorkspaceId::parse(&arguments.workspace).map_err(Failure::config)?;
    let wanted = Wanted {
        since: arguments.since.clone(),
        until: arguments.until.clone(),
        event_types: arguments.event_types.clone(),
        event: arguments.event.clone(),
        rules: arguments.rules.clone(),
        fresh_ids: arguments.fresh_ids,
    };
    let bus = roles::connect_now(settings).await?;
    let job = ask::replay(&bus, workspace, wanted, arguments.terms.asked()).await.map_err(jobs::refused)?;
    jobs::start(&bus, job, &arguments.terms).await
}

//! `bugle status`: how the installation stands, at one glance.

pub mod page;

use clap::Args;

use super::paint::Paint;
use super::say;
use crate::app::{Failure, roles};
use crate::config::Settings;
use crate::overview;

#[derive(Debug, Args)]
pub struct Status {
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub async fn status(settings: &Settings, arguments: &Status) -> Result<(), Failure> {
    let bus = roles::connect_now(settings).await?;
    let overview = overview::look(&bus, settings).await.map_err(Failure::run)?;
    let shown = if arguments.json {
        serde_json::to_string(&overview).map_err(Failure::run)?
    } else {
        page::page(&overview, Paint::stdout())
    };
    say(shown.trim_end())?;
    let objections = overview.objections();
    if objections.is_empty() { Ok(()) } else { Err(Failure::run(objections.join("\n"))) }
}

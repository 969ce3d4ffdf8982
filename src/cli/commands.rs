//! What each command does.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value};

use super::say;
use crate::app::{Failure, roles, setup};
use crate::apply;
use crate::apply::objection::Objection;
use crate::config::Settings;
use crate::ids::WorkspaceId;
use crate::publish;
use crate::route::channels::without_document;
use crate::rule::fault::{guess, unknown_word};
use crate::schema::Name;
use crate::secrets::load;
use crate::send;

/// Creates and updates everything that a fleet needs.
pub async fn setup(settings: &Settings) -> Result<(), Failure> {
    let mut printed = Ok(());
    let mut print = |line: String| {
        if printed.is_ok() {
            printed = say(&line);
        }
    };
    setup::setup(settings, &mut print).await?;
    printed
}

#[derive(Debug, Args)]
pub struct Apply {
    /// A file of documents (YAML, JSON or TOML), or - for standard input (YAML or JSON); may be given several times.
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Remove channels although rules of others name them, and all that an owner has.
    #[arg(long)]
    force: bool,
}

pub async fn apply(settings: &Settings, arguments: &Apply) -> Result<(), Failure> {
    let Apply { files, dry_run, force } = arguments;
    let bus = roles::connect_now(settings).await?;
    let read = apply::files::read_given(files).map_err(Failure::config)?;
    let options = apply::Options { dry_run: *dry_run, force: *force };
    let keys = load::keys(settings).map_err(Failure::config)?;
    let applied = apply::apply(&bus, &read, options, &keys).await.map_err(Failure::config)?;
    if *dry_run {
        say("nothing is done; this would be:")?;
    }
    for (path, changes) in files.iter().zip(&applied.changes) {
        for change in changes {
            say(&change.to_string())?;
        }
        if changes.is_empty() {
            say(&format!("{}: nothing to change", path.display()))?;
        }
    }
    if !force && !applied.objections.is_empty() {
        let objections: Vec<String> = applied.objections.iter().map(Objection::to_string).collect();
        return Err(Failure::config(objections.join("\n")));
    }
    applied.objections.iter().filter_map(Objection::remains).try_for_each(|line| say(&line))?;
    for note in apply::notes::notes(&bus, &read).await {
        say(&format!("note: {note}"))?;
    }
    Ok(())
}

#[derive(Debug, Args)]
pub struct Publish {
    /// The event's type, like task:transition.
    r#type: String,
    /// The event's data as JSON.
    #[arg(default_value = "{}")]
    data: String,
    #[arg(long, default_value = "default")]
    workspace: String,
    /// Who says so. With the id it identifies the event.
    #[arg(long, default_value = "bugle:cli")]
    source: String,
    /// A random one when it is left out.
    #[arg(long)]
    id: Option<String>,
    /// info, warning or critical.
    #[arg(long)]
    severity: Option<String>,
}

pub async fn publish(settings: &Settings, arguments: &Publish) -> Result<(), Failure> {
    let workspace = WorkspaceId::parse(&arguments.workspace).map_err(Failure::config)?;
    let data: Value = serde_json::from_str(&arguments.data)
        .map_err(|error| Failure::config(format!("the data is not JSON: {error}")))?;
    let mut item = Map::new();
    item.insert("type".to_owned(), arguments.r#type.clone().into());
    item.insert("source".to_owned(), arguments.source.clone().into());
    item.insert("data".to_owned(), data);
    for (name, value) in [("id", &arguments.id), ("severity", &arguments.severity)] {
        if let Some(value) = value {
            item.insert(name.to_owned(), value.clone().into());
        }
    }
    let bus = roles::connect_now(settings).await?;
    let result = publish::publish(&bus, &workspace, Value::Object(item)).await;
    match result.error {
        None if result.duplicate => say(&format!("{} was published before: nothing new happens", result.id)),
        None => say(&format!("published {} {}", arguments.r#type, result.id)),
        Some(error) => Err(Failure::run(error)),
    }
}

#[derive(Debug, Args)]
pub struct Send {
    /// The channel's id.
    channel: String,
    title: String,
    #[arg(default_value = "")]
    body: String,
    #[arg(long, default_value = "default")]
    workspace: String,
    /// info, warning or critical.
    #[arg(long)]
    severity: Option<String>,
    /// Milliseconds from now.
    #[arg(long)]
    delay_ms: Option<u64>,
}

pub async fn send(settings: &Settings, arguments: &Send) -> Result<(), Failure> {
    let workspace = WorkspaceId::parse(&arguments.workspace).map_err(Failure::config)?;
    let mut request = Map::new();
    request.insert("channel".to_owned(), arguments.channel.clone().into());
    request.insert("title".to_owned(), arguments.title.clone().into());
    let body = if arguments.body.is_empty() { &arguments.title } else { &arguments.body };
    request.insert("body".to_owned(), body.clone().into());
    if let Some(severity) = &arguments.severity {
        request.insert("severity".to_owned(), severity.clone().into());
    }
    if let Some(delay) = arguments.delay_ms {
        request.insert("delayMs".to_owned(), delay.into());
    }
    let texts = apply::files::read_texts(settings.router.texts.as_deref()).map_err(Failure::config)?;
    let bus = roles::connect_now(settings).await?;
    let sent = send::send(&bus, &texts, &workspace, Value::Object(request), None);
    let sent = sent.await.map_err(Failure::run)?;
    say(&format!("{} is on its way", sent.id))
}

/// Reads everything that a start would read, and says what is wrong.
pub fn check_config(settings: &Settings) -> Result<(), Failure> {
    apply::files::read_texts(settings.router.texts.as_deref()).map_err(Failure::config)?;
    load::keys(settings).map_err(Failure::config)?;
    roles::http_client(&settings.worker)?;
    let files = apply::files::read_all(&settings.documents).map_err(Failure::config)?;
    for (path, file) in settings.documents.iter().zip(&files) {
        say(&format!("{}: {} channels, {} rules", path.display(), file.channels.len(), file.rules.len()))?;
        for rule in &file.rules {
            for channel in &rule.channels {
                let built_in = without_document(channel).is_some();
                if !built_in && !file.channels.iter().any(|known| known.id == *channel) {
                    let known: Vec<&str> = file.channels.iter().map(|known| known.id.as_str()).collect();
                    let guess = guess(channel.as_str(), &known);
                    say(&format!(
                        "  note: rule {} names channel {channel}, which is not in this file{guess}",
                        rule.id
                    ))?;
                }
            }
        }
    }
    say("the configuration is valid")
}

/// Prints a published schema.
pub fn schema(name: &str) -> Result<(), Failure> {
    let words: Vec<&str> = Name::ALL.iter().map(|name| name.as_str()).collect();
    let name = Name::parse(name).ok_or_else(|| Failure::config(unknown_word(name, &words)))?;
    say(&serde_json::to_string_pretty(&name.schema()).map_err(Failure::run)?)
}

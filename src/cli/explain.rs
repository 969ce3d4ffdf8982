//! `bugle explain`: why an event led to what it led to, for an event of the past or one in a file. Needs the broker, no API.

mod page;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::paint::Paint;
use super::say;
use crate::app::{Failure, roles};
use crate::apply::files;
use crate::bus::directory::{Directory, Holdings};
use crate::clock;
use crate::config::Settings;
use crate::event::EventType;
use crate::explain::Explanation;
use crate::explain::past::{Past, Present, Search, Wanted, slices};
use crate::health::Health;
use crate::ids::WorkspaceId;
use crate::publish;
use crate::schema::shape::TIME_ALLOWED;
use crate::secrets::KeyRing;

/// How often a search says how far it has come.
const PROGRESS_EVERY: u64 = 250_000;

#[derive(Debug, Args)]
pub struct Explain {
    /// The id of a past event, or a file with one event (.yaml, .json), or - for standard input.
    event: String,
    /// Where the event belongs. Of a past one: where to look; everywhere when left out.
    #[arg(long)]
    workspace: Option<String>,
    /// Who published the past event, when several events have its id.
    #[arg(long)]
    source: Option<String>,
    /// Look only on the subject of this type: that is faster.
    #[arg(long)]
    r#type: Option<String>,
    /// Look at so many past events at most, the newest hours first.
    #[arg(long, default_value_t = 1_000_000)]
    limit: u64,
    /// The moment that counts for hours and expiry (RFC 3339): when the broker stored it, or now.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
    /// Print what POST /v1/rules/evaluate answers.
    #[arg(long)]
    json: bool,
    /// Print what each channel's kind makes of the texts too: HTML, Block Kit, a payload.
    #[arg(long, conflicts_with = "json")]
    shown: bool,
}

fn time(text: &str) -> Result<Timestamp, &'static str> {
    text.parse().map_err(|_| TIME_ALLOWED)
}

pub async fn explain(settings: &Settings, arguments: &Explain) -> Result<(), Failure> {
    let workspace = arguments.workspace.as_deref().map(WorkspaceId::parse).transpose();
    let workspace = workspace.map_err(Failure::config)?;
    let item = item(&arguments.event)?;
    let present = present(settings).await?;
    let (owner, explanation) = if let Some(item) = item {
        let workspace = workspace.unwrap_or_default();
        let event = publish::imagined(&workspace, item).map_err(Failure::data)?;
        let at = arguments.at.unwrap_or_else(clock::now);
        (workspace, present.explain_at(&event, at, None).await)
    } else {
        let past = find(&present, arguments, workspace).await?;
        let explanation = present.explain(&past, arguments.at).await;
        (past.event.workspace, explanation)
    };
    let explanation = explanation.map_err(Failure::run)?;
    show(&present, &owner, &explanation, arguments)
}

fn show(
    present: &Present,
    workspace: &WorkspaceId,
    explanation: &Explanation,
    arguments: &Explain,
) -> Result<(), Failure> {
    if arguments.json {
        return say(&serde_json::to_string_pretty(explanation).map_err(Failure::run)?);
    }
    let rules = present.directory.snapshot().rules.all(workspace).len();
    let texts = if arguments.shown { page::Detail::Shown } else { page::Detail::Plain };
    say(page::page(explanation, &page::Around { workspace, rules, texts }, Paint::stdout()).trim_end())
}

/// The event of a file; None when the text is the id of one. A file that is called as an id is, without a known ending, is
/// meant when it holds an event.
fn item(text: &str) -> Result<Option<Map<String, Value>>, Failure> {
    let path = Path::new(text);
    let ending = path.extension().and_then(|extension| extension.to_str());
    let value = if text == "-" {
        let mut whole = String::new();
        std::io::stdin().read_to_string(&mut whole).map_err(Failure::run)?;
        files::yaml(&whole).map_err(|error| Failure::data(format!("standard input: {error}")))?
    } else if matches!(ending, Some("json" | "yaml" | "yml" | "toml")) {
        files::read_value(path).map_err(Failure::data)?
    } else {
        let found = std::fs::read_to_string(path).ok().and_then(|whole| files::yaml(&whole).ok());
        return Ok(found
            .and_then(|found| found.as_object().cloned())
            .filter(|item| item.contains_key("type")));
    };
    match value {
        Value::Object(fields) => Ok(Some(fields)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Failure::data(format!("{text}: an event is an object with a `type` and `data`")))
        }
    }
}

async fn present(settings: &Settings) -> Result<Present, Failure> {
    let texts = files::read_texts(settings.router.texts.as_deref()).map_err(Failure::config)?;
    let bus = roles::connect_now(settings).await?;
    let pulse = Health::default().pulse("the directory of documents");
    let directory = Directory::start(
        bus.clone(),
        (Holdings::Compiled, KeyRing::default()),
        CancellationToken::new(),
        pulse,
    )
    .await;
    Ok(Present { bus, directory: directory.map_err(Failure::run)?, texts: Arc::new(texts) })
}

async fn find(
    present: &Present,
    arguments: &Explain,
    workspace: Option<WorkspaceId>,
) -> Result<Past, Failure> {
    let on_subject_of = arguments.r#type.as_deref().map(EventType::parse).transpose();
    let wanted = Wanted {
        id: arguments.event.clone(),
        workspace,
        source: arguments.source.clone(),
        on_subject_of: on_subject_of.map_err(Failure::config)?.map(String::from),
        since: slices(clock::now()),
        until: None,
        looks_max: arguments.limit,
    };
    let mut told = 0;
    let progress = |looked_at: u64| {
        if looked_at - told >= PROGRESS_EVERY {
            told = looked_at;
            tracing::warn!(looked_at, "still looking for the event: --type and --workspace make it faster");
        }
    };
    let search = present.find(&wanted, progress).await.map_err(Failure::run)?;
    only(search, &wanted)
}

/// The one event that was meant. One that was stored twice is the first of them.
fn only(search: Search, wanted: &Wanted) -> Result<Past, Failure> {
    let Search { found, looked_at, bounded } = search;
    let mut owners: Vec<String> = Vec::new();
    for Past { event, .. } in &found {
        let owner = format!("--workspace {} --source {}", event.workspace, super::quoted(&event.source));
        if !owners.contains(&owner) {
            owners.push(owner);
        }
    }
    if owners.len() > 1 {
        let sentence =
            format!("several events have the id {}: say which\n  {}", wanted.id, owners.join("\n  "));
        return Err(Failure::data(sentence));
    }
    found.into_iter().next().ok_or_else(|| {
        let workspace = wanted.workspace.as_ref().map(|workspace| format!(" in workspace {workspace}"));
        let event_type = wanted.on_subject_of.as_ref().map(|name| format!(" of type {name}"));
        let (of, within) = (event_type.unwrap_or_default(), workspace.unwrap_or_default());
        let source = wanted.source.as_ref().map(|source| format!(" from {source}")).unwrap_or_default();
        let end = if bounded {
            "and that is the limit: raise it with --limit, or narrow the search with --type and --workspace"
                .to_owned()
        } else {
            format!("which are all that are stored{of}{within}")
        };
        Failure::data(format!("no event with the id {}{source} among {looked_at} events, {end}", wanted.id))
    })
}

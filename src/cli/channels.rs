//! `bugle channels`: how they stand, whether they work, and on or off. Channels of files are changed in their file.

mod page;

use std::io::{IsTerminal, Write};

use clap::{Args, Subcommand};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::json;

use super::paint::Paint;
use super::say;
use crate::app::{Failure, roles};
use crate::bus::Bus;
use crate::channel::standing::{ChannelStanding, OWN_OWNER, Verification, digest_of};
use crate::channel::{ChannelSpec, Enabled, Kind};
use crate::config::Settings;
use crate::connection::health;
use crate::deliver::circuit::state::Mode;
use crate::deliver::circuit::{self, CircuitView};
use crate::documents::{Key, unknown_channel};
use crate::errand::{self, AskError, Errand, Of, Tested, What};
use crate::ids::{ChannelId, ConnectionId, Recipient, WorkspaceId};
use crate::notification;
use crate::outcome::Reason;
use crate::route::channels::without_document;
use crate::shelf::{self, ShelfError, standing};

/// Tests that run side by side.
const AT_ONCE: usize = 16;
/// Who asks, in records and logs.
const AUTHOR: &str = "cli";

#[derive(Debug, Subcommand)]
pub enum Channels {
    /// List channels and how they stand.
    List(List),
    /// Send a test message through channels, all at once, and say which of them work.
    ///
    /// Those that are on are tested when none is named. A test that goes through verifies its channel. Exits with 1 when
    /// one fails. Workers make the tests: they must run.
    Test(Test),
    /// Switch a channel on; also one that Bugle switched off because its receiver was gone or nothing worked.
    Enable(Switch),
    /// Switch a channel off.
    Disable(Switch),
}

#[derive(Debug, Args)]
pub struct List {
    #[arg(long, default_value = "default")]
    workspace: String,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct Test {
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[arg(long, default_value = "default")]
    workspace: String,
    /// Who gets the test, for channels that reach people.
    #[arg(long)]
    recipient: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct Switch {
    id: String,
    #[arg(long, default_value = "default")]
    workspace: String,
}

pub async fn channels(settings: &Settings, command: &Channels) -> Result<(), Failure> {
    let bus = roles::connect_now(settings).await?;
    match command {
        Channels::List(arguments) => list(&bus, arguments).await,
        Channels::Test(arguments) => test(&bus, arguments).await,
        Channels::Enable(arguments) => switch(&bus, arguments, true).await,
        Channels::Disable(arguments) => switch(&bus, arguments, false).await,
    }
}

/// A channel as it is listed.
struct Row {
    spec: ChannelSpec,
    owner: String,
    standing: ChannelStanding,
    address: String,
    circuit: CircuitView,
    /// Why its connection lets nothing out.
    trouble: Option<String>,
}

impl Row {
    fn verification(&self) -> Verification {
        self.standing.verification(&self.owner, &self.address)
    }

    fn is_on(&self) -> bool {
        self.spec.enabled == Enabled::On
    }

    /// What holds back the deliveries of a channel that is on.
    fn trouble(&self) -> Option<String> {
        let open = self.circuit.state != Mode::Closed;
        let next = self.circuit.next_probe_at.filter(|_| open);
        let circuit = next.map(|at| format!("nothing works on it; the next delivery is tried after {at:.0}"));
        self.trouble.clone().or(circuit)
    }
}

/// Why a connection lets nothing out; None where it does, or is not asked about.
async fn objection(
    bus: &Bus,
    workspace: &WorkspaceId,
    id: &ConnectionId,
    held: Option<&shelf::Held>,
) -> Result<Option<String>, Failure> {
    let Some(held) = held else { return Ok(Some(format!("its connection {id} does not exist"))) };
    if held.document.spec["enabled"] == false {
        return Ok(Some(format!("its connection {id} is off")));
    }
    let health = health::read(bus, (workspace, id), held.document.updated_at).await.map_err(Failure::run)?;
    Ok(health.and_then(|health| health.objection(id)))
}

/// The channels of a workspace, in the order of their ids.
async fn rows(bus: &Bus, workspace: &WorkspaceId) -> Result<Vec<Row>, Failure> {
    let found = shelf::read_all(bus).await.map_err(Failure::run)?;
    let mut rows = Vec::new();
    for (key, held) in &found {
        let Key::Channel(of, id) = key else { continue };
        if of != workspace {
            continue;
        }
        let spec = serde_json::from_value(held.document.spec.clone());
        let spec: ChannelSpec =
            spec.map_err(|_| Failure::run(format!("channel {id} cannot be read by this version")))?;
        let held_connection =
            spec.connection.clone().and_then(|id| found.get(&Key::Connection(of.clone(), id)));
        let trouble = match &spec.connection {
            Some(id) => objection(bus, of, id, held_connection).await?,
            None => None,
        };
        let connection =
            held_connection.and_then(|held| serde_json::from_value(held.document.spec.clone()).ok());
        let address = digest_of(&spec, connection.as_ref());
        let standing = found.get(&Key::Standing(of.clone(), id.clone()));
        let standing = standing.and_then(|held| serde_json::from_value(held.document.spec.clone()).ok());
        let owner = held.document.owner.clone();
        let circuit = circuit::read(bus, of, id).await.map_err(Failure::run)?;
        let standing = standing.unwrap_or_default();
        rows.push(Row { spec, owner, standing, address, circuit, trouble });
    }
    if let Some(row) = built_in(bus, workspace, &rows).await? {
        let place = rows.partition_point(|other| other.spec.id < row.spec.id);
        rows.insert(place, row);
    }
    Ok(rows)
}

/// The channel that is there without a document.
async fn built_in(bus: &Bus, workspace: &WorkspaceId, rows: &[Row]) -> Result<Option<Row>, Failure> {
    let id = ChannelId::parse(notification::CHANNEL).map_err(Failure::run)?;
    let Some(spec) = without_document(&id).filter(|_| rows.iter().all(|row| row.spec.id != id)) else {
        return Ok(None);
    };
    let circuit = circuit::read(bus, workspace, &id).await.map_err(Failure::run)?;
    let (spec, owner) = ((**spec).clone(), OWN_OWNER.to_owned());
    let address = digest_of(&spec, None);
    Ok(Some(Row { spec, owner, standing: ChannelStanding::default(), address, circuit, trouble: None }))
}

async fn list(bus: &Bus, arguments: &List) -> Result<(), Failure> {
    let workspace = WorkspaceId::parse(&arguments.workspace).map_err(Failure::config)?;
    let rows = rows(bus, &workspace).await?;
    if arguments.json {
        return rows.iter().try_for_each(|row| {
            let disabled = row.standing.disabled(&row.address);
            let line = json!({
                "id": row.spec.id, "kind": row.spec.kind, "enabled": row.is_on(), "owner": row.owner,
                "verificationStatus": row.verification(), "disabled": disabled.map(|found| json!({
                    "at": found.at, "reason": found.cause, "why": found.why,
                })), "circuit": row.circuit, "trouble": row.trouble(),
            });
            say(&line.to_string())
        });
    }
    say(page::list(&rows, Paint::stdout()).trim_end())
}

/// What became of the test of one channel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Trial {
    channel: ChannelId,
    kind: Kind,
    ok: bool,
    /// Not tried, since nobody said who should get it.
    skipped: bool,
    reason: Option<Reason>,
    detail: Option<String>,
    code: Option<u16>,
    duration_ms: Option<u64>,
    delivery: Option<String>,
    note: Option<String>,
}

async fn test(bus: &Bus, arguments: &Test) -> Result<(), Failure> {
    let workspace = WorkspaceId::parse(&arguments.workspace).map_err(Failure::config)?;
    let recipient = arguments.recipient.as_deref().map(Recipient::parse).transpose();
    let recipient = recipient.map_err(Failure::config)?;
    let chosen = chosen(rows(bus, &workspace).await?, &arguments.ids)?;
    if chosen.is_empty() {
        return Err(Failure::config(format!("no channel of the workspace {workspace} is on: name one")));
    }
    let count = chosen.len();
    let progress = Progress { count, shown: std::io::stderr().is_terminal() };
    progress.show(0);
    let named = !arguments.ids.is_empty();
    let tests = chosen.iter().map(|row| async {
        let to_nobody = recipient.is_none() && row.spec.addressing().is_of_recipients();
        if to_nobody && !named {
            return Trial::skipped(row);
        }
        let of = Of::Channel(row.spec.id.clone());
        let errand = Errand { recipient: recipient.clone(), ..Errand::new(&workspace, of, AUTHOR) };
        Trial::of(row, errand::ask(bus, row.spec.kind, What::TestChannel, &errand).await)
    });
    let mut tests = stream::iter(tests).buffer_unordered(AT_ONCE);
    let mut results = Vec::new();
    while let Some(result) = tests.next().await {
        results.push(result);
        progress.show(results.len());
    }
    progress.clear();
    results.sort_by(|one, other| one.channel.cmp(&other.channel));
    if arguments.json {
        let lines = results.iter().map(|result| serde_json::to_string(result).map_err(Failure::run));
        lines.collect::<Result<Vec<_>, _>>()?.iter().try_for_each(|line| say(line))?;
    } else {
        say(page::tests(&results, Paint::stdout()).trim_end())?;
    }
    match results.iter().filter(|result| !result.ok && !result.skipped).count() {
        0 => Ok(()),
        failed => Err(Failure::run(format!("{failed} of {count} channels did not work"))),
    }
}

/// The named ones, or all that are on.
fn chosen(rows: Vec<Row>, ids: &[String]) -> Result<Vec<Row>, Failure> {
    let known: Vec<&str> = rows.iter().map(|row| row.spec.id.as_str()).collect();
    for id in ids {
        let id = ChannelId::parse(id).map_err(Failure::config)?;
        if !known.contains(&id.as_str()) {
            return Err(Failure::config(unknown_channel(&id, &known)));
        }
    }
    let named = |row: &Row| ids.iter().any(|id| id == row.spec.id.as_str());
    Ok(rows.into_iter().filter(|row| if ids.is_empty() { row.is_on() } else { named(row) }).collect())
}

impl Trial {
    fn new(row: &Row) -> Self {
        Self {
            channel: row.spec.id.clone(),
            kind: row.spec.kind,
            ok: false,
            skipped: false,
            reason: None,
            detail: None,
            code: None,
            duration_ms: None,
            delivery: None,
            note: None,
        }
    }

    fn skipped(row: &Row) -> Self {
        let detail = Some("it writes to recipients: name one with --recipient".to_owned());
        Self { skipped: true, detail, ..Self::new(row) }
    }

    fn of(row: &Row, answer: Result<Tested, AskError>) -> Self {
        match answer {
            Ok(tested) => Self {
                ok: tested.ok,
                reason: Some(tested.reason),
                detail: tested.detail,
                code: tested.code,
                duration_ms: Some(tested.duration_ms),
                delivery: Some(tested.delivery.as_str().to_owned()),
                note: tested.note,
                ..Self::new(row)
            },
            Err(AskError::Refused(refusal)) => Self {
                reason: Some(refusal.reason),
                detail: Some(refusal.detail),
                code: refusal.code,
                ..Self::new(row)
            },
            Err(error) => Self { detail: Some(error.to_string()), ..Self::new(row) },
        }
    }
}

/// How far it is, on a terminal, until the results come.
struct Progress {
    count: usize,
    shown: bool,
}

impl Progress {
    fn show(&self, done: usize) {
        self.write(&format!("\r\x1b[Ktesting: {done} of {} done", self.count));
    }

    fn clear(&self) {
        self.write("\r\x1b[K");
    }

    /// Whoever closed standard error wants no progress.
    fn write(&self, text: &str) {
        if self.shown {
            let mut error = std::io::stderr().lock();
            write!(error, "{text}").and_then(|()| error.flush()).ok();
        }
    }
}

async fn switch(bus: &Bus, arguments: &Switch, enabled: bool) -> Result<(), Failure> {
    let workspace = WorkspaceId::parse(&arguments.workspace).map_err(Failure::config)?;
    let id = ChannelId::parse(&arguments.id).map_err(Failure::config)?;
    let switched = standing::switch(bus, (&workspace, &id), AUTHOR, enabled).await;
    switched.map_err(|error| match error {
        ShelfError::Missing if without_document(&id).is_some() => {
            Failure::config(format!("{id} is built in: write a document of that name to change it"))
        }
        ShelfError::Missing => Failure::config(format!("there is no channel {id}")),
        ShelfError::Changed(_) | ShelfError::Foreign(_) | ShelfError::Bus(_) => Failure::run(error),
    })?;
    say(&format!("{id} is {}", if enabled { "on" } else { "off" }))
}

//! How a whole installation stands, looked up once: its processes, what waits, which channels hold back what comes to them.
//!
//! Nothing is created or changed by looking. What cannot be looked up is said, and the rest is shown all the same.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::Role;
use crate::bus::reader::{From, epoch_of};
use crate::bus::waiting::{self, Waiting};
use crate::bus::walk::Walk;
use crate::bus::{Bus, BusError, StreamName, topology};
use crate::channel::standing::{ChannelStanding, digest_of};
use crate::channel::{ChannelSpec, Enabled};
use crate::clock;
use crate::config::Settings;
use crate::deliver::circuit::state::{Circuit, Mode};
use crate::documents::Key;
use crate::ids::{ChannelId, WorkspaceId};
use crate::jobs::board;
use crate::presence::{self, Heard};
use crate::shelf;
use crate::store::Store;

const CIRCUITS_AT_ONCE: usize = 500;
/// A database that does not answer must not keep anybody from seeing the rest.
const DATABASE_MAX: Duration = Duration::from_secs(3);
/// The roles without which something stands still.
const ROLES: [Role; 4] = [Role::Router, Role::Worker, Role::Recorder, Role::Api];

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    pub at: Timestamp,
    pub processes: Vec<Heard>,
    /// The events, and each lane in which something is.
    pub waiting: Vec<Waiting>,
    /// Records that are not in the database yet; None where no database is to be seen from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records_behind: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<u64>,
    pub jobs: Vec<RunningJob>,
    pub channels: Vec<HeldBack>,
    /// What could not be looked up, and why.
    pub unknown: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningJob {
    pub id: String,
    pub workspace: Option<WorkspaceId>,
    pub progress: String,
}

/// A channel that lets nothing out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldBack {
    pub workspace: WorkspaceId,
    pub channel: ChannelId,
    pub state: Hold,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

crate::outcome::words! {
    /// Why a channel lets nothing out.
    Hold {
        /// Somebody switched it off.
        Off = "off",
        /// Bugle switched it off.
        SwitchedOff = "switched_off",
        /// Nothing works on it at the moment.
        CircuitOpen = "circuit_open",
    }
}

impl Overview {
    /// What is wrong and what to do next, a sentence each; empty when the installation does its work.
    #[must_use]
    pub fn objections(&self) -> Vec<String> {
        let there = |role: Role| self.processes.iter().any(|heard| heard.presence.process.does(role));
        let missing: Vec<&str> = ROLES.into_iter().filter(|role| !there(*role)).map(Role::as_str).collect();
        let mut sentences = Vec::new();
        if self.processes.is_empty() {
            sentences.push(
                "no process answers: start them (`bugle run`, or bugle-router, bugle-worker, bugle-recorder and bugle-api); if they run, \
                 nats.prefix must be theirs, and their NATS users must be allowed to subscribe to bugle.ping"
                    .to_owned(),
            );
        } else {
            sentences.extend(missing.iter().map(|role| format!("no {role} answers: start bugle-{role}")));
        }
        for heard in self.processes.iter().filter(|heard| !heard.presence.ready) {
            let (name, complaints) = (heard.presence.process.name(), heard.presence.complaints.join("; "));
            sentences.push(format!("{name} is not ready: {complaints} (its log says more)"));
        }
        sentences
    }
}

/// Looks all of it up.
///
/// # Errors
/// When the broker cannot be asked at all.
pub async fn look(bus: &Bus, settings: &Settings) -> Result<Overview, BusError> {
    let (processes, waiting, records, dead, jobs, channels) = tokio::join!(
        presence::ask(bus),
        waiting::now(bus),
        Box::pin(records_behind(bus, settings)),
        dead_letters(bus),
        running_jobs(bus),
        Box::pin(held_back(bus)),
    );
    let mut unknown = Vec::new();
    let waiting = known(&mut unknown, "what waits", waiting).unwrap_or_default();
    let overview = Overview {
        at: clock::now(),
        processes: processes?,
        waiting: waiting
            .into_iter()
            .filter(|lane| lane.kind.is_none() || lane.pending + lane.in_hand > 0)
            .collect(),
        records_behind: known(&mut unknown, "the database", records).flatten(),
        dead_letters: known(&mut unknown, "dead letters", dead),
        jobs: known(&mut unknown, "jobs", jobs).unwrap_or_default(),
        channels: known(&mut unknown, "channels", channels).unwrap_or_default(),
        unknown,
    };
    Ok(overview)
}

fn known<T, E: std::fmt::Display>(unknown: &mut Vec<String>, what: &str, found: Result<T, E>) -> Option<T> {
    found.map_err(|error| unknown.push(format!("{what}: {error}"))).ok()
}

/// The database as far as it can be seen from here. It is never made by looking: None when there is none.
///
/// # Errors
/// When the settings name none that could be used.
pub fn database(settings: &Settings) -> Result<Option<Store>, String> {
    if settings.database.url.is_none() && !settings.data_dir.join("bugle.db").exists() {
        return Ok(None);
    }
    let url = settings.database_url().replace("mode=rwc", "mode=rw");
    Store::open(&url, 1).map(Some).map_err(|error| error.to_string())
}

/// How many records the database has not; None when it cannot be seen from here.
async fn records_behind(bus: &Bus, settings: &Settings) -> Result<Option<u64>, String> {
    let Some(store) = database(settings)? else { return Ok(None) };
    let asked = tokio::time::timeout(DATABASE_MAX, behind(bus, &store)).await;
    Ok(Some(asked.map_err(|_| "it does not answer".to_owned())??.records))
}

/// What the database has not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    pub records: u64,
    /// When the first of them was stored.
    pub oldest: Option<Timestamp>,
}

/// How far a database is behind the records.
///
/// # Errors
/// When the database or the broker does not answer.
pub async fn behind(bus: &Bus, store: &Store) -> Result<Behind, String> {
    let failed = |error: BusError| error.to_string();
    let stream = topology::stream(bus, StreamName::Records).await.map_err(failed)?;
    let info = stream.cached_info();
    let position = store.position(&info.config.name).await.map_err(|error| error.to_string())?;
    let written =
        position.filter(|position| position.epoch == epoch_of(info)).map_or(0, |position| position.seq);
    let first = info.state.first_sequence.max(written + 1);
    let records = (info.state.last_sequence + 1).saturating_sub(first);
    if records == 0 {
        return Ok(Behind { records, oldest: None });
    }
    let handle = topology::stream_handle(bus, StreamName::Records).await.map_err(failed)?;
    let oldest = waiting::next(&handle, ">".to_owned(), first).await.map_err(failed)?;
    Ok(Behind { records, oldest })
}

async fn dead_letters(bus: &Bus) -> Result<u64, BusError> {
    Ok(topology::stream(bus, StreamName::Dead).await?.cached_info().state.messages)
}

async fn running_jobs(bus: &Bus) -> Result<Vec<RunningJob>, BusError> {
    let held = board::list_there(bus).await?;
    let running = held.into_iter().map(|held| held.job).filter(|job| !job.is_over());
    let shown =
        |job: crate::jobs::Job| RunningJob { progress: job.words(), id: job.id, workspace: job.workspace };
    Ok(running.map(shown).collect())
}

/// The channels of all workspaces that let nothing out.
///
/// # Errors
/// When the broker does not answer.
pub async fn held_back(bus: &Bus) -> Result<Vec<HeldBack>, BusError> {
    let documents = shelf::read_all(bus).await?;
    let mut found = Vec::new();
    for (key, held) in &documents {
        let Key::Channel(workspace, id) = key else { continue };
        let Ok(spec) = serde_json::from_value::<ChannelSpec>(held.document.spec.clone()) else { continue };
        let hold = |state, since, why| HeldBack {
            workspace: workspace.clone(),
            channel: id.clone(),
            state,
            since,
            why,
        };
        if spec.enabled != Enabled::On {
            found.push(hold(Hold::Off, None, None));
            continue;
        }
        let connection =
            spec.connection.clone().and_then(|id| documents.get(&Key::Connection(workspace.clone(), id)));
        let connection = connection.and_then(|held| serde_json::from_value(held.document.spec.clone()).ok());
        let standing = documents.get(&Key::Standing(workspace.clone(), id.clone()));
        let standing: ChannelStanding = standing
            .and_then(|held| serde_json::from_value(held.document.spec.clone()).ok())
            .unwrap_or_default();
        if let Some(disabled) = standing.disabled(&digest_of(&spec, connection.as_ref())) {
            found.push(hold(Hold::SwitchedOff, Some(disabled.at), Some(disabled.why.clone())));
        }
    }
    for ((workspace, channel), circuit) in open_circuits(bus).await? {
        if found.iter().any(|held| held.workspace == workspace && held.channel == channel) {
            continue;
        }
        let why = Some(format!("the next delivery is tried after {:.0}", circuit.next_probe_at));
        found.push(HeldBack {
            workspace,
            channel,
            state: Hold::CircuitOpen,
            since: Some(circuit.since),
            why,
        });
    }
    Ok(found)
}

async fn open_circuits(bus: &Bus) -> Result<Vec<((WorkspaceId, ChannelId), Circuit)>, BusError> {
    let filter = bus.names.circuit_filter();
    let mut walk =
        Walk::open(bus, (StreamName::Pace, filter), From::LastPerSubject, CIRCUITS_AT_ONCE).await?;
    let mut found = Vec::new();
    while let Some(entries) = walk.next().await? {
        for entry in entries {
            let circuit = serde_json::from_slice::<Circuit>(&entry.payload).ok();
            let of = bus.names.circuit_channel(&entry.subject);
            if let (Some(of), Some(circuit)) = (of, circuit)
                && circuit.mode != Mode::Closed
                && !circuit.is_over(clock::now())
            {
                found.push((of, circuit));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::{Presence, Process};

    fn heard(role: &str, complaints: &[&str]) -> Heard {
        let process = Process {
            role: role.to_owned(),
            version: "1".to_owned(),
            host: "h".to_owned(),
            pid: 7,
            started_at: Timestamp::UNIX_EPOCH,
            kinds: Vec::new(),
        };
        let complaints: Vec<String> = complaints.iter().map(|text| (*text).to_owned()).collect();
        let presence =
            Presence { v: 1, process, at: Timestamp::UNIX_EPOCH, ready: complaints.is_empty(), complaints };
        Heard { presence, skew_ms: 0 }
    }

    fn of(processes: Vec<Heard>) -> Overview {
        Overview {
            at: Timestamp::UNIX_EPOCH,
            processes,
            waiting: Vec::new(),
            records_behind: None,
            dead_letters: None,
            jobs: Vec::new(),
            channels: Vec::new(),
            unknown: Vec::new(),
        }
    }

    #[test]
    fn a_role_that_nobody_has_and_a_process_that_is_not_ready_are_objections_with_a_next_step() {
        assert!(of(vec![heard("all", &[])]).objections().is_empty());
        let fleet = of(vec![heard("api", &[]), heard("recorder", &["NATS is away"]), heard("router", &[])]);
        let objections = fleet.objections();
        assert_eq!(objections.len(), 2, "{objections:?}");
        assert_eq!(objections[0], "no worker answers: start bugle-worker");
        assert!(objections[1].starts_with("recorder 7 on h is not ready: NATS is away"));
        let nobody = of(Vec::new()).objections();
        assert!(nobody.len() == 1 && nobody[0].contains("bugle run"), "{nobody:?}");
    }
}

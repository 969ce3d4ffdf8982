//! Asks the providers of connections whether their accounts work: one worker of the fleet each, every few minutes, and at
//! once when the API asks for it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use futures_util::stream::{SelectAll, iter, select_all};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::ConnectionSpec;
use super::events::{self, Change};
use super::health::{self, Health, HealthState};
use crate::bus::claim::{self, First};
use crate::bus::consumer::Stop;
use crate::bus::directory::{Directory, Snapshot};
use crate::bus::{Bus, BusError};
use crate::channel::http::BODY_WAIT;
use crate::channel::secret::expand_value;
use crate::channel::{ChannelSpec, Enabled, Failure, Kind, SendError, TIMEOUT, Workshop};
use crate::clock;
use crate::config;
use crate::ids::{ConnectionId, WorkspaceId};
use crate::outcome::Reason;
use crate::secrets::{KeyRing, open_config};

/// Between two looks whether a connection's turn has come.
const LOOK_MAX: Duration = Duration::from_secs(15);
const LOOK_MIN: Duration = Duration::from_millis(500);
/// An API waits for an answer no longer than a question and its way may take.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// Questions at once, of each kind of asking: a provider that hangs must not hold the others up.
const SLOTS: usize = 8;
const AFTER_TROUBLE: Duration = Duration::from_secs(1);
/// Of the queue group that shares requests.
const GROUP: &str = "workers";

/// What a worker is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    workspace: WorkspaceId,
    connection: ConnectionId,
}

/// What it answers. Neither: there is nothing to ask such a provider.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    health: Option<Health>,
    #[serde(default)]
    error: Option<String>,
}

/// A worker's part in it.
pub struct Probes {
    pub bus: Bus,
    pub directory: Arc<Directory>,
    pub workshop: Workshop,
    pub keys: KeyRing,
    pub kinds: Vec<Kind>,
    pub every: Duration,
}

impl Probes {
    /// Asks in turn until told to stop.
    pub async fn run(self: Arc<Self>, stop: Stop) {
        let pause = (self.every / 4).clamp(LOOK_MIN, LOOK_MAX);
        let rounds = async {
            loop {
                self.round().await;
                clock::sleep(clock::jittered(pause)).await;
            }
        };
        tokio::select! { () = rounds => {}, () = stop.soft.cancelled() => {} }
    }

    async fn round(&self) {
        let snapshot = self.directory.snapshot();
        let ours = |spec: &ConnectionSpec| spec.enabled && self.kinds.contains(&spec.kind);
        let all = snapshot.connections.iter().filter(|(_, spec)| ours(spec));
        let due: Vec<_> = all.map(|((workspace, _), spec)| (workspace.clone(), Arc::clone(spec))).collect();
        let asked = due.into_iter().map(|(workspace, spec)| {
            let snapshot = Arc::clone(&snapshot);
            async move {
                if let Err(error) = self.ask_in_turn(&workspace, &spec, &snapshot).await {
                    tracing::warn!(%workspace, connection = %spec.id, %error, "how a connection stands is not known, or not told");
                }
            }
        });
        iter(asked).for_each_concurrent(SLOTS, |one| one).await;
    }

    async fn ask_in_turn(
        &self,
        workspace: &WorkspaceId,
        spec: &ConnectionSpec,
        snapshot: &Snapshot,
    ) -> Result<(), BusError> {
        let turn = self.bus.names.connection_turn(workspace, &spec.id);
        match claim::first(&self.bus, &turn, &json!({}), Some(self.every)).await? {
            First::Mine(_) => self.ask(workspace, spec, snapshot).await.map(drop),
            First::Theirs(..) => Ok(()),
        }
    }

    /// Asks one provider, tells what its answer changes and stores it. None: there is nothing to ask.
    async fn ask(
        &self,
        workspace: &WorkspaceId,
        spec: &ConnectionSpec,
        snapshot: &Snapshot,
    ) -> Result<Option<Health>, BusError> {
        let at = clock::now();
        let answer = self.probe(workspace, spec).await;
        if answer.is_none() {
            let known = health::read(&self.bus, (workspace, &spec.id), Timestamp::MIN).await?;
            if known.is_none_or(|known| known.state != HealthState::Unhealthy) {
                return Ok(None);
            }
        }
        for _ in 0..claim::LOOKS_MAX {
            let (before, sequence) = health::stored(&self.bus, (workspace, &spec.id), at).await?;
            let health = match &answer {
                Some(answer) => Health::after(Some(&before), answer, at),
                None => Health::unknown(at),
            };
            let turn = health::turn(before.state, health.state);
            if let Some(turn) = turn {
                let (channels, before) = (on(snapshot, workspace, &spec.id), &before);
                let change = Change {
                    workspace,
                    connection: spec,
                    channels: &channels,
                    before,
                    health: &health,
                    turn,
                };
                Box::pin(events::tell(&self.bus, &change)).await?;
            }
            match health::put(&self.bus, (workspace, &spec.id), &health, sequence).await {
                // Of two who asked at once one stores it; but what was told has to stand.
                Err(BusError::Conflict) if turn.is_some() => claim::again().await,
                Ok(()) | Err(BusError::Conflict) => {
                    tracing::debug!(%workspace, connection = %spec.id, state = %health.state, "a connection was asked about");
                    return Ok(answer.map(|_| health));
                }
                Err(error) => return Err(error),
            }
        }
        Err(claim::contended())
    }

    async fn probe(&self, workspace: &WorkspaceId, spec: &ConnectionSpec) -> Option<Result<(), SendError>> {
        let opened = open_config(spec.kind, &spec.config, &self.keys, workspace);
        let config = match opened.and_then(|config| expand_value(&config, &config::environment)) {
            Ok(config) => config,
            Err(fault) => {
                let detail = format!("its configuration cannot be used: {}", fault.below("/config"));
                return Some(Err(SendError::Ours(Failure::new(Reason::Misconfigured, detail))));
            }
        };
        let question = spec.kind.probe(&config, &self.workshop, clock::now())?;
        let answer = tokio::time::timeout(TIMEOUT + BODY_WAIT, question).await;
        Some(answer.unwrap_or_else(|_| Err(SendError::late(TIMEOUT))))
    }

    /// Answers the API's questions until told to stop.
    pub async fn answer(self: Arc<Self>, stop: Stop) {
        let (slots, running) = (Arc::new(Semaphore::new(SLOTS)), TaskTracker::new());
        let listening = async {
            loop {
                match self.subscribe().await {
                    Ok(mut asked) => {
                        while let Some(message) = asked.next().await {
                            let (probes, slots) = (Arc::clone(&self), Arc::clone(&slots));
                            running.spawn(async move {
                                let _slot = slots.acquire().await;
                                probes.reply(message).await;
                            });
                        }
                    }
                    Err(error) => tracing::warn!(%error, "questions about connections are not heard"),
                }
                clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
            }
        };
        tokio::select! { () = listening => {}, () = stop.soft.cancelled() => {} }
        running.close();
        tokio::select! { () = running.wait() => {}, () = stop.hard.cancelled() => {} }
    }

    async fn subscribe(&self) -> Result<SelectAll<Subscriber>, BusError> {
        let mut asked = Vec::new();
        for kind in &self.kinds {
            let subject = self.bus.names.connection_question(*kind);
            let subscribed = self.bus.client().queue_subscribe(subject, GROUP.to_owned()).await;
            asked.push(subscribed.map_err(BusError::request)?);
        }
        Ok(select_all(asked))
    }

    async fn reply(&self, message: Message) {
        let Some(to) = message.reply else { return };
        let answer = match serde_json::from_slice::<Question>(&message.payload) {
            Ok(question) => self.reply_to(&question).await,
            Err(_) => Answer { health: None, error: Some("the question cannot be read".to_owned()) },
        };
        let Ok(answer) = serde_json::to_vec(&answer) else { return };
        if let Err(error) = self.bus.client().publish(to, answer.into()).await {
            tracing::debug!(%error, "an answer did not go out");
        }
    }

    async fn reply_to(&self, question: &Question) -> Answer {
        let snapshot = self.directory.snapshot();
        let key = (question.workspace.clone(), question.connection.clone());
        let Some(spec) = snapshot.connections.get(&key) else {
            let error = format!("the worker that was asked knows no connection {} yet: ask again", key.1);
            return Answer { health: None, error: Some(error) };
        };
        match self.ask(&question.workspace, spec, &snapshot).await {
            Ok(health) => Answer { health, error: None },
            Err(error) => Answer { health: None, error: Some(error.to_string()) },
        }
    }
}

/// The channels on a connection that are switched on, in the order of their ids.
fn on(snapshot: &Snapshot, workspace: &WorkspaceId, id: &ConnectionId) -> Vec<ChannelSpec> {
    let all = snapshot.channels.iter().filter(|((of, _), _)| of == workspace);
    let on = all.filter(|(_, spec)| spec.connection.as_ref() == Some(id) && spec.enabled == Enabled::On);
    let mut found: Vec<ChannelSpec> = on.map(|(_, spec)| (**spec).clone()).collect();
    found.sort_by(|one, other| one.id.cmp(&other.id));
    found
}

/// Why nobody said how a connection stands.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("no worker for channels of this kind runs, which could ask its provider")]
    Nobody,
    #[error("{0}")]
    Refused(String),
}

/// Has a worker ask the provider now. None: there is nothing to ask such a provider.
///
/// # Errors
/// When no worker runs, or none answers.
pub async fn ask(
    bus: &Bus,
    workspace: &WorkspaceId,
    connection: &ConnectionSpec,
) -> Result<Option<Health>, AskError> {
    let refused = |error: &dyn std::fmt::Display| AskError::Refused(error.to_string());
    let question = Question { workspace: workspace.clone(), connection: connection.id.clone() };
    let payload = serde_json::to_vec(&question).map_err(|error| refused(&error))?;
    let subject = bus.names.connection_question(connection.kind);
    let request = async_nats::Request::new().payload(payload.into()).timeout(Some(PATIENCE));
    let reply = bus.client().send_request(subject, request).await.map_err(|error| match error.kind() {
        async_nats::RequestErrorKind::NoResponders => AskError::Nobody,
        async_nats::RequestErrorKind::TimedOut
        | async_nats::RequestErrorKind::InvalidSubject
        | async_nats::RequestErrorKind::MaxPayloadExceeded
        | async_nats::RequestErrorKind::Other => refused(&"no worker answered in time"),
    })?;
    let answer: Answer = serde_json::from_slice(&reply.payload).map_err(|error| refused(&error))?;
    match answer.error {
        Some(error) => Err(AskError::Refused(error)),
        None => Ok(answer.health),
    }
}

//! Errands: what needs a provider at once, asked over core NATS and answered by any worker of the kind.
//!
//! Nothing of it is stored. Who asks waits for the answer, and may ask again: a worker that dies with an errand in hand has
//! answered nobody, and what it did at the provider is done.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{HeaderMap, Request};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bus::{Bus, BusError};
use crate::channel::{Failure, Kind};
use crate::delivery::ENVELOPE_VERSION;
use crate::documents::TIMEOUT_MS_MAX;
use crate::ids::{ChannelId, ConnectionId, DeliveryId, Recipient, WorkspaceId};
use crate::outcome::{Reason, words};

/// Longer than any try, with its answer's body and the worker's own asking around it.
const PATIENCE: Duration = Duration::from_millis(TIMEOUT_MS_MAX + 10_000);

words! {
    /// What can be asked.
    What {
        TestChannel = "test-channel",
        DetectChats = "detect-chats",
    }
}

/// What is asked, about a channel in the bucket or, where it is about an account, about a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Errand {
    pub v: u16,
    pub workspace: WorkspaceId,
    pub of: Of,
    /// Whom a test is for, where the channel addresses people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Recipient>,
    /// Who asks.
    pub by: String,
}

/// What an errand is about.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Of {
    Channel(ChannelId),
    Connection(ConnectionId),
}

/// What a worker says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    Done(Value),
    Refused(Refusal),
    /// It has its hands full.
    Busy,
}

/// Why an errand could not be done. `detail` holds no secret and no address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    pub reason: Reason,
    pub detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
}

/// What came of the test of a channel: a real message, tried once.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tested {
    /// The provider accepted it.
    pub ok: bool,
    /// Its record in the history.
    #[schema(value_type = String)]
    pub delivery: DeliveryId,
    pub reason: Reason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The provider's own status code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    pub duration_ms: u64,
    /// What keeps everything else from going out although the test did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Up to this revision of the bucket the standing of the channel is known by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub revision: Option<u64>,
}

/// A chat that wrote to a bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Chat {
    pub chat_id: String,
    pub name: String,
    /// private, group, supergroup or channel.
    #[serde(rename = "type")]
    pub kind: String,
    pub username: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("no worker of the kind {0} answers: is one running?")]
    Nobody(Kind),
    #[error("the workers of the kind {0} have their hands full: try again")]
    Busy(Kind),
    #[error("a worker of the kind {0} took it on and did not answer in time")]
    Late(Kind),
    #[error("{}", .0.detail)]
    Refused(Refusal),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Asks the workers of a kind, and waits for what one of them says.
///
/// # Errors
/// When nobody answers, or whoever did could not do it.
pub async fn ask<T: DeserializeOwned>(
    bus: &Bus,
    kind: Kind,
    what: What,
    errand: &Errand,
) -> Result<T, AskError> {
    let payload = serde_json::to_vec(errand).map_err(BusError::from)?;
    let request = Request::new().payload(payload.into()).headers(HeaderMap::new()).timeout(Some(PATIENCE));
    let answered = bus.client().send_request(bus.names.errand(what, kind), request).await;
    let message = answered.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => AskError::Nobody(kind),
        RequestErrorKind::TimedOut => AskError::Late(kind),
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::Other => {
            AskError::Bus(BusError::request(error))
        }
    })?;
    match serde_json::from_slice(&message.payload).map_err(BusError::from)? {
        Answer::Done(done) => Ok(serde_json::from_value(done).map_err(BusError::from)?),
        Answer::Refused(refusal) => Err(AskError::Refused(refusal)),
        Answer::Busy => Err(AskError::Busy(kind)),
    }
}

impl Errand {
    #[must_use]
    pub fn new(workspace: &WorkspaceId, of: Of, by: &str) -> Self {
        Self { v: ENVELOPE_VERSION, workspace: workspace.clone(), of, recipient: None, by: by.to_owned() }
    }
}

impl Refusal {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), code: None }
    }
}

impl Refusal {
    /// What a provider said.
    #[must_use]
    pub fn of(failure: &Failure) -> Self {
        Self { reason: failure.reason, detail: failure.detail.clone(), code: failure.code }
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(_: serde_json::Error) -> Self {
        Self::new(Reason::Internal, "the worker could not write its answer")
    }
}

impl From<BusError> for Refusal {
    fn from(error: BusError) -> Self {
        tracing::warn!(%error, "an errand met the broker's trouble");
        Self::new(Reason::Internal, "the worker could not reach the broker")
    }
}

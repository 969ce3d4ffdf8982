//! A notification: what lies in a recipient's inbox, as people and agents see it.
//!
//! An [`item::Item`] travels from a worker to the recorder and becomes one; every [`change`] of an inbox has a number, from
//! which a stream is resumed.

pub mod change;
pub mod item;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::delivery::Action;
use crate::event::Severity;
use crate::ids::{DeliveryId, NotificationId, Recipient, WorkspaceId};

/// The channel that puts into inboxes, in every workspace, without a document.
pub const CHANNEL: &str = "in_app";

/// As the API answers it and as every frame about it carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    #[schema(value_type = String)]
    pub id: NotificationId,
    #[schema(value_type = String)]
    pub workspace: WorkspaceId,
    /// `*`: everybody of the workspace.
    #[schema(value_type = String)]
    pub recipient: Recipient,
    /// The type of its event.
    #[serde(rename = "type")]
    pub event_type: String,
    pub severity: Severity,
    /// The producer's own word for the severity.
    pub urgency: String,
    pub title: String,
    /// A small Markdown.
    pub body: String,
    /// A path of the reader's own site, or https.
    pub link: Option<String>,
    #[schema(value_type = Object)]
    pub metadata: Value,
    pub source: Source,
    pub project: Option<String>,
    pub actions: Vec<Action>,
    /// Its delivery in the history.
    #[schema(value_type = String)]
    pub delivery_id: DeliveryId,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When its text changed last.
    #[schema(value_type = String)]
    pub updated_at: Timestamp,
    /// When an agent claimed it, or somebody read or dismissed it.
    #[schema(value_type = Option<String>)]
    pub delivered_at: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    pub read_at: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    pub dismissed_at: Option<Timestamp>,
    pub read: bool,
}

impl Notification {
    /// True when it counts as unread.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.read_at.is_none() && self.dismissed_at.is_none()
    }
}

/// What it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, schemars::JsonSchema)]
pub struct Source {
    /// `task`, `agent`, `comment`, ….
    #[serde(rename = "type")]
    pub kind: String,
    pub id: String,
    /// Whatever else the producer said about it.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub more: Map<String, Value>,
}

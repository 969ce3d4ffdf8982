//! What changes in an inbox. Each change has a number, higher than those before it in its inbox, and is told to whoever
//! follows: [`Announcement`]s are a convenience, and the numbers tell when one was missed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Notification;
use crate::ids::{NotificationId, Recipient, WorkspaceId};

crate::outcome::words! {
    /// What happened to a notification, or to all.
    ChangeKind {
        /// It is new.
        Created = "created",
        /// Another text of the same thing took its place: it is unread again.
        Updated = "updated",
        /// An agent claimed it.
        Delivered = "delivered",
        Read = "read",
        Unread = "unread",
        Dismissed = "dismissed",
        Restored = "restored",
        /// Several were read at once.
        AllRead = "all_read",
        /// It is gone.
        Deleted = "deleted",
    }
}

/// One change of one inbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    pub seq: u64,
    pub kind: ChangeKind,
    pub at: Timestamp,
    /// By how much it changed the number of unread ones; of a broadcast: for whoever had not marked it.
    pub unread: i64,
    /// The one that it is about; none for several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<NotificationId>,
    /// As it is now. None when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification: Option<Box<Notification>>,
    /// Those that were read at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<NotificationId>,
}

/// The changes of one transaction, for those who follow an inbox at the moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Announcement {
    pub v: u16,
    pub workspace: WorkspaceId,
    pub recipient: Recipient,
    /// The number of the inbox's change before these. Who does not know it has missed something, and reads SQL.
    pub before: u64,
    /// The number of the last one.
    pub last: u64,
    /// In their order; empty when they are too long to be told.
    pub changes: Vec<Change>,
}

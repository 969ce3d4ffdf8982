//! A change as followers get it: heard in an announcement or read from SQL. Its notification stays the JSON that it came as, since
//! nobody here looks into it.

use std::sync::OnceLock;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::delivery::ENVELOPE_VERSION;
use crate::ids::NotificationId;
use crate::notification::Notification;
use crate::notification::change::{Change, ChangeKind};

/// One change, shared by all who follow its inbox.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heard {
    pub seq: u64,
    pub kind: ChangeKind,
    pub at: Timestamp,
    /// By how much it changed the number of unread ones.
    pub unread: i64,
    #[serde(default)]
    pub id: Option<NotificationId>,
    #[serde(default)]
    pub notification: Option<Box<RawValue>>,
    #[serde(default)]
    pub ids: Vec<NotificationId>,
    /// As each wire has it, but for the id.
    #[serde(skip)]
    pub sse: OnceLock<Bytes>,
    #[serde(skip)]
    pub ws: OnceLock<Box<str>>,
}

/// An announcement whose notifications stay as they are.
#[derive(Debug, Deserialize)]
pub struct Told {
    pub v: u16,
    pub before: u64,
    pub last: u64,
    pub changes: Vec<Heard>,
}

impl Told {
    /// None when it cannot be read here: a newer process wrote it. Then the changes are read from SQL.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(payload).ok().filter(|told| told.v <= ENVELOPE_VERSION)
    }
}

impl Heard {
    pub fn of(change: Change) -> Self {
        let notification = change.notification.as_deref().and_then(raw);
        let Change { seq, kind, at, unread, id, notification: _, ids } = change;
        Self { seq, kind, at, unread, id, notification, ids, sse: OnceLock::new(), ws: OnceLock::new() }
    }

    /// The same with another view of its notification.
    pub fn seen_as(&self, view: &Notification) -> Self {
        Self {
            seq: self.seq,
            kind: self.kind,
            at: self.at,
            unread: self.unread,
            id: self.id.clone(),
            notification: raw(view),
            ids: self.ids.clone(),
            sse: OnceLock::new(),
            ws: OnceLock::new(),
        }
    }
}

fn raw(notification: &Notification) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(notification).ok()
}

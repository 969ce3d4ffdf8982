//! What followers are told, and how it is written as a server-sent event and as a WebSocket's message. The page
//! `docs/inbox-frames.md` is the reference; a test holds it against this file.
//!
//! A change is encoded once for all who get it: what differs is the id, which stands at the end.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::heard::Heard;
use super::place::Place;
use crate::notification::change::ChangeKind;
use crate::store::inbox::Owner;

crate::outcome::words! {
    /// The names of frames on both wires.
    FrameName {
        Connected = "connected",
        /// A new notification; `notification.new` on a `WebSocket`.
        Created = "notification",
        Updated = "notification.updated",
        Read = "notification.read",
        Dismissed = "notification.dismissed",
        AllRead = "notification.all_read",
        Deleted = "notification.deleted",
        UnreadCount = "unread_count",
        /// What was asked for is no longer kept.
        Gap = "gap",
        ServerShutdown = "server_shutdown",
        Cut = "cut",
    }
}

crate::outcome::words! {
    /// What only clients of a `WebSocket` are told, because they asked for it.
    Answer {
        Pong = "pong",
        Subscribed = "subscribed",
        Unsubscribed = "unsubscribed",
        /// Of the topic of events.
        Event = "event",
        /// Of the topic of deliveries.
        Outcome = "outcome",
        Error = "error",
    }
}

crate::outcome::words! {
    /// What a `cut` frame says.
    CutReason {
        Slow = "slow",
        Revoked = "revoked",
    }
}

impl FrameName {
    /// Its `type` on a WebSocket.
    #[must_use]
    pub fn on_ws(self) -> &'static str {
        match self {
            Self::Created => "notification.new",
            Self::Connected
            | Self::Updated
            | Self::Read
            | Self::Dismissed
            | Self::AllRead
            | Self::Deleted
            | Self::UnreadCount
            | Self::Gap
            | Self::ServerShutdown
            | Self::Cut => self.as_str(),
        }
    }

    fn of(kind: ChangeKind) -> Self {
        match kind {
            ChangeKind::Created => Self::Created,
            ChangeKind::Updated | ChangeKind::Delivered | ChangeKind::Unread | ChangeKind::Restored => {
                Self::Updated
            }
            ChangeKind::Read => Self::Read,
            ChangeKind::Dismissed => Self::Dismissed,
            ChangeKind::AllRead => Self::AllRead,
            ChangeKind::Deleted => Self::Deleted,
        }
    }
}

/// The id behind a change, and a count of unread ones with its own.
const SSE_END_BYTES: usize = 160;

/// One thing that a follower is told.
#[derive(Debug, Clone)]
pub enum Frame {
    Connected,
    Change(Arc<Heard>),
    UnreadCount(u64),
    Gap,
    /// That the connection lives; it has no name and no id.
    Heartbeat,
    ServerShutdown,
    Cut(CutReason),
}

/// A frame and where its follower stands after it.
#[derive(Debug, Clone)]
pub struct Sent {
    pub frame: Frame,
    pub id: Place,
}

/// False for a change of a notification that is gone meanwhile: its end is told by a later one.
pub(super) fn is_told(heard: &Heard) -> bool {
    match heard.kind {
        ChangeKind::AllRead => true,
        ChangeKind::Deleted => heard.id.is_some(),
        ChangeKind::Created
        | ChangeKind::Updated
        | ChangeKind::Delivered
        | ChangeKind::Read
        | ChangeKind::Unread
        | ChangeKind::Dismissed
        | ChangeKind::Restored => heard.notification.is_some(),
    }
}

impl Sent {
    /// As a server-sent event (WHATWG HTML, section 9.2).
    pub fn write_sse(&self, owner: &Owner, into: &mut Vec<u8>) {
        if let Frame::Change(heard) = &self.frame {
            let head = heard.sse.get_or_init(|| sse_head(heard));
            into.reserve(head.len() + SSE_END_BYTES);
            into.extend_from_slice(head);
        } else if let Some((name, fields)) = self.plain(owner) {
            for part in ["event: ", name.as_str(), "\ndata: {", &fields, "}\n"] {
                into.extend_from_slice(part.as_bytes());
            }
        } else {
            return into.extend_from_slice(b": heartbeat\n\n");
        }
        for part in ["id: ", &self.id.text(owner.recipient.is_everybody()), "\n\n"] {
            into.extend_from_slice(part.as_bytes());
        }
    }

    /// As a WebSocket's text; None for a heartbeat, which is a ping there.
    #[must_use]
    pub fn ws(&self, owner: &Owner) -> Option<String> {
        let id = self.id.text(owner.recipient.is_everybody());
        if let Frame::Change(heard) = &self.frame {
            let head = heard.ws.get_or_init(|| ws_head(heard).into());
            let mut text = String::with_capacity(head.len() + id.len() + 9);
            text.push_str(head);
            text.push_str(",\"id\":\"");
            text.push_str(&id);
            text.push_str("\"}");
            return Some(text);
        }
        let (name, fields) = self.plain(owner)?;
        let comma = if fields.is_empty() { "" } else { "," };
        Some(format!("{{\"type\":\"{}\"{comma}{fields},\"id\":\"{id}\"}}", name.on_ws()))
    }

    /// The name and the fields, as JSON, of what is no change; None for a heartbeat.
    fn plain(&self, owner: &Owner) -> Option<(FrameName, String)> {
        Some(match &self.frame {
            Frame::Connected => {
                let data = json!({ "workspace": owner.workspace, "recipient": owner.recipient });
                (FrameName::Connected, fields(&data))
            }
            Frame::UnreadCount(count) => (FrameName::UnreadCount, format!("\"count\":{count}")),
            Frame::Gap => (FrameName::Gap, String::new()),
            Frame::ServerShutdown => (FrameName::ServerShutdown, String::new()),
            Frame::Cut(reason) => (FrameName::Cut, format!("\"reason\":\"{reason}\"")),
            Frame::Change(_) | Frame::Heartbeat => return None,
        })
    }
}

/// An object's fields without its braces.
fn fields(object: &Value) -> String {
    let text = object.to_string();
    text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default().to_owned()
}

fn raw(heard: &Heard) -> &str {
    heard.notification.as_ref().map_or("null", |raw| raw.get())
}

fn sse_head(heard: &Heard) -> Bytes {
    let name = FrameName::of(heard.kind);
    let text = match heard.kind {
        ChangeKind::AllRead => format!("event: {name}\ndata: {}\n", all_read(heard)),
        ChangeKind::Deleted => format!("event: {name}\ndata: {}\n", json!({ "id": heard.id })),
        ChangeKind::Created
        | ChangeKind::Updated
        | ChangeKind::Delivered
        | ChangeKind::Read
        | ChangeKind::Unread
        | ChangeKind::Dismissed
        | ChangeKind::Restored => format!("event: {name}\ndata: {}\n", raw(heard)),
    };
    text.into()
}

/// Without its end: the id follows.
fn ws_head(heard: &Heard) -> String {
    let name = FrameName::of(heard.kind).on_ws();
    let named = || heard.id.as_ref().map(|id| format!(",\"notificationId\":\"{id}\"")).unwrap_or_default();
    let rest = match heard.kind {
        ChangeKind::AllRead => format!(",{}", fields(&all_read(heard))),
        ChangeKind::Deleted => named(),
        ChangeKind::Read | ChangeKind::Dismissed => format!("{},\"notification\":{}", named(), raw(heard)),
        ChangeKind::Created
        | ChangeKind::Updated
        | ChangeKind::Delivered
        | ChangeKind::Unread
        | ChangeKind::Restored => format!(",\"notification\":{}", raw(heard)),
    };
    format!("{{\"type\":\"{name}\"{rest}")
}

fn all_read(heard: &Heard) -> Value {
    json!({ "ids": heard.ids, "count": heard.ids.len(), "readAt": heard.at })
}

#[cfg(test)]
mod tests;

//! What changed in inboxes, told over core NATS to whoever follows them at the moment. Nothing rests on it: the changes are in
//! SQL, and their numbers tell when something was missed.

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::stream::{SelectAll, select_all};

use super::{Bus, BusError};
use crate::ids::{Recipient, WorkspaceId};
use crate::notification::change::Announcement;

/// Tells of changes that are committed.
pub async fn announce(bus: &Bus, announcement: Announcement) {
    let subject = bus.names.live(&announcement.workspace, &announcement.recipient);
    let encoded = super::json(&announcement).and_then(|payload| {
        if payload.len() <= bus.max_payload {
            return Ok(payload);
        }
        // Who hears that there are some reads them.
        super::json(&Announcement { changes: Vec::new(), ..announcement })
    });
    match encoded {
        Ok(payload) => publish(bus, subject, payload).await,
        Err(error) => tracing::error!(%error, "changes of an inbox cannot be told"),
    }
}

/// Asks everybody who follows an inbox to look it up.
pub async fn look(bus: &Bus) {
    publish(bus, bus.names.live_look(), Bytes::new()).await;
}

/// Whatever is told of what a recipient sees, from when this returns.
///
/// # Errors
/// When the broker does not answer.
pub async fn hear_of(
    bus: &Bus,
    workspace: &WorkspaceId,
    recipient: &Recipient,
) -> Result<SelectAll<Subscriber>, BusError> {
    let mut heard = Vec::new();
    for who in [recipient, &Recipient::everybody()] {
        let subject = bus.names.live(workspace, who);
        heard.push(bus.client().subscribe(subject).await.map_err(BusError::request)?);
    }
    bus.client().flush().await.map_err(BusError::request)?;
    Ok(select_all(heard))
}

/// Hears of the changes of all inboxes.
///
/// # Errors
/// When the broker does not answer.
pub async fn hear(bus: &Bus) -> Result<Subscriber, BusError> {
    let subscriber = bus.client().subscribe(bus.names.live_filter()).await.map_err(BusError::request)?;
    // Heard from here on.
    bus.client().flush().await.map_err(BusError::request)?;
    Ok(subscriber)
}

async fn publish(bus: &Bus, subject: String, payload: Bytes) {
    if let Err(error) = bus.client().publish(subject, payload).await {
        tracing::debug!(%error, "changes of an inbox were not told: who follows it finds them");
    }
}

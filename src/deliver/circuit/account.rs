//! The circuit of a channel whose account is known to be sick, or to work again, without a try of the channel.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::document;
use super::moves::stored;
use super::state::{Circuit, Mode};
use crate::bus::{Bus, BusError, StreamName, claim};
use crate::channel::ChannelSpec;
use crate::connection::ConnectionSpec;
use crate::ids::WorkspaceId;
use crate::own_events::unhealthy;
use crate::publish::publish_own;

/// Opens it, and tells that with `event`, which has no id yet. Nothing happens to one that is open.
///
/// # Errors
/// When the broker did not answer; doing it again is safe.
pub async fn sickens(
    bus: &Bus,
    workspace: &WorkspaceId,
    (spec, connection): (&ChannelSpec, &ConnectionSpec),
    (since, now): (Timestamp, Timestamp),
    event: &Value,
) -> Result<(), BusError> {
    let subject = bus.names.circuit(workspace, &spec.id);
    let opened = Circuit::opened_for_account(spec.kind, document(spec, Some(connection)), since, now);
    for _ in 0..claim::LOOKS_MAX {
        let (before, sequence) = stored(bus, &subject, &opened).await?;
        if before.mode != Mode::Closed {
            return Ok(());
        }
        tell(bus, workspace, spec, event, before.since).await?;
        if put(bus, &subject, (&opened, now), sequence).await? {
            return Ok(());
        }
    }
    Err(claim::contended())
}

/// Closes what its sickness has opened, and tells that with `event`, which has no id yet. What tries have opened is tried at once.
///
/// # Errors
/// When the broker did not answer; doing it again is safe.
pub async fn recovers(
    bus: &Bus,
    workspace: &WorkspaceId,
    spec: &ChannelSpec,
    now: Timestamp,
    event: &Value,
) -> Result<(), BusError> {
    let subject = bus.names.circuit(workspace, &spec.id);
    for _ in 0..claim::LOOKS_MAX {
        let found = claim::last_in::<Circuit>(bus, StreamName::Pace, &subject).await?;
        let Some((before, sequence)) = found else { return Ok(()) };
        let Some((after, news)) = before.with_account(now) else { return Ok(()) };
        if news {
            tell(bus, workspace, spec, event, before.since).await?;
        }
        if put(bus, &subject, (&after, now), sequence).await? {
            return Ok(());
        }
    }
    Err(claim::contended())
}

/// False when somebody else was first.
async fn put(
    bus: &Bus,
    subject: &str,
    (circuit, now): (&Circuit, Timestamp),
    expected: u64,
) -> Result<bool, BusError> {
    match claim::put(bus, subject, circuit, Some(circuit.kept(now)), expected).await {
        Ok(_) => Ok(true),
        Err(BusError::Conflict) => {
            claim::again().await;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

async fn tell(
    bus: &Bus,
    workspace: &WorkspaceId,
    spec: &ChannelSpec,
    event: &Value,
    before: Timestamp,
) -> Result<(), BusError> {
    let mut event = event.clone();
    event["id"] = json!(unhealthy::id(event["type"].as_str().unwrap_or_default(), &spec.id, before));
    publish_own(bus, workspace, event).await.error.map_or(Ok(()), |error| Err(BusError::Request(error)))
}

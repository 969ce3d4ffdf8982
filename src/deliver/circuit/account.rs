//! The circuit of a channel whose account is known to be sick, or to work again, without a try of the channel.

use jiff::Timestamp;

use super::state::{Circuit, Mode};
use super::{document, kept};
use crate::bus::{Bus, BusError, StreamName, claim};
use crate::channel::ChannelSpec;
use crate::connection::ConnectionSpec;
use crate::ids::WorkspaceId;

/// Opens or closes it. True when that moved it: whoever moved it tells it.
///
/// # Errors
/// When the broker did not answer.
pub async fn set(
    bus: &Bus,
    workspace: &WorkspaceId,
    (spec, connection): (&ChannelSpec, &ConnectionSpec),
    works: bool,
    (since, now): (Timestamp, Timestamp),
) -> Result<bool, BusError> {
    let subject = bus.names.circuit(workspace, &spec.id);
    for _ in 0..claim::LOOKS_MAX {
        let found = claim::last_in::<Circuit>(bus, StreamName::Pace, &subject).await?;
        let open = found.as_ref().is_some_and(|(circuit, _)| circuit.mode != Mode::Closed);
        if open != works {
            return Ok(false);
        }
        let (circuit, expected) = match found {
            Some((circuit, sequence)) if works => (circuit.closed(now), sequence),
            found => {
                let opened = Circuit::opened(Some(spec.kind), document(spec, Some(connection)), since, now);
                (opened, found.map_or(0, |(_, sequence)| sequence))
            }
        };
        match claim::put(bus, &subject, &circuit, Some(kept(&circuit)), expected).await {
            Ok(_) => return Ok(true),
            Err(BusError::Conflict) => claim::again().await,
            Err(error) => return Err(error),
        }
    }
    Err(claim::contended())
}

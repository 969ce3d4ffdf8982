//! What is said when a connection sickens or recovers: an event about itself, and one about each channel on it.

use serde_json::{Value, json};

use super::ConnectionSpec;
use super::health::{Health, Turn};
use crate::bus::{Bus, BusError, claim};
use crate::channel::ChannelSpec;
use crate::clock;
use crate::event::OWN_SOURCE;
use crate::ids::WorkspaceId;
use crate::own_events::unhealthy::{CLAIMED_FOR, Claim, OVER_FOR};
use crate::publish::publish_own;

/// Tells it. Whoever stored the change tells it, so it is told once.
pub async fn tell(
    bus: &Bus,
    workspace: &WorkspaceId,
    connection: &ConnectionSpec,
    channels: &[ChannelSpec],
    (health, turn): (&Health, Turn),
) {
    let sick = turn == Turn::Sickened;
    tracing::warn!(%workspace, connection = %connection.id, ?turn, detail = health.detail, "how a connection stands has changed");
    publish(bus, workspace, about_connection(connection, channels, health, sick)).await;
    for channel in channels {
        match claimed(bus, workspace, channel, sick).await {
            Ok(true) => publish(bus, workspace, about_channel(connection, channel, health, sick)).await,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(channel = %channel.id, %error, "how a channel stands was not told");
            }
        }
    }
}

async fn publish(bus: &Bus, workspace: &WorkspaceId, event: Value) {
    if let Some(error) = publish_own(bus, workspace, event).await.error {
        tracing::warn!(error, "how a connection stands was not told");
    }
}

/// Workers tell the same of channels from what they try, under the same claim: nobody is told twice.
async fn claimed(
    bus: &Bus,
    workspace: &WorkspaceId,
    channel: &ChannelSpec,
    unhealthy: bool,
) -> Result<bool, BusError> {
    let subject = bus.names.unhealthy(workspace, &channel.id);
    let expected = match claim::last::<Claim>(bus, &subject).await? {
        Some((said, _)) if said.unhealthy == unhealthy => return Ok(false),
        None if !unhealthy => return Ok(false),
        Some((_, sequence)) => sequence,
        None => 0,
    };
    let keep = Some(if unhealthy { CLAIMED_FOR } else { OVER_FOR });
    match claim::put(bus, &subject, &Claim { unhealthy }, keep, expected).await {
        Ok(_) => Ok(true),
        Err(BusError::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

fn about_connection(
    connection: &ConnectionSpec,
    channels: &[ChannelSpec],
    health: &Health,
    sick: bool,
) -> Value {
    let channels: Vec<&str> = channels.iter().map(|channel| channel.id.as_str()).collect();
    let mut data = json!({
        "connection": connection.id, "name": connection.name, "kind": connection.kind, "channels": channels,
    });
    if sick {
        data["reason"] = json!(health.reason);
        data["error"] = json!(health.detail);
        data["failures"] = health.failures.into();
    }
    let (event_type, severity) =
        if sick { ("connection_issue", "critical") } else { ("connection:recovered", "info") };
    event(event_type, severity, health, &data)
}

fn about_channel(connection: &ConnectionSpec, channel: &ChannelSpec, health: &Health, sick: bool) -> Value {
    let mut data = json!({ "channel": channel.id, "kind": channel.kind, "connection": connection.id });
    if sick {
        data["reason"] = json!(health.reason);
        data["error"] = json!(health.detail);
        data["since"] = json!(health.since);
        data["failures"] = health.failures.into();
    }
    let (event_type, severity) =
        if sick { ("channel:unhealthy", "warning") } else { ("channel:recovered", "info") };
    event(event_type, severity, health, &data)
}

fn event(event_type: &str, severity: &str, health: &Health, data: &Value) -> Value {
    json!({
        "id": clock::random_id(), "source": OWN_SOURCE, "type": event_type, "time": health.checked_at,
        "severity": severity, "data": data,
    })
}

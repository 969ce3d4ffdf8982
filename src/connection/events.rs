//! What is said when a connection sickens or recovers: an event about itself, and one about each channel on it.

use serde_json::{Value, json};

use super::ConnectionSpec;
use super::health::{Health, Turn};
use crate::bus::Bus;
use crate::channel::ChannelSpec;
use crate::clock;
use crate::deliver::circuit::account;
use crate::event::OWN_SOURCE;
use crate::ids::WorkspaceId;
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
        // Nothing goes out through a channel whose account is sick, and what was held back goes out when it works again.
        match account::set(bus, workspace, (channel, connection), !sick, (health.since, health.checked_at))
            .await
        {
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

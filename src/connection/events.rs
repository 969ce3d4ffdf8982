//! What is said when a connection sickens or recovers: an event about itself, and one about each channel on it.
//!
//! It is said before it is stored, under ids made of what was stored before: said once more it is the same.

use serde_json::{Value, json};

use super::ConnectionSpec;
use super::health::{Health, Turn};
use crate::bus::{Bus, BusError};
use crate::channel::ChannelSpec;
use crate::deliver::circuit::account;
use crate::event::OWN_SOURCE;
use crate::ids::WorkspaceId;
use crate::publish::publish_own;

/// What changes about a connection.
pub struct Change<'a> {
    pub workspace: &'a WorkspaceId,
    pub connection: &'a ConnectionSpec,
    /// Those on it.
    pub channels: &'a [ChannelSpec],
    pub before: &'a Health,
    pub health: &'a Health,
    pub turn: Turn,
}

/// Tells it, and holds its channels back or lets them go: nothing goes out through one whose account is sick.
///
/// # Errors
/// When not all of it could be told; telling it again is safe.
pub async fn tell(bus: &Bus, change: &Change<'_>) -> Result<(), BusError> {
    let Change { workspace, connection, channels, health, turn, .. } = change;
    tracing::warn!(%workspace, connection = %connection.id, ?turn, detail = health.detail, "how a connection stands has changed");
    let told = publish_own(bus, workspace, about_connection(change)).await;
    told.error.map_or(Ok(()), |error| Err(BusError::Request(error)))?;
    let mut done = Ok(());
    for channel in *channels {
        let event = about_channel(connection, channel, health, *turn);
        let moved = match turn {
            Turn::Sickened => {
                let moments = (health.since, health.checked_at);
                Box::pin(account::sickens(bus, workspace, (channel, connection), moments, &event)).await
            }
            Turn::Recovered => {
                Box::pin(account::recovers(bus, workspace, channel, health.checked_at, &event)).await
            }
        };
        if let Err(error) = moved {
            tracing::warn!(channel = %channel.id, %error, "how a channel stands was not told");
            done = Err(error);
        }
    }
    done
}

fn about_connection(change: &Change<'_>) -> Value {
    let Change { connection, channels, before, health, turn, .. } = change;
    let sick = *turn == Turn::Sickened;
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
    let mut event = event(event_type, severity, health, &data);
    event["id"] =
        json!(format!("{}/{}/{}", event_type.replace([':', '_'], "-"), connection.id, before.since));
    event
}

/// It gets its id where its circuit is moved.
fn about_channel(connection: &ConnectionSpec, channel: &ChannelSpec, health: &Health, turn: Turn) -> Value {
    let sick = turn == Turn::Sickened;
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
        "source": OWN_SOURCE, "type": event_type, "time": health.checked_at, "severity": severity, "data": data,
    })
}

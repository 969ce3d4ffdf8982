//! `server:shutdown`: what a process says before it drains.
//!
//! In a fleet the others route and send it. A process that runs alone waits a moment, until what it leads to was tried.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::bus::directory::Directory;
use crate::bus::reader::{From, Reader};
use crate::bus::{Bus, BusError, StreamName};
use crate::clock;
use crate::event::OWN_SOURCE;
use crate::ids::WorkspaceId;
use crate::outcome::Outcome;
use crate::publish::{imagined, publish_own};
use crate::route::texts::Texts;
use crate::route::{World, plan};

/// A process whose broker is away stops all the same.
const PUBLISH_WAIT: Duration = Duration::from_secs(2);
/// A process that runs alone waits this long for its deliveries; what is not tried by then goes out at the next start.
const SEND_WAIT: Duration = Duration::from_secs(5);
const READ_MAX: usize = 100;

pub struct Farewell {
    pub bus: Bus,
    pub role: &'static str,
    /// What routes in this process, when nobody else may be there to do it.
    pub alone: Option<(Arc<Directory>, Arc<Texts>)>,
}

impl Farewell {
    pub async fn say(&self, reason: &str) {
        if !self.bus.is_connected() {
            return;
        }
        let said = timeout(PUBLISH_WAIT + SEND_WAIT, self.publish_and_wait(reason)).await;
        match said {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the end of this process was not told"),
            Err(_) => tracing::warn!("what the end of this process leads to was not tried yet"),
        }
    }

    async fn publish_and_wait(&self, reason: &str) -> Result<(), BusError> {
        let workspace = WorkspaceId::default();
        let event = json!({
            "id": clock::random_id(), "source": OWN_SOURCE, "type": "server:shutdown", "time": clock::now(),
            "severity": "warning",
            "data": { "role": self.role, "reason": reason, "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id() },
        });
        let expected = self.deliveries(&workspace, &event);
        let filter = self.bus.names.outcome_filter(Some(&workspace));
        let outcomes = match expected {
            0 => None,
            _ => Some(Reader::open(&self.bus, StreamName::Records, filter, From::New).await?),
        };
        let id = event["id"].clone();
        let published = timeout(PUBLISH_WAIT, publish_own(&self.bus, &workspace, event)).await;
        let published = published.map_err(|_| BusError::Request("the broker does not answer".to_owned()))?;
        if let Some(error) = published.error {
            return Err(BusError::Request(error));
        }
        match outcomes {
            Some(outcomes) => tried(outcomes, &id, expected).await,
            None => Ok(()),
        }
    }

    /// How many deliveries this process makes of it.
    fn deliveries(&self, workspace: &WorkspaceId, event: &Value) -> usize {
        let Some((directory, texts)) = &self.alone else { return 0 };
        let fields: Map<String, Value> = event.as_object().cloned().unwrap_or_default();
        let Ok(event) = imagined(workspace, fields) else { return 0 };
        let snapshot = directory.snapshot();
        let world = World {
            rules: &snapshot.rules,
            scopes: &snapshot.scopes.of(&event),
            channels: &snapshot.channels,
            texts,
            at: clock::now(),
        };
        plan(&event, world).iter().map(|firing| firing.steps.len()).sum()
    }
}

/// Waits until each of the event's deliveries has an outcome, be it a suppression.
async fn tried(mut outcomes: Reader, event: &Value, expected: usize) -> Result<(), BusError> {
    let mut seen = HashSet::new();
    while seen.len() < expected {
        for entry in outcomes.next(READ_MAX).await? {
            if let Ok(outcome) = serde_json::from_slice::<Outcome>(&entry.payload)
                && *event == *outcome.event.id
            {
                seen.insert(outcome.delivery);
            }
        }
    }
    Ok(())
}

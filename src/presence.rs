//! Who is there: every process says what it is and how it does when somebody asks over core NATS.
//!
//! Nothing of it is stored, and nobody waits for a process that does not answer: it is away, older than the question, or without the
//! permission to hear it.

use std::time::Duration;

use async_nats::StatusCode;
use bytes::Bytes;
use futures_util::StreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::app::{self, Role};
use crate::bus::{Bus, BusError};
use crate::channel::Kind;
use crate::clock;
use crate::config::Settings;
use crate::delivery::ENVELOPE_VERSION;
use crate::health::Health;
use crate::task;

/// Whoever has not answered by then is not waited for.
const ANSWERS_MAX: Duration = Duration::from_secs(1);
/// Everybody hears the question at once: after such a silence there is nobody left.
const SILENCE: Duration = Duration::from_millis(300);
const AFTER_TROUBLE: Duration = Duration::from_secs(1);
const UNKNOWN_HOST: &str = "unknown";

/// What a process says of itself. Role and kinds are texts, since a newer process may have others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Presence {
    pub v: u16,
    #[serde(flatten)]
    pub process: Process,
    /// Its clock.
    pub at: Timestamp,
    pub ready: bool,
    /// What keeps it from being ready.
    pub complaints: Vec<String>,
}

/// What stays the same as long as it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    pub role: String,
    pub version: String,
    pub host: String,
    pub pid: u32,
    pub started_at: Timestamp,
    /// What a worker sends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
}

/// A process that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Heard {
    #[serde(flatten)]
    pub presence: Presence,
    /// How far its clock is certainly ahead of ours, or behind it; 0 where the way of the answer explains it.
    pub skew_ms: i64,
}

impl Process {
    #[must_use]
    pub fn new(role: Role, settings: &Settings) -> Self {
        let kinds = match role {
            Role::Worker | Role::All => settings.worker_kinds(),
            Role::Router | Role::Recorder | Role::Api => &[],
        };
        Self {
            role: role.as_str().to_owned(),
            version: app::version().to_owned(),
            host: host(),
            pid: std::process::id(),
            started_at: clock::now(),
            kinds: kinds.iter().map(Kind::to_string).collect(),
        }
    }

    /// True when it does this role's work.
    #[must_use]
    pub fn does(&self, role: Role) -> bool {
        self.role == role.as_str() || self.role == Role::All.as_str()
    }

    /// For people.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {} on {}", self.role, self.pid, self.host)
    }
}

/// The machine's name, where it says one.
fn host() -> String {
    let told = || {
        let output = std::process::Command::new("uname").arg("-n").output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(told).unwrap_or_default();
    if name.trim().is_empty() { UNKNOWN_HOST.to_owned() } else { name.trim().to_owned() }
}

/// Answers whoever asks, until `stop`. A process that is not ready answers too.
pub fn answer(bus: Bus, process: Process, health: Health, stop: CancellationToken) {
    task::spawn("presence", async move {
        let answering = async {
            loop {
                if let Err(error) = answer_until_trouble(&bus, &process, &health).await {
                    tracing::debug!(%error, "questions who is there are not heard at the moment");
                }
                clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
            }
        };
        tokio::select! {
            () = answering => {}
            () = stop.cancelled() => {}
        }
    });
}

async fn answer_until_trouble(bus: &Bus, process: &Process, health: &Health) -> Result<(), BusError> {
    let client = bus.client();
    let mut asked = client.subscribe(bus.names.ping()).await.map_err(BusError::request)?;
    while let Some(message) = asked.next().await {
        let Some(to) = message.reply else { continue };
        let complaints = health.complaints();
        let presence = Presence {
            v: ENVELOPE_VERSION,
            process: process.clone(),
            at: clock::now(),
            ready: complaints.is_empty(),
            complaints,
        };
        client.publish(to, serde_json::to_vec(&presence)?.into()).await.map_err(BusError::request)?;
    }
    Ok(())
}

/// Asks who is there, and gives everybody a moment to say so. In the order of roles, hosts and process ids.
///
/// # Errors
/// When the broker cannot be asked.
pub async fn ask(bus: &Bus) -> Result<Vec<Heard>, BusError> {
    let client = bus.client();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(BusError::request)?;
    let (asked_at, end) = (clock::now(), Instant::now() + ANSWERS_MAX);
    client.publish_with_reply(bus.names.ping(), inbox, Bytes::new()).await.map_err(BusError::request)?;
    client.flush().await.map_err(BusError::request)?;
    let mut heard: Vec<Heard> = Vec::new();
    loop {
        let until = if heard.is_empty() { end } else { end.min(Instant::now() + SILENCE) };
        let Ok(Some(message)) = timeout_at(until, answers.next()).await else { break };
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            break;
        }
        match serde_json::from_slice::<Presence>(&message.payload) {
            Ok(presence) => {
                let skew_ms = skew_ms(presence.at, asked_at, clock::now());
                heard.push(Heard { presence, skew_ms });
            }
            Err(error) => tracing::warn!(%error, "an answer that cannot be read"),
        }
    }
    heard.sort_by_cached_key(|heard| {
        let Process { role, host, pid, .. } = &heard.presence.process;
        (role.clone(), host.clone(), *pid)
    });
    Ok(heard)
}

/// An answer was written between the question and its arrival, if the clocks agree.
fn skew_ms(said: Timestamp, asked: Timestamp, arrived: Timestamp) -> i64 {
    let (said, asked, arrived) = (said.as_millisecond(), asked.as_millisecond(), arrived.as_millisecond());
    if said < asked { said - asked } else { (said - arrived).max(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    #[test]
    fn a_clock_differs_when_its_answer_was_written_before_the_question_or_after_its_arrival() {
        assert_eq!(skew_ms(at(150), at(100), at(200)), 0);
        assert_eq!(skew_ms(at(40), at(100), at(200)), -60);
        assert_eq!(skew_ms(at(5_200), at(100), at(200)), 5_000);
    }

    #[test]
    fn a_process_that_does_everything_does_each_role() {
        let process = |role: &str| Process {
            role: role.to_owned(),
            version: "1".to_owned(),
            host: host(),
            pid: 1,
            started_at: at(0),
            kinds: Vec::new(),
        };
        assert!(process("all").does(Role::Router) && process("api").does(Role::Api));
        assert!(!process("api").does(Role::Router));
        assert!(!process("api").host.is_empty());
    }
}

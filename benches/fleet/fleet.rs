//! An installation of Bugle for one measurement: a prefix of its own on the bench's broker, a database, its processes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context};
use serde_json::{Value, json};
use testbed::broker::NatsServer;
use testbed::process::{Process, Usage};
use testbed::{Folder, free_port, unique};

use crate::sink::http_get;
use crate::{Anything, PATIENCE};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Router,
    Worker,
    Recorder,
    Api,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Router, Self::Worker, Self::Recorder, Self::Api];

    pub fn word(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Worker => "worker",
            Self::Recorder => "recorder",
            Self::Api => "api",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Router => env!("CARGO_BIN_EXE_bugle-router"),
            Self::Worker => env!("CARGO_BIN_EXE_bugle-worker"),
            Self::Recorder => env!("CARGO_BIN_EXE_bugle-recorder"),
            Self::Api => env!("CARGO_BIN_EXE_bugle-api"),
        }
    }
}

pub struct Fleet {
    pub js: Context,
    pub prefix: String,
    pub database_url: String,
    pub members: Vec<Process>,
    folder: Folder,
    settings: BTreeMap<String, String>,
}

impl Fleet {
    /// Sets up streams, database and documents. Nothing runs yet.
    pub async fn set_up(
        server: &NatsServer,
        database_url: Option<String>,
        documents: &Value,
    ) -> Anything<Self> {
        let (folder, prefix) = (Folder::new(), unique("b"));
        let database_url = database_url
            .unwrap_or_else(|| format!("sqlite://{}?mode=rwc", folder.join("history.db").display()));
        let file = folder.write("documents.json", &documents.to_string());
        let settings = [
            ("NATS__URL", server.url()),
            ("NATS__PREFIX", prefix.clone()),
            ("DATABASE__URL", database_url.clone()),
            ("DOCUMENTS", file.display().to_string()),
            ("API__LISTEN", "127.0.0.1:0".to_owned()),
            ("WORKER__KINDS", "webhook".to_owned()),
            ("WORKER__ALLOW_PLAIN_HTTP", "true".to_owned()),
            ("WORKER__ALLOW_ADDRESSES", "127.0.0.0/8".to_owned()),
        ];
        let settings = settings.into_iter().map(|(key, value)| (format!("BUGLE__{key}"), value)).collect();
        let client = async_nats::connect(server.url()).await?;
        let js = jetstream::context::ContextBuilder::new()
            .timeout(Duration::from_secs(10))
            .max_ack_inflight(4_096)
            .build(client);
        let mut fleet = Self { js, prefix, database_url, members: Vec::new(), folder, settings };
        fleet.set("LOG__LEVEL", "warn");
        // BENCH__ROUTER__SLOTS=512 make bench: the same with another setting.
        for (name, value) in std::env::vars() {
            if let Some(key) = name.strip_prefix("BENCH__") {
                fleet.set(key, &value);
            }
        }
        let setup = tokio::process::Command::new(env!("CARGO_BIN_EXE_bugle"))
            .arg("setup")
            .envs(&fleet.settings)
            .stdout(std::process::Stdio::null())
            .status()
            .await?;
        if setup.success() { Ok(fleet) } else { Err("bugle setup failed".into()) }
    }

    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.insert(format!("BUGLE__{key}"), value.to_owned());
    }

    /// Starts a role, without waiting for it.
    pub fn spawn(&mut self, role: Role) -> u16 {
        let port = free_port();
        let mut variables: Vec<_> =
            self.settings.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        variables.push(("BUGLE__ADMIN__LISTEN".to_owned(), format!("127.0.0.1:{port}")));
        let log = self.folder.join(&format!("{}.log", role.word()));
        self.members.push(Process::start(role.word(), Path::new(role.program()), &[], &variables, &log));
        port
    }

    pub async fn start(&mut self, roles: &[Role]) -> Anything<()> {
        for role in roles {
            let port = self.spawn(*role);
            let started = Instant::now();
            while !http_get(port, "/readyz").await.is_ok_and(|(status, _)| status == 200) {
                if started.elapsed() > PATIENCE {
                    return Err(format!("the {} did not become ready", role.word()).into());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.join(name)
    }

    /// Sends all members a signal by its name: STOP keeps them from working while their work is laid out.
    pub fn signal(&mut self, signal: &str) {
        for member in &mut self.members {
            member.signal(signal);
        }
    }

    pub fn usage(&self, role: Role) -> Usage {
        let of = |process: &Process| process.usage().unwrap_or_default();
        self.members.iter().filter(|process| process.name == role.word()).map(of).fold(
            Usage::default(),
            |sum, one| Usage {
                cpu_seconds: sum.cpu_seconds + one.cpu_seconds,
                resident_mib: sum.resident_mib + one.resident_mib,
                peak_mib: sum.peak_mib + one.peak_mib,
            },
        )
    }

    pub fn stream(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix.to_uppercase())
    }

    /// Publishes so many messages, as fast as the broker takes them.
    pub async fn publish_all(
        &self,
        messages: impl Iterator<Item = (String, String, Vec<u8>)>,
    ) -> Anything<()> {
        use futures_util::{StreamExt, TryStreamExt};
        const IN_FLIGHT: usize = 1_024;
        futures_util::stream::iter(messages)
            .map(|(subject, id, body)| publish(&self.js, subject, id, body))
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    /// When the stream's message count reached each look's value, until it is `wanted`: what a copying process did.
    pub async fn rate_into(&self, stream: &str, wanted: u64) -> Anything<f64> {
        let started = Instant::now();
        let mut handle = self.js.get_stream(self.stream(stream)).await?;
        let mut first: Option<(Duration, u64)> = None;
        loop {
            let count = handle.info().await?.state.messages;
            if first.is_none() && count >= wanted / 10 {
                first = Some((started.elapsed(), count));
            }
            if let (Some((since, before)), true) = (first, count >= wanted) {
                return Ok(crate::per_second(wanted - before, started.elapsed().saturating_sub(since)));
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("{stream} has {count} of {wanted} messages").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Makes room on the disk; the processes end first.
    pub async fn tear_down(mut self) -> Anything<()> {
        self.members.clear();
        for name in ["EVENTS", "DELIVERIES", "RECORDS", "DEAD", "THROTTLE", "COUNTS", "PACE"] {
            self.js.delete_stream(self.stream(name)).await?;
        }
        for name in ["CONFIG", "PEOPLE"] {
            self.js.delete_stream(format!("KV_{}", self.stream(name))).await?;
        }
        Ok(())
    }
}

pub async fn publish(js: &Context, subject: String, id: String, body: Vec<u8>) -> Anything<()> {
    let message = jetstream::message::PublishMessage::build().message_id(id).payload(body.into());
    js.send_publish(subject, message).await?.await?;
    Ok(())
}

/// The signed webhook channel that everything goes to.
pub fn channel(id: &str, url: &str) -> Value {
    json!({"id": id, "kind": "webhook", "config": {"url": url, "secrets": [SECRET]}, "timeoutMs": 10_000})
}

/// Rule number `number` of a set that patterns tell apart.
pub fn rule_by_pattern(number: usize) -> Value {
    rule(number, &format!("bench{number}:*"), &json!({"field": "to", "op": "==", "value": "failed"}))
}

/// Rule number `number` of a set that shares one pattern and differs in an equality.
pub fn rule_by_condition(number: usize) -> Value {
    let condition = json!({"and": [
        {"field": "to", "op": "==", "value": "failed"},
        {"field": "task.retries", "op": "==", "value": number}
    ]});
    rule(number, "bench7:*", &condition)
}

pub fn rule(number: usize, pattern: &str, condition: &Value) -> Value {
    json!({
        "id": format!("rule-{number}"), "events": [pattern], "channels": ["sink"], "condition": condition,
        "template": {"title": "{{taskId}} failed", "body": "Task {{taskId}} moved to {{to}}"}
    })
}

/// The data of event `number`, so many bytes long. It matches rule 7 of either set.
pub fn event(number: u64, bytes: usize) -> Vec<u8> {
    let head =
        format!(r#"{{"taskId":"t-{number}","to":"failed","n":{number},"task":{{"retries":7}},"note":""#);
    let filler = "x".repeat(bytes.saturating_sub(head.len() + 2));
    format!(r#"{head}{filler}"}}"#).into_bytes()
}

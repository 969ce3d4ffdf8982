//! The settings: built-in defaults, then a file, then the environment; checked against each other before anything runs.
//!
//! An environment variable takes the type that its key has in `config/default.toml`, so that a token of digits stays
//! a text and a list is written with commas. Nothing here ever prints the value of a secret.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Value};
use figment::{Figment, Profile};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use crate::channel::Kind;

const DEFAULTS: &str = include_str!("../config/default.toml");
const PREFIX: &str = "BUGLE__";

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub documents: Vec<PathBuf>,
    pub nats: Nats,
    pub database: Database,
    pub keep: Keep,
    pub api: Api,
    pub admin: Admin,
    pub router: Router,
    pub worker: Worker,
    pub shutdown: Shutdown,
    pub log: Log,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// None: the embedded server.
    #[serde(deserialize_with = "empty_is_none")]
    pub url: Option<Secret>,
    pub prefix: String,
    pub replicas: usize,
    #[serde(deserialize_with = "empty_is_none")]
    pub credentials_file: Option<PathBuf>,
    pub embedded: Embedded,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedded {
    pub port: u16,
    #[serde(deserialize_with = "empty_is_none")]
    pub binary: Option<PathBuf>,
    pub sync_interval: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// None: an SQLite file in the data directory.
    #[serde(deserialize_with = "empty_is_none")]
    pub url: Option<Secret>,
    pub connections: u32,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    pub events_days: u32,
    pub records_days: u32,
    pub dead_days: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub listen: SocketAddr,
    #[serde(deserialize_with = "empty_is_none")]
    pub admin_token: Option<Secret>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    pub listen: SocketAddr,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    pub slots: usize,
    pub queue_mib_max: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    pub kinds: Vec<Kind>,
    pub slots: usize,
    pub channel_share: f64,
    pub workspace_share: f64,
    pub allow_plain_http: bool,
    pub allow_addresses: Vec<IpNet>,
    #[serde(deserialize_with = "empty_is_none")]
    pub proxy: Option<Secret>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    pub deadline_seconds: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// A text that may hold a password: it never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl<'de> Deserialize<'de> for Secret {
    /// Without the line's end that comes with a file's content, and which no header carries.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.trim().to_owned()))
    }
}

impl Secret {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// What is wrong with the settings, in one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl Settings {
    /// Reads the settings of this process.
    ///
    /// # Errors
    /// One sentence that names the key and what is allowed.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let environment = environment_variables().filter(|(name, _)| name.starts_with(PREFIX));
        Self::from_parts(file, &environment.collect::<Vec<_>>())
    }

    /// The same from a file and these variables alone.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn from_parts(file: Option<&Path>, environment: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                ConfigError(format!("the configuration file {} cannot be read: {error}", path.display()))
            })?;
            text.parse::<toml::Table>().map_err(|error| ConfigError(not_toml(path, &text, &error)))?;
            figment = figment.merge(Toml::string(&text));
        }
        let defaults: Dict = Figment::from(Toml::string(DEFAULTS))
            .extract()
            .map_err(|error| ConfigError(format!("the built-in defaults are broken: {error}")))?;
        for (name, text) in environment {
            let (path, value) = from_variable(&defaults, name, text)?;
            figment = figment.merge(Serialized::from(nested(&path, value), Profile::Default));
        }
        let shown = file.map(|path| format!("{}: ", path.display())).unwrap_or_default();
        let mut settings: Self =
            figment.extract().map_err(|error| ConfigError(format!("{shown}{}", sentence(&error))))?;
        settings.anchor(file);
        settings.check()?;
        Ok(settings)
    }

    /// Relative documents are relative to the file that names them.
    fn anchor(&mut self, file: Option<&Path>) {
        let Some(folder) = file.and_then(Path::parent) else { return };
        for document in &mut self.documents {
            let beside = folder.join(&*document);
            // One that a variable names is relative to where the program runs.
            if document.is_relative() && (beside.exists() || !document.exists()) {
                *document = beside;
            }
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |sentence: String| Err(ConfigError(sentence));
        crate::bus::Names::new(&self.nats.prefix).map_err(ConfigError)?;
        if ![1, 3, 5].contains(&self.nats.replicas) {
            return refuse(format!("nats.replicas is {}: 1, 3 or 5", self.nats.replicas));
        }
        if self.nats.url.is_none() && self.nats.replicas != 1 {
            return refuse(
                "nats.replicas is more than 1, which the embedded server cannot do: set nats.url".to_owned(),
            );
        }
        for (key, slots) in [("router.slots", self.router.slots), ("worker.slots", self.worker.slots)] {
            if !(1..=10_000).contains(&slots) {
                return refuse(format!("{key} is {slots}: 1 to 10000"));
            }
        }
        if !(1..=16_777_216).contains(&self.router.queue_mib_max) {
            return refuse(format!("router.queue_mib_max is {}: 1 to 16777216", self.router.queue_mib_max));
        }
        for (key, part) in [
            ("worker.channel_share", self.worker.channel_share),
            ("worker.workspace_share", self.worker.workspace_share),
        ] {
            if !(0.01..=1.0).contains(&part) {
                return refuse(format!("{key} is {part}: 0.01 to 1"));
            }
        }
        for (key, days) in [
            ("events", self.keep.events_days),
            ("records", self.keep.records_days),
            ("dead", self.keep.dead_days),
        ] {
            if !(1..=3650).contains(&days) {
                return refuse(format!("keep.{key}_days is {days}: 1 to 3650"));
            }
        }
        if self.database.url.as_ref().is_some_and(|url| !crate::store::speaks(url.expose())) {
            return refuse("database.url must start with sqlite:// or postgres://".to_owned());
        }
        if !(1..=1_000).contains(&self.database.connections) {
            return refuse(format!("database.connections is {}: 1 to 1000", self.database.connections));
        }
        if self.api.admin_token.as_ref().is_some_and(|token| token.expose().len() < 16) {
            return refuse("api.admin_token is shorter than 16 characters".to_owned());
        }
        let sync = &self.nats.embedded.sync_interval;
        let interval = |text: &str| {
            let digits = text.trim_end_matches(|character: char| character.is_ascii_lowercase());
            !digits.is_empty()
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && ["ms", "s", "m"].contains(&&text[digits.len()..])
        };
        if sync != "always" && !interval(sync) {
            return refuse(format!(
                "nats.embedded.sync_interval is {sync:?}: \"always\" or a time like \"1s\""
            ));
        }
        if !(1..=600).contains(&self.shutdown.deadline_seconds) {
            return refuse(format!(
                "shutdown.deadline_seconds is {}: 1 to 600",
                self.shutdown.deadline_seconds
            ));
        }
        crate::telemetry::check(&self.log.level).map_err(|error| ConfigError(format!("log.level: {error}")))
    }

    #[must_use]
    pub fn drain_deadline(&self) -> Duration {
        Duration::from_secs(self.shutdown.deadline_seconds)
    }

    /// The database: the one that is set, else the SQLite file of the data directory.
    #[must_use]
    pub fn database_url(&self) -> String {
        match &self.database.url {
            Some(url) => url.expose().to_owned(),
            None => format!("sqlite://{}?mode=rwc", self.data_dir.join("bugle.db").display()),
        }
    }

    /// The broker: the one that is set, else the embedded one.
    #[must_use]
    pub fn nats_url(&self) -> String {
        match &self.nats.url {
            Some(url) => url.expose().to_owned(),
            None => format!("nats://127.0.0.1:{}", self.nats.embedded.port),
        }
    }

    /// The kinds that this worker sends.
    #[must_use]
    pub fn worker_kinds(&self) -> &[Kind] {
        if self.worker.kinds.is_empty() { Kind::ALL } else { &self.worker.kinds }
    }
}

/// An environment variable, for `${VAR}` in channels. The one door to the environment.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one door to the environment")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn environment_variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The key that a variable sets and its value, in the type of the key's default.
fn from_variable(defaults: &Dict, name: &str, text: &str) -> Result<(Vec<String>, Value), ConfigError> {
    let path: Vec<String> = name[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
    let unknown = || ConfigError(format!("{name} sets no known key: see config/default.toml"));
    let mut found = defaults.get(path.first().ok_or_else(unknown)?);
    for part in &path[1..] {
        found = found.and_then(Value::as_dict).and_then(|dict| dict.get(part));
    }
    let wrong = |wanted: &str| ConfigError(format!("{name} must be {wanted}"));
    let value = match found.ok_or_else(unknown)? {
        Value::Array(..) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::from(items.map(str::to_owned).collect::<Vec<String>>())
        }
        Value::Bool(..) => Value::from(text.parse::<bool>().map_err(|_| wrong("true or false"))?),
        Value::Num(_, figment::value::Num::F64(_) | figment::value::Num::F32(_)) => {
            Value::from(text.parse::<f64>().map_err(|_| wrong("a number"))?)
        }
        Value::Num(..) => Value::from(text.parse::<u64>().map_err(|_| wrong("a whole number"))?),
        Value::String(..) => Value::from(text.to_owned()),
        Value::Char(..) | Value::Empty(..) | Value::Dict(..) => return Err(unknown()),
    };
    Ok((path, value))
}

fn nested(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |inner, key| Value::from(Dict::from([(key.clone(), inner)])))
}

/// Where a file stops being TOML. The parser's own text would quote the line, and with it perhaps a password.
#[must_use]
pub fn not_toml(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    format!("{} is not TOML: line {line}: {}", path.display(), error.message().replace('\n', ", "))
}

/// figment's error as one sentence: the key, and what was expected; the value only where it cannot be a secret.
fn sentence(error: &figment::Error) -> String {
    use figment::error::Kind;
    let key = error.path.join(".");
    match &error.kind {
        Kind::UnknownField(field, known) => {
            let section = if key.is_empty() { String::new() } else { format!(" in [{key}]") };
            format!("unknown key {field:?}{section}: known are {}", known.join(", "))
        }
        Kind::MissingField(field) => format!("{key}: {field} is missing"),
        Kind::InvalidType(_, wanted) => format!("{key} must be {wanted}"),
        Kind::UnknownVariant(found, known) => format!("{key} is {found:?}: one of {}", known.join(", ")),
        Kind::Message(_)
        | Kind::InvalidValue(..)
        | Kind::InvalidLength(..)
        | Kind::DuplicateField(_)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_)
        | Kind::Unsupported(_)
        | Kind::UnsupportedKey(..) => {
            format!("{key} is not valid: {}", error.kind)
        }
    }
}

fn empty_is_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    use serde::de::IntoDeserializer;
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let deserializer: serde::de::value::StringDeserializer<D::Error> = text.into_deserializer();
    T::deserialize(deserializer).map(Some)
}

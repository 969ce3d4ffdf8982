//! The settings: built-in defaults, then a file, then the environment; checked against each other before anything runs.
//!
//! An environment variable takes the type that its key has in `config/default.toml`, so that a token of digits stays
//! a text and a list is written with commas. Nothing here ever prints the value of a secret.

mod check;
mod environment;
mod keep;
mod nats;
mod secret;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Format, Serialized, Toml};
use figment::value::Dict;
use figment::{Figment, Profile};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use url::Url;

pub use self::environment::{ENVIRONMENT_PREFIX, environment};
pub use self::keep::{Inbox, Keep, Kept, Workspace};
pub use self::nats::{Embedded, Nats};
pub use self::secret::Secret;
use crate::channel::Kind;
use crate::ids::WorkspaceId;
use crate::rule::fault::{guess, unknown_word};

/// Every setting with its meaning and its default.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub documents: Vec<PathBuf>,
    pub nats: Nats,
    pub database: Database,
    pub keep: Keep,
    pub inbox: Inbox,
    /// What some workspaces keep otherwise.
    #[serde(default)]
    pub workspaces: BTreeMap<WorkspaceId, Workspace>,
    pub api: Api,
    pub admin: Admin,
    pub router: Router,
    pub worker: Worker,
    pub secrets: Secrets,
    pub shutdown: Shutdown,
    pub log: Log,
    pub tracing: Tracing,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// None: an SQLite file in the data directory.
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub url: Option<Secret>,
    /// In place of one in the URL.
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub password: Option<Secret>,
    #[schemars(range(min = 1, max = 1_000))]
    pub connections: u32,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub listen: SocketAddr,
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub admin_token: Option<Secret>,
    /// Where recipients reach the API from outside.
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub public_url: Option<String>,
    #[schemars(range(min = 0, max = 1_000_000))]
    pub requests_per_minute: u32,
    pub cors_origins: Vec<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    pub listen: SocketAddr,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Router {
    #[schemars(range(min = 1, max = 10_000))]
    pub slots: usize,
    #[schemars(range(min = 1, max = 16_777_216))]
    pub queue_mib_max: u64,
    #[serde(deserialize_with = "empty_is_none")]
    pub texts: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    pub kinds: Vec<Kind>,
    #[schemars(range(min = 1, max = 10_000))]
    pub slots: usize,
    #[schemars(range(min = 0.01, max = 1.0))]
    pub channel_share: f64,
    #[schemars(range(min = 0.01, max = 1.0))]
    pub workspace_share: f64,
    pub allow_plain_http: bool,
    #[schemars(with = "Vec<String>")]
    #[serde(deserialize_with = "networks")]
    pub allow_addresses: Vec<IpNet>,
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub proxy: Option<Secret>,
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub extra_ca_file: Option<PathBuf>,
    #[schemars(range(min = 1, max = 86_400))]
    pub connection_check_seconds: u64,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub key_file: Option<PathBuf>,
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub key: Option<Secret>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    #[schemars(range(min = 1, max = 600))]
    pub deadline_seconds: u64,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tracing {
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub otlp_endpoint: Option<Secret>,
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample_ratio: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
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
        Self::from_parts(file, &environment::own_variables()?)
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
        environment::refuse_twice(&defaults, environment)?;
        for (name, text) in environment {
            let (path, value) = environment::setting(&defaults, name, text)?;
            figment = figment.merge(Serialized::from(environment::nested(&path, value), Profile::Default));
        }
        let shown = file.map(|path| format!("{}: ", path.display())).unwrap_or_default();
        let mut settings: Self = figment.extract().map_err(|error: figment::Error| {
            // Variables are named by their key alone.
            let of_file = error.metadata.as_ref().is_some_and(|of| of.name.contains("TOML"));
            ConfigError(format!("{}{}", if of_file { shown.as_str() } else { "" }, sentence(&error)))
        })?;
        settings.anchor(file);
        settings.check()?;
        Ok(settings)
    }

    /// Relative documents, texts, keys and certificates are relative to the file that names them.
    fn anchor(&mut self, file: Option<&Path>) {
        let Some(folder) = file.and_then(Path::parent) else { return };
        let files = self.documents.iter_mut().chain(&mut self.router.texts);
        let nats = &mut self.nats;
        let nats = [
            &mut nats.credentials_file,
            &mut nats.tls_ca_file,
            &mut nats.tls_cert_file,
            &mut nats.tls_key_file,
        ];
        let keys = self.secrets.key_file.iter_mut().chain(nats.into_iter().flatten());
        for path in files.chain(keys) {
            let beside = folder.join(&*path);
            // One that a variable names is relative to where the program runs.
            if path.is_relative() && (beside.exists() || !path.exists()) {
                *path = beside;
            }
        }
    }

    #[must_use]
    pub fn drain_deadline(&self) -> Duration {
        Duration::from_secs(self.shutdown.deadline_seconds)
    }

    /// The database: the one that is set, else the SQLite file of the data directory.
    #[must_use]
    pub fn database_url(&self) -> String {
        match &self.database.url {
            Some(url) => with_password(url, self.database.password.as_ref()),
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

/// A URL that cannot be read is refused by the checks, and opened by nobody.
fn with_password(url: &Secret, password: Option<&Secret>) -> String {
    let (Some(password), Ok(mut parsed)) = (password, Url::parse(url.expose())) else {
        return url.expose().to_owned();
    };
    match parsed.set_password(Some(password.expose())) {
        Ok(()) => parsed.into(),
        Err(()) => url.expose().to_owned(),
    }
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
            // The path ends at the field itself.
            let section = error.path.strip_suffix(std::slice::from_ref(field)).unwrap_or(&error.path);
            let key = section.join(".");
            let section = if key.is_empty() { String::new() } else { format!(" in [{key}]") };
            let guess = guess(field, known);
            format!("unknown key {field:?}{section}{guess}: known are {}", known.join(", "))
        }
        Kind::MissingField(field) => format!("{key}: {field} is missing"),
        Kind::InvalidType(_, wanted) => format!("{key} must be {wanted}"),
        Kind::UnknownVariant(found, known) => format!("{key}: {}", unknown_word(found, known)),
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

/// One address is a network of its own.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let network = |text: &String| {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let found = text.parse().or(address);
        found.map_err(|_| D::Error::custom(format!("{text:?} is no address and no network: 10.0.0.0/8, say")))
    };
    texts.iter().map(network).collect()
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

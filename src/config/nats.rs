//! How the broker is reached: addresses, names, credentials, certificates.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{ConfigError, Secret, empty_is_none};

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// None: the embedded server.
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub url: Option<Secret>,
    pub prefix: String,
    #[schemars(extend("enum" = [1, 3, 5]))]
    pub replicas: usize,
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub credentials_file: Option<PathBuf>,
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub nkey: Option<Secret>,
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub user: Option<String>,
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub password: Option<Secret>,
    pub inbox_prefix: String,
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub tls_ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub tls_cert_file: Option<PathBuf>,
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub tls_key_file: Option<PathBuf>,
    pub embedded: Embedded,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Embedded {
    pub port: u16,
    #[serde(deserialize_with = "empty_is_none")]
    #[schemars(with = "String")]
    pub binary: Option<PathBuf>,
    pub sync_interval: String,
}

impl Nats {
    /// True when a plain connection must be refused: whoever names certificates wants them used.
    #[must_use]
    pub fn wants_tls(&self) -> bool {
        self.tls_ca_file.is_some() || self.tls_cert_file.is_some()
    }

    /// What no connection could be made with, in one sentence.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |sentence: String| Err(ConfigError(sentence));
        crate::bus::Names::new(&self.prefix).map_err(ConfigError)?;
        if ![1, 3, 5].contains(&self.replicas) {
            return refuse(format!("nats.replicas is {}: 1, 3 or 5", self.replicas));
        }
        if self.url.is_none() && self.replicas != 1 {
            return refuse(
                "nats.replicas is more than 1, which the embedded server cannot do: set nats.url".to_owned(),
            );
        }
        let ways = [
            ("nats.credentials_file", self.credentials_file.is_some()),
            ("nats.nkey", self.nkey.is_some()),
            ("nats.user", self.user.is_some()),
        ];
        let chosen: Vec<&str> = ways.iter().filter(|(_, set)| *set).map(|(key, _)| *key).collect();
        if chosen.len() > 1 {
            return refuse(format!("{} are set: a connection has one of them", chosen.join(" and ")));
        }
        if self.user.is_some() != self.password.is_some() {
            return refuse("nats.user and nats.password belong together: one of them is not set".to_owned());
        }
        if self.nkey.as_ref().is_some_and(|seed| nkeys::KeyPair::from_seed(seed.expose()).is_err()) {
            return refuse(
                "nats.nkey is no seed of an nkey: it begins with SU, as `nk -gen user` prints it".to_owned(),
            );
        }
        let token = |token: &str| {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            !token.is_empty() && token.bytes().all(legal)
        };
        if !self.inbox_prefix.split('.').all(token) {
            return refuse(format!(
                "nats.inbox_prefix {:?} is not valid: letters, digits, _ and -, with dots between",
                self.inbox_prefix
            ));
        }
        self.check_certificates()
    }

    fn check_certificates(&self) -> Result<(), ConfigError> {
        if self.tls_cert_file.is_some() != self.tls_key_file.is_some() {
            let sentence = "nats.tls_cert_file and nats.tls_key_file belong together: one of them is not set";
            return Err(ConfigError(sentence.to_owned()));
        }
        for (key, file) in [
            ("nats.credentials_file", &self.credentials_file),
            ("nats.tls_ca_file", &self.tls_ca_file),
            ("nats.tls_cert_file", &self.tls_cert_file),
            ("nats.tls_key_file", &self.tls_key_file),
        ] {
            if let Some(file) = file
                && let Err(error) = std::fs::File::open(file)
            {
                return Err(ConfigError(format!("{key} {} cannot be read: {error}", file.display())));
            }
        }
        Ok(())
    }
}

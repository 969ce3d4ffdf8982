//! What can be known to be wrong with settings before anything is touched: one sentence each, without secrets.

use std::str::FromStr;

use async_nats::ServerAddr;
use url::Url;

use super::{ConfigError, Settings};

/// More than one process answers anyway.
const REQUESTS_PER_MINUTE_MAX: u32 = 1_000_000;
/// In place of a list of origins.
const EVERY_ORIGIN: &str = "*";

impl Settings {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |sentence: String| Err(ConfigError(sentence));
        self.nats.check()?;
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
        self.check_kept()?;
        if self.database.url.as_ref().is_some_and(|url| !crate::store::speaks(url.expose())) {
            return refuse("database.url must start with sqlite:// or postgres://".to_owned());
        }
        if self.database.password.is_some()
            && !self.database.url.as_ref().is_some_and(|url| url.expose().starts_with("postgres"))
        {
            return refuse("database.password is for a database.url that starts with postgres://".to_owned());
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
        self.check_addresses()?;
        self.check_perimeter()?;
        self.check_tracing()?;
        self.check_secrets()?;
        crate::telemetry::check(&self.log.level).map_err(|error| ConfigError(format!("log.level: {error}")))
    }

    fn check_tracing(&self) -> Result<(), ConfigError> {
        let ratio = self.tracing.sample_ratio;
        if !(0.0..=1.0).contains(&ratio) {
            return Err(ConfigError(format!("tracing.sample_ratio is {ratio}: 0 to 1")));
        }
        let collector = |url: Url| matches!(url.scheme(), "http" | "https") && url.query().is_none();
        let endpoint = self.tracing.otlp_endpoint.as_ref();
        if endpoint.is_some_and(|text| !Url::parse(text.expose()).is_ok_and(collector)) {
            return Err(ConfigError("tracing.otlp_endpoint is no http or https URL".to_owned()));
        }
        Ok(())
    }

    fn check_perimeter(&self) -> Result<(), ConfigError> {
        let most = self.api.requests_per_minute;
        if most > REQUESTS_PER_MINUTE_MAX {
            let sentence =
                format!("api.requests_per_minute is {most}: 0 (no limit) to {REQUESTS_PER_MINUTE_MAX}");
            return Err(ConfigError(sentence));
        }
        let origins = &self.api.cors_origins;
        if origins.len() > 1 && origins.iter().any(|origin| origin == EVERY_ORIGIN) {
            let sentence = "api.cors_origins has \"*\" beside others: \"*\" alone allows all of them";
            return Err(ConfigError(sentence.to_owned()));
        }
        match origins.iter().position(|origin| origin != EVERY_ORIGIN && !is_origin(origin)) {
            // It may hold a password, and is not shown.
            Some(index) => Err(ConfigError(format!(
                "api.cors_origins: entry {} is no origin: scheme, host and port alone, as browsers send it \
                 (https://app.example.com), or \"*\"",
                index + 1
            ))),
            None => Ok(()),
        }
    }

    fn check_secrets(&self) -> Result<(), ConfigError> {
        let seconds = self.worker.connection_check_seconds;
        if !(1..=86_400).contains(&seconds) {
            return Err(ConfigError(format!("worker.connection_check_seconds is {seconds}: 1 to 86400")));
        }
        if self.secrets.key.is_some() && self.secrets.key_file.is_some() {
            let sentence = "secrets.key and secrets.key_file are both set: only one of them can hold";
            return Err(ConfigError(sentence.to_owned()));
        }
        Ok(())
    }

    /// Addresses that nobody could connect to or listen on. They may hold passwords, and are not shown.
    fn check_addresses(&self) -> Result<(), ConfigError> {
        let refuse = |sentence: &str| Err(ConfigError(sentence.to_owned()));
        let server = |text: &str| ServerAddr::from_str(text.trim()).is_ok();
        if self.nats.url.as_ref().is_some_and(|url| !url.expose().split(',').all(server)) {
            return refuse(
                "nats.url is no address of servers: nats://host:port, several with commas between",
            );
        }
        let proxy = |text: &str| Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if self.worker.proxy.as_ref().is_some_and(|url| !proxy(url.expose())) {
            return refuse("worker.proxy is no http or https URL");
        }
        let public = |text: &str| {
            let plain = |url: Url| {
                let bare = url.query().is_none() && url.fragment().is_none() && url.password().is_none();
                matches!(url.scheme(), "http" | "https") && url.username().is_empty() && bare
            };
            Url::parse(text).is_ok_and(plain)
        };
        if self.api.public_url.as_ref().is_some_and(|url| !public(url)) {
            return refuse("api.public_url is no http or https URL without credentials, ? and #");
        }
        let (admin, api) = (self.admin.listen, self.api.listen);
        if admin == api && admin.port() != 0 {
            return Err(ConfigError(format!(
                "admin.listen and api.listen are both {api}: each needs its own port"
            )));
        }
        if self.nats.url.is_none() && [admin.port(), api.port()].contains(&self.nats.embedded.port) {
            let port = self.nats.embedded.port;
            return Err(ConfigError(format!(
                "nats.embedded.port is {port}, where the API or the admin port listens too"
            )));
        }
        Ok(())
    }
}

/// True for what a browser says in `Origin`: lower case, no default port, nothing behind it. There is no `*` within.
fn is_origin(text: &str) -> bool {
    let same =
        |url: Url| matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text;
    !text.contains('*') && Url::parse(text).is_ok_and(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_send_it() {
        for text in ["https://app.example.com", "http://localhost:3000", "https://[::1]:8443"] {
            assert!(is_origin(text), "{text}");
        }
        for text in [
            "app.example.com",
            "https://app.example.com/",
            "https://app.example.com:443",
            "https://App.example.com",
            "https://me:s3cr3t@app.example.com",
            "https://*.example.com",
            "file:///tmp",
            "null",
            "",
        ] {
            assert!(!is_origin(text), "{text}");
        }
    }
}

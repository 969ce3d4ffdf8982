//! The URL that names a service, in the style of Apprise: `scheme://user:password@host:port/path?option=value`.
//!
//! All of it may be secret, so no fault repeats a part of it but the scheme and the names of options.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::channel::http::{HttpPolicy, parse_endpoint};
use crate::rule::fault::{Fault, unknown_word};

pub(super) struct Address {
    url: Url,
}

impl Address {
    /// # Errors
    /// When it is no URL at all.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let text = text.trim();
        let looks_like_one = text.split_once("://").is_some_and(|(_, rest)| !rest.is_empty());
        match Url::parse(text) {
            Ok(url) if looks_like_one && url.host_str().is_some_and(|host| !host.is_empty()) => Ok(Self { url }),
            Ok(_) | Err(_) => Err(fault("is no URL of a service, like discord://ID/TOKEN")),
        }
    }

    pub fn scheme(&self) -> &str {
        self.url.scheme()
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// As it was written: ids and keys stand here, too.
    pub fn host(&self) -> String {
        decoded(self.url.host_str().unwrap_or_default())
    }

    pub fn user(&self) -> Option<String> {
        Some(decoded(self.url.username())).filter(|user| !user.is_empty())
    }

    pub fn password(&self) -> Option<String> {
        self.url.password().map(decoded)
    }

    /// The parts of the path that are not empty.
    pub fn segments(&self) -> Vec<String> {
        let segments = self.url.path().split('/').filter(|segment| !segment.is_empty());
        segments.map(decoded).collect()
    }

    pub fn option(&self, name: &str) -> Option<String> {
        let found = self.url.query_pairs().find(|(found, _)| found == name);
        found.map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
    }

    /// # Errors
    /// When there is an option that the service does not have.
    pub fn only_options(&self, known: &[&str]) -> Result<(), Fault> {
        match self.url.query_pairs().find(|(name, _)| !known.contains(&name.as_ref())) {
            None => Ok(()),
            Some(_) if known.is_empty() => Err(fault("has an option, and this service has none")),
            Some((name, _)) => Err(fault(&format!("has an unknown option: {}", unknown_word(&name, known)))),
        }
    }

    /// # Errors
    /// When a user or a password stands there, and the service has none.
    pub fn no_user(&self) -> Result<(), Fault> {
        match self.user() {
            None if self.url.password().is_none() => Ok(()),
            Some(_) | None => Err(fault("has something before an @, and this service has nothing there")),
        }
    }

    /// The server that it names, by https where the scheme ends in `s`, with `path` behind it.
    ///
    /// # Errors
    /// When plain http is not allowed, or it is no server.
    pub fn server(&self, path: &[String], policy: &HttpPolicy) -> Result<Url, Fault> {
        let protocol = if self.scheme().ends_with('s') { "https" } else { "http" };
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let text = format!("{protocol}://{}{port}", self.url.host_str().unwrap_or_default());
        let mut url = parse_endpoint(&text, policy, "/url")?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(path);
        }
        Ok(url)
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

pub(super) fn fault(message: &str) -> Fault {
    Fault::new("/url", message)
}

/// A URL of a provider's own, with parts of ours in its path, escaped.
pub(super) fn at(base: &str, path: &[&str]) -> Result<Url, Fault> {
    let mut url = Url::parse(base).map_err(|_| fault("leads nowhere"))?;
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    Ok(url)
}

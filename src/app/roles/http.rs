//! Whom workers talk to over HTTP, by their settings.

use std::path::Path;
use std::sync::Arc;

use crate::app::Failure;
use crate::channel::http::{HttpClient, HttpPolicy};
use crate::config::Worker as WorkerSettings;

/// Whom workers may talk to; the API only asks whether they may.
pub(super) fn http_policy(settings: &WorkerSettings) -> HttpPolicy {
    HttpPolicy {
        allow_plain_http: settings.allow_plain_http,
        allow_addresses: settings.allow_addresses.clone(),
        proxy: settings.proxy.as_ref().map(|proxy| proxy.expose().to_owned()),
        extra_ca: None,
    }
}

/// The client of the workers.
///
/// # Errors
/// When the certificates or the proxy cannot be used.
pub fn http_client(settings: &WorkerSettings) -> Result<HttpClient, Failure> {
    let extra_ca = settings.extra_ca_file.as_deref().map(read_certificates).transpose()?;
    HttpClient::new(HttpPolicy { extra_ca, ..http_policy(settings) }).map_err(Failure::config)
}

fn read_certificates(file: &Path) -> Result<Arc<[u8]>, Failure> {
    let found = std::fs::read(file);
    let failed = |error| Failure::config(format!("worker.extra_ca_file: {}: {error}", file.display()));
    found.map(Into::into).map_err(failed)
}

//! One connection to the broker: credentials, certificates, and what its events say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};

use super::BusError;
use crate::config::Nats;
use crate::metrics;

/// The state of the connection, as the client's events tell it.
pub(super) struct Connection {
    pub connected: AtomicBool,
    /// Counts the times that it was lost: what was asked on a lost connection is not answered on the next one.
    pub losses: tokio::sync::watch::Sender<u64>,
}

/// Connects, with what the settings say that we are.
pub(super) async fn client(
    settings: &Nats,
    url: &str,
    role: &str,
    connection: &Arc<Connection>,
) -> Result<Client, BusError> {
    let state = Arc::clone(connection);
    let mut options = ConnectOptions::new()
        .name(format!("bugle-{role}"))
        .connection_timeout(Duration::from_secs(5))
        .subscription_capacity(65_536)
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            note_event(&event, &state);
            std::future::ready(())
        });
    options = identified(options, settings).await?;
    let servers: Vec<&str> = url.split(',').map(str::trim).collect();
    options.connect(servers).await.map_err(|error| {
        let url = redacted(url);
        match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                BusError::Credentials(format!(
                    "NATS at {url} refuses us: nats.nkey, nats.credentials_file, or nats.user and nats.password must be those of a \
                     user that it knows"
                ))
            }
            ConnectErrorKind::ServerParse
            | ConnectErrorKind::Dns
            | ConnectErrorKind::TimedOut
            | ConnectErrorKind::Tls
            | ConnectErrorKind::Io
            | ConnectErrorKind::MaxReconnects => BusError::Connect { url, reason: full(&error) },
        }
    })
}

/// With credentials and certificates.
async fn identified(mut options: ConnectOptions, settings: &Nats) -> Result<ConnectOptions, BusError> {
    options = options.custom_inbox_prefix(&settings.inbox_prefix).require_tls(settings.wants_tls());
    if let Some(file) = &settings.tls_ca_file {
        options = options.add_root_certificates(file.clone());
    }
    if let (Some(certificate), Some(key)) = (&settings.tls_cert_file, &settings.tls_key_file) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    if let Some(seed) = &settings.nkey {
        options = options.nkey(seed.expose().to_owned());
    }
    if let (Some(user), Some(password)) = (&settings.user, &settings.password) {
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    if let Some(file) = &settings.credentials_file {
        options = options.credentials_file(file).await.map_err(|error| {
            BusError::Credentials(format!("nats.credentials_file {} cannot be used: {error}", file.display()))
        })?;
    }
    Ok(options)
}

/// An error with its causes: "TLS error" alone says nothing.
fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(found) = cause {
        let more = found.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = found.source();
    }
    text
}

/// 100 ms, doubling to 2 s: a fleet that lost its broker finds it within two seconds of its return.
fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1).min(5)).unwrap_or(5);
    Duration::from_millis(100 * 2_u64.pow(doublings)).min(Duration::from_secs(2))
}

fn note_event(event: &Event, connection: &Connection) {
    let connected = &connection.connected;
    if matches!(event, Event::Closed) {
        // We let go of it ourselves, at the end of a command.
        metrics::nats_connected(false);
        connected.store(false, Ordering::Relaxed);
        connection.losses.send_modify(|losses| *losses += 1);
    } else if matches!(event, Event::Disconnected) {
        connected.store(false, Ordering::Relaxed);
        connection.losses.send_modify(|losses| *losses += 1);
        metrics::nats_disconnected();
        tracing::warn!("connection to NATS lost");
    } else if matches!(event, Event::Connected) {
        connected.store(true, Ordering::Relaxed);
        metrics::nats_connected(true);
        tracing::info!("connected to NATS");
    } else if event.to_string().to_lowercase().contains("permissions violation") {
        tracing::error!(%event, "the NATS user of this process may not do what it has to: config/nats/nats.conf has what each role needs");
    } else if matches!(event, Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_)) {
        tracing::warn!(%event, "NATS reports trouble");
    }
}

/// The URL without user and password, for messages.
#[must_use]
pub fn redacted(url: &str) -> String {
    let server = |url: &str| match url.rsplit_once('@') {
        Some((before, host)) => format!("{}{host}", before.split_inclusive("://").next().unwrap_or_default()),
        None => url.to_owned(),
    };
    url.split(',').map(server).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        assert_eq!(redacted("nats://a:b@h:4222"), "nats://h:4222");
        assert_eq!(redacted("nats://h:4222,nats://u:p@i:1"), "nats://h:4222,nats://i:1");
    }

    #[test]
    fn reconnecting_never_waits_longer_than_two_seconds() {
        assert_eq!(reconnect_delay(1), Duration::from_millis(100));
        assert_eq!(reconnect_delay(500), Duration::from_secs(2));
    }
}

//! Reaching the broker: patiently for a role, at once for a command.

use std::time::{Duration, Instant};

use crate::app::Failure;
use crate::bus::{Bus, BusError};
use crate::clock;
use crate::config::Settings;

/// A fleet's servers may still be starting: this long they are waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// Connects to the broker, waiting for one that is still starting.
///
/// # Errors
/// One sentence when it cannot be reached or used.
pub async fn connect(settings: &Settings, name: &str) -> Result<Bus, Failure> {
    let url = settings.nats_url();
    until_reachable("NATS", || Bus::connect(&settings.nats, settings.keep, &url, name)).await
}

/// Connects for a command: somebody sits in front of it and waits.
///
/// # Errors
/// One sentence when it cannot be reached or used.
pub async fn connect_now(settings: &Settings) -> Result<Bus, Failure> {
    let url = settings.nats_url();
    let failed = |error: BusError| {
        if matches!(error, BusError::Credentials(_)) { Failure::config(error) } else { Failure::run(error) }
    };
    Bus::connect(&settings.nats, settings.keep, &url, "cli").await.map_err(failed)
}

/// Does what needs the broker, again and again while it is away.
///
/// # Errors
/// One sentence when it stays away, or when trying again would not help.
pub(super) async fn until_reachable<T, W: Future<Output = Result<T, BusError>>>(
    what: &str,
    work: impl Fn() -> W,
) -> Result<T, Failure> {
    let started = Instant::now();
    loop {
        match work().await {
            Ok(done) => return Ok(done),
            Err(error @ (BusError::TooOld { .. } | BusError::NoJetStream { .. })) => {
                return Err(Failure::run(error));
            }
            Err(error @ BusError::Credentials(_)) => return Err(Failure::config(error)),
            Err(error) if started.elapsed() > PATIENCE => return Err(Failure::run(error)),
            Err(error) => {
                tracing::warn!(%error, "{what} is not ready yet");
                clock::sleep(TRY_AGAIN).await;
            }
        }
    }
}

//! Time and chance, the only door to both. Pure code gets them as arguments.

use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use jiff::Timestamp;
use rustls::crypto::ring;

/// The wall clock, in whole milliseconds: what the history stores.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one door to the clock")]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// Sleeps. For back-offs of loops and the last moment before a slot; every promise is a timer of the broker.
#[expect(clippy::disallowed_methods, reason = "the one door to sleeping")]
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// A random number from 0 to 1.
#[must_use]
pub fn chance() -> f64 {
    fastrand::f64()
}

/// A duration within a quarter of `base`, so that a fleet does not act in step.
#[must_use]
pub fn jittered(base: Duration) -> Duration {
    base.mul_f64(0.75 + chance() / 2.0)
}

/// A new id that nobody can guess or meet again.
#[must_use]
pub fn random_id() -> String {
    BASE32_NOPAD.encode(&random::<15>()).to_ascii_lowercase()
}

/// Randomness that nobody can guess, from the system.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = ring::default_provider().secure_random.fill(&mut bytes);
    // Without randomness no secret can be made: better no process than a guessable token.
    if filled.is_err() {
        std::process::abort();
    }
    bytes
}

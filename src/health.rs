//! What a process knows about its own health: `/readyz` and the exit code are made from it.
//!
//! Each loop has a pulse. Trouble that lasts longer than a moment makes the process unready; it recovers by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::bus::Bus;

/// Shorter trouble is a reconnect, not an outage.
const TROUBLE_MAX: Duration = Duration::from_secs(15);

const LEAVE_MAX: Duration = Duration::from_secs(1);

/// The health of one process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health {
    loops: Arc<Mutex<Vec<Pulse>>>,
    bus: Arc<Mutex<Option<Bus>>>,
}

/// The pulse of one loop.
#[derive(Clone)]
pub struct Pulse {
    name: Arc<str>,
    /// When the trouble began.
    trouble_since: Arc<Mutex<Option<Instant>>>,
    started: Arc<std::sync::atomic::AtomicBool>,
}

impl Pulse {
    /// All is well.
    pub fn beat(&self) {
        self.started.store(true, std::sync::atomic::Ordering::Relaxed);
        *lock(&self.trouble_since) = None;
    }

    /// The pulse of a loop whose trouble is no reason to be unready: it has an alarm of its own.
    #[must_use]
    pub fn aside(name: &str) -> Self {
        Self { name: name.into(), trouble_since: Arc::default(), started: Arc::default() }
    }

    /// Something is wrong; when it began is remembered.
    pub fn trouble(&self) {
        lock(&self.trouble_since).get_or_insert_with(Instant::now);
    }

    fn complaint(&self) -> Option<String> {
        if !self.started.load(std::sync::atomic::Ordering::Relaxed) {
            return Some(format!("{} has not started", self.name));
        }
        let since = (*lock(&self.trouble_since))?;
        (since.elapsed() > TROUBLE_MAX)
            .then(|| format!("{} is in trouble for {} s", self.name, since.elapsed().as_secs()))
    }
}

impl Health {
    /// A loop that must beat before the process is ready.
    #[must_use]
    pub fn pulse(&self, name: &str) -> Pulse {
        let pulse = Pulse { name: name.into(), trouble_since: Arc::default(), started: Arc::default() };
        lock(&self.loops).push(pulse.clone());
        pulse
    }

    pub fn watch_bus(&self, bus: &Bus) {
        *lock(&self.bus) = Some(bus.clone());
    }

    /// Lets go of the broker: what was queued for it is sent first, and its end afterwards is no news.
    pub async fn leave_bus(&self) {
        let bus = lock(&self.bus).take();
        if let Some(bus) = bus
            && !matches!(tokio::time::timeout(LEAVE_MAX, bus.client().drain()).await, Ok(Ok(())))
        {
            tracing::debug!("the connection to NATS was not closed in order");
        }
    }

    /// What keeps this process from being ready; empty when nothing does.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<String> = lock(&self.loops).iter().filter_map(Pulse::complaint).collect();
        match &*lock(&self.bus) {
            None => complaints.push("not connected to NATS yet".to_owned()),
            Some(bus) if !bus.is_connected() => complaints.push("NATS is away".to_owned()),
            Some(_) => {}
        }
        complaints
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

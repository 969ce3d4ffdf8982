//! Channels on which nothing works, known to the whole fleet: nobody sends through one, but for a probe now and then.
//!
//! Each worker counts its own tries; the one that has seen enough opens the circuit for all, by compare and swap. Whoever
//! moved it tells the world (`channel:unhealthy`, `channel:recovered`), so that it is told once. A try that works closes it.

pub mod account;
pub mod state;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use self::state::{Circuit, Evidence, Mode, Passage, Run, evidence};
use super::after;
use crate::bus::directory::Directory;
use crate::bus::reader::{Entry, From, Reader};
use crate::bus::{Bus, BusError, StreamName, claim, topology};
use crate::channel::ChannelSpec;
use crate::channel::standing::digest_of;
use crate::clock;
use crate::config::Keep;
use crate::connection::ConnectionSpec;
use crate::delivery::Delivery;
use crate::health::Pulse;
use crate::ids::{ChannelId, WorkspaceId, digest};
use crate::metrics;
use crate::outcome::Outcome;
use crate::own_events::unhealthy::{Turn, tell};
use crate::task;

const AFTER_TROUBLE: Duration = Duration::from_millis(500);
const BATCH_MAX: usize = 1_000;
/// An open circuit that nobody sends through is forgotten this long after its next probe would have been.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// While a probe runs the others come back soon: it may be over in a moment.
const WHILE_PROBED: Duration = Duration::from_secs(2);
/// Those who were held back come back one behind the other, so many a second and worker.
const BACK_PER_SECOND: f64 = 50.0;

type Key = (WorkspaceId, ChannelId);

/// How long the broker remembers it.
fn kept(circuit: &Circuit) -> Duration {
    let until = circuit.next_probe_at.duration_since(clock::now());
    Duration::try_from(until).unwrap_or_default() + KEPT_FOR
}

/// The circuits as this process knows them, and what its own tries came to.
pub struct Circuits {
    bus: Bus,
    directory: Arc<Directory>,
    known: RwLock<HashMap<Key, Known>>,
    runs: Mutex<HashMap<Key, Run>>,
    /// Nearly always there is nothing to look at.
    any_known: AtomicBool,
    any_runs: AtomicBool,
}

struct Known {
    circuit: Circuit,
    sequence: u64,
    /// How many were held back since it changed last.
    held: AtomicU64,
}

/// The right to make the one try.
pub struct Probe(Circuit, u64);

/// What there is to know of a try beside its outcome.
pub struct TryEnd {
    pub probe: Option<Probe>,
    /// It went to an address of the recipient's own.
    pub own_address: bool,
    /// Of several devices some have it, whatever became of the others.
    pub some_reached: bool,
}

/// How a channel stands, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitView {
    pub state: Mode,
    /// Since when nothing works.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub next_probe_at: Option<Timestamp>,
}

/// How a channel stands now.
///
/// # Errors
/// When the broker does not answer.
pub async fn read(bus: &Bus, workspace: &WorkspaceId, channel: &ChannelId) -> Result<CircuitView, BusError> {
    let subject = bus.names.circuit(workspace, channel);
    let found = claim::last_in::<Circuit>(bus, StreamName::Pace, &subject).await?;
    Ok(match found {
        Some((circuit, _)) if circuit.mode != Mode::Closed => CircuitView {
            state: circuit.mode,
            since: Some(circuit.since),
            next_probe_at: Some(circuit.next_probe_at),
        },
        Some(_) | None => CircuitView { state: Mode::Closed, since: None, next_probe_at: None },
    })
}

impl Circuits {
    /// Follows the fleet's circuits until `stop`.
    #[must_use]
    pub fn start(
        bus: Bus,
        directory: Arc<Directory>,
        keep: Keep,
        stop: CancellationToken,
        pulse: Pulse,
    ) -> Arc<Self> {
        let circuits = Arc::new(Self {
            bus,
            directory,
            known: RwLock::default(),
            runs: Mutex::default(),
            any_known: AtomicBool::new(false),
            any_runs: AtomicBool::new(false),
        });
        let following = Arc::clone(&circuits);
        task::spawn("circuits", async move {
            tokio::select! {
                () = following.follow(&keep, &pulse) => {}
                () = stop.cancelled() => {}
            }
        });
        circuits
    }

    /// What the channel's circuit means for a delivery. Who is held back is given a moment to come back.
    #[must_use]
    pub fn passage(&self, workspace: &WorkspaceId, spec: &ChannelSpec, now: Timestamp) -> Passage {
        if !self.any_known.load(Ordering::Relaxed) {
            return Passage::Free;
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = known.get(&(workspace.clone(), spec.id.clone())) else { return Passage::Free };
        match found.circuit.passage(&self.document(workspace, spec), now) {
            Passage::ClosedUntil(until) => {
                let soon = match found.circuit.mode {
                    Mode::HalfOpen => after(now, WHILE_PROBED).min(until),
                    Mode::Open | Mode::Closed => until,
                };
                #[expect(clippy::cast_precision_loss, reason = "a wait")]
                let place = found.held.fetch_add(1, Ordering::Relaxed) as f64 / BACK_PER_SECOND;
                Passage::ClosedUntil(after(soon, Duration::from_secs_f64(place)))
            }
            passage @ (Passage::Free | Passage::Probe) => passage,
        }
    }

    /// True when nothing is sent through the channel now.
    #[must_use]
    pub fn is_open(&self, workspace: &WorkspaceId, channel: &ChannelId) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.contains_key(&(workspace.clone(), channel.clone()))
    }

    /// Takes the one try on, unless somebody else does.
    ///
    /// # Errors
    /// When the broker did not answer.
    pub async fn probe(
        &self,
        delivery: &Delivery,
        spec: &ChannelSpec,
        now: Timestamp,
    ) -> Result<Option<Probe>, BusError> {
        let key = (delivery.workspace.clone(), delivery.channel.clone());
        let Some((circuit, sequence)) = self.get(&key) else { return Ok(None) };
        let document = self.document(&key.0, spec);
        if circuit.passage(&document, now) != Passage::Probe {
            return Ok(None);
        }
        let probing = circuit.probing(document, now);
        let sequence = self.put(&key, &probing, sequence).await?;
        Ok(sequence.map(|sequence| Probe(probing, sequence)))
    }

    /// Takes note of a try's end.
    pub async fn note(&self, delivery: &Delivery, spec: &ChannelSpec, outcome: &Outcome, end: TryEnd) {
        let evidence = if end.some_reached {
            Evidence::Works
        } else {
            evidence(outcome.state, outcome.reason, end.own_address)
        };
        let idle = !self.any_known.load(Ordering::Relaxed) && !self.any_runs.load(Ordering::Relaxed);
        if evidence == Evidence::Works && idle && end.probe.is_none() {
            return;
        }
        let done = match (evidence, end.probe) {
            (Evidence::Works, _) => Box::pin(self.works(outcome)).await,
            (Evidence::Fails, Some(probe)) => Box::pin(self.fails_again(outcome, &probe)).await,
            (Evidence::Fails, None) => Box::pin(self.fails(spec, outcome)).await,
            (Evidence::Nothing, Some(probe)) => Box::pin(self.release(delivery, &probe, outcome.at)).await,
            (Evidence::Nothing, None) => Ok(()),
        };
        if let Err(error) = done {
            tracing::warn!(channel = %outcome.channel, %error, "how a channel stands was not told");
        }
    }

    /// It told nothing about the channel: the next one shows.
    ///
    /// # Errors
    /// When the broker did not answer.
    pub async fn release(&self, delivery: &Delivery, probe: &Probe, now: Timestamp) -> Result<(), BusError> {
        let key = (delivery.workspace.clone(), delivery.channel.clone());
        self.put(&key, &probe.0.released(now), probe.1).await.map(drop)
    }

    async fn works(&self, outcome: &Outcome) -> Result<(), BusError> {
        let key = key_of(outcome);
        self.forget_run(&key);
        let Some((mut circuit, mut sequence)) = self.get(&key) else { return Ok(()) };
        for _ in 0..claim::LOOKS_MAX {
            if self.put(&key, &circuit.closed(outcome.at), sequence).await?.is_some() {
                return tell(&self.bus, outcome, Turn::Recovered).await;
            }
            match self.get(&key) {
                Some(found) => (circuit, sequence) = found,
                // Another try worked.
                None => return Ok(()),
            }
        }
        Err(claim::contended())
    }

    async fn fails_again(&self, outcome: &Outcome, probe: &Probe) -> Result<(), BusError> {
        let (circuit, again) = probe.0.failed(outcome.at);
        let moved = self.put(&key_of(outcome), &circuit, probe.1).await?;
        if moved.is_some() && again {
            let turn = Turn::Unhealthy { since: circuit.since, tries: circuit.probes };
            return tell(&self.bus, outcome, turn).await;
        }
        Ok(())
    }

    async fn fails(&self, spec: &ChannelSpec, outcome: &Outcome) -> Result<(), BusError> {
        let key = key_of(outcome);
        if self.get(&key).is_some() {
            // On its way before the circuit was open.
            return Ok(());
        }
        let enough = {
            let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
            self.any_runs.store(true, Ordering::Relaxed);
            let run = runs.entry(key.clone()).or_insert_with(|| Run::new(outcome.at));
            run.failed(outcome.at).then_some(*run)
        };
        let Some(Run { since, tries }) = enough else { return Ok(()) };
        let circuit = Circuit::opened(outcome.kind, self.document(&key.0, spec), since, outcome.at);
        let subject = self.bus.names.circuit(&key.0, &key.1);
        let sequence = match claim::last_in::<Circuit>(&self.bus, StreamName::Pace, &subject).await? {
            Some((found, sequence)) if found.mode != Mode::Closed => {
                self.learn(&key, found, sequence);
                return Ok(());
            }
            Some((_, sequence)) => sequence,
            None => 0,
        };
        if self.put(&key, &circuit, sequence).await?.is_some() {
            return tell(&self.bus, outcome, Turn::Unhealthy { since, tries }).await;
        }
        Ok(())
    }

    /// None when somebody else was first; what they did is known then.
    async fn put(&self, key: &Key, circuit: &Circuit, expected: u64) -> Result<Option<u64>, BusError> {
        let subject = self.bus.names.circuit(&key.0, &key.1);
        match claim::put(&self.bus, &subject, circuit, Some(kept(circuit)), expected).await {
            Ok(sequence) => {
                self.learn(key, circuit.clone(), sequence);
                Ok(Some(sequence))
            }
            Err(BusError::Conflict) => {
                match claim::last_in::<Circuit>(&self.bus, StreamName::Pace, &subject).await? {
                    Some((found, sequence)) => self.learn(key, found, sequence),
                    None => self.forget(key),
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn document(&self, workspace: &WorkspaceId, spec: &ChannelSpec) -> String {
        document(spec, self.directory.snapshot().connection_of(workspace, spec).map(Arc::as_ref))
    }

    fn get(&self, key: &Key) -> Option<(Circuit, u64)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(key).map(|known| (known.circuit.clone(), known.sequence))
    }

    fn forget_run(&self, key: &Key) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.remove(key);
        self.any_runs.store(!runs.is_empty(), Ordering::Relaxed);
    }

    fn forget(&self, key: &Key) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(key);
        self.count(&known);
    }

    fn learn(&self, key: &Key, circuit: Circuit, sequence: u64) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.get(key).is_some_and(|found| found.sequence >= sequence) {
            return;
        }
        // What was counted before counts no more.
        self.forget_run(key);
        if circuit.mode == Mode::Closed {
            known.remove(key);
        } else {
            known.insert(key.clone(), Known { circuit, sequence, held: AtomicU64::new(0) });
        }
        self.count(&known);
    }

    fn count(&self, known: &HashMap<Key, Known>) {
        self.any_known.store(!known.is_empty(), Ordering::Relaxed);
        metrics::circuits_open(known.values().filter_map(|known| known.circuit.kind));
    }

    async fn follow(&self, keep: &Keep, pulse: &Pulse) {
        let mut reader = None;
        loop {
            let step = async {
                let mut open = match reader.take() {
                    Some(open) => open,
                    None => self.open(keep).await?,
                };
                for entry in open.next(BATCH_MAX).await? {
                    self.hear(&entry);
                }
                Ok::<Reader, BusError>(open)
            };
            match step.await {
                Ok(open) => {
                    pulse.beat();
                    reader = Some(open);
                }
                Err(error) => {
                    pulse.trouble();
                    tracing::warn!(%error, "the fleet's circuits are not followed at the moment");
                    clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
                }
            }
        }
    }

    /// What is not there any more is forgotten: it was closed meanwhile.
    async fn open(&self, keep: &Keep) -> Result<Reader, BusError> {
        topology::ensure_stream(&self.bus, StreamName::Pace, keep).await?;
        let filter = self.bus.names.circuit_filter();
        let reader = Reader::open(&self.bus, StreamName::Pace, filter, From::LastPerSubject).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.clear();
        self.count(&known);
        drop(known);
        Ok(reader)
    }

    fn hear(&self, entry: &Entry) {
        let circuit = serde_json::from_slice::<Circuit>(&entry.payload).ok();
        if let (Some(key), Some(circuit)) = (self.bus.names.circuit_channel(&entry.subject), circuit) {
            self.learn(&key, circuit, entry.sequence);
        } else {
            tracing::warn!(subject = entry.subject, "a circuit that cannot be read");
        }
    }
}

/// Other settings are worth a try at once, those of the connection too.
fn document(spec: &ChannelSpec, connection: Option<&ConnectionSpec>) -> String {
    digest(&[&serde_json::to_string(spec).unwrap_or_default(), &digest_of(spec, connection)])
}

fn key_of(outcome: &Outcome) -> Key {
    (outcome.workspace.clone(), outcome.channel.clone())
}

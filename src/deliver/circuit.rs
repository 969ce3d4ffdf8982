//! Channels on which nothing works, known to the whole fleet: nobody sends through one, but for a probe now and then.
//!
//! Each worker counts its own tries; the one that has seen enough opens the circuit for all, by compare and swap. Whoever
//! moves it tells the world first (`channel:unhealthy`, `channel:recovered`). A try that works closes it.

pub mod account;
mod gone;
mod moves;
pub mod state;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use self::state::{Circuit, Evidence, Mode, Passage, Run, Whose, evidence};
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
use crate::task;

const AFTER_TROUBLE: Duration = Duration::from_millis(500);
const BATCH_MAX: usize = 1_000;
/// While a probe runs the others come back soon: it may be over in a moment.
const WHILE_PROBED: Duration = Duration::from_secs(2);
/// Those who were held back come back one behind the other, so many a second and worker.
const BACK_PER_SECOND: f64 = 50.0;

type Key = (WorkspaceId, ChannelId);

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
    pub whose: Whose,
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

    /// The same for a delivery that may come to the channel: nobody is held back.
    #[must_use]
    pub fn look(&self, workspace: &WorkspaceId, spec: &ChannelSpec, now: Timestamp) -> Passage {
        let found = self.get(&(workspace.clone(), spec.id.clone()));
        found.map_or(Passage::Free, |(circuit, _)| circuit.passage(&self.document(workspace, spec), now))
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
            evidence(outcome.state, outcome.reason, end.whose)
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

    fn document(&self, workspace: &WorkspaceId, spec: &ChannelSpec) -> String {
        document(spec, self.directory.snapshot().connection_of(workspace, spec).map(Arc::as_ref))
    }

    fn get(&self, key: &Key) -> Option<(Circuit, u64)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(key).map(|known| (known.circuit.clone(), known.sequence))
    }

    /// What the worker's own tries came to, when that is enough.
    fn count_failure(&self, key: &Key, at: Timestamp) -> Option<Run> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        self.any_runs.store(true, Ordering::Relaxed);
        let run = runs.entry(key.clone()).or_insert_with(|| Run::new(at));
        run.failed(at).then_some(*run)
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
        let moved = if circuit.mode == Mode::Closed {
            known.remove(key).is_some()
        } else {
            known.insert(key.clone(), Known { circuit, sequence, held: AtomicU64::new(0) });
            true
        };
        if moved {
            // What was counted before counts no more.
            self.forget_run(key);
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
                self.forget_those_over(clock::now());
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

    /// The broker forgets without a word.
    fn forget_those_over(&self, now: Timestamp) {
        if !self.any_known.load(Ordering::Relaxed) {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| !known.circuit.is_over(now));
        self.count(&known);
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

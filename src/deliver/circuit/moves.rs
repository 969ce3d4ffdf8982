//! What moves a circuit: tries that show that nothing works on a channel, or that something does again.
//!
//! It is told first and stored then, under an id made of what was stored before: who is killed in between leaves it to the
//! next one to do both again, and of several who find out the same each tells the same event.

use super::state::{Circuit, Mode, Run};
use super::{Circuits, Key, Probe, key_of};
use crate::bus::{Bus, BusError, StreamName, claim};
use crate::channel::ChannelSpec;
use crate::clock;
use crate::outcome::Outcome;
use crate::own_events::unhealthy::{Turn, tell};

impl Circuits {
    pub(super) async fn works(&self, outcome: &Outcome) -> Result<(), BusError> {
        let key = key_of(outcome);
        self.forget_run(&key);
        let Some((mut circuit, mut sequence)) = self.get(&key) else { return Ok(()) };
        tell(&self.bus, outcome, Turn::Recovered, circuit.since).await?;
        for _ in 0..claim::LOOKS_MAX {
            if self.put(&key, &circuit.closed(outcome.at), sequence).await?.is_some() {
                return Ok(());
            }
            match self.get(&key) {
                Some(found) => (circuit, sequence) = found,
                // Another try worked.
                None => return Ok(()),
            }
        }
        Err(claim::contended())
    }

    pub(super) async fn fails_again(&self, outcome: &Outcome, probe: &Probe) -> Result<(), BusError> {
        let Probe(before, sequence) = probe;
        let (circuit, again) = before.failed(outcome.at);
        if again {
            let turn = Turn::Unhealthy { since: circuit.since, tries: circuit.probes };
            tell(&self.bus, outcome, turn, before.said).await?;
        }
        self.put(&key_of(outcome), &circuit, *sequence).await.map(drop)
    }

    pub(super) async fn fails(&self, spec: &ChannelSpec, outcome: &Outcome) -> Result<(), BusError> {
        let key = key_of(outcome);
        if self.get(&key).is_some() {
            // On its way before the circuit was open.
            return Ok(());
        }
        let Some(Run { since, tries }) = self.count_failure(&key, outcome.at) else { return Ok(()) };
        let opened = Circuit::opened(outcome.kind, self.document(&key.0, spec), since, outcome.at);
        let subject = self.bus.names.circuit(&key.0, &key.1);
        let (before, sequence) = stored(&self.bus, &subject, &opened).await?;
        if before.mode != Mode::Closed {
            self.learn(&key, before, sequence);
            return Ok(());
        }
        tell(&self.bus, outcome, Turn::Unhealthy { since, tries }, before.since).await?;
        self.put(&key, &opened, sequence).await.map(drop)
    }

    /// None when somebody else was first; what they did is known then.
    pub(super) async fn put(
        &self,
        key: &Key,
        circuit: &Circuit,
        expected: u64,
    ) -> Result<Option<u64>, BusError> {
        let subject = self.bus.names.circuit(&key.0, &key.1);
        match claim::put(&self.bus, &subject, circuit, Some(circuit.kept(clock::now())), expected).await {
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
}

/// The circuit as it is before it is opened, with its sequence. Where nothing is known a closed one is stored first: it gives a
/// name to what follows, the same for all who find it.
pub(super) async fn stored(bus: &Bus, subject: &str, opened: &Circuit) -> Result<(Circuit, u64), BusError> {
    for _ in 0..claim::LOOKS_MAX {
        if let Some(found) = claim::last_in::<Circuit>(bus, StreamName::Pace, subject).await? {
            return Ok(found);
        }
        let now = clock::now();
        let closed = opened.closed(now);
        match claim::put(bus, subject, &closed, Some(closed.kept(now)), 0).await {
            Ok(sequence) => return Ok((closed, sequence)),
            Err(BusError::Conflict) => claim::again().await,
            Err(error) => return Err(error),
        }
    }
    Err(claim::contended())
}

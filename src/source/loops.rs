//! One loop for each source that reads NATS, in every router: begun, changed and ended as the documents change.
//!
//! A source that cannot be attached is an alarm and no end of the process. Routers share a source's consumer; whoever
//! sees a source go lets go of its stream, a moment later, so that no router still reads it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::book::SourceKey;
use super::intake::Intake;
use super::{Begin, Source, SourceSpec};
use crate::bus::attach::{self, Attachment};
use crate::bus::consumer::{self, Origin, Slots, Stop};
use crate::bus::directory::Directory;
use crate::bus::{Bus, BusError, floor};
use crate::clock;
use crate::documents::Key;
use crate::health::Pulse;
use crate::metrics::Unattached;
use crate::shelf::{self, Version};

/// Messages of one source in hand at once.
const SLOTS: usize = 64;
/// Between two looks at a source that cannot be attached.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(15);
/// Every router has seen by then that a source is gone.
const LETTING_GO: Duration = Duration::from_secs(2);

/// The loops of a process.
pub struct Sources {
    bus: Bus,
    directory: Arc<Directory>,
    stop: Stop,
    running: HashMap<SourceKey, Running>,
    /// What each source looked like when its old streams were let go of last; None: it was gone.
    tidied: HashMap<SourceKey, Option<SourceSpec>>,
    all: TaskTracker,
}

struct Running {
    source: Arc<Source>,
    soft: CancellationToken,
    /// Closed at once: it is empty when the loop has finished what it had in hand.
    done: TaskTracker,
}

impl Sources {
    #[must_use]
    pub fn new(bus: Bus, directory: Arc<Directory>, stop: Stop) -> Self {
        let (running, tidied) = (HashMap::new(), HashMap::new());
        Self { bus, directory, stop, running, tidied, all: TaskTracker::new() }
    }

    /// Runs until the process stops, and waits for what is in hand.
    pub async fn follow(mut self) {
        let mut changes = self.directory.changes();
        loop {
            changes.mark_unchanged();
            self.reconcile();
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = self.stop.soft.cancelled() => break,
            }
        }
        self.all.close();
        self.all.wait().await;
    }

    fn reconcile(&mut self) {
        let book = Arc::clone(&self.directory.snapshot().sources);
        let same = |running: &Running, key: &SourceKey| {
            book.get(key).is_some_and(|source| source.is_attached() && source.spec == running.source.spec)
        };
        let ended: Vec<SourceKey> = self
            .running
            .iter()
            .filter(|(key, running)| !same(running, key))
            .map(|(key, _)| key.clone())
            .collect();
        let mut before = HashMap::new();
        for key in ended {
            if let Some(running) = self.running.remove(&key) {
                running.soft.cancel();
                before.insert(key, running.done);
            }
        }
        for (key, source) in book.iter().filter(|(_, source)| source.is_attached()) {
            if !self.running.contains_key(key) {
                let running = self.start(source, before.remove(key));
                self.running.insert(key.clone(), running);
            }
        }
        let there = book.iter().map(|(key, source)| (key, Some(&source.spec)));
        for (key, spec) in there.chain(book.removed().map(|key| (key, None))) {
            if self.tidied.get(key).map(Option::as_ref) != Some(spec) {
                self.tidied.insert(key.clone(), spec.cloned());
                self.tidy_up(key.clone());
            }
        }
    }

    fn start(&self, source: &Arc<Source>, before: Option<TaskTracker>) -> Running {
        let (soft, done) = (self.stop.soft.child_token(), TaskTracker::new());
        let stop = Stop { soft: soft.clone(), hard: self.stop.hard.clone() };
        let (bus, own) = (self.bus.clone(), Arc::clone(source));
        let work = done.track_future(async move {
            if let Some(before) = before {
                before.wait().await;
            }
            read_until(bus, own, stop).await;
        });
        done.close();
        self.all.spawn(work);
        Running { source: Arc::clone(source), soft, done }
    }

    /// Lets go of the streams that a source read before, as its last versions say.
    fn tidy_up(&self, key: SourceKey) {
        let (bus, stop) = (self.bus.clone(), self.stop.soft.clone());
        self.all.spawn(async move {
            let work = async {
                loop {
                    clock::sleep(clock::jittered(LETTING_GO)).await;
                    match let_go(&bus, &key).await {
                        Ok(()) => return,
                        Err(error) => tracing::warn!(source = %key.1, %error, "what a source read before is still attached"),
                    }
                }
            };
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// What counts is what the bucket says now: this process may be behind.
async fn let_go(bus: &Bus, (workspace, id): &SourceKey) -> Result<(), BusError> {
    let key = Key::Source(workspace.clone(), id.clone());
    let versions = shelf::versions(bus, &key).await?;
    let newest = versions.first().map(|version| version.revision);
    let attachment = |version: &Version| {
        let document = version.document.as_ref()?;
        let spec: SourceSpec = serde_json::from_value(document.spec.clone()).ok()?;
        Some(Attachment::of(bus, workspace, id, spec.nats.as_ref()?))
    };
    let now = versions.first().and_then(attachment);
    let mut let_go: Vec<String> = now.iter().map(|now| now.stream.clone()).collect();
    for old in versions.iter().skip(1).filter_map(attachment) {
        if !let_go.contains(&old.stream) {
            if shelf::versions(bus, &key).await?.first().map(|version| version.revision) != newest {
                return Err(BusError::Request("it was changed meanwhile".to_owned()));
            }
            if attach::detach(bus, &old).await? {
                tracing::info!(source = %id, stream = old.stream, "a source let go of its stream");
            }
            let_go.push(old.stream);
        }
    }
    Ok(())
}

/// Reads a source until it is told to stop, and says once what stands in the way.
async fn read_until(bus: Bus, source: Arc<Source>, stop: Stop) {
    let Some(spec) = &source.spec.nats else { return };
    let name = source.name();
    let mut attachment = Arc::new(Attachment::of(&bus, &source.workspace, &source.spec.id, spec));
    let (mut said, mut alarm, mut wait) = (String::new(), None, WAIT_MIN);
    while !stop.soft.is_cancelled() {
        let attached = async {
            if let Some(why) = attach::forbidden(&bus, spec) {
                return Err(BusError::Request(why));
            }
            attach::attach(&bus, &attachment).await.map(drop)
        };
        let attached = tokio::select! {
            attached = attached => attached,
            () = stop.soft.cancelled() => return,
        };
        match attached {
            Ok(()) => {
                (said, alarm, wait) = (String::new(), None, WAIT_MIN);
                tracing::info!(source = name, stream = attachment.stream, "source attached");
                consume(&bus, &source, &attachment, &stop).await;
            }
            Err(error) => {
                alarm = alarm.or_else(|| Some(Unattached::new()));
                if attach::is_missing(&bus, &attachment).await {
                    // Whatever it holds when there is one is new.
                    attachment = Arc::new(Attachment { begin: Begin::All, ..Attachment::clone(&attachment) });
                }
                let error = error.to_string();
                if error != said && bus.is_connected() {
                    tracing::error!(source = name, error, "a source cannot be attached");
                    said = error;
                }
                tokio::select! {
                    () = clock::sleep(clock::jittered(wait)) => {}
                    () = stop.soft.cancelled() => {}
                }
                wait = (wait * 2).min(WAIT_MAX);
            }
        }
    }
    drop(alarm);
}

async fn consume(bus: &Bus, source: &Arc<Source>, attachment: &Arc<Attachment>, stop: &Stop) {
    let keeping = stop.soft.child_token();
    floor::keep_in(bus.clone(), attachment.stream.clone(), attachment.durable.clone(), keeping.clone());
    let from = consumer::Source {
        origin: Origin::Attached(Arc::clone(attachment)),
        durable: attachment.durable.as_str().into(),
        slots: Slots::new(SLOTS),
        gate: None,
    };
    let handler = Arc::new(Intake { bus: bus.clone(), source: Arc::clone(source) });
    let pulse = Pulse::aside(&attachment.durable);
    consumer::run(bus.clone(), bus.keep, from, handler, stop.clone(), pulse).await;
    keeping.cancel();
}

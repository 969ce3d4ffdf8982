//! The fleet under fire: its processes, the servers below it, and the faults that strike them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::elections::Elections;
use super::log::{Struck, now_ms};
use super::plan::{Fault, Planned, consumer, explains};
use super::sink::{STRUCK, Sink};
use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Member, Role};
use crate::support::database::Database;
use crate::support::postgres::{self, Cluster};
use crate::support::wire::Wire;
use crate::support::{LATER, ensure, eventually, pause};

/// Two routers, three workers, two recorders, two APIs.
const MEMBERS: [(Role, usize); 4] =
    [(Role::Router, 2), (Role::Worker, 3), (Role::Recorder, 2), (Role::Api, 2)];
/// Between the deaths of two leaders.
const NEXT_LEADER: Duration = Duration::from_millis(700);
/// Between two looks at who ended and what is due.
const LOOK: Duration = Duration::from_millis(50);
/// The broker's answers to the harness itself.
const PATIENCE: Duration = Duration::from_secs(3);
/// So long after a server is back its clients may still be finding it.
pub const RECONNECT_MS: u64 = 3_000;

/// A place in the fleet.
struct Slot {
    role: Role,
    member: Option<Member>,
    /// A fault holds it.
    struck: bool,
}

pub struct Fleet {
    pub bugle: Bugle,
    pub sink: Sink,
    pub postgres: Arc<Cluster>,
    pub wire: Wire,
    struck: Vec<Struck>,
    /// Processes that ended without being told to, with their exit codes.
    pub fell: Vec<(String, i32)>,
    pub database: String,
    /// In a cluster.
    elections: Option<Elections>,
    brokers: Vec<NatsServer>,
    broker_struck: Vec<bool>,
    database_struck: bool,
    slots: Vec<Slot>,
    /// When the fault that begins really struck: some look for their victim first.
    struck_at: u64,
    /// Told to end.
    leaving: Vec<Member>,
    undo: Vec<(Instant, usize, Undo)>,
}

/// What ends a fault.
enum Undo {
    Start(usize),
    Thaw(usize),
    Retire(usize),
    StartBrokers(Vec<usize>),
    ThawBroker(usize),
    StartDatabase,
    Calm(&'static str),
}

impl Fleet {
    /// None where Postgres cannot be had and is not required.
    pub async fn start(nodes: usize, documents: impl FnOnce(&str) -> Value) -> Option<Self> {
        let postgres = Arc::new(tokio::task::spawn_blocking(postgres::private).await.unwrap()?);
        let database = postgres.fresh_database();
        let brokers =
            if nodes == 1 { vec![NatsServer::start().await] } else { NatsServer::cluster(nodes).await };
        let urls: Vec<String> = brokers.iter().map(NatsServer::url).collect();
        let bugle = Bugle::at(urls.join(","), Database::Postgres(database.clone()));
        if nodes > 1 {
            bugle.set("NATS__REPLICAS", "3");
        }
        let wire = bugle.wire().await;
        eventually("JetStream has a leader", LATER, async || {
            let account = tokio::time::timeout(PATIENCE, wire.js.query_account()).await;
            ensure(matches!(account, Ok(Ok(_))), format!("{account:?}"))
        })
        .await;
        let elections = if nodes > 1 { Some(Elections::listen(&urls, &wire).await) } else { None };
        let sink = Sink::start().await;
        bugle.cli(&["setup"]).await.ok();
        bugle.apply_without(&["nowhere"], &documents(&sink.url())).await;
        let mut slots = Vec::new();
        for (role, count) in MEMBERS {
            slots.extend((0..count).map(|_| Slot { role, member: Some(bugle.spawn(role)), struck: false }));
        }
        for slot in &mut slots {
            slot.member.as_mut().unwrap().until_ready(LATER).await;
        }
        let broker_struck = vec![false; brokers.len()];
        Some(Self {
            bugle,
            sink,
            postgres,
            wire,
            database,
            elections,
            brokers,
            broker_struck,
            slots,
            struck_at: 0,
            struck: Vec::new(),
            fell: Vec::new(),
            database_struck: false,
            leaving: Vec::new(),
            undo: Vec::new(),
        })
    }

    /// What struck: the faults, and what the cluster did by itself.
    pub fn faults(&self) -> Vec<Struck> {
        let elections = self.elections.iter().flat_map(Elections::struck);
        self.struck.iter().cloned().chain(elections).collect()
    }

    /// What the servers said, by their names.
    pub fn broker_logs(&self) -> impl Iterator<Item = (String, String)> {
        self.brokers.iter().map(|broker| (broker.name.clone(), broker.log()))
    }

    pub fn api_ports(&self) -> Vec<u16> {
        self.slots.iter().filter_map(|slot| slot.member.as_ref()?.api_port).collect()
    }

    /// Lets the faults strike at their times, and ends each.
    pub async fn suffer(&mut self, plan: &[Planned], span: Duration) {
        let began = Instant::now();
        let mut plan = plan.iter().peekable();
        // Whatever has nothing left to strike waits until it has.
        let mut waiting: Vec<&Planned> = Vec::new();
        while began.elapsed() < span {
            while let Some(planned) = plan.next_if(|planned| planned.at <= began.elapsed()) {
                waiting.push(planned);
            }
            let mut still = Vec::new();
            for planned in waiting {
                if !self.strike(planned).await {
                    still.push(planned);
                }
            }
            waiting = still;
            self.end_what_is_due(Instant::now());
            self.watch();
            pause(LOOK).await;
        }
    }

    /// Ends every fault, and waits until all are ready.
    pub async fn heal(&mut self) {
        while let Some((_, struck, undo)) = self.undo.pop() {
            self.end(struck, undo);
        }
        for member in &mut self.leaving {
            member.process.exit_code(LATER).await;
        }
        let began = Instant::now();
        loop {
            self.watch();
            let mut unready = Vec::new();
            for slot in &self.slots {
                let Some(member) = &slot.member else { continue };
                let (status, text) = member.readyz().await;
                if status != 200 {
                    unready.push(format!("{}: {status} {text}", member.process.name));
                }
            }
            if unready.is_empty() {
                return;
            }
            assert!(began.elapsed() < LATER, "not ready again after the faults: {unready:?}");
            pause(LOOK).await;
        }
    }

    /// What a supervisor does: whoever ended by itself is started again.
    pub fn watch(&mut self) {
        for slot in &mut self.slots {
            let Some(member) = &mut slot.member else { continue };
            if slot.struck {
                continue;
            }
            if let Some(code) = member.process.ended() {
                self.fell.push((member.process.name.clone(), code));
                *member = self.bugle.spawn_again(slot.role, member);
            }
        }
    }

    // === faults ===

    /// False when there is nothing that it could strike now.
    async fn strike(&mut self, planned: &Planned) -> bool {
        self.struck_at = now_ms();
        let Some(undo) = self.begin(planned).await else { return false };
        let (name, explains) = (planned.fault.name(), explains(planned));
        self.struck.push(Struck { name, from: self.struck_at, to: now_ms(), explains });
        let index = self.struck.len() - 1;
        if let Some(undo) = undo {
            self.undo.push((Instant::now() + planned.lasts, index, undo));
        }
        true
    }

    /// None when there is nothing left that it could strike; Some(None) when it ends by itself.
    async fn begin(&mut self, planned: &Planned) -> Option<Option<Undo>> {
        let pick = planned.pick;
        let undo = match planned.fault {
            Fault::Kill(role) => {
                let slot = self.victim(role, pick)?;
                self.slots[slot].member.as_mut()?.process.kill_9();
                Undo::Start(slot)
            }
            Fault::Freeze(role) => {
                let slot = self.victim(role, pick)?;
                self.slots[slot].member.as_mut()?.process.freeze();
                Undo::Thaw(slot)
            }
            Fault::ScaleDown => {
                let slot = self.victim(Role::Worker, pick)?;
                let again = self.slots[slot].member.take()?;
                self.retire(again);
                Undo::Start(slot)
            }
            Fault::ScaleUp => {
                let member = Some(self.bugle.spawn(Role::Worker));
                self.slots.push(Slot { role: Role::Worker, member, struck: true });
                Undo::Retire(self.slots.len() - 1)
            }
            Fault::KillBroker => {
                let broker = self.broker("DELIVERIES", pick).await?;
                self.struck_at = now_ms();
                self.kill_broker(broker);
                Undo::StartBrokers(vec![broker])
            }
            Fault::KillLeaders => {
                let first = self.broker("EVENTS", pick).await?;
                self.struck_at = now_ms();
                self.kill_broker(first);
                pause(NEXT_LEADER).await;
                let leader = self.leader("DELIVERIES").await.filter(|leader| *leader != first);
                let second = leader.unwrap_or((first + 1) % self.brokers.len());
                self.kill_broker(second);
                Undo::StartBrokers(vec![first, second])
            }
            Fault::FreezeBroker => {
                let broker = self.broker("EVENTS", pick).await?;
                self.struck_at = now_ms();
                self.brokers[broker].freeze();
                self.broker_struck[broker] = true;
                Undo::ThawBroker(broker)
            }
            Fault::DeleteConsumer => {
                self.delete_consumer(pick).await?;
                return Some(None);
            }
            Fault::StopDatabase => {
                if std::mem::replace(&mut self.database_struck, true) {
                    return None;
                }
                self.postgres.crash();
                Undo::StartDatabase
            }
            Fault::Sink(mode) => {
                let channel = (0..STRUCK.len())
                    .map(|step| STRUCK[(pick + step) % STRUCK.len()])
                    .find(|channel| self.sink.strike(channel, mode))?;
                Undo::Calm(channel)
            }
        };
        Some(Some(undo))
    }

    async fn delete_consumer(&self, pick: usize) -> Option<()> {
        let (stream, consumer) = consumer(pick);
        let name = self.wire.stream_name(stream);
        let delete = async { self.wire.js.get_stream(name).await.ok()?.delete_consumer(consumer).await.ok() };
        tokio::time::timeout(PATIENCE, delete).await.ok()?.map(drop)
    }

    fn end_what_is_due(&mut self, now: Instant) {
        while let Some(due) = self.undo.iter().position(|(at, _, _)| *at <= now) {
            let (_, struck, undo) = self.undo.swap_remove(due);
            self.end(struck, undo);
        }
    }

    fn end(&mut self, struck: usize, undo: Undo) {
        let mut settles = 0;
        match undo {
            Undo::Start(slot) => {
                let slot = &mut self.slots[slot];
                slot.member = Some(match &slot.member {
                    Some(dead) => self.bugle.spawn_again(slot.role, dead),
                    None => self.bugle.spawn(slot.role),
                });
                slot.struck = false;
            }
            Undo::Thaw(slot) => {
                let slot = &mut self.slots[slot];
                if let Some(member) = &mut slot.member {
                    member.process.signal("CONT");
                }
                slot.struck = false;
            }
            Undo::Retire(slot) => {
                if let Some(member) = self.slots[slot].member.take() {
                    self.retire(member);
                }
            }
            Undo::StartBrokers(brokers) => {
                for broker in brokers {
                    self.brokers[broker].restart();
                    self.broker_struck[broker] = false;
                }
                settles = RECONNECT_MS;
            }
            Undo::ThawBroker(broker) => {
                self.brokers[broker].thaw();
                self.broker_struck[broker] = false;
                settles = RECONNECT_MS;
            }
            Undo::StartDatabase => {
                self.postgres.start_again();
                self.database_struck = false;
            }
            Undo::Calm(channel) => self.sink.calm(channel),
        }
        self.struck[struck].to = now_ms() + settles;
    }

    /// A process of that role which no fault holds.
    fn victim(&mut self, role: Role, pick: usize) -> Option<usize> {
        let whole = |slot: &Slot| slot.role == role && !slot.struck && slot.member.is_some();
        let free: Vec<usize> =
            self.slots.iter().enumerate().filter(|(_, slot)| whole(slot)).map(|(index, _)| index).collect();
        let victim = *free.get(pick % free.len().max(1))?;
        self.slots[victim].struck = true;
        Some(victim)
    }

    fn retire(&mut self, mut member: Member) {
        member.process.signal("TERM");
        self.leaving.push(member);
    }

    fn kill_broker(&mut self, broker: usize) {
        self.brokers[broker].kill_9();
        self.broker_struck[broker] = true;
    }

    /// The one that leads a stream, if all are whole.
    async fn broker(&self, stream: &str, pick: usize) -> Option<usize> {
        if self.broker_struck.contains(&true) {
            return None;
        }
        Some(self.leader(stream).await.unwrap_or(pick % self.brokers.len()))
    }

    async fn leader(&self, stream: &str) -> Option<usize> {
        let name = self.wire.stream_name(stream);
        let found = tokio::time::timeout(PATIENCE, self.wire.js.get_stream(name)).await.ok()?.ok()?;
        let leader = found.cached_info().cluster.as_ref()?.leader.clone()?;
        self.brokers.iter().position(|broker| broker.name == leader)
    }
}

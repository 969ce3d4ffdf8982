//! What each role connects and runs. The whole wiring of a process is in this file.

mod http;
mod reach;

use std::sync::Arc;
use std::time::Duration;

use super::{Embedded, Failure, Role, Running, admin};
use crate::api::{self, Api};
use crate::apply;
use crate::bus::consumer::{self, Begin, Origin, Own, Slots, Source, Stop};
use crate::bus::directory::{Directory, Holdings};
use crate::bus::people::People;
use crate::bus::subject::{ROUTER_DURABLE, worker_durable};
use crate::bus::{Bus, StreamName, floor, topology, waiting};
use crate::channel::Workshop;
use crate::config::{Secret, Settings};
use crate::connection::probes::Probes;
use crate::deliver::adapters::Adapters;
use crate::deliver::circuit::Circuits;
use crate::deliver::errands;
use crate::deliver::failing::Failing;
use crate::deliver::finished::Finished;
use crate::deliver::gone;
use crate::deliver::handler::{Tools, Worker};
use crate::deliver::pace::Pace;
use crate::deliver::pauses::Pauses;
use crate::deliver::share::Shares;
use crate::delivery::Lane;
use crate::embedded::make_private;
use crate::health::Health;
use crate::jobs::{self, foreman::Foreman};
use crate::own_events::Announcer;
use crate::own_events::farewell::Farewell;
use crate::presence;
use crate::record::Recorder;
use crate::route::backlog;
use crate::route::handler::Router;
use crate::route::texts::Texts;
use crate::secrets::{KeyRing, Purpose, load, published};
use crate::source::loops::Sources;
use crate::store::{Store, standing};
use crate::unsubscribe::Links;
pub use http::http_client;
use http::http_policy;
use reach::until_reachable;
pub use reach::{connect, connect_now};

const MIB: u64 = 1024 * 1024;
/// Slots of the urgent and of the retry lane, as a part of the normal lane's.
const SIDE_LANES_PART: usize = 4;

/// Connects what the role needs and starts its loops.
///
/// # Errors
/// One sentence that says what to do.
pub async fn start(
    role: Role,
    settings: &Settings,
    embedded: Option<&Embedded>,
    health: &Health,
    stop: &Stop,
    recorder: &metrics_exporter_prometheus::PrometheusHandle,
) -> Result<Running, Failure> {
    let does = |wanted: Role| role == wanted || role == Role::All;
    let texts = match role {
        Role::Worker | Role::Recorder => Texts::default(),
        Role::Router | Role::Api | Role::All => {
            apply::files::read_texts(settings.router.texts.as_deref()).map_err(Failure::config)?
        }
    };
    let bus = connect(settings, role.as_str()).await?;
    health.watch_bus(&bus);
    presence::answer(bus.clone(), presence::Process::new(role, settings), health.clone(), stop.soft.clone());
    until_reachable("NATS", || topology::ensure(&bus, &settings.keep)).await?;
    let texts = Arc::new(texts);
    let keys = match embedded {
        Some(_) => load::keys_or_new(settings),
        None => load::keys(settings),
    };
    let keys = keys.map_err(Failure::config)?;
    for purpose in opened_by(role) {
        until_reachable("NATS", || published::publish(&bus, &keys, *purpose)).await?;
    }
    let mut parts = Parts { role, settings, bus, texts, keys, health, stop, running: Running::new() };
    if role == Role::All {
        parts.setup(embedded).await?;
    }
    let directory = match role {
        Role::Recorder => None,
        Role::Router | Role::Worker | Role::Api | Role::All => Some(parts.directory().await?),
    };
    let store = match role {
        Role::Router | Role::Worker => None,
        Role::Recorder | Role::Api | Role::All => Some(parts.store(embedded)?),
    };
    let alone = directory.clone().filter(|_| role == Role::All);
    parts.running.farewell = Some(Farewell {
        bus: parts.bus.clone(),
        role: role.as_str(),
        alone: alone.map(|directory| (directory, Arc::clone(&parts.texts))),
    });
    let people = directory
        .as_ref()
        .map(|_| People::start(parts.bus.clone(), stop.hard.clone(), health.pulse("recipients")));
    if let (Some(directory), Some(people)) = (&directory, &people) {
        if does(Role::Worker) {
            parts.workers(directory, people)?;
        }
        if does(Role::Router) {
            parts.router(directory, people);
        }
    }
    if let Some(store) = &store
        && does(Role::Recorder)
    {
        parts.recorder(store.clone());
    }
    if let (Some(store), Some(directory), Some(people)) = (store, directory, people)
        && does(Role::Api)
    {
        let foreman = parts.jobs(&store, &directory, &people);
        parts.api((store, directory, foreman), embedded, recorder).await?;
    }
    Ok(parts.running)
}

/// Loops that pull events: while one waits for the answer to its poll, the other works.
const PULLERS: usize = 2;

struct Parts<'a> {
    role: Role,
    settings: &'a Settings,
    bus: Bus,
    texts: Arc<Texts>,
    keys: KeyRing,
    health: &'a Health,
    stop: &'a Stop,
    running: Running,
}

impl Parts<'_> {
    /// What `bugle setup` does, for the process that runs alone.
    async fn setup(&self, embedded: Option<&Embedded>) -> Result<(), Failure> {
        let settings = self.settings;
        topology::setup(&self.bus, &settings.keep).await.map_err(Failure::run)?;
        let files = apply::files::read_all(&settings.documents).map_err(Failure::config)?;
        let applied = apply::apply(&self.bus, &files, apply::Options::default(), &self.keys).await;
        for (path, changes) in settings.documents.iter().zip(applied.map_err(Failure::config)?.changes) {
            tracing::info!(file = %path.display(), changes = changes.len(), "documents applied");
        }
        let store = open_store(self.role, settings, embedded)?;
        store.migrate().await.map_err(Failure::run)
    }

    async fn directory(&self) -> Result<Arc<Directory>, Failure> {
        let holdings = match self.role {
            Role::Worker => Holdings::Channels,
            Role::Router | Role::Recorder => Holdings::Compiled,
            Role::Api | Role::All => Holdings::WordForWord,
        };
        let pulse = self.health.pulse("the directory of documents");
        let stop = &self.stop.hard;
        let held = || (holdings, self.keys.clone());
        until_reachable("NATS", || Directory::start(self.bus.clone(), held(), stop.clone(), pulse.clone()))
            .await
    }

    fn store(&self, embedded: Option<&Embedded>) -> Result<Store, Failure> {
        let store = open_store(self.role, self.settings, embedded)?;
        standing::watch(store.clone(), self.stop.hard.clone());
        Ok(store)
    }

    fn routing(&self, directory: &Arc<Directory>, people: &Arc<People>) -> Router {
        let (directory, people) = (Arc::clone(directory), Arc::clone(people));
        Router::new(self.bus.clone(), directory, people, Arc::clone(&self.texts))
    }

    /// Whoever works on jobs routes events too.
    fn jobs(&self, store: &Store, directory: &Arc<Directory>, people: &Arc<People>) -> Arc<Foreman> {
        let router = self.routing(directory, people);
        let foreman = Foreman::new(jobs::Tools { bus: self.bus.clone(), store: store.clone(), router });
        let pulse = self.health.pulse("jobs");
        self.running.spawn("jobs", Arc::clone(&foreman).run(self.stop.clone(), pulse));
        foreman
    }

    fn router(&self, directory: &Arc<Directory>, people: &Arc<People>) {
        let router = self.routing(directory, people);
        let bytes_max = self.settings.router.queue_mib_max * MIB;
        let source = Source {
            origin: Origin::Own(Own {
                stream: StreamName::Events,
                filter: self.bus.names.subjects_of(StreamName::Events).concat(),
                begin: Begin::All,
            }),
            durable: ROUTER_DURABLE.into(),
            slots: Slots::new(self.settings.router.slots),
            gate: Some(backlog::watch(self.bus.clone(), bytes_max, self.stop.hard.clone())),
        };
        floor::keep(self.bus.clone(), StreamName::Events, ROUTER_DURABLE, self.stop.hard.clone());
        waiting::events(self.bus.clone(), self.stop.hard.clone());
        let router = Arc::new(router);
        for _ in 0..PULLERS {
            self.consume("router", source.clone(), Arc::clone(&router));
        }
        let sources = Sources::new(self.bus.clone(), Arc::clone(directory), self.stop.clone());
        self.running.spawn("sources", sources.follow());
        let announcer = Announcer::new(self.bus.clone(), Arc::clone(directory));
        let pulse = self.health.pulse("own events");
        self.running.spawn("own events", announcer.run(self.settings.keep, self.stop.clone(), pulse));
    }

    fn workers(&self, directory: &Arc<Directory>, people: &Arc<People>) -> Result<(), Failure> {
        let settings = &self.settings.worker;
        let http = http_client(settings)?;
        let pulse = self.health.pulse("the channels' pauses");
        let workshop = Workshop { http, bus: Some(self.bus.clone()) };
        let probes = Arc::new(Probes {
            bus: self.bus.clone(),
            directory: Arc::clone(directory),
            workshop: workshop.clone(),
            keys: self.keys.clone(),
            kinds: self.settings.worker_kinds().to_vec(),
            every: Duration::from_secs(settings.connection_check_seconds),
        });
        self.running.spawn("probes", Arc::clone(&probes).run(self.stop.clone()));
        self.running.spawn("answers about connections", probes.answer(self.stop.clone()));
        let tools = Arc::new(Tools {
            bus: self.bus.clone(),
            directory: Arc::clone(directory),
            adapters: Adapters::new(workshop, self.keys.clone(), Arc::clone(directory)),
            pauses: Pauses::start(self.bus.clone(), self.settings.keep, self.stop.hard.clone(), pulse),
            finished: Finished::default(),
            people: Arc::clone(people),
            unsubscribe: Links::new(self.settings.api.public_url.as_deref()),
            failing: Failing::new(self.bus.clone(), Arc::clone(directory)),
            circuits: Circuits::start(
                self.bus.clone(),
                Arc::clone(directory),
                self.settings.keep,
                self.stop.hard.clone(),
                self.health.pulse("the channels' circuits"),
            ),
            pace: Pace::new(self.bus.clone()),
        });
        let kinds = self.settings.worker_kinds().to_vec();
        waiting::lanes(self.bus.clone(), &kinds, self.stop.hard.clone());
        self.running.spawn("errands", errands::answer(Arc::clone(&tools), kinds, self.stop.clone()));
        let mut workers = Vec::new();
        for kind in self.settings.worker_kinds() {
            for lane in Lane::ALL {
                let slots = match lane {
                    Lane::Normal => settings.slots,
                    Lane::Urgent | Lane::Retry => settings.slots.div_ceil(SIDE_LANES_PART),
                };
                let shares = Shares::new(slots, settings.channel_share, settings.workspace_share);
                let worker = Arc::new(Worker { tools: Arc::clone(&tools), shares });
                workers.push(Arc::clone(&worker));
                let source = Source {
                    origin: Origin::Own(Own {
                        stream: StreamName::Deliveries,
                        filter: self.bus.names.delivery_filter(*kind, lane),
                        begin: Begin::All,
                    }),
                    durable: worker_durable(*kind, lane).into(),
                    slots: Slots::new(slots),
                    gate: None,
                };
                self.consume("worker", source, worker);
            }
        }
        let forgotten = gone::follow(Arc::clone(directory), tools, workers, self.stop.soft.clone());
        self.running.spawn("channels that are gone", forgotten);
        Ok(())
    }

    fn consume<H: consumer::Handler>(&self, name: &'static str, source: Source, handler: Arc<H>) {
        let pulse = self.health.pulse(&source.durable);
        let (bus, keep, stop) = (self.bus.clone(), self.settings.keep, self.stop.clone());
        self.running.spawn(name, consumer::run(bus, keep, source, handler, stop, pulse));
    }

    fn recorder(&self, store: Store) {
        let pulse = self.health.pulse("the recorder");
        let recorder = Recorder::new(self.bus.clone(), store, self.settings, pulse);
        self.running.spawn("recorder", recorder.run(self.stop.soft.clone()));
    }

    async fn api(
        &self,
        (store, directory, foreman): (Store, Arc<Directory>, Arc<Foreman>),
        embedded: Option<&Embedded>,
        recorder: &metrics_exporter_prometheus::PrometheusHandle,
    ) -> Result<(), Failure> {
        let listener = admin::listen(self.settings.api.listen, "api.listen").await?;
        let address = listener.local_addr().map_err(Failure::run)?;
        let admin_token = self.admin_token(embedded, address)?;
        let api = Api {
            live: crate::live::Hub::start(&self.bus, &store, self.health, &self.stop.soft),
            bus: self.bus.clone(),
            store,
            directory,
            texts: Arc::clone(&self.texts),
            health: self.health.clone(),
            recorder: recorder.clone(),
            access: api::auth::Access::new(&self.settings.api, admin_token.as_ref()),
            cors_origins: self.settings.api.cors_origins.clone(),
            keys: self.keys.clone(),
            stop: self.stop.clone(),
            keep: self.settings.keep,
            explaining: api::explaining(),
            http_policy: http_policy(&self.settings.worker),
            foreman,
        };
        self.running.spawn("api", api::serve(listener, api));
        tracing::info!(%address, "the API listens");
        Ok(())
    }

    fn admin_token(
        &self,
        embedded: Option<&Embedded>,
        address: std::net::SocketAddr,
    ) -> Result<Option<Secret>, Failure> {
        let Some(embedded) = embedded else { return Ok(self.settings.api.admin_token.clone()) };
        if let Some(token) = &self.settings.api.admin_token {
            crate::cli::greet(self.settings, address, None)?;
            return Ok(Some(token.clone()));
        }
        let (token, fresh) = embedded.data_dir.admin_token().map_err(Failure::run)?;
        crate::cli::greet(self.settings, address, fresh.then_some(token.as_str()))?;
        Ok(Some(Secret::new(token)))
    }
}

/// The secrets that a role opens.
fn opened_by(role: Role) -> &'static [Purpose] {
    match role {
        Role::Worker => &[Purpose::Channels],
        Role::Api => &[Purpose::Sources],
        Role::All => Purpose::ALL,
        Role::Router | Role::Recorder => &[],
    }
}

/// Prepares the database; it connects at its first use.
pub(super) fn open_store(
    role: Role,
    settings: &Settings,
    embedded: Option<&Embedded>,
) -> Result<Store, Failure> {
    if embedded.is_none() && settings.database.url.is_none() && role != Role::All {
        let sentence = "database.url is not set: the history of a fleet needs a database that all of it sees (BUGLE__DATABASE__URL)";
        return Err(Failure::config(sentence));
    }
    if embedded.is_none() && settings.database.url.is_none() {
        make_private(&settings.data_dir)
            .map_err(|error| Failure::run(format!("{}: {error}", settings.data_dir.display())))?;
    }
    Store::open(&settings.database_url(), settings.database.connections).map_err(Failure::config)
}

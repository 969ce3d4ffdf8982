//! One life of a process: settings, logs, metrics, connections, roles, signals, drain, exit code.
//!
//! A binary chooses a role and nothing else. A role that ends by itself, or a broken invariant, ends the process with a
//! code that is not zero, so that whoever supervises it starts it anew.

pub mod admin;
pub mod roles;
pub mod setup;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use clap::Parser;
use tokio_util::task::TaskTracker;

use crate::bus::consumer::Stop;
use crate::config::Settings;
use crate::embedded::{DataDir, NatsServer};
use crate::health::Health;
use crate::metrics;
use crate::own_events::farewell::Farewell;
use crate::telemetry;
use crate::trace;

/// Messages are made on one thread and let go on another: under that, glibc's allocator spends a fifth of a router's time
/// on its locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// sysexits.h: the configuration cannot be used.
const EX_CONFIG: u8 = 78;
const EX_FAILURE: u8 = 1;
const EX_DATA: u8 = 65;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Router,
    Worker,
    Recorder,
    Api,
    /// Everything, on the embedded default unless servers are set.
    All,
}

impl Role {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Worker => "worker",
            Self::Recorder => "recorder",
            Self::Api => "api",
            Self::All => "all",
        }
    }

    /// The role of a fleet that has this name.
    #[must_use]
    pub fn of_fleet(name: &str) -> Option<Self> {
        [Self::Router, Self::Worker, Self::Recorder, Self::Api].into_iter().find(|role| role.as_str() == name)
    }
}

/// The version, and the revision that it was built from where the build said so.
#[must_use]
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| match option_env!("BUGLE_REVISION") {
        Some(revision) => format!("{} ({revision})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    });
    &VERSION
}

/// Why a process could not do its work: one sentence, and the exit code.
#[derive(Debug)]
pub struct Failure {
    pub sentence: String,
    pub code: u8,
}

impl Failure {
    pub fn config(sentence: impl std::fmt::Display) -> Self {
        Self { sentence: sentence.to_string(), code: EX_CONFIG }
    }

    /// Some of the input could not be used.
    pub fn data(sentence: impl std::fmt::Display) -> Self {
        Self { sentence: sentence.to_string(), code: EX_DATA }
    }

    pub fn run(sentence: impl std::fmt::Display) -> Self {
        Self { sentence: sentence.to_string(), code: EX_FAILURE }
    }
}

/// Arguments of a role's own binary.
#[derive(Debug, Parser)]
#[command(version = version(), about = "One role of a Bugle fleet. Settings: config/default.toml documents every one.")]
struct RoleArguments {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The whole of a role's binary.
#[must_use]
pub fn main(role: Role) -> ExitCode {
    let arguments = RoleArguments::parse();
    finish(
        Settings::load(arguments.config.as_deref())
            .map_err(Failure::config)
            .and_then(|settings| run(role, settings)),
    )
}

/// Prints the sentence of a failure and makes the exit code.
#[must_use]
pub fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            use std::io::Write;
            let written = writeln!(std::io::stderr(), "bugle: {}", failure.sentence);
            if written.is_err() {
                return ExitCode::from(EX_FAILURE);
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Runs work on a runtime of its own.
///
/// # Errors
/// What the work returns, or that there is no runtime.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::run)?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

/// Runs a role until a signal, drains, and returns.
///
/// # Errors
/// One sentence and the exit code.
pub fn run(role: Role, settings: Settings) -> Result<(), Failure> {
    telemetry::install(&settings.log);
    crate::channel::http::install_tls_provider();
    if let Some(endpoint) = &settings.tracing.otlp_endpoint {
        let ratio = settings.tracing.sample_ratio;
        trace::export::install(endpoint.expose(), ratio, role.as_str()).map_err(Failure::config)?;
    }
    let result = block_on(live(role, settings));
    trace::export::leave();
    result
}

async fn live(role: Role, settings: Settings) -> Result<(), Failure> {
    let recorder = metrics::install(role).map_err(Failure::run)?;
    let (health, stop) = (Health::default(), Stop::default());
    let signals = Signals::install()?;
    let admin = admin::serve(&settings, health.clone(), recorder.clone(), &stop).await?;
    let signals = signals.wait();
    tokio::pin!(signals);
    let whole = health.pulse("the process");
    let mut embedded = None;
    let starting = async {
        embedded = self::embedded(role, &settings).await?;
        roles::start(role, &settings, embedded.as_ref(), &health, &stop, &recorder).await
    };
    let mut roles = tokio::select! {
        started = starting => started?,
        // Nothing was taken yet: there is nothing to finish.
        () = &mut signals => return stop_while_starting(embedded).await,
    };
    whole.beat();
    roles.extend([admin]);
    tracing::info!(role = role.as_str(), version = env!("CARGO_PKG_VERSION"), "started");
    let ended = tokio::select! {
        () = &mut signals => None,
        name = roles.any_ended() => Some(format!("{name} ended by itself")),
        sentence = server_ended(embedded.as_mut()) => Some(sentence),
    };
    if let Some(farewell) = roles.farewell.take() {
        farewell.say(ended.as_deref().unwrap_or("it was told to stop")).await;
    }
    drain(&stop, &settings, roles).await;
    health.leave_bus().await;
    if let Some(Embedded { server, .. }) = embedded {
        server.stop().await;
    }
    match ended {
        None => Ok(()),
        Some(sentence) => Err(Failure::run(sentence)),
    }
}

async fn stop_while_starting(embedded: Option<Embedded>) -> Result<(), Failure> {
    tracing::info!("stopped while it started");
    if let Some(Embedded { server, .. }) = embedded {
        server.stop().await;
    }
    Ok(())
}

/// The embedded default: the data directory and the child server on it.
pub struct Embedded {
    pub data_dir: DataDir,
    pub server: NatsServer,
}

async fn embedded(role: Role, settings: &Settings) -> Result<Option<Embedded>, Failure> {
    if settings.nats.url.is_some() {
        return Ok(None);
    }
    if role != Role::All {
        let sentence = "nats.url is not set: a role of a fleet needs the servers' addresses (BUGLE__NATS__URL); only `bugle run` starts a server of its own";
        return Err(Failure::config(sentence));
    }
    let data_dir = DataDir::open(&settings.data_dir).map_err(Failure::run)?;
    let server = NatsServer::start(&settings.nats.embedded, &data_dir).await.map_err(Failure::run)?;
    Ok(Some(Embedded { data_dir, server }))
}

async fn server_ended(embedded: Option<&mut Embedded>) -> String {
    match embedded {
        Some(embedded) => embedded.server.ended().await,
        None => std::future::pending().await,
    }
}

/// Stops taking, finishes what runs until the deadline, hands the rest back.
async fn drain(stop: &Stop, settings: &Settings, roles: Running) {
    tracing::info!("draining");
    stop.soft.cancel();
    let again = Signals::install();
    let impatient = async {
        match again {
            Ok(signals) => signals.wait().await,
            Err(_) => std::future::pending().await,
        }
    };
    let all = roles.tracker.clone();
    all.close();
    tokio::select! {
        () = all.wait() => {}
        () = crate::clock::sleep(settings.drain_deadline()) => {
            tracing::warn!("the deadline is over: handing back what still runs");
        }
        () = impatient => {}
    }
    stop.hard.cancel();
    let settled = tokio::time::timeout(std::time::Duration::from_secs(2), all.wait()).await;
    tracing::info!(clean = settled.is_ok(), "stopped");
}

/// The loops of a process, and which of them ended.
pub struct Running {
    pub tracker: TaskTracker,
    /// What it says before it drains.
    pub farewell: Option<Farewell>,
    ended: Arc<tokio::sync::Notify>,
    name: Arc<std::sync::Mutex<Option<&'static str>>>,
}

impl Running {
    #[must_use]
    pub fn new() -> Self {
        Self { tracker: TaskTracker::new(), farewell: None, ended: Arc::default(), name: Arc::default() }
    }

    /// Runs a loop that ends only when it is told to.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let (ended, slot) = (Arc::clone(&self.ended), Arc::clone(&self.name));
        let guard = Ended { name, told: ended, slot };
        self.tracker.spawn(async move {
            let _guard = guard;
            work.await;
        });
    }

    fn extend<const N: usize>(&mut self, others: [Self; N]) {
        for other in others {
            let (tracker, name) = (other.tracker.clone(), "the admin port");
            tracker.close();
            self.spawn(name, async move { tracker.wait().await });
        }
    }

    async fn any_ended(&self) -> &'static str {
        self.ended.notified().await;
        self.name.lock().unwrap_or_else(std::sync::PoisonError::into_inner).unwrap_or("a role")
    }
}

impl Default for Running {
    fn default() -> Self {
        Self::new()
    }
}

/// Tells that a loop ended, also when it panicked.
struct Ended {
    name: &'static str,
    told: Arc<tokio::sync::Notify>,
    slot: Arc<std::sync::Mutex<Option<&'static str>>>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(self.name);
        self.told.notify_one();
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Signals {
    fn install() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |error: std::io::Error| Failure::run(format!("signals cannot be handled: {error}"));
        let term = signal(SignalKind::terminate()).map_err(failed)?;
        let int = signal(SignalKind::interrupt()).map_err(failed)?;
        Ok(Self { term, int })
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

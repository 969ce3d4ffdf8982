//! The operator's commands. Results go to standard output, everything else to standard error.

mod channels;
mod commands;
mod dead;
mod doctor;
mod explain;
mod fleet;
mod import;
mod init;
mod jobs;
mod paint;
mod ready;
mod replay;
mod rules;
mod secrets;
mod status;
mod table;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::{self, Failure, Role};
use crate::config::Settings;

/// Turns events into notifications, and proves that none was lost.
#[derive(Debug, Parser)]
#[command(name = "bugle", version = app::version(), max_term_width = 100)]
struct Arguments {
    /// The configuration file (TOML). Without it the defaults and BUGLE__… variables hold.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every role in this process; without nats.url on a NATS server of its own.
    Run,
    /// Write a configuration to begin with, or packs of rules.
    Init(init::Init),
    /// Create or update streams, buckets and tables, and apply the configured documents.
    Setup,
    /// Bring channels and rules in line with files of documents.
    Apply(commands::Apply),
    /// Publish an event.
    Publish(commands::Publish),
    /// Send a notification through a channel, without a rule.
    Send(commands::Send),
    /// Test rules.
    #[command(subcommand)]
    Rules(rules::Rules),
    /// List channels, test them, switch them on and off.
    #[command(subcommand)]
    Channels(channels::Channels),
    /// Say why an event leads to what it leads to: rule by rule, with the comparison that said no.
    Explain(explain::Explain),
    /// Check the configuration and its documents without touching anything.
    CheckConfig,
    /// Ask a process of this machine whether it is ready: 0 when it is, 1 and the reason when it is not.
    Ready(ready::Ready),
    /// Turn another system's configuration into a file of documents.
    #[command(subcommand)]
    Import(import::Import),
    /// Say how the installation stands: its processes, what waits, which channels let nothing out.
    ///
    /// Exits with 1 when a role is missing, or a process is not ready.
    Status(status::Status),
    /// Look for what would lose data or stall: servers, streams, queues, processes, the database, documents.
    ///
    /// Exits with 1 when a check fails. Changes nothing.
    Doctor(doctor::Doctor),
    /// Print the JSON Schema of what people write, for editors.
    Schema {
        /// documents, rule, channel, connection, source, fixtures or settings.
        #[arg(default_value = "documents")]
        name: String,
    },
    /// Keys that secrets are sealed with.
    #[command(subcommand)]
    Secrets(secrets::Secrets),
    /// Look into the dead letters and send them again.
    #[command(subcommand)]
    Dead(dead::Dead),
    /// Route events of the past again, as if they were new: whoever missed something gets it.
    Replay(replay::Replay),
    /// Look at long work, and stop it.
    Jobs {
        #[command(subcommand)]
        command: Option<jobs::Jobs>,
    },
}

/// The whole of the `bugle` binary. Under the name of a role (a link `bugle-router`, say) it is that role: one program for an image
/// of all of them.
#[must_use]
pub fn main() -> ExitCode {
    let name = std::env::args_os().next().map(PathBuf::from);
    let name = name.as_deref().and_then(Path::file_name).and_then(std::ffi::OsStr::to_str);
    let role = name.and_then(|name| name.strip_prefix("bugle-"));
    if let Some(role) = role.and_then(Role::of_fleet) {
        return app::main(role);
    }
    let arguments = Arguments::parse();
    app::finish(execute(arguments.command, arguments.config.as_deref()))
}

fn execute(command: Command, config: Option<&Path>) -> Result<(), Failure> {
    let settings = || Settings::load(config).map_err(Failure::config);
    match command {
        Command::Run => app::run(Role::All, settings()?),
        Command::Setup => {
            let settings = settings()?;
            with_runtime(&settings, commands::setup(&settings))
        }
        Command::Apply(apply) => {
            let settings = settings()?;
            with_runtime(&settings, commands::apply(&settings, &apply))
        }
        Command::Publish(publish) => {
            let settings = settings()?;
            with_runtime(&settings, commands::publish(&settings, &publish))
        }
        Command::Send(send) => {
            let settings = settings()?;
            with_runtime(&settings, commands::send(&settings, &send))
        }
        Command::Explain(explain) => {
            let settings = settings()?;
            with_runtime(&settings, explain::explain(&settings, &explain))
        }
        Command::Channels(channels) => {
            let settings = settings()?;
            with_runtime(&settings, channels::channels(&settings, &channels))
        }
        Command::Ready(ready) => {
            let settings = settings()?;
            with_runtime(&settings, ready::ready(&settings, &ready))
        }
        Command::Status(status) => {
            let settings = settings()?;
            with_runtime(&settings, status::status(&settings, &status))
        }
        Command::Doctor(doctor) => {
            let settings = settings()?;
            with_runtime(&settings, doctor::doctor(&settings, &doctor))
        }
        Command::Init(init) => init::init(&init),
        Command::Rules(rules) => rules::rules(&rules),
        Command::CheckConfig => commands::check_config(&settings()?),
        Command::Import(import) => import::import(&import),
        Command::Schema { name } => commands::schema(&name),
        Command::Secrets(command) => {
            let settings = settings()?;
            with_runtime(&settings, secrets::secrets(&settings, &command))
        }
        Command::Dead(dead) => {
            let settings = settings()?;
            with_runtime(&settings, dead::dead(&settings, &dead))
        }
        Command::Replay(replay) => {
            let settings = settings()?;
            with_runtime(&settings, replay::replay(&settings, &replay))
        }
        Command::Jobs { command } => {
            let (settings, command) = (settings()?, command.unwrap_or_default());
            with_runtime(&settings, jobs::jobs(&settings, &command))
        }
    }
}

/// Commands log warnings only: their output is for people.
fn with_runtime(settings: &Settings, work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let level = if settings.log.level == "info" { "warn".to_owned() } else { settings.log.level.clone() };
    crate::telemetry::install(&crate::config::Log { level, format: settings.log.format });
    crate::channel::http::install_tls_provider();
    app::block_on(work)
}

/// Prints a line of results.
///
/// # Errors
/// When standard output is closed.
pub fn say(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout().lock(), "{line}").map_err(Failure::run)
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-".contains(character);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// What `bugle run` says when it is ready.
///
/// # Errors
/// When standard output is closed.
pub fn greet(settings: &Settings, address: SocketAddr, new_token: Option<&str>) -> Result<(), Failure> {
    let program = std::env::args().next().unwrap_or_else(|| "bugle".to_owned());
    let arguments = Arguments::try_parse().ok();
    let file = arguments.and_then(|arguments| arguments.config);
    let config =
        file.map(|file| format!(" --config {}", quoted(&file.display().to_string()))).unwrap_or_default();
    let program = quoted(&program);
    let token_file = settings.data_dir.join("admin-token");
    say("")?;
    say(&format!("  API          http://{address}   (/openapi.json describes it)"))?;
    match new_token {
        Some(token) => {
            say(&format!("  admin token  {token}\n               (kept in {})", token_file.display()))?;
        }
        None if settings.api.admin_token.is_none() => {
            say(&format!("  admin token  in {}", token_file.display()))?;
        }
        None => say("  admin token  the one of api.admin_token")?,
    }
    say("\n  Publish a first event:\n")?;
    say(&format!(
        "    {program} publish{config} task:transition '{{\"taskId\": \"t-42\", \"to\": \"failed\"}}'\n"
    ))
}

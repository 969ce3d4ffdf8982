//! Logs: one line a hop with every field, text for people and JSON for machines, to standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Log, LogFormat};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A word that is no level would be read as the name of a target, and everything else be silent.
///
/// # Errors
/// When the level or a directive is not known.
pub fn check(level: &str) -> Result<(), String> {
    let bare = level.split(',').map(str::trim).find(|part| !part.contains('=') && !LEVELS.contains(part));
    if let Some(bare) = bare {
        return Err(format!("{bare:?} is none of {}", LEVELS.join(", ")));
    }
    filter(level).map(drop).map_err(|error| error.to_string())
}

fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    // The clients' own chatter is ours only when somebody asks for it.
    EnvFilter::try_new(format!("{level},async_nats=warn,sqlx=warn,hyper=warn,reqwest=warn"))
}

/// Installs the subscriber of this process; a second call changes nothing.
pub fn install(log: &Log) {
    let Ok(filter) = filter(&log.level) else { return };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match log.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = installed {
        tracing::debug!(error, "a subscriber was installed before");
    }
}

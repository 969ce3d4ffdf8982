//! Where a process has its keys from: a file, a variable, or the data directory of the embedded default.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::key::{KeyRing, new_line};
use crate::clock;
use crate::config::Settings;

/// Of the embedded default, in the data directory.
pub const OWN_FILE: &str = "secrets.key";
/// Group and others.
const OTHERS: u32 = 0o077;

/// The keys that the settings name, else those that the embedded default made for itself. None there are is no fault: a process
/// may have no business with secrets.
///
/// # Errors
/// One sentence that names the file or the setting, and never what it holds.
pub fn keys(settings: &Settings) -> Result<KeyRing, String> {
    if let Some(text) = &settings.secrets.key {
        return KeyRing::parse(text.expose()).map_err(|error| format!("secrets.key: {error}"));
    }
    if let Some(path) = &settings.secrets.key_file {
        return read(path);
    }
    let own = settings.data_dir.join(OWN_FILE);
    if settings.nats.url.is_none() && own.exists() {
        return read(&own);
    }
    Ok(KeyRing::default())
}

/// The same, with a key made in the data directory where there is none.
///
/// # Errors
/// As [`keys`], or when the file cannot be written.
pub fn keys_or_new(settings: &Settings) -> Result<KeyRing, String> {
    let found = keys(settings)?;
    if !found.is_empty() {
        return Ok(found);
    }
    add(&settings.data_dir.join(OWN_FILE))?;
    keys(settings)
}

fn read(path: &Path) -> Result<KeyRing, String> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("the keys in {shown}: {error}"))?;
    let mode =
        fs::metadata(path).map_err(|error| format!("the keys in {shown}: {error}"))?.permissions().mode();
    // Mounted by an orchestrator, with modes of its own, where nobody else lives.
    if mode & OTHERS != 0 && !path.starts_with("/run/secrets") {
        tracing::warn!(file = %shown, "others may read this file of keys: chmod 600");
    }
    KeyRing::parse(&text).map_err(|error| format!("{shown}: {error}"))
}

/// A new key, as it stands in a file.
#[must_use]
pub fn new_key() -> String {
    new_line(&clock::random(), clock::now())
}

/// Puts a new key in front of those of a file, which is made where there is none. Only its owner may read it.
///
/// # Errors
/// One sentence when it cannot be read or written.
pub fn add(path: &Path) -> Result<KeyRing, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let before = match fs::read_to_string(path) {
        Ok(text) => {
            KeyRing::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
            text
        }
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(error)),
    };
    let text = format!("{}\n{before}", new_key());
    // Written aside and moved: a crash leaves the old keys.
    let fresh = path.with_extension("new");
    fs::remove_file(&fresh)
        .or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .map_err(failed)?;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&fresh, path).map_err(failed)?;
    KeyRing::parse(&text)
}

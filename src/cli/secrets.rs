//! `bugle secrets`: a new key, a sealed secret for a file of documents, everything sealed anew.

use std::path::PathBuf;

use clap::Subcommand;

use super::fleet::{self, Fleet};
use super::say;
use crate::app::{Failure, roles};
use crate::config::Settings;
use crate::ids::WorkspaceId;
use crate::secrets::key::{KeyId, KeyRing};
use crate::secrets::rotate::rotate;
use crate::secrets::{Purpose, load, published, seal};

#[derive(Debug, Subcommand)]
pub enum Secrets {
    /// Make a private key: into a file that only its owner may read, in front of the keys there, or to standard output.
    NewKey {
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Seal a secret, read from standard input, for a file of documents that others may read.
    Seal {
        #[arg(long, default_value = "default")]
        workspace: String,
        /// For a source, not for a channel or a connection.
        #[arg(long)]
        source: bool,
    },
    /// Make the credentials of a fleet as docker-compose.yml mounts them: keys for NATS, passwords, tokens.
    Fleet(Fleet),
    /// Seal every secret with the key that is in force now, and forget older versions. Needs the old keys too.
    Rotate,
}

pub async fn secrets(settings: &Settings, command: &Secrets) -> Result<(), Failure> {
    match command {
        Secrets::NewKey { file: None } => say(&load::new_key()),
        Secrets::NewKey { file: Some(file) } => {
            let ring = load::add(file).map_err(Failure::config)?;
            let id = ring.current().map(|key| key.id.to_string()).unwrap_or_default();
            say(&format!("{}: the current key is {id}", file.display()))
        }
        Secrets::Seal { workspace, source } => {
            let purpose = if *source { Purpose::Sources } else { Purpose::Channels };
            seal_input(settings, workspace, purpose).await
        }
        Secrets::Fleet(arguments) => fleet::fleet(arguments),
        Secrets::Rotate => rotate_all(settings).await,
    }
}

async fn seal_input(settings: &Settings, workspace: &str, purpose: Purpose) -> Result<(), Failure> {
    let workspace = WorkspaceId::parse(workspace).map_err(Failure::config)?;
    let secret = std::io::read_to_string(std::io::stdin()).map_err(Failure::run)?;
    // The end of the line that `echo` writes is nobody's secret.
    let secret = secret.strip_suffix('\n').unwrap_or(&secret);
    let bus = roles::connect_now(settings).await?;
    let key = published::current(&bus, purpose).await.map_err(Failure::run)?;
    let key = key.ok_or_else(|| {
        Failure::config(format!(
            "there is no key to seal with: give the {} one (secrets.key_file)",
            purpose.openers()
        ))
    })?;
    let sealed = seal::seal(&key, &workspace, secret);
    say(&sealed.ok_or_else(|| Failure::run("the key in the bucket is none"))?)
}

async fn rotate_all(settings: &Settings) -> Result<(), Failure> {
    let keys = load::keys(settings).map_err(Failure::config)?;
    if keys.is_empty() {
        return Err(Failure::config(
            "there are no keys here: rotating needs the old and the new one (secrets.key_file)",
        ));
    }
    let bus = roles::connect_now(settings).await?;
    for purpose in Purpose::ALL {
        let in_force = published::current(&bus, *purpose).await.map_err(Failure::run)?;
        if let Some(why) = in_force.and_then(|in_force| not_yet(&keys, &in_force.id, *purpose)) {
            return Err(Failure::config(why));
        }
    }
    let done = rotate(&bus, &keys).await.map_err(Failure::run)?;
    done.sealed.iter().try_for_each(|key| say(&format!("sealed {}", key.as_written())))?;
    for purpose in &done.without_key {
        say(&format!("there is no key for {purpose}: no {} with one has started yet", purpose.openers()))?;
    }
    for (key, why) in &done.failed {
        say(&format!("not sealed: {}: {why}", key.as_written()))?;
    }
    if !done.failed.is_empty() {
        return Err(Failure::data(format!(
            "{} documents were not sealed anew: keep the old keys",
            done.failed.len()
        )));
    }
    if done.sealed.is_empty() {
        say("nothing to seal: all secrets are sealed with the key in force")
    } else {
        Ok(())
    }
}

/// Why it is too early: an older one of these keys is the one that is in force.
fn not_yet(keys: &KeyRing, in_force: &KeyId, purpose: Purpose) -> Option<String> {
    let current = keys.current().filter(|current| current.id != *in_force && keys.has(in_force))?;
    Some(format!(
        "the key {} is not in force yet: {} seal with {in_force}. Give the {} these keys and restart them, then rotate",
        current.id,
        purpose,
        purpose.openers()
    ))
}

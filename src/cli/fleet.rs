//! `bugle secrets fleet`: the credentials of a fleet, a file each, as docker-compose.yml mounts them.
//!
//! What is there stays, so that it can be run again. Of the users of NATS the server gets public keys alone.

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use nkeys::{KeyPair, KeyPairType};

use super::say;
use crate::api::auth::new_secret;
use crate::app::Failure;
use crate::clock;
use crate::secrets::load;

/// The users of `config/nats/nats.conf`.
pub const USERS: [&str; 6] = ["producer", "operator", "router", "worker", "recorder", "api"];
/// Where the server reads the public halves.
const USERS_FILE: &str = "nats-users.conf";

#[derive(Debug, Args)]
pub struct Fleet {
    /// Where to write. Nobody else may enter it.
    #[arg(long, default_value = "secrets", value_name = "DIR")]
    dir: PathBuf,
}

pub fn fleet(arguments: &Fleet) -> Result<(), Failure> {
    let dir = &arguments.dir;
    let failed = |error: std::io::Error| Failure::config(format!("{}: {error}", dir.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let head = "# Public keys: made of the nats-*.nk beside this file by `bugle secrets fleet`.";
    let mut users = vec![head.to_owned()];
    for user in USERS {
        let seed = keep(&dir.join(format!("nats-{user}.nk")), new_seed)?;
        let unusable = |error| Failure::config(format!("{}/nats-{user}.nk: {error}", dir.display()));
        let pair = KeyPair::from_seed(seed.trim()).map_err(unusable)?;
        users.push(format!("nkey_{user}: {}", pair.public_key()));
    }
    let path = dir.join(USERS_FILE);
    std::fs::write(&path, users.join("\n") + "\n")
        .map_err(|error| Failure::config(format!("{}: {error}", path.display())))?;
    say(&format!("wrote {}", path.display()))?;
    // Two, so that the API can write the secrets of channels and read none.
    for name in ["worker.key", "api.key"] {
        keep(&dir.join(name), || Ok(load::new_key()))?;
    }
    for name in ["admin-token", "postgres-password", "grafana-password"] {
        keep(&dir.join(name), || Ok(new_secret()))?;
    }
    Ok(())
}

fn new_seed() -> Result<String, Failure> {
    let pair = KeyPair::new_from_raw(KeyPairType::User, clock::random::<32>()).map_err(Failure::run)?;
    pair.seed().map_err(Failure::run)
}

/// What a file holds, which is made where there is none. Everybody may read it, in a folder that nobody else enters: a container
/// sees the file alone, as a user of its own.
fn keep(path: &Path, make: impl FnOnce() -> Result<String, Failure>) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::config(format!("{}: {error}", path.display()));
    let opened = File::options().write(true).create_new(true).mode(0o644).open(path);
    match opened {
        Ok(mut file) => {
            let text = make()?;
            writeln!(file, "{text}").and_then(|()| file.sync_all()).map_err(failed)?;
            say(&format!("wrote {}", path.display()))?;
            Ok(text)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let text = std::fs::read_to_string(path).map_err(failed)?;
            if text.trim().is_empty() {
                let sentence = format!("{} is empty: remove it, and it is made anew", path.display());
                return Err(Failure::config(sentence));
            }
            Ok(text)
        }
        Err(error) => Err(failed(error)),
    }
}

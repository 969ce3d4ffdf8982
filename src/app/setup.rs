//! `bugle setup`: streams, buckets, keys, tables and documents, once for a release.

use super::roles::{connect, open_store};
use super::{Failure, Role};
use crate::apply;
use crate::bus::topology;
use crate::config::Settings;
use crate::secrets::{Purpose, load, published};

/// Everything that `bugle setup` does.
///
/// # Errors
/// One sentence that says what to do; doing it again is safe.
pub async fn setup(settings: &Settings, say: &mut impl FnMut(String)) -> Result<(), Failure> {
    let bus = connect(settings, "setup").await?;
    for line in topology::setup(&bus, &settings.keep).await.map_err(Failure::run)? {
        say(line);
    }
    let keys = load::keys(settings).map_err(Failure::config)?;
    for purpose in Purpose::ALL {
        published::publish(&bus, &keys, *purpose).await.map_err(Failure::run)?;
    }
    let store = open_store(Role::All, settings, None)?;
    store.migrate().await.map_err(Failure::run)?;
    say("database is up to date".to_owned());
    let files = apply::files::read_all(&settings.documents).map_err(Failure::config)?;
    let applied = apply::apply(&bus, &files, apply::Options::default(), &keys).await;
    let applied = applied.map_err(Failure::config)?;
    applied.changes.iter().flatten().for_each(|change| say(change.to_string()));
    Ok(())
}

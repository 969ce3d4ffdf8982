//! What speaks against applying files as they are: it is done by force alone.
//!
//! Two files of one name have one owner. The second one would remove all that the first one made, and look right.

use std::collections::BTreeSet;
use std::fmt;

use super::plan::{Found, Wanted, channel_of, names};
use crate::documents::Key;
use crate::ids::{ChannelId, WorkspaceId};
use crate::route::channels::without_document;
use crate::shelf::Held;

/// More keys than this are counted, not listed.
const LISTED_MAX: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// Rules, scopes and channels of others name a channel that is to go.
    ChannelInUse { channel: Key, users: Vec<Key> },
    /// Everything that a file's owner has is to go, and nothing of it stays.
    NothingStays { owner: String, gone: Vec<Key> },
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChannelInUse { channel, users } => write!(
                f,
                "{} would be removed, and {} would still name it: change that first, or remove it all the same with `bugle apply --force`",
                channel.as_written(),
                listed(users)
            ),
            Self::NothingStays { owner, gone } => write!(
                f,
                "everything that {owner} has would be removed: {}. When another file made that, give this one a `name` of its own: it tells two files apart. To remove it all the same: `bugle apply --force`",
                listed(gone)
            ),
        }
    }
}

impl Objection {
    /// What there is to know when it was done by force.
    #[must_use]
    pub fn remains(&self) -> Option<String> {
        match self {
            Self::ChannelInUse { channel, users } => {
                let (channel, users) = (channel.as_written(), listed(users));
                Some(format!("left with a channel that does not exist, {channel}: {users}"))
            }
            Self::NothingStays { .. } => None,
        }
    }
}

fn listed(keys: &[Key]) -> String {
    let shown: Vec<String> = keys.iter().take(LISTED_MAX).map(Key::as_written).collect();
    let rest = keys.len().saturating_sub(LISTED_MAX);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// All of them, for files of which `channels` are left.
pub(super) fn objections(
    wanted: &[Wanted<'_>],
    found: &Found,
    channels: &BTreeSet<(&WorkspaceId, &ChannelId)>,
) -> Vec<Objection> {
    let mut objections: Vec<Objection> = wanted.iter().filter_map(|one| nothing_stays(one, found)).collect();
    let gone =
        |key: &Key, held: &Held| wanted.iter().any(|one| one.owns(held) && !one.documents.contains_key(key));
    let replaced = |key: &Key| wanted.iter().any(|one| one.documents.contains_key(key));
    for (key, _) in found.iter().filter(|(key, held)| gone(key, held)) {
        let Some((workspace, channel)) = channel_of(key).filter(|channel| !channels.contains(channel)) else {
            continue;
        };
        if without_document(channel).is_some() {
            continue;
        }
        let others = found.iter().filter(|(key, held)| !gone(key, held) && !replaced(key));
        let others = others.filter(|(key, _)| key.workspace() == Some(workspace));
        let users: Vec<Key> =
            others.filter(|(key, held)| names(key, held, channel)).map(|(user, _)| user.clone()).collect();
        if !users.is_empty() {
            objections.push(Objection::ChannelInUse { channel: key.clone(), users });
        }
    }
    objections
}

fn nothing_stays(wanted: &Wanted<'_>, found: &Found) -> Option<Objection> {
    let has: Vec<Key> =
        found.iter().filter(|(_, held)| wanted.owns(held)).map(|(key, _)| key.clone()).collect();
    let all_go = !has.is_empty() && !has.iter().any(|key| wanted.documents.contains_key(key));
    all_go.then(|| Objection::NothingStays { owner: wanted.owner.clone(), gone: has })
}

//! Who would be left with a channel that does not exist, when it is removed.

use crate::api::Api;
use crate::api::problem::Problem;
use crate::apply::plan;
use crate::documents::Key;
use crate::ids::{ChannelId, WorkspaceId};
use crate::route::channels::without_document;
use crate::shelf::Held;

/// So many of those who name a channel are told.
const USERS_MAX: usize = 5;

/// # Errors
/// 409 that names some of them.
pub(super) fn unused(api: &Api, workspace: &WorkspaceId, channel: &ChannelId) -> Result<(), Problem> {
    let wanted =
        |key: &Key, held: &Held| Some(key.workspace() == Some(workspace) && plan::names(key, held, channel));
    // It is there without a document too.
    if without_document(channel).is_some() {
        return Ok(());
    }
    let library = &api.directory.snapshot().library;
    let users = library.page(std::ops::Bound::Unbounded, USERS_MAX + 1, wanted);
    if users.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = users.iter().take(USERS_MAX).map(|(key, _)| key.as_written()).collect();
    let more = if users.len() > USERS_MAX { " and more" } else { "" };
    Err(Problem::conflict(format!(
        "{}{more} would still name it: change that first, or remove it all the same with ?force=true",
        shown.join(", ")
    )))
}

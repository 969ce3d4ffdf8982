//! Channels and the connections that they name, as both will be when files were applied.

use std::collections::BTreeMap;

use super::ApplyError;
use super::plan::{Found, Wanted};
use crate::channel::ChannelSpec;
use crate::connection::{self, ConnectionSpec};
use crate::documents::Key;
use crate::ids::{ConnectionId, WorkspaceId};
use crate::shelf::Held;

type Known = BTreeMap<(WorkspaceId, ConnectionId), ConnectionSpec>;

/// # Errors
/// When a channel of a file names a connection that nobody has or that does not go with it, or one would go that a channel
/// names.
pub(super) fn check(wanted: &[Wanted<'_>], found: &Found) -> Result<(), ApplyError> {
    let gone =
        |key: &Key, held: &Held| wanted.iter().any(|one| one.owns(held) && !one.documents.contains_key(key));
    let replaced = |key: &Key| wanted.iter().any(|one| one.documents.contains_key(key));
    let staying = || found.iter().filter(|(key, held)| !gone(key, held) && !replaced(key));
    let mut known = Known::new();
    let all = staying().map(|(key, held)| (key, &held.document.spec));
    for (key, spec) in all.chain(wanted.iter().flat_map(|one| &one.documents)) {
        if let (Key::Connection(workspace, id), Ok(spec)) = (key, serde_json::from_value(spec.clone())) {
            known.insert((workspace.clone(), id.clone()), spec);
        }
    }
    for one in wanted {
        for (index, spec) in one.file.channels.iter().enumerate() {
            check_channel(&known, &one.file.workspace, spec).map_err(|fault| {
                ApplyError::File(format!("{}: {}", one.owner, fault.below(&format!("/channels/{index}"))))
            })?;
        }
    }
    for (key, held) in staying() {
        let Key::Channel(workspace, _) = key else { continue };
        let spec = serde_json::from_value::<ChannelSpec>(held.document.spec.clone()).ok();
        let Some(id) = spec.and_then(|spec| spec.connection) else { continue };
        let used = Key::Connection(workspace.clone(), id.clone());
        // One that was never there is not this apply's doing.
        if found.contains_key(&used) && !known.contains_key(&(workspace.clone(), id)) {
            return Err(ApplyError::File(format!(
                "{} would be removed, and {} still names it: change that first",
                used.as_written(),
                key.as_written()
            )));
        }
    }
    Ok(())
}

fn check_channel(
    known: &Known,
    workspace: &WorkspaceId,
    spec: &ChannelSpec,
) -> Result<(), crate::rule::fault::Fault> {
    let Some(id) = &spec.connection else { return Ok(()) };
    if let Some(connection) = known.get(&(workspace.clone(), id.clone())) {
        return connection::check_on(connection, spec);
    }
    let known = known.keys().filter(|(of, _)| of == workspace);
    let known: Vec<&str> = known.map(|(_, id)| id.as_str()).collect();
    Err(connection::unknown(id, &known))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::plan::plan;
    use super::*;
    use crate::documents::{Document, DocumentFile, checked_file};

    fn file(name: &str, body: Value) -> DocumentFile {
        DocumentFile { name: Some(name.to_owned()), ..checked_file(body).unwrap() }
    }

    fn bot() -> Value {
        json!({ "id": "bot", "kind": "telegram", "config": { "botToken": "${TOKEN}" } })
    }

    fn chat(connection: &str) -> Value {
        json!({ "id": "chat", "kind": "telegram", "connection": connection, "config": { "chatId": "1" } })
    }

    fn held(owner: &str, spec: Value) -> Held {
        let document = Document {
            v: 1,
            owner: owner.to_owned(),
            version: 1,
            author: owner.to_owned(),
            updated_at: jiff::Timestamp::UNIX_EPOCH,
            spec,
        };
        Held { revision: 1, document }
    }

    fn refused(files: &[DocumentFile], found: &Found) -> String {
        plan(files, found, Clone::clone).unwrap_err().to_string()
    }

    #[test]
    fn a_channel_names_a_connection_of_any_file_and_no_other() {
        let alone = file("chats", json!({ "channels": [chat("bot")] }));
        let error = refused(std::slice::from_ref(&alone), &Found::new());
        assert!(error.contains("/channels/0/connection: there is no connection bot"), "{error}");
        let bots = file("bots", json!({ "connections": [bot()] }));
        let planned = plan(&[alone.clone(), bots], &Found::new(), Clone::clone).unwrap();
        assert_eq!(planned.changes.iter().flatten().count(), 2);
        let key = Key::Connection(WorkspaceId::default(), ConnectionId::parse("bot").unwrap());
        let found = Found::from([(key, held("api", bot()))]);
        assert_eq!(plan(&[alone], &found, Clone::clone).unwrap().changes.iter().flatten().count(), 1);
        let mistyped = file("chats", json!({ "channels": [chat("bott")] }));
        assert!(refused(&[mistyped], &found).contains("did you mean bot?"));
    }

    #[test]
    fn a_connection_goes_only_when_no_channel_names_it() {
        let key = Key::Connection(WorkspaceId::default(), ConnectionId::parse("bot").unwrap());
        let channel = Key::Channel(WorkspaceId::default(), crate::ids::ChannelId::parse("chat").unwrap());
        let found = Found::from([(key, held("file:bots", bot())), (channel, held("api", chat("bot")))]);
        let without = file("bots", json!({ "connections": [{ "id": "other", "kind": "telegram" }] }));
        let error = refused(std::slice::from_ref(&without), &found);
        assert!(error.contains("channels.default.chat still names it"), "{error}");
    }
}

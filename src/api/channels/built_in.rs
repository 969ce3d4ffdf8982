//! The channel that a workspace has without a document. It is shown like any other, and changed by writing a document of its name.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Filter, view};
use crate::api::Api;
use crate::api::problem::Problem;
use crate::api::query::{Query, cursor_of};
use crate::channel::ChannelSpec;
use crate::channel::standing::{OWN_OWNER, Verification};
use crate::deliver::circuit;
use crate::documents::Key;
use crate::ids::{ChannelId, WorkspaceId};
use crate::notification;
use crate::route::channels::without_document;

/// Its document, where it has one without anybody's doing.
pub(super) fn spec_of(key: &Key) -> Option<&'static ChannelSpec> {
    let Key::Channel(_, id) = key else { return None };
    without_document(id).map(AsRef::as_ref)
}

/// What is said to who wants to change, switch or remove it.
pub(super) fn read_only(id: &str) -> Option<Problem> {
    let built_in = ChannelId::parse(id).is_ok_and(|id| without_document(&id).is_some());
    built_in.then(|| {
        Problem::conflict(format!(
            "{id} is built in and has no document: write one to change it (PUT /v1/notification-channels/{id})"
        ))
    })
}

pub(super) async fn answer(api: &Api, key: &Key, spec: &ChannelSpec) -> Result<Response, Problem> {
    let Some(workspace) = key.workspace() else { return Ok(Json(Value::Null).into_response()) };
    let mut row = shown(workspace, spec);
    row["circuit"] = json!(circuit::read(&api.bus, workspace, &spec.id).await?);
    Ok(Json(row).into_response())
}

fn shown(workspace: &WorkspaceId, spec: &ChannelSpec) -> Value {
    let mut row = json!(spec);
    row["meta"] = json!({
        "workspace": workspace, "owner": OWN_OWNER, "author": OWN_OWNER, "version": 0, "builtIn": true,
    });
    row[view::VERIFICATION] = json!(Verification::Verified);
    row
}

/// A page of documents with the one that has none, at its place.
pub(super) fn within(
    api: &Api,
    query: &Query,
    (workspace, filter): (&WorkspaceId, &Filter),
    (mut rows, mut next): (Vec<Value>, Option<String>),
) -> Result<(Vec<Value>, Option<String>), Problem> {
    let Ok(id) = ChannelId::parse(notification::CHANNEL) else { return Ok((rows, next)) };
    let key = Key::Channel(workspace.clone(), id);
    let Some(spec) = spec_of(&key).filter(|spec| filter.keeps(OWN_OWNER, spec, |_| Verification::Verified))
    else {
        return Ok((rows, next));
    };
    let documented = api.directory.snapshot().channels.has_document(&(workspace.clone(), spec.id.clone()));
    if documented || query.key_cursor()?.is_some_and(|after| after >= key) {
        return Ok((rows, next));
    }
    let place = rows.iter().position(|row| row_key(row).is_some_and(|row| row > key));
    match (place, &next) {
        (None, Some(_)) => return Ok((rows, next)),
        (place, _) => rows.insert(place.unwrap_or(rows.len()), shown(workspace, spec)),
    }
    let limit = query.limit()? as usize;
    if rows.len() > limit {
        rows.truncate(limit);
        next = rows.last().and_then(row_key).map(|last| cursor_of(&last));
    }
    Ok((rows, next))
}

fn row_key(row: &Value) -> Option<Key> {
    let workspace = WorkspaceId::parse(row["meta"]["workspace"].as_str()?).ok()?;
    Some(Key::Channel(workspace, ChannelId::parse(row["id"].as_str()?).ok()?))
}

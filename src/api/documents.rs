//! What all documents have in common over HTTP: entity tags, conditions, versions, and who may touch them.
//!
//! A document is answered as it was written, with its `meta` beside it; what was read may be sent back whole.

use std::ops::Bound;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::Api;
use super::auth::{Permission, Principal};
use super::problem::Problem;
use super::query::{Query, cursor_of};
use crate::documents::{Key, unique, unknown_channel};
use crate::ids::{ChannelId, WorkspaceId};
use crate::notification;
use crate::rule::fault::Fault;
use crate::secrets::{self, Purpose, published};
use crate::shelf::{self, Condition, Held, ShelfError, Version, Written};

/// A change is answered when this process follows it, or after this long.
const PATIENCE: Duration = Duration::from_secs(2);
const META: &str = "meta";

/// `If-Match: "<tag>"`, `If-Match: *` or `If-None-Match: *`.
///
/// # Errors
/// 400 for anything else.
pub fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default().trim());
    let tag = |text: &str| text.strip_prefix('"')?.strip_suffix('"')?.parse().ok();
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Condition::None),
        (None, Some("*")) => Ok(Condition::Absent),
        (Some("*"), None) => Ok(Condition::Present),
        (Some(one), None) => tag(one)
            .map(Condition::Revision)
            .ok_or_else(|| Problem::invalid("If-Match takes one tag, as ETag gave it (\"17\"), or *")),
        (None, Some(_)) => Err(Problem::invalid("If-None-Match takes *: only where there is none yet")),
        (Some(_), Some(_)) => Err(Problem::invalid("If-Match and If-None-Match exclude each other")),
    }
}

/// The document, with its meta data and without its secrets.
#[must_use]
pub fn view(key: &Key, held: &Held) -> Value {
    let mut spec = held.document.spec.clone();
    secrets::mask_document(key, &mut spec);
    let mut view = spec.as_object().cloned().unwrap_or_default();
    view.insert(META.to_owned(), meta(key, held));
    Value::Object(view)
}

fn meta(key: &Key, held: &Held) -> Value {
    let document = &held.document;
    json!({
        "workspace": key.workspace(),
        "owner": document.owner,
        "version": document.version,
        "author": document.author,
        "updatedAt": document.updated_at,
    })
}

/// # Errors
/// 400 that says where it stops being JSON, or which key is there twice.
pub fn unique_json(body: &[u8]) -> Result<Value, Problem> {
    unique::json(body).map_err(|fault| match fault.pointer.as_str() {
        "" => Problem::invalid(format!("the body {}", fault.message)),
        _ => Problem::fault(fault),
    })
}

/// What was sent, without the `meta` that it may have been read with.
///
/// # Errors
/// 400 when it is no JSON object.
pub fn sent(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    match unique_json(body)? {
        Value::Object(mut fields) => {
            fields.remove(META);
            Ok(fields)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Problem::invalid("the body must be an object"))
        }
    }
}

/// The document of a path: its body need not name it, and names no other.
///
/// # Errors
/// 400 when it does.
pub fn named(mut fields: Map<String, Value>, field: &str, id: &str) -> Result<Map<String, Value>, Problem> {
    let named = fields.entry(field).or_insert_with(|| Value::String(id.to_owned()));
    if named.as_str() != Some(id) {
        return Err(Problem::fault(Fault::new(
            format!("/{field}"),
            format!("is not {id}, as the path has it"),
        )));
    }
    Ok(fields)
}

/// The document with its entity tag.
#[must_use]
pub fn answer(status: StatusCode, key: &Key, held: &Held) -> Response {
    tagged(status, view(key, held), held.revision)
}

/// What was made or replaced.
#[must_use]
pub fn answer_written(key: &Key, written: &Written) -> Response {
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    answer(status, key, &written.held)
}

/// The same with a field beside it, unless that is null.
#[must_use]
pub fn answer_with(status: StatusCode, (key, held): (&Key, &Held), (name, value): (&str, Value)) -> Response {
    let mut view = view(key, held);
    if !value.is_null() {
        view[name] = value;
    }
    tagged(status, view, held.revision)
}

/// The same with several.
#[must_use]
pub fn answer_beside(status: StatusCode, (key, held): (&Key, &Held), beside: Map<String, Value>) -> Response {
    let mut view = view(key, held);
    for (name, value) in beside {
        view[&name] = value;
    }
    tagged(status, view, held.revision)
}

fn tagged(status: StatusCode, body: Value, revision: u64) -> Response {
    let mut response = (status, Json(body)).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The last versions, the newest first.
pub fn answer_versions(key: &Key, versions: &[Version]) -> Json<Value> {
    let version = |version: &Version| match &version.document {
        None => json!({ "removed": true, "at": version.at }),
        Some(document) => {
            let held = Held { revision: version.revision, document: document.clone() };
            view(key, &held)
        }
    };
    Json(json!({ "versions": versions.iter().map(version).collect::<Vec<_>>() }))
}

/// Merges a patch into a document, as RFC 7396 has it.
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        match (value, target.as_object_mut()) {
            (Value::Null, Some(fields)) => drop(fields.remove(&name)),
            (value, Some(fields)) => merge(fields.entry(name).or_insert(Value::Null), value),
            (_, None) => {}
        }
    }
}

/// A document with a patch. What the patch leaves as it is has its masks, as if it had been read and sent back.
#[must_use]
pub fn patched(key: &Key, stored: &Value, patch: &Map<String, Value>) -> Value {
    let mut spec = stored.clone();
    secrets::mask_document(key, &mut spec);
    merge(&mut spec, Value::Object(patch.clone()));
    spec
}

impl Api {
    /// A page of documents in the order of their keys, and the cursor behind it where there are more. `wanted` as in
    /// [`Library::page`](crate::bus::library::Library::page).
    ///
    /// # Errors
    /// 400 for a bad `limit` or `cursor`.
    pub fn page(
        &self,
        query: &Query,
        wanted: impl FnMut(&Key, &Held) -> Option<bool>,
    ) -> Result<(Vec<Value>, Option<String>), Problem> {
        self.page_of(query, wanted, view)
    }

    /// The same, each document shown in a way of its own.
    ///
    /// # Errors
    /// As [`Api::page`].
    pub fn page_of(
        &self,
        query: &Query,
        wanted: impl FnMut(&Key, &Held) -> Option<bool>,
        view: impl Fn(&Key, &Held) -> Value,
    ) -> Result<(Vec<Value>, Option<String>), Problem> {
        let (limit, after) = (query.limit()? as usize, query.key_cursor()?);
        let after = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = self.directory.snapshot().library.page(after, limit + 1, wanted);
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| more).map(|(key, _)| cursor_of(key));
        Ok((found.iter().map(|(key, held)| view(key, held)).collect(), next_cursor))
    }

    /// Writes a document, its secrets sealed, and waits until this process follows it.
    ///
    /// # Errors
    /// When the condition does not hold, a file owns it, it is not valid, or the broker does not answer.
    pub async fn write_document(
        &self,
        principal: &Principal,
        key: &Key,
        condition: Condition,
        change: impl Fn(Option<&Held>) -> Result<Value, Problem>,
    ) -> Result<Written, Problem> {
        let to = match Purpose::of(key) {
            Some(purpose) => published::current(&self.bus, purpose).await?,
            None => None,
        };
        let sealed = |held: Option<&Held>| {
            let mut spec = change(held)?;
            let stored = held.map(|held| &held.document.spec);
            match &to {
                Some(to) => secrets::seal_document(key, &mut spec, to, (&self.keys, stored)),
                None => published::no_key(key, &spec).map_or(Ok(()), Err),
            }
            .map_err(Problem::fault)?;
            Ok::<Value, Problem>(spec)
        };
        let written = shelf::write(&self.bus, key, &principal.name, condition, sealed).await?;
        self.follow(written.held.revision).await;
        if written.changed {
            tracing::info!(%key, version = written.held.document.version, by = principal.name, "document written");
        }
        Ok(written)
    }

    /// Removes a document and waits until this process follows it.
    ///
    /// # Errors
    /// When there is none, the condition does not hold, a file owns it, or the broker does not answer.
    pub async fn remove_document(
        &self,
        principal: &Principal,
        key: &Key,
        condition: Condition,
    ) -> Result<StatusCode, Problem> {
        let revision = shelf::remove(&self.bus, key, condition).await?;
        self.follow(revision).await;
        tracing::info!(%key, by = principal.name, "document removed");
        Ok(StatusCode::NO_CONTENT)
    }

    /// Waits until this process has heard of a change.
    pub async fn follow(&self, revision: u64) {
        if !self.directory.seen(revision, PATIENCE).await {
            tracing::warn!(revision, "a change is stored and not followed here yet");
        }
    }

    /// Refuses a rule that names a channel which does not exist.
    ///
    /// # Errors
    /// 400 that names the place and the nearest channel there is.
    pub async fn check_channels(
        &self,
        workspace: &WorkspaceId,
        (place, channels): (&str, &[ChannelId]),
    ) -> Result<(), Problem> {
        let snapshot = self.directory.snapshot();
        for (index, id) in channels.iter().enumerate() {
            if snapshot.channels.contains_key(&(workspace.clone(), id.clone())) {
                continue;
            }
            // Another process may have made it just now.
            let key = Key::Channel(workspace.clone(), id.clone());
            if shelf::get(&self.bus, &key).await?.is_none() {
                let known = snapshot.channels.keys().filter(|(of, _)| of == workspace);
                let known = known.map(|(_, id)| id.as_str()).chain([notification::CHANNEL]);
                let mut known: Vec<&str> = known.collect();
                known.sort_unstable();
                return Err(Problem::fault(unknown_channel(id, &known).below(&format!("{place}/{index}"))));
            }
        }
        Ok(())
    }
}

impl Principal {
    /// # Errors
    /// 403 unless the role reads documents and the token is bound to no recipient.
    pub fn reads_documents(&self) -> Result<(), Problem> {
        self.may(Permission::ReadDocuments)?;
        self.unbound()
    }

    /// The workspace whose documents are to be changed.
    ///
    /// # Errors
    /// 403 unless the role writes documents there.
    pub fn writes_documents(&self, query: &Query) -> Result<WorkspaceId, Problem> {
        self.may(Permission::WriteDocuments)?;
        self.unbound()?;
        self.writes(query.workspace()?)
    }

    /// Documents are nobody's own.
    pub(super) fn unbound(&self) -> Result<(), Problem> {
        match self.recipient {
            None => Ok(()),
            Some(_) => Err(Problem::forbidden("a token bound to a recipient sees no documents")),
        }
    }
}

impl From<ShelfError> for Problem {
    fn from(error: ShelfError) -> Self {
        match error {
            ShelfError::Missing => Self::not_found("there is no such document"),
            ShelfError::Changed(_) => Self::precondition(error.to_string()),
            ShelfError::Foreign(_) => Self::owned(error.to_string()),
            ShelfError::Bus(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_merges_as_the_standards_own_examples() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = target;
            merge(&mut merged, patch);
            assert_eq!(merged, result);
        }
    }

    #[test]
    fn conditions_are_read_strictly() {
        let with = |pairs: &[(header::HeaderName, &str)]| -> Result<Condition, Problem> {
            let pairs =
                pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
            condition(&pairs.collect())
        };
        assert_eq!(with(&[]).unwrap(), Condition::None);
        assert_eq!(with(&[(header::IF_MATCH, "\"17\"")]).unwrap(), Condition::Revision(17));
        assert_eq!(with(&[(header::IF_MATCH, "*")]).unwrap(), Condition::Present);
        assert_eq!(with(&[(header::IF_NONE_MATCH, "*")]).unwrap(), Condition::Absent);
        for bad in ["17", "W/\"17\"", "\"17\", \"18\"", "\"x\""] {
            assert_eq!(with(&[(header::IF_MATCH, bad)]).unwrap_err().status, 400, "{bad}");
        }
        assert!(with(&[(header::IF_NONE_MATCH, "\"17\"")]).is_err());
        assert!(with(&[(header::IF_MATCH, "*"), (header::IF_NONE_MATCH, "*")]).is_err());
    }
}

//! Connections at run time: accounts that channels share, with how they stand. Their secrets are written and never read.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::auth::Principal;
use super::documents::{answer_with, condition, named, patched, sent};
use super::problem::Problem;
use super::query::Query;
use super::{Api, Shared, custody};
use crate::apply::files::check_on;
use crate::channel::ChannelSpec;
use crate::connection::health::{self, Health, HealthState};
use crate::connection::{self, ConnectionSpec, probes};
use crate::documents::{Key, strict};
use crate::ids::{ConnectionId, WorkspaceId};
use crate::secrets;
use crate::shelf::{self, Held, Written};

/// What stands beside a connection and is no part of it.
const HEALTH: &str = "health";

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionPage {
    #[schema(value_type = Vec<Object>)]
    pub connections: Vec<Value>,
    /// None at the end.
    pub next_cursor: Option<String>,
}

/// List connections, in the order of their ids.
#[utoipa::path(
    get,
    path = "/v1/connections",
    operation_id = "listConnections",
    tag = "connections",
    params(
        ("workspace" = Option<String>, Query), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "a page, with how each stands", body = ConnectionPage),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
) -> Result<Json<ConnectionPage>, Problem> {
    principal.reads_documents()?;
    let query = query.only(&["workspace", "limit", "cursor"])?;
    let workspace = principal.reads(query.workspace()?)?;
    let wanted = |key: &Key, _: &Held| match key {
        Key::Channel(..) => Some(false),
        Key::Connection(of, _) => Some(workspace.as_ref().is_none_or(|wanted| wanted == of)),
        Key::Rule(..)
        | Key::Scope(..)
        | Key::Source(..)
        | Key::Recipient(..)
        | Key::Preferences(..)
        | Key::Token(_)
        | Key::SealingKey(_)
        | Key::Standing(..) => None,
    };
    let (mut connections, next_cursor) = api.page(&query, wanted)?;
    for connection in &mut connections {
        let of = connection["meta"]["workspace"].as_str().and_then(|of| WorkspaceId::parse(of).ok());
        let id = connection["id"].as_str().and_then(|id| ConnectionId::parse(id).ok());
        if let (Some(of), Some(id)) = (of, id) {
            let written = connection["meta"]["updatedAt"].as_str().and_then(|at| at.parse().ok());
            connection[HEALTH] = health_of(&api, (&of, &id), written.unwrap_or_default()).await?;
        }
    }
    Ok(Json(ConnectionPage { connections, next_cursor }))
}

/// Read a connection.
#[utoipa::path(
    get,
    path = "/v1/connections/{id}",
    operation_id = "getConnection",
    tag = "connections",
    params(("id" = String, Path), ("workspace" = Option<String>, Query)),
    responses(
        (status = 200, description = "the connection, its secrets as `***`, and its `health`; its ETag names this state of its document", body = Object),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such connection", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    principal.reads_documents()?;
    let workspace = principal.writes(query.only(&["workspace"])?.workspace()?)?;
    let (key, id) = key_in(&workspace, &id)?;
    let held = shelf::get(&api.bus, &key).await?.ok_or_else(|| missing(id.as_str()))?;
    answered(&api, StatusCode::OK, (&key, &workspace, &id), &held).await
}

/// Make or replace a connection.
#[utoipa::path(
    put,
    path = "/v1/connections/{id}",
    operation_id = "putConnection",
    tag = "connections",
    params(
        ("id" = String, Path), ("workspace" = Option<String>, Query),
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header),
    ),
    request_body(content = Object, description = "a connection; a secret that is `***` stays what it is"),
    responses(
        (status = 200, description = "replaced", body = Object),
        (status = 201, description = "made", body = Object),
        (status = 400, description = "not a connection, or its channels could not use it", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "a file owns it", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "it is another one by now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn put(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let workspace = principal.manages_channels(&query.only(&["workspace"])?)?;
    let (key, id) = key_in(&workspace, &id)?;
    let mut fields = named(sent(&body)?, "id", id.as_str())?;
    fields.remove(HEALTH);
    let change = |held: Option<&Held>| {
        let mut value = Value::Object(fields.clone());
        let stored = held.map(|held| &held.document.spec);
        secrets::unmask_document(&key, &mut value, stored).map_err(Problem::fault)?;
        checked(&api, &principal, &workspace, (stored, value))
    };
    let written = api.write_document(&principal, &key, condition(&headers)?, change).await?;
    ask_soon(&api, &workspace, &id, &written).await;
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    answered(&api, status, (&key, &workspace, &id), &written.held).await
}

/// Change fields of a connection (JSON Merge Patch, RFC 7396): null takes a field away.
#[utoipa::path(
    patch,
    path = "/v1/connections/{id}",
    operation_id = "patchConnection",
    tag = "connections",
    params(
        ("id" = String, Path), ("workspace" = Option<String>, Query), ("If-Match" = Option<String>, Header),
    ),
    request_body(content = Object, description = "the fields that change"),
    responses(
        (status = 200, description = "changed", body = Object),
        (status = 400, description = "not a connection, or its channels could not use it", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such connection", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "a file owns it", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "it is another one by now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn patch(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let workspace = principal.manages_channels(&query.only(&["workspace"])?)?;
    let (key, id) = key_in(&workspace, &id)?;
    let mut patch = sent(&body)?;
    patch.remove(HEALTH);
    let change = |held: Option<&Held>| {
        let stored = &held.ok_or_else(|| missing(id.as_str()))?.document.spec;
        let mut spec = patched(&key, stored, &patch);
        secrets::unmask_document(&key, &mut spec, Some(stored)).map_err(Problem::fault)?;
        let Value::Object(fields) = spec else { return Err(Problem::invalid("the connection is no object")) };
        let value = Value::Object(named(fields, "id", id.as_str())?);
        checked(&api, &principal, &workspace, (Some(stored), value))
    };
    let written = api.write_document(&principal, &key, condition(&headers)?, change).await?;
    ask_soon(&api, &workspace, &id, &written).await;
    answered(&api, StatusCode::OK, (&key, &workspace, &id), &written.held).await
}

/// Remove a connection.
#[utoipa::path(
    delete,
    path = "/v1/connections/{id}",
    operation_id = "removeConnection",
    tag = "connections",
    params(
        ("id" = String, Path), ("workspace" = Option<String>, Query), ("If-Match" = Option<String>, Header),
    ),
    responses(
        (status = 204, description = "removed"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such connection", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "a file owns it, or channels name it", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "it is another one by now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let workspace = principal.manages_channels(&query.only(&["workspace"])?)?;
    let (key, id) = key_in(&workspace, &id)?;
    let mut users: Vec<String> = channels_on(&api, &workspace, &id).map(|spec| spec.id.to_string()).collect();
    if !users.is_empty() {
        users.sort_unstable();
        let users = users.join(", ");
        return Err(Problem::conflict(format!(
            "channels are on the connection {id}: {users}. Move or remove them first"
        )));
    }
    api.remove_document(&principal, &key, condition(&headers)?).await
}

/// Ask the provider now how a connection stands.
#[utoipa::path(
    post,
    path = "/v1/connections/{id}/check",
    operation_id = "checkConnection",
    tag = "connections",
    params(("id" = String, Path), ("workspace" = Option<String>, Query)),
    responses(
        (status = 200, description = "how it stands; `unknown` where there is nothing to ask", body = Health),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such connection", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "no worker answers", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn check(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    principal.tests_channels()?;
    let workspace = principal.writes(query.only(&["workspace"])?.workspace()?)?;
    let (key, id) = key_in(&workspace, &id)?;
    let held = shelf::get(&api.bus, &key).await?.ok_or_else(|| missing(id.as_str()))?;
    let spec: ConnectionSpec =
        serde_json::from_value(held.document.spec).map_err(crate::bus::BusError::from)?;
    let found = probes::ask(&api.bus, &workspace, &spec).await;
    match found.map_err(|error| Problem::unavailable(error.to_string()))? {
        Some(found) => Ok(Json(json!(found))),
        None => Ok(Json(unasked("there is nothing to ask providers of this kind"))),
    }
}

impl Api {
    /// Refuses a channel whose connection is not there or does not go with it, and one that comes to a connection which is not
    /// healthy: what is on it already can be mended meanwhile, or given a channel to fall back on.
    ///
    /// # Errors
    /// 400 with the place in the channel; 409 that says why the connection is not healthy.
    pub async fn check_connection(
        &self,
        principal: &Principal,
        workspace: &WorkspaceId,
        (before, channel): (Option<&ChannelSpec>, &ChannelSpec),
    ) -> Result<(), Problem> {
        let Some(id) = &channel.connection else { return Ok(()) };
        // Another process may have made it just now.
        let key = Key::Connection(workspace.clone(), id.clone());
        let Some(held) = shelf::get(&self.bus, &key).await? else {
            let snapshot = self.directory.snapshot();
            let known = snapshot.connections.keys().filter(|(of, _)| of == workspace);
            let known: Vec<&str> = known.map(|(_, id)| id.as_str()).collect();
            return Err(Problem::fault(connection::unknown(id, &known)));
        };
        let written = held.document.updated_at;
        let spec: ConnectionSpec =
            serde_json::from_value(held.document.spec).map_err(crate::bus::BusError::from)?;
        let checked = connection::check_on(&spec, channel).and_then(|()| check_on(channel, Some(&spec)));
        checked.map_err(Problem::fault)?;
        custody::check_on(principal, &spec, (before, channel))?;
        if before.is_some_and(|before| before.connection == channel.connection) {
            return Ok(());
        }
        let health = health::read(&self.bus, (workspace, id), written).await?;
        match health.and_then(|health| health.objection(id)) {
            Some(why) => Err(Problem::conflict(why)),
            None => Ok(()),
        }
    }
}

async fn answered(
    api: &Api,
    status: StatusCode,
    (key, workspace, id): (&Key, &WorkspaceId, &ConnectionId),
    held: &Held,
) -> Result<Response, Problem> {
    let health = health_of(api, (workspace, id), held.document.updated_at).await?;
    Ok(answer_with(status, (key, held), (HEALTH, health)))
}

async fn health_of(
    api: &Api,
    of: (&WorkspaceId, &ConnectionId),
    written: Timestamp,
) -> Result<Value, Problem> {
    let found = health::read(&api.bus, of, written).await?;
    Ok(found.map_or_else(|| unasked("nobody asked its provider yet"), |health| json!(health)))
}

/// Another account may be in it: what was said of the last one says nothing, and nobody waits for its turn.
async fn ask_soon(api: &Api, workspace: &WorkspaceId, id: &ConnectionId, written: &Written) {
    if !written.changed {
        return;
    }
    if let Err(error) = health::ask_soon(&api.bus, workspace, id).await {
        tracing::warn!(%workspace, connection = %id, %error, "a changed connection is asked about in its turn only");
    }
}

fn unasked(why: &str) -> Value {
    json!({ "state": HealthState::Unknown, "detail": why })
}

fn channels_on<'a>(
    api: &Api,
    workspace: &'a WorkspaceId,
    id: &'a ConnectionId,
) -> impl Iterator<Item = std::sync::Arc<ChannelSpec>> + use<'a> {
    let channels = api.directory.snapshot().channels.clone();
    let of: Vec<_> =
        channels.iter().filter(|((of, _), _)| of == workspace).map(|(_, spec)| spec.clone()).collect();
    of.into_iter().filter(move |spec| spec.connection.as_ref() == Some(id))
}

/// A connection that fits all channels that are on it.
fn checked(
    api: &Api,
    principal: &Principal,
    workspace: &WorkspaceId,
    (stored, value): (Option<&Value>, Value),
) -> Result<Value, Problem> {
    let spec: ConnectionSpec = strict(value).map_err(Problem::fault)?;
    connection::check(&spec).map_err(Problem::fault)?;
    custody::check_variables(principal, &spec.config)?;
    for channel in channels_on(api, workspace, &spec.id) {
        custody::check_under(principal, (stored, &spec), &channel)?;
        connection::check_on(&spec, &channel).map_err(|fault| {
            Problem::invalid(format!("the channel {} on it could not use it: {fault}", channel.id))
        })?;
    }
    serde_json::to_value(&spec).map_err(|error| crate::bus::BusError::from(error).into())
}

fn missing(id: &str) -> Problem {
    Problem::not_found(format!("there is no connection {id}"))
}

fn key_in(workspace: &WorkspaceId, id: &str) -> Result<(Key, ConnectionId), Problem> {
    let id = ConnectionId::parse(id).map_err(|_| missing(id))?;
    Ok((Key::Connection(workspace.clone(), id.clone()), id))
}

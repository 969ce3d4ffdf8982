//! Sources at run time. Their secrets are written and never read: answers have `***`, which may be sent back as it is.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::auth::{Permission, Principal};
use super::documents::{answer_versions, answer_with, answer_written, condition, named, sent};
use super::problem::Problem;
use super::query::Query;
use super::{Api, Shared};
use crate::bus::attach;
use crate::bus::attach::look::{Standing, look};
use crate::config;
use crate::documents::{Key, strict};
use crate::ids::{SourceId, WorkspaceId};
use crate::rule::fault::Fault;
use crate::secrets;
use crate::shelf::{self, Held};
use crate::source::{Source, SourceSpec};

/// What stands beside a source and is no part of it.
const STATUS: &str = "status";

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourcePage {
    #[schema(value_type = Vec<Object>)]
    pub sources: Vec<Value>,
    /// None at the end.
    pub next_cursor: Option<String>,
}

/// List sources, in the order of their ids.
#[utoipa::path(
    get,
    path = "/v1/sources",
    operation_id = "listSources",
    tag = "sources",
    params(
        ("workspace" = Option<String>, Query), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "a page", body = SourcePage),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
) -> Result<Json<SourcePage>, Problem> {
    may(&principal)?;
    let query = query.only(&["workspace", "limit", "cursor"])?;
    let workspace = principal.reads(query.workspace()?)?;
    let wanted = |key: &Key, _: &Held| match key {
        Key::Channel(..) | Key::Connection(..) | Key::Rule(..) | Key::Scope(..) => Some(false),
        Key::Source(of, _) => Some(workspace.as_ref().is_none_or(|wanted| wanted == of)),
        Key::Recipient(..)
        | Key::Preferences(..)
        | Key::Token(_)
        | Key::SealingKey(_)
        | Key::Standing(..) => None,
    };
    let (sources, next_cursor) = api.page(&query, wanted)?;
    Ok(Json(SourcePage { sources, next_cursor }))
}

/// Read a source.
#[utoipa::path(
    get,
    path = "/v1/sources/{id}",
    operation_id = "getSource",
    tag = "sources",
    params(("id" = String, Path), ("workspace" = Option<String>, Query)),
    responses(
        (status = 200, description = "the source, its secrets as `***`, and its `status` now; its ETag names this state of its document", body = Object),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such source", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    may(&principal)?;
    let (key, workspace) = key(&principal, query, &id)?;
    let held = shelf::get(&api.bus, &key).await?.ok_or_else(|| missing(&id))?;
    let status = status(&api, &workspace, &held).await?;
    Ok(answer_with(StatusCode::OK, (&key, &held), (STATUS, status)))
}

/// Make or replace a source.
#[utoipa::path(
    put,
    path = "/v1/sources/{id}",
    operation_id = "putSource",
    tag = "sources",
    params(
        ("id" = String, Path), ("workspace" = Option<String>, Query),
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header),
    ),
    request_body(content = Object, description = "a source; a secret that is `***` stays what it is"),
    responses(
        (status = 200, description = "replaced", body = Object),
        (status = 201, description = "made", body = Object),
        (status = 400, description = "not a source", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role or the token's workspace may not", body = Problem, content_type = "application/problem+json"),
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
    may(&principal)?;
    let (key, workspace) = key(&principal, query, &id)?;
    let mut fields = named(sent(&body)?, "id", &id)?;
    fields.remove(STATUS);
    let change = |held: Option<&Held>| {
        let mut value = Value::Object(fields.clone());
        secrets::unmask_document(&key, &mut value, held.map(|held| &held.document.spec))
            .map_err(Problem::fault)?;
        let source = checked(&api, &workspace, value)?;
        reaches(&principal, held, Some(&source.spec))?;
        if let Some(why) = source.spec.nats.as_ref().and_then(|nats| attach::forbidden(&api.bus, nats)) {
            return Err(Problem::fault(Fault::new("/nats", why)));
        }
        serde_json::to_value(&source.spec).map_err(|error| crate::bus::BusError::from(error).into())
    };
    let written = api.write_document(&principal, &key, condition(&headers)?, change).await?;
    Ok(answer_written(&key, &written))
}

/// Remove a source.
///
/// Its consumer goes with it, and so does the stream that Bugle made for it.
#[utoipa::path(
    delete,
    path = "/v1/sources/{id}",
    operation_id = "removeSource",
    tag = "sources",
    params(
        ("id" = String, Path), ("workspace" = Option<String>, Query), ("If-Match" = Option<String>, Header),
    ),
    responses(
        (status = 204, description = "removed"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such source", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "a file owns it", body = Problem, content_type = "application/problem+json"),
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
    may(&principal)?;
    let (key, _) = key(&principal, query, &id)?;
    reaches(&principal, shelf::get(&api.bus, &key).await?.as_ref(), None)?;
    api.remove_document(&principal, &key, condition(&headers)?).await
}

/// The last versions of a source, the newest first, also of one that was removed.
#[utoipa::path(
    get,
    path = "/v1/sources/{id}/versions",
    operation_id = "listSourceVersions",
    tag = "sources",
    params(("id" = String, Path), ("workspace" = Option<String>, Query)),
    responses(
        (status = 200, description = "up to five, their secrets as `***`", body = Object),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there never was one", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn versions(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    may(&principal)?;
    let (key, _) = key(&principal, query, &id)?;
    let found = shelf::versions(&api.bus, &key).await?;
    if found.is_empty() { Err(missing(&id)) } else { Ok(answer_versions(&key, &found)) }
}

fn may(principal: &Principal) -> Result<(), Problem> {
    principal.may(Permission::ManageSources)?;
    principal.unbound()
}

/// Subjects belong to no workspace: a token of one neither makes nor ends a source that reaches beyond it.
fn reaches(principal: &Principal, held: Option<&Held>, new: Option<&SourceSpec>) -> Result<(), Problem> {
    let old: Option<SourceSpec> =
        held.and_then(|held| serde_json::from_value(held.document.spec.clone()).ok());
    let beyond = old.iter().chain(new).any(SourceSpec::needs_every_workspace);
    if beyond && principal.workspace.is_some() {
        let why = "this token belongs to one workspace: `nats` and `workspaces` reach beyond it";
        return Err(Problem::forbidden(why));
    }
    Ok(())
}

pub(super) fn missing(id: &str) -> Problem {
    Problem::not_found(format!("there is no source {id}"))
}

fn key(principal: &Principal, query: Query, id: &str) -> Result<(Key, WorkspaceId), Problem> {
    let workspace = principal.writes(query.only(&["workspace"])?.workspace()?)?;
    let id = SourceId::parse(id).map_err(|_| missing(id))?;
    Ok((Key::Source(workspace.clone(), id), workspace))
}

/// How a source stands now: whether its stream is read, whether this process can read its secrets.
async fn status(api: &Api, workspace: &WorkspaceId, held: &Held) -> Result<Value, Problem> {
    let spec = serde_json::from_value::<SourceSpec>(held.document.spec.clone());
    let compiled = spec.map_err(|error| Fault::here(error.to_string()));
    let source = match compiled.and_then(|spec| Source::compile(workspace, &spec)) {
        Ok(source) => source.with_keys(&config::environment, &api.keys),
        Err(fault) => return Ok(json!({ "why": format!("this process cannot use it: {fault}") })),
    };
    if let Some(keys) = &source.keys {
        let why = keys.as_ref().err().map(ToString::to_string);
        return Ok(json!({ "secretsReadable": why.is_none(), "why": why }));
    }
    let Some(nats) = &source.spec.nats else { return Ok(Value::Null) };
    let Standing { attached, obstacle, pending, in_hand } =
        look(&api.bus, workspace, &source.spec.id, nats).await?;
    let why = match (source.spec.enabled, attached) {
        (false, _) => Some("it is switched off".to_owned()),
        (true, true) => None,
        (true, false) => obstacle.or_else(|| Some("no router has attached it yet".to_owned())),
    };
    Ok(json!({ "attached": attached, "why": why, "pending": pending, "inHand": in_hand }))
}

/// The secrets are opened here too: it is this process that will compare them.
fn checked(api: &Api, workspace: &WorkspaceId, value: Value) -> Result<Source, Problem> {
    let spec: SourceSpec = strict(value).map_err(Problem::fault)?;
    let source =
        Source::compile(workspace, &spec).map_err(Problem::fault)?.with_keys(&config::environment, &api.keys);
    match &source.keys {
        Some(Err(fault)) => Err(Problem::fault(fault.clone())),
        Some(Ok(_)) | None => Ok(source),
    }
}

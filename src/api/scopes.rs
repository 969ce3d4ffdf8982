//! Scopes at run time: the rules of a task or a mission, set when it begins and removed when it ends.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Shared;
use super::auth::Principal;
use super::documents::{answer, answer_written, condition, named, sent};
use super::problem::Problem;
use super::query::Query;
use crate::documents::{Key, check_scope, strict};
use crate::ids::{ScopedId, WorkspaceId};
use crate::rule::fault::Fault;
use crate::rule::scope::{Level, ScopeId, ScopeSpec};
use crate::shelf::{self, Held};

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScopePage {
    #[schema(value_type = Vec<Object>)]
    pub scopes: Vec<Value>,
    /// None at the end.
    pub next_cursor: Option<String>,
}

/// List scopes.
#[utoipa::path(
    get,
    path = "/v1/scopes",
    operation_id = "listScopes",
    tag = "scopes",
    params(
        ("workspace" = Option<String>, Query), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "a page", body = ScopePage),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
) -> Result<Json<ScopePage>, Problem> {
    principal.reads_documents()?;
    let query = query.only(&["workspace", "limit", "cursor"])?;
    let workspace = principal.reads(query.workspace()?)?;
    let wanted = |key: &Key, _: &Held| match key {
        Key::Channel(..) | Key::Connection(..) | Key::Rule(..) => Some(false),
        Key::Scope(of, _) => Some(workspace.as_ref().is_none_or(|wanted| wanted == of)),
        Key::Source(..)
        | Key::Recipient(..)
        | Key::Preferences(..)
        | Key::Token(_)
        | Key::SealingKey(_)
        | Key::Standing(..) => None,
    };
    let (scopes, next_cursor) = api.page(&query, wanted)?;
    Ok(Json(ScopePage { scopes, next_cursor }))
}

/// Read the rules of a task or a mission.
#[utoipa::path(
    get,
    path = "/v1/scopes/{level}/{id}",
    operation_id = "getScope",
    tag = "scopes",
    params(
        ("level" = String, Path, description = "task or mission"), ("id" = String, Path),
        ("workspace" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "the scope; its ETag names this state of it", body = Object),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such scope", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path((level, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    principal.reads_documents()?;
    let scope = scope_id(&level, &id)?;
    let workspace = principal.writes(query.only(&["workspace"])?.workspace()?)?;
    let key = Key::Scope(workspace, scope.clone());
    let missing = || Problem::not_found(format!("there is no scope of {scope}"));
    let held = shelf::get(&api.bus, &key).await?.ok_or_else(missing)?;
    Ok(answer(StatusCode::OK, &key, &held))
}

/// Set the rules of a task or a mission.
#[utoipa::path(
    put,
    path = "/v1/scopes/{level}/{id}",
    operation_id = "putScope",
    tag = "scopes",
    params(
        ("level" = String, Path, description = "task or mission"), ("id" = String, Path),
        ("workspace" = Option<String>, Query),
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header),
    ),
    request_body(content = Object, description = "`{rules, inherit, mission}`; a task may name its mission"),
    responses(
        (status = 200, description = "replaced", body = Object),
        (status = 201, description = "made", body = Object),
        (status = 400, description = "not a scope", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "a file owns it", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "it is another one by now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn put(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path((level, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let (workspace, scope) =
        (principal.writes_documents(&query.only(&["workspace"])?)?, scope_id(&level, &id)?);
    let spec = checked(sent(&body)?, &scope)?;
    for (index, rule) in spec.rules.iter().enumerate() {
        let named = api.check_channels(&workspace, ("/channels", &rule.channels)).await;
        named.map_err(|problem| problem.below(&format!("/rules/{index}")))?;
    }
    write(&principal, &api, workspace, scope, &headers, &spec).await
}

async fn write(
    principal: &Principal,
    api: &Shared,
    workspace: WorkspaceId,
    scope: ScopeId,
    headers: &HeaderMap,
    spec: &ScopeSpec,
) -> Result<Response, Problem> {
    let value = serde_json::to_value(spec).map_err(crate::bus::BusError::from)?;
    let key = Key::Scope(workspace, scope);
    let written = api.write_document(principal, &key, condition(headers)?, |_| Ok(value.clone())).await?;
    Ok(answer_written(&key, &written))
}

/// Remove the rules of a task or a mission.
#[utoipa::path(
    delete,
    path = "/v1/scopes/{level}/{id}",
    operation_id = "removeScope",
    tag = "scopes",
    params(
        ("level" = String, Path, description = "task or mission"), ("id" = String, Path),
        ("workspace" = Option<String>, Query), ("If-Match" = Option<String>, Header),
    ),
    responses(
        (status = 204, description = "removed"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such scope", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "a file owns it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path((level, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let workspace = principal.writes_documents(&query.only(&["workspace"])?)?;
    let key = Key::Scope(workspace, scope_id(&level, &id)?);
    api.remove_document(&principal, &key, condition(&headers)?).await
}

fn scope_id(level: &str, id: &str) -> Result<ScopeId, Problem> {
    let unknown = || Problem::not_found(format!("there are scopes of tasks and missions, none of a {level}"));
    let level = Level::parse(level).ok_or_else(unknown)?;
    let id = ScopedId::parse(id).map_err(|error| Problem::invalid(error.to_string()))?;
    Ok(ScopeId { level, id })
}

/// The scope of the path: its body need not name it, and names no other.
fn checked(fields: Map<String, Value>, scope: &ScopeId) -> Result<ScopeSpec, Problem> {
    let fields = named(fields, scope.level.as_str(), scope.id.as_str())?;
    if scope.level == Level::Mission && fields.contains_key(Level::Task.as_str()) {
        return Err(Problem::fault(Fault::new("/task", "is not for the scope of a mission")));
    }
    let spec: ScopeSpec = strict(Value::Object(fields)).map_err(Problem::fault)?;
    check_scope(&spec).map_err(Problem::fault)?;
    Ok(spec)
}

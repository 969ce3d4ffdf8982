//! Rules at run time: read, written, patched, removed, and their last versions brought back.

pub mod list;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value};

use super::Shared;
use super::auth::Principal;
use super::documents::{answer, answer_versions, answer_written, condition, merge, named, sent};
use super::problem::Problem;
use super::query::Query;
use crate::clock;
use crate::documents::{Key, check_rule, strict};
use crate::ids::{RuleId, WorkspaceId};
use crate::rule::RuleSpec;
use crate::rule::fault::Fault;
use crate::shelf::{self, Condition, Held};

/// Make a rule.
///
/// Without an `id` it gets one.
#[utoipa::path(
    post,
    path = "/v1/rules",
    operation_id = "createRule",
    tag = "rules",
    params(("workspace" = Option<String>, Query)),
    request_body(content = Object, description = "a rule"),
    responses(
        (status = 201, description = "made", body = Object),
        (status = 400, description = "not a rule", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "there is one of that id", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    body: Bytes,
) -> Result<Response, Problem> {
    let workspace = principal.writes_documents(&query.only(&["workspace"])?)?;
    let mut fields = sent(&body)?;
    fields.entry("id").or_insert_with(|| Value::String(format!("rule_{}", clock::random_id())));
    let spec = checked(fields)?;
    api.check_channels(&workspace, ("/channels", &spec.channels)).await?;
    let key = Key::Rule(workspace, spec.id.clone());
    let taken = |problem: Problem| match problem.status {
        412 => Problem::conflict(format!("there is a rule {} already", spec.id)),
        _ => problem,
    };
    let write = api.write_document(&principal, &key, Condition::Absent, |_| value(&spec)).await;
    let mut response = answer(StatusCode::CREATED, &key, &write.map_err(taken)?.held);
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/rules/{}", spec.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Read a rule.
#[utoipa::path(
    get,
    path = "/v1/rules/{id}",
    operation_id = "getRule",
    tag = "rules",
    params(("id" = String, Path), ("workspace" = Option<String>, Query)),
    responses(
        (status = 200, description = "the rule; its ETag names this state of it", body = Object),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such rule", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    principal.reads_documents()?;
    let key = key(&principal, &query.only(&["workspace"])?, &id)?;
    let held = shelf::get(&api.bus, &key).await?.ok_or_else(|| missing(&id))?;
    Ok(answer(StatusCode::OK, &key, &held))
}

/// Make or replace a rule.
#[utoipa::path(
    put,
    path = "/v1/rules/{id}",
    operation_id = "putRule",
    tag = "rules",
    params(
        ("id" = String, Path), ("workspace" = Option<String>, Query),
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header),
    ),
    request_body(content = Object, description = "a rule; its `id` may be left out"),
    responses(
        (status = 200, description = "replaced", body = Object),
        (status = 201, description = "made", body = Object),
        (status = 400, description = "not a rule", body = Problem, content_type = "application/problem+json"),
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
    let workspace = principal.writes_documents(&query.only(&["workspace"])?)?;
    let spec = checked(named(sent(&body)?, "id", &id)?)?;
    api.check_channels(&workspace, ("/channels", &spec.channels)).await?;
    let key = Key::Rule(workspace, spec.id.clone());
    let written = api.write_document(&principal, &key, condition(&headers)?, |_| value(&spec)).await?;
    Ok(answer_written(&key, &written))
}

/// Change fields of a rule (JSON Merge Patch, RFC 7396): null takes a field away.
#[utoipa::path(
    patch,
    path = "/v1/rules/{id}",
    operation_id = "patchRule",
    tag = "rules",
    params(
        ("id" = String, Path), ("workspace" = Option<String>, Query), ("If-Match" = Option<String>, Header),
    ),
    request_body(content = Object, description = "the fields that change"),
    responses(
        (status = 200, description = "changed", body = Object),
        (status = 400, description = "not a rule", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such rule", body = Problem, content_type = "application/problem+json"),
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
    let workspace = principal.writes_documents(&query.only(&["workspace"])?)?;
    let patch = sent(&body)?;
    let key = key_in(workspace.clone(), &id)?;
    let patched = |held: Option<&Held>| {
        let mut spec = held.ok_or_else(|| missing(&id))?.document.spec.clone();
        merge(&mut spec, Value::Object(patch.clone()));
        let Value::Object(fields) = spec else { return Err(Problem::invalid("the rule is no object")) };
        checked(named(fields, "id", &id)?)
    };
    let before = shelf::get(&api.bus, &key).await?;
    api.check_channels(&workspace, ("/channels", &patched(before.as_ref())?.channels)).await?;
    let change = |held: Option<&Held>| value(&patched(held)?);
    let written = api.write_document(&principal, &key, condition(&headers)?, change).await?;
    Ok(answer(StatusCode::OK, &key, &written.held))
}

/// Remove a rule.
#[utoipa::path(
    delete,
    path = "/v1/rules/{id}",
    operation_id = "removeRule",
    tag = "rules",
    params(
        ("id" = String, Path), ("workspace" = Option<String>, Query), ("If-Match" = Option<String>, Header),
    ),
    responses(
        (status = 204, description = "removed"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such rule", body = Problem, content_type = "application/problem+json"),
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
    let workspace = principal.writes_documents(&query.only(&["workspace"])?)?;
    api.remove_document(&principal, &key_in(workspace, &id)?, condition(&headers)?).await
}

/// The last versions of a rule, the newest first, also of one that was removed.
#[utoipa::path(
    get,
    path = "/v1/rules/{id}/versions",
    operation_id = "listRuleVersions",
    tag = "rules",
    params(("id" = String, Path), ("workspace" = Option<String>, Query)),
    responses(
        (status = 200, description = "up to five", body = Object),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there never was one", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn versions(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    principal.reads_documents()?;
    let key = key(&principal, &query.only(&["workspace"])?, &id)?;
    let found = shelf::versions(&api.bus, &key).await?;
    if found.is_empty() { Err(missing(&id)) } else { Ok(answer_versions(&key, &found)) }
}

/// Bring an earlier version of a rule back, as its newest one.
#[utoipa::path(
    post,
    path = "/v1/rules/{id}/revert",
    operation_id = "revertRule",
    tag = "rules",
    params(
        ("id" = String, Path), ("workspace" = Option<String>, Query), ("If-Match" = Option<String>, Header),
    ),
    request_body(content = Object, description = "`{version}`"),
    responses(
        (status = 200, description = "it is in force again", body = Object),
        (status = 400, description = "no version", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such version", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "a file owns it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn revert(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let workspace = principal.writes_documents(&query.only(&["workspace"])?)?;
    let key = key_in(workspace.clone(), &id)?;
    let Some(wanted) = sent(&body)?.get("version").and_then(Value::as_u64) else {
        return Err(Problem::fault(Fault::new("/version", "must be the number of a version")));
    };
    let versions = shelf::versions(&api.bus, &key).await?;
    let found = versions.into_iter().filter_map(|version| version.document);
    let found = found.into_iter().find(|document| document.version == wanted);
    let document = found.ok_or_else(|| {
        Problem::not_found(format!("version {wanted} of rule {id} is not kept: see /v1/rules/{id}/versions"))
    })?;
    let Value::Object(fields) = document.spec else { return Err(missing(&id)) };
    let spec = checked(named(fields, "id", &id)?)?;
    api.check_channels(&workspace, ("/channels", &spec.channels)).await?;
    let written = api.write_document(&principal, &key, condition(&headers)?, |_| value(&spec)).await?;
    Ok(answer(StatusCode::OK, &key, &written.held))
}

fn missing(id: &str) -> Problem {
    Problem::not_found(format!("there is no rule {id}"))
}

fn key_in(workspace: WorkspaceId, id: &str) -> Result<Key, Problem> {
    Ok(Key::Rule(workspace, RuleId::parse(id).map_err(|_| missing(id))?))
}

fn key(principal: &Principal, query: &Query, id: &str) -> Result<Key, Problem> {
    key_in(principal.writes(query.workspace()?)?, id)
}

fn checked(fields: Map<String, Value>) -> Result<RuleSpec, Problem> {
    let spec: RuleSpec = strict(Value::Object(fields)).map_err(Problem::fault)?;
    check_rule(&spec).map_err(Problem::fault)?;
    Ok(spec)
}

fn value(spec: &RuleSpec) -> Result<Value, Problem> {
    serde_json::to_value(spec).map_err(|error| crate::bus::BusError::from(error).into())
}

//! The last versions of a channel, and one of them brought back.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;

use super::{body, key_in, missing, view, write};
use crate::api::Shared;
use crate::api::auth::Principal;
use crate::api::documents::{answer_versions, named, sent};
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::rule::fault::Fault;
use crate::shelf::{self, Held};

/// The last versions of a channel, the newest first, also of one that was removed.
#[utoipa::path(
    get,
    path = "/v1/notification-channels/{id}/versions",
    operation_id = "listChannelVersions",
    tag = "channels",
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
    principal.tests_channels()?;
    let key = key_in(principal.writes(query.only(&["workspace"])?.workspace()?)?, &id)?;
    let found = shelf::versions(&api.bus, &key).await?;
    if found.is_empty() { Err(missing(&id)) } else { Ok(answer_versions(&key, &found)) }
}

/// Bring an earlier version of a channel back, secrets and all, as its newest one.
#[utoipa::path(
    post,
    path = "/v1/notification-channels/{id}/revert",
    operation_id = "revertChannel",
    tag = "channels",
    params(
        ("id" = String, Path), ("workspace" = Option<String>, Query), ("If-Match" = Option<String>, Header),
    ),
    request_body(content = Object, description = "`{version}`"),
    responses(
        (status = 200, description = "it is in force again", body = Object),
        (status = 400, description = "no version", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
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
    let key = key_in(principal.manages_channels(&query.only(&["workspace"])?)?, &id)?;
    let Some(wanted) = sent(&body)?.get("version").and_then(Value::as_u64) else {
        return Err(Problem::fault(Fault::new("/version", "must be the number of a version")));
    };
    let versions = shelf::versions(&api.bus, &key).await?;
    let mut found = versions.into_iter().filter_map(|version| version.document);
    let found = found.find(|document| document.version == wanted).ok_or_else(|| {
        let place = format!("/v1/notification-channels/{id}/versions");
        Problem::not_found(format!("version {wanted} of channel {id} is not kept: see {place}"))
    })?;
    let Value::Object(fields) = found.spec else { return Err(missing(&id)) };
    let fields = named(fields, "id", &id)?;
    let change = |held: Option<&Held>| body::checked(&principal, &key, fields.clone(), held);
    let written = write(&api, &principal, &key, &headers, change).await?;
    view::answer(&api, StatusCode::OK, &key, &written.held).await
}

//! On and off. Switching on also lifts what Bugle switched off itself, of a file's channel too: that is no part of its
//! document.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::Value;

use super::{changeless, key_in, missing};
use crate::api::auth::Principal;
use crate::api::documents::sent;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::api::{Api, Shared};
use crate::documents::Key;
use crate::rule::fault::Fault;
use crate::shelf::{ShelfError, standing};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Switched {
    pub id: String,
    pub enabled: bool,
}

/// Switch a channel on or off.
#[utoipa::path(
    patch,
    path = "/v1/notification-channels/{id}/enabled",
    operation_id = "switchChannel",
    tag = "channels",
    params(("id" = String, Path), ("workspace" = Option<String>, Query)),
    request_body(content = Object, description = "`{enabled}`"),
    responses(
        (status = 200, description = "it is", body = Switched),
        (status = 400, description = "neither true nor false", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such channel", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "a file says otherwise", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn enabled(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Switched>, Problem> {
    let workspace = principal.manages_channels(&query.only(&["workspace"])?)?;
    let key = key_in(workspace, &id)?;
    let fields = sent(&body)?;
    let wrong = || Problem::fault(Fault::new("/enabled", "must be true or false, and nothing else is sent"));
    let enabled = fields.get("enabled").and_then(Value::as_bool).filter(|_| fields.len() == 1);
    let enabled = enabled.ok_or_else(wrong)?;
    let Key::Channel(workspace, channel) = &key else { return Err(missing(&id)) };
    let switched = standing::switch(&api.bus, (workspace, channel), &principal.name, enabled).await;
    let revision = switched.map_err(|error| match error {
        ShelfError::Missing => changeless(&id),
        ShelfError::Changed(_) | ShelfError::Foreign(_) | ShelfError::Bus(_) => error.into(),
    })?;
    api.follow(revision).await;
    tracing::info!(%workspace, %channel, enabled, by = principal.name, "channel switched");
    Ok(Json(Switched { id, enabled }))
}

/// Lifts whatever switched the channel off besides its document.
pub(super) async fn reopen(api: &Api, principal: &Principal, key: &Key) -> Result<(), Problem> {
    let Key::Channel(workspace, channel) = key else { return Ok(()) };
    let changed = standing::reopen(&api.bus, workspace, channel, &principal.name).await?;
    if let Some(revision) = changed {
        api.follow(revision).await;
        tracing::info!(%workspace, %channel, by = principal.name, "channel switched on again");
    }
    Ok(())
}

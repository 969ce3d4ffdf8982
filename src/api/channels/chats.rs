//! The chats that a Telegram bot has heard from, for whoever looks for a chat's id.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::auth::Principal;
use crate::api::documents::sent;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::api::{Api, Shared};
use crate::channel::Kind;
use crate::documents::{Key, strict};
use crate::errand::{self, Chat, Errand, Of, What};
use crate::ids::{ChannelId, ConnectionId, WorkspaceId};
use crate::shelf;

/// Either of them.
#[derive(Debug, Deserialize, utoipa::ToSchema, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DetectRequest {
    /// A channel of the kind telegram; it needs no chat yet.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub channel: Option<ChannelId>,
    /// A connection of the kind telegram.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub connection_id: Option<ConnectionId>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Chats {
    pub chats: Vec<Chat>,
}

/// Find the chats that wrote to a channel's bot lately.
#[utoipa::path(
    post,
    path = "/v1/notification-channels/telegram/detect-chats",
    operation_id = "detectChats",
    tag = "channels",
    params(("workspace" = Option<String>, Query)),
    request_body = DetectRequest,
    responses(
        (status = 200, description = "each chat once", body = Chats),
        (status = 400, description = "not valid, or no Telegram channel", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such channel", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "the channel cannot be used as it is", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "Telegram was not reached, or refused it; `detail` says why", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "no worker of the kind answers", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn detect(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    body: Bytes,
) -> Result<Json<Chats>, Problem> {
    principal.tests_channels()?;
    let workspace = principal.writes(query.only(&["workspace"])?.workspace()?)?;
    let request: DetectRequest = strict(sent(&body)?.into()).map_err(Problem::fault)?;
    let of = match (request.channel, request.connection_id) {
        (Some(channel), None) => Of::Channel(channel),
        (None, Some(connection)) => Of::Connection(connection),
        (None, None) => return Err(Problem::invalid("name a `channel`, or a `connectionId`")),
        (Some(_), Some(_)) => return Err(Problem::invalid("channel and connectionId exclude each other")),
    };
    check_kind(&api, &workspace, &of).await?;
    let errand = Errand::new(&workspace, of, &principal.name);
    let chats = errand::ask(&api.bus, Kind::Telegram, What::DetectChats, &errand).await?;
    Ok(Json(Chats { chats }))
}

async fn check_kind(api: &Api, workspace: &WorkspaceId, of: &Of) -> Result<(), Problem> {
    let (key, what, id) = match of {
        Of::Channel(id) => (Key::Channel(workspace.clone(), id.clone()), "channel", id.as_str()),
        Of::Connection(id) => (Key::Connection(workspace.clone(), id.clone()), "connection", id.as_str()),
    };
    let missing = || Problem::not_found(format!("there is no {what} {id}"));
    let held = shelf::get(&api.bus, &key).await?.ok_or_else(missing)?;
    let kind = held.document.spec.get("kind").and_then(Value::as_str).and_then(Kind::parse);
    if kind == Some(Kind::Telegram) {
        return Ok(());
    }
    Err(Problem::invalid(format!("the {what} {id} is not of the kind telegram")))
}

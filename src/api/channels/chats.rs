//! The chats that a Telegram bot has heard from, for whoever looks for a chat's id.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::{body, key_in, missing};
use crate::api::Shared;
use crate::api::auth::Principal;
use crate::api::documents::sent;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::channel::Kind;
use crate::documents::strict;
use crate::errand::{self, Chat, Errand, What};
use crate::ids::ChannelId;
use crate::rule::fault::Fault;
use crate::shelf;

#[derive(Debug, Deserialize, utoipa::ToSchema, schemars::JsonSchema)]
pub struct DetectRequest {
    /// A channel of the kind telegram; it needs no chat yet.
    #[schema(value_type = String)]
    pub channel: ChannelId,
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
    let id = request.channel.as_str();
    let key = key_in(workspace.clone(), id)?;
    let held = shelf::get(&api.bus, &key).await?.ok_or_else(|| missing(id))?;
    if body::spec_of(&held, id)?.kind != Kind::Telegram {
        return Err(Problem::fault(Fault::new(
            "/channel",
            format!("{id} is no channel of the kind telegram"),
        )));
    }
    let errand = Errand::new(&workspace, &request.channel, &principal.name);
    let chats = errand::ask(&api.bus, Kind::Telegram, What::DetectChats, &errand).await?;
    Ok(Json(Chats { chats }))
}

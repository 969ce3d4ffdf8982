//! An inbox live, over a WebSocket (RFC 6455).
//!
//! The Origin is not looked at: what lets in is a token or a ticket, which a page of another site does not have. Nothing here
//! ever rests on a cookie.

mod client;
mod session;
mod topics;

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use self::topics::Topics;
use super::access::{self, Bearer};
use super::{PARAMETERS, asked_place};
use crate::api::Shared;
use crate::api::auth::Principal;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::metrics::Transport;

/// Frames are written when so much of them is there, or at the end.
const WRITE_BUFFER: usize = 4 * 1024;
/// Clients hardly say anything.
const READ_BUFFER: usize = 512;
/// Beyond what is taken ([`client::BYTES_MAX`]): what is a little too long is read to its end, so that the answer arrives.
const READ_MAX: usize = 64 * 1024;

/// Follow an inbox live (WebSocket).
///
/// The frames of the stream of server-sent events as JSON texts, each with a `type` and an `id`; a new notification is
/// `notification.new`. The client may send `{"type":"ping"}`, `{"type":"resume","after":"12.7"}` and, to follow events or deliveries
/// as well, `{"type":"subscribe","topic":"events","pattern":["task:*"]}`, 4 KiB each and 20 in ten seconds. Close codes: 1012 the server stops, 4401 the token was revoked, 4408 the client does not keep up, 1009 and 1008 it sends
/// too much.
#[utoipa::path(
    get,
    path = "/v1/notifications/ws",
    operation_id = "followInboxByWebSocket",
    tag = "notifications",
    params(
        ("lastEventId" = Option<String>, Query, description = "resumes behind this id, such as `12.7`"),
        ("recipient" = Option<String>, Query, description = "whose inbox; a token that is bound to one needs none"),
        ("workspace" = Option<String>, Query),
        ("ticket" = Option<String>, Query, description = "for clients that cannot set headers"),
        ("token" = Option<String>, Query, description = "the same, where nobody between logs addresses"),
    ),
    responses(
        (status = 101, description = "the WebSocket begins"),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else's inbox", body = Problem, content_type = "application/problem+json"),
        (status = 426, description = "no WebSocket was asked for", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the database or the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn follow(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let query = query.only(&PARAMETERS)?;
    let owner = access::inbox(&principal, &query)?;
    let after = asked_place(&query, &owner)?;
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejected) => return Ok(upgrade_required(&rejected)),
    };
    let principal = Arc::new(principal);
    let pass = Box::new(Bearer { api: api.clone(), principal: principal.clone(), owner: owner.clone() });
    let feed = api.live.follow(owner, after, pass, Transport::Ws).await?;
    let running = api.live.token();
    let topics = Topics::new(api, principal);
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(READ_MAX)
        .max_frame_size(READ_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        session::run(socket, feed, topics).await;
        drop(running);
    }))
}

/// RFC 9110, section 15.5.22.
fn upgrade_required(rejected: &WebSocketUpgradeRejection) -> Response {
    let detail = format!("this path speaks WebSocket, version 13: {rejected}");
    let mut response = Problem::upgrade_required(detail).into_response();
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

//! An inbox live, as server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;

use super::access::{self, Bearer};
use super::{PARAMETERS, asked_place, place};
use crate::api::Shared;
use crate::api::auth::Principal;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::api::stream::sse::RETRY;
use crate::live::feed::Feed;
use crate::metrics::Transport;

/// Follow an inbox live (server-sent events).
///
/// `notification` is a new one; `notification.updated`, `notification.read`, `notification.dismissed`, `notification.all_read` and
/// `notification.deleted` are what becomes of them, `unread_count` comes whenever it is another one. Every event has an `id`; with
/// `Last-Event-ID` it resumes behind that id, on any API process, without it only what happens from now on comes. `gap` says that
/// what was asked for has expired: fetch the list. `server_shutdown` comes before the server ends the stream, `cut` (`{reason}`:
/// `slow`, `revoked`) before it ends this one.
#[utoipa::path(
    get,
    path = "/v1/notifications/stream",
    operation_id = "followInbox",
    tag = "notifications",
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "such as `12.7`"),
        ("lastEventId" = Option<String>, Query, description = "the same, in the query"),
        ("recipient" = Option<String>, Query, description = "whose inbox; a token that is bound to one needs none"),
        ("workspace" = Option<String>, Query),
        ("ticket" = Option<String>, Query, description = "for clients that cannot set headers"),
        ("token" = Option<String>, Query, description = "the same, where nobody between logs addresses"),
    ),
    responses(
        (status = 200, description = "the stream", content_type = "text/event-stream"),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else's inbox", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer; for the database a stream waits", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn follow(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&PARAMETERS)?;
    let owner = access::inbox(&principal, &query)?;
    let after = match headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?")) {
        Some(text) if !text.is_empty() => Some(place(text, &owner, "Last-Event-ID")?),
        Some(_) | None => asked_place(&query, &owner)?,
    };
    let pass = Box::new(Bearer { api: api.clone(), principal: Arc::new(principal), owner: owner.clone() });
    let feed = api.live.follow(owner, after, pass, Transport::Sse).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(Events { feed, begun: false })).into_response())
}

struct Events {
    feed: Feed,
    begun: bool,
}

impl Stream for Events {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(frames) = ready!(Pin::new(&mut self.feed).poll_next(context)) else {
            return Poll::Ready(None);
        };
        let mut text = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            text.extend_from_slice(format!("retry: {}\n", RETRY.as_millis()).as_bytes());
        }
        for frame in frames {
            frame.write_sse(self.feed.owner(), &mut text);
        }
        Poll::Ready(Some(Ok(text.into())))
    }
}

//! Frames as server-sent events (WHATWG HTML, section 9.2).

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderName, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;

use super::feed::CONNECTED;
use super::frames::{Frame, Frames};

const HEARTBEAT: Duration = Duration::from_secs(30);
/// What a client should wait before it comes again.
pub const RETRY: Duration = Duration::from_secs(2);

pub(super) fn response(frames: Frames) -> Response {
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("heartbeat");
    let headers = [(header::CACHE_CONTROL, "no-cache"), (HeaderName::from_static("x-accel-buffering"), "no")];
    (headers, Sse::new(frames.map(|frame| Ok::<_, Infallible>(event(frame)))).keep_alive(keep_alive))
        .into_response()
}

fn event(frame: Frame) -> Event {
    let event = Event::default().event(frame.name).data(frame.data);
    let event = if frame.name == CONNECTED { event.retry(RETRY) } else { event };
    match frame.id {
        Some(id) => event.id(id.to_string()),
        None => event,
    }
}

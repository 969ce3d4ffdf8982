//! Live streams: what happens as it happens, resumed without gap or repeat.
//!
//! A [`feed`] reads one of the broker's streams for one client and makes [`frames`] of what that client may see: name, id
//! and data, whatever the wire; [`sse`] writes them as server-sent events. The id is the place in the broker's stream, so
//! that any API process can resume what another one began. What is shown is said by a [`feed::View`], a file each.

pub mod deliveries;
pub mod events;
pub mod feed;
pub mod frames;
mod place;
pub mod sse;

use axum::http::HeaderMap;

use super::auth::credential::{TICKET, TOKEN};
use super::problem::Problem;
use super::query::Query;

/// Parameters that every stream takes.
const PARAMETERS: [&str; 4] = ["workspace", "lastEventId", TOKEN, TICKET];

/// The id behind which a client resumes; None: only what comes.
fn resumed(headers: &HeaderMap, query: &Query) -> Result<Option<u64>, Problem> {
    match headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default()) {
        Some(text) if !text.is_empty() => {
            let wrong = |_| Problem::invalid("Last-Event-ID is not an id of this stream");
            Ok(Some(text.parse::<u64>().map_err(wrong)?))
        }
        Some(_) | None => query.number("lastEventId"),
    }
}

//! Tickets for streams: what a browser, which can set no headers there, puts into the address instead of its token.
//!
//! A ticket is valid once and for a minute, on every API process: it says, sealed, whose it is and until when, so that what no
//! API process made costs nothing. The broker holds the hashes of those that were used: the first one to write it there passes. It
//! gives what its token gives at that moment.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::auth::{Principal, hash};
use super::problem::Problem;
use super::query::Query;
use super::{Api, Shared};
use crate::bus::{BusError, claim};
use crate::clock;
use crate::installation::Key;

const PREFIX: &str = "bgt_";
const LIFE: Duration = Duration::from_secs(60);
const PURPOSE: &[u8] = b"bugle stream ticket 1";
/// Longer than its life by more than clocks differ.
const KEPT: Duration = Duration::from_secs(180);

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// For `?ticket=` of a stream. It is shown this once.
    pub ticket: String,
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
}

/// What a ticket says: the hash of the token that it was made with, until when it is valid, in milliseconds, and what tells it from
/// others.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stub(String, i64, String);

/// What the broker holds of a used ticket.
#[derive(Debug, Serialize, Deserialize)]
struct Used {}

/// Make a ticket for one stream.
///
/// Browsers can set no headers for `EventSource` and `WebSocket`: there `?ticket=` stands in for the token, once, within a
/// minute. The stream may what the token of this request may when it is opened.
#[utoipa::path(
    post,
    path = "/v1/stream-tickets",
    operation_id = "makeStreamTicket",
    tag = "streams",
    responses(
        (status = 201, description = "made", body = Ticket),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "an agent's token, and the agent is registered as human", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
) -> Result<(StatusCode, [(HeaderName, &'static str); 1], Json<Ticket>), Problem> {
    query.only(&[])?;
    let unknown = || Problem::unauthorized("this token is not known");
    let token = api.access.hash_of(&principal).ok_or_else(unknown)?.to_owned();
    let expires_at = clock::now() + LIFE;
    let key = api.access.installation.key(&api.bus).await?;
    let unsealed = || Problem::unavailable("the ticket could not be sealed: ask again");
    let ticket = sealed(&key, &token, expires_at).ok_or_else(unsealed)?;
    let unstored = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, unstored, Json(Ticket { ticket, expires_at })))
}

/// A ticket of whoever holds the token with this hash.
#[must_use]
pub fn sealed(key: &Key, token: &str, expires_at: Timestamp) -> Option<String> {
    let stub = Stub(token.to_owned(), expires_at.as_millisecond(), clock::random_id());
    Some(format!("{PREFIX}{}", key.seal(PURPOSE, serde_json::to_vec(&stub).ok()?)?))
}

fn opened(key: &Key, ticket: &str) -> Option<Stub> {
    let text = key.open(PURPOSE, ticket.strip_prefix(PREFIX)?)?;
    serde_json::from_slice(&text).ok()
}

/// Uses a ticket up, and returns the hash of its token.
///
/// # Errors
/// 401 when it is not valid (any more), 503 when the broker does not answer.
pub async fn redeem(api: &Api, ticket: &str) -> Result<String, Problem> {
    let key = api.access.installation.key(&api.bus).await?;
    let unknown = || Problem::unauthorized("this is no ticket of ours: POST /v1/stream-tickets makes one");
    let Stub(token, expires_ms, _) = opened(&key, ticket).ok_or_else(unknown)?;
    if clock::now().as_millisecond() >= expires_ms {
        return Err(Problem::unauthorized("this ticket is expired: it is valid for a minute"));
    }
    let subject = api.bus.names.stream_ticket(&hash(ticket));
    match claim::put(&api.bus, &subject, &Used {}, Some(KEPT), 0).await {
        Ok(_) => Ok(token),
        Err(BusError::Conflict) => {
            Err(Problem::unauthorized("this ticket was used already: a ticket opens one stream"))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_says_whose_it_is_and_two_are_never_the_same() {
        let key = Key::new(&[7; 32]).unwrap();
        let expires_at = Timestamp::from_second(1_000).unwrap();
        let ticket = || sealed(&key, "hash", expires_at).unwrap();
        let (one, other) = (ticket(), ticket());
        assert!(one != other && one.starts_with(PREFIX) && one.len() < 256, "{one}");
        let Stub(token, expires_ms, _) = opened(&key, &one).unwrap();
        assert_eq!((token.as_str(), expires_ms), ("hash", 1_000_000));
        for nothing in ["", "bgt_", "bgt_x", one.trim_start_matches(PREFIX), &one[..one.len() - 1]] {
            assert_eq!(opened(&key, nothing), None, "{nothing}");
        }
    }
}

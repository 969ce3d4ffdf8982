//! Tickets for streams: what a browser, which can set no headers there, puts into the address instead of its token.
//!
//! A ticket is valid once and for a minute, on every API process: the broker holds its hash and whose it is, and a swap
//! there decides which of two uses comes first. It gives what its token gives at that moment.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::auth::{Principal, hash, secret};
use super::problem::Problem;
use super::query::Query;
use super::{Api, Shared};
use crate::bus::{BusError, claim};
use crate::clock;

const PREFIX: &str = "bgt_";
const LIFE: Duration = Duration::from_secs(60);
/// Longer than its life, so that whoever comes late or twice learns which of both it was.
const KEPT: Duration = Duration::from_secs(180);

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// For `?ticket=` of a stream. It is shown this once.
    pub ticket: String,
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
}

/// What the broker holds of a ticket.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stub {
    /// The hash of the token that it was made with.
    token: String,
    expires_at: Timestamp,
    used: bool,
}

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
    let ticket = secret(PREFIX);
    let expires_at = clock::now() + LIFE;
    let stub = Stub { token, expires_at, used: false };
    let subject = api.bus.names.stream_ticket(&hash(&ticket));
    claim::put(&api.bus, &subject, &stub, Some(KEPT), 0).await?;
    let unstored = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, unstored, Json(Ticket { ticket, expires_at })))
}

/// Uses a ticket up, and returns the hash of its token.
///
/// # Errors
/// 401 when it is not valid (any more), 429 when too many are asked for, 503 when the broker does not answer.
pub async fn redeem(api: &Api, ticket: &str) -> Result<String, Problem> {
    let hash = hash(ticket);
    let subject = api.bus.names.stream_ticket(&hash);
    let look = async { Ok(claim::last::<Stub>(&api.bus, &subject).await?) };
    let found = if ticket.starts_with(PREFIX) { api.access.tickets.look(&hash, look).await? } else { None };
    let (stub, sequence) =
        found.ok_or_else(|| Problem::unauthorized("this ticket is not known, or expired long ago"))?;
    check(&stub, clock::now()).map_err(Problem::unauthorized)?;
    let used = Stub { used: true, ..stub };
    match claim::put(&api.bus, &subject, &used, Some(KEPT), sequence).await {
        Ok(_) => Ok(used.token),
        Err(BusError::Conflict) => Err(Problem::unauthorized(USED)),
        Err(error) => Err(error.into()),
    }
}

const USED: &str = "this ticket was used already: a ticket opens one stream";

fn check(stub: &Stub, now: Timestamp) -> Result<(), &'static str> {
    if stub.used {
        Err(USED)
    } else if now >= stub.expires_at {
        Err("this ticket is expired: it is valid for a minute")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_valid_once_and_for_its_minute() {
        let expires_at = Timestamp::from_second(1_000).unwrap();
        let stub = |used| Stub { token: "hash".to_owned(), expires_at, used };
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(check(&stub(false), at(999)), Ok(()));
        assert!(check(&stub(false), at(1_000)).unwrap_err().contains("expired"));
        assert!(check(&stub(true), at(999)).unwrap_err().contains("used"));
    }
}

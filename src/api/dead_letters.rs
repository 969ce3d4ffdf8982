//! The dead letters over HTTP: what was given up, and sending it again.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::Value;

use super::Shared;
use super::auth::{Permission, Principal};
use super::problem::Problem;
use super::query::Query;
use crate::clock;
use crate::dead::filter::{Filter, PARTS};
use crate::dead::letters::{self, Letter, RedriveError};

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LetterPage {
    #[schema(value_type = Vec<Object>)]
    pub dead_letters: Vec<Letter>,
    /// The `from` of the next page; none at the end.
    pub next_from: Option<u64>,
}

/// List dead letters that pass all filters, oldest first.
///
/// A page may hold fewer than `limit`, or none, although more follow: as long as there is a `nextFrom`, there is more to look
/// through.
#[utoipa::path(
    get,
    path = "/v1/dead-letters",
    operation_id = "listDeadLetters",
    tag = "dead letters",
    params(
        ("workspace" = Option<String>, Query), ("limit" = Option<u32>, Query),
        ("from" = Option<u64>, Query, description = "the sequence to begin with"),
        ("channel" = Option<String>, Query), ("kind" = Option<String>, Query), ("reason" = Option<String>, Query),
        ("fault" = Option<String>, Query, description = "recipient, provider, configuration or ours"),
        ("rule" = Option<String>, Query), ("eventType" = Option<String>, Query, description = "a pattern"),
        ("recipient" = Option<String>, Query),
        ("since" = Option<String>, Query, description = "RFC 3339, a duration such as 2h, or Unix milliseconds"),
        ("until" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "a page", body = LetterPage),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
) -> Result<Json<LetterPage>, Problem> {
    may_see(&principal, Permission::ReadDeliveries)?;
    let query = query.only(&[["workspace", "limit", "from"].as_slice(), &PARTS].concat())?;
    let workspace = principal.reads(query.workspace()?)?;
    let (mut filter, now) = (Filter { workspace, ..Filter::default() }, clock::now());
    for part in PARTS {
        if let Some(text) = query.get(part) {
            let wrong = |error| Problem::invalid(format!("parameter {part}: {error}"));
            filter.set(part, text, now).map_err(wrong)?;
        }
    }
    let (limit, from) = (query.limit()? as usize, query.number("from")?.unwrap_or(1));
    let page = letters::list(&api.bus, &filter, from, limit).await?;
    Ok(Json(LetterPage { dead_letters: page.letters, next_from: page.next }))
}

/// One dead letter, whole.
#[utoipa::path(
    get,
    path = "/v1/dead-letters/{sequence}",
    operation_id = "getDeadLetter",
    tag = "dead letters",
    params(("sequence" = u64, Path)),
    responses(
        (status = 200, description = "the letter", body = Object),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such letter", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(sequence): Path<u64>,
) -> Result<Json<Letter>, Problem> {
    query.only(&[])?;
    may_see(&principal, Permission::ReadDeliveries)?;
    find(&api, &principal, sequence).await.map(Json)
}

/// Send a dead letter again, on its channel as it is now.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/{sequence}/redrive",
    operation_id = "redriveDeadLetter",
    tag = "dead letters",
    params(("sequence" = u64, Path)),
    responses(
        (status = 202, description = "it is on its way again", body = Object),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such letter", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "it cannot be sent again as things are", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn redrive(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(sequence): Path<u64>,
) -> Result<(axum::http::StatusCode, Json<Value>), Problem> {
    query.only(&[])?;
    may_see(&principal, Permission::RedriveDeadLetters)?;
    find(&api, &principal, sequence).await?;
    match letters::redrive(&api.bus, sequence).await {
        Ok(letter) => {
            let delivery = letter.delivery.map(|delivery| delivery.id.to_string());
            let answer = serde_json::json!({ "sequence": sequence, "delivery": delivery });
            Ok((axum::http::StatusCode::ACCEPTED, Json(answer)))
        }
        Err(RedriveError::Unknown(_)) => Err(missing(sequence)),
        Err(
            error @ (RedriveError::NoChannel(_)
            | RedriveError::NoSource(_)
            | RedriveError::StillBroken(_)
            | RedriveError::InvalidRule
            | RedriveError::Unreadable
            | RedriveError::Cut(_)
            | RedriveError::CutDelivery),
        ) => Err(Problem::conflict(error.to_string())),
        Err(RedriveError::Bus(error)) => Err(error.into()),
    }
}

/// Letters hold whole deliveries of anybody, and jobs send them: a token bound to a recipient sees none.
pub(super) fn may_see(principal: &Principal, permission: Permission) -> Result<(), Problem> {
    principal.may(permission)?;
    if principal.recipient.is_some() {
        return Err(Problem::forbidden("a token bound to a recipient does not see dead letters"));
    }
    Ok(())
}

fn missing(sequence: u64) -> Problem {
    Problem::not_found(format!("there is no dead letter {sequence}"))
}

async fn find(api: &Shared, principal: &Principal, sequence: u64) -> Result<Letter, Problem> {
    let letter = letters::get(&api.bus, sequence).await?.ok_or_else(|| missing(sequence))?;
    let visible = principal.workspace.as_ref().is_none_or(|own| letter.workspace.as_ref() == Some(own));
    if visible { Ok(letter) } else { Err(missing(sequence)) }
}

//! The dead letters over HTTP: what was given up, and sending it again.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::Value;

use super::Shared;
use super::auth::{Permission, Principal};
use super::problem::Problem;
use super::query::Query;
use crate::dead::letters::{self, Letter, RedriveError};

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LetterPage {
    #[schema(value_type = Vec<Object>)]
    pub dead_letters: Vec<Letter>,
    /// The `from` of the next page; none at the end.
    pub next_from: Option<u64>,
}

/// List dead letters, oldest first.
#[utoipa::path(
    get,
    path = "/v1/dead-letters",
    operation_id = "listDeadLetters",
    tag = "dead letters",
    params(
        ("workspace" = Option<String>, Query), ("limit" = Option<u32>, Query),
        ("from" = Option<u64>, Query, description = "the sequence to begin with"),
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
    let query = query.only(&["workspace", "limit", "from"])?;
    let workspace = principal.reads(query.workspace()?)?;
    let limit = query.limit()? as usize;
    let from = query.number("from")?.unwrap_or(1);
    let found = letters::list(&api.bus, workspace.as_ref(), from, limit).await?;
    let next_from = (found.len() == limit).then(|| found.last().map(|letter| letter.sequence + 1)).flatten();
    Ok(Json(LetterPage { dead_letters: found, next_from }))
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

/// Letters hold whole deliveries of anybody: a token bound to a recipient sees none.
fn may_see(principal: &Principal, permission: Permission) -> Result<(), Problem> {
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

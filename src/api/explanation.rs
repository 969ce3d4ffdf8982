//! Why there is a delivery: its event, as it is still stored, held against the rules of today.
//!
//! The rules of the day on which it was routed are not kept with it. The answer says so; the versions of a rule tell more.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::auth::{Permission, Principal};
use super::deliveries::find;
use super::problem::Problem;
use super::query::Query;
use super::{Api, Shared};
use crate::explain::Explanation;
use crate::explain::past::{Past, Present, Wanted};
use crate::ids::WorkspaceId;
use crate::store::deliveries::DeliveryRow;

/// So many events are looked at, once by their subject and once around their time: somebody waits for the answer.
const LOOKS_MAX: u64 = 100_000;
/// The clocks of broker, router and producer may differ by this much.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(60);
/// How long before its first record an event was stored, in the order of trying.
const ROUTED_WITHIN: [SignedDuration; 2] = [SignedDuration::from_secs(120), SignedDuration::from_hours(6)];

const NOTE: &str = "the event is held against the rules, channels, scopes and windows of now, which may have changed since; active hours and expiry are those of storedAt";

/// A delivery's event, and what it would lead to now.
#[derive(Debug, Serialize)]
pub struct DeliveryExplanation {
    pub delivery: String,
    pub note: &'static str,
    #[serde(flatten)]
    pub explanation: Explanation,
}

/// Why there is this delivery: its event held against the rules of today.
///
/// As `POST /v1/rules/evaluate` answers, with the stored `event`, the moment `storedAt` at which the broker got it, and a `note`.
/// The rules may have changed since. Events are kept for `keep.events_days`.
#[utoipa::path(
    get,
    path = "/v1/deliveries/{id}/explanation",
    operation_id = "explainDelivery",
    tag = "deliveries",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "`{delivery, note, event, storedAt, type, scopes, rules}`", body = Object),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such delivery, no rule, or its event is no longer kept", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the history is behind or away, or the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<Json<DeliveryExplanation>, Problem> {
    query.only(&[])?;
    principal.may(Permission::ReadDeliveries)?;
    principal.reads_documents()?;
    let row = find(&api, &principal, &id).await?;
    if row.rule.is_none() {
        return Err(Problem::not_found(format!("delivery {id} was sent without a rule and an event")));
    }
    let (bus, directory) = (api.bus.clone(), Arc::clone(&api.directory));
    let present = Present { bus, directory, texts: Arc::clone(&api.texts) };
    // Nobody closes it.
    let _one_of_few = api.explaining.acquire().await;
    let past = stored(&present, &row).await?.ok_or_else(|| gone(&api, &row))?;
    let explanation = present.explain(&past, None).await?;
    Ok(Json(DeliveryExplanation { delivery: row.id, note: NOTE, explanation }))
}

/// The subject mostly says the event's type; where it does not, only the time around the first record is searched.
async fn stored(present: &Present, row: &DeliveryRow) -> Result<Option<Past>, Problem> {
    let workspace =
        WorkspaceId::parse(&row.workspace).map_err(|error| Problem::not_found(error.to_string()))?;
    let before = |span| row.created_at.checked_sub(span).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut since = ROUTED_WITHIN.map(before).to_vec();
    let until = row.created_at.checked_add(CLOCKS_DIFFER).ok();
    let anywhere = Wanted {
        id: row.event_id.clone(),
        workspace: Some(workspace),
        source: Some(row.event_source.clone()),
        on_subject_of: None,
        since: since.clone(),
        until,
        looks_max: LOOKS_MAX,
    };
    since.push(Timestamp::UNIX_EPOCH);
    let of_type = Wanted { on_subject_of: Some(row.event_type.clone()), since, ..anywhere.clone() };
    for wanted in [of_type, anywhere] {
        let search = present.find(&wanted, |_| {}).await?;
        // The first one made the delivery; a later one with its id found it there.
        if let Some(past) = search.found.into_iter().next() {
            return Ok(Some(past));
        }
    }
    Ok(None)
}

fn gone(api: &Api, row: &DeliveryRow) -> Problem {
    let days = api.keep.events_days;
    Problem::not_found(format!(
        "the event {} of {} is not found among the stored ones any more: they are kept for {days} days (keep.events_days)",
        row.event_id, row.event_source
    ))
}

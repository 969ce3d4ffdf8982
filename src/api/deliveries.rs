//! The history: lists with filters, one delivery with its steps, and the figures.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State as AxumState};
use jiff::Timestamp;
use serde::Serialize;

use super::auth::{Permission, Principal};
use super::problem::Problem;
use super::query::{FILTERS, Query};
use super::{Api, Shared};
use crate::ids::{DeliveryId, Recipient};
use crate::outcome::State;
use crate::store::deliveries::{DeliveryRow, Filter, OutcomeRow};
use crate::store::stats::Counts;

/// A history that is behind gets this long to catch up before the answer is "not known at the moment".
const CATCH_UP: Duration = Duration::from_secs(2);

/// A delivery and where it stands.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryView {
    pub id: String,
    pub workspace: String,
    /// scheduled, retrying, sent, failed or suppressed.
    pub status: String,
    pub reason: String,
    pub detail: Option<String>,
    /// The provider's own status code.
    pub code: Option<i64>,
    pub channel: String,
    pub kind: Option<String>,
    /// None when it was sent without a rule.
    pub rule: Option<String>,
    pub scope: String,
    /// The event's id.
    pub event: String,
    pub event_type: String,
    pub event_source: String,
    #[schema(value_type = String)]
    pub event_time: Timestamp,
    pub recipient: Option<String>,
    pub severity: String,
    pub title: String,
    pub body: String,
    pub link: Option<String>,
    /// Tries so far that counted.
    pub attempts: i64,
    /// How often it was sent again after it was given up.
    pub redrive: i64,
    pub provider_id: Option<String>,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    #[schema(value_type = String)]
    pub updated_at: Timestamp,
    #[schema(value_type = Option<String>)]
    pub next_at: Option<Timestamp>,
    /// The delivery that this one was made in place of, when its channel did not work.
    pub fallback_of: Option<String>,
}

impl From<DeliveryRow> for DeliveryView {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id,
            workspace: row.workspace,
            status: row.status,
            reason: row.reason,
            detail: row.detail,
            code: row.code,
            channel: row.channel,
            kind: row.kind,
            rule: row.rule,
            scope: row.scope,
            event: row.event_id,
            event_type: row.event_type,
            event_source: row.event_source,
            event_time: row.event_time,
            recipient: row.recipient,
            severity: row.severity,
            title: row.title,
            body: row.body,
            link: row.link,
            attempts: row.attempts,
            redrive: row.redrive,
            provider_id: row.provider_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
            next_at: row.next_at,
            fallback_of: row.fallback_of,
        }
    }
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryPage {
    pub deliveries: Vec<DeliveryView>,
    /// The `cursor` of the next page; none at the end.
    pub next_cursor: Option<String>,
}

/// One step of a delivery: a try's end, a suppression, or a time that was set.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub state: String,
    pub reason: String,
    pub detail: Option<String>,
    pub code: Option<i64>,
    /// 0 when nothing was tried.
    pub attempt: i64,
    pub redrive: i64,
    #[schema(value_type = String)]
    pub at: Timestamp,
    pub duration_ms: Option<i64>,
    #[schema(value_type = Option<String>)]
    pub next_at: Option<Timestamp>,
    pub provider_id: Option<String>,
    /// How often the same step was reported again, after crashes.
    pub repeats: i64,
}

impl From<OutcomeRow> for Step {
    fn from(row: OutcomeRow) -> Self {
        let OutcomeRow {
            state,
            reason,
            detail,
            code,
            provider_id,
            attempt,
            redrive,
            at,
            duration_ms,
            next_at,
            repeats,
        } = row;
        Self { state, reason, detail, code, attempt, redrive, at, duration_ms, next_at, provider_id, repeats }
    }
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DeliveryDetail {
    #[serde(flatten)]
    pub delivery: DeliveryView,
    /// All steps, oldest first; the tries are those whose `attempt` is not 0.
    pub timeline: Vec<Step>,
    pub links: Links,
}

/// Where to read on.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Links {
    /// Why it is there; none when it was sent without a rule.
    pub explanation: Option<String>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct StatsView {
    pub total: u64,
    /// By state; every state is there.
    pub states: BTreeMap<String, u64>,
    pub channels: Vec<ChannelStats>,
    /// By the hour of the first outcome, oldest first.
    pub hours: Vec<HourStats>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ChannelStats {
    pub channel: String,
    pub kind: Option<String>,
    pub states: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct HourStats {
    #[schema(value_type = String)]
    pub hour: Timestamp,
    pub states: BTreeMap<String, u64>,
}

/// List deliveries, newest first.
///
/// All filters combine. Pages are cut by `limit` (1–500, default 50) and continued by `cursor`.
#[utoipa::path(
    get,
    path = "/v1/deliveries",
    operation_id = "listDeliveries",
    tag = "deliveries",
    params(
        ("workspace" = Option<String>, Query), ("status" = Option<String>, Query, description = "one or more, by comma"),
        ("channel" = Option<String>, Query), ("kind" = Option<String>, Query), ("rule" = Option<String>, Query),
        ("event" = Option<String>, Query, description = "the event's id"), ("eventType" = Option<String>, Query),
        ("recipient" = Option<String>, Query), ("severity" = Option<String>, Query),
        ("fallbackOf" = Option<String>, Query),
        ("since" = Option<String>, Query, description = "RFC 3339 or Unix milliseconds"), ("until" = Option<String>, Query),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "a page", body = DeliveryPage),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    principal: Principal,
    AxumState(api): AxumState<Shared>,
    query: Query,
) -> Result<Json<DeliveryPage>, Problem> {
    let known: Vec<&str> = FILTERS.iter().copied().chain(["limit", "cursor"]).collect();
    let query = query.only(&known)?;
    let filter = visible(&principal, &query)?;
    let page = api.store.list(&filter, query.cursor()?.as_ref(), query.limit()?).await?;
    let deliveries = page.deliveries.into_iter().map(DeliveryView::from).collect();
    Ok(Json(DeliveryPage { deliveries, next_cursor: page.next.map(|cursor| cursor.text()) }))
}

/// Count deliveries: totals, by channel and by hour.
///
/// Takes the filters of the list.
#[utoipa::path(
    get,
    path = "/v1/deliveries/stats",
    operation_id = "getStats",
    tag = "deliveries",
    params(
        ("workspace" = Option<String>, Query), ("status" = Option<String>, Query), ("channel" = Option<String>, Query),
        ("kind" = Option<String>, Query), ("rule" = Option<String>, Query), ("event" = Option<String>, Query),
        ("eventType" = Option<String>, Query), ("recipient" = Option<String>, Query), ("severity" = Option<String>, Query),
        ("fallbackOf" = Option<String>, Query),
        ("since" = Option<String>, Query), ("until" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "the figures", body = StatsView),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn stats(
    principal: Principal,
    AxumState(api): AxumState<Shared>,
    query: Query,
) -> Result<Json<StatsView>, Problem> {
    let filter = visible(&principal, &query.only(&FILTERS)?)?;
    let stats = api.store.stats(&filter).await?;
    let channels = stats.channels.into_iter();
    Ok(Json(StatsView {
        total: stats.total,
        states: words(&stats.states),
        channels: channels
            .map(|(channel, kind, counts)| ChannelStats { channel, kind, states: words(&counts) })
            .collect(),
        hours: stats
            .hours
            .into_iter()
            .map(|(hour, counts)| HourStats { hour, states: words(&counts) })
            .collect(),
    }))
}

fn words(counts: &Counts) -> BTreeMap<String, u64> {
    State::ALL
        .iter()
        .map(|state| (state.to_string(), counts.get(state).copied().unwrap_or_default()))
        .collect()
}

/// One delivery, with every step.
///
/// A delivery that the history does not have yet, because it is behind, is a 503 and not a 404.
#[utoipa::path(
    get,
    path = "/v1/deliveries/{id}",
    operation_id = "getDelivery",
    tag = "deliveries",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "the delivery", body = DeliveryDetail),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such delivery", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the history is behind or away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    principal: Principal,
    AxumState(api): AxumState<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<Json<DeliveryDetail>, Problem> {
    query.only(&[])?;
    principal.may(Permission::ReadDeliveries)?;
    let row = find(&api, &principal, &id).await?;
    let id = DeliveryId::parse(&row.id).map_err(|error| Problem::not_found(error.to_string()))?;
    let timeline = api.store.timeline(&id).await?.into_iter().map(Step::from).collect();
    let explanation = row.rule.is_some().then(|| format!("/v1/deliveries/{id}/explanation"));
    Ok(Json(DeliveryDetail { delivery: row.into(), timeline, links: Links { explanation } }))
}

/// The delivery, as far as the principal may see it; waits for a history that is a little behind.
///
/// # Errors
/// 404 when there is none, 503 when that cannot be known.
pub async fn find(api: &Api, principal: &Principal, id: &str) -> Result<DeliveryRow, Problem> {
    let missing = || Problem::not_found(format!("there is no delivery {id}"));
    let parsed = DeliveryId::parse(id).map_err(|_| missing())?;
    let seen = |row: &DeliveryRow| {
        let own = principal.recipient.as_ref().map(Recipient::as_str);
        own.is_none() || row.recipient.as_deref() == own
    };
    let workspace = principal.workspace.as_ref();
    if let Some(row) = api.store.get(workspace, &parsed).await? {
        return Some(row).filter(seen).ok_or_else(missing);
    }
    let last = api.last_record().await?;
    if !api.recorded(last, CATCH_UP).await? {
        return Err(Problem::unavailable("the history is behind and may not have this delivery yet"));
    }
    api.store.get(workspace, &parsed).await?.filter(seen).ok_or_else(missing)
}

/// The filters of a request, narrowed to what its token may see.
pub fn visible(principal: &Principal, query: &Query) -> Result<Filter, Problem> {
    principal.may(Permission::ReadDeliveries)?;
    let mut filter = query.filter()?;
    filter.workspace = principal.reads(query.workspace()?)?;
    match (&principal.recipient, &filter.recipient) {
        (Some(own), Some(asked)) if own != asked => {
            return Err(Problem::forbidden("this token sees its own recipient only"));
        }
        (Some(own), _) => filter.recipient = Some(own.clone()),
        (None, _) => {}
    }
    Ok(filter)
}

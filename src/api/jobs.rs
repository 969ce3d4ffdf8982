//! Long work over HTTP: dead letters sent again by a filter, events replayed, and the jobs that do both.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State as AxumState};
use axum::http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::auth::{Permission, Principal};
use super::dead_letters::may_see;
use super::documents::unique_json;
use super::problem::Problem;
use super::query::Query;
use super::{Api, Shared};
use crate::bus::BusError;
use crate::clock;
use crate::dead::filter::{Filter, PARTS};
use crate::documents::strict;
use crate::ids::{WorkspaceId, digest};
use crate::jobs::ask::{self, AskError, Terms, Wanted};
use crate::jobs::{Job, board, preview};
use crate::rule::fault::Fault;

/// Numbers of one filter.
const NUMBERS_MAX: usize = 1_000;
const KEY_BYTES_MAX: usize = 255;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct RedriveRequest {
    /// What all of them have; `{}` is every letter.
    filter: Map<String, Value>,
    #[serde(default)]
    rate_per_second: Option<u32>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ReplayRequest {
    since: String,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    event_types: Vec<String>,
    #[serde(default)]
    event: Option<String>,
    #[serde(default)]
    rules: Vec<String>,
    #[serde(default)]
    fresh_ids: bool,
    #[serde(default)]
    rate_per_second: Option<u32>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobPage {
    #[schema(value_type = Vec<Object>)]
    pub jobs: Vec<Job>,
}

/// Send dead letters again, as a filter says.
///
/// `{filter: {channel, kind, reason, fault, rule, eventType, recipient, since, until, numbers}, ratePerSecond?, dryRun?}`, where
/// `filter` may be `{}` for all. It is a job, which any API process goes on with: 202 with it. With `dryRun` 200 with what it
/// would do, a `sample`, and `bounded: true` when there was more than it looked at.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/redrive",
    operation_id = "redriveDeadLetters",
    tag = "dead letters",
    params(
        ("workspace" = Option<String>, Query),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 bytes: the same key is the same job"),
    ),
    request_body(content = Object, description = "`{filter, ratePerSecond?, dryRun?}`"),
    responses(
        (status = 200, description = "a dry run: what it would do", body = Object),
        (status = 202, description = "the job", body = Object),
        (status = 400, description = "not valid", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "the key was used for another job", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn redrive(
    principal: Principal,
    AxumState(api): AxumState<Shared>,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    may_see(&principal, Permission::RedriveDeadLetters)?;
    let workspace = principal.reads(query.only(&["workspace"])?.workspace()?)?;
    let request: RedriveRequest = strict(unique_json(&body)?).map_err(Problem::fault)?;
    let filter = Filter { workspace, ..filter(request.filter).map_err(Problem::fault)? };
    let terms = terms(&principal, request.rate_per_second, request.dry_run);
    let job = ask::redrive(&api.bus, filter, terms).await.map_err(refused)?;
    answer(&api, job, key(&headers, &body)?).await
}

fn filter(parts: Map<String, Value>) -> Result<Filter, Fault> {
    let (mut filter, now) = (Filter::default(), clock::now());
    for (part, value) in parts {
        let at = |message: String| Fault::new(format!("/filter/{part}"), message);
        if part == "numbers" {
            let numbers: Vec<u64> =
                serde_json::from_value(value).map_err(|_| at("is a list of whole numbers".to_owned()))?;
            if numbers.is_empty() || numbers.len() > NUMBERS_MAX {
                return Err(at(format!("has {} of them: 1 to {NUMBERS_MAX} are allowed", numbers.len())));
            }
            filter.numbers = numbers;
            continue;
        }
        if !PARTS.contains(&part.as_str()) {
            let known = PARTS.join(", ");
            return Err(at(format!("is no filter: known are {known}, numbers")));
        }
        let text = value.as_str().ok_or_else(|| at("is a text".to_owned()))?;
        filter.set(&part, text, now).map_err(at)?;
    }
    Ok(filter)
}

/// Route events of the past again, as if they were new.
///
/// `{since, until?, eventTypes?, event?, rules?, freshIds?, ratePerSecond?, dryRun?}`. What was sent before, or is on its way, is
/// not sent again, unless `freshIds` asks for everything as something new. It is a job, as a redrive is.
#[utoipa::path(
    post,
    path = "/v1/events/replay",
    operation_id = "replayEvents",
    tag = "events",
    params(
        ("workspace" = Option<String>, Query),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 bytes: the same key is the same job"),
    ),
    request_body(content = Object, description = "`{since, until?, eventTypes?, event?, rules?, freshIds?, ratePerSecond?, dryRun?}`"),
    responses(
        (status = 200, description = "a dry run: what it would do", body = Object),
        (status = 202, description = "the job", body = Object),
        (status = 400, description = "not valid", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "the key was used for another job", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker or the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn replay(
    principal: Principal,
    AxumState(api): AxumState<Shared>,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    may_see(&principal, Permission::RedriveDeadLetters)?;
    let workspace = principal.writes(query.only(&["workspace"])?.workspace()?)?;
    let request: ReplayRequest = strict(unique_json(&body)?).map_err(Problem::fault)?;
    let ReplayRequest { since, until, event_types, event, rules, fresh_ids, .. } = request;
    let wanted = Wanted { since, until, event_types, event, rules, fresh_ids };
    let terms = terms(&principal, request.rate_per_second, request.dry_run);
    let job = ask::replay(&api.bus, workspace, wanted, terms).await.map_err(refused)?;
    answer(&api, job, key(&headers, &body)?).await
}

fn terms(principal: &Principal, rate_per_second: Option<u32>, dry_run: bool) -> Terms {
    Terms { rate_per_second, dry_run, by: principal.name.clone() }
}

/// The idempotency key, and what it stands for.
fn key<'a>(headers: &'a HeaderMap, body: &[u8]) -> Result<Option<(&'a str, String)>, Problem> {
    let key = headers.get("idempotency-key").map(|value| value.to_str()).transpose();
    let key = key.map_err(|_| Problem::invalid("the Idempotency-Key is not ASCII"))?;
    if key.is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
        return Err(Problem::invalid(format!("Idempotency-Key must have 1 to {KEY_BYTES_MAX} bytes")));
    }
    Ok(key.map(|key| (key, digest(&[&String::from_utf8_lossy(body)]))))
}

fn refused(error: AskError) -> Problem {
    match error {
        AskError::Invalid(field, message) => Problem::fault(Fault::new(format!("/{field}"), message)),
        AskError::Bus(error) => error.into(),
    }
}

/// Tries a dry run, or puts the job up. A key is the job's id: its repeat finds the job there.
async fn answer(
    api: &Api,
    job: Job,
    key: Option<(&str, String)>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    if job.dry_run {
        // Nobody closes it.
        let _one_of_few = api.explaining.acquire().await;
        let (job, bounded) = preview(api.foreman.tools(), job).await?;
        let mut seen = written(&job)?;
        seen["bounded"] = bounded.into();
        return Ok((StatusCode::OK, Json(seen)));
    }
    let job = match key {
        Some((key, body)) => Job { id: format!("j_{}", digest(&["job", key])), request: Some(body), ..job },
        None => job,
    };
    match board::put_up(&api.bus, &job).await {
        Ok(()) => Ok((StatusCode::ACCEPTED, Json(written(&job)?))),
        Err(BusError::Conflict) => {
            let found = board::get(&api.bus, &job.key()).await?.ok_or_else(|| missing(&job.id))?;
            if (found.job.kind(), &found.job.request) != (job.kind(), &job.request) {
                return Err(Problem::key_reused());
            }
            Ok((StatusCode::ACCEPTED, Json(written(&found.job)?)))
        }
        Err(error) => Err(error.into()),
    }
}

fn written(job: &Job) -> Result<Value, Problem> {
    Ok(serde_json::to_value(job).map_err(BusError::from)?)
}

/// List jobs, the newest first: those of the last 30 days.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    operation_id = "listJobs",
    tag = "jobs",
    params(("workspace" = Option<String>, Query)),
    responses(
        (status = 200, description = "the jobs", body = JobPage),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    principal: Principal,
    AxumState(api): AxumState<Shared>,
    query: Query,
) -> Result<Json<JobPage>, Problem> {
    may_see(&principal, Permission::ReadDeliveries)?;
    let workspace = principal.reads(query.only(&["workspace"])?.workspace()?)?;
    let found = board::list(&api.bus, workspace.as_ref()).await?;
    Ok(Json(JobPage { jobs: found.into_iter().map(|held| held.job).collect() }))
}

/// One job: how far it is, and what came of it.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    operation_id = "getJob",
    tag = "jobs",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "the job", body = Object),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such job", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    principal: Principal,
    AxumState(api): AxumState<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<Json<Job>, Problem> {
    query.only(&[])?;
    may_see(&principal, Permission::ReadDeliveries)?;
    find(&api, principal.workspace.as_ref(), &id).await.map(|held| Json(held.job))
}

/// Stop a job, within a second. What it sent is sent.
#[utoipa::path(
    delete,
    path = "/v1/jobs/{id}",
    operation_id = "cancelJob",
    tag = "jobs",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "the job, as it is now", body = Object),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such job", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "it is over", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn cancel(
    principal: Principal,
    AxumState(api): AxumState<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<Json<Job>, Problem> {
    use crate::jobs::State;
    query.only(&[])?;
    may_see(&principal, Permission::RedriveDeadLetters)?;
    let held = find(&api, principal.workspace.as_ref(), &id).await?;
    let job = board::cancel(&api.bus, &held.job.key()).await?.ok_or_else(|| missing(&id))?;
    match job.state {
        State::Cancelled => Ok(Json(job)),
        State::Running | State::Done | State::Failed => {
            Err(Problem::conflict(format!("job {id} is over: it is {}", job.state)))
        }
    }
}

async fn find(api: &Api, workspace: Option<&WorkspaceId>, id: &str) -> Result<board::Held, Problem> {
    board::find(&api.bus, workspace, id).await?.ok_or_else(|| missing(id))
}

fn missing(id: &str) -> Problem {
    Problem::not_found(format!("there is no job {id}: jobs are kept for 30 days"))
}

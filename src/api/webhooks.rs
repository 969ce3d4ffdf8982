//! Webhooks in: whoever proves to know a source's secret posts here, without a token of Bugle's.
//!
//! 202 means that the broker has all of it. What cannot be read is a 400 with the place, and is kept among the dead
//! letters besides; our own trouble is a 503, so that the sender tries again.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Shared;
use super::problem::Problem;
use super::query::Query;
use super::sources::missing;
use crate::clock;
use crate::ids::SourceId;
use crate::metrics::{self, SourceResult};
use crate::source::intake::{self, Taken};
use crate::source::map::Arrival;
use crate::source::signature::{self, Proof};

/// Who sends it has not proved anything yet.
const BODY_WAIT: Duration = Duration::from_secs(20);
/// Several alerts come in one request. Before the proof nothing larger is read.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What became of a webhook.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Received {
    /// Events that were stored.
    pub published: usize,
    /// Events that were there already.
    pub duplicates: usize,
}

/// Take a webhook for a source.
///
/// Instead of a token: the source's secret as Bearer or as Basic password, or a signature made with it
/// (`X-Hub-Signature-256`, `Sentry-Hook-Signature`, Standard Webhooks).
#[utoipa::path(
    post,
    path = "/v1/sources/{id}",
    operation_id = "receiveWebhook",
    tag = "sources",
    security(()),
    params(("id" = String, Path), ("workspace" = Option<String>, Query, description = "the source's; `default` where nothing is said")),
    request_body(content = Object, description = "what the sender sends"),
    responses(
        (status = 202, description = "stored", body = Received),
        (status = 400, description = "makes no event; it is kept among the dead letters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no secret, no signature, or a wrong one", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such source for webhooks, or it is switched off", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "too large", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn receive(
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let workspace = query.only(&["workspace"])?.workspace()?;
    let found = SourceId::parse(&id).ok().and_then(|id| {
        let key = (workspace.unwrap_or_default(), id);
        api.directory.snapshot().sources.get(&key).filter(|source| source.spec.enabled).cloned()
    });
    let source = found.ok_or_else(|| missing(&id))?;
    let keys = match &source.keys {
        None => return Err(missing(&id)),
        Some(Ok(keys)) => keys,
        Some(Err(fault)) => {
            tracing::debug!(source = source.name(), %fault, "a webhook is refused: the source's secret cannot be read");
            return Err(Problem::unavailable("the source's secret is not known here: see the log"));
        }
    };
    let body = tokio::time::timeout(BODY_WAIT, axum::body::to_bytes(body, BODY_BYTES_MAX)).await;
    let body = body.map_err(|_| Problem::invalid("the body did not come in time"))?;
    let body =
        body.map_err(|_| Problem::too_large(format!("a webhook has at most {BODY_BYTES_MAX} bytes")))?;
    let received_at = clock::now();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if !(Proof { header: &header, body: &body, now: received_at }).holds(keys) {
        metrics::source_messages("http", SourceResult::Unauthorized, 1);
        tracing::debug!(source = source.name(), "a webhook without the source's secret was refused");
        return Err(Problem::unauthorized("send the source's secret, or a signature made with it"));
    }
    super::events::hops(&headers)?;
    let arrival = Arrival { subject: None, headers: told(&headers), body, received_at, place: None };
    answer(intake::take(&api.bus, &source, &arrival).await?)
}

/// What templates may see of the headers.
fn told(headers: &HeaderMap) -> Vec<(String, String)> {
    let texts =
        headers.iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
    texts.filter(|(name, _)| !signature::is_secret(name)).collect()
}

fn answer(taken: Taken) -> Result<Response, Problem> {
    match taken.faults.into_iter().next() {
        Some(fault) if taken.too_large => Err(Problem::too_large(fault.message)),
        Some(fault) => Err(Problem::fault(fault)),
        None => {
            let received = Received { published: taken.published, duplicates: taken.duplicates };
            Ok((StatusCode::ACCEPTED, Json(received)).into_response())
        }
    }
}

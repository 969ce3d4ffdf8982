//! Outcomes as they happen: what becomes of each delivery, step by step.

use std::sync::Arc;

use axum::extract::State as AxumState;
use axum::http::HeaderMap;
use axum::response::Response;

use super::feed::{self, View};
use super::frames::Frame;
use super::{PARAMETERS, resumed, sse};
use crate::api::Shared;
use crate::api::auth::Principal;
use crate::api::deliveries::visible;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::bus::reader::Entry;
use crate::bus::{Bus, Names, StreamName};
use crate::metrics::{Followed, Transport};
use crate::outcome::Outcome;
use crate::store::deliveries::Filter;

/// Beside those that every stream takes.
pub const FILTERS: [&str; 8] =
    ["status", "channel", "kind", "rule", "event", "eventType", "recipient", "severity"];

/// Follow outcomes live (server-sent events).
///
/// Each event is named `outcome`, has the outcome as JSON and an `id`. With `Last-Event-ID` it resumes behind that id, without
/// it only what happens from now on comes. `gap` says that what was asked for has expired; `server_shutdown` comes before
/// the server ends the stream, `cut` (`{reason}`: `slow`, `revoked`) before it ends this one. A heartbeat comment comes every 30
/// seconds. Takes the filters of the list except times.
#[utoipa::path(
    get,
    path = "/v1/deliveries/stream",
    operation_id = "followDeliveries",
    tag = "deliveries",
    params(
        ("Last-Event-ID" = Option<u64>, Header), ("lastEventId" = Option<u64>, Query, description = "the same, in the query"),
        ("ticket" = Option<String>, Query, description = "for clients that cannot set headers: from `POST /v1/stream-tickets`"),
        ("token" = Option<String>, Query, description = "the same, where nobody between logs addresses"),
        ("workspace" = Option<String>, Query), ("status" = Option<String>, Query), ("channel" = Option<String>, Query),
        ("kind" = Option<String>, Query), ("rule" = Option<String>, Query), ("event" = Option<String>, Query),
        ("eventType" = Option<String>, Query), ("recipient" = Option<String>, Query), ("severity" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "the stream", content_type = "text/event-stream"),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn follow(
    principal: Principal,
    AxumState(api): AxumState<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&[&PARAMETERS[..], &FILTERS].concat())?;
    let view = Outcomes::wanted(&principal, &query)?;
    let resume = resumed(&headers, &query)?;
    Ok(sse::response(feed::open(api, &principal, view, resume, Transport::Sse).await?))
}

pub struct Outcomes(Filter);

impl Outcomes {
    /// What a client asks for and may see.
    ///
    /// # Errors
    /// 400 for a filter that is none, 403 for what is somebody else's.
    pub fn wanted(principal: &Principal, query: &Query) -> Result<Self, Problem> {
        Ok(Self(visible(principal, query)?))
    }
}

impl View for Outcomes {
    const STREAM: StreamName = StreamName::Records;
    const FOLLOWED: Followed = Followed::Deliveries;

    fn filter(&self, names: &Names) -> String {
        names.outcome_filter(self.0.workspace.as_ref())
    }

    fn show(&self, _: &Bus, _: &Arc<str>, entry: Entry) -> Option<Frame> {
        let outcome = serde_json::from_slice::<Outcome>(&entry.payload).ok()?;
        let data = String::from_utf8_lossy(&entry.payload).into_owned().into();
        keeps(&self.0, &outcome).then_some(Frame { name: feed::OUTCOME, id: Some(entry.sequence), data })
    }
}

fn keeps(filter: &Filter, outcome: &Outcome) -> bool {
    (filter.status.is_empty() || filter.status.contains(&outcome.state))
        && filter.channel.as_ref().is_none_or(|channel| *channel == outcome.channel)
        && filter.kind.is_none_or(|kind| Some(kind) == outcome.kind)
        && filter.rule.as_ref().is_none_or(|rule| Some(rule) == outcome.rule.as_ref())
        && filter.event.as_ref().is_none_or(|event| *event == outcome.event.id)
        && filter.event_type.as_ref().is_none_or(|name| name == outcome.event.event_type.as_str())
        && filter.recipient.as_ref().is_none_or(|recipient| Some(recipient) == outcome.recipient.as_ref())
        && filter.severity.is_none_or(|severity| severity == outcome.severity)
}

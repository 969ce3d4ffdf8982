//! Events in, for producers without NATS: one, or many, each with its own result.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Shared;
use super::auth::{Permission, Principal};
use super::problem::Problem;
use super::query::Query;
use crate::channel::webhook::HOPS_HEADER;
use crate::event::{HOPS, HOPS_MAX};
use crate::ids::WorkspaceId;
use crate::publish::{self, Published};

const ITEMS_MAX: usize = 1_000;
/// Publishes of one request in flight.
const IN_FLIGHT: usize = 64;

/// The results of a batch, in its order.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Results {
    pub results: Vec<Published>,
}

/// Publish one event, or a list of up to 1,000.
///
/// An event is a CloudEvent in JSON or `{type, data, id?, source?, time?, severity?}`; a binary CloudEvent (`ce-…` headers)
/// is accepted too. One event is answered with its own status; a list with 202, or 207 when the results differ. With an
/// `id` publishing again within two minutes stores nothing new; later the history still counts it once.
#[utoipa::path(
    post,
    path = "/v1/events",
    operation_id = "publishEvents",
    tag = "events",
    params(("workspace" = Option<String>, Query, description = "default where nothing is said")),
    request_body(content = Object, description = "an event or a list of events"),
    responses(
        (status = 202, description = "stored", body = Published),
        (status = 207, description = "a list whose results differ", body = Results),
        (status = 400, description = "not an event", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "too large", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn publish(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    principal.may(Permission::PublishEvents)?;
    let workspace = principal.writes(query.only(&["workspace"])?.workspace()?)?;
    let hops = hops(&headers)?;
    let prepared = |item: Value| traced(counted(item, hops), &headers);
    match items(&headers, &body)? {
        Items::One(item) => one(&api, &workspace, prepared(item)).await,
        Items::Many(items) => many(&api, &workspace, items.into_iter().map(prepared).collect()).await,
    }
}

/// How often what comes in went out from here before.
///
/// # Errors
/// 508 when it goes round in a circle.
pub fn hops(headers: &HeaderMap) -> Result<u32, Problem> {
    let hops = headers.get(HOPS_HEADER).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
    if hops > HOPS_MAX {
        let detail = format!("it went out through webhooks of Bugle and came in again {HOPS_MAX} times");
        return Err(Problem::circle(detail));
    }
    Ok(hops)
}

fn counted(mut item: Value, hops: u32) -> Value {
    if let Some(fields) = item.as_object_mut().filter(|_| hops > 0) {
        fields.insert(HOPS.to_owned(), hops.into());
    }
    item
}

/// The trace of the request is the event's, unless the event names one itself.
fn traced(mut item: Value, headers: &HeaderMap) -> Value {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let (Some(fields), Some(parent)) = (item.as_object_mut(), header("traceparent"))
        && !fields.contains_key("traceparent")
    {
        fields.insert("traceparent".to_owned(), parent.into());
        fields.extend(header("tracestate").map(|state| ("tracestate".to_owned(), state.into())));
    }
    item
}

enum Items {
    One(Value),
    Many(Vec<Value>),
}

async fn one(api: &Shared, workspace: &WorkspaceId, item: Value) -> Result<Response, Problem> {
    let published = publish::publish(&api.bus, workspace, item).await;
    match (published.status, published.error) {
        (_, None) => {
            let published = Published { error: None, ..published };
            Ok((StatusCode::ACCEPTED, Json(published)).into_response())
        }
        (413, Some(error)) => Err(Problem::too_large(error)),
        (503, Some(error)) => Err(Problem::unavailable(error)),
        (_, Some(error)) => Err(Problem { pointer: published.pointer, ..Problem::invalid(error) }),
    }
}

async fn many(api: &Shared, workspace: &WorkspaceId, items: Vec<Value>) -> Result<Response, Problem> {
    let publishes = items.into_iter().map(|item| publish::publish(&api.bus, workspace, item));
    let results: Vec<Published> = futures_util::stream::iter(publishes).buffered(IN_FLIGHT).collect().await;
    let first = results.first().map_or(202, |published| published.status);
    let same = results.iter().all(|published| published.status == first);
    let status =
        if same { StatusCode::from_u16(first).unwrap_or_default() } else { StatusCode::MULTI_STATUS };
    Ok((status, Json(Results { results })).into_response())
}

fn items(headers: &HeaderMap, body: &[u8]) -> Result<Items, Problem> {
    if headers.contains_key("ce-specversion") {
        return binary(headers, body).map(Items::One);
    }
    let items = match json(body)? {
        Value::Array(items) => items,
        one @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            return Ok(Items::One(one));
        }
    };
    if items.is_empty() {
        return Err(Problem::invalid("the list is empty"));
    }
    if items.len() > ITEMS_MAX {
        return Err(Problem::too_large(format!(
            "{} events in one request: at most {ITEMS_MAX}",
            items.len()
        )));
    }
    Ok(Items::Many(items))
}

/// A CloudEvent whose attributes are headers.
fn binary(headers: &HeaderMap, body: &[u8]) -> Result<Value, Problem> {
    let mut fields = Map::new();
    for (name, value) in headers {
        if let Some(attribute) = name.as_str().strip_prefix("ce-") {
            let text =
                value.to_str().map_err(|_| Problem::invalid(format!("the header {name} is not ASCII")))?;
            fields.insert(attribute.to_owned(), crate::event::decode::percent_decoded(text).into());
        }
    }
    if !body.is_empty() {
        fields.insert("data".to_owned(), json(body)?);
    }
    Ok(Value::Object(fields))
}

/// # Errors
/// 400 that says where it stops being JSON.
pub fn json(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::invalid(format!("the body is not JSON: {error}")))
}

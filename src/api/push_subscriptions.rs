//! Push subscriptions: phones and browsers, registered by the app or the page that runs on them.
//!
//! Whoever holds a token of a recipient manages that recipient's own devices; whoever may send manages all. Answers show enough of a
//! device to tell it from others, and no address.

pub mod vapid;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::auth::{Permission, Principal, permits};
use super::documents::unique_json;
use super::problem::Problem;
use super::query::Query;
use crate::bus::devices::{self, Page};
use crate::channel::Kind;
use crate::clock;
use crate::device::{self, Device, Platform, Subscribe};
use crate::documents::strict;
use crate::ids::{DeviceId, Recipient, WorkspaceId};
use crate::rule::fault::Fault;

/// A device, as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceView {
    #[schema(value_type = String)]
    pub id: DeviceId,
    #[schema(value_type = String)]
    pub kind: Kind,
    #[schema(value_type = String)]
    pub workspace: WorkspaceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub user: Option<Recipient>,
    /// The end of its token or endpoint.
    pub address: String,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// To the hour.
    #[schema(value_type = String)]
    pub last_seen_at: Timestamp,
}

impl DeviceView {
    fn of(workspace: &WorkspaceId, device: Device) -> Self {
        let Device { id, way, platform, device_name, user, created_at, last_seen_at, .. } = device;
        let (kind, address, workspace) = (way.kind(), way.masked(), workspace.clone());
        Self { id, kind, workspace, platform, device_name, user, address, created_at, last_seen_at }
    }
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceList {
    pub subscriptions: Vec<DeviceView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What an app or a page knows of itself when it takes its subscription back.
#[derive(Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unsubscribe {
    #[serde(default)]
    pub expo_push_token: Option<String>,
    #[serde(default)]
    pub endpoint: Option<String>,
}

/// Subscribe a device, or say that it is still there.
#[utoipa::path(
    post,
    path = "/v1/push-subscriptions",
    operation_id = "subscribeDevice",
    tag = "push",
    params(("workspace" = Option<String>, Query)),
    request_body = Subscribe,
    responses(
        (status = 200, description = "it was known, perhaps with another user, and is theirs now", body = DeviceView),
        (status = 201, description = "subscribed", body = DeviceView),
        (status = 400, description = "not a subscription", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the device would be somebody else's", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn subscribe(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    body: Bytes,
) -> Result<Response, Problem> {
    let workspace = principal.writes(query.only(&["workspace"])?.workspace()?)?;
    let own = principal.own_devices()?;
    let mut device =
        device::read(unique_json(&body)?, &api.http_policy, clock::now()).map_err(Problem::fault)?;
    match (own, &device.user) {
        (Some(own), Some(user)) if own != user => {
            return Err(Problem::forbidden("this token belongs to another recipient"));
        }
        (Some(own), _) => device.user = Some(own.clone()),
        (None, _) => {}
    }
    let (device, created) = devices::upsert(&api.bus, &workspace, &device).await?;
    tracing::info!(%workspace, device = %device.id, kind = %device.way.kind(), created, by = principal.name, "device subscribed");
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(DeviceView::of(&workspace, device))).into_response())
}

/// List devices.
#[utoipa::path(
    get,
    path = "/v1/push-subscriptions",
    operation_id = "listDevices",
    tag = "push",
    params(
        ("workspace" = Option<String>, Query), ("user" = Option<String>, Query), ("kind" = Option<String>, Query),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "a page, in the order of their last change", body = DeviceList),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "somebody else's", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
) -> Result<Json<DeviceList>, Problem> {
    let query = query.only(&["workspace", "user", "kind", "limit", "cursor"])?;
    let workspace = principal.writes(query.workspace()?)?;
    let asked = query.get("user").map(recipient).transpose()?;
    let user = match (principal.own_devices()?, asked) {
        (Some(own), Some(asked)) if *own != asked => {
            return Err(Problem::forbidden("this token belongs to another recipient"));
        }
        (Some(own), _) => Some(own.clone()),
        (None, asked) => asked,
    };
    let kind = query.get("kind").map(pushed).transpose()?;
    let after = query.get("cursor").map(place).transpose()?.unwrap_or(0);
    let of = (&workspace, kind, user.as_ref());
    let Page { devices, next } =
        devices::page(&api.bus, of, devices::Span::behind(after), query.limit()? as usize).await?;
    Ok(Json(DeviceList {
        subscriptions: devices.into_iter().map(|device| DeviceView::of(&workspace, device)).collect(),
        next_cursor: next.map(|place| BASE64URL_NOPAD.encode(place.to_string().as_bytes())),
    }))
}

/// Read a device.
#[utoipa::path(
    get,
    path = "/v1/push-subscriptions/{id}",
    operation_id = "getDevice",
    tag = "push",
    params(("id" = String, Path), ("workspace" = Option<String>, Query)),
    responses(
        (status = 200, description = "the device", body = DeviceView),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none, or it is somebody else's", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<Json<DeviceView>, Problem> {
    let workspace = principal.writes(query.only(&["workspace"])?.workspace()?)?;
    let id = device_id(&id)?;
    let mut found = devices::find(&api.bus, &workspace, principal.own_devices()?, &id).await?;
    let device = found.pop().ok_or_else(missing)?;
    Ok(Json(DeviceView::of(&workspace, device)))
}

/// Forget a device.
#[utoipa::path(
    delete,
    path = "/v1/push-subscriptions/{id}",
    operation_id = "forgetDevice",
    tag = "push",
    params(("id" = String, Path), ("workspace" = Option<String>, Query)),
    responses(
        (status = 204, description = "forgotten"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none, or it is somebody else's", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let workspace = principal.writes(query.only(&["workspace"])?.workspace()?)?;
    forget(&principal, &api, &workspace, &device_id(&id)?).await
}

/// Forget the device that this is the address of: a page that unsubscribes knows its endpoint, and no id.
#[utoipa::path(
    delete,
    path = "/v1/push-subscriptions",
    operation_id = "unsubscribeDevice",
    tag = "push",
    params(("workspace" = Option<String>, Query)),
    request_body = Unsubscribe,
    responses(
        (status = 204, description = "forgotten"),
        (status = 400, description = "names no device", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none, or it is somebody else's", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn unsubscribe(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let workspace = principal.writes(query.only(&["workspace"])?.workspace()?)?;
    let sent: Unsubscribe = strict(unique_json(&body)?).map_err(Problem::fault)?;
    let ((Some(address), None) | (None, Some(address))) = (sent.expo_push_token, sent.endpoint) else {
        return Err(Problem::fault(Fault::here("needs one of expoPushToken and endpoint")));
    };
    forget(&principal, &api, &workspace, &DeviceId::of(&address)).await
}

async fn forget(
    principal: &Principal,
    api: &Shared,
    workspace: &WorkspaceId,
    id: &DeviceId,
) -> Result<StatusCode, Problem> {
    let found = devices::find(&api.bus, workspace, principal.own_devices()?, id).await?;
    let mut removed = false;
    for device in &found {
        removed |= devices::remove(&api.bus, workspace, device).await?;
    }
    if !removed {
        return Err(missing());
    }
    tracing::info!(%workspace, device = %id, by = principal.name, "device forgotten");
    Ok(StatusCode::NO_CONTENT)
}

fn missing() -> Problem {
    Problem::not_found("there is no such push subscription")
}

fn device_id(text: &str) -> Result<DeviceId, Problem> {
    DeviceId::parse(text).map_err(|_| missing())
}

fn recipient(text: &str) -> Result<Recipient, Problem> {
    Recipient::parse(text).map_err(|error| Problem::invalid(format!("parameter user: {error}")))
}

fn pushed(text: &str) -> Result<Kind, Problem> {
    let known = [Kind::Expo, Kind::WebPush].into_iter().find(|kind| kind.as_str() == text);
    known.ok_or_else(|| Problem::invalid(format!("parameter kind: {text:?} is none of expo, webpush")))
}

fn place(text: &str) -> Result<u64, Problem> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
    let place = bytes.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
    place.ok_or_else(|| Problem::invalid("parameter cursor: take it from nextCursor"))
}

impl Principal {
    /// Whose devices it manages; None: everybody's.
    fn own_devices(&self) -> Result<Option<&Recipient>, Problem> {
        match &self.recipient {
            Some(own) => Ok(Some(own)),
            None if permits(self.role, Permission::Send) => Ok(None),
            None => Err(Problem::forbidden(format!(
                "the role {} manages devices only with a token that belongs to a recipient",
                self.role
            ))),
        }
    }
}

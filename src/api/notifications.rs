//! Inboxes over HTTP: what lies in one, and how many of it are unread. What is done to them is below.

pub mod claim;
pub mod create;
pub mod filter;
pub mod mark;
pub mod remove;
pub mod whose;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;

use super::auth::Principal;
use super::problem::Problem;
use super::query::Query;
use super::{Api, Shared};
use crate::bus::live;
use crate::notification::Notification;
use crate::notification::change::Announcement;
use whose::{Access, RECIPIENT, missing, parsed};

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotificationPage {
    /// The newest first.
    pub notifications: Vec<Notification>,
    /// Of all pages.
    pub total: u64,
    /// Whatever the filters are.
    pub unread_count: u64,
    /// The `cursor` of the next page; none at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Count {
    pub count: u64,
}

/// List an inbox, newest first.
///
/// A recipient's own notifications and what is for everybody (`*`). All filters combine; those that were dismissed are left out
/// unless `dismissed=true` asks for them alone.
#[utoipa::path(
    get,
    path = "/v1/notifications",
    operation_id = "listNotifications",
    tag = "inbox",
    params(
        ("recipient" = Option<String>, Query, description = "whose inbox; a token that is bound to one need not say it"),
        ("workspace" = Option<String>, Query), ("unread" = Option<bool>, Query), ("dismissed" = Option<bool>, Query),
        ("type" = Option<String>, Query, description = "one or more, by comma"),
        ("severity" = Option<String>, Query, description = "one or more, by comma"),
        ("source" = Option<String>, Query, description = "`task:42`"),
        ("sourceType" = Option<String>, Query), ("sourceId" = Option<String>, Query), ("project" = Option<String>, Query),
        ("since" = Option<String>, Query, description = "RFC 3339 or Unix milliseconds"), ("until" = Option<String>, Query),
        ("text" = Option<String>, Query, description = "a part of the title or the body"),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "a page", body = NotificationPage),
        (status = 400, description = "a bad parameter, or no recipient", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else's", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
) -> Result<Json<NotificationPage>, Problem> {
    let whose = principal.inbox_of(Access::Read, &query)?;
    let query = query.only(&filter::known(&["limit", "cursor"]))?;
    let (owner, filter) = (whose.owner()?, query.inbox_filter()?);
    let page = api.store.inbox(&owner, &filter, query.inbox_cursor()?.as_ref(), query.limit()?).await?;
    Ok(Json(NotificationPage {
        notifications: page.notifications,
        total: page.total,
        unread_count: page.unread_count,
        next_cursor: page.next.map(|cursor| cursor.text()),
    }))
}

/// Count what is unread in an inbox.
#[utoipa::path(
    get,
    path = "/v1/notifications/unread-count",
    operation_id = "countUnread",
    tag = "inbox",
    params(("recipient" = Option<String>, Query), ("workspace" = Option<String>, Query)),
    responses(
        (status = 200, description = "neither read nor dismissed", body = Count),
        (status = 400, description = "no recipient", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else's", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn unread_count(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
) -> Result<Json<Count>, Problem> {
    let whose = principal.inbox_of(Access::Read, &query)?;
    query.only(&["workspace", RECIPIENT])?;
    Ok(Json(Count { count: api.store.unread_count(&whose.owner()?).await? }))
}

/// Read a notification.
///
/// Without a `recipient` a broadcast is answered as nobody has marked it.
#[utoipa::path(
    get,
    path = "/v1/notifications/{id}",
    operation_id = "getNotification",
    tag = "inbox",
    params(("id" = String, Path), ("recipient" = Option<String>, Query), ("workspace" = Option<String>, Query)),
    responses(
        (status = 200, description = "the notification", body = Notification),
        (status = 400, description = "no id, or a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else's", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "none in that inbox", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<Json<Notification>, Problem> {
    let whose = principal.inbox_of(Access::Read, &query)?;
    query.only(&["workspace", RECIPIENT])?;
    let parsed = parsed(&id)?;
    let owner = whose.owner_of(&api, &parsed).await?;
    let found = api.store.notification(&owner, &parsed).await?;
    found.map(Json).ok_or_else(|| missing(&id))
}

impl Api {
    /// Tells whoever follows an inbox what was committed.
    async fn tell(&self, announcement: Option<Announcement>) {
        if let Some(announcement) = announcement {
            live::announce(&self.bus, announcement).await;
        }
    }
}

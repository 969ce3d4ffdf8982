//! Marks: read, unread, dismissed, restored; one, several, or all that a filter lists. Each change is told to whoever follows the
//! inbox, after it is committed.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use super::filter;
use super::whose::{Access, RECIPIENT, missing, parsed, somebody};
use crate::api::auth::Principal;
use crate::api::documents::unique_json;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::api::{Api, Shared};
use crate::clock;
use crate::documents::strict;
use crate::ids::{NotificationId, Recipient};
use crate::notification::Notification;
use crate::rule::fault::Fault;
use crate::store::inbox::Owner;
use crate::store::inbox::list::InboxFilter;
use crate::store::inbox::mark::{MARKED_MAX, Mark};

/// Of one request.
pub(super) const IDS_MAX: usize = 500;

crate::outcome::words! {
    /// What is done to several.
    Action {
        Read = "read",
        Unread = "unread",
        Dismiss = "dismiss",
        Restore = "restore",
    }
}

impl Action {
    fn mark(self) -> Mark {
        match self {
            Self::Read => Mark::Read,
            Self::Unread => Mark::Unread,
            Self::Dismiss => Mark::Dismiss,
            Self::Restore => Mark::Restore,
        }
    }
}

/// Several notifications, or all of a recipient.
#[derive(Debug, Deserialize, utoipa::ToSchema, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarkRequest {
    /// Up to 500.
    #[serde(default)]
    pub ids: Option<Vec<String>>,
    /// What is done to `ids`: `read` when nothing is said.
    #[serde(default)]
    pub action: Option<Action>,
    /// In place of `ids`: read all that are unread.
    #[serde(default)]
    pub mark_all_read: bool,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub recipient: Option<Recipient>,
}

/// What came of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarkedAnswer {
    /// How many it changed.
    pub updated: usize,
    /// Left in the inbox; not there when it was several inboxes, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_count: Option<u64>,
    /// How many of the ids are in no inbox that this token may mark.
    pub not_found: usize,
}

/// Mark a notification as read.
#[utoipa::path(
    post,
    path = "/v1/notifications/{id}/read",
    operation_id = "readNotification",
    tag = "inbox",
    params(("id" = String, Path), ("recipient" = Option<String>, Query), ("workspace" = Option<String>, Query)),
    request_body(content = Object, description = "`{recipient?, workspace?}`, as in the query. May be empty"),
    responses(
        (status = 200, description = "as it is now", body = Notification),
        (status = 400, description = "a broadcast, and no recipient", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else's", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "none in that inbox", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn read(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Notification>, Problem> {
    one(&principal, &api, filter::with_body(query, &body)?, (&id, Mark::Read)).await
}

/// Mark a notification as unread.
#[utoipa::path(
    post,
    path = "/v1/notifications/{id}/unread",
    operation_id = "unreadNotification",
    tag = "inbox",
    params(("id" = String, Path), ("recipient" = Option<String>, Query), ("workspace" = Option<String>, Query)),
    request_body(content = Object, description = "`{recipient?, workspace?}`, as in the query. May be empty"),
    responses(
        (status = 200, description = "as it is now", body = Notification),
        (status = 400, description = "a broadcast, and no recipient", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else's", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "none in that inbox", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn unread(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Notification>, Problem> {
    one(&principal, &api, filter::with_body(query, &body)?, (&id, Mark::Unread)).await
}

/// Dismiss a notification: it is listed no more, and counts no more.
#[utoipa::path(
    post,
    path = "/v1/notifications/{id}/dismiss",
    operation_id = "dismissNotification",
    tag = "inbox",
    params(("id" = String, Path), ("recipient" = Option<String>, Query), ("workspace" = Option<String>, Query)),
    request_body(content = Object, description = "`{recipient?, workspace?}`, as in the query. May be empty"),
    responses(
        (status = 200, description = "as it is now", body = Notification),
        (status = 400, description = "a broadcast, and no recipient", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else's", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "none in that inbox", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn dismiss(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Notification>, Problem> {
    one(&principal, &api, filter::with_body(query, &body)?, (&id, Mark::Dismiss)).await
}

/// Take a dismissal back.
#[utoipa::path(
    post,
    path = "/v1/notifications/{id}/restore",
    operation_id = "restoreNotification",
    tag = "inbox",
    params(("id" = String, Path), ("recipient" = Option<String>, Query), ("workspace" = Option<String>, Query)),
    request_body(content = Object, description = "`{recipient?, workspace?}`, as in the query. May be empty"),
    responses(
        (status = 200, description = "as it is now", body = Notification),
        (status = 400, description = "a broadcast, and no recipient", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else's", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "none in that inbox", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn restore(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Notification>, Problem> {
    one(&principal, &api, filter::with_body(query, &body)?, (&id, Mark::Restore)).await
}

async fn one(
    principal: &Principal,
    api: &Api,
    query: Query,
    (id, mark): (&str, Mark),
) -> Result<Json<Notification>, Problem> {
    let whose = principal.inbox_of(Access::Mark, &query)?;
    query.only(&["workspace", RECIPIENT])?;
    let parsed = parsed(id)?;
    let owner = whose.owner_of(api, &parsed).await?;
    somebody(&owner)?;
    let mut marked = api.store.mark(&owner, &[parsed], mark, clock::now()).await?;
    api.tell(marked.announcement).await;
    marked.notifications.pop().map(Json).ok_or_else(|| missing(id))
}

/// Read all that is unread, or all of it that the filters list.
///
/// The filters of the list, in the query or in the body.
#[utoipa::path(
    post,
    path = "/v1/notifications/read-all",
    operation_id = "readAllNotifications",
    tag = "inbox",
    params(
        ("recipient" = Option<String>, Query), ("workspace" = Option<String>, Query), ("type" = Option<String>, Query),
        ("severity" = Option<String>, Query), ("source" = Option<String>, Query), ("sourceType" = Option<String>, Query),
        ("sourceId" = Option<String>, Query), ("project" = Option<String>, Query), ("since" = Option<String>, Query),
        ("until" = Option<String>, Query), ("text" = Option<String>, Query), ("unread" = Option<bool>, Query),
    ),
    request_body(content = Object, description = "the same names; lists of words may be lists. May be empty"),
    responses(
        (status = 200, description = "done", body = MarkedAnswer),
        (status = 400, description = "a bad filter, or no recipient", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else's", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn read_all(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    body: Bytes,
) -> Result<Json<MarkedAnswer>, Problem> {
    principal.inbox_of(Access::Mark, &query)?;
    let query = filter::with_body(query, &body)?.only(&filter::known(&[]))?;
    let owner = principal.inbox_of(Access::Mark, &query)?.owner()?;
    let filter = query.inbox_filter()?;
    if filter.dismissed {
        return Err(Problem::invalid(
            "parameter dismissed: what was dismissed is not unread: there is nothing to read",
        ));
    }
    all(&api, &owner, &filter).await
}

async fn all(api: &Api, owner: &Owner, filter: &InboxFilter) -> Result<Json<MarkedAnswer>, Problem> {
    somebody(owner)?;
    let mut updated = 0;
    loop {
        let marked = api.store.read_all(owner, filter, clock::now()).await?;
        api.tell(marked.announcement).await;
        updated += marked.changed;
        if marked.changed < MARKED_MAX {
            break;
        }
    }
    let unread_count = Some(api.store.unread_count(owner).await?);
    Ok(Json(MarkedAnswer { updated, unread_count, not_found: 0 }))
}

/// Mark several notifications, or read all.
///
/// `{"ids": […], "action": "read"}`, or `{"markAllRead": true}`.
#[utoipa::path(
    put,
    path = "/v1/notifications",
    operation_id = "markNotifications",
    tag = "inbox",
    params(("recipient" = Option<String>, Query), ("workspace" = Option<String>, Query)),
    request_body = MarkRequest,
    responses(
        (status = 200, description = "done; ids that are nowhere are counted", body = MarkedAnswer),
        (status = 400, description = "neither ids nor markAllRead, too many, or no recipient", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else's", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn several(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    body: Bytes,
) -> Result<Json<MarkedAnswer>, Problem> {
    principal.inbox_of(Access::Mark, &query)?;
    let query = query.only(&["workspace", RECIPIENT])?;
    let request: MarkRequest = strict(unique_json(&body)?).map_err(Problem::fault)?;
    let asked = same(query.recipient()?, request.recipient)?;
    let whose = principal.inbox(Access::Mark, query.workspace()?, asked)?;
    let ids = match (request.ids, request.mark_all_read) {
        (None, true) if request.action.is_none() => {
            return all(&api, &whose.owner()?, &InboxFilter::default()).await;
        }
        (None, true) => return Err(Problem::fault(Fault::new("/action", "is for `ids`"))),
        (Some(ids), false) => ids,
        (Some(_), true) => {
            return Err(Problem::fault(Fault::new("/markAllRead", "and ids exclude each other")));
        }
        (None, false) => {
            return Err(Problem::invalid("say `ids`, or `markAllRead: true` with a `recipient`"));
        }
    };
    let asked = distinct(&ids)?;
    let mark = request.action.unwrap_or(Action::Read).mark();
    let owners = whose.owners_of(&api, &asked.known).await?;
    // Before any of them is marked.
    owners.keys().try_for_each(somebody)?;
    let (mut updated, mut found) = (0, 0);
    for (owner, ids) in &owners {
        let marked = api.store.mark(owner, ids, mark, clock::now()).await?;
        api.tell(marked.announcement).await;
        updated += marked.changed;
        found += marked.notifications.len();
    }
    let unread_count = match owners.keys().collect::<Vec<_>>()[..] {
        [owner] => Some(api.store.unread_count(owner).await?),
        _ => None,
    };
    Ok(Json(MarkedAnswer { updated, unread_count, not_found: asked.count - found }))
}

/// Each id once, and those that can be one.
pub(super) struct Ids {
    pub known: Vec<NotificationId>,
    pub count: usize,
}

/// # Errors
/// 400 for too many.
pub(super) fn distinct(ids: &[String]) -> Result<Ids, Problem> {
    if ids.len() > IDS_MAX {
        let message = format!("has {} entries: at most {IDS_MAX} at once", ids.len());
        return Err(Problem::fault(Fault::new("/ids", message)));
    }
    let all: BTreeSet<&String> = ids.iter().collect();
    let known = all.iter().filter_map(|id| NotificationId::parse(id).ok()).collect();
    Ok(Ids { known, count: all.len() })
}

/// A recipient may be named in the query or in the body.
///
/// # Errors
/// 400 when both are, and differ.
pub(super) fn same(query: Option<Recipient>, body: Option<Recipient>) -> Result<Option<Recipient>, Problem> {
    match (query, body) {
        (Some(query), Some(body)) if query != body => {
            let message = format!("is not {query}, as the query has it");
            Err(Problem::fault(Fault::new(format!("/{RECIPIENT}"), message)))
        }
        (query, body) => Ok(query.or(body)),
    }
}

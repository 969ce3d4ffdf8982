//! Making notifications without an event, and what Mission Control's clients call `mark-delivered`: both are a POST on the collection.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::claim;
use super::whose::Access;
use crate::api::auth::{Permission, Principal};
use crate::api::documents::unique_json;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::api::{Api, Shared};
use crate::clock;
use crate::delivery::Delivery;
use crate::documents::strict;
use crate::ids::{ChannelId, DeliveryId, NotificationId, Recipient, WorkspaceId, digest};
use crate::notification::{self, Notification};
use crate::notify::{self, NewNotification, Once, To};
use crate::outcome::{Reason, State as Status};
use crate::preferences::Hold;
use crate::store::deliveries::Seen;
use crate::store::inbox::Owner;
use crate::task;

/// The answer waits so long for the inboxes.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks, longer each time.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(200);
/// What tells the two bodies apart.
const ACTION: &str = "action";

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MadeNotifications {
    /// In the order of the recipients.
    pub notifications: Vec<MadeNotification>,
}

/// One recipient's.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MadeNotification {
    /// Not there when none was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub id: Option<NotificationId>,
    #[schema(value_type = String)]
    pub recipient: Recipient,
    /// Its delivery in the history.
    #[schema(value_type = String)]
    pub delivery_id: DeliveryId,
    /// `sent` when it is in the inbox.
    pub status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// `{"action": "mark-delivered", "agent": "…"}`
#[derive(Debug, Deserialize, utoipa::ToSchema, schemars::JsonSchema)]
pub struct MarkDelivered {
    pub action: DeliveredAction,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub agent: Option<Recipient>,
    /// 1 to 500, 500 when nothing is said.
    #[serde(default)]
    pub limit: Option<u32>,
}

crate::outcome::words! {
    DeliveredAction {
        MarkDelivered = "mark-delivered",
    }
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Delivered {
    pub delivered: usize,
    pub notifications: Vec<Notification>,
}

/// Make a notification for one or more recipients, or take what is pending.
///
/// It goes through the channel `in_app`, without an event or a rule. With an `Idempotency-Key` (kept for 24 hours) a repeat makes
/// nothing new. `{"action": "mark-delivered", "agent": …}` in its place does what `/v1/notifications/claim` does, and counts.
#[utoipa::path(
    post,
    path = "/v1/notifications",
    operation_id = "createNotifications",
    tag = "inbox",
    params(
        ("workspace" = Option<String>, Query),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 bytes"),
    ),
    request_body = NewNotification,
    responses(
        (status = 200, description = "none was made, each with its reason; for `mark-delivered`: what was taken", body = Delivered),
        (status = 201, description = "in the inboxes, but for those with a reason", body = MadeNotifications),
        (status = 202, description = "stored; on the way to the inboxes", body = MadeNotifications),
        (status = 400, description = "not valid", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, or it is somebody else", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "the body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "the key was used with another body", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let query = query.only(&["workspace"])?;
    let body = unique_json(&body)?;
    if body.get(ACTION).is_some() {
        return Ok(mark_delivered(&principal, &api, &query, body).await?.into_response());
    }
    principal.may(Permission::Send)?;
    let workspace = principal.writes(query.workspace()?)?;
    let key = headers.get("idempotency-key").map(|value| value.to_str()).transpose();
    let key = key.map_err(|_| Problem::invalid("the Idempotency-Key is not ASCII"))?;
    let digest = digest(&[&body.to_string()]);
    let mut new: NewNotification = strict(body).map_err(Problem::fault)?;
    addressed(&principal, &mut new)?;
    let draft = new.draft().map_err(Problem::fault)?;
    let channel =
        ChannelId::parse(notification::CHANNEL).map_err(|error| Problem::invalid(error.to_string()))?;
    let snapshot = api.directory.snapshot();
    let missing = || Problem::not_found(format!("there is no channel {}", notification::CHANNEL));
    let spec = snapshot.channels.get(&(workspace.clone(), channel)).ok_or_else(missing)?;
    let (shared, spec, key) = (api.clone(), spec.clone(), key.map(str::to_owned));
    let of = workspace.clone();
    // What is half made would hold back its own repeat.
    let made = task::to_its_end(async move {
        let to = To { workspace: &of, spec: &spec, texts: &shared.texts };
        let once = key.as_deref().map(|key| Once { key, body: &digest });
        notify::notify(&shared.bus, to, &draft, once).await
    });
    let made = made.await?;
    let (settled, mut notifications) = api.settled(&workspace, &made).await;
    api.find_shown(&workspace, &made, &mut notifications).await;
    let status = match (settled, notifications.iter().any(|one| one.id.is_some())) {
        (true, true) => StatusCode::CREATED,
        (true, false) => StatusCode::OK,
        (false, _) => StatusCode::ACCEPTED,
    };
    Ok((status, Json(MadeNotifications { notifications })).into_response())
}

/// Whoever is bound to a recipient notifies nobody else.
fn addressed(principal: &Principal, new: &mut NewNotification) -> Result<(), Problem> {
    let Some(own) = &principal.recipient else { return Ok(()) };
    let asked = new.recipients().map_err(Problem::fault)?;
    if asked.iter().any(|asked| asked != own) {
        return Err(Problem::forbidden("a token bound to a recipient notifies that recipient only"));
    }
    if asked.is_empty() {
        new.recipient = Some(own.clone());
    }
    Ok(())
}

async fn mark_delivered(
    principal: &Principal,
    api: &Api,
    query: &Query,
    body: Value,
) -> Result<Json<Delivered>, Problem> {
    principal.inbox(Access::Mark, query.workspace()?, None)?;
    let request: MarkDelivered = strict(body).map_err(Problem::fault)?;
    let DeliveredAction::MarkDelivered = request.action;
    let whose = principal.inbox(Access::Mark, query.workspace()?, request.agent)?;
    let owner = claim::agent(principal, api, whose).await?;
    let limit = claim::limit(request.limit, claim::LIMIT_MAX)?;
    let notifications = api.claim_now(&owner, limit).await?;
    Ok(Json(Delivered { delivered: notifications.len(), notifications }))
}

impl Api {
    /// What became the text of a notification that was there before is found under that one's id.
    async fn find_shown(
        &self,
        workspace: &WorkspaceId,
        made: &[Delivery],
        answered: &mut [MadeNotification],
    ) {
        for (delivery, answer) in made.iter().zip(answered) {
            let Some(collapse_id) = &delivery.collapse_id else { continue };
            if answer.status != Status::Sent {
                continue;
            }
            let owner = Owner { workspace: workspace.clone(), recipient: answer.recipient.clone() };
            match self.store.collapsed(&owner, collapse_id).await {
                Ok(Some(shown)) => answer.id = Some(shown),
                // It was dismissed and removed by now.
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "whether a notification became the text of another one is not known");
                }
            }
        }
    }

    /// What became of deliveries, once all of them are settled or wait for their recipients, or patience ends.
    async fn settled(&self, workspace: &WorkspaceId, made: &[Delivery]) -> (bool, Vec<MadeNotification>) {
        let ids: Vec<DeliveryId> = made.iter().map(|delivery| delivery.id.clone()).collect();
        let (started, mut pause) = (Instant::now(), LOOK_AGAIN);
        loop {
            // The recorder writes an inbox's item before, or with, the outcome that says so.
            let seen = match self.store.seen(workspace, &ids).await {
                Ok(seen) => seen,
                Err(error) => {
                    tracing::debug!(%error, "notifications are answered before they are in the history");
                    HashMap::new()
                }
            };
            let is_final = |id: &DeliveryId| seen.get(id).is_some_and(|seen| seen.state.is_final());
            let is_held = |id: &DeliveryId| seen.get(id).is_some_and(|seen| Hold::explains(seen.reason));
            let settled = ids.iter().all(is_final);
            let known = ids.iter().all(|id| is_final(id) || is_held(id));
            if known || started.elapsed() > PATIENCE || self.stop.soft.is_cancelled() {
                return (settled, made.iter().map(|delivery| answered(delivery, &seen)).collect());
            }
            clock::sleep(pause).await;
            pause = (pause * 2).min(LOOK_AGAIN_MAX);
        }
    }
}

fn answered(delivery: &Delivery, seen: &HashMap<DeliveryId, Seen>) -> MadeNotification {
    let recipient = delivery.recipient.clone().unwrap_or_else(Recipient::everybody);
    let (delivery_id, id) = (delivery.id.clone(), NotificationId::of(&delivery.id));
    let Some(Seen { state, reason, detail, .. }) = seen.get(&delivery.id).cloned() else {
        let status = Status::Scheduled;
        return MadeNotification { id: Some(id), recipient, delivery_id, status, reason: None, detail: None };
    };
    let id = match state {
        Status::Suppressed | Status::Failed => None,
        Status::Sent | Status::Scheduled | Status::Retrying => Some(id),
    };
    MadeNotification { id, recipient, delivery_id, status: state, reason: Some(reason), detail }
}

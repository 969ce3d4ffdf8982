//! What agents take: the oldest that nobody was handed yet, each once, however many ask at the same time. An agent that works on one
//! and reads it then has acknowledged it; what a crash left in between is still unread.

use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::whose::{Access, Whose};
use crate::api::auth::{Principal, agents};
use crate::api::documents::unique_json;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::api::{Api, Shared};
use crate::bus::live;
use crate::clock;
use crate::documents::{Key, strict};
use crate::ids::Recipient;
use crate::notification::Notification;
use crate::rule::fault::Fault;
use crate::shelf;
use crate::store::inbox::Owner;

const LIMIT_DEFAULT: u32 = 50;
pub(super) const LIMIT_MAX: u32 = 500;
/// Proxies cut what is silent for a minute.
const WAIT_SECONDS_MAX: u64 = 55;
/// Announcements may be lost: whoever waits looks by themselves so often.
const LOOK_AGAIN: Duration = Duration::from_secs(4);

#[derive(Debug, Deserialize, utoipa::ToSchema, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimRequest {
    /// Whose inbox; a token that is bound to one need not say it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub agent: Option<Recipient>,
    /// 1 to 500, 50 when nothing is said.
    #[serde(default)]
    #[schemars(range(min = 1, max = LIMIT_MAX))]
    pub limit: Option<u32>,
    /// Seconds to wait for the first one, up to 55. 0 when nothing is said.
    #[serde(default)]
    #[schemars(range(max = WAIT_SECONDS_MAX))]
    pub wait: Option<u64>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Claimed {
    /// The oldest first. Nobody else gets them.
    pub notifications: Vec<Notification>,
}

/// Take what is pending in an agent's inbox.
///
/// Each notification is handed out once, the oldest first, and has a `deliveredAt` from then on. `wait` keeps the request open
/// until there is something.
#[utoipa::path(
    post,
    path = "/v1/notifications/claim",
    operation_id = "claimNotifications",
    tag = "inbox",
    params(("workspace" = Option<String>, Query)),
    request_body = ClaimRequest,
    responses(
        (status = 200, description = "what is the agent's now; perhaps nothing", body = Claimed),
        (status = 400, description = "not valid, or no agent", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not, it is another agent's, or a human's", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn claim(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    body: Bytes,
) -> Result<Json<Claimed>, Problem> {
    principal.inbox(Access::Mark, query.workspace()?, None)?;
    let query = query.only(&["workspace"])?;
    let body = if body.is_empty() { Value::Object(Map::new()) } else { unique_json(&body)? };
    let request: ClaimRequest = strict(body).map_err(Problem::fault)?;
    let whose = principal.inbox(Access::Mark, query.workspace()?, request.agent)?;
    let owner = agent(&principal, &api, whose).await?;
    let limit = limit(request.limit, LIMIT_DEFAULT)?;
    let wait = request.wait.unwrap_or(0);
    if wait > WAIT_SECONDS_MAX {
        let message = format!("is {wait}: 0 to {WAIT_SECONDS_MAX} seconds");
        return Err(Problem::fault(Fault::new("/wait", message)));
    }
    let notifications = if wait == 0 {
        api.claim_now(&owner, limit).await?
    } else {
        awaited(&principal, &api, (&owner, limit), Duration::from_secs(wait)).await?
    };
    Ok(Json(Claimed { notifications }))
}

/// # Errors
/// 400 outside 1 to 500.
pub(super) fn limit(asked: Option<u32>, otherwise: u32) -> Result<u32, Problem> {
    let limit = asked.unwrap_or(otherwise);
    if (1..=LIMIT_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::fault(Fault::new("/limit", format!("is {limit}: 1 to {LIMIT_MAX}"))))
}

/// The inbox that is claimed from: an agent's, and a human's only by who acts for people.
///
/// # Errors
/// 400 where none is named, 403 for a human's.
pub(super) async fn agent(principal: &Principal, api: &Api, whose: Whose) -> Result<Owner, Problem> {
    let Some(recipient) = whose.recipient else {
        return Err(Problem::fault(Fault::new("/agent", "is missing: this token is bound to nobody")));
    };
    if recipient.is_everybody() {
        return Err(Problem::fault(Fault::new("/agent", "is everybody: name one agent")));
    }
    let owner = Owner { workspace: whose.workspace, recipient };
    is_no_human(principal, api, &owner).await?;
    Ok(owner)
}

/// For people operators claim, and nobody else.
async fn is_no_human(principal: &Principal, api: &Api, owner: &Owner) -> Result<(), Problem> {
    let Owner { workspace, recipient } = owner;
    if !principal.is_operator() && agents::is_human(api, workspace, recipient).await? {
        return Err(Problem::forbidden(format!(
            "{recipient} is registered as human: only operators claim for them"
        )));
    }
    Ok(())
}

impl Api {
    /// What is pending, handed out.
    pub(super) async fn claim_now(&self, owner: &Owner, limit: u32) -> Result<Vec<Notification>, Problem> {
        // A look that locks nothing: most of those who ask find nothing.
        if !self.store.is_pending(owner).await? {
            return Ok(Vec::new());
        }
        let marked = self.store.claim(owner, limit, clock::now()).await?;
        self.tell(marked.announcement).await;
        Ok(marked.notifications)
    }
}

async fn awaited(
    principal: &Principal,
    api: &Api,
    (owner, limit): (&Owner, u32),
    wait: Duration,
) -> Result<Vec<Notification>, Problem> {
    let started = Instant::now();
    // Before the first look: what comes in between is heard.
    let mut heard = live::hear_of(&api.bus, &owner.workspace, &owner.recipient).await?;
    loop {
        let found = api.claim_now(owner, limit).await?;
        let left = wait.saturating_sub(started.elapsed());
        if !found.is_empty() || left.is_zero() {
            return Ok(found);
        }
        tokio::select! {
            Some(_) = heard.next() => {}
            () = clock::sleep(clock::jittered(LOOK_AGAIN).min(left)) => {}
            () = api.stop.soft.cancelled() => return Ok(Vec::new()),
        }
        still_valid(principal, api).await?;
        is_no_human(principal, api, owner).await?;
    }
}

/// A token that was revoked while its request waited gets nothing more.
async fn still_valid(principal: &Principal, api: &Api) -> Result<(), Problem> {
    let Some(hash) = &principal.token_hash else { return Ok(()) };
    if api.directory.snapshot().tokens.contains_key(hash) {
        return Ok(());
    }
    match shelf::get(&api.bus, &Key::Token(hash.clone())).await? {
        Some(_) => Ok(()),
        None => Err(Problem::unauthorized("this token was revoked")),
    }
}

//! Deleting notifications for good: several, or all of a recipient's that are older than a moment. For administrators.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::mark::{distinct, same};
use super::whose::{Access, RECIPIENT};
use crate::api::Shared;
use crate::api::auth::Principal;
use crate::api::documents::unique_json;
use crate::api::problem::Problem;
use crate::api::query::{Query, moment};
use crate::clock;
use crate::documents::strict;
use crate::ids::Recipient;
use crate::rule::fault::Fault;
use crate::store::inbox::delete::{DELETED_MAX, Doomed};

/// Either `ids`, or a recipient and a moment.
#[derive(Debug, Deserialize, utoipa::ToSchema, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeleteRequest {
    /// Up to 500.
    #[serde(default)]
    pub ids: Option<Vec<String>>,
    /// `*` for what was for everybody.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub recipient: Option<Recipient>,
    /// What was created before: RFC 3339, or Unix milliseconds.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    #[schemars(schema_with = "moment_schema")]
    pub older_than: Option<Value>,
}

fn moment_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": ["string", "integer", "null"] })
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletedAnswer {
    pub deleted: usize,
    /// How many of the ids are in no inbox that this token may delete from.
    pub not_found: usize,
}

/// Delete notifications.
///
/// `{"ids": […]}`, or `{"recipient": "ann", "olderThan": "…"}`. A broadcast is gone for everybody.
#[utoipa::path(
    delete,
    path = "/v1/notifications",
    operation_id = "deleteNotifications",
    tag = "inbox",
    params(("recipient" = Option<String>, Query), ("workspace" = Option<String>, Query)),
    request_body = DeleteRequest,
    responses(
        (status = 200, description = "done; ids that are nowhere are counted", body = DeletedAnswer),
        (status = 400, description = "neither ids nor olderThan, too many, or no recipient", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "administrators only, or it is somebody else's", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    body: Bytes,
) -> Result<Json<DeletedAnswer>, Problem> {
    principal.inbox_of(Access::Delete, &query)?;
    let query = query.only(&["workspace", RECIPIENT])?;
    let request: DeleteRequest = strict(unique_json(&body)?).map_err(Problem::fault)?;
    let asked = same(query.recipient()?, request.recipient)?;
    let whose = principal.inbox(Access::Delete, query.workspace()?, asked)?;
    let workspace = whose.workspace.clone();
    let (mut deleted, mut not_found) = (0, 0);
    match (request.ids, request.older_than) {
        (Some(ids), None) => {
            let asked = distinct(&ids)?;
            for (owner, ids) in whose.owners_of(&api, &asked.known).await? {
                let gone = api.store.delete(&owner, Doomed::Ids(&ids), clock::now()).await?;
                api.tell(gone.announcement).await;
                deleted += gone.count;
            }
            not_found = asked.count - deleted;
        }
        (None, Some(older_than)) => {
            let (moment, owner) = (before(&older_than)?, whose.owner()?);
            loop {
                let gone = api.store.delete(&owner, Doomed::Before(moment), clock::now()).await?;
                api.tell(gone.announcement).await;
                deleted += gone.count;
                if gone.count < DELETED_MAX {
                    break;
                }
            }
        }
        (Some(_), Some(_)) => {
            return Err(Problem::fault(Fault::new("/olderThan", "and ids exclude each other")));
        }
        (None, None) => return Err(Problem::invalid("say `ids`, or `olderThan` with a `recipient`")),
    }
    tracing::info!(deleted, %workspace, by = principal.name, "notifications deleted");
    Ok(Json(DeletedAnswer { deleted, not_found }))
}

fn before(value: &Value) -> Result<Timestamp, Problem> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    moment(&text).map_err(|error| Problem::fault(Fault::new("/olderThan", error)))
}

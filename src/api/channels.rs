//! Channels at run time: listed, made, changed, removed. Their secrets are written and never read: answers have `***`,
//! which may be sent back as it is.
//!
//! How a channel stands (verified, switched off for what came of its tries) is beside its document and no part of it: it
//! changes without a new version, and the `ETag` stays.

pub mod body;
mod built_in;
pub mod chats;
pub mod history;
pub mod switch;
pub mod test;
mod users;
pub mod view;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;

use super::Shared;
use super::auth::{Permission, Principal};
use super::documents::{condition, named, patched};
use super::problem::Problem;
use super::query::Query;
use crate::bus::topology;
use crate::channel::standing::{Verification, is_of_file};
use crate::channel::{ChannelSpec, Enabled, Kind};
use crate::documents::Key;
use crate::ids::{ChannelId, WorkspaceId};
use crate::shelf::{self, Held, Written, standing};

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelPage {
    #[schema(value_type = Vec<Object>)]
    pub channels: Vec<Value>,
    /// None at the end.
    pub next_cursor: Option<String>,
}

/// List channels, in the order of their ids.
#[utoipa::path(
    get,
    path = "/v1/notification-channels",
    operation_id = "listChannels",
    tag = "channels",
    params(
        ("workspace" = Option<String>, Query), ("kind" = Option<String>, Query), ("enabled" = Option<bool>, Query),
        ("verificationStatus" = Option<String>, Query, description = "pending or verified"),
        ("owner" = Option<String>, Query, description = "`api` or `file:<name>`"),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "a page; secrets are `***`", body = ChannelPage),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
) -> Result<Json<ChannelPage>, Problem> {
    principal.tests_channels()?;
    let known = ["workspace", "kind", "enabled", "verificationStatus", "owner", "limit", "cursor"];
    let query = query.only(&known)?;
    let workspace = principal.reads(query.workspace()?)?;
    let (filter, snapshot) = (Filter::of(&query)?, api.directory.snapshot());
    let standing = |of: &WorkspaceId, id: &ChannelId| {
        snapshot
            .channels
            .standing(&(of.clone(), id.clone()))
            .map(|found| (**found).clone())
            .unwrap_or_default()
    };
    let wanted = |key: &Key, held: &Held| {
        // Channels come first.
        let Key::Channel(of, id) = key else { return None };
        let own = workspace.as_ref().is_none_or(|wanted| wanted == of);
        let verification = |spec: &ChannelSpec| {
            standing(of, id).verification(&held.document.owner, &snapshot.address_of(of, spec))
        };
        Some(own && filter.holds(held, verification))
    };
    let shown = |key: &Key, held: &Held| {
        let Key::Channel(of, id) = key else { return Value::Null };
        view::shown(key, held, &standing(of, id), &snapshot)
    };
    let page = api.page_of(&query, wanted, shown)?;
    let whose = workspace.clone().unwrap_or_default();
    let (channels, next_cursor) = built_in::within(&api, &query, (&whose, &filter), page)?;
    Ok(Json(ChannelPage { channels, next_cursor }))
}

/// What to list. Everything that is set must hold.
struct Filter {
    kind: Option<Kind>,
    enabled: Option<bool>,
    verification: Option<Verification>,
    owner: Option<String>,
}

impl Filter {
    fn of(query: &Query) -> Result<Self, Problem> {
        let words = |name: &str, known: String| {
            let text = query.get(name).unwrap_or_default();
            Problem::invalid(format!("parameter {name}: {text:?} is none of {known}"))
        };
        let verification = query.get("verificationStatus").map(|text| {
            Verification::parse(text)
                .ok_or_else(|| words("verificationStatus", "pending, verified".to_owned()))
        });
        Ok(Self {
            kind: query.filter()?.kind,
            enabled: query.get("enabled").map(|_| query.flag("enabled")).transpose()?,
            verification: verification.transpose()?,
            owner: query.get("owner").map(str::to_owned),
        })
    }

    fn holds(&self, held: &Held, verification: impl Fn(&ChannelSpec) -> Verification) -> bool {
        let spec = serde_json::from_value::<ChannelSpec>(held.document.spec.clone());
        spec.is_ok_and(|spec| self.keeps(&held.document.owner, &spec, verification))
    }

    fn keeps(
        &self,
        owner: &str,
        spec: &ChannelSpec,
        verification: impl Fn(&ChannelSpec) -> Verification,
    ) -> bool {
        self.owner.as_ref().is_none_or(|wanted| *wanted == owner)
            && self.kind.is_none_or(|kind| spec.kind == kind)
            && self.enabled.is_none_or(|enabled| (spec.enabled == Enabled::On) == enabled)
            && self.verification.is_none_or(|wanted| verification(spec) == wanted)
    }
}

/// Make a channel, or replace it.
///
/// Without an `id` it is called like its kind. One that is replaced stays on or off where the body says neither.
#[utoipa::path(
    post,
    path = "/v1/notification-channels",
    operation_id = "upsertChannel",
    tag = "channels",
    params(
        ("workspace" = Option<String>, Query),
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header),
    ),
    request_body(content = Object, description = "a channel; a secret that is `***` stays what it is"),
    responses(
        (status = 200, description = "replaced", body = Object),
        (status = 201, description = "made; `pending` until a test goes through", body = Object),
        (status = 400, description = "not a channel", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "a file owns it", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "it is another one by now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn upsert(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let workspace = principal.manages_channels(&query.only(&["workspace"])?)?;
    let mut fields = body::sent(&body)?;
    if let Some(kind) = fields.get("kind").cloned() {
        fields.entry("id").or_insert(kind);
    }
    let key = body::key_of(workspace, &fields)?;
    let change = |held: Option<&Held>| {
        let mut fields = fields.clone();
        if let Some(enabled) = held.and_then(|held| held.document.spec.get("enabled")) {
            fields.entry("enabled").or_insert_with(|| enabled.clone());
        }
        body::checked(&principal, &key, fields, held)
    };
    let written = write(&api, &principal, &key, &headers, change).await?;
    view::answer_written(&api, &key, &written).await
}

/// Read a channel.
#[utoipa::path(
    get,
    path = "/v1/notification-channels/{id}",
    operation_id = "getChannel",
    tag = "channels",
    params(("id" = String, Path), ("workspace" = Option<String>, Query)),
    responses(
        (status = 200, description = "the channel, its secrets as `***`, and how it stands; its ETag names this state of its document", body = Object),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such channel", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    principal.tests_channels()?;
    let key = key_in(principal.writes(query.only(&["workspace"])?.workspace()?)?, &id)?;
    match (shelf::get(&api.bus, &key).await?, built_in::spec_of(&key)) {
        (Some(held), _) => view::answer(&api, StatusCode::OK, &key, &held).await,
        (None, Some(spec)) => built_in::answer(&api, &key, spec).await,
        (None, None) => Err(missing(&id)),
    }
}

/// Make or replace a channel.
#[utoipa::path(
    put,
    path = "/v1/notification-channels/{id}",
    operation_id = "putChannel",
    tag = "channels",
    params(
        ("id" = String, Path), ("workspace" = Option<String>, Query),
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header),
    ),
    request_body(content = Object, description = "a channel; a secret that is `***` stays what it is"),
    responses(
        (status = 200, description = "replaced", body = Object),
        (status = 201, description = "made; `pending` until a test goes through", body = Object),
        (status = 400, description = "not a channel", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "a file owns it", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "it is another one by now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn put(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let workspace = principal.manages_channels(&query.only(&["workspace"])?)?;
    let fields = named(body::sent(&body)?, "id", &id)?;
    let key = body::key_of(workspace, &fields)?;
    let change = |held: Option<&Held>| body::checked(&principal, &key, fields.clone(), held);
    let written = write(&api, &principal, &key, &headers, change).await?;
    view::answer_written(&api, &key, &written).await
}

/// Change fields of a channel (JSON Merge Patch, RFC 7396): null takes a field away.
#[utoipa::path(
    patch,
    path = "/v1/notification-channels/{id}",
    operation_id = "patchChannel",
    tag = "channels",
    params(
        ("id" = String, Path), ("workspace" = Option<String>, Query), ("If-Match" = Option<String>, Header),
    ),
    request_body(content = Object, description = "the fields that change"),
    responses(
        (status = 200, description = "changed", body = Object),
        (status = 400, description = "not a channel", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such channel", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "a file owns it, or it is built in", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "it is another one by now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn patch(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let workspace = principal.manages_channels(&query.only(&["workspace"])?)?;
    let (patch, key) = (body::sent(&body)?, key_in(workspace, &id)?);
    let change = |held: Option<&Held>| {
        let stored = &held.ok_or_else(|| changeless(&id))?.document.spec;
        let Value::Object(fields) = patched(&key, stored, &patch) else {
            return Err(Problem::invalid("the channel is no object"));
        };
        body::checked(&principal, &key, named(fields, "id", &id)?, held)
    };
    let written = write(&api, &principal, &key, &headers, change).await?;
    if patch.get("enabled") == Some(&Value::Bool(true)) {
        switch::reopen(&api, &principal, &key).await?;
    }
    view::answer(&api, StatusCode::OK, &key, &written.held).await
}

/// Remove a channel.
///
/// Refused while rules or scopes name it, unless `?force=true`: what they send there would be among the dead letters.
#[utoipa::path(
    delete,
    path = "/v1/notification-channels/{id}",
    operation_id = "removeChannel",
    tag = "channels",
    params(
        ("id" = String, Path), ("workspace" = Option<String>, Query), ("force" = Option<bool>, Query),
        ("If-Match" = Option<String>, Header),
    ),
    responses(
        (status = 204, description = "removed"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no such channel", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "a file owns it, or rules name it", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "it is another one by now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let query = query.only(&["workspace", "force"])?;
    let workspace = principal.manages_channels(&query)?;
    let key = key_in(workspace.clone(), &id)?;
    let channel = ChannelId::parse(&id).map_err(|_| missing(&id))?;
    // What a file owns is refused whatever names it.
    let held = shelf::get(&api.bus, &key).await?;
    if !query.flag("force")? && held.is_some_and(|held| !is_of_file(&held.document.owner)) {
        users::unused(&api, &workspace, &channel)?;
    }
    let removed = api
        .remove_document(&principal, &key, condition(&headers)?)
        .await
        .map_err(|problem| if problem.status == 404 { changeless(&id) } else { problem })?;
    standing::forget(&topology::config_bucket(&api.bus).await?, &workspace, &channel).await?;
    Ok(removed)
}

/// Writes a channel when those that it names are there, and its connection can carry it.
async fn write(
    api: &Shared,
    principal: &Principal,
    key: &Key,
    headers: &HeaderMap,
    change: impl Fn(Option<&Held>) -> Result<Value, Problem>,
) -> Result<Written, Problem> {
    let before = shelf::get(&api.bus, key).await?;
    body::check_named(api, principal, key, (before.as_ref(), change(before.as_ref())?)).await?;
    api.write_document(principal, key, condition(headers)?, change).await
}

/// Where there is no document to change.
fn changeless(id: &str) -> Problem {
    built_in::read_only(id).unwrap_or_else(|| missing(id))
}

fn missing(id: &str) -> Problem {
    Problem::not_found(format!("there is no channel {id}"))
}

fn key_in(workspace: WorkspaceId, id: &str) -> Result<Key, Problem> {
    Ok(Key::Channel(workspace, ChannelId::parse(id).map_err(|_| missing(id))?))
}

impl Principal {
    /// Whoever may see channels may test them too.
    pub(super) fn tests_channels(&self) -> Result<(), Problem> {
        self.may(Permission::TestChannels)?;
        self.unbound()
    }

    /// The workspace whose channels, or the accounts that they share, are to be changed.
    pub(super) fn manages_channels(&self, query: &Query) -> Result<WorkspaceId, Problem> {
        self.may(Permission::ManageChannels)?;
        self.unbound()?;
        self.writes(query.workspace()?)
    }
}

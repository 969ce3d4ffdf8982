//! A channel as somebody sends it: without what only answers have, its masks replaced, and checked as far as it can be here.

use serde_json::{Map, Value};

use super::missing;
use crate::api::Api;
use crate::api::auth::Principal;
use crate::api::custody::check_variables;
use crate::api::documents;
use crate::api::problem::Problem;
use crate::apply::files;
use crate::bus::BusError;
use crate::channel::{ChannelSpec, Enabled};
use crate::documents::{Key, check_channel, strict};
use crate::ids::{ChannelId, WorkspaceId};
use crate::rule::fault::Fault;
use crate::secrets;
use crate::shelf::Held;

/// What stands beside a channel in answers.
pub(super) const BESIDE: [&str; 3] = ["verificationStatus", "disabled", "circuit"];

/// What was sent, without what it may have been read with.
pub(super) fn sent(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    let mut fields = documents::sent(body)?;
    for name in BESIDE {
        fields.remove(name);
    }
    Ok(fields)
}

pub(super) fn key_of(workspace: WorkspaceId, fields: &Map<String, Value>) -> Result<Key, Problem> {
    let id = fields.get("id").and_then(Value::as_str);
    let id = id.ok_or_else(|| Problem::fault(Fault::new("/kind", "is missing")))?;
    let legal = ChannelId::parse(id).map_err(|error| Problem::fault(Fault::new("/id", error.to_string())))?;
    Ok(Key::Channel(workspace, legal))
}

/// The document to store.
pub(super) fn checked(
    principal: &Principal,
    key: &Key,
    fields: Map<String, Value>,
    held: Option<&Held>,
) -> Result<Value, Problem> {
    let mut value = Value::Object(fields);
    let stored = held.map(|held| &held.document.spec);
    secrets::unmask_document(key, &mut value, stored).map_err(Problem::fault)?;
    let spec: ChannelSpec = strict(value).map_err(Problem::fault)?;
    check_channel(&spec).map_err(Problem::fault)?;
    if spec.enabled == Enabled::Auto {
        let message = "is `auto`, which is decided when a file is applied: say true or false";
        return Err(Problem::fault(Fault::new("/enabled", message)));
    }
    check_variables(principal, &spec.config)?;
    files::check_config(&spec).map_err(Problem::fault)?;
    serde_json::to_value(&spec).map_err(|error| BusError::from(error).into())
}

/// A channel is checked together with those that it names: the channels that stand in for it, and its connection.
pub(super) async fn check_named(
    api: &Api,
    principal: &Principal,
    key: &Key,
    (before, after): (Option<&Held>, Value),
) -> Result<(), Problem> {
    let spec: ChannelSpec = serde_json::from_value(after).map_err(BusError::from)?;
    let Some(workspace) = key.workspace() else { return Ok(()) };
    api.check_channels(workspace, ("/fallback", &spec.fallback)).await?;
    let before = before.and_then(|held| serde_json::from_value(held.document.spec.clone()).ok());
    api.check_connection(principal, workspace, (before.as_ref(), &spec)).await
}

/// The channel of a document in the bucket.
pub(super) fn spec_of(held: &Held, id: &str) -> Result<ChannelSpec, Problem> {
    serde_json::from_value(held.document.spec.clone()).map_err(|_| missing(id))
}

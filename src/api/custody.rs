//! What a channel or a connection could carry away that its writer must not see: the workers' environment, and the secrets
//! of what it goes together with.
//!
//! A document's own stored secrets are kept by [`unmask`](crate::secrets::unmask). Whoever has a token of all workspaces may
//! name variables, and so whatever a worker knows.

use serde_json::Value;

use super::auth::Principal;
use super::problem::Problem;
use crate::channel::ChannelSpec;
use crate::channel::secret::variables;
use crate::config::ENVIRONMENT_PREFIX;
use crate::connection::ConnectionSpec;
use crate::rule::fault::Fault;
use crate::secrets;

/// Variables are the workers'. What is put into them there is for whoever runs Bugle, not for everybody who has a token: a
/// channel could carry them anywhere.
///
/// # Errors
/// 400 for a setting of Bugle's own, 403 for a token of one workspace.
pub fn check_variables(principal: &Principal, config: &Value) -> Result<(), Problem> {
    let named = variables(config);
    if let Some(name) = named.iter().find(|name| name.starts_with(ENVIRONMENT_PREFIX)) {
        let message = format!("names {name}, a setting of Bugle's own: nothing may");
        return Err(Problem::fault(Fault::new("/config", message)));
    }
    match named.first() {
        Some(name) if principal.workspace.is_some() => Err(Problem::forbidden(format!(
            "this token belongs to one workspace, and the variable {name} to the workers: write the value itself"
        ))),
        Some(_) | None => Ok(()),
    }
}

/// A channel says nothing about where the secrets of its connection go.
///
/// # Errors
/// 400 with the place of an address that is new, or new on this connection.
pub fn check_on(
    principal: &Principal,
    connection: &ConnectionSpec,
    (before, channel): (Option<&ChannelSpec>, &ChannelSpec),
) -> Result<(), Problem> {
    if principal.workspace.is_none() || !secrets::has_any(connection.kind, &connection.config) {
        return Ok(());
    }
    let before = before.filter(|before| before.connection == channel.connection);
    let before = before.map_or(&Value::Null, |before| &before.config);
    let schema = secrets::config_schema(channel.kind);
    let Some(moved) = secrets::moved(&schema, before, &channel.config) else { return Ok(()) };
    let message = format!(
        "is an address, and the connection {} has secrets that would go there: it belongs beside them",
        connection.id
    );
    Err(Problem::fault(Fault::new(format!("/config/{moved}"), message)))
}

/// Nor does a connection about where those of its channels go.
///
/// # Errors
/// 400 with the place of the address.
pub fn check_under(
    principal: &Principal,
    (before, connection): (Option<&Value>, &ConnectionSpec),
    channel: &ChannelSpec,
) -> Result<(), Problem> {
    if principal.workspace.is_none() || !secrets::has_any(channel.kind, &channel.config) {
        return Ok(());
    }
    let before = before.and_then(|before| before.get("config")).unwrap_or(&Value::Null);
    let schema = secrets::config_schema(connection.kind);
    let Some(moved) = secrets::moved(&schema, before, &connection.config) else { return Ok(()) };
    let message =
        format!("is an address, and the channel {} has secrets of its own that would go there", channel.id);
    Err(Problem::fault(Fault::new(format!("/config/{moved}"), message)))
}

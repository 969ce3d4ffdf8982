//! The public key of a workspace's channel for Web Push, which pages subscribe with.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::api::Shared;
use crate::api::auth::Principal;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::channel::secret::{Lookup, expand};
use crate::channel::webpush::is_public_key;
use crate::channel::{ChannelSpec, Enabled, Kind};
use crate::config;
use crate::connection::{self, ConnectionSpec};
use crate::device;
use crate::ids::ChannelId;

/// The key that pages subscribe with, of a channel for Web Push.
#[utoipa::path(
    get,
    path = "/v1/push-subscriptions/vapid-public-key",
    operation_id = "getVapidPublicKey",
    tag = "push",
    params(("workspace" = Option<String>, Query), ("channel" = Option<String>, Query)),
    responses(
        (status = 200, description = "`{publicKey}`", body = Object),
        (status = 400, description = "there are several such channels: name one", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is no such channel that is on", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "what the channel has cannot be read here, or is no public key", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn public_key(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
) -> Result<Json<Value>, Problem> {
    let query = query.only(&["workspace", "channel"])?;
    let workspace = principal.writes(query.workspace()?)?;
    let wanted = query.get("channel").map(ChannelId::parse).transpose();
    let wanted = wanted.map_err(|error| Problem::invalid(error.to_string()))?;
    let snapshot = api.directory.snapshot();
    let found = snapshot.channels.iter().filter(|((of, id), spec)| {
        let asked_for = *of == workspace && wanted.as_ref().is_none_or(|wanted| wanted == id);
        asked_for && spec.kind == Kind::WebPush && spec.enabled == Enabled::On
    });
    let mut keys: Vec<String> = Vec::new();
    for (_, spec) in found {
        let connection = snapshot.connection_of(&workspace, spec).map(Arc::as_ref);
        if connection.is_some_and(|connection| !connection.enabled) {
            continue;
        }
        let key = key_of(spec, connection, &config::environment)?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(Json(json!({ "publicKey": key }))),
        (Some(_), false) => {
            Err(Problem::invalid("channels for Web Push have several keys: name one by channel=…"))
        }
        (None, _) => Err(Problem::not_found("there is no such channel for Web Push")),
    }
}

/// As the worker reads it: its variables have to be set where the API runs, too. Whoever asks may be anybody, so nothing but a
/// public key is answered.
fn key_of(
    spec: &ChannelSpec,
    connection: Option<&ConnectionSpec>,
    lookup: Lookup<'_>,
) -> Result<String, Problem> {
    let untold = |why: &dyn std::fmt::Display| {
        Problem::unavailable(format!("the public key of channel {} cannot be told here: {why}", spec.id))
    };
    let config = match connection {
        Some(connection) => connection::merged(connection, spec).map_err(|fault| untold(&fault))?,
        None => spec.config.clone(),
    };
    let text = config.get("vapidPublicKey").and_then(Value::as_str).unwrap_or_default();
    let key = expand(text, lookup).map_err(|error| untold(&error))?;
    let key = key.trim().trim_end_matches('=').to_owned();
    let is_one = device::decoded(&key).is_some_and(|bytes| is_public_key(&bytes));
    if is_one { Ok(key) } else { Err(untold(&"vapidPublicKey holds none")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str =
        "BEfG6HnSw5i8b8h50ENlrNsKI_AWTgmuIuHsa9tOD8BE8_Pg9joqyOYJD_pUqWzZBmhGjmFpCd7arL2Vk7Caj4U";

    fn key(channel: &Value, connection: Option<&Value>) -> Result<String, Problem> {
        let mut spec = json!({ "id": "web", "kind": "webpush", "config": channel });
        if connection.is_some() {
            spec["connection"] = json!("push");
        }
        let connection =
            connection.map(|config| json!({ "id": "push", "kind": "webpush", "config": config }));
        let connection = connection.map(|spec| serde_json::from_value(spec).unwrap());
        let lookup = |name: &str| match name {
            "PUBLIC" => Some(PUBLIC.to_owned()),
            "SECRET" => Some("hunter2".to_owned()),
            _ => None,
        };
        key_of(&serde_json::from_value(spec).unwrap(), connection.as_ref(), &lookup)
    }

    #[test]
    fn the_key_is_the_channels_or_its_connections() {
        let named = json!({ "vapidPublicKey": "${PUBLIC}" });
        assert_eq!(key(&named, None).unwrap(), PUBLIC);
        assert_eq!(key(&json!({}), Some(&named)).unwrap(), PUBLIC);
        assert_eq!(key(&json!({ "vapidPublicKey": format!(" {PUBLIC}=") }), None).unwrap(), PUBLIC);
    }

    #[test]
    fn what_is_no_public_key_is_not_answered() {
        for (channel, connection) in [
            (json!({}), None),
            (json!({ "vapidPublicKey": "" }), None),
            (json!({ "vapidPublicKey": "${SECRET}" }), None),
            (json!({ "vapidPublicKey": "${UNSET:-hunter2}" }), None),
            (json!({ "vapidPublicKey": "${UNSET}" }), None),
            (json!({}), Some(json!({ "vapidPublicKey": "${SECRET}" }))),
        ] {
            let problem = key(&channel, connection.as_ref()).unwrap_err();
            assert_eq!(problem.status, 503, "{channel}");
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
        }
    }
}

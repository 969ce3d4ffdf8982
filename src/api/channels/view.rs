//! A channel as it is answered: its document with masks, and how it stands beside that.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::body::BESIDE;
use crate::api::Api;
use crate::api::documents::{answer_beside, view};
use crate::api::problem::Problem;
use crate::channel::ChannelSpec;
use crate::channel::standing::ChannelStanding;
use crate::documents::Key;
use crate::shelf::{Held, Written, standing};

/// The row of a list.
pub(super) fn shown(key: &Key, held: &Held, standing: &ChannelStanding) -> Value {
    let mut row = view(key, held);
    for (name, value) in beside(held, standing) {
        row[&name] = value;
    }
    row
}

fn beside(held: &Held, standing: &ChannelStanding) -> Map<String, Value> {
    let mut fields = Map::new();
    // What a newer process wrote is shown as far as it can be.
    let Ok(spec) = serde_json::from_value::<ChannelSpec>(held.document.spec.clone()) else { return fields };
    let [verification, disabled] = BESIDE;
    fields.insert(verification.to_owned(), json!(standing.verification(&held.document.owner, &spec)));
    if let Some(found) = standing.disabled(&spec) {
        let found = json!({ "at": found.at, "reason": found.cause, "why": found.why });
        fields.insert(disabled.to_owned(), found);
    }
    fields
}

/// A channel with how it stands now.
pub(super) async fn answer(
    api: &Api,
    status: StatusCode,
    key: &Key,
    held: &Held,
) -> Result<Response, Problem> {
    let mut standing = ChannelStanding::default();
    if let Key::Channel(workspace, channel) = key {
        standing = standing::read(&api.bus, workspace, channel).await?.0;
    }
    Ok(answer_beside(status, (key, held), beside(held, &standing)))
}

pub(super) async fn answer_written(api: &Api, key: &Key, written: &Written) -> Result<Response, Problem> {
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    answer(api, status, key, &written.held).await
}

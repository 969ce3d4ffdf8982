//! A channel as it is answered: its document with masks, and how it stands beside that.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::body::BESIDE;
use crate::api::Api;
use crate::api::documents::{answer_beside, view};
use crate::api::problem::Problem;
use crate::bus::directory::Snapshot;
use crate::channel::ChannelSpec;
use crate::channel::standing::ChannelStanding;
use crate::deliver::circuit;
use crate::documents::Key;
use crate::shelf::{Held, Written, standing};

/// The field that says whether anybody is known to listen.
pub(super) const VERIFICATION: &str = BESIDE[0];

/// The row of a list.
pub(super) fn shown(key: &Key, held: &Held, standing: &ChannelStanding, snapshot: &Snapshot) -> Value {
    let mut row = view(key, held);
    let Some((workspace, spec)) = key.workspace().zip(spec_of(held)) else { return row };
    for (name, value) in beside(held, standing, &snapshot.address_of(workspace, &spec)) {
        row[&name] = value;
    }
    row
}

/// What a newer process wrote is shown as far as it can be.
fn spec_of(held: &Held) -> Option<ChannelSpec> {
    serde_json::from_value(held.document.spec.clone()).ok()
}

fn beside(held: &Held, standing: &ChannelStanding, address: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    let [verification, disabled, _] = BESIDE;
    fields.insert(verification.to_owned(), json!(standing.verification(&held.document.owner, address)));
    if let Some(found) = standing.disabled(address) {
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
    let Key::Channel(workspace, channel) = key else {
        return Ok(answer_beside(status, (key, held), Map::new()));
    };
    let (standing, _) = standing::read(&api.bus, workspace, channel).await?;
    let mut fields = match spec_of(held) {
        Some(spec) => beside(held, &standing, &standing::address(&api.bus, workspace, &spec).await?),
        None => Map::new(),
    };
    let [.., circuit] = BESIDE;
    fields.insert(circuit.to_owned(), json!(circuit::read(&api.bus, workspace, channel).await?));
    Ok(answer_beside(status, (key, held), fields))
}

pub(super) async fn answer_written(api: &Api, key: &Key, written: &Written) -> Result<Response, Problem> {
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    answer(api, status, key, &written.held).await
}

//! Inboxes live over HTTP: as server-sent events ([`sse`]) and over a WebSocket ([`ws`]). Both give the same frames.

pub mod access;
pub mod sse;
pub mod ws;

use super::problem::Problem;
use super::query::Query;
use crate::live::place::Place;
use crate::store::inbox::Owner;

/// What both take in the query.
const PARAMETERS: [&str; 5] = ["workspace", "recipient", "lastEventId", "token", "ticket"];

/// The place behind which a client resumes, said by `name`.
fn place(text: &str, owner: &Owner, name: &str) -> Result<Place, Problem> {
    let alone = owner.recipient.is_everybody();
    let shape = if alone { "a number" } else { "two numbers with a dot between, such as 12.7" };
    Place::parse(text, alone)
        .ok_or_else(|| Problem::invalid(format!("{name} is not an id of this stream: those are {shape}")))
}

fn asked_place(query: &Query, owner: &Owner) -> Result<Option<Place>, Problem> {
    let asked = query.get("lastEventId").filter(|text| !text.is_empty());
    asked.map(|text| place(text, owner, "parameter lastEventId")).transpose()
}

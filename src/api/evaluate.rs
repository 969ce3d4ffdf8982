//! What an event would lead to, and why: nothing is sent, stored or counted.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Shared;
use super::auth::Principal;
use super::problem::Problem;
use super::query::Query;
use crate::clock;
use crate::documents::{check_rule, strict};
use crate::explain::{Explanation, explained};
use crate::ids::WorkspaceId;
use crate::route::World;
use crate::route::carried::Carriers;
use crate::route::ruleset::RuleSet;
use crate::route::scopes::EventScopes;
use crate::rule::RuleSpec;
use crate::rule::fault::Fault;

const RULES_MAX: usize = 1_000;

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Question {
    event: Map<String, Value>,
    /// In place of the stored ones, and of all scopes.
    #[serde(default)]
    rules: Option<Vec<Value>>,
}

/// Say what an event would lead to.
///
/// `{event: {type, data, …}, rules?}`: the stored rules where none are given. Every rule whose patterns match is answered,
/// with the comparison that said no, the scope that decided, the state of its windows and the texts of each channel. `invalid`
/// says what is wrong with rules that the event brings.
#[utoipa::path(
    post,
    path = "/v1/rules/evaluate",
    operation_id = "evaluateRules",
    tag = "rules",
    params(("workspace" = Option<String>, Query)),
    request_body(content = Object, description = "`{event, rules?}`"),
    responses(
        (status = 200, description = "`{rules: [{id, scope, fired, reason, …}]}`", body = Object),
        (status = 400, description = "not an event, or not a rule", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn evaluate(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
    body: Bytes,
) -> Result<Json<Explanation>, Problem> {
    principal.reads_documents()?;
    let workspace = principal.writes(query.only(&["workspace"])?.workspace()?)?;
    let question: Question = strict(super::documents::unique_json(&body)?).map_err(Problem::fault)?;
    let event = crate::publish::imagined(&workspace, question.event)
        .map_err(|error| Problem::fault(Fault::new(error.pointer(), error.to_string()).below("/event")))?;
    let snapshot = api.directory.snapshot();
    let given = question.rules.map(|rules| given(&workspace, rules)).transpose()?;
    let stored = || snapshot.scopes_of(&event, None, &Carriers::default());
    let (scopes, carried) = if given.is_some() { (EventScopes::default(), None) } else { stored() };
    let world = World {
        rules: given.as_ref().unwrap_or(&snapshot.rules),
        scopes: &scopes,
        channels: &snapshot.channels,
        texts: &api.texts,
        at: clock::now(),
    };
    Ok(Json(explained(&api.bus, &event, world, None).await?.of_carried(carried.as_deref())))
}

fn given(workspace: &WorkspaceId, rules: Vec<Value>) -> Result<RuleSet, Problem> {
    if rules.len() > RULES_MAX {
        let message = format!("has {} entries: at most {RULES_MAX} are allowed", rules.len());
        return Err(Problem::fault(Fault::new("/rules", message)));
    }
    let mut compiled = Vec::new();
    for (index, rule) in rules.into_iter().enumerate() {
        let checked = strict(rule).and_then(|spec: RuleSpec| check_rule(&spec));
        let rule = checked.map_err(|fault| Problem::fault(fault.below(&format!("/rules/{index}"))))?;
        compiled.push((workspace.clone(), Arc::new(rule)));
    }
    Ok(RuleSet::new(compiled.into_iter()))
}

//! What an event would lead to, and why: nothing is sent, stored or counted.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Shared;
use super::auth::Principal;
use super::problem::Problem;
use super::query::Query;
use crate::clock;
use crate::documents::{check_rule, strict};
use crate::event::Event;
use crate::ids::WorkspaceId;
use crate::route::carried::Carriers;
use crate::route::explain::{Judged, Verdict, explain};
use crate::route::ruleset::RuleSet;
use crate::route::scopes::EventScopes;
use crate::route::{Firing, Step, World, throttle};
use crate::rule::RuleSpec;
use crate::rule::condition::Leaf;
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
/// with the comparison that said no, the scope that decided, the state of its windows and the texts of each channel.
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
) -> Result<Json<Value>, Problem> {
    principal.reads_documents()?;
    let workspace = principal.writes(query.only(&["workspace"])?.workspace()?)?;
    let question: Question = strict(super::events::json(&body)?).map_err(Problem::fault)?;
    let event = crate::publish::imagined(&workspace, question.event)
        .map_err(|error| Problem::fault(Fault::new("/event", error.to_string())))?;
    let snapshot = api.directory.snapshot();
    let given = question.rules.map(|rules| given(&workspace, rules)).transpose()?;
    let stored = || snapshot.scopes_of(&event, None, &Carriers::default()).0;
    let scopes = if given.is_some() { EventScopes::default() } else { stored() };
    let world = World {
        rules: given.as_ref().unwrap_or(&snapshot.rules),
        scopes: &scopes,
        channels: &snapshot.channels,
        texts: &api.texts,
        at: clock::now(),
    };
    let mut rules = Vec::new();
    for judged in explain(&event, world) {
        rules.push(answer(&api, &event, &judged).await?);
    }
    let scopes: Vec<&str> = scopes.0.iter().map(|scope| scope.name.as_str()).collect();
    Ok(Json(json!({ "type": event.event_type.as_str(), "scopes": scopes, "rules": rules })))
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

async fn answer(api: &Shared, event: &Event, judged: &Judged<'_>) -> Result<Value, Problem> {
    let head = |reason: &str| json!({ "id": judged.rule.id, "scope": judged.scope, "fired": false, "reason": reason });
    let with = |reason: &str, name: &str, value: Value| {
        let mut answer = head(reason);
        answer[name] = value;
        answer
    };
    match &judged.verdict {
        Verdict::Disabled => Ok(head("disabled")),
        Verdict::Expired => Ok(head("expired")),
        Verdict::Outscoped(scope) => Ok(with("scope", "decidedBy", json!(scope))),
        Verdict::Unmet(leaves) => {
            Ok(with("condition", "condition", leaves.iter().map(leaf).collect::<Vec<_>>().into()))
        }
        Verdict::Fired(firing) => {
            let (windows, held) = windows(api, event, firing).await?;
            let deliveries: Vec<Value> = firing.steps.iter().map(|step| delivery(step, held)).collect();
            Ok(json!({
                "id": judged.rule.id, "scope": judged.scope, "fired": true,
                "reason": held.unwrap_or("fired"), "windows": windows, "deliveries": deliveries,
            }))
        }
    }
}

fn leaf(leaf: &Leaf) -> Value {
    json!({
        "pointer": leaf.pointer, "field": leaf.field, "found": leaf.found, "missing": leaf.found.is_none(),
        "held": leaf.held,
    })
}

/// Where each window stands, and the reason of the first one that is closed.
async fn windows(
    api: &Shared,
    event: &Event,
    firing: &Firing,
) -> Result<(Vec<Value>, Option<&'static str>), Problem> {
    let (mut windows, mut held) = (Vec::new(), None);
    for window in &firing.windows {
        let standing = throttle::look(&api.bus, &event.workspace, window).await?;
        if standing.until.is_some() {
            held = held.or(Some(window.reason.as_str()));
        }
        windows.push(json!({
            "reason": window.reason, "key": window.key, "lengthMs": u64::try_from(window.length.as_millis()).ok(),
            "closedUntil": standing.until, "heldBack": standing.held_back,
        }));
    }
    Ok((windows, held))
}

fn delivery(step: &Step, held: Option<&str>) -> Value {
    let delivery = step.delivery();
    let (would, reason) = match (step, held) {
        (Step::Deliver(_), Some(held)) => ("suppress", Some(held)),
        (Step::Deliver(_), None) => ("send", None),
        (Step::Suppress(_, reason), _) => ("suppress", Some(reason.as_str())),
        (Step::GiveUp(_, reason, _), _) => ("fail", Some(reason.as_str())),
    };
    json!({
        "channel": delivery.channel, "kind": delivery.kind, "recipient": delivery.recipient, "would": would,
        "reason": reason, "severity": delivery.severity, "title": delivery.title, "body": delivery.body,
        "link": delivery.link, "note": delivery.note,
    })
}

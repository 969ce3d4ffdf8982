//! Lists of rules, by any combination of filters.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;

use crate::api::Shared;
use crate::api::auth::Principal;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::documents::Key;
use crate::event::EventType;
use crate::rule::{Rule, RuleSpec};
use crate::shelf::Held;

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RulePage {
    #[schema(value_type = Vec<Object>)]
    pub rules: Vec<Value>,
    /// None at the end.
    pub next_cursor: Option<String>,
}

/// List rules, in the order of their ids.
#[utoipa::path(
    get,
    path = "/v1/rules",
    operation_id = "listRules",
    tag = "rules",
    params(
        ("workspace" = Option<String>, Query), ("enabled" = Option<bool>, Query),
        ("channel" = Option<String>, Query, description = "rules that name it"),
        ("event" = Option<String>, Query, description = "a type: rules one of whose patterns matches it"),
        ("label" = Option<String>, Query, description = "`name` or `name=value`"),
        ("owner" = Option<String>, Query, description = "`api` or `file:<name>`"),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "a page", body = RulePage),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    principal: Principal,
    State(api): State<Shared>,
    query: Query,
) -> Result<Json<RulePage>, Problem> {
    principal.reads_documents()?;
    let query =
        query.only(&["workspace", "enabled", "channel", "event", "label", "owner", "limit", "cursor"])?;
    let workspace = principal.reads(query.workspace()?)?;
    let filter = Filter::of(&query)?;
    let wanted = |key: &Key, held: &Held| match key {
        Key::Channel(..) | Key::Connection(..) => Some(false),
        Key::Rule(of, _) => Some(workspace.as_ref().is_none_or(|wanted| wanted == of) && filter.holds(held)),
        Key::Scope(..)
        | Key::Source(..)
        | Key::Recipient(..)
        | Key::Preferences(..)
        | Key::Token(_)
        | Key::SealingKey(_)
        | Key::Standing(..) => None,
    };
    let (rules, next_cursor) = api.page(&query, wanted)?;
    Ok(Json(RulePage { rules, next_cursor }))
}

/// What to list. Everything that is set must hold.
struct Filter {
    enabled: Option<bool>,
    channel: Option<String>,
    event: Option<EventType>,
    label: Option<(String, Option<String>)>,
    owner: Option<String>,
}

impl Filter {
    fn of(query: &Query) -> Result<Self, Problem> {
        let label = query.get("label").map(|label| match label.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (label.to_owned(), None),
        });
        let event = query.get("event").map(|text| EventType::parse(&text.replace('.', ":")));
        let event =
            event.transpose().map_err(|error| Problem::invalid(format!("parameter event: {error}")))?;
        Ok(Self {
            enabled: query.get("enabled").map(|_| query.flag("enabled")).transpose()?,
            channel: query.get("channel").map(str::to_owned),
            event,
            label,
            owner: query.get("owner").map(str::to_owned),
        })
    }

    fn holds(&self, held: &Held) -> bool {
        if self.owner.as_ref().is_some_and(|owner| *owner != held.document.owner) {
            return false;
        }
        let Ok(spec) = serde_json::from_value::<RuleSpec>(held.document.spec.clone()) else { return false };
        let has_label = |(name, value): &(String, Option<String>)| {
            spec.labels.get(name).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        };
        let matches = |event: &EventType| {
            Rule::compile(&spec)
                .is_ok_and(|rule| rule.patterns.iter().any(|pattern| pattern.matches(event.as_str())))
        };
        self.enabled.is_none_or(|enabled| spec.enabled == enabled)
            && self.channel.as_ref().is_none_or(|id| spec.channels.iter().any(|own| own.as_str() == id))
            && self.label.as_ref().is_none_or(has_label)
            && self.event.as_ref().is_none_or(matches)
    }
}

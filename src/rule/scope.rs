//! Rules that belong to one task or one mission, and replace or extend what holds in the whole workspace.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::{Rule, RuleSpec};
use crate::ids::ScopedId;

const RULES_MAX: usize = 100;

/// What rules can belong to, the nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    Task,
    Mission,
}

impl Level {
    pub const ALL: [Self; 2] = [Self::Task, Self::Mission];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Mission => "mission",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// A task or a mission.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeId {
    pub level: Level,
    pub id: ScopedId,
}

/// `task:T-17`, as deliveries name it.
impl fmt::Display for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level.as_str(), self.id)
    }
}

/// A scope's document: that of `task` where it is set, else that of `mission`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScopeSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<ScopedId>,
    /// Beside a task: the mission that it belongs to, for events that name only the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mission: Option<ScopedId>,
    /// The rules of the next level count too.
    #[serde(default)]
    pub inherit: bool,
    #[serde(default)]
    #[schemars(length(max = RULES_MAX))]
    pub rules: Vec<RuleSpec>,
}

impl ScopeSpec {
    /// # Errors
    /// When it names neither a task nor a mission.
    pub fn id(&self) -> Result<ScopeId, Fault> {
        let named = [(Level::Task, &self.task), (Level::Mission, &self.mission)];
        let found = named.into_iter().find_map(|(level, id)| Some(ScopeId { level, id: id.clone()? }));
        found.ok_or_else(|| Fault::here("names neither a `task` nor a `mission`"))
    }
}

/// A scope ready to be asked.
#[derive(Debug)]
pub struct Scope {
    /// Its id, as deliveries name it; `event` for the rules that an event brings.
    pub name: String,
    pub inherit: bool,
    /// The mission of a task.
    pub mission: Option<ScopedId>,
    pub rules: Vec<Rule>,
}

impl Scope {
    /// # Errors
    /// The place and the fault.
    pub fn compile(spec: &ScopeSpec) -> Result<Self, Fault> {
        let id = spec.id()?;
        if spec.rules.len() > RULES_MAX {
            let message = format!("has {} rules: at most {RULES_MAX} are allowed", spec.rules.len());
            return Err(Fault::new("/rules", message));
        }
        let mut rules = Vec::new();
        for (index, rule) in spec.rules.iter().enumerate() {
            if spec.rules[..index].iter().any(|earlier| earlier.id == rule.id) {
                return Err(Fault::new(
                    format!("/rules/{index}/id"),
                    format!("rule {} is there twice", rule.id),
                ));
            }
            rules.push(Rule::compile(rule).map_err(|fault| fault.below(&format!("/rules/{index}")))?);
        }
        let mission = spec.mission.clone().filter(|_| id.level == Level::Task);
        Ok(Self { name: id.to_string(), inherit: spec.inherit, mission, rules })
    }
}

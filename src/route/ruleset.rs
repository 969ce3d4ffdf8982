//! The rules in the form in which they are asked, changed without building all of it anew.
//!
//! A workspace's rules lie in two layers: a large one, and on top of it a small one with what changed since the large one
//! was built. A change builds the small one anew; both become one when the small one has grown too large to be cheap.

mod index;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::event::Event;
use crate::ids::{RuleId, WorkspaceId};
use crate::rule::Rule;
use index::Index;

/// So many changed rules always fit the small layer.
const RECENT_MIN: usize = 256;
/// Beyond that, this part of the large layer does.
const RECENT_PART: usize = 16;

/// All rules of all workspaces. Cheap to clone.
#[derive(Default, Clone)]
pub struct RuleSet {
    workspaces: Arc<HashMap<WorkspaceId, Layers>>,
}

/// A rule that is new or another one now; None: it is gone.
pub type Change = (WorkspaceId, RuleId, Option<Arc<Rule>>);

#[derive(Default, Clone)]
struct Layers {
    base: Arc<Index>,
    recent: Arc<Index>,
    /// Rules of `base` that no longer count, and all of `recent`.
    changed: Arc<HashSet<RuleId>>,
}

impl RuleSet {
    #[must_use]
    pub fn new(rules: impl Iterator<Item = (WorkspaceId, Arc<Rule>)>) -> Self {
        Self::default().changed(rules.map(|(workspace, rule)| (workspace, rule.id.clone(), Some(rule))))
    }

    /// With these changes, in their order. Takes the longer the more rules change, and now and then as long as a new set.
    #[must_use]
    pub fn changed(&self, changes: impl Iterator<Item = Change>) -> Self {
        let mut by_workspace: HashMap<WorkspaceId, BTreeMap<RuleId, Option<Arc<Rule>>>> = HashMap::new();
        for (workspace, id, rule) in changes {
            by_workspace.entry(workspace).or_default().insert(id, rule);
        }
        let mut workspaces = HashMap::clone(&self.workspaces);
        for (workspace, changes) in by_workspace {
            let layers = workspaces.remove(&workspace).unwrap_or_default().with(changes);
            if !layers.is_empty() {
                workspaces.insert(workspace, layers);
            }
        }
        Self { workspaces: Arc::new(workspaces) }
    }

    /// The rules of the event's workspace whose patterns match it and whose condition may hold, in order, each once.
    #[must_use]
    pub fn candidates(&self, event: &Event) -> Vec<&Rule> {
        let Some(layers) = self.workspaces.get(&event.workspace) else { return Vec::new() };
        let Layers { base, recent, changed } = layers;
        // An own event concerns only those that name it literally, which the tree does not know.
        let concerned = |rule: &&Rule| !event.is_own() || rule.matches_type(event);
        let standing = |rule: &&Rule| changed.is_empty() || !changed.contains(&rule.id);
        let mut found: Vec<&Rule> = base.candidates(event).filter(standing).filter(concerned).collect();
        if !recent.rules.is_empty() {
            found.extend(recent.candidates(event).filter(concerned));
            found.sort_by(|one, other| one.id.cmp(&other.id));
        }
        found
    }

    /// All rules of a workspace, in the order of their ids.
    #[must_use]
    pub fn all(&self, workspace: &WorkspaceId) -> Vec<&Rule> {
        let layers = self.workspaces.get(workspace);
        let mut all: Vec<&Rule> = layers.into_iter().flat_map(Layers::rules).map(AsRef::as_ref).collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all
    }

    #[must_use]
    pub fn get(&self, workspace: &WorkspaceId, id: &RuleId) -> Option<&Arc<Rule>> {
        let Layers { base, recent, changed } = self.workspaces.get(workspace)?;
        if changed.contains(id) { recent.get(id) } else { base.get(id) }
    }

    /// True when a rule of the workspace asks for the events that Bugle emits about itself.
    #[must_use]
    pub fn names_own_events(&self, workspace: &WorkspaceId) -> bool {
        self.workspaces.get(workspace).is_some_and(Layers::names_own_events)
    }

    /// The same of any workspace.
    #[must_use]
    pub fn any_names_own_events(&self) -> bool {
        self.workspaces.values().any(Layers::names_own_events)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workspaces.is_empty()
    }
}

impl Layers {
    /// In no order.
    fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        let standing = self.base.rules.iter().filter(|rule| !self.changed.contains(&rule.id));
        standing.chain(&self.recent.rules)
    }

    fn is_empty(&self) -> bool {
        self.rules().next().is_none()
    }

    fn names_own_events(&self) -> bool {
        !self.recent.own.is_empty() || self.base.own.iter().any(|id| !self.changed.contains(id))
    }

    fn with(self, changes: BTreeMap<RuleId, Option<Arc<Rule>>>) -> Self {
        let of = |rules: BTreeMap<RuleId, Arc<Rule>>| Arc::new(Index::new(rules.into_values().collect()));
        let by_id = |rule: &Arc<Rule>| (rule.id.clone(), Arc::clone(rule));
        let mut changed = HashSet::clone(&self.changed);
        changed.extend(changes.keys().cloned());
        let outgrown = changed.len() > RECENT_MIN.max(self.base.rules.len() / RECENT_PART);
        let mut rules: BTreeMap<RuleId, Arc<Rule>> = if outgrown {
            self.rules().map(by_id).collect()
        } else {
            self.recent.rules.iter().map(by_id).collect()
        };
        for (id, rule) in changes {
            match rule {
                Some(rule) => rules.insert(id, rule),
                None => rules.remove(&id),
            };
        }
        if outgrown {
            return Self { base: of(rules), ..Self::default() };
        }
        Self { base: self.base, recent: of(rules), changed: Arc::new(changed) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::{Incoming, decode};
    use crate::rule::RuleSpec;

    fn rules(documents: serde_json::Value) -> Vec<Arc<Rule>> {
        let specs: Vec<RuleSpec> = serde_json::from_value(documents).unwrap();
        specs.iter().map(|spec| Arc::new(Rule::compile(spec).unwrap())).collect()
    }

    fn event(event_type: &str, data: &serde_json::Value) -> Event {
        decode(&Incoming {
            workspace: WorkspaceId::default(),
            subject_type: Some(event_type),
            headers: &[],
            body: data.to_string().as_bytes(),
            fallback_id: "1",
            fallback_source: "test",
            received_at: jiff::Timestamp::UNIX_EPOCH,
        })
        .unwrap()
    }

    #[test]
    fn the_index_finds_exactly_what_a_scan_of_all_rules_finds() {
        let patterns = [
            "*",
            "**",
            "task:*",
            "task:**",
            "ta*:done",
            "*:done",
            "task:done",
            "**:done",
            "a:*:c",
            "notification:*",
        ];
        let conditions = [
            json!(null),
            json!({"field": "n", "op": "==", "value": 1}),
            json!({"field": "n", "op": "==", "value": "1"}),
            json!({"and": [{"field": "s", "op": "==", "value": "x"}, {"field": "n", "op": ">", "value": 0}]}),
            json!({"or": [{"field": "s", "op": "==", "value": "x"}, {"field": "n", "op": "==", "value": 2}]}),
            json!({"field": "gone", "op": "==", "value": null}),
        ];
        let mut documents = Vec::new();
        for (p, pattern) in patterns.iter().enumerate() {
            for (c, condition) in conditions.iter().enumerate() {
                let mut rule = json!({"id": format!("r-{p:02}-{c}"), "events": [pattern, "never:this"], "channels": ["x"]});
                if !condition.is_null() {
                    rule["condition"] = condition.clone();
                }
                documents.push(rule);
            }
        }
        let rules = rules(json!(documents));
        let set = RuleSet::new(rules.iter().map(|rule| (WorkspaceId::default(), Arc::clone(rule))));
        let holds = |rule: &Rule, event: &Event| {
            rule.condition.as_ref().is_none_or(|condition| condition.holds(event))
        };
        for event_type in
            ["task", "task:done", "task:a:done", "done", "a:b:c", "notification:sent", "never:this"]
        {
            for data in [
                json!({}),
                json!({"n": 1}),
                json!({"n": "1.0", "s": "x"}),
                json!({"n": 2}),
                json!({"n": [1]}),
            ] {
                let event = event(event_type, &data);
                let scan: Vec<&str> = rules
                    .iter()
                    .filter(|rule| rule.matches_type(&event) && holds(rule, &event))
                    .map(|rule| rule.id.as_str())
                    .collect();
                let found: Vec<&str> = set
                    .candidates(&event)
                    .into_iter()
                    .filter(|rule| holds(rule, &event))
                    .map(|rule| rule.id.as_str())
                    .collect();
                assert_eq!(found, scan, "{event_type} {data}");
            }
        }
    }

    #[test]
    fn rules_of_another_workspace_are_not_asked() {
        let other = WorkspaceId::parse("other").unwrap();
        let rules = rules(json!([{"id": "r", "events": ["*"], "channels": ["x"]}]));
        let set = RuleSet::new(rules.into_iter().map(|rule| (other.clone(), rule)));
        assert!(set.candidates(&event("task:done", &json!({}))).is_empty());
    }

    #[test]
    fn a_set_changed_step_by_step_is_the_set_built_at_once() {
        let workspace = WorkspaceId::default();
        let rule = |number: usize, step: usize| {
            let value = json!({
                "id": format!("r-{:03}", number % 400), "events": [format!("task:{}", step % 3)], "channels": ["x"],
                "condition": {"field": "n", "op": "==", "value": step % 5}
            });
            rules(json!([value])).remove(0)
        };
        let (mut set, mut plain) = (RuleSet::default(), BTreeMap::new());
        // A generator of its own, so that a failure comes again.
        let mut dice: usize = 7;
        for step in 0..300 {
            let mut changes: Vec<Change> = Vec::new();
            for _ in 0..=dice % 6 {
                dice =
                    dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 1;
                let rule = rule(dice >> 20, step);
                let (id, rule) = (rule.id.clone(), (dice >> 33 & 3 != 0).then_some(rule));
                match &rule {
                    Some(rule) => plain.insert(id.clone(), Arc::clone(rule)),
                    None => plain.remove(&id),
                };
                changes.push((workspace.clone(), id, rule));
            }
            set = set.changed(changes.into_iter());
            let whole = RuleSet::new(plain.values().map(|rule| (workspace.clone(), Arc::clone(rule))));
            let ids = |rules: Vec<&Rule>| rules.into_iter().map(|rule| rule.id.clone()).collect::<Vec<_>>();
            assert_eq!(ids(set.all(&workspace)), ids(whole.all(&workspace)), "step {step}");
            let event = event(&format!("task:{}", step % 3), &json!({"n": step % 5}));
            assert_eq!(ids(set.candidates(&event)), ids(whole.candidates(&event)), "step {step}");
            assert!(
                plain
                    .iter()
                    .all(|(id, rule)| set.get(&workspace, id).is_some_and(|found| Arc::ptr_eq(found, rule)))
            );
        }
        let gone = plain.into_keys().map(|id| (workspace.clone(), id, None));
        assert!(set.changed(gone).is_empty());
    }
}

//! The rules in the form in which they are asked: which of them can concern this event?
//!
//! Two indexes narrow the question before anything is evaluated. Patterns lie in a tree of segments, so that a type
//! finds its patterns by walking its own segments. Rules that share a pattern lie under the rarest equality that their
//! condition demands (`to == failed`), so that the event's own value finds them. What is left is asked one by one.

use std::collections::HashMap;
use std::sync::Arc;

use crate::event::Event;
use crate::ids::WorkspaceId;
use crate::rule::Rule;
use crate::rule::condition::{Key, Path, index_key_of};
use crate::rule::pattern::{Pattern, Segment};

/// All rules of all workspaces. Cheap to clone.
#[derive(Default, Clone)]
pub struct RuleSet {
    workspaces: HashMap<WorkspaceId, Arc<Workspace>>,
}

#[derive(Default)]
struct Workspace {
    /// In the order of their ids, which is the order in which they fire.
    rules: Vec<Arc<Rule>>,
    tree: Node,
}

/// The patterns that go on from here.
#[derive(Default)]
struct Node {
    literal: HashMap<String, Node>,
    /// A `*` of its own.
    any: Option<Box<Node>>,
    /// Patterns with stars inside a segment or across segments: asked whole.
    whole: Vec<(Pattern, Candidates)>,
    /// Patterns that end here.
    ends: Candidates,
}

/// The rules under one pattern.
#[derive(Default)]
struct Candidates {
    rules: Vec<usize>,
    always: Vec<usize>,
    by_value: Vec<(Path, HashMap<Key<'static>, Vec<usize>>)>,
}

impl RuleSet {
    /// Rules in the order of their ids.
    #[must_use]
    pub fn new(rules: impl Iterator<Item = (WorkspaceId, Arc<Rule>)>) -> Self {
        let mut by_workspace: HashMap<WorkspaceId, Vec<Arc<Rule>>> = HashMap::new();
        for (workspace, rule) in rules {
            by_workspace.entry(workspace).or_default().push(rule);
        }
        let workspaces = by_workspace.into_iter().map(|(id, rules)| (id, Arc::new(Workspace::new(rules))));
        Self { workspaces: workspaces.collect() }
    }

    /// The rules of the event's workspace whose patterns match it and whose condition may hold, in order, each once.
    #[must_use]
    pub fn candidates(&self, event: &Event) -> Vec<&Rule> {
        let Some(workspace) = self.workspaces.get(&event.workspace) else { return Vec::new() };
        let segments: Vec<&str> = event.event_type.as_str().split(':').collect();
        let mut found = Vec::new();
        workspace.tree.collect(&segments, event, &mut found);
        found.sort_unstable();
        found.dedup();
        let rules = found.into_iter().filter_map(|index| workspace.rules.get(index)).map(AsRef::as_ref);
        // An own event concerns only those that name it literally, which the tree does not know.
        rules.filter(|rule: &&Rule| !event.is_own() || rule.matches_type(event)).collect()
    }

    /// All rules of a workspace, in the order of their ids.
    #[must_use]
    pub fn all(&self, workspace: &WorkspaceId) -> &[Arc<Rule>] {
        self.workspaces.get(workspace).map_or(&[], |workspace| workspace.rules.as_slice())
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.workspaces.values().map(|workspace| workspace.rules.len()).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Workspace {
    fn new(rules: Vec<Arc<Rule>>) -> Self {
        let mut tree = Node::default();
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.enabled) {
            for pattern in &rule.patterns {
                tree.insert(pattern, pattern.segments(), index);
            }
        }
        tree.index(&rules);
        Self { rules, tree }
    }
}

impl Node {
    fn insert(&mut self, pattern: &Pattern, rest: &[Segment], rule: usize) {
        let Some((first, tail)) = rest.split_first() else {
            self.ends.rules.push(rule);
            return;
        };
        match first {
            Segment::Literal(text) => {
                self.literal.entry(text.clone()).or_default().insert(pattern, tail, rule);
            }
            Segment::Any => self.any.get_or_insert_default().insert(pattern, tail, rule),
            Segment::Glob(_) | Segment::Deep(_) => self.insert_whole(pattern, rule),
        }
    }

    fn insert_whole(&mut self, pattern: &Pattern, rule: usize) {
        match self.whole.iter_mut().find(|(known, _)| known.as_str() == pattern.as_str()) {
            Some((_, candidates)) => candidates.rules.push(rule),
            None => {
                self.whole.push((pattern.clone(), Candidates { rules: vec![rule], ..Candidates::default() }));
            }
        }
    }

    fn index(&mut self, rules: &[Arc<Rule>]) {
        self.ends.index(rules);
        self.whole.iter_mut().for_each(|(_, candidates)| candidates.index(rules));
        self.literal.values_mut().for_each(|node| node.index(rules));
        self.any.iter_mut().for_each(|node| node.index(rules));
    }

    fn collect(&self, rest: &[&str], event: &Event, found: &mut Vec<usize>) {
        for (pattern, candidates) in &self.whole {
            if pattern.matches(event.event_type.as_str()) {
                candidates.collect(event, found);
            }
        }
        let Some((first, tail)) = rest.split_first() else {
            self.ends.collect(event, found);
            return;
        };
        if let Some(node) = self.literal.get(*first) {
            node.collect(tail, event, found);
        }
        if let Some(node) = &self.any {
            node.collect(tail, event, found);
        }
    }
}

impl Candidates {
    /// Puts each rule under the equality that the fewest of its neighbours share.
    fn index(&mut self, rules: &[Arc<Rule>]) {
        let mut shared: HashMap<(Path, Key<'static>), usize> = HashMap::new();
        for demand in self.rules.iter().flat_map(|rule| demands(rules, *rule)) {
            *shared.entry(demand).or_default() += 1;
        }
        let mut by_value: HashMap<Path, HashMap<Key<'static>, Vec<usize>>> = HashMap::new();
        for rule in std::mem::take(&mut self.rules) {
            let rarest = demands(rules, rule).into_iter().min_by_key(|demand| shared.get(demand).copied());
            match rarest {
                Some((path, key)) => by_value.entry(path).or_default().entry(key).or_default().push(rule),
                None => self.always.push(rule),
            }
        }
        self.by_value = by_value.into_iter().collect();
    }

    fn collect(&self, event: &Event, found: &mut Vec<usize>) {
        found.extend(&self.always);
        for (path, values) in &self.by_value {
            let value = path.find(event);
            if let Some(rules) = value.as_deref().and_then(index_key_of).and_then(|key| values.get(&key)) {
                found.extend(rules);
            }
        }
    }
}

/// The equalities without which the rule's condition cannot hold.
fn demands(rules: &[Arc<Rule>], rule: usize) -> Vec<(Path, Key<'static>)> {
    let condition = rules.get(rule).and_then(|rule| rule.condition.as_ref());
    let equalities = condition.map(|condition| condition.required_equalities()).unwrap_or_default();
    let key = |(path, scalar): (&Path, &crate::rule::condition::Scalar)| {
        Some((path.clone(), scalar.index_key()?.into_owned()))
    };
    equalities.into_iter().filter_map(key).collect()
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
}

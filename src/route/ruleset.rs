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
use crate::rule::condition::{IndexKey, Path};
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
    /// A segment with stars that stay within it.
    globs: Vec<(Segment, Node)>,
    /// Patterns from here on that cross segments: asked whole.
    deep: Vec<(Pattern, Candidates)>,
    /// Patterns that end here.
    ends: Candidates,
}

/// The rules under one pattern.
#[derive(Default)]
struct Candidates {
    rules: Vec<usize>,
    always: Vec<usize>,
    by_value: Vec<(Path, HashMap<IndexKey, Vec<usize>>)>,
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
        if pattern.is_everything() || rest.iter().any(Segment::crosses) {
            self.insert_deep(pattern, rule);
            return;
        }
        match first.literal() {
            Some(text) => self.literal.entry(text.to_owned()).or_default().insert(pattern, tail, rule),
            None => {
                let position = self.globs.iter().position(|(segment, _)| segment == first);
                let position = position.unwrap_or_else(|| {
                    self.globs.push((first.clone(), Self::default()));
                    self.globs.len() - 1
                });
                self.globs[position].1.insert(pattern, tail, rule);
            }
        }
    }

    fn insert_deep(&mut self, pattern: &Pattern, rule: usize) {
        match self.deep.iter_mut().find(|(known, _)| known == pattern) {
            Some((_, candidates)) => candidates.rules.push(rule),
            None => {
                self.deep.push((pattern.clone(), Candidates { rules: vec![rule], ..Candidates::default() }));
            }
        }
    }

    fn index(&mut self, rules: &[Arc<Rule>]) {
        self.ends.index(rules);
        self.deep.iter_mut().for_each(|(_, candidates)| candidates.index(rules));
        self.literal.values_mut().for_each(|node| node.index(rules));
        self.globs.iter_mut().for_each(|(_, node)| node.index(rules));
    }

    fn collect(&self, rest: &[&str], event: &Event, found: &mut Vec<usize>) {
        for (pattern, candidates) in &self.deep {
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
        for (segment, node) in &self.globs {
            if segment.matches(first) {
                node.collect(tail, event, found);
            }
        }
    }
}

impl Candidates {
    /// Puts each rule under the equality that the fewest of its neighbours share.
    fn index(&mut self, rules: &[Arc<Rule>]) {
        let mut shared: HashMap<(Path, IndexKey), usize> = HashMap::new();
        for demand in self.rules.iter().flat_map(|rule| demands(rules, *rule)) {
            *shared.entry(demand).or_default() += 1;
        }
        let mut by_value: HashMap<Path, HashMap<IndexKey, Vec<usize>>> = HashMap::new();
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
            let key = path.find(event).and_then(|value| IndexKey::of(&value));
            if let Some(rules) = key.and_then(|key| values.get(&key)) {
                found.extend(rules);
            }
        }
    }
}

/// The equalities without which the rule's condition cannot hold.
fn demands(rules: &[Arc<Rule>], rule: usize) -> Vec<(Path, IndexKey)> {
    let condition = rules.get(rule).and_then(|rule| rule.condition.as_ref());
    let equalities = condition.map(|condition| condition.required_equalities()).unwrap_or_default();
    equalities.into_iter().map(|(path, scalar)| (path.clone(), scalar.index_key())).collect()
}

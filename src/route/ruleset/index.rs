//! One index over rules that do not change: which of them can concern this event?
//!
//! Two indexes narrow the question before anything is evaluated. Patterns lie in a tree of segments, so that a type
//! finds its patterns by walking its own segments. Rules that share a pattern lie under the rarest equality that their
//! condition demands (`to == failed`), so that the event's own value finds them. What is left is asked one by one.

use std::collections::HashMap;
use std::sync::Arc;

use crate::event::Event;
use crate::ids::RuleId;
use crate::rule::Rule;
use crate::rule::condition::{Key, Path, index_key_of};
use crate::rule::pattern::{Pattern, Segment};

/// Rules of one workspace.
#[derive(Default)]
pub(super) struct Index {
    /// In the order of their ids, which is the order in which they fire.
    pub rules: Vec<Arc<Rule>>,
    tree: Node,
    /// Those that ask for the events that Bugle emits about itself.
    pub own: Vec<RuleId>,
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

impl Index {
    /// Rules in the order of their ids.
    pub fn new(rules: Vec<Arc<Rule>>) -> Self {
        let mut tree = Node::default();
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.enabled) {
            for pattern in &rule.patterns {
                tree.insert(pattern, pattern.segments(), index);
            }
        }
        tree.index(&rules);
        let asks = |rule: &&Arc<Rule>| rule.enabled && rule.patterns.iter().any(Pattern::names_own_events);
        let own = rules.iter().filter(asks).map(|rule| rule.id.clone()).collect();
        Self { rules, tree, own }
    }

    /// Those whose patterns match and whose condition may hold, in order, each once.
    pub fn candidates(&self, event: &Event) -> impl Iterator<Item = &Rule> {
        let segments: Vec<&str> = event.event_type.as_str().split(':').collect();
        let mut found = Vec::new();
        self.tree.collect(&segments, event, &mut found);
        found.sort_unstable();
        found.dedup();
        found.into_iter().filter_map(|index| self.rules.get(index)).map(AsRef::as_ref)
    }

    pub fn get(&self, id: &RuleId) -> Option<&Arc<Rule>> {
        let place = self.rules.binary_search_by(|rule| rule.id.cmp(id)).ok()?;
        self.rules.get(place)
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

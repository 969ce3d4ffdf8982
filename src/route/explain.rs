//! Why each rule fired for an event, or did not. Asks every rule, without the index that routing uses.

use super::{Candidate, Firing, GLOBAL_SCOPE, World, firing};
use crate::event::Event;
use crate::rule::Rule;
use crate::rule::condition::Leaf;

/// A rule whose patterns match, and what became of it.
#[derive(Debug)]
pub struct Judged<'a> {
    pub scope: &'a str,
    pub rule: &'a Rule,
    pub verdict: Verdict<'a>,
}

#[derive(Debug)]
pub enum Verdict<'a> {
    Fired(Firing),
    /// It is switched off.
    Disabled,
    /// Its time is over.
    Expired,
    /// This nearer scope has rules for the event and does not inherit.
    Outscoped(&'a str),
    /// Its condition does not hold.
    Unmet(Vec<Leaf>),
}

/// Every rule whose patterns match, the nearest scope's first; fired are exactly those that `plan` fires.
#[must_use]
pub fn explain<'a>(event: &Event, world: World<'a>) -> Vec<Judged<'a>> {
    let mut judged = Vec::new();
    let mut decided = None;
    for scope in &world.scopes.0 {
        let rules: Vec<&Rule> = scope.rules.iter().filter(|rule| rule.matches_type(event)).collect();
        let decides = !scope.inherit && rules.iter().any(|rule| rule.is_on(world.at));
        judged.extend(rules.iter().map(|rule| judge(event, &scope.name, rule, decided, world)));
        decided = decided.or(decides.then_some(scope.name.as_str()));
    }
    let global = world.rules.all(&event.workspace).into_iter();
    let global = global.filter(|rule: &&Rule| rule.matches_type(event));
    judged.extend(global.map(|rule| judge(event, GLOBAL_SCOPE, rule, decided, world)));
    judged
}

fn judge<'a>(
    event: &Event,
    scope: &'a str,
    rule: &'a Rule,
    decided: Option<&'a str>,
    world: World<'_>,
) -> Judged<'a> {
    let verdict = if !rule.enabled {
        Verdict::Disabled
    } else if !rule.is_on(world.at) {
        Verdict::Expired
    } else if let Some(scope) = decided {
        Verdict::Outscoped(scope)
    } else {
        let leaves = rule.condition.as_ref().filter(|condition| !condition.holds(event));
        match leaves {
            Some(condition) => Verdict::Unmet(condition.why_not(event)),
            None => Verdict::Fired(firing(event, Candidate { scope, rule }, world)),
        }
    };
    Judged { scope, rule, verdict }
}

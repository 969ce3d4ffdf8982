//! Why a condition does not hold: the comparisons that decided it, with what they found.

use serde_json::Value;

use super::{Condition, Facts, Node};

/// A comparison that had its part in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// Its place in the condition.
    pub pointer: String,
    /// Where it looked.
    pub field: String,
    /// What lay there; None when nothing did.
    pub found: Option<Value>,
    /// Whether it held: under `not` it is the ones that do which decide.
    pub held: bool,
}

impl Condition {
    /// Nothing when it holds. The first part of an `and` that fails, all parts of an `or`.
    #[must_use]
    pub fn why_not(&self, facts: &impl Facts) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        if !self.holds(facts) {
            self.0.decided(facts, false, "", &mut leaves);
        }
        leaves
    }
}

impl Node {
    /// The leaves that make this node come out as `held`, which it does.
    fn decided(&self, facts: &impl Facts, held: bool, place: &str, leaves: &mut Vec<Leaf>) {
        match self {
            Self::And(nodes) => many(nodes, "and", facts, (held, true), place, leaves),
            Self::Or(nodes) => many(nodes, "or", facts, (held, false), place, leaves),
            Self::Not(node) => node.decided(facts, !held, &format!("{place}/not"), leaves),
            Self::Comparison(comparison) => leaves.push(Leaf {
                pointer: place.to_owned(),
                field: comparison.path.to_string(),
                found: comparison.path.find(facts).map(std::borrow::Cow::into_owned),
                held,
            }),
        }
    }
}

/// An `and` holds by all of its parts and fails by one; with an `or` it is the other way round.
fn many(
    nodes: &[Node],
    word: &str,
    facts: &impl Facts,
    (held, by_all): (bool, bool),
    place: &str,
    leaves: &mut Vec<Leaf>,
) {
    let mut deciding = nodes.iter().enumerate().filter(|(_, node)| node.holds(facts) == held);
    let place = |index: usize| format!("{place}/{word}/{index}");
    if held == by_all {
        deciding.for_each(|(index, node)| node.decided(facts, held, &place(index), leaves));
    } else if let Some((index, node)) = deciding.next() {
        node.decided(facts, held, &place(index), leaves);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{Case, vectors};
    use super::*;

    fn why(condition: &Value, data: &Value) -> Vec<(String, Option<Value>)> {
        let leaves = Condition::parse(condition).unwrap().why_not(&Case::of(data));
        leaves.into_iter().map(|leaf| (leaf.pointer, leaf.found)).collect()
    }

    #[test]
    fn the_leaf_that_said_no_is_named_with_what_it_saw() {
        let failed = json!({"field": "to", "op": "==", "value": "failed"});
        let late = json!({"field": "retries", "op": ">=", "value": 3});
        let data = json!({"to": "done", "retries": 5});
        assert_eq!(why(&failed, &data), [(String::new(), Some(json!("done")))]);
        assert_eq!(why(&json!({"and": [late, failed]}), &data), [("/and/1".to_owned(), Some(json!("done")))]);
        assert_eq!(why(&late, &json!({})), [(String::new(), None)]);
        assert_eq!(
            why(&json!({"or": [failed, {"not": late}]}), &data),
            [("/or/0".to_owned(), Some(json!("done"))), ("/or/1/not".to_owned(), Some(json!(5))),]
        );
        assert_eq!(
            why(&json!({"not": {"or": [failed, late]}}), &data),
            [("/not/or/1".to_owned(), Some(json!(5)))]
        );
        assert_eq!(why(&late, &data), []);
    }

    #[test]
    fn what_does_not_hold_has_a_leaf_and_each_leaf_is_as_it_says() {
        for vector in vectors() {
            let Ok(condition) = Condition::parse(&vector.condition) else { continue };
            let case = Case::of(&vector.data);
            let leaves = condition.why_not(&case);
            assert!(!condition.holds(&case) || leaves.is_empty(), "{:?}", vector.condition);
            for leaf in leaves {
                let part = vector.condition.pointer(&leaf.pointer).unwrap();
                assert_eq!(Condition::parse(part).unwrap().holds(&case), leaf.held, "{part}");
            }
        }
    }
}

//! Why a condition does not hold: the comparisons that decided it, with what they found.

use serde_json::Value;

use super::comparison::{Bound, Order, Test};
use super::{Condition, Facts, Node, Scalar};

/// A comparison that had its part in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// Its place in the condition.
    pub pointer: String,
    /// Where it looked.
    pub field: String,
    /// What it asked of it, such as `>= 3`.
    pub test: String,
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
                test: comparison.test.words(),
                found: comparison.path.find(facts).map(std::borrow::Cow::into_owned),
                held,
            }),
        }
    }
}

impl Test {
    /// As the rule has it: the operator, and the value as JSON.
    fn words(&self) -> String {
        match self {
            Self::Exists => "exists".to_owned(),
            Self::NotExists => "not_exists".to_owned(),
            Self::Equals(value) => format!("== {}", json(value)),
            Self::Differs(value) => format!("!= {}", json(value)),
            Self::Orders(order, bound) => format!("{} {}", order.words(), bound.json()),
            Self::Includes(value) => format!("includes {}", json(value)),
            Self::NotIncludes(value) => format!("not_includes {}", json(value)),
            Self::In(values) => format!("in [{}]", list(values)),
            Self::NotIn(values) => format!("not_in [{}]", list(values)),
            Self::StartsWith(text) => format!("starts_with {}", quoted(text)),
            Self::EndsWith(text) => format!("ends_with {}", quoted(text)),
            Self::Matches(regex) => format!("matches {}", quoted(regex.as_str())),
        }
    }
}

impl Order {
    fn words(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl Bound {
    fn json(&self) -> String {
        match self {
            Self::Number(number) => json(&Scalar::Number(*number)),
            Self::Text(text) => quoted(text),
        }
    }
}

fn list(values: &[Scalar]) -> String {
    values.iter().map(json).collect::<Vec<_>>().join(", ")
}

fn json(value: &Scalar) -> String {
    match value {
        Scalar::Null => "null".to_owned(),
        Scalar::Text(text, _) => quoted(text),
        Scalar::Bool(_) | Scalar::Number(_) => value.text().into_owned(),
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
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
    fn a_leaf_says_what_was_asked() {
        for (op, value, said) in [
            ("==", json!("a\"b"), r#"== "a\"b""#),
            ("!=", json!(null), "!= null"),
            (">=", json!(3), ">= 3"),
            ("<", json!("b"), "< \"b\""),
            ("in", json!([1, "x", true]), "in [1, \"x\", true]"),
            ("matches", json!("^x"), "matches \"^x\""),
            ("includes", json!(1.5), "includes 1.5"),
        ] {
            let not = op == "!=";
            let condition = json!({"field": "f", "op": op, "value": value});
            let condition = if not { json!({"not": condition}) } else { condition };
            let data = if not { json!({"f": 1}) } else { json!({}) };
            let leaves = Condition::parse(&condition).unwrap().why_not(&Case::of(&data));
            assert_eq!(leaves[0].test, said);
        }
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

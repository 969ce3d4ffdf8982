//! Conditions over an event's data: `{"field": "task.retries", "op": ">=", "value": 3}` under `and`, `or` and `not`.
//!
//! A condition is checked when it is written and cannot fail when it runs. An empty `and` holds, an empty `or` does
//! not.

mod comparison;
#[cfg(test)]
pub(crate) mod fixture;
mod parse;
mod path;
mod scalar;
mod schema;
mod why;

use std::borrow::Cow;

use serde_json::Value;

use crate::rule::fault::Fault;
use comparison::{Comparison, Test};
pub use parse::{COMPARISONS_MAX, DEPTH_MAX};
pub use path::{ENVELOPE, Path, PathError};
pub use scalar::{Exact, Key, Scalar, index_key_of};
pub use why::Leaf;

/// What conditions and templates may look at.
pub trait Facts {
    /// The event's own data.
    fn data(&self) -> &Value;

    /// What `_event.<name>` leads to, such as `type` and `source`.
    fn envelope(&self, name: &str) -> Option<Cow<'_, Value>>;
}

#[derive(Debug, Clone)]
pub struct Condition(Node);

#[derive(Debug, Clone)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Comparison(Comparison),
}

impl Condition {
    /// # Errors
    /// The place of what is wrong, relative to the condition, and what would be right.
    pub fn parse(value: &Value) -> Result<Self, Fault> {
        parse::condition(value)
    }

    pub fn holds(&self, facts: &impl Facts) -> bool {
        self.0.holds(facts)
    }

    /// The comparisons `path == value` without which the condition cannot hold, null aside: an index over many
    /// conditions looks them up by [`Scalar::index_key`]. Only `and` is looked into, so there may be others that
    /// this misses.
    #[must_use]
    pub fn required_equalities(&self) -> Vec<(&Path, &Scalar)> {
        let mut found = Vec::new();
        self.0.collect_equalities(&mut found);
        found
    }
}

impl Node {
    fn holds(&self, facts: &impl Facts) -> bool {
        match self {
            Self::And(nodes) => nodes.iter().all(|node| node.holds(facts)),
            Self::Or(nodes) => nodes.iter().any(|node| node.holds(facts)),
            Self::Not(node) => !node.holds(facts),
            Self::Comparison(comparison) => comparison.holds(facts),
        }
    }

    fn collect_equalities<'a>(&'a self, found: &mut Vec<(&'a Path, &'a Scalar)>) {
        match self {
            Self::And(nodes) => {
                for node in nodes {
                    node.collect_equalities(found);
                }
            }
            Self::Comparison(Comparison { path, test: Test::Equals(value) }) if *value != Scalar::Null => {
                found.push((path, value));
            }
            Self::Or(_) | Self::Not(_) | Self::Comparison(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::fixture::{Case, vectors};
    use super::*;

    fn holds(condition: &Value, data: &Value) -> bool {
        Condition::parse(condition).unwrap().holds(&Case::of(data))
    }

    fn compares(op: &str, value: impl Into<Value>, found: &Value) -> bool {
        let condition = json!({ "field": "f", "op": op, "value": value.into() });
        holds(&condition, &json!({ "f": found }))
    }

    #[test]
    fn every_vector_holds_as_expected() {
        let vectors = vectors();
        assert!(vectors.len() > 1000);
        for (index, vector) in vectors.iter().enumerate() {
            let parsed = Condition::parse(&vector.condition);
            let found = match &parsed {
                Ok(condition) => Value::Bool(condition.holds(&Case::of(&vector.data))),
                Err(_) => Value::from("invalid"),
            };
            assert_eq!(found, vector.expected, "{index} {vector:?} {parsed:?}");
        }
    }

    #[test]
    fn a_list_of_values_is_compared_one_by_one() {
        assert!(compares("in", json!(["a", 1]), &json!("1")));
        assert!(!compares("in", json!(["a", 1]), &json!(true)));
        assert!(!compares("not_in", json!(["a", 1]), &json!("a")));
        assert!(compares("not_in", json!([]), &json!("a")));
        assert!(compares("in", json!([null]), &json!(null)));
        assert!(holds(&json!({ "field": "missing", "op": "in", "value": [null] }), &json!({})));
        assert!(holds(&json!({ "field": "missing", "op": "not_in", "value": ["a"] }), &json!({})));
    }

    #[test]
    fn texts_are_looked_into_and_nothing_else() {
        assert!(compares("starts_with", "ta", &json!("task")));
        assert!(compares("ends_with", "sk", &json!("task")));
        assert!(compares("matches", "^t.*k$", &json!("task")));
        assert!(compares("matches", "as", &json!("task")));
        assert!(!compares("matches", "^as", &json!("task")));
        for op in ["starts_with", "ends_with", "matches"] {
            assert!(!compares(op, "1", &json!(1)), "{op}");
            assert!(!compares(op, "", &json!(["a"])), "{op}");
            assert!(!holds(&json!({ "field": "missing", "op": op, "value": "" }), &json!({})), "{op}");
        }
    }

    #[test]
    fn a_regex_takes_linear_time() {
        assert!(!compares("matches", "^(a+)+$", &json!("a".repeat(100_000) + "b")));
        assert!(!compares("matches", "(x+x+)+y", &json!("x".repeat(100_000))));
    }

    #[test]
    fn the_envelope_is_compared_too() {
        let condition = json!({ "field": "_event.type", "op": "starts_with", "value": "task:" });
        let case = Case::with_envelope(&Value::Null, json!({ "type": "task:created" }));
        assert!(Condition::parse(&condition).unwrap().holds(&case));
        assert!(!holds(&condition, &json!({ "_event": { "type": "task:created" } })));
    }

    #[test]
    fn required_equalities_are_the_ones_on_every_way_to_true() {
        let equals = |field: &str, value: Value| json!({ "field": field, "op": "==", "value": value });
        let condition = Condition::parse(&json!({ "and": [
            equals("a", json!("1")),
            equals("none", json!(null)),
            { "and": [equals("_event.type", json!("x")), { "not": equals("n", json!(1)) }] },
            { "or": [equals("o", json!(1))] },
            { "field": "d", "op": "!=", "value": 1 },
        ] }))
        .unwrap();
        let required = condition.required_equalities();
        let paths: Vec<String> = required.iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(paths, ["a", "_event.type"]);
        assert_eq!(required[0].1.index_key(), index_key_of(&json!(1)));
        let alone = Condition::parse(&equals("a", json!(false))).unwrap();
        assert_eq!(alone.required_equalities().len(), 1);
    }

    #[test]
    fn a_condition_never_holds_where_an_index_by_its_equalities_would_not_look() {
        for vector in vectors() {
            let Ok(condition) = Condition::parse(&vector.condition) else { continue };
            let case = Case::of(&vector.data);
            let looked_up = condition.required_equalities().into_iter().all(|(path, value)| {
                let found = path.find(&case);
                found.as_deref().and_then(index_key_of) == value.index_key()
            });
            assert!(looked_up || !condition.holds(&case), "{vector:?}");
        }
    }
}

//! From JSON to a condition, or to the place of its fault.
//!
//! Everything that could go wrong goes wrong here, when the rule is written. Limits are on what one condition may
//! cost each event: depth, comparisons, and the memory of its regexes.

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::comparison::{Bound, Comparison, Order, Test};
use super::path::Path;
use super::scalar::Scalar;
use super::{Condition, Node};
use crate::rule::fault::{Fault, field_pointer, guess, shortened};

/// Of `and`, `or`, `not` and comparisons within each other.
pub const DEPTH_MAX: usize = 64;
/// The items of `in` and `not_in` count too.
pub const COMPARISONS_MAX: usize = 1000;
pub const REGEXES_MAX: usize = 32;
pub const REGEX_BYTES_MAX: usize = 1024;
/// Of a compiled regex, and again of what it remembers while it runs. `\w{50}` takes about this much.
const REGEX_MEMORY_BYTES_MAX: usize = 1 << 20;

const SHAPE: &str =
    "a condition is one of {\"and\": […]}, {\"or\": […]}, {\"not\": …} and {\"field\", \"op\", \"value\"}";
const COMBINATORS: [&str; 3] = ["and", "or", "not"];
const FIELDS: [&str; 3] = ["field", "op", "value"];
const WORDS: [&str; 6] = ["and", "or", "not", "field", "op", "value"];
pub(super) const OPERATORS: [&str; 15] = [
    "==",
    "!=",
    ">",
    "<",
    ">=",
    "<=",
    "includes",
    "not_includes",
    "exists",
    "not_exists",
    "in",
    "not_in",
    "starts_with",
    "ends_with",
    "matches",
];
/// What other systems call ours.
const ALIASES: [(&str, &str); 20] = [
    ("=", "=="),
    ("===", "=="),
    ("eq", "=="),
    ("equals", "=="),
    ("is", "=="),
    ("!==", "!="),
    ("<>", "!="),
    ("ne", "!="),
    ("neq", "!="),
    ("not_equals", "!="),
    ("gt", ">"),
    ("greater_than", ">"),
    ("gte", ">="),
    ("lt", "<"),
    ("less_than", "<"),
    ("lte", "<="),
    ("contains", "includes"),
    ("not_contains", "not_includes"),
    ("~", "matches"),
    ("regex", "matches"),
];

pub(super) fn condition(value: &Value) -> Result<Condition, Fault> {
    Parser { comparisons: 0, regexes: 0 }.node(value, 1).map(Condition)
}

/// What has been used up of the limits so far.
struct Parser {
    comparisons: usize,
    regexes: usize,
}

impl Parser {
    fn node(&mut self, value: &Value, depth: usize) -> Result<Node, Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::here(format!("is nested more than {DEPTH_MAX} deep")));
        }
        let Value::Object(fields) = value else {
            return Err(Fault::here(format!("found {}; {SHAPE}", kind(value))));
        };
        let Some(combinator) = COMBINATORS.into_iter().find(|word| fields.contains_key(*word)) else {
            return self.comparison(fields).map(Node::Comparison);
        };
        if let Some(other) = fields.keys().find(|key| *key != combinator) {
            let message = format!("`{other}` stands beside `{combinator}`, which has to be alone; {SHAPE}");
            return Err(Fault::new(field_pointer(other), message));
        }
        let inner = &fields[combinator];
        match combinator {
            "and" => Ok(Node::And(self.list("and", inner, depth)?)),
            "or" => Ok(Node::Or(self.list("or", inner, depth)?)),
            _ => {
                let inner = self.node(inner, depth + 1).map_err(|fault| fault.below("/not"))?;
                Ok(Node::Not(Box::new(inner)))
            }
        }
    }

    fn list(&mut self, combinator: &str, value: &Value, depth: usize) -> Result<Vec<Node>, Fault> {
        let place = field_pointer(combinator);
        let Value::Array(items) = value else {
            let message = format!("found {}; `{combinator}` has a list of conditions", kind(value));
            return Err(Fault::new(place, message));
        };
        let mut nodes = Vec::with_capacity(items.len().min(COMPARISONS_MAX));
        for (index, item) in items.iter().enumerate() {
            // An empty `and` is no comparison, but a million of them cost as much.
            self.spend(usize::from(!is_comparison(item))).map_err(|fault| fault.below(&place))?;
            let node = self.node(item, depth + 1);
            nodes.push(node.map_err(|fault| fault.below(&format!("{place}/{index}")))?);
        }
        Ok(nodes)
    }

    fn comparison(&mut self, fields: &Map<String, Value>) -> Result<Comparison, Fault> {
        if let Some(unknown) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            let message = format!("`{unknown}` is not known here{}; {SHAPE}", guess(unknown, &WORDS));
            return Err(Fault::new(field_pointer(unknown), message));
        }
        self.spend(1)?;
        let path = match fields.get("field") {
            Some(Value::String(text)) => {
                Path::parse(text).map_err(|error| Fault::new("/field", error.to_string()))?
            }
            Some(other) => {
                return Err(Fault::new(
                    "/field",
                    format!("found {}; a field is a path in a string", kind(other)),
                ));
            }
            None => return Err(Fault::here(format!("`field` is missing; {SHAPE}"))),
        };
        let operator = match fields.get("op") {
            Some(Value::String(operator)) => operator,
            Some(other) => return Err(Fault::new("/op", format!("found {}; {}", kind(other), operators()))),
            None => return Err(Fault::here(format!("`op` is missing; {}", operators()))),
        };
        let test = self.test(operator, fields.get("value"))?;
        Ok(Comparison { path, test })
    }

    fn test(&mut self, operator: &str, value: Option<&Value>) -> Result<Test, Fault> {
        let needed = || {
            value.ok_or_else(|| Fault::here(format!("`value` is missing; `{operator}` compares with one")))
        };
        match operator {
            "exists" => Ok(Test::Exists),
            "not_exists" => Ok(Test::NotExists),
            "==" => scalar(operator, needed()?).map(Test::Equals),
            "!=" => scalar(operator, needed()?).map(Test::Differs),
            "<" => bound(operator, needed()?).map(|bound| Test::Orders(Order::Less, bound)),
            "<=" => bound(operator, needed()?).map(|bound| Test::Orders(Order::LessOrEqual, bound)),
            ">" => bound(operator, needed()?).map(|bound| Test::Orders(Order::Greater, bound)),
            ">=" => bound(operator, needed()?).map(|bound| Test::Orders(Order::GreaterOrEqual, bound)),
            "includes" => scalar(operator, needed()?).map(Test::Includes),
            "not_includes" => scalar(operator, needed()?).map(Test::NotIncludes),
            "in" => self.scalars(operator, needed()?).map(Test::In),
            "not_in" => self.scalars(operator, needed()?).map(Test::NotIn),
            "starts_with" => string(operator, needed()?).map(|text| Test::StartsWith(text.to_owned())),
            "ends_with" => string(operator, needed()?).map(|text| Test::EndsWith(text.to_owned())),
            "matches" => self.regex(string(operator, needed()?)?).map(Test::Matches),
            unknown => Err(Fault::new("/op", unknown_operator(unknown))),
        }
    }

    fn scalars(&mut self, operator: &str, value: &Value) -> Result<Vec<Scalar>, Fault> {
        let Value::Array(items) = value else {
            return Err(unfit(operator, value, "a list"));
        };
        self.spend(items.len()).map_err(|fault| fault.below("/value"))?;
        let mut scalars = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let refused = || {
                Fault::new(
                    format!("/value/{index}"),
                    format!("found {}; `{operator}` lists strings, numbers, booleans and null", kind(item)),
                )
            };
            scalars.push(Scalar::of(item).ok_or_else(refused)?);
        }
        Ok(scalars)
    }

    fn regex(&mut self, pattern: &str) -> Result<Regex, Fault> {
        self.regexes += 1;
        if self.regexes > REGEXES_MAX {
            return Err(Fault::new("/op", format!("a condition has at most {REGEXES_MAX} regexes")));
        }
        if pattern.len() > REGEX_BYTES_MAX {
            let message = format!("has {} bytes; a regex has at most {REGEX_BYTES_MAX}", pattern.len());
            return Err(Fault::new("/value", message));
        }
        let regex = RegexBuilder::new(pattern)
            .size_limit(REGEX_MEMORY_BYTES_MAX)
            .dfa_size_limit(REGEX_MEMORY_BYTES_MAX)
            .build();
        regex.map_err(|error| Fault::new("/value", format!("is no regex: {}", first_cause(&error))))
    }

    fn spend(&mut self, comparisons: usize) -> Result<(), Fault> {
        self.comparisons = self.comparisons.saturating_add(comparisons);
        if self.comparisons > COMPARISONS_MAX {
            return Err(Fault::here(format!("a condition has at most {COMPARISONS_MAX} comparisons")));
        }
        Ok(())
    }
}

fn is_comparison(value: &Value) -> bool {
    !COMBINATORS.into_iter().any(|word| value.get(word).is_some())
}

fn scalar(operator: &str, value: &Value) -> Result<Scalar, Fault> {
    Scalar::of(value).ok_or_else(|| unfit(operator, value, "a string, a number, a boolean or null"))
}

fn bound(operator: &str, value: &Value) -> Result<Bound, Fault> {
    Bound::of(value).ok_or_else(|| unfit(operator, value, "a number or a string"))
}

fn string<'a>(operator: &str, value: &'a Value) -> Result<&'a str, Fault> {
    value.as_str().ok_or_else(|| unfit(operator, value, "a string"))
}

fn unfit(operator: &str, value: &Value, fit: &str) -> Fault {
    Fault::new("/value", format!("found {}; `{operator}` compares with {fit}", kind(value)))
}

fn unknown_operator(found: &str) -> String {
    let alias = ALIASES.into_iter().find(|(alias, _)| alias.eq_ignore_ascii_case(found));
    let guess = match alias {
        Some((_, ours)) => format!("; did you mean `{ours}`?"),
        None => guess(found, &OPERATORS),
    };
    format!("`{}` is no operator{guess}; {}", shortened(found), operators())
}

fn operators() -> String {
    format!("the operators are {}", OPERATORS.join(" "))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The regex crate draws the fault in several lines; the last one says it.
fn first_cause(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn refused(value: &Value, pointer: &str, part: &str) {
        let fault = condition(value).unwrap_err();
        assert_eq!(fault.pointer, pointer, "{fault}");
        assert!(fault.message.contains(part), "{fault}");
    }

    #[test]
    fn a_fault_names_its_place_and_the_way_out() {
        let equal = json!({ "field": "a", "op": "==", "value": 1 });
        refused(
            &json!({ "and": [equal, { "not": { "field": "a", "op": "eq", "value": 1 } }] }),
            "/and/1/not/op",
            "did you mean `==`?",
        );
        refused(
            &json!({ "field": "a", "op": "startsWith", "value": "x" }),
            "/op",
            "did you mean `starts_with`?",
        );
        refused(&json!({ "field": "a", "op": "contains", "value": "x" }), "/op", "did you mean `includes`?");
        refused(&json!({ "field": "a", "op": "==", "valeu": 1 }), "/valeu", "did you mean `value`?");
        refused(&json!({ "And": [] }), "/And", "did you mean `and`?");
        refused(&json!({ "and": [], "or": [] }), "/or", "beside `and`");
        refused(&json!({ "or": [], "a/b": [] }), "/a~1b", "beside `or`");
        refused(
            &json!({ "field": "a", "op": "<", "value": null }),
            "/value",
            "found null; `<` compares with a number or a string",
        );
        refused(&json!({ "field": "a", "op": "==", "value": [1] }), "/value", "found a list");
        refused(&json!({ "field": "..", "op": "exists" }), "/field", "names nothing");
        refused(&json!({ "field": "_event", "op": "exists" }), "/field", "`_event.type`");
        refused(&json!({ "or": [1] }), "/or/0", "found a number");
        refused(&json!({ "and": { "field": "a" } }), "/and", "list of conditions");
        refused(&json!([]), "", "found a list");
        refused(&json!({}), "", "`field` is missing");
    }

    #[test]
    fn every_operator_that_a_message_offers_is_known() {
        let aliased = ALIASES.into_iter().map(|(_, ours)| ours);
        for op in OPERATORS.into_iter().chain(aliased) {
            let fault = condition(&json!({ "field": "a", "op": op, "value": {} })).err();
            assert!(fault.is_none_or(|fault| fault.pointer == "/value"), "{op}");
        }
    }

    #[test]
    fn lists_regexes_and_texts_are_checked_when_written() {
        refused(&json!({ "field": "a", "op": "in", "value": "x" }), "/value", "a list");
        refused(&json!({ "field": "a", "op": "not_in", "value": [1, {}] }), "/value/1", "found an object");
        refused(&json!({ "field": "a", "op": "starts_with", "value": 1 }), "/value", "a string");
        refused(&json!({ "field": "a", "op": "matches", "value": "(" }), "/value", "unclosed group");
        refused(&json!({ "field": "a", "op": "matches", "value": "(a)\\1" }), "/value", "backreferences");
        refused(
            &json!({ "field": "a", "op": "matches", "value": "(\\w{100}){100}" }),
            "/value",
            "size limit",
        );
        refused(&json!({ "field": "a", "op": "matches", "value": "a".repeat(2000) }), "/value", "2000 bytes");
        let regex = json!({ "field": "a", "op": "matches", "value": "^a" });
        refused(&json!({ "or": vec![regex; 33] }), "/or/32/op", "at most 32 regexes");
    }

    #[test]
    fn depth_and_size_are_limited() {
        let nested = |depth: usize| {
            (1..depth).fold(json!({ "field": "a", "op": "exists" }), |inner, _| json!({ "not": inner }))
        };
        assert!(condition(&nested(64)).is_ok());
        refused(&nested(65), &"/not".repeat(64), "64 deep");
        let leaves = |count: usize| json!({ "or": vec![json!({ "field": "a", "op": "exists" }); count] });
        assert!(condition(&leaves(1000)).is_ok());
        refused(&leaves(1001), "/or/1000", "1000 comparisons");
        refused(&json!({ "or": vec![json!({ "and": [] }); 1001] }), "/or", "1000 comparisons");
        refused(&json!({ "field": "a", "op": "in", "value": vec![0; 1001] }), "/value", "1000 comparisons");
    }
}

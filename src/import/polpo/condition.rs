//! Polpo's conditions: the same words, compared as JavaScript does.

use serde_json::{Map, Value};

use crate::rule::fault::{Fault, field_pointer};

const COMBINATORS: [&str; 3] = ["and", "or", "not"];
const COMPARED: [&str; 3] = ["field", "op", "value"];

/// The condition without what Polpo does not look at, and where it means something else in Bugle. What Bugle does not take
/// stays in it, and is refused by the check that follows.
pub(super) fn adapted(found: &Value, differences: &mut Vec<Fault>) -> Value {
    let Some(fields) = found.as_object() else { return found.clone() };
    let combinator = COMBINATORS.into_iter().find(|word| fields.contains_key(*word));
    let looked_at: &[&str] = combinator.as_ref().map_or(&COMPARED, std::slice::from_ref);
    let mut taken = Map::new();
    for (name, inner) in fields {
        let place = field_pointer(name);
        if !looked_at.contains(&name.as_str()) {
            differences.push(Fault::new(place, "Polpo does not look at it: it is gone"));
            continue;
        }
        let mut within = Vec::new();
        let inner = match (combinator, inner) {
            (Some("and" | "or"), Value::Array(items)) => {
                let adapt = |(index, item): (usize, &Value)| {
                    let mut faults = Vec::new();
                    let item = adapted(item, &mut faults);
                    within.extend(faults.into_iter().map(|fault| fault.below(&format!("/{index}"))));
                    item
                };
                items.iter().enumerate().map(adapt).collect()
            }
            (Some("not"), _) => adapted(inner, &mut within),
            _ => inner.clone(),
        };
        differences.extend(within.into_iter().map(|fault| fault.below(&place)));
        taken.insert(name.clone(), inner);
    }
    if combinator.is_none() {
        compare(&mut taken, differences);
    }
    taken.into()
}

fn compare(fields: &mut Map<String, Value>, differences: &mut Vec<Fault>) {
    let Some(op) = fields.get("op").and_then(Value::as_str).map(str::to_owned) else { return };
    if matches!(op.as_str(), "==" | "!=") {
        // Without a value Polpo compares with what is missing, which is equal to null in both.
        fields.entry("value").or_insert(Value::Null);
    }
    let Some(value) = fields.get("value") else { return };
    for message in [unequal(&op, value), unordered(&op, value), unfound(&op, value)].into_iter().flatten() {
        differences.push(Fault::new("/value", message));
    }
}

fn unequal(op: &str, value: &Value) -> Option<&'static str> {
    if !matches!(op, "==" | "!=") {
        return None;
    }
    if value.is_boolean() {
        return Some("true and false equal only themselves in Bugle; in Polpo 1 and 0 equal them too");
    }
    if value.as_str().is_some_and(str::is_empty) {
        return Some("the empty text equals only itself in Bugle; in Polpo 0 and false equal it too");
    }
    // Truth is 0 or 1 in JavaScript, and nothing in between.
    let is = |wanted: f64| number(value).is_some_and(|number| (number - wanted).abs() < f64::EPSILON);
    match (is(0.0), is(1.0)) {
        (true, _) => Some("in Polpo false and the empty text equal 0 too"),
        (_, true) => Some("in Polpo true equals 1 too"),
        (false, false) => None,
    }
}

fn unordered(op: &str, value: &Value) -> Option<&'static str> {
    let bound = number(value)?;
    let holds = |left: f64| match op {
        "<" => left < bound,
        "<=" => left <= bound,
        ">" => left > bound,
        ">=" => left >= bound,
        _ => false,
    };
    if value.is_string() && matches!(op, "<" | "<=" | ">" | ">=") {
        return Some("two texts of numbers are compared as numbers in Bugle; in Polpo by their characters");
    }
    let differs = holds(0.0) || holds(1.0);
    differs
        .then_some("null, true, false and the empty text are no numbers in Bugle; in Polpo they are 0 or 1")
}

fn unfound(op: &str, value: &Value) -> Option<&'static str> {
    let differs = matches!(op, "includes" | "not_includes") && value.is_null();
    differs.then_some("null is in no text in Bugle; Polpo looks for the word null")
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

//! Rules that an event brings along, in `notifications` of its data: the nearest scope of all, for this event alone.
//!
//! Only events of sources that were told so bring any; for all others the field is data. A rule that is not valid is left
//! out, and said; the event is routed by the rest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::documents::{check_scoped_rule, strict};
use crate::event::Event;
use crate::ids::digest;
use crate::route::scopes::{EventScopes, ScopeBook};
use crate::rule::fault::Fault;
use crate::rule::scope::Scope;
use crate::rule::{Rule, RuleSpec};
use crate::source::book::SourceBook;

/// As deliveries and explanations name it.
pub const EVENT_SCOPE: &str = "event";
/// Where in the data they are.
const FIELD: &str = "notifications";
/// The same, seen from the event.
const PLACE: &str = "/data/notifications";
const RULES_MAX: usize = 20;
const BYTES_MAX: usize = 32 * 1024;
/// Events of one task bring the same rules: so many different ones are kept compiled.
const CACHED_MAX: usize = 1_000;

/// What an event brought.
#[derive(Debug, Default)]
pub struct Carried {
    /// None when none of its rules is valid: then it is as if it had brought nothing.
    pub scope: Option<Arc<Scope>>,
    /// Places are in the event.
    pub faults: Vec<Fault>,
}

/// Compiles them, and remembers what it compiled by content.
#[derive(Debug, Default)]
pub struct Carriers(Mutex<HashMap<String, Arc<Carried>>>);

impl Carriers {
    /// The scopes that an event falls into, the nearest first: the rules that it brings, where the source that it came
    /// `through` (or else names) lets it, before those of its task and mission.
    #[must_use]
    pub fn scopes(
        &self,
        (scopes, sources): (&ScopeBook, &SourceBook),
        event: &Event,
        through: Option<&str>,
    ) -> (EventScopes, Option<Arc<Carried>>) {
        let mut scopes = scopes.of(event);
        let carried = if sources.lets_carry(event, through) { self.of(event) } else { None };
        if let Some(scope) = carried.as_ref().and_then(|carried| carried.scope.clone()) {
            scopes.0.insert(0, scope);
        }
        (scopes, carried)
    }

    /// None when it brings nothing.
    #[must_use]
    pub fn of(&self, event: &Event) -> Option<Arc<Carried>> {
        let brought = event.data.get(FIELD).filter(|brought| !brought.is_null())?;
        let text = brought.to_string();
        if text.len() > BYTES_MAX {
            let message = format!("has {} bytes: an event brings at most {BYTES_MAX} of rules", text.len());
            let faults = vec![Fault::new(PLACE, message)];
            return Some(Arc::new(Carried { scope: None, faults }));
        }
        let key = digest(&[&text]);
        if let Some(known) = self.cached().get(&key) {
            return Some(Arc::clone(known));
        }
        let carried = Arc::new(compile(brought));
        let mut cached = self.cached();
        if cached.len() >= CACHED_MAX {
            cached.clear();
        }
        cached.insert(key, Arc::clone(&carried));
        Some(carried)
    }

    fn cached(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Carried>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn compile(brought: &Value) -> Carried {
    let wrong = |place: &str, message: String| Carried {
        scope: None,
        faults: vec![Fault::new(format!("{PLACE}{place}"), message)],
    };
    let Some(specs) = brought.get("rules").and_then(Value::as_array) else {
        return wrong("/rules", "must be a list of rules".to_owned());
    };
    if specs.len() > RULES_MAX {
        return wrong("/rules", format!("has {} rules: an event brings at most {RULES_MAX}", specs.len()));
    }
    let inherit = match brought.get("inherit") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(inherit)) => *inherit,
        Some(_) => return wrong("/inherit", "must be true or false".to_owned()),
    };
    let (mut rules, mut faults) = (Vec::<Rule>::new(), Vec::new());
    for (index, spec) in specs.iter().enumerate() {
        let checked = strict(spec.clone()).and_then(|spec: RuleSpec| check_scoped_rule(&spec));
        let place = format!("{PLACE}/rules/{index}");
        match checked {
            Ok(rule) if rules.iter().any(|earlier| earlier.id == rule.id) => {
                faults.push(Fault::new(format!("{place}/id"), format!("rule {} is there twice", rule.id)));
            }
            Ok(rule) => rules.push(rule),
            Err(fault) => faults.push(fault.below(&place)),
        }
    }
    let scope = Scope { name: EVENT_SCOPE.to_owned(), inherit, mission: None, rules };
    Carried { scope: (!scope.rules.is_empty()).then(|| Arc::new(scope)), faults }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(id: &str) -> Value {
        json!({ "id": id, "events": ["a:*"], "channels": ["hook"] })
    }

    #[test]
    fn rules_that_are_not_valid_are_left_out_with_their_places() {
        let mut broken = rule("broken");
        broken["channel"] = json!("hook");
        let carried = compile(&json!({ "rules": [rule("a"), broken, rule("a"), 1], "inherit": true }));
        let scope = carried.scope.unwrap();
        assert_eq!((scope.name.as_str(), scope.inherit, scope.rules.len()), ("event", true, 1));
        let places: Vec<&str> = carried.faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(
            places,
            [
                "/data/notifications/rules/1/channel",
                "/data/notifications/rules/2/id",
                "/data/notifications/rules/3"
            ]
        );
    }

    #[test]
    fn what_is_no_list_of_rules_or_too_long_a_one_brings_none() {
        let many: Vec<Value> = (0..=RULES_MAX).map(|number| rule(&format!("r{number}"))).collect();
        for (brought, place) in [
            (json!({}), "/data/notifications/rules"),
            (json!("all"), "/data/notifications/rules"),
            (json!({ "rules": many }), "/data/notifications/rules"),
            (json!({ "rules": [rule("a")], "inherit": "yes" }), "/data/notifications/inherit"),
        ] {
            let carried = compile(&brought);
            assert!(carried.scope.is_none(), "{brought}");
            assert_eq!(carried.faults[0].pointer, place);
        }
        assert!(compile(&json!({ "rules": [] })).scope.is_none());
    }
}

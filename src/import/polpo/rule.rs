//! A rule of Polpo's.

use serde_json::{Map, Number, Value};

use super::ids::unique;
use super::{Reader, condition};
use crate::documents::strict;
use crate::event::Severity;
use crate::route::template::Template;
use crate::rule::fault::{Fault, field_pointer, guess, shortened, unknown_field};
use crate::rule::pattern::Pattern;
use crate::rule::{Rule, RuleSpec};

const FIELDS: [&str; 8] =
    ["id", "name", "events", "condition", "channels", "severity", "cooldownMs", "template"];
const OUTCOMES: [&str; 3] = ["includeOutcomes", "outcomeFilter", "maxAttachmentSize"];

impl Reader {
    pub(super) fn rules(&mut self, found: &Value, place: &str) {
        let Some(rules) = found.as_array() else {
            return self.left_out(place, "must be a list of rules");
        };
        for (index, rule) in rules.iter().enumerate() {
            let place = format!("{place}/{index}");
            let Some(fields) = rule.as_object() else {
                self.left_out(place, "must be an object");
                continue;
            };
            let spec = self.rule(fields, &place);
            match spec.and_then(strict::<RuleSpec>).and_then(|spec| Rule::compile(&spec).map(|_| spec)) {
                Ok(spec) => self.import.rules.push(spec),
                Err(Fault { pointer, message }) => {
                    self.left_out(format!("{place}{pointer}"), format!("{message}; the rule is left out"));
                }
            }
        }
    }

    /// The rule as Bugle has it, not yet checked.
    fn rule(&mut self, fields: &Map<String, Value>, place: &str) -> Result<Value, Fault> {
        let mut rule = Map::new();
        for (name, value) in fields {
            let here = format!("{place}{}", field_pointer(name));
            let taken = match name.as_str() {
                "id" => None,
                "events" => Some(self.events(value, &here)?),
                "channels" => Some(self.rule_channels(value, &here)?),
                "condition" => Some(self.condition(value, &here)),
                "severity" => self.severity(value, &here),
                "cooldownMs" => self.cooldown(value, &here),
                "template" => self.template(value, &here),
                "name" => Some(value.clone()),
                other => {
                    self.foreign(other, value, here);
                    None
                }
            };
            rule.extend(taken.filter(|value| !value.is_null()).map(|value| (name.clone(), value)));
        }
        rule.insert("id".to_owned(), self.rule_id(fields, place).into());
        Ok(rule.into())
    }

    fn rule_id(&mut self, fields: &Map<String, Value>, place: &str) -> String {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let (id, name) = (text("id"), text("name"));
        let taken = |id: &str| self.import.rules.iter().any(|known| known.id.as_str() == id);
        let made = unique(if id.is_empty() { name } else { id }, "rule", taken);
        if made != id {
            let why = match id {
                "" => "has no id",
                _ if taken(id) => "has the id of an earlier rule",
                _ => "has an id that Bugle cannot use",
            };
            self.changed(place, format!("{why}: it is {made}"));
        }
        made
    }

    /// Patterns that would mean something else are left out; without any there is no rule.
    fn events(&mut self, found: &Value, place: &str) -> Result<Value, Fault> {
        let Some(patterns) = found.as_array() else { return Ok(found.clone()) };
        let mut taken = Vec::new();
        for (index, pattern) in patterns.iter().enumerate() {
            let here = format!("{place}/{index}");
            let fault = match pattern.as_str() {
                None => Some("is no text".to_owned()),
                Some(text) if text.contains('?') => Some(
                    "`?` is an ordinary character in Bugle; in Polpo it makes the one before it optional"
                        .to_owned(),
                ),
                Some(text) => Pattern::parse(text).err().map(|error| error.to_string()),
            };
            if pattern.as_str().is_some_and(|text| text.contains('.')) && fault.is_none() {
                self.changed(&here, "a dot separates segments in Bugle, as a colon does; in Polpo it is an ordinary character");
            }
            match fault {
                Some(message) => self.left_out(here, message),
                None => taken.push(pattern.clone()),
            }
        }
        remaining(taken, !patterns.is_empty(), "/events", "no pattern is left")
    }

    fn rule_channels(&mut self, found: &Value, place: &str) -> Result<Value, Fault> {
        let Some(names) = found.as_array() else { return Ok(found.clone()) };
        let mut taken = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let here = format!("{place}/{index}");
            let Some(name) = name.as_str() else {
                self.left_out(here, "is no text");
                continue;
            };
            match self.channels.get(name) {
                Some(Some(id)) => taken.push(id.as_str().into()),
                Some(None) => self.left_out(here, format!("the channel {} is left out", shortened(name))),
                None => {
                    let known: Vec<&str> = self.channels.keys().map(String::as_str).collect();
                    let guess = guess(name, &known);
                    self.left_out(here, format!("there is no channel {}{guess}", shortened(name)));
                }
            }
        }
        remaining(taken, !names.is_empty(), "/channels", "no channel is left")
    }

    fn condition(&mut self, found: &Value, place: &str) -> Value {
        let mut differences = Vec::new();
        let adapted = condition::adapted(found, &mut differences);
        for fault in differences {
            self.changed(format!("{place}{}", fault.pointer), fault.message);
        }
        adapted
    }

    fn severity(&mut self, found: &Value, place: &str) -> Option<Value> {
        if found.is_null() || found.as_str().and_then(Severity::parse).is_some() {
            return Some(found.clone());
        }
        let words: Vec<&str> = Severity::ALL.iter().map(|severity| severity.as_str()).collect();
        self.left_out(place, format!("is none of {}: the rule has no severity", words.join(", ")));
        None
    }

    /// Milliseconds; Polpo has no cooldown at 0 and below, and Bugle no fractions of one.
    fn cooldown(&mut self, found: &Value, place: &str) -> Option<Value> {
        let Some(ms) = found.as_f64().filter(|ms| *ms != 0.0) else { return Some(found.clone()) };
        if ms < 0.0 {
            self.left_out(place, format!("{found} is less than 0: the rule has no cooldown, as in Polpo"));
            return None;
        }
        // One that Bugle cannot count is refused with the rule.
        let whole = format!("{:.0}", ms.ceil()).parse::<u64>().ok();
        Some(whole.map_or_else(|| found.clone(), |ms| Value::Number(Number::from(ms))))
    }

    /// A text is the body alone.
    fn template(&mut self, found: &Value, place: &str) -> Option<Value> {
        let Some(text) = found.as_str() else {
            if !found.is_null() {
                self.left_out(place, "is no text: the rule has Bugle's own texts");
            }
            return None;
        };
        if text.is_empty() {
            return None;
        }
        if let Err(fault) = Template::compile(text) {
            self.left_out(place, format!("{}: the rule has Bugle's own texts", fault.message));
            return None;
        }
        self.changed(place, "it is the body alone, with Bugle's own title; in Polpo it is the title too");
        if has_other_syntax(text) {
            self.changed(place, "`{%`, `{#` and what is not `{{name}}` between braces mean something in Bugle; in Polpo they are text");
        }
        Some(found.clone())
    }

    fn foreign(&mut self, name: &str, value: &Value, place: String) {
        let nothing =
            value.is_null() || value == &Value::Bool(false) || value.as_array().is_some_and(Vec::is_empty);
        let actions = name == "actions";
        if nothing && (actions || OUTCOMES.contains(&name)) {
            return;
        }
        let message = if actions {
            "Bugle notifies and starts nothing else; a webhook channel can tell who does".to_owned()
        } else if OUTCOMES.contains(&name) {
            "Bugle sends no attachments".to_owned()
        } else {
            unknown_field(name, &FIELDS)
        };
        self.left_out(place, message);
    }
}

fn remaining(taken: Vec<Value>, had_some: bool, place: &str, message: &str) -> Result<Value, Fault> {
    if taken.is_empty() && had_some { Err(Fault::new(place, message)) } else { Ok(taken.into()) }
}

/// Polpo knows `{{a.b_1}}`, without white space, and nothing else.
fn has_other_syntax(text: &str) -> bool {
    let mut pieces = text.split("{{");
    let other = |piece: &str| piece.contains("{%") || piece.contains("{#");
    pieces.next().is_some_and(other)
        || pieces.any(|piece| {
            let (name, rest) = piece.split_once("}}").unwrap_or((piece, ""));
            let word = |word: &str| {
                !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            !name.split('.').all(word) || other(rest)
        })
}

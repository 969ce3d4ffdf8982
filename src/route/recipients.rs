//! Whom an event is for: those that its rule names, or where that names none those that the event names itself.

use crate::event::Event;
use crate::ids::Recipient;
use crate::rule::fault::LeftOut;
use crate::rule::{Recipients, Rule};

/// The attribute of an event that names who it is for, told apart by commas, and how many of them count.
const RECIPIENTS: &str = "recipients";
const RECIPIENTS_MAX: usize = 100;

/// True when somebody is meant, even when that is nobody here.
pub(super) fn are_named(event: &Event, rule: &Rule) -> bool {
    !rule.recipients.is_empty() || event.attributes.contains_key(RECIPIENTS)
}

/// The recipients that a rule names for an event, or where it names none those that the event names, each once, and
/// what is wrong with the others.
pub(super) fn of(event: &Event, rule: &Rule) -> (Vec<Recipient>, Vec<String>) {
    let (mut found, mut bad) = (Vec::new(), LeftOut::default());
    let mut add = |parsed: Result<Recipient, String>| match parsed {
        Ok(recipient) if found.contains(&recipient) => {}
        Ok(recipient) if found.len() < RECIPIENTS_MAX => found.push(recipient),
        Ok(_) => bad.add(|| format!("recipients were left out: there are more than {RECIPIENTS_MAX}")),
        Err(error) => bad.add(|| format!("a recipient was left out: {error}")),
    };
    let listed = |text: &str| -> Vec<Result<Recipient, String>> {
        let each = text.split(',').map(str::trim).filter(|one| !one.is_empty());
        each.map(|one| Recipient::parse(one).map_err(|error| error.to_string())).collect()
    };
    for named in &rule.recipients {
        match named {
            Recipients::One(recipient) => add(Ok(recipient.clone())),
            Recipients::List(template) => match template.render(event) {
                Ok(text) if text.trim().is_empty() => add(Err("its template is empty here".to_owned())),
                Ok(text) => listed(&text).into_iter().for_each(&mut add),
                Err(error) => add(Err(error.to_string())),
            },
        }
    }
    if rule.recipients.is_empty() {
        let list = event.attributes.get(RECIPIENTS).map(String::as_str).unwrap_or_default();
        listed(list).into_iter().for_each(&mut add);
    }
    (found, bad.into_notes())
}

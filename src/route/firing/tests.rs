//! What becomes of a firing when its recipients have a say.

use serde_json::json;

use super::*;
use crate::preferences::{Preferences, PreferencesSpec};
use crate::route::tests::{MORNING, at, event, planned, rule};

/// A firing for ann and bob, of whom ann prefers this.
fn heeded(rule_more: &serde_json::Value, preferences: &serde_json::Value) -> Firing {
    let mut more = json!({"recipients": ["ann", "bob"], "cooldownMs": 1000});
    for (name, field) in rule_more.as_object().unwrap() {
        more[name] = field.clone();
    }
    let mut spec = preferences.clone();
    spec["recipient"] = json!("ann");
    let spec: PreferencesSpec = serde_json::from_value(spec).unwrap();
    let preferences = Preferences::of(&spec);
    let event = event("a:b", &json!({"projectId": "p-1"}));
    let firing = planned(&rule(&more), &event, MORNING).remove(0);
    firing.heeding(at(MORNING), |delivery| {
        if delivery.recipient.as_ref().unwrap().as_str() != "ann" {
            return Judgement::Pass;
        }
        let facts = preferences::Facts::of(delivery).unwrap();
        assert_eq!(facts.project, Some("p-1"));
        preferences.judge(&jiff::tz::TimeZone::UTC, &facts, at(MORNING))
    })
}

#[test]
fn what_one_recipient_muted_goes_to_the_others_and_says_by_which_row() {
    let firing = heeded(&json!({}), &json!({"preferences": [{"type": "a:b", "enabled": false}]}));
    let [Step::Suppress(delivery, Reason::Muted), Step::Deliver(_)] = &firing.steps[..] else {
        panic!("{:?}", firing.steps)
    };
    let note = "muted by the recipient: type a:b, project all, channel *";
    assert_eq!(delivery.note.as_deref(), Some(note));
    assert_eq!(firing.windows.len(), 1);
}

#[test]
fn what_all_muted_opens_no_window() {
    let only_ann = json!({"recipients": ["ann"]});
    let firing = heeded(&only_ann, &json!({"preferences": [{"project": "p-1", "enabled": false}]}));
    assert!(matches!(firing.steps[..], [Step::Suppress(_, Reason::Muted)]), "{:?}", firing.steps);
    assert!(firing.windows.is_empty());
}

#[test]
fn what_waits_takes_its_window_and_lives_the_longer_for_it() {
    let only_ann = json!({"recipients": ["ann"]});
    let firing = heeded(&only_ann, &json!({"snoozedUntil": "2026-11-25T09:30:00Z"}));
    let [Step::Hold(delivery, hold)] = &firing.steps[..] else { panic!("{:?}", firing.steps) };
    assert_eq!((hold.until, hold.reason), (at("2026-11-25T09:30:00Z"), Reason::Snoozed));
    // A day from the event on, and the two that it waits.
    assert_eq!(delivery.expires_at, at("2026-11-26T09:30:00Z"));
    assert!(delivery.consent == crate::delivery::Consent::Open && firing.windows.len() == 1);
}

#[test]
fn what_is_mandatory_asks_nobody() {
    let firing = heeded(&json!({"mandatory": true}), &json!({"preferences": [{"enabled": false}]}));
    assert!(firing.steps.iter().all(|step| matches!(step, Step::Deliver(_))), "{:?}", firing.steps);
    assert_eq!(firing.asked().count(), 0);
}

#[test]
fn everybody_is_nobody_who_could_be_asked() {
    let firing =
        planned(&rule(&json!({"recipients": ["*", "ann"]})), &event("a:b", &json!({})), MORNING).remove(0);
    assert_eq!(firing.asked().map(Recipient::as_str).collect::<Vec<_>>(), ["ann"]);
}

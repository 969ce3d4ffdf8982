//! What one event and one set of rules come to.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::event::{Incoming, decode};
use crate::ids::{DeliveryId, WorkspaceId};
use crate::rule::RuleSpec;
use crate::rule::scope::{Scope, ScopeSpec};
use scopes::ScopeBook;

pub(super) const MORNING: &str = "2026-11-23T09:30:00Z";

pub(super) fn event(event_type: &str, data: &Value) -> Event {
    decode(&Incoming {
        workspace: WorkspaceId::default(),
        subject_type: Some(event_type),
        headers: &[],
        body: data.to_string().as_bytes(),
        fallback_id: "1",
        fallback_source: "test",
        received_at: at(MORNING),
    })
    .unwrap()
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn rule_set(specs: &Value) -> RuleSet {
    let specs: Vec<RuleSpec> = serde_json::from_value(specs.clone()).unwrap();
    let rules = specs.iter().map(|spec| (WorkspaceId::default(), Arc::new(Rule::compile(spec).unwrap())));
    RuleSet::new(rules)
}

fn book(scopes: &[Value]) -> ScopeBook {
    let book = ScopeBook::default();
    for scope in scopes {
        let spec: ScopeSpec = serde_json::from_value(scope.clone()).unwrap();
        book.put(&WorkspaceId::default(), &spec.id().unwrap(), Arc::new(Scope::compile(&spec).unwrap()));
    }
    book
}

fn hook() -> Channels {
    let specs = [
        json!({"id": "hook", "kind": "webhook", "config": {"url": "https://a.example/"}}),
        json!({"id": "phones", "kind": "expo", "config": {}}),
    ];
    let specs = specs.map(|spec| serde_json::from_value::<ChannelSpec>(spec).unwrap());
    let keyed = specs.map(|spec| ((WorkspaceId::default(), spec.id.clone()), Arc::new(spec)));
    HashMap::from(keyed).into()
}

/// What one rule makes of an event at a moment.
pub(super) fn planned(rule: &Value, event: &Event, moment: &str) -> Vec<Firing> {
    let (rules, channels, scopes) = (rule_set(&json!([rule])), hook(), EventScopes::default());
    plan(
        event,
        World {
            rules: &rules,
            scopes: &scopes,
            channels: &channels,
            texts: &Texts::default(),
            at: at(moment),
        },
    )
}

pub(super) fn rule(more: &Value) -> Value {
    let mut rule = json!({"id": "r", "events": ["*"], "channels": ["hook"]});
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rule
}

#[derive(Debug, Deserialize)]
struct ScopeVector {
    #[serde(rename = "type")]
    event_type: String,
    global: Vec<Value>,
    task: Option<Value>,
    mission: Option<Value>,
    expected: Vec<String>,
}

#[test]
fn scopes_decide_as_the_vectors_say() {
    let vectors: Vec<ScopeVector> =
        serde_json::from_str(include_str!("../../tests/vectors/scope.json")).unwrap();
    assert!(vectors.len() > 40);
    for vector in vectors {
        let with_channels = |rule: &Value| {
            let mut rule = rule.clone();
            rule["channels"] = json!(["hook"]);
            rule
        };
        let scope = |spec: &Option<Value>, level: &str| {
            let mut spec = spec.clone()?;
            spec[level] = json!("7");
            let rules: Vec<Value> = spec["rules"].as_array().unwrap().iter().map(with_channels).collect();
            spec["rules"] = json!(rules);
            Some(spec)
        };
        let scopes: Vec<Value> =
            scope(&vector.task, "task").into_iter().chain(scope(&vector.mission, "mission")).collect();
        let event = event(&vector.event_type, &json!({"taskId": "7", "missionId": "7"}));
        let scopes = book(&scopes).of(&event);
        let global: Vec<Value> = vector.global.iter().map(with_channels).collect();
        let (rules, channels) = (rule_set(&json!(global)), hook());
        let world = World {
            rules: &rules,
            scopes: &scopes,
            channels: &channels,
            texts: &Texts::default(),
            at: at(MORNING),
        };
        let found: Vec<String> =
            candidates(&event, world).iter().map(|found| found.rule.id.to_string()).collect();
        assert_eq!(found, vector.expected, "{vector:?}");
    }
}

#[test]
fn a_task_is_named_in_three_ways_and_its_scope_may_name_its_mission() {
    let scopes = book(&[
        json!({"task": "T/1 ü", "mission": "m", "inherit": true, "rules": [rule(&json!({"id": "t"}))]}),
        json!({"task": "5", "rules": [rule(&json!({"id": "five"}))]}),
        json!({"mission": "m", "rules": [rule(&json!({"id": "m"}))]}),
    ]);
    let names = |data: &Value| -> Vec<String> {
        let found = scopes.of(&event("a:b", data));
        found.0.iter().map(|scope| scope.name.clone()).collect()
    };
    assert_eq!(names(&json!({"taskId": "T/1 ü"})), ["task:T/1 ü", "mission:m"]);
    assert_eq!(names(&json!({"task": {"id": 5}})), ["task:5"]);
    assert_eq!(names(&json!({"taskId": "other", "mission": {"id": "m"}})), ["mission:m"]);
    assert_eq!(names(&json!({"taskId": "", "missionId": null})), [""; 0]);
    let mut attributed = event("a:b", &json!({}));
    attributed.attributes.insert("taskid".to_owned(), "5".to_owned());
    assert_eq!(scopes.of(&attributed).0.len(), 1);
}

#[test]
fn a_rule_of_a_scope_makes_deliveries_and_windows_of_its_own() {
    let scoped = rule(&json!({"cooldownMs": 1000}));
    let scopes = book(&[json!({"task": "7", "inherit": true, "rules": [scoped]})]);
    let (rules, channels) = (rule_set(&json!([scoped])), hook());
    let event = event("a:b", &json!({"taskId": "7"}));
    let scopes = scopes.of(&event);
    let firings = plan(
        &event,
        World {
            rules: &rules,
            scopes: &scopes,
            channels: &channels,
            texts: &Texts::default(),
            at: at(MORNING),
        },
    );
    assert_eq!(firings.len(), 2);
    let [own, global] = [0, 1].map(|index: usize| firings[index].steps[0].delivery());
    assert_eq!((own.scope.as_str(), global.scope.as_str()), ("task:7", "global"));
    assert_ne!(own.id, global.id);
    assert_ne!(firings[0].windows, firings[1].windows);
}

#[test]
fn outside_its_hours_a_rule_holds_back_and_takes_no_window() {
    let office = json!({"windows": [{"days": ["mon"], "from": "09:00", "to": "17:00"}]});
    let rule = rule(&json!({"activeHours": office, "cooldownMs": 1000}));
    let event = event("a:b", &json!({}));
    let awake = planned(&rule, &event, MORNING);
    assert!(matches!(awake[0].steps[0], Step::Deliver(_)) && awake[0].windows.len() == 1);
    let asleep = planned(&rule, &event, "2026-11-23T08:59:59Z");
    assert!(matches!(asleep[0].steps[0], Step::Suppress(_, Reason::OutsideHours)));
    assert!(asleep[0].windows.is_empty());
}

#[test]
fn a_rule_whose_time_is_over_is_as_if_it_were_off() {
    let rule = rule(&json!({"expiresAt": MORNING}));
    let event = event("a:b", &json!({}));
    assert_eq!(planned(&rule, &event, "2026-11-23T09:29:59Z").len(), 1);
    assert_eq!(planned(&rule, &event, MORNING).len(), 0);
}

#[test]
fn the_same_is_asked_before_the_cooldown_and_nothing_is_like_nothing() {
    let dedupe = json!({"dedupe": {"key": "{{task}}", "windowMs": 60_000}, "cooldownMs": 1000});
    let rule = rule(&dedupe);
    let windows = |data: &Value| planned(&rule, &event("a:b", data), MORNING).remove(0).windows;
    let reasons = |data: &Value| windows(data).iter().map(|window| window.reason).collect::<Vec<_>>();
    assert_eq!(reasons(&json!({"task": 7})), [Reason::Duplicate, Reason::Cooldown]);
    assert_eq!(reasons(&json!({})), [Reason::Cooldown]);
    assert_ne!(windows(&json!({"task": 7}))[0].key, windows(&json!({"task": 8}))[0].key);
}

#[test]
fn what_goes_nowhere_takes_no_window() {
    let nowhere = rule(&json!({"channels": ["missing"], "cooldownMs": 1000}));
    let firing = planned(&nowhere, &event("a:b", &json!({})), MORNING).remove(0);
    assert!(matches!(firing.steps[0], Step::GiveUp(..)) && firing.windows.is_empty());
}

#[test]
fn who_goes_out_for_others_says_how_many() {
    let mut firing = planned(&rule(&json!({})), &event("a:b", &json!({})), MORNING).remove(0);
    let before = firing.steps[0].delivery().title.clone();
    firing.stand_for(0);
    assert_eq!(firing.steps[0].delivery().title, before);
    firing.stand_for(37);
    assert_eq!(firing.steps[0].delivery().title, format!("{before} (+37 more)"));
    assert_eq!(firing.steps[0].delivery().held_back, 37);
}

#[test]
fn faults_of_the_newer_fields_name_their_place() {
    for (more, place) in [
        (json!({"dedupe": {"key": "{{", "windowMs": 5}}), "/dedupe/key"),
        (json!({"dedupe": {"key": "x", "windowMs": 0}}), "/dedupe/windowMs"),
        (json!({"dedupe": {"key": "x", "windowMs": 400_u64 * 24 * 3_600_000}}), "/dedupe/windowMs"),
        (json!({"activeHours": {"windows": [{"to": "25:00"}]}}), "/activeHours/windows/0/to"),
        (json!({"labels": {"a b": "c"}}), "/labels/a b"),
        (json!({"labels": {"team/x": "c\nd"}}), "/labels/team~1x"),
    ] {
        let spec: RuleSpec = serde_json::from_value(rule(&more)).unwrap();
        assert_eq!(Rule::compile(&spec).unwrap_err().pointer, place);
    }
}

#[test]
fn a_list_in_the_data_names_everybody_in_it() {
    let rule = json!({"id": "r", "events": ["*"], "channels": ["hook"], "recipients": ["{{who}}", "eve, the 2nd", "{{nobody}}"]});
    let event = event("a:b", &json!({"who": ["ann", "bob", "ann"]}));
    let firings = planned(&rule, &event, MORNING);
    let named: Vec<&str> = firings[0]
        .steps
        .iter()
        .filter_map(|step| step.delivery().recipient.as_ref().map(Recipient::as_str))
        .collect();
    assert_eq!(named, ["ann", "bob", "eve, the 2nd"]);
    assert!(firings[0].steps[0].delivery().note.as_deref().is_some_and(|note| note.contains("empty here")));
}

#[test]
fn a_push_that_is_meant_for_somebody_never_goes_to_everybody() {
    let goes_out = |recipients: &Value, data: &Value| {
        let rule = json!({"id": "r", "events": ["*"], "channels": ["phones"], "recipients": recipients});
        match &planned(&rule, &event("a:b", data), MORNING)[0].steps[..] {
            [Step::Deliver(delivery)] => Ok(delivery.recipient.as_ref().map(ToString::to_string)),
            [Step::Suppress(_, reason)] => Err(*reason),
            steps => panic!("{steps:?}"),
        }
    };
    assert_eq!(goes_out(&json!(["{{who}}"]), &json!({"who": "ann"})), Ok(Some("ann".to_owned())));
    assert_eq!(goes_out(&json!(["{{who}}"]), &json!({})), Err(Reason::NoAddress));
    assert_eq!(goes_out(&json!([]), &json!({})), Ok(None));
}

#[test]
fn what_is_left_out_of_long_lists_is_noted_in_a_few_words() {
    let rule = rule(&json!({"recipients": ["{{who}}"], "attachments": "files"}));
    let who: Vec<String> = (0..5_000).map(|number| format!("\u{7f}{number}")).collect();
    let file = json!({"name": "a", "text": "x", "y".repeat(50_000): 1});
    let event = event("a:b", &json!({"who": who, "files": vec![file; 4]}));
    let firings = planned(&rule, &event, MORNING);
    let note = firings[0].steps[0].delivery().note.as_deref().unwrap();
    assert!(
        note.contains("a recipient was left out") && note.chars().count() <= NOTE_CHARS_MAX + 1,
        "{note}"
    );
}

#[test]
fn an_explanation_fires_what_the_plan_fires_and_says_of_the_others_why_not() {
    let no = json!({"field": "to", "op": "==", "value": "failed"});
    let rules = json!([
        rule(&json!({"id": "fires"})),
        rule(&json!({"id": "off", "enabled": false})),
        rule(&json!({"id": "over", "expiresAt": MORNING})),
        rule(&json!({"id": "says-no", "condition": no})),
        rule(&json!({"id": "other", "events": ["c:*"]})),
    ]);
    let scopes = book(&[
        json!({"task": "inherits", "inherit": true, "rules": [rule(&json!({"id": "own"}))]}),
        json!({"task": "decides", "rules": [rule(&json!({"id": "own"}))]}),
        json!({"task": "off", "rules": [rule(&json!({"id": "own", "enabled": false}))]}),
    ]);
    let (rules, channels, texts) = (rule_set(&rules), hook(), Texts::default());
    let told = |task: &str| -> Vec<String> {
        let event = event("a:b", &json!({"taskId": task, "to": "done"}));
        let scopes = scopes.of(&event);
        let world =
            World { rules: &rules, scopes: &scopes, channels: &channels, texts: &texts, at: at(MORNING) };
        let judged = explain::explain(&event, world);
        let fired: Vec<&DeliveryId> = judged
            .iter()
            .filter_map(|judged| match &judged.verdict {
                explain::Verdict::Fired(firing) => Some(&firing.steps[0].delivery().id),
                explain::Verdict::Disabled
                | explain::Verdict::Expired
                | explain::Verdict::Outscoped(_)
                | explain::Verdict::Unmet(_) => None,
            })
            .collect();
        let planned = plan(&event, world);
        let planned: Vec<_> = planned.iter().map(|firing| &firing.steps[0].delivery().id).collect();
        assert_eq!(fired, planned, "{task}");
        let told = |verdict: &explain::Verdict<'_>| match verdict {
            explain::Verdict::Fired(_) => "fired".to_owned(),
            explain::Verdict::Disabled => "disabled".to_owned(),
            explain::Verdict::Expired => "expired".to_owned(),
            explain::Verdict::Outscoped(scope) => (*scope).to_owned(),
            explain::Verdict::Unmet(leaves) => leaves[0].found.as_ref().unwrap().to_string(),
        };
        judged.iter().map(|judged| format!("{} {}", judged.rule.id, told(&judged.verdict))).collect()
    };
    let global = ["fires fired", "off disabled", "over expired", "says-no \"done\""];
    assert_eq!(told("none"), global);
    assert_eq!(told("inherits"), [&["own fired"], &global[..]].concat());
    assert_eq!(told("off"), [&["own disabled"], &global[..]].concat());
    assert_eq!(
        told("decides"),
        ["own fired", "fires task:decides", "off disabled", "over expired", "says-no task:decides",]
    );
}

#[test]
fn attachments_come_from_the_path_that_the_rule_names() {
    let files = json!([{"name": "a.txt", "text": "x"}, {"name": "../b", "text": "x"}]);
    let event = event("a:b", &json!({"report": {"files": files}}));
    let delivered = |more: Value| {
        let firings = planned(&rule(&more), &event, MORNING);
        firings[0].steps[0].delivery().clone()
    };
    let delivery = delivered(json!({"attachments": "report.files"}));
    assert_eq!(delivery.attachments.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["a.txt"]);
    assert!(delivery.note.unwrap().contains("/1/name"));
    let without = delivered(json!({"attachments": "report.none"}));
    assert!(without.attachments.is_empty() && without.note.is_none());
    let broken: RuleSpec = serde_json::from_value(rule(&json!({"attachments": ".."}))).unwrap();
    assert_eq!(Rule::compile(&broken).unwrap_err().pointer, "/attachments");
}

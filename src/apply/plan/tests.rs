//! What applying files would do, and what speaks against it.

use serde_json::json;

use super::*;
use crate::delivery::ENVELOPE_VERSION;
use crate::documents::{Document, checked_file};

fn file(name: &str, body: Value) -> DocumentFile {
    DocumentFile { name: Some(name.to_owned()), ..checked_file(body).unwrap() }
}

fn channel(id: &str) -> Value {
    json!({"id": id, "kind": "webhook", "config": {"url": "https://a.example/"}})
}

fn rule(id: &str, channel: &str) -> Value {
    json!({"id": id, "events": ["*"], "channels": [channel]})
}

fn planned(files: &[DocumentFile], found: &Found, force: bool) -> Result<Vec<String>, String> {
    let plan = plan(files, found, Clone::clone).map_err(|error| error.to_string())?;
    if let Some(objection) = plan.objections.first().filter(|_| !force) {
        return Err(objection.to_string());
    }
    Ok(plan.changes.into_iter().flatten().map(|change| change.to_string()).collect())
}

/// The bucket after the files were applied.
fn after(files: &[DocumentFile], found: &Found) -> Found {
    let mut found = found.clone();
    for change in plan(files, &found.clone(), Clone::clone).unwrap().changes.into_iter().flatten() {
        let Some(spec) = change.after else {
            found.remove(&change.key);
            continue;
        };
        let (owner, updated_at) = (change.owner, jiff::Timestamp::UNIX_EPOCH);
        let document =
            Document { v: ENVELOPE_VERSION, author: owner.clone(), owner, version: 1, updated_at, spec };
        found.insert(change.key, Held { revision: 1, document });
    }
    found
}

#[test]
fn a_diff_says_what_changes_and_keeps_secrets() {
    let mut first = rule("r", "a");
    first["cooldownMs"] = json!(1000);
    first["name"] = json!("old");
    let found = after(
        &[file("f", json!({"channels": [channel("a"), channel("z")], "rules": [first]}))],
        &Found::new(),
    );
    let mut second = rule("r", "a");
    second["cooldownMs"] = json!(2000);
    second["labels"] = json!({"a/b": "c"});
    let mut moved = channel("a");
    moved["config"]["url"] = json!("https://b.example/?token=s3cret");
    let next = file("f", json!({"channels": [moved], "rules": [second]}));
    assert_eq!(
        planned(&[next], &found, false).unwrap(),
        [
            "updated channels.default.a\n  /config/url: … → …",
            "updated rules.default.r\n  /cooldownMs: 1000 → 2000\n  /labels: nothing → {\"a/b\":\"c\"}\n  /name: \"old\" → nothing",
            "removed channels.default.z",
        ]
    );
}

#[test]
fn a_rule_may_name_a_channel_of_another_file_and_no_other() {
    let rules = file("rules", json!({"rules": [rule("r", "hook")]}));
    let channels = file("channels", json!({"channels": [channel("hook")]}));
    let refused = planned(std::slice::from_ref(&rules), &Found::new(), true).unwrap_err();
    assert!(refused.contains("file:rules: at /rules/0/channels/0: there is no channel hook"), "{refused}");
    assert_eq!(planned(&[rules.clone(), channels.clone()], &Found::new(), false).unwrap().len(), 2);
    let found = after(&[channels], &Found::new());
    assert_eq!(planned(&[rules], &found, false).unwrap(), ["created rules.default.r"]);
    let scoped = json!({"scopes": [{"task": "t", "rules": [rule("r", "hok")]}]});
    let refused = planned(&[file("s", scoped)], &found, false).unwrap_err();
    assert!(refused.contains("/scopes/0/rules/0/channels/0"), "{refused}");
    assert!(refused.contains("did you mean hook?"), "{refused}");
}

#[test]
fn a_channel_that_others_use_goes_only_when_forced() {
    let rules = file("rules", json!({"rules": [rule("r", "hook")]}));
    let channels = file("channels", json!({"channels": [channel("hook"), channel("other")]}));
    let scoped = file("s", json!({"scopes": [{"task": "T 1", "rules": [rule("q", "hook")]}]}));
    let found = after(&[rules, channels, scoped], &Found::new());
    let without = file("channels", json!({"channels": [channel("other")]}));
    let refused = planned(std::slice::from_ref(&without), &found, false).unwrap_err();
    assert!(refused.contains("channels.default.hook") && refused.contains("rules.default.r"), "{refused}");
    assert_eq!(
        planned(std::slice::from_ref(&without), &found, true).unwrap(),
        ["removed channels.default.hook"]
    );
    let forced = plan(std::slice::from_ref(&without), &found, Clone::clone).unwrap();
    assert_eq!(
        forced.objections[0].remains().unwrap(),
        "left with a channel that does not exist, channels.default.hook: rules.default.r, scopes.default.task:T 1"
    );
    // Together with its rules it goes without force.
    let others = json!({"rules": [rule("r", "other")]});
    let scoped = json!({"scopes": [{"task": "T 1", "rules": []}]});
    let all = [without, file("rules", others), file("s", scoped)];
    assert_eq!(planned(&all, &found, false).unwrap().len(), 3);
}

#[test]
fn a_fallback_exists_and_is_not_removed_under_those_who_name_it() {
    let mut first = channel("first");
    first["fallback"] = json!(["secnd"]);
    let channels = file("c", json!({"channels": [channel("second"), channel("kept")]}));
    let broken = file("f", json!({"channels": [first.clone()]}));
    let refused = planned(&[broken, channels.clone()], &Found::new(), true).unwrap_err();
    assert!(
        refused.contains("/channels/0/fallback/0") && refused.contains("did you mean second?"),
        "{refused}"
    );
    first["fallback"] = json!(["second"]);
    let found = after(&[file("f", json!({"channels": [first]})), channels], &Found::new());
    let without = [file("c", json!({"channels": [channel("kept")]}))];
    let refused = planned(&without, &found, false).unwrap_err();
    assert!(refused.contains("channels.default.first would still name it"), "{refused}");
}

#[test]
fn a_file_that_keeps_nothing_of_what_its_owner_has_is_taken_for_another_file() {
    let one = json!({"channels": [channel("a")], "rules": [rule("r", "a")]});
    let found = after(&[file("rules.yaml", one)], &Found::new());
    let other = file("rules.yaml", json!({"channels": [channel("b")], "rules": [rule("q", "b")]}));
    let refused = planned(std::slice::from_ref(&other), &found, false).unwrap_err();
    assert!(
        refused.starts_with(
            "everything that file:rules.yaml has would be removed: channels.default.a, rules.default.r."
        ) && refused.contains("give this one a `name`"),
        "{refused}"
    );
    assert_eq!(planned(std::slice::from_ref(&other), &found, true).unwrap().len(), 4);
    assert!(planned(&[file("rules.yaml", json!({}))], &found, false).is_err());
    // Who keeps something means it, and so does who has nothing yet.
    let kept = file("rules.yaml", json!({"channels": [channel("a")]}));
    assert_eq!(planned(&[kept], &found, false).unwrap(), ["removed rules.default.r"]);
    assert_eq!(planned(&[DocumentFile { name: Some("q".into()), ..other }], &found, false).unwrap().len(), 2);
}

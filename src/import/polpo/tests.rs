//! A file of Polpo's becomes documents that pass the checks of `bugle apply`, and the rest is said.

use super::*;
use crate::apply::files::yaml;
use crate::documents::checked_file;

fn imported(value: &Value) -> Import {
    let import = read(value).unwrap();
    let file = checked_file(yaml(&import.to_yaml().unwrap()).unwrap()).unwrap();
    assert_eq!(
        (&file.channels, &file.rules),
        (&import.channels, &import.rules),
        "it reads as it was written"
    );
    import
}

fn remarks(import: &Import) -> Vec<String> {
    import.remarks.iter().map(ToString::to_string).collect()
}

/// A rule with these fields over a plain one, in a file with one webhook channel `hook`.
fn with_rule(more: &Value) -> Import {
    let mut rule = json!({ "id": "r", "events": ["a:*"], "channels": ["hook"] });
    for (name, value) in more.as_object().unwrap() {
        rule[name] = value.clone();
    }
    imported(
        &json!({ "channels": { "hook": { "type": "webhook", "url": "https://example.com" } }, "rules": [rule] }),
    )
}

#[test]
fn a_configuration_with_all_that_is_documented_is_taken_as_far_as_there_are_channels() {
    let import = imported(&serde_json::from_str(include_str!("../../../tests/vectors/polpo.json")).unwrap());
    let ids: Vec<&str> = import.channels.iter().map(|channel| channel.id.as_str()).collect();
    assert_eq!(ids, ["chat", "duty", "letters", "pager"]);
    assert_eq!(import.channels[1].config, json!({ "botToken": "${DUTY_BOT}", "chatId": "-100200300" }));
    assert_eq!(import.channels[3].config["headers"]["Authorization"], "Token ${PAGER_TOKEN}");
    let rules: Vec<_> = import.rules.iter().map(|rule| (rule.id.as_str(), rule.channels.len())).collect();
    assert_eq!(rules, [("broken-builds", 2), ("deadlines", 1), ("long-runs", 1)]);
    assert_eq!(import.rules[1].cooldown_ms, Some(300_000));
    let beep = format!(
        "left out at /settings/notifications/channels/beep: this Bugle has no channels of the kind `beeper`; its kinds are {}",
        documents::kinds()
    );
    assert_eq!(
        remarks(&import),
        [
            beep.as_str(),
            "left out at /settings/notifications/rules/1/channels/0: the channel beep is left out",
            "changed at /settings/notifications/rules/2/template: it is the body alone, with Bugle's own title; in \
             Polpo it is the title too",
            "left out at /settings/notifications/rules/3/channels/0: the channel beep is left out",
            "left out at /settings/notifications/rules/3/channels: no channel is left; the rule is left out",
            "left out at /settings/sla/violationChannels: Polpo makes rules of it: write one for `sla:violated` and \
             `sla:met` with these channels",
            "left out at /tasks/0/notifications: rules of a scope are no documents of a file: set them with PUT \
             /v1/scopes/task/{id}",
        ]
    );
}

#[test]
fn what_a_rule_has_and_bugle_has_not_is_said() {
    for (more, said) in [
        (
            json!({ "actions": [{ "type": "run_script" }] }),
            "left out at /rules/0/actions: Bugle notifies and",
        ),
        (
            json!({ "includeOutcomes": true }),
            "left out at /rules/0/includeOutcomes: Bugle sends no attachments",
        ),
        (
            json!({ "chanels": [] }),
            "left out at /rules/0/chanels: `chanels` is not a known field; did you mean `channels`?",
        ),
        (json!({ "events": ["a:?", "b"] }), "left out at /rules/0/events/0: `?` is an ordinary character"),
        (json!({ "events": ["a b", "b"] }), "left out at /rules/0/events/0: the pattern"),
        (json!({ "events": ["a.b"] }), "changed at /rules/0/events/0: a dot separates segments"),
        (
            json!({ "channels": ["hook", "hok"] }),
            "left out at /rules/0/channels/1: there is no channel hok; did you mean `hook`?",
        ),
        (json!({ "severity": "fatal" }), "left out at /rules/0/severity: is none of info, warning, critical"),
        (json!({ "template": "{{a" }), "left out at /rules/0/template: "),
        (json!({ "template": { "title": "t" } }), "left out at /rules/0/template: is no text"),
        (json!({ "id": "a b" }), "changed at /rules/0: has an id that Bugle cannot use: it is a-b"),
        (json!({ "id": null, "name": "Late tasks" }), "changed at /rules/0: has no id: it is late-tasks"),
    ] {
        let import = with_rule(&more);
        assert!(remarks(&import)[0].starts_with(said), "{more}: {:?}", remarks(&import));
        assert_eq!((import.remarks.len(), import.rules.len()), (1, 1), "{more}: {:?}", remarks(&import));
    }
}

#[test]
fn a_rule_that_would_mean_something_else_is_left_out() {
    for (more, said) in [
        (
            json!({ "events": ["a:?"] }),
            "left out at /rules/0/events: no pattern is left; the rule is left out",
        ),
        (json!({ "events": [] }), "left out at /rules/0/events: is empty"),
        (
            json!({ "condition": { "field": "a", "op": "eq", "value": 1 } }),
            "left out at /rules/0/condition/op: `eq`",
        ),
        (
            json!({ "condition": { "field": "a", "op": "==", "value": [1] } }),
            "left out at /rules/0/condition/value: found a list",
        ),
        (json!({ "condition": { "field": "", "op": "exists" } }), "left out at /rules/0/condition/field: "),
        (json!({ "cooldownMs": "1s" }), "left out at /rules/0/cooldownMs: found a text"),
        (json!({ "cooldownMs": 1e300 }), "left out at /rules/0/cooldownMs: "),
        (json!({ "name": 7 }), "left out at /rules/0/name: found a number"),
    ] {
        let import = with_rule(&more);
        assert!(import.rules.is_empty(), "{more}");
        assert!(remarks(&import).iter().any(|line| line.starts_with(said)), "{more}: {:?}", remarks(&import));
    }
}

#[test]
fn a_cooldown_below_nothing_goes_and_the_rule_stays() {
    let import = with_rule(&json!({ "cooldownMs": -5 }));
    assert_eq!(import.rules[0].cooldown_ms, None);
    assert_eq!(
        remarks(&import),
        ["left out at /rules/0/cooldownMs: -5 is less than 0: the rule has no cooldown, as in Polpo"]
    );
}

#[test]
fn what_means_the_same_is_taken_without_a_word() {
    for (more, field, taken) in [
        (json!({ "cooldownMs": 0 }), "cooldownMs", json!(0)),
        (json!({ "cooldownMs": 1.5 }), "cooldownMs", json!(2)),
        (json!({ "template": "" }), "template", Value::Null),
        (json!({ "actions": [], "includeOutcomes": false }), "actions", Value::Null),
        (
            json!({ "condition": { "field": "a", "op": "==" } }),
            "condition",
            json!({ "field": "a", "op": "==", "value": null }),
        ),
        (json!({ "events": ["*"] }), "events", json!(["*"])),
    ] {
        let import = with_rule(&more);
        assert!(import.remarks.is_empty(), "{more}: {:?}", remarks(&import));
        assert_eq!(serde_json::to_value(&import.rules[0]).unwrap()[field], taken, "{more}");
    }
}

#[test]
fn a_comparison_that_javascript_answers_otherwise_is_said() {
    for (op, value, differs) in [
        ("==", json!(true), true),
        ("==", json!(""), true),
        ("!=", json!(0), true),
        ("==", json!("1"), true),
        ("==", json!(2), false),
        ("==", json!("failed"), false),
        ("==", Value::Null, false),
        (">=", json!(3), false),
        ("<", json!(3), true),
        (">", json!("10"), true),
        (">", json!("2026-01-01"), false),
        ("includes", Value::Null, true),
        ("includes", json!(0), false),
    ] {
        let condition = json!({ "and": [{ "not": { "field": "a", "op": op, "value": value } }] });
        let import = with_rule(&json!({ "condition": condition }));
        let said = remarks(&import);
        assert_eq!(said.len(), usize::from(differs), "{op} {value}: {said:?}");
        assert!(
            said.iter().all(|line| line.starts_with("changed at /rules/0/condition/and/0/not/value: ")),
            "{said:?}"
        );
    }
    let import = with_rule(
        &json!({ "condition": { "or": [{ "field": "a", "op": "exists", "note": 1 }], "op": "==" } }),
    );
    assert_eq!(remarks(&import).len(), 2, "{:?}", remarks(&import));
    assert_eq!(import.rules[0].condition, Some(json!({ "or": [{ "field": "a", "op": "exists" }] })));
}

#[test]
fn a_channel_keeps_what_it_can() {
    let import = imported(&json!({ "channels": {
        "hook.1": { "type": "webhook", "url": "https://example.com", "headers": { "Content-Type": "text/plain", "X-A": "${b c}" } },
        "hook-1": { "type": "webhook", "url": "https://example.com", "retries": 3 },
        "bad": { "type": "webhook", "url": "not an address" },
        "none": { "url": "https://example.com" },
        "chat": { "type": "slack", "webhookUrl": "${SLACK}", "apiKey": "xoxb-s3cr3t" },
        "odd": { "type": "telegram", "botToken": 7, "chatId": 8 },
    } }));
    let said = remarks(&import);
    for part in [
        "changed at /channels/hook.1: its id is hook-1-2",
        "left out at /channels/hook.1/headers/Content-Type: is set by Bugle itself",
        "left out at /channels/hook-1/retries: `retries` is not a known field",
        "left out at /channels/bad/url: ",
        "left out at /channels/none: has no `type`",
        "left out at /channels/chat/apiKey: ",
        "left out at /channels/odd/botToken: ",
    ] {
        assert!(said.iter().any(|line| line.starts_with(part)), "{part}: {said:?}");
    }
    assert_eq!((import.channels.len(), said.len()), (3, 7), "{said:?}");
    let headers = import.channels.iter().find_map(|channel| channel.config.get("headers")).unwrap();
    assert_eq!(headers, &json!({ "X-A": "$${b c}" }), "Polpo sends it as it stands");
    assert!(!format!("{said:?}").contains("s3cr3t"));
}

#[test]
fn a_repeated_id_is_made_another_one() {
    let rule = json!({ "id": "r", "events": ["a"], "channels": ["c"] });
    let import = imported(&json!({
        "channels": { "c": { "type": "webhook", "url": "https://example.com" } },
        "rules": [rule, rule, { "events": ["a"], "channels": ["c"] }],
        "ruels": [],
    }));
    let ids: Vec<&str> = import.rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["r", "r-2", "rule"]);
    assert_eq!(import.left_out(), 1, "{:?}", remarks(&import));
}

#[test]
fn what_has_nothing_of_polpos_is_refused() {
    for value in
        [json!([]), json!({}), json!({ "settings": {} }), json!({ "settings": { "notifications": [] } })]
    {
        assert!(read(&value).is_err(), "{value}");
    }
}

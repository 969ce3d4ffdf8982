//! The schemas agree with the code: judged by a validator that is not ours.

use boon::{Compiler, SchemaIndex, Schemas};

use super::*;
use crate::apply::files::yaml;
use crate::config::DEFAULTS;
use crate::documents::{checked_file, strict};
use crate::preset::{Preset, STARTER};
use crate::rule::fault::Fault;

struct Judge {
    schemas: Schemas,
    schema: SchemaIndex,
}

impl Judge {
    fn of(name: Name) -> Self {
        const PLACE: &str = "https://example.com/schema.json";
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.add_resource(PLACE, name.schema()).unwrap();
        let schema = compiler.compile(PLACE, &mut schemas).unwrap();
        Self { schemas, schema }
    }

    fn refusal(&self, value: &Value) -> Option<String> {
        self.schemas.validate(value, self.schema).err().map(|error| error.to_string())
    }
}

/// The fenced blocks of a page in one language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let open = format!("```{language}\n");
    page.split(open.as_str()).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

#[test]
fn every_example_of_documents_passes_the_schema_and_our_own_checks() {
    let (readme, coming) = (include_str!("../../README.md"), include_str!("../../docs/coming-from-polpo.md"));
    let mut examples = vec![include_str!("../../config/quickstart.documents.yaml")];
    examples.extend(blocks(readme, "yaml"));
    examples.extend(blocks(coming, "yaml"));
    examples.extend(blocks(include_str!("../../docs/configuration.md"), "yaml"));
    let presets = Preset::ALL.iter().flat_map(|preset| preset.files()).chain(STARTER);
    let presets = presets.filter(|file| file.name != "bugle.toml" && !file.name.ends_with(".test.yaml"));
    examples.extend(presets.map(|file| file.text));
    examples.extend(blocks(include_str!("../../docs/sources.md"), "yaml"));
    examples.extend(blocks(include_str!("../../docs/channels/slack.md"), "yaml"));
    examples.extend(blocks(include_str!("../../docs/connections.md"), "yaml"));
    assert!(examples.len() >= 8, "{}", examples.len());
    let judge = Judge::of(Name::Documents);
    for example in examples {
        let value = yaml(example).unwrap();
        assert_eq!(judge.refusal(&value), None, "{example}");
        assert_eq!(checked_file(value).err(), None, "{example}");
    }
}

#[test]
fn every_example_of_settings_passes_the_schema() {
    let judge = Judge::of(Name::Settings);
    let configuration = include_str!("../../docs/configuration.md");
    let starter = STARTER.iter().find(|file| file.name == "bugle.toml").unwrap();
    let mut examples = vec![DEFAULTS, include_str!("../../config/quickstart.toml"), starter.text, ""];
    examples.extend(blocks(configuration, "toml"));
    for example in examples {
        let value = serde_json::to_value(example.parse::<toml::Table>().unwrap()).unwrap();
        assert_eq!(judge.refusal(&value), None, "{example}");
    }
}

#[test]
fn fixtures_pass_their_schema_and_what_our_checks_refuse_does_not() {
    let judge = Judge::of(Name::Fixtures);
    let files = Preset::ALL.iter().flat_map(|preset| preset.files()).chain(STARTER);
    for file in files.filter(|file| file.name.ends_with(".test.yaml")) {
        assert_eq!(judge.refusal(&yaml(file.text).unwrap()), None, "{}", file.name);
    }
    let event = json!({ "type": "a", "data": 1, "tenant": "x" });
    let test = |more: Value| json!({ "tests": [{ "name": "t", "event": event, "expect": [more] }] });
    let expected = json!({ "rule": "r", "channel": "c", "would": "suppress", "reason": "cooldown" });
    assert_eq!(judge.refusal(&test(expected)), None);
    for wrong in [
        json!({ "tests": [] }),
        json!({}),
        test(json!({ "rule": "r" })),
        test(json!({ "rule": "r", "channel": "c", "would": "sent" })),
        test(json!({ "rule": "r", "channel": "c", "tittle": "x" })),
        json!({ "tests": [{ "name": "t", "event": { "data": 1 }, "expect": [] }] }),
    ] {
        assert!(crate::fixture::read(wrong.clone()).is_err(), "{wrong}");
        assert!(judge.refusal(&wrong).is_some(), "{wrong}");
    }
}

fn file() -> Value {
    json!({
        "channels": [{ "id": "hook", "kind": "webhook", "config": { "url": "${URL}", "headers": { "a": "b" } } }],
        "rules": [{ "id": "r", "events": ["a:*"], "channels": ["hook"], "template": { "title": "t" },
            "condition": { "and": [{ "field": "a", "op": "==", "value": 1 }, { "not": { "field": "b", "op": "exists" } }] } }],
    })
}

/// Where, what stands there instead, where the fault is, and a part of what is said of it.
type Refused = Vec<(&'static str, Value, &'static str, &'static str)>;

fn refused_channels() -> Refused {
    let telegram = json!({ "id": "t", "kind": "telegram", "config": { "chatId": 1 } });
    let channel = "/channels/0";
    vec![
        ("/rule", json!([]), "/rule", "did you mean `rules`?; the fields here are"),
        ("/workspace", json!("No.Such"), "/workspace", "a-z"),
        ("/channels", json!({}), "/channels", "found an object; a list is allowed"),
        (
            "/channels/0/kind",
            json!("slak"),
            "/channels/0/kind",
            "found `slak`; did you mean `slack`?; allowed are console,",
        ),
        ("/channels/0/kind", json!(1), "/channels/0/kind", "found a number; allowed are"),
        (
            "/channels/0/enabled",
            json!("yes"),
            "/channels/0/enabled",
            "found `yes`; allowed are true, false, auto",
        ),
        ("/channels/0/enabled", json!("atuo"), "/channels/0/enabled", "did you mean `auto`?"),
        ("/channels/0/id", json!("a b"), "/channels/0/id", "1 to 64"),
        ("/channels/0/timeoutMs", json!(0), "/channels/0/timeoutMs", "1 to 25000"),
        (
            "/channels/0/timeoutMs",
            json!("1s"),
            "/channels/0/timeoutMs",
            "found a text; a whole number is allowed",
        ),
        ("/channels/0/expiresInMs", json!(3_000_000_000_u64), "/channels/0/expiresInMs", "out of range"),
        ("/channels/0/retry", json!({ "schedule": [1] }), "/channels/0/retry/schedule", "are scheduleMs"),
        ("/channels/0/retry", json!({}), "/channels/0/retry/scheduleMs", "`scheduleMs` is missing"),
        ("/channels/0/retry", json!({ "scheduleMs": [0] }), "/channels/0/retry/scheduleMs/0", "out of range"),
        (
            "/channels/0/retry",
            json!({ "scheduleMs": vec![1; 51] }),
            "/channels/0/retry/scheduleMs",
            "at most 50",
        ),
        ("/channels/0/config", json!([]), "/channels/0/config", "found a list; an object is allowed"),
        ("/channels/0/config", json!({}), "/channels/0/config/url", "is missing"),
        (
            "/channels/0/config/ulr",
            json!(""),
            "/channels/0/config/ulr",
            "did you mean `url`?; the fields here are url, method",
        ),
        ("/channels/0/config/headers/a", json!(1), "/channels/0/config/headers/a", "expected a string"),
        (channel, telegram, "/channels/0/config/botToken", "is missing"),
        (channel, json!({ "id": "c" }), "/channels/0/kind", "`kind` is missing"),
        (channel, json!({ "id": "c", "kind": "slack" }), "/channels/0/config/webhookUrl", "is missing"),
        (
            channel,
            json!({ "id": "c", "kind": "console", "config": { "a": 1 } }),
            "/channels/0/config/a",
            "no fields here",
        ),
    ]
}

fn refused_rules() -> Refused {
    vec![
        ("/rules/0", json!({ "id": "r", "events": ["a"] }), "/rules/0/channels", "`channels` is missing"),
        ("/rules/0/chanels", json!([]), "/rules/0/chanels", "did you mean `channels`?"),
        ("/rules/0/cooldown_ms", json!(1), "/rules/0/cooldown_ms", "did you mean `cooldownMs`?"),
        ("/rules/0/cooldownMs", json!(-1), "/rules/0/cooldownMs", "found -1; 0 or more is allowed"),
        ("/rules/0/cooldownMs", json!(40_000_000_000_u64), "/rules/0/cooldownMs", "more than a year"),
        ("/rules/0/dedupe", json!({ "key": "", "windowMs": 1 }), "/rules/0/dedupe/key", "is empty"),
        ("/rules/0/collapse", json!({ "key": "" }), "/rules/0/collapse/key", "is empty"),
        (
            "/rules/0/activeHours",
            json!({ "windows": [{ "days": [] }] }),
            "/rules/0/activeHours/windows/0/days",
            "is empty",
        ),
        ("/rules/0/severity", json!("warn"), "/rules/0/severity", "allowed are info, warning, critical"),
        ("/rules/0/enabled", json!("true"), "/rules/0/enabled", "found a text; true or false is allowed"),
        ("/rules/0/events", json!([]), "/rules/0/events", "empty"),
        ("/rules/0/events", json!("a:*"), "/rules/0/events", "found a text; a list is allowed"),
        ("/rules/0/events", json!([""]), "/rules/0/events/0", "pattern"),
        ("/rules/0/events", json!(["a".repeat(257)]), "/rules/0/events/0", "256"),
        ("/rules/0/channels", json!(["a.b"]), "/rules/0/channels/0", "1 to 64"),
        ("/rules/0/channels", json!(vec!["c"; 101]), "/rules/0/channels", "at most 100"),
        ("/rules/0/recipients", json!([""]), "/rules/0/recipients/0", "1 to 256"),
        ("/rules/0/template", json!({ "titel": "t" }), "/rules/0/template/titel", "did you mean `title`?"),
        ("/rules/0/template", json!(["t"]), "/rules/0/template", "a text or an object is allowed"),
    ]
}

fn refused_conditions() -> Refused {
    vec![
        ("/rules/0/condition/and/0/op", json!("eq"), "/rules/0/condition/and/0/op", "did you mean `==`?"),
        (
            "/rules/0/condition/and/0/valeu",
            json!(1),
            "/rules/0/condition/and/0/valeu",
            "did you mean `value`?",
        ),
        ("/rules/0/condition/and/0/value", json!([1]), "/rules/0/condition/and/0/value", "found a list"),
        (
            "/rules/0/condition",
            json!("to == 1"),
            "/rules/0/condition",
            "found a text; an object is allowed: one of and, or, not, or a comparison",
        ),
        ("/rules/0/condition/or", json!([]), "/rules/0/condition/or", "beside"),
        ("/rules/0/condition", json!({ "not": [] }), "/rules/0/condition/not", "found a list"),
        (
            "/rules/0/condition",
            json!({ "field": "a", "op": "<", "value": true }),
            "/rules/0/condition/value",
            "a boolean",
        ),
        (
            "/rules/0/condition",
            json!({ "field": "a", "op": "in", "value": 1 }),
            "/rules/0/condition/value",
            "a list",
        ),
        (
            "/rules/0/condition",
            json!({ "field": "a", "op": "==" }),
            "/rules/0/condition",
            "`value` is missing",
        ),
    ]
}

#[test]
fn what_our_checks_refuse_for_its_shape_the_schema_refuses_too() {
    let judge = Judge::of(Name::Documents);
    assert_eq!(judge.refusal(&file()), None);
    checked_file(file()).unwrap();
    for (place, found, pointer, part) in [refused_channels(), refused_rules(), refused_conditions()].concat()
    {
        let mut value = file();
        let (parent, name) = place.rsplit_once('/').unwrap();
        let parent = value.pointer_mut(parent).unwrap();
        match parent.as_array_mut() {
            Some(items) => items[0] = found.clone(),
            None => parent[name] = found.clone(),
        }
        let fault = checked_file(value.clone()).unwrap_err();
        assert_eq!(fault.pointer, pointer, "{place} {found}: {fault}");
        assert!(fault.message.contains(part), "{place} {found}: {fault}");
        assert!(judge.refusal(&value).is_some(), "the schema takes {found} at {place}");
    }
}

#[test]
fn no_word_of_a_library_is_said_of_times_numbers_and_words_in_maps() {
    let rule = json!({ "id": "r", "events": ["a"], "channels": ["c"] });
    for (name, found, said) in [
        ("expiresAt", json!("tomorrow"), "is no time: RFC 3339 is allowed, such as 2026-01-31T12:00:00Z"),
        ("expiresAt", json!("2026-02-30T00:00:00Z"), "is no time: RFC 3339"),
        ("cooldownMs", json!(-1), "found -1; 0 or more is allowed"),
    ] {
        let mut rule = rule.clone();
        rule[name] = found;
        let fault = strict::<RuleSpec>(rule).unwrap_err();
        assert_eq!(fault.pointer, format!("/{name}"));
        assert!(fault.message.contains(said), "{fault}");
    }
    let source = json!({ "id": "s", "events": { "source": "x" }, "severities": { "P1": "fatal" } });
    assert_eq!(
        strict::<crate::source::SourceSpec>(source).unwrap_err(),
        Fault::new("/severities/P1", "found `fatal`; allowed are info, warning, critical")
    );
}

#[test]
fn a_rule_and_a_channel_have_the_schema_of_their_place_in_a_file() {
    for (name, place) in [(Name::Rule, "/rules/0"), (Name::Channel, "/channels/0")] {
        let judge = Judge::of(name);
        let mut value = file().pointer(place).unwrap().clone();
        assert_eq!(judge.refusal(&value), None);
        value["unknown"] = json!(1);
        assert!(judge.refusal(&value).is_some());
    }
}

#[test]
fn every_schema_says_what_it_is_and_what_its_fields_mean() {
    for name in Name::ALL {
        let schema = name.schema();
        assert_eq!(schema["$id"], format!("urn:bugle:schema:{name}"));
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(schema["title"].is_string() && schema["properties"].is_object(), "{schema}");
    }
    let settings = Name::Settings.schema();
    let slots = &settings["properties"]["router"]["properties"]["slots"];
    assert_eq!((&slots["default"], &slots["maximum"]), (&json!(1024), &json!(10_000)));
    assert_eq!(slots["description"], "Events in work at once.");
}

#[test]
fn the_limits_of_settings_are_those_of_their_check() {
    fn walk(schema: &Value, place: &str, found: &mut Vec<(String, Value)>) {
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}__{}", name.to_uppercase());
            walk(inner, &place, found);
            let step = if inner["type"] == "number" { json!(0.001) } else { json!(1) };
            for (word, sign) in [("minimum", -1.0), ("maximum", 1.0)] {
                // Below 0 and for ports it is the type that says no.
                let bound =
                    inner.get(word).filter(|bound| **bound != json!(0) && inner["format"] != "uint16");
                let beyond = bound.map(|bound| bound.as_f64().unwrap() + sign * step.as_f64().unwrap());
                found.extend(beyond.map(|beyond| (place.clone(), json!(beyond))));
                found.extend(bound.map(|bound| (place.clone(), bound.clone())));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Name::Settings.schema(), "BUGLE", &mut found);
    assert!(found.len() > 20, "{found:?}");
    for (index, (variable, value)) in found.iter().enumerate() {
        let set = [(variable.clone(), value.to_string().trim_end_matches(".0").to_owned())];
        let read = crate::config::Settings::from_parts(None, &set);
        assert_eq!(read.is_err(), index % 2 == 0, "{set:?}: {:?}", read.err());
    }
}

#[test]
fn a_field_that_nobody_knows_is_named_before_one_that_is_missing() {
    let fault =
        strict::<crate::send::SendRequest>(json!({ "chanel": "c", "title": "t", "body": "b" })).unwrap_err();
    assert_eq!(fault.pointer, "/chanel");
    assert!(fault.message.contains("did you mean `channel`?"), "{fault}");
    let whole = strict::<RuleSpec>(json!([])).unwrap_err();
    assert_eq!(whole, Fault::here("found a list; an object is allowed"));
}

//! Why an event led to what it led to: from the command line and from a delivery.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::bugle::{Bugle, rule, webhook, with};
use crate::support::sink::Sink;
use crate::support::{LATER, SOON, ensure, eventually};

/// An installation with a rule that fires, one whose condition says no, and one that cools down.
async fn installation() -> (Bugle, Sink) {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let failed = json!({ "condition": { "and": [{ "field": "to", "op": "==", "value": "failed" }] } });
    let quiet = json!({ "cooldownMs": 600_000, "template": { "title": "{{to}}!" } });
    let documents = json!({
        "channels": [webhook("hook", &sink.url("/hook"))],
        "rules": [
            with(rule("failed", "task:*", "hook"), &failed),
            with(rule("quiet", "task:*", "hook"), &quiet),
            with(rule("off", "task:*", "hook"), &json!({ "enabled": false })),
        ],
    });
    bugle.start_with(&documents).await;
    (bugle, sink)
}

fn rules(explanation: &Value) -> Vec<(&str, &str)> {
    let rules = explanation["rules"].as_array().unwrap();
    rules.iter().map(|rule| (rule["id"].as_str().unwrap(), rule["reason"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn an_event_of_the_past_is_found_by_its_id_and_explained() {
    let (bugle, _sink) = installation().await;
    let wire = bugle.wire().await;
    wire.event("task:done", "e-1", &json!({ "to": "done" })).await;
    bugle.api().shows(1, "rule=quiet&status=sent").await;
    wire.event("task:done", "e-2", &json!({ "to": "failed" })).await;
    bugle.api().shows(1, "status=suppressed").await;

    let said = bugle.cli(&["explain", "e-1"]).await.ok();
    for part in [
        "✗ failed",
        "`to` is \"done\", not == \"failed\" (/condition/and/0)",
        "✗ off",
        "switched off",
        "✓ quiet",
        "opened by this event",
        "→ hook (webhook)",
        "done!",
        "1 of 3 rules",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains('\x1b'), "a pipe is no terminal: {said}");
    let held: Value = serde_json::from_str(&bugle.cli(&["explain", "e-2", "--json"]).await.ok()).unwrap();
    assert_eq!(rules(&held), [("failed", "fired"), ("off", "disabled"), ("quiet", "cooldown")], "{held:#}");
    assert_eq!(held["event"]["id"], "e-2");
    let payload = &held["rules"][0]["deliveries"][0]["shown"];
    assert_eq!(
        (&payload["type"], &payload["data"]["to"]),
        (&json!("task:done"), &json!("failed")),
        "{held:#}"
    );

    let missing = bugle.cli(&["explain", "e-3", "--type", "task:done"]).await;
    assert_eq!(missing.code, 65, "{missing:?}");
    assert!(missing.stderr.contains("no event with the id e-3 among 2 events"), "{missing:?}");
    assert!(missing.stderr.contains("which are all that are stored of type task:done"), "{missing:?}");
    let nowhere = bugle.cli(&["explain", "e-1", "--workspace", "nope", "--source", "s3"]).await;
    let part = "with the id e-1 from s3 among 0 events, which are all that are stored in workspace nope";
    assert!(nowhere.code == 65 && nowhere.stderr.contains(part), "{nowhere:?}");
    // Files that are called as ids are.
    bugle.folder.write("e-1", "no event");
    let said = bugle.cli(&["explain", "e-1", "--shown"]).await.ok();
    assert!(
        said.contains("e-1 from") && said.contains("hook shows") && said.contains("\"severity\": \"info\""),
        "{said}"
    );
    bugle.folder.write("e-9", "{ type: task:done }");
    assert!(bugle.cli(&["explain", "e-9"]).await.ok().contains("task:done"), "it holds an event");
    let bounded = bugle.cli(&["explain", "e-2", "--limit", "1"]).await;
    assert!(bounded.stderr.contains("among 1 events, and that is the limit"), "{bounded:?}");
}

#[tokio::test]
async fn an_id_that_several_have_is_asked_about() {
    let (bugle, _sink) = installation().await;
    for source in ["left", "right"] {
        bugle.cli(&["publish", "task:done", "{}", "--id", "same", "--source", source]).await.ok();
    }
    let asked = bugle.cli(&["explain", "same"]).await;
    assert_eq!(asked.code, 65, "{asked:?}");
    assert!(asked.stderr.contains("--workspace default --source left"), "{asked:?}");
    let said = bugle.cli(&["explain", "same", "--source", "right"]).await.ok();
    assert!(said.contains("same from right in default"), "{said}");
}

#[tokio::test]
async fn an_event_in_a_file_is_explained_without_being_published() {
    let (bugle, sink) = installation().await;
    let file = bugle.folder.write("event.yaml", "type: task:failed\ndata: { to: failed }\n");
    let said: Value =
        serde_json::from_str(&bugle.cli(&["explain", &file.display().to_string(), "--json"]).await.ok())
            .unwrap();
    assert_eq!(rules(&said), [("failed", "fired"), ("off", "disabled"), ("quiet", "fired")], "{said:#}");
    assert!(said["event"].is_null(), "{said:#}");
    let nobody = bugle.folder.write("nobody.json", r#"{"type": "order:placed"}"#).display().to_string();
    let said = bugle.cli(&["explain", &nobody]).await.ok();
    assert!(said.contains("no rule's patterns match order:placed: workspace default has 3 rules"), "{said}");
    for (text, part) in [("[1]", "an event is an object"), ("data: {}", "type")] {
        let file = bugle.folder.write("bad.yaml", text).display().to_string();
        let refused = bugle.cli(&["explain", &file]).await;
        assert!(refused.code == 65 && refused.stderr.contains(part), "{refused:?}");
    }
    assert!(sink.requests("/hook").is_empty() && bugle.api().deliveries("").await.is_empty());
}

#[tokio::test]
async fn a_delivery_leads_to_its_explanation_and_says_when_its_event_is_gone() {
    let (bugle, _sink) = installation().await;
    let (wire, api) = (bugle.wire().await, bugle.api());
    wire.event("task:done", "e-1", &json!({ "to": "failed" })).await;
    let delivery = api.shows(1, "rule=failed&status=sent").await[0].clone();
    let id = delivery["id"].as_str().unwrap();
    let detail = api.get(&format!("/v1/deliveries/{id}")).await.expect(200);
    let link = detail["links"]["explanation"].as_str().unwrap().to_owned();
    let said = api.get(&link).await.expect(200);
    assert_eq!((&said["event"]["id"], &said["delivery"]), (&json!("e-1"), &json!(id)), "{said:#}");
    assert!(said["note"].as_str().unwrap().contains("may have changed"), "{said:#}");
    assert_eq!(said["rules"][0]["deliveries"][0]["id"], id, "{said:#}");
    let sent = json!({ "channel": "hook", "title": "t", "body": "b" });
    let sent = api.post("/v1/notifications/send", &sent).await.expect(202)["id"].clone();
    let detail = api.becomes(sent.as_str().unwrap(), "sent").await;
    assert!(detail["links"]["explanation"].is_null(), "{detail:#}");
    let path = format!("/v1/deliveries/{}/explanation", sent.as_str().unwrap());
    let problem = api.get(&path).await.expect_problem(404);
    assert!(problem["detail"].as_str().unwrap().contains("without a rule"), "{problem}");

    // The rules are those of now.
    let other = json!({ "condition": { "field": "to", "op": "==", "value": "done" } });
    let other = with(rule("failed", "task:*", "hook"), &other);
    bugle.apply(&json!({ "channels": [webhook("hook", "https://a.example/")], "rules": [other] })).await;
    eventually("the rule is the new one", SOON, async || {
        let said = api.get(&link).await.expect(200);
        ensure(rules(&said) == [("failed", "condition")], format!("{said:#}"))
    })
    .await;
    wire.js
        .get_stream(format!("{}_EVENTS", bugle.prefix.to_uppercase()))
        .await
        .unwrap()
        .purge()
        .await
        .unwrap();
    let problem = api.get(&link).await.expect_problem(404);
    assert!(problem["detail"].as_str().unwrap().contains("keep.events_days"), "{problem}");
    let viewer = api.post("/v1/tokens", &json!({ "name": "a", "role": "agent", "recipient": "ann" })).await;
    let token = viewer.expect(201)["token"].as_str().unwrap().to_owned();
    bugle.api_as(&token).get(&link).await.expect_problem(403);
}

/// What is said or known of each delivery of an event, by its id.
fn by_id<'a>(deliveries: impl Iterator<Item = &'a Value>, fields: [&str; 6]) -> BTreeMap<String, Vec<Value>> {
    let one = |delivery: &Value| fields.iter().map(|field| delivery[field].clone()).collect();
    deliveries.map(|delivery| (delivery["id"].as_str().unwrap().to_owned(), one(delivery))).collect()
}

/// The deliveries of an explanation, in the words of the history.
fn foretold(said: &Value) -> BTreeMap<String, Vec<Value>> {
    let deliveries = said["rules"].as_array().unwrap().iter();
    let deliveries = deliveries.filter_map(|rule| rule["deliveries"].as_array()).flatten();
    let mut planned = by_id(deliveries, ["would", "reason", "channel", "severity", "title", "recipient"]);
    for fields in planned.values_mut() {
        let status = match fields[0].as_str().unwrap() {
            "send" => "sent",
            "suppress" => "suppressed",
            _ => "failed",
        };
        fields[0] = status.into();
        if status == "sent" {
            fields[1] = "accepted".into();
        }
    }
    planned
}

/// Rules that send, hold back, lose and stay silent.
async fn all_sorts_of_rules() -> (Bugle, Sink) {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let short = json!({ "cooldownMs": 8_000, "cooldownKey": "{{k}}", "template": { "title": "{{k}}" } });
    let dedupe = json!({ "key": "{{k}}", "windowMs": 60_000 });
    let loud = json!({ "condition": { "field": "n", "op": ">", "value": 1 }, "severity": "critical" });
    let documents = json!({
        "channels": [
            webhook("hook", &sink.url("/hook")), { "id": "off", "kind": "console", "enabled": false },
        ],
        "rules": [
            with(rule("all", "**", "hook"), &json!({ "recipients": ["ann", "{{who}}"] })),
            with(rule("short", "task:*", "hook"), &short),
            with(rule("once", "task:*", "off"), &json!({ "channels": ["off", "hook"], "dedupe": dedupe })),
            with(rule("loud", "task:*", "hook"), &loud),
            rule("lost", "task:lost", "gone"),
        ],
        "scopes": [{ "task": "7", "rules": [rule("own", "task:done", "hook")] }],
    });
    bugle.start_without(&["gone"], &documents).await;
    (bugle, sink)
}

#[tokio::test]
async fn what_is_said_of_an_event_before_it_is_published_is_what_becomes_of_it() {
    let (bugle, _sink) = all_sorts_of_rules().await;
    let api = bugle.api();
    let events = [
        ("task:done", json!({ "k": "a", "n": 1 })),
        ("task:done", json!({ "k": "a", "n": 2, "who": "bob" })),
        ("task:done", json!({ "k": "b_c", "n": "3" })),
        ("task:lost", json!({ "k": "d" })),
        ("task:done", json!({ "taskId": 7, "k": "e" })),
        ("order:placed", json!({})),
        ("task:done", json!({ "k": "a" })),
    ];
    for (number, (event_type, data)) in events.iter().enumerate() {
        let id = format!("e-{number}");
        let event = json!({ "type": event_type, "id": id, "source": "s", "data": data });
        let file = bugle.folder.write("event.json", &event.to_string()).display().to_string();
        let planned = eventually(&format!("{id} is explained"), LATER, async || {
            let said = bugle.cli(&["explain", &file, "--json"]).await.ok();
            // The last one waits until the cooldown is over, and stands for the second one.
            let waits = number + 1 == events.len() && !said.contains("(+1 more)");
            if waits { Err(said) } else { Ok(foretold(&serde_json::from_str(&said).unwrap())) }
        })
        .await;
        assert!(!planned.is_empty(), "{id}");
        api.post("/v1/events", &event).await.expect(202);
        eventually(&format!("{id} becomes what was said"), SOON, async || {
            let deliveries = api.deliveries(&format!("event={id}")).await;
            let fields = ["status", "reason", "channel", "severity", "title", "recipient"];
            let became = by_id(deliveries.iter(), fields);
            ensure(became == planned, format!("said: {planned:#?}\nbecame: {became:#?}"))
        })
        .await;
    }
}

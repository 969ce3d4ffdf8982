//! Rules and scopes at run time: in force at once, safe against each other's writers, brought back.

use serde_json::{Value, json};

use crate::support::api::{Api, Reply, json as with_body, reply};
use crate::support::bugle::{Bugle, rule, webhook, with};
use crate::support::sink::Sink;
use crate::support::wire::Wire;
use crate::support::{SOON, ensure, eventually, pause};

/// A fleet with channels and no rules of its file's.
async fn fleet() -> (Bugle, Sink, Wire, Api) {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let channels =
        json!({ "channels": [webhook("hook", &sink.url("/hook")), webhook("other", &sink.url("/other"))] });
    bugle.start_with(&channels).await;
    let (wire, api) = (bugle.wire().await, bugle.api());
    (bugle, sink, wire, api)
}

async fn write(api: &Api, method: &str, path: &str, condition: Option<(&str, &str)>, body: &Value) -> Reply {
    let mut request = with_body(api.request(method, path), body);
    if let Some((name, value)) = condition {
        request = request.header(name, value);
    }
    reply(request).await
}

/// Publishes until an event of a type arrives.
async fn arrives(sink: &Sink, wire: &Wire, path: &str, event_type: &str, data: &Value) {
    let (before, mut number) = (sink.requests(path).len(), 0);
    eventually(&format!("{event_type} arrives at {path}"), SOON, async || {
        number += 1;
        wire.event(event_type, &format!("{path}-{event_type}-{before}-{number}"), data).await;
        pause(std::time::Duration::from_millis(100)).await;
        ensure(sink.requests(path).len() > before, "not yet")
    })
    .await;
}

#[tokio::test]
async fn a_rule_lives_from_its_making_to_its_removal_and_can_be_brought_back() {
    let (_bugle, sink, wire, api) = fleet().await;
    let made = api.post("/v1/rules", &rule("r", "a:*", "hook")).await;
    let tag = made.header("etag");
    let made = made.expect(201);
    assert_eq!((&made["meta"]["owner"], &made["meta"]["version"]), (&json!("api"), &json!(1)), "{made}");
    api.post("/v1/rules", &rule("r", "a:*", "hook")).await.expect_problem(409);
    arrives(&sink, &wire, "/hook", "a:b", &json!({})).await;

    // What was read may be sent back whole.
    let read = api.get("/v1/rules/r").await.expect(200);
    let replaced = with(read, &json!({ "events": ["b:*"], "name": "second" }));
    let second = write(&api, "PUT", "/v1/rules/r", Some(("If-Match", &tag)), &replaced).await;
    let second_tag = second.header("etag");
    assert_eq!(second.expect(200)["meta"]["version"], 2);
    arrives(&sink, &wire, "/hook", "b:c", &json!({})).await;
    let stale =
        write(&api, "PUT", "/v1/rules/r", Some(("If-Match", &tag)), &replaced).await.expect_problem(412);
    assert!(stale["detail"].as_str().unwrap().contains("read it again"), "{stale}");

    let patched = write(
        &api,
        "PATCH",
        "/v1/rules/r",
        Some(("If-Match", &second_tag)),
        &json!({
            "name": null, "enabled": false, "labels": { "team": "ops" },
        }),
    )
    .await
    .expect(200);
    assert_eq!(
        (&patched["enabled"], patched.get("name"), &patched["meta"]["version"]),
        (&json!(false), None, &json!(3))
    );

    // What changes nothing is no version.
    let read = api.get("/v1/rules/r").await;
    let tag_now = read.header("etag");
    for (method, body) in [("PATCH", json!({})), ("PUT", read.expect(200))] {
        let unchanged = write(&api, method, "/v1/rules/r", Some(("If-Match", &tag_now)), &body).await;
        assert_eq!(unchanged.header("etag"), tag_now, "{method}");
        assert_eq!(unchanged.expect(200)["meta"], patched["meta"], "{method}");
    }
    let versions = api.get("/v1/rules/r/versions").await.expect(200)["versions"].clone();
    let numbers: Vec<_> =
        versions.as_array().unwrap().iter().map(|one| one["meta"]["version"].clone()).collect();
    assert_eq!(numbers, [3, 2, 1]);
    let back = api.post("/v1/rules/r/revert", &json!({ "version": 1 })).await.expect(200);
    assert_eq!((&back["events"], &back["meta"]["version"]), (&json!(["a:*"]), &json!(4)));
    arrives(&sink, &wire, "/hook", "a:b", &json!({})).await;
    api.post("/v1/rules/r/revert", &json!({ "version": 9 })).await.expect_problem(404);

    assert_eq!(write(&api, "DELETE", "/v1/rules/r", Some(("If-Match", &tag)), &json!({})).await.status, 412);
    assert_eq!(api.delete("/v1/rules/r").await.status, 204);
    api.get("/v1/rules/r").await.expect_problem(404);
    api.delete("/v1/rules/r").await.expect_problem(404);
    let versions = api.get("/v1/rules/r/versions").await.expect(200);
    assert_eq!(versions["versions"][0]["removed"], true);
    let back = api.post("/v1/rules/r/revert", &json!({ "version": 4 })).await.expect(200);
    assert_eq!(back["meta"]["version"], 5, "versions go on behind those of the removed one");
    arrives(&sink, &wire, "/hook", "a:b", &json!({})).await;
    let conditional =
        write(&api, "PUT", "/v1/rules/r", Some(("If-None-Match", "*")), &rule("r", "a:*", "hook")).await;
    conditional.expect_problem(412);
}

#[tokio::test]
async fn of_many_writers_of_one_rule_each_builds_on_what_it_read() {
    let (_bugle, _sink, _wire, api) = fleet().await;
    api.post("/v1/rules", &rule("r", "a:*", "hook")).await.expect(201);
    // Patches without a condition all count, whoever comes between.
    let patches = (0..8).map(|number| {
        let api = &api;
        async move {
            let label = json!({ "labels": { format!("l{number}"): "x" } });
            write(api, "PATCH", "/v1/rules/r", None, &label).await.expect(200);
        }
    });
    futures_util::future::join_all(patches).await;
    let read = api.get("/v1/rules/r").await.expect(200);
    assert_eq!(read["labels"].as_object().unwrap().len(), 8, "{read}");
    assert_eq!(read["meta"]["version"], 9);
}

#[tokio::test]
async fn what_a_rule_may_not_say_is_refused_with_its_place() {
    let (bugle, _sink, _wire, api) = fleet().await;
    let base = rule("r", "a:*", "hook");
    for (more, place, word) in [
        (json!({ "channels": ["hook", "hok"] }), "/channels/1", "did you mean hook?"),
        (json!({ "events": ["a::b"] }), "/events/0", ""),
        (json!({ "condition": { "field": "a", "op": "eq", "value": 1 } }), "/condition/op", "eq"),
        (json!({ "severity": "high" }), "/severity", "high"),
        (json!({ "cooldown": 5 }), "/cooldown", ""),
        (json!({ "activeHours": { "windows": [{ "from": "9" }] } }), "/activeHours/windows/0/from", "9"),
    ] {
        let problem = api.post("/v1/rules", &with(base.clone(), &more)).await.expect_problem(400);
        assert_eq!(problem["pointer"], place, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    }
    write(&api, "PUT", "/v1/rules/other", None, &base).await.expect_problem(400);
    let twice = api.request("POST", "/v1/rules").header("content-type", "application/json");
    let twice = reply(twice.body(r#"{"id":"r","events":["a"],"channels":["hook"],"id":"s"}"#)).await;
    assert_eq!(twice.expect_problem(400)["pointer"], "/id");
    write(&api, "PATCH", "/v1/rules/r", None, &json!({ "name": "x" })).await.expect_problem(404);
    write(&api, "PUT", "/v1/rules/r", Some(("If-Match", "17")), &base).await.expect_problem(400);
    // What a file owns is the file's.
    let documents = json!({ "channels": [webhook("mine", "https://a.example/")], "rules": [rule("mine", "a:*", "mine")] });
    bugle.apply_as("mine", &documents).await.ok();
    let problem =
        write(&api, "PUT", "/v1/rules/mine", None, &rule("mine", "b:*", "hook")).await.expect_problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("file:mine"), "{problem}");
    api.delete("/v1/rules/mine").await.expect_problem(409);
    let refused = bugle.apply_as("theirs", &json!({ "rules": [rule("mine", "b:*", "hook")] })).await;
    assert_ne!(refused.code, 0);
}

#[tokio::test]
async fn rules_are_listed_by_all_that_they_say() {
    let (_bugle, _sink, _wire, api) = fleet().await;
    for number in 0..7 {
        let more = json!({
            "channels": [if number % 2 == 0 { "hook" } else { "other" }],
            "enabled": number != 3,
            "labels": { "team": format!("t{}", number % 3) },
        });
        let one = with(rule(&format!("r{number}"), &format!("a{number}:*"), "hook"), &more);
        api.post("/v1/rules", &one).await.expect(201);
    }
    let ids = async |query: &str| -> Vec<String> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = api.get(&format!("/v1/rules?limit=2&{query}{cursor}")).await.expect(200);
            let ids =
                page["rules"].as_array().unwrap().iter().map(|rule| rule["id"].as_str().unwrap().to_owned());
            found.extend(ids);
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    };
    assert_eq!(ids("").await, ["r0", "r1", "r2", "r3", "r4", "r5", "r6"]);
    assert_eq!(ids("channel=other").await, ["r1", "r3", "r5"]);
    assert_eq!(ids("channel=other&enabled=true").await, ["r1", "r5"]);
    assert_eq!(ids("label=team=t1").await, ["r1", "r4"]);
    assert_eq!(ids("label=nothing").await, [""; 0]);
    assert_eq!(ids("event=a5:x").await, ["r5"]);
    assert_eq!(ids("owner=api&workspace=default").await.len(), 7);
    assert_eq!(ids("owner=file:x").await, [""; 0]);
    api.get("/v1/rules?colour=red").await.expect_problem(400);
    api.get("/v1/rules?cursor=x").await.expect_problem(400);
}

#[tokio::test]
async fn a_task_gets_rules_of_its_own_when_it_begins_and_loses_them_when_it_ends() {
    let (bugle, sink, wire, api) = fleet().await;
    api.post("/v1/rules", &rule("all", "task:*", "hook")).await.expect(201);
    let path = "/v1/scopes/task/T%2F1%20%C3%BC";
    let own = json!({ "inherit": true, "rules": [rule("own", "task:done", "other")] });
    let made = write(&api, "PUT", path, None, &own).await;
    let tag = made.header("etag");
    assert_eq!(made.expect(201)["task"], "T/1 ü");
    let data = json!({ "taskId": "T/1 ü" });
    arrives(&sink, &wire, "/other", "task:done", &data).await;
    arrives(&sink, &wire, "/hook", "task:done", &data).await;
    let scoped = bugle.api().deliveries("rule=own").await;
    assert!(scoped.iter().all(|delivery| delivery["scope"] == "task:T/1 ü"), "{scoped:?}");
    let listed = api.get("/v1/scopes").await.expect(200);
    assert_eq!(listed["scopes"][0]["task"], "T/1 ü");

    let problem =
        write(&api, "PUT", path, Some(("If-Match", &tag)), &json!({ "rules": [rule("own", "a", "hoook")] }))
            .await
            .expect_problem(400);
    assert_eq!(problem["pointer"], "/rules/0/channels/0", "{problem}");
    for (path, body) in [
        ("/v1/scopes/task/x", json!({ "task": "y", "rules": [] })),
        ("/v1/scopes/mission/x", json!({ "task": "y", "rules": [] })),
        ("/v1/scopes/task/x", json!({ "rule": [] })),
    ] {
        write(&api, "PUT", path, None, &body).await.expect_problem(400);
    }
    write(&api, "PUT", "/v1/scopes/team/x", None, &own).await.expect_problem(404);
    assert_eq!(api.delete(path).await.status, 204);
    api.get(path).await.expect_problem(404);
    let before = sink.requests("/other").len();
    arrives(&sink, &wire, "/hook", "task:done", &data).await;
    assert_eq!(sink.requests("/other").len(), before);
}

#[tokio::test]
async fn what_an_event_would_lead_to_is_told_without_doing_it() {
    let (bugle, sink, wire, api) = fleet().await;
    let condition = json!({ "and": [
        { "field": "to", "op": "==", "value": "failed" }, { "field": "task.retries", "op": ">=", "value": 3 },
    ] });
    let more = json!({ "condition": condition, "cooldownMs": 60_000, "template": { "title": "{{to}}!" } });
    api.post("/v1/rules", &with(rule("r", "task:*", "hook"), &more)).await.expect(201);
    let evaluate = async |data: &Value| {
        let question = json!({ "event": { "type": "task:done", "data": data } });
        api.post("/v1/rules/evaluate", &question).await.expect(200)
    };
    let no = evaluate(&json!({ "to": "failed", "task": { "retries": 1 } })).await;
    let rule_said = &no["rules"][0];
    assert_eq!((&rule_said["fired"], &rule_said["reason"]), (&json!(false), &json!("condition")), "{no}");
    assert_eq!(
        (&rule_said["condition"][0]["pointer"], &rule_said["condition"][0]["found"]),
        (&json!("/condition/and/1"), &json!(1))
    );
    let failed = json!({ "to": "failed", "task": { "retries": 3 } });
    let yes = evaluate(&failed).await;
    let delivery = &yes["rules"][0]["deliveries"][0];
    assert_eq!((&delivery["title"], &delivery["would"]), (&json!("failed!"), &json!("send")), "{yes}");
    assert!(sink.requests("/hook").is_empty() && bugle.api().deliveries("").await.is_empty(), "it was done");

    wire.event("task:done", "1", &failed).await;
    wire.event("task:done", "2", &failed).await;
    bugle.api().shows(1, "status=suppressed").await;
    let quiet = evaluate(&failed).await;
    let said = &quiet["rules"][0];
    assert_eq!(
        (&said["reason"], &said["deliveries"][0]["would"]),
        (&json!("cooldown"), &json!("suppress")),
        "{quiet}"
    );
    assert_eq!(said["windows"][0]["heldBack"], 1, "{quiet}");

    let own = json!({ "rules": [rule("own", "*", "other")] });
    write(&api, "PUT", "/v1/scopes/task/7", None, &own).await.expect(201);
    let scoped = evaluate(&json!({ "taskId": "7" })).await;
    assert_eq!(
        (&scoped["scopes"], &scoped["rules"][1]["decidedBy"]),
        (&json!(["task:7"]), &json!("task:7")),
        "{scoped}"
    );

    let given = json!({ "event": { "type": "a:b", "data": {} }, "rules": [rule("new", "a:*", "hook")] });
    let given = api.post("/v1/rules/evaluate", &given).await.expect(200);
    assert_eq!((given["rules"].as_array().unwrap().len(), &given["rules"][0]["id"]), (1, &json!("new")));
    for (question, place) in [
        (json!({ "event": { "data": {} } }), "/event"),
        (json!({ "event": { "type": "a:b" }, "rules": [{ "id": "x" }] }), "/rules/0"),
        (json!({ "event": { "type": "a:b" }, "rule": [] }), "/rule"),
    ] {
        let problem = api.post("/v1/rules/evaluate", &question).await.expect_problem(400);
        assert!(problem["pointer"].as_str().unwrap().starts_with(place), "{problem}");
    }
}

//! The main job: an event in, a request out, and the history, the stats and the live stream that tell of it.

use serde_json::json;

use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Role, everything_to, rule, webhook, with};
use crate::support::database::on_both_databases;
use crate::support::sink::Sink;
use crate::support::{SOON, ensure, eventually};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

on_both_databases! {
    async fn a_bare_event_reaches_the_webhook_once_and_the_history_tells_of_it(database: Database) {
        let (bugle, sink) = (Bugle::on(NatsServer::shared().await, database), Sink::start().await);
        bugle.start_with(&everything_to(&sink.url("/hook"))).await;
        let mut live = bugle.api().stream("/v1/deliveries/stream", None).await;
        let wire = bugle.wire().await;
        wire.event("task:transition", "e-1", &json!({ "taskId": "t-42", "to": "failed" })).await;

        let requests = sink.receives(1, "/hook").await;
        let body = requests[0].json();
        assert_eq!(body["data"], json!({ "taskId": "t-42", "to": "failed" }));

        let shown = bugle.api().shows(1, "status=sent").await;
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0]["id"], requests[0].id.as_str(), "the receiver knows the delivery by its id");
        assert_eq!((&shown[0]["channel"], &shown[0]["kind"]), (&json!("hook"), &json!("webhook")));
        assert_eq!(shown[0]["rule"], "everything");
        assert_eq!(shown[0]["event"], "e-1");
        assert_eq!(shown[0]["eventType"], "task:transition");

        let whole = bugle.api().delivery(&requests[0].id).await;
        let attempts = whole["timeline"].as_array().unwrap();
        assert_eq!(attempts.len(), 1, "{whole:#}");
        assert_eq!((&attempts[0]["state"], &attempts[0]["code"]), (&json!("sent"), &json!(200)));

        let stats = bugle.api().get("/v1/deliveries/stats").await.expect(200);
        assert_eq!(stats["states"]["sent"], 1, "{stats:#}");

        let told = live.outcome(SOON).await;
        assert_eq!(told.json()["delivery"], requests[0].id.as_str(), "{told:?}");
        assert_eq!(told.json()["state"], "sent");
        assert_eq!(sink.requests("/hook").len(), 1);
    }
}

#[tokio::test]
async fn structured_and_binary_cloudevents_arrive_like_bare_json() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    let data = json!({ "order": 7, "price": "12.50" });

    let structured = json!({
        "specversion": "1.0", "id": "s-1", "source": "/shop", "type": "order:placed", "data": data, "severity": "warning",
    });
    let content_type = ("Content-Type", "application/cloudevents+json");
    wire.put(&wire.subject("events.default.any.thing"), &[content_type], structured.to_string()).await;
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "b-1"),
        ("ce-source", "/shop"),
        ("ce-type", "order:placed"),
        ("content-type", "application/json"),
    ];
    wire.put(&wire.subject("events.default.any.thing"), &headers, data.to_string()).await;
    wire.event("order:placed", "n-1", &data).await;

    for request in sink.receives(3, "/hook").await {
        assert_eq!(request.json()["data"], data);
    }
    let shown = bugle.api().shows(3, "status=sent").await;
    let mut events: Vec<_> = shown.iter().map(|delivery| delivery["event"].as_str().unwrap()).collect();
    events.sort_unstable();
    assert_eq!(events, ["b-1", "n-1", "s-1"]);
    assert!(shown.iter().all(|delivery| delivery["eventType"] == "order:placed"), "{shown:#?}");
}

#[tokio::test]
async fn the_trace_of_an_event_goes_out_with_the_request() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    let subject = wire.subject("events.default.task.done");
    wire.put(&subject, &[("Nats-Msg-Id", "t-1"), ("traceparent", TRACE)], "{}").await;
    let requests = sink.receives(1, "/hook").await;
    let sent = &requests[0].headers["traceparent"];
    assert_eq!(sent.split('-').nth(1), TRACE.split('-').nth(1), "the same trace: {sent}");
}

#[tokio::test]
async fn publishing_the_same_id_twice_routes_it_once() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    for _ in 0..2 {
        // As a CloudEvent without a message id the broker keeps both, and only the router can tell.
        let event = json!({ "specversion": "1.0", "id": "same", "source": "/shop", "type": "a:b" });
        wire.put(&wire.subject("events.default.a.b"), &[], event.to_string()).await;
        wire.event("a:b", "same-too", &json!({})).await;
    }
    wire.event("a:b", "last", &json!({})).await;
    bugle.api().shows(3, "").await;
    eventually("the last event is routed", SOON, async || {
        ensure(bugle.log("router").contains("last"), "not yet")
    })
    .await;
    assert_eq!(sink.requests("/hook").len(), 3, "{:?}", sink.counts("/hook"));
    assert_eq!(bugle.api().deliveries("").await.len(), 3);
}

#[tokio::test]
async fn each_rule_and_channel_that_matches_has_a_delivery_of_its_own() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let documents = json!({
        "channels": [webhook("a", &sink.url("/a")), webhook("b", &sink.url("/b"))],
        "rules": [
            with(rule("failed", "task:*", "a"), &json!({
                "condition": { "field": "to", "op": "==", "value": "failed" },
                "channels": ["a", "b"],
                "template": { "title": "{{taskId}} failed", "body": "since {{since}}" },
            })),
            rule("others", "mission:**", "b"),
        ],
    });
    bugle.start_with(&documents).await;
    let wire = bugle.wire().await;
    wire.event("task:transition", "1", &json!({ "taskId": "t-1", "to": "failed", "since": "noon" })).await;
    wire.event("task:transition", "2", &json!({ "taskId": "t-2", "to": "done" })).await;
    wire.event("mission:step:done", "3", &json!({})).await;
    let to_a = sink.receives(1, "/a").await;
    sink.receives(2, "/b").await;
    assert_eq!(
        (&to_a[0].json()["title"], &to_a[0].json()["body"]),
        (&json!("t-1 failed"), &json!("since noon"))
    );
    bugle.api().shows(3, "status=sent").await;
    assert_eq!(bugle.api().deliveries("rule=failed").await.len(), 2);
    assert_eq!((sink.requests("/a").len(), sink.requests("/b").len()), (1, 2));
}

#[tokio::test]
async fn static_recipients_have_a_delivery_each() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let to_people = json!({ "recipients": ["ann", "bob@example.org", "ann"] });
    let documents = json!({
        "channels": [webhook("hook", &sink.url("/hook"))],
        "rules": [with(rule("people", "*", "hook"), &to_people)],
    });
    bugle.start_with(&documents).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    let shown = bugle.api().shows(2, "status=sent").await;
    let mut recipients: Vec<_> =
        shown.iter().map(|delivery| delivery["recipient"].as_str().unwrap()).collect();
    recipients.sort_unstable();
    assert_eq!(recipients, ["ann", "bob@example.org"]);
    assert_eq!(sink.counts("/hook").len(), 2, "each has an id of its own");
    assert_eq!(bugle.api().deliveries("recipient=ann").await.len(), 1);
}

#[tokio::test]
async fn workspaces_see_nothing_of_each_other() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start().await;
    for workspace in ["red", "blue"] {
        let documents =
            with(everything_to(&sink.url(&format!("/{workspace}"))), &json!({ "workspace": workspace }));
        bugle.apply_as(workspace, &documents).await.ok();
    }
    let wire = bugle.wire().await;
    eventually("a red event arrives", SOON, async || {
        wire.put(&wire.subject("events.red.a.b"), &[("Nats-Msg-Id", "r")], "{}").await;
        ensure(!sink.requests("/red").is_empty(), "not yet")
    })
    .await;
    wire.put(&wire.subject("events.blue.a.b"), &[("Nats-Msg-Id", "b")], "{}").await;
    sink.receives(1, "/blue").await;
    assert_eq!((sink.requests("/red").len(), sink.requests("/blue").len()), (1, 1));
    assert_eq!(bugle.api().shows(1, "workspace=red").await.len(), 1);
}

#[tokio::test]
async fn one_process_does_what_the_fleet_does() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let file = bugle.folder.write("documents.json", &everything_to(&sink.url("/hook")).to_string());
    bugle.set("DOCUMENTS", &file.display().to_string());
    let mut all = bugle.spawn_all_in_one();
    all.until_ready(SOON).await;
    bugle.adopt(all);
    bugle.cli(&["publish", "task:transition", r#"{"to": "failed"}"#]).await.ok();
    assert_eq!(sink.receives(1, "/hook").await[0].json()["data"]["to"], "failed");
    bugle.api().shows(1, "status=sent").await;
}

#[tokio::test]
async fn a_worker_sends_only_its_kinds() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let documents = json!({
        "channels": [webhook("hook", &sink.url("/hook")), { "id": "screen", "kind": "console" }],
        "rules": [with(rule("both", "*", "hook"), &json!({ "channels": ["hook", "screen"] }))],
    });
    bugle.set("WORKER__KINDS", "console");
    bugle.start_with(&documents).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    bugle.api().shows(1, "channel=screen&status=sent").await;
    assert!(sink.requests("/hook").is_empty());
    bugle.set("WORKER__KINDS", "webhook");
    bugle.start_roles(&[Role::Worker]).await;
    sink.receives(1, "/hook").await;
}

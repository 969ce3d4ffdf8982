//! The stream of events: what comes in as it comes in, for dashboards.

use serde_json::{Value, json};

use crate::support::api::token;
use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Role};
use crate::support::database::Database;
use crate::support::stream::LiveStream;
use crate::support::{LATER, SOON};

const STREAM: &str = "/v1/events/stream";

async fn api_alone() -> Bugle {
    let bugle = Bugle::new().await;
    bugle.cli(&["setup"]).await.ok();
    bugle.start_roles(&[Role::Api]).await;
    bugle
}

/// The next event: its place and what it says.
async fn next(stream: &mut LiveStream) -> (String, Value) {
    loop {
        let sent = stream.next(SOON).await.expect("the stream goes on");
        if sent.event == "event" {
            return (sent.id.clone(), sent.json());
        }
    }
}

#[tokio::test]
async fn events_are_told_whole_and_as_they_are_stored() {
    let bugle = api_alone().await;
    let wire = bugle.wire().await;
    let mut stream = bugle.api().stream(STREAM, None).await;
    assert_eq!(stream.response.headers()["cache-control"], "no-cache");
    assert_eq!(stream.response.headers()["x-accel-buffering"], "no");
    assert_eq!(stream.next(SOON).await.unwrap().event, "connected");
    let event = json!({ "type": "task.done", "id": "h-1", "source": "/http", "time": "2026-01-02T03:04:05Z",
        "severity": "warning", "tenant": "blue", "data": { "text": "a\r\nb\u{2028}", "n": 1 } });
    bugle.api().post("/v1/events?workspace=red", &event).await.expect(202);
    let (place, told) = next(&mut stream).await;
    let expected = json!({ "id": "h-1", "type": "task:done", "source": "/http", "time": "2026-01-02T03:04:05Z",
        "workspace": "red", "severity": "warning", "tenant": "blue", "data": { "text": "a\r\nb\u{2028}", "n": 1 } });
    assert_eq!((place.as_str(), told), ("1", expected));

    // What is no event has a place and is told to nobody.
    wire.put(&wire.subject("events.default.a.b"), &[], "no json").await;
    wire.put(&wire.subject("events.default.a.b"), &[], "{\r\n  \"n\": 2\n}").await;
    let (place, told) = next(&mut stream).await;
    assert_eq!((place.as_str(), &told["type"], &told["data"]), ("3", &json!("a:b"), &json!({ "n": 2 })));
    assert!(told.get("severity").is_none() && told["workspace"] == "default", "{told}");
}

#[tokio::test]
async fn a_reader_of_events_resumes_at_any_api_without_gap_or_repeat() {
    let bugle = api_alone().await;
    let wire = bugle.wire().await;
    let mut stream = bugle.api().stream(&format!("{STREAM}?pattern=a:*"), None).await;
    let connected = stream.next(SOON).await.unwrap();
    assert_eq!((connected.event.as_str(), connected.id.as_str()), ("connected", "0"));
    for number in 0..10 {
        wire.event("a:b", &number.to_string(), &json!({})).await;
        wire.event("b:b", &format!("other-{number}"), &json!({})).await;
    }
    let (mut told, mut last) = (Vec::new(), String::new());
    for _ in 0..6 {
        let (place, event) = next(&mut stream).await;
        told.push(event["id"].clone());
        last = place;
    }
    for mut member in bugle.take(Role::Api) {
        assert_eq!(member.process.sigterm(LATER).await.0, 0);
    }
    let mut said = String::new();
    while let Some(sent) = stream.next(SOON).await {
        said = sent.event;
    }
    assert_eq!(said, "server_shutdown");
    for number in 10..20 {
        wire.event("a:b", &number.to_string(), &json!({})).await;
    }
    bugle.start_roles(&[Role::Api]).await;
    for by_header in [true, false] {
        let mut told = told.clone();
        let path = format!("{STREAM}?pattern=a:*");
        let mut stream = if by_header {
            bugle.api().stream(&path, Some(&last)).await
        } else {
            bugle.api().stream(&format!("{path}&lastEventId={last}"), None).await
        };
        while told.len() < 20 {
            told.push(next(&mut stream).await.1["id"].clone());
        }
        let expected: Vec<Value> = (0..20).map(|number| json!(number.to_string())).collect();
        assert_eq!(told, expected);
    }
    // What was asked for is gone.
    let events = wire.js.get_stream(wire.stream_name("EVENTS")).await.unwrap();
    events.purge().await.unwrap();
    let mut stream = bugle.api().stream(STREAM, Some(&last)).await;
    assert_eq!(stream.next(SOON).await.unwrap().event, "connected");
    assert_eq!(stream.next(SOON).await.unwrap().event, "gap");
    wire.event("a:b", "after", &json!({})).await;
    assert_eq!(next(&mut stream).await.1["id"], "after");
}

#[tokio::test]
async fn a_stream_goes_on_without_gap_or_repeat_when_the_broker_is_back() {
    let mut server = NatsServer::start().await;
    let bugle = Bugle::on(&server, Database::sqlite());
    bugle.cli(&["setup"]).await.ok();
    bugle.start_roles(&[Role::Api]).await;
    let wire = bugle.wire().await;
    let viewer = token(&bugle, "viewer", &json!({})).await;
    let mut stream = viewer.stream(STREAM, None).await;
    let mut told = Vec::new();
    for round in 0..3 {
        for number in 0..5 {
            wire.event_whatever_happens("a:b", &format!("{round}-{number}"), &json!({})).await;
        }
        while told.len() < (round + 1) * 5 {
            let sent = stream.next(LATER).await.expect("the stream goes on");
            assert_ne!(sent.event, "gap");
            if sent.event == "event" {
                told.push(sent.json()["id"].as_str().unwrap().to_owned());
            }
        }
        if round < 2 {
            server.kill_9();
            server.start_again().await;
        }
    }
    let expected: Vec<String> =
        (0..3).flat_map(|round| (0..5).map(move |number| format!("{round}-{number}"))).collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn patterns_and_workspaces_choose_what_is_told() {
    let bugle = api_alone().await;
    let wire = bugle.wire().await;
    let open = async |query: &str| bugle.api().stream(&format!("{STREAM}?{query}"), None).await;
    let mut some = open("pattern=task:*&pattern=sla.**").await;
    let mut red = open("workspace=red").await;
    let mut own = open("pattern=notification:*").await;
    let mut all = open("").await;
    let say = async |workspace: &str, event_type: &str, id: &str, source: &str| {
        let headers =
            [("ce-specversion", "1.0"), ("ce-type", event_type), ("ce-id", id), ("ce-source", source)];
        wire.put(&wire.subject(&format!("events.{workspace}.x")), &headers, "{}").await;
    };
    say("default", "task:a:b", "1", "/s").await;
    say("red", "task:a", "2", "/s").await;
    say("default", "notification:sent", "3", "bugle").await;
    say("default", "sla:x:y", "4", "/s").await;
    assert_eq!([next(&mut some).await.1["id"].clone(), next(&mut some).await.1["id"].clone()], ["2", "4"]);
    assert_eq!(next(&mut red).await.1["id"], "2");
    assert_eq!(next(&mut own).await.1["id"], "3");
    let ids = [next(&mut all).await.1, next(&mut all).await.1, next(&mut all).await.1]
        .map(|event| event["id"].clone());
    assert_eq!(ids, ["1", "2", "4"]);
    for bad in ["pattern=", "pattern=a::b", "pattern=a%20b", "patern=a", &"pattern=a&".repeat(21)] {
        let refused = bugle.api().get(&format!("{STREAM}?{bad}")).await.expect_problem(400);
        assert!(refused["detail"].as_str().unwrap().contains("pat"), "{refused}");
    }
}

#[tokio::test]
async fn only_those_who_may_read_events_are_told() {
    let bugle = api_alone().await;
    for (role, more, status) in [
        ("viewer", json!({}), 200),
        ("operator", json!({ "workspace": "red" }), 200),
        ("admin", json!({}), 200),
        ("publisher", json!({}), 403),
        ("agent", json!({ "recipient": "bot" }), 403),
        ("viewer", json!({ "recipient": "ann" }), 403),
        ("admin", json!({ "recipient": "ann" }), 403),
    ] {
        let api = token(&bugle, role, &more).await;
        let reply = api.request("GET", STREAM).send().await.unwrap();
        assert_eq!(reply.status().as_u16(), status, "{role} {more}");
    }
    let red = token(&bugle, "viewer", &json!({ "workspace": "red" })).await;
    red.get(&format!("{STREAM}?workspace=default")).await.expect_problem(403);
    let mut stream = red.stream(STREAM, None).await;
    assert_eq!(stream.next(SOON).await.unwrap().event, "connected");
    bugle.wire().await.event("a:b", "not-red", &json!({})).await;
    red.get("/v1/deliveries").await;
    bugle.api().post("/v1/events?workspace=red", &json!({ "type": "a:b", "id": "red" })).await.expect(202);
    assert_eq!(next(&mut stream).await.1["id"], "red");
    bugle.api_as("").get(STREAM).await.expect_problem(401);
}

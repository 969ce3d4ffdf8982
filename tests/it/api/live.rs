//! The live stream: what happens as it happens, and after an interruption from where one left off.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::support::api::token;
use crate::support::bugle::{Bugle, Role, everything_to, rule, webhook};
use crate::support::sink::Sink;
use crate::support::{LATER, SOON, ensure, eventually};

const STREAM: &str = "/v1/deliveries/stream";

#[tokio::test]
async fn a_reader_that_resumes_after_a_restart_of_the_api_misses_and_repeats_nothing() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    let mut stream = bugle.api().stream(STREAM, None).await;
    for number in 0..10 {
        wire.event("a:b", &format!("first-{number}"), &json!({})).await;
    }
    let (mut told, mut last) = (Vec::new(), String::new());
    for _ in 0..6 {
        let sent = stream.outcome(SOON).await;
        assert!(!sent.id.is_empty(), "{sent:?}");
        told.push(sent.json()["event"]["id"].as_str().unwrap().to_owned());
        last = sent.id;
    }
    drop(stream);
    sink.receives(10, "/hook").await;
    for mut member in bugle.take(Role::Api) {
        assert_eq!(member.process.sigterm(LATER).await.0, 0);
    }
    for number in 0..10 {
        wire.event("a:b", &format!("second-{number}"), &json!({})).await;
    }
    sink.receives(20, "/hook").await;
    bugle.start_roles(&[Role::Api]).await;
    let mut stream = bugle.api().stream(STREAM, Some(&last)).await;
    while told.len() < 20 {
        let sent = stream.outcome(SOON).await;
        told.push(sent.json()["event"]["id"].as_str().unwrap().to_owned());
    }
    let distinct: BTreeSet<&String> = told.iter().collect();
    assert_eq!(distinct.len(), 20, "{told:?}");
    wire.event("a:b", "the-last", &json!({})).await;
    let next = stream.outcome(SOON).await;
    assert_eq!(next.json()["event"]["id"], "the-last", "nothing is repeated");
}

#[tokio::test]
async fn a_shutdown_ends_the_stream_at_once_and_the_api_with_0() {
    let bugle = Bugle::new().await;
    bugle.start().await;
    let mut stream = bugle.api().stream(STREAM, None).await;
    let mut api = bugle.take(Role::Api).remove(0);
    let (code, took) = api.process.sigterm(LATER).await;
    assert_eq!(code, 0, "{}", api.process.output());
    assert!(took < Duration::from_secs(8), "it waited for its readers: {took:?}");
    let mut last = String::new();
    while let Some(sent) = stream.next(SOON).await {
        last = sent.event;
    }
    assert_eq!(last, "server_shutdown");
}

#[tokio::test]
async fn a_quiet_stream_shows_that_it_lives() {
    let bugle = Bugle::new().await;
    bugle.start().await;
    let mut stream = bugle.api().stream(STREAM, None).await;
    loop {
        let block = stream.block(Duration::from_secs(40)).await.expect("the stream goes on");
        if block.starts_with(':') {
            assert_eq!(block, ": heartbeat\n\n");
            return;
        }
    }
}

/// How many streams ended so, as the API counts.
async fn ended(bugle: &Bugle, reason: &str) -> String {
    let counted = bugle.api().get("/metrics").await.body;
    let counts =
        counted.as_str().unwrap().lines().filter(|line| line.starts_with("bugle_streams_ended_total{"));
    let label = format!("reason=\"{reason}\"");
    let counts: Vec<u64> = counts
        .filter(|line| line.contains(&label))
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(counts.len(), 3, "of inboxes, deliveries and events: {counted}");
    counts.iter().sum::<u64>().to_string()
}

#[tokio::test]
async fn a_revoked_token_ends_its_streams_within_two_seconds_however_quiet_they_are() {
    let bugle = Bugle::new().await;
    bugle.start().await;
    let viewer = token(&bugle, "viewer", &json!({ "workspace": "default" })).await;
    let listed = bugle.api().get("/v1/tokens").await.expect(200);
    let id = listed["tokens"][0]["id"].as_str().unwrap().to_owned();
    let mut streams = Vec::new();
    for path in [STREAM, "/v1/events/stream"] {
        let mut stream = viewer.stream(path, None).await;
        assert_eq!(stream.next(SOON).await.unwrap().event, "connected");
        streams.push(stream);
    }
    let mut other = bugle.api().stream(STREAM, None).await;
    assert_eq!(other.next(SOON).await.unwrap().event, "connected");
    assert_eq!(ended(&bugle, "revoked").await, "0");
    bugle.api().delete(&format!("/v1/tokens/{id}")).await;
    for stream in &mut streams {
        let last = stream.next(Duration::from_secs(2)).await.expect("it is said why");
        assert_eq!((last.event.as_str(), last.json()), ("cut", json!({ "reason": "revoked" })));
        assert!(stream.next(SOON).await.is_none());
    }
    assert_eq!(ended(&bugle, "revoked").await, "2");
    assert_eq!(ended(&bugle, "client").await, "0");
    drop(other);
    eventually("a client that goes away is counted", SOON, async || {
        let count = ended(&bugle, "client").await;
        ensure(count == "1", count)
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_keep_up_is_cut_and_told_so_and_resumes() {
    let bugle = Bugle::new().await;
    bugle.cli(&["setup"]).await.ok();
    bugle.start_roles(&[Role::Api]).await;
    let mut stream = bugle.api().stream("/v1/events/stream", None).await;
    let (wire, heavy) = (bugle.wire().await, json!({ "filler": "x".repeat(200_000) }));
    // More than the machines between hold for a client that reads nothing.
    for number in 0..90 {
        wire.event("a:b", &number.to_string(), &heavy).await;
    }
    eventually("the client is given up", LATER, async || {
        let count = ended(&bugle, "slow").await;
        ensure(count == "1", count)
    })
    .await;
    let (mut told, mut last) = (Vec::new(), String::new());
    loop {
        let sent = stream.next(SOON).await.expect("it is said why");
        match sent.event.as_str() {
            "event" => {
                told.push(sent.json()["id"].clone());
                last = sent.id;
            }
            "cut" => {
                assert_eq!(sent.json(), json!({ "reason": "slow" }));
                break;
            }
            other => assert_eq!(other, "connected"),
        }
    }
    assert!(stream.next(SOON).await.is_none() && told.len() < 90, "{}", told.len());
    let mut stream = bugle.api().stream("/v1/events/stream", Some(&last)).await;
    while told.len() < 90 {
        let sent = stream.next(SOON).await.unwrap();
        if sent.event == "event" {
            told.push(sent.json()["id"].clone());
        }
    }
    let expected: Vec<_> = (0..90).map(|number| json!(number.to_string())).collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_stream_tells_only_what_was_asked_for() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let documents = json!({
        "channels": [webhook("a", &sink.url("/a")), webhook("b", &sink.url("/b"))],
        "rules": [rule("to-a", "a:*", "a"), rule("to-b", "b:*", "b")],
    });
    bugle.start_with(&documents).await;
    let mut only_b = bugle.api().stream(&format!("{STREAM}?channel=b"), None).await;
    let wire = bugle.wire().await;
    wire.event("a:x", "1", &json!({})).await;
    sink.receives(1, "/a").await;
    wire.event("b:x", "2", &json!({})).await;
    assert_eq!(only_b.outcome(SOON).await.json()["channel"], "b");
}

#[tokio::test]
async fn a_browser_that_can_set_no_headers_gives_its_token_and_its_place_in_the_query() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    bugle.api().shows(1, "status=sent").await;
    let path = format!("{STREAM}?token={}&lastEventId=0", crate::support::bugle::ADMIN_TOKEN);
    let told = bugle.api_as("").stream(&path, None).await.outcome(SOON).await;
    assert_eq!(told.json()["event"]["id"], "1");
    bugle
        .api_as("")
        .get(&format!("/v1/deliveries?token={}", crate::support::bugle::ADMIN_TOKEN))
        .await
        .expect_problem(401);
}

#[tokio::test]
async fn an_id_that_cannot_be_resumed_from_is_refused() {
    let bugle = Bugle::new().await;
    bugle.start().await;
    let request = bugle.api().request("GET", STREAM).header("Last-Event-ID", "nonsense");
    crate::support::api::reply(request).await.expect_problem(400);
}

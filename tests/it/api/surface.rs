//! The surface: events in over HTTP, problems, the description of itself, health.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bugle::{Bugle, Role, everything_to};
use crate::support::sink::Sink;
use crate::support::{SOON, ensure, eventually};

#[tokio::test]
async fn events_come_in_over_http_one_or_many() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let api = bugle.api();
    let one = json!({ "type": "task:done", "id": "h-1", "source": "/http", "data": { "n": 1 } });
    let accepted = api.post("/v1/events", &one).await;
    assert!((200..300).contains(&accepted.status), "{accepted:?}");
    assert_eq!(accepted.body["id"], "h-1", "{accepted:?}");
    sink.receives(1, "/hook").await;

    let again = api.post("/v1/events", &one).await;
    assert!((200..300).contains(&again.status), "{again:?}");
    let many =
        json!([{ "type": "task:done", "data": { "n": 2 } }, { "type": "task:done", "data": { "n": 3 } }]);
    let accepted = api.post("/v1/events", &many).await;
    assert!((200..300).contains(&accepted.status) && accepted.status != 207, "{accepted:?}");
    sink.receives(3, "/hook").await;
    assert_eq!(sink.requests("/hook").len(), 3, "the same id was routed twice");

    let mixed =
        json!([{ "type": "task:done", "data": { "n": 4 } }, { "data": {} }, { "type": "no good type" }]);
    let reply = api.post("/v1/events", &mixed).await.expect(207);
    let results = reply["results"].as_array().unwrap_or_else(|| panic!("{reply:#}"));
    assert_eq!(results.len(), 3);
    assert!(results[0]["error"].is_null() && !results[1]["error"].is_null(), "{reply:#}");
    assert!(results[2]["error"].as_str().unwrap().contains("type has"), "{reply:#}");
    sink.receives(4, "/hook").await;
}

#[tokio::test]
async fn a_binary_cloudevent_comes_in_over_http_into_the_workspace_that_is_named() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start().await;
    let documents =
        crate::support::bugle::with(everything_to(&sink.url("/red")), &json!({ "workspace": "red" }));
    bugle.apply(&documents).await;
    let api = bugle.api();
    let publish = async |id: &str| {
        let request = api.request("POST", "/v1/events?workspace=red").header("ce-specversion", "1.0");
        let request =
            request.header("ce-id", id).header("ce-source", "/http").header("ce-type", "order:placed");
        let request = request.header("Content-Type", "application/json").body(r#"{"n": 5}"#);
        crate::support::api::reply(request).await.expect(202)
    };
    eventually("it arrives", SOON, async || {
        publish(&format!("b-{}", fastrand::u32(..))).await;
        ensure(!sink.requests("/red").is_empty(), "not yet")
    })
    .await;
    let request = &sink.requests("/red")[0];
    assert_eq!((&request.json()["data"]["n"], &request.json()["type"]), (&json!(5), &json!("order:placed")));
}

#[tokio::test]
async fn events_that_are_none_are_refused_with_the_reason() {
    let bugle = Bugle::new().await;
    bugle.start().await;
    for (event, says) in [
        (json!({ "data": {} }), "type"),
        (json!({ "type": "a:b", "severity": "loud" }), "severity"),
        (json!({ "type": "a:b", "tipe": "x", "time": "never" }), "time"),
        (json!("text"), "object"),
        (json!({ "type": "a:*" }), "'*'"),
    ] {
        let problem = bugle.api().post("/v1/events", &event).await.expect_problem(400);
        assert!(problem.to_string().contains(says), "{event}: {problem:#}");
    }
    let broken = json!({ "type": "a:b", "traceparent": "x\ny" });
    bugle.api().post("/v1/events", &broken).await.expect(202);
    let large = json!({ "type": "a:b", "data": { "text": "x".repeat(400 * 1024) } });
    let refused = bugle.api().post("/v1/events", &large).await;
    assert!([400, 413].contains(&refused.status), "{refused:?}");
}

#[tokio::test]
async fn every_error_is_a_problem() {
    let bugle = Bugle::new().await;
    bugle.start().await;
    let api = bugle.api();
    api.get("/v1/nothing/here").await.expect_problem(404);
    api.get("/nothing").await.expect_problem(404);
    api.delete("/v1/events").await.expect_problem(405);
    let number = api.get("/v1/dead-letters/first").await;
    assert!([400, 404].contains(&number.status), "{number:?}");
    number.clone().expect_problem(number.status);
    let huge = api.request("POST", "/v1/events").body(vec![b' '; 17 * 1024 * 1024]);
    crate::support::api::reply(huge).await.expect_problem(413);
    let text = |content_type: &str, body: &'static str| {
        api.request("POST", "/v1/notifications/send")
            .header("Content-Type", content_type.to_owned())
            .body(body)
    };
    crate::support::api::reply(text("application/json", "{ not json")).await.expect_problem(400);
    crate::support::api::reply(text("application/json", "[]")).await.expect_problem(400);
    let plain = crate::support::api::reply(text("text/plain", "{}")).await;
    assert!([400, 415].contains(&plain.status), "{plain:?}");
    plain.clone().expect_problem(plain.status);
    api.post("/v1/tokens", &json!({ "name": "x", "role": "king" })).await.expect_problem(400);
    api.get("/v1/deliveries?event=%00").await.expect_problem(400);
    api.get("/v1/deliveries?eventType=a%20b").await.expect_problem(400);
}

#[tokio::test]
async fn the_api_describes_every_path_it_serves() {
    let bugle = Bugle::new().await;
    bugle.start().await;
    let document = bugle.api_as("").get("/openapi.json").await.expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{document:#}");
    let mut names = std::collections::HashSet::new();
    for (path, methods) in [
        ("/v1/events", &["post"][..]),
        ("/v1/deliveries", &["get"]),
        ("/v1/deliveries/{id}", &["get"]),
        ("/v1/deliveries/stats", &["get"]),
        ("/v1/deliveries/stream", &["get"]),
        ("/v1/events/stream", &["get"]),
        ("/v1/stream-tickets", &["post"]),
        ("/v1/notifications/send", &["post"]),
        ("/v1/notifications/send/{id}", &["delete"]),
        ("/v1/dead-letters", &["get"]),
        ("/v1/dead-letters/{sequence}", &["get"]),
        ("/v1/dead-letters/{sequence}/redrive", &["post"]),
        ("/v1/tokens", &["get", "post"]),
        ("/v1/tokens/{id}", &["delete"]),
    ] {
        for method in methods {
            let operation: &Value = &document["paths"][path][method];
            assert!(operation.is_object(), "{method} {path} is not described");
            assert!(operation["responses"].as_object().is_some_and(|all| !all.is_empty()), "{method} {path}");
            assert!(names.insert(operation["operationId"].to_string()), "{method} {path} has another's name");
            let refused = &operation["responses"]["401"]["content"];
            assert!(refused["application/problem+json"].is_object(), "{method} {path}: {refused}");
            let limited = &operation["responses"]["429"]["content"]["application/problem+json"]["schema"];
            assert_eq!(limited["$ref"], "#/components/schemas/Problem", "{method} {path}");
        }
    }
    let words = |schema: &str| document["components"]["schemas"][schema]["enum"].to_string();
    assert!(words("State").contains("\"sent\""), "{}", words("State"));
    assert!(words("Role").contains("\"operator\""), "{}", words("Role"));
}

#[tokio::test]
async fn schemas_are_printed_and_served_to_everybody() {
    let bugle = Bugle::new().await;
    bugle.cli(&["setup"]).await.ok();
    bugle.start_roles(&[Role::Api]).await;
    let stranger = bugle.api_as("no token at all");
    for name in ["documents", "rule", "channel", "settings"] {
        let served = stranger.get(&format!("/schemas/{name}.json")).await.expect(200);
        let printed: Value = serde_json::from_str(&bugle.cli(&["schema", name]).await.ok()).unwrap();
        assert_eq!(served, printed);
        assert_eq!(served["$id"], format!("urn:bugle:schema:{name}"));
    }
    let missing = stranger.get("/schemas/rules.json").await.expect_problem(404);
    assert!(missing["detail"].as_str().unwrap().contains("did you mean `rule.json`?"), "{missing}");
    let said = bugle.cli(&["schema", "chanel"]).await;
    assert!(said.code == 78 && said.stderr.contains("did you mean `channel`?"), "{said:?}");
}

#[tokio::test]
async fn what_is_not_known_where_it_stands_is_refused() {
    let bugle = Bugle::new().await;
    bugle.start().await;
    let api = bugle.api();
    api.get("/v1/tokens?x=1").await.expect_problem(400);
    api.get("/v1/deliveries/d_aaaaaaaaaaaaaaaaaaaaaaaa?foo=1").await.expect_problem(400);
    api.delete("/v1/notifications/send/d_aaaaaaaaaaaaaaaaaaaaaaaa?workspace=other").await.expect_problem(400);
    api.post("/v1/dead-letters/1/redrive?foo=1", &json!({})).await.expect_problem(400);
    // A list is not the fields in their order.
    api.post("/v1/tokens", &json!(["name", "admin", null, null])).await.expect_problem(400);
    api.post("/v1/notifications/send", &json!(["hook", "title", "body"])).await.expect_problem(400);
}

#[tokio::test]
async fn a_client_that_falls_silent_does_not_hold_up_the_end() {
    let bugle = Bugle::new().await;
    bugle.start().await;
    let mut member = bugle.take(Role::Api).remove(0);
    let mut sockets = Vec::new();
    for port in [member.api_port.unwrap(), member.admin_port] {
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        std::io::Write::write_all(&mut socket, b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
        sockets.push(socket);
    }
    // Both are accepted before the signal comes.
    member.until_ready(SOON).await;
    let (code, took) = member.process.sigterm(SOON).await;
    assert_eq!(code, 0, "{}", member.process.output());
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn the_trace_of_a_request_is_its_events() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = bugle.api().request("POST", "/v1/events").header("traceparent", trace);
    let request = request.header("content-type", "application/json").body(r#"{"type":"a:b"}"#);
    crate::support::api::reply(request).await.expect(202);
    let sent = sink.receives(1, "/hook").await;
    assert!(sent[0].headers["traceparent"].contains("4bf92f3577b34da6a3ce929d0e0e4736"));
}

#[tokio::test]
async fn every_process_tells_that_it_lives_is_ready_and_what_it_counted() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    bugle.api().shows(1, "status=sent").await;
    for (role, counted) in [
        (Role::Router, "bugle_events_routed_total"),
        (Role::Worker, "bugle_attempts_total"),
        (Role::Recorder, "bugle_"),
        (Role::Api, "bugle_"),
    ] {
        let members = bugle.take(role);
        let member = &members[0];
        assert_eq!(member.admin("/healthz").await.0, 200);
        assert_eq!(member.admin("/readyz").await.0, 200);
        let (status, metrics) = member.admin("/metrics").await;
        assert_eq!(status, 200);
        assert!(metrics.contains(counted), "{role:?} has no {counted}: {metrics}");
        if let Some(port) = member.api_port {
            for path in ["healthz", "readyz", "metrics"] {
                let (status, _) =
                    crate::support::api::get_text(&format!("http://127.0.0.1:{port}/{path}")).await;
                assert_eq!(status, 200, "{path} on the API's own port");
            }
        }
    }
}

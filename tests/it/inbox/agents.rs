//! Agents and people are different principals: an agent's token belongs to one agent, and to nobody human.

use std::time::{Duration, Instant};

use serde_json::json;

use super::live::{STREAM, WebSocket};
use super::{INBOX, act, fleet, make};
use crate::support::SOON;
use crate::support::api::{Api, json as with_body, reply, token};
use crate::support::database::Database;

async fn register(api: &Api, id: &str, kind: &str, workspace: &str) {
    let path = format!("/v1/recipients/{id}?workspace={workspace}");
    let status = reply(with_body(api.request("PUT", &path), &json!({ "kind": kind }))).await.status;
    assert!([200, 201].contains(&status), "{status}");
}

#[tokio::test]
async fn an_agents_token_is_bound_to_one_who_is_no_human() {
    let (_bugle, api) = fleet(Database::sqlite()).await;
    let wanted = |recipient: Option<&str>, workspace: Option<&str>| json!({ "name": "a", "role": "agent", "recipient": recipient, "workspace": workspace });
    let problem = api.post("/v1/tokens", &wanted(None, None)).await.expect_problem(400);
    assert_eq!(problem["pointer"], "/recipient");
    register(&api, "ann", "human", "default").await;
    register(&api, "bot", "agent", "default").await;
    register(&api, "red", "human", "red").await;
    let problem = api.post("/v1/tokens", &wanted(Some("ann"), None)).await.expect_problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("registered as human"), "{problem}");
    api.post("/v1/tokens", &wanted(Some("red"), Some("red"))).await.expect_problem(409);
    for (recipient, workspace) in
        [("bot", None), ("new", None), ("red", Some("default")), ("ann", Some("red"))]
    {
        api.post("/v1/tokens", &wanted(Some(recipient), workspace)).await.expect(201);
    }
}

#[tokio::test]
async fn who_is_registered_as_human_later_is_out_of_an_agents_reach() {
    let (bugle, api) = fleet(Database::sqlite()).await;
    let id = make(&api, "ann", &json!({ "title": "hunter2" })).await;
    let agent = token(&bugle, "agent", &json!({ "recipient": "ann" })).await;
    let phone = json!({ "expoPushToken": "ExponentPushToken[ann]", "platform": "ios" });
    agent.post("/v1/push-subscriptions", &phone).await.expect(201);
    assert_eq!(agent.get(INBOX).await.expect(200)["total"], 1);
    register(&api, "ann", "human", "default").await;
    for path in [
        INBOX,
        &format!("{INBOX}/{id}"),
        &format!("{INBOX}/unread-count"),
        "/v1/deliveries",
        "/v1/deliveries/stats",
        "/v1/deliveries/stream",
        "/v1/push-subscriptions",
        "/v1/recipients/ann",
    ] {
        let refused = agent.get(path).await;
        assert!(!refused.body.to_string().contains("hunter2"), "{path}");
        refused.expect_problem(403);
    }
    act(&agent, &format!("/{id}/read")).await.expect_problem(403);
    agent.post(&format!("{INBOX}/claim"), &json!({})).await.expect_problem(403);
    agent.post("/v1/push-subscriptions", &phone).await.expect_problem(403);
    // Elsewhere they are nobody's, and events are no inbox.
    assert_eq!(agent.get(&format!("{INBOX}?workspace=red")).await.expect(200)["total"], 0);
    agent.get("/v1/deliveries?workspace=default").await.expect_problem(403);
    agent.post("/v1/events", &json!({ "type": "a:b" })).await.expect(202);
    // A token of another role is a person's.
    let own = token(&bugle, "viewer", &json!({ "recipient": "ann" })).await;
    assert_eq!(own.get(INBOX).await.expect(200)["total"], 1);
    register(&api, "ann", "agent", "default").await;
    agent.get(INBOX).await.expect(200);
}

#[tokio::test]
async fn what_an_agent_holds_open_ends_when_its_recipient_turns_out_to_be_human() {
    let (bugle, api) = fleet(Database::sqlite()).await;
    let agent = token(&bugle, "agent", &json!({ "recipient": "ann" })).await;
    let mut ws = WebSocket::open(&agent, "").await;
    ws.told("connected").await;
    let mut streams = Vec::new();
    for path in [STREAM, "/v1/deliveries/stream"] {
        let mut stream = agent.stream(path, None).await;
        assert_eq!(stream.next(SOON).await.unwrap().event, "connected");
        streams.push(stream);
    }
    let waiting = agent.clone();
    let claim =
        tokio::spawn(
            async move { waiting.post(&format!("{INBOX}/claim"), &json!({ "wait": 50 })).await.status },
        );
    crate::support::pause(Duration::from_secs(2)).await;
    register(&api, "ann", "human", "default").await;
    let told = Instant::now();
    assert_eq!(ws.closes().await, 4401);
    for stream in &mut streams {
        loop {
            let last = stream.next(SOON).await.expect("it is said why");
            if last.event == "cut" {
                assert_eq!(last.json(), json!({ "reason": "revoked" }));
                break;
            }
        }
        assert!(stream.next(SOON).await.is_none());
    }
    assert!(told.elapsed() < Duration::from_secs(6), "{:?}", told.elapsed());
    api.post(INBOX, &json!({ "recipient": "ann", "type": "a:b", "title": "hers alone" })).await.expect(201);
    assert_eq!(claim.await.unwrap(), 403);
}

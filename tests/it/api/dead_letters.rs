//! The dead letters over HTTP: who sees them, and sending them again.

use serde_json::json;

use crate::support::bugle::{Bugle, everything_to, rule};
use crate::support::sink::{Answer, Sink};

#[tokio::test]
async fn dead_letters_are_listed_page_by_page_and_sent_again() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/hook", [Answer::Status(302)]);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let (api, wire) = (bugle.api(), bugle.wire().await);
    for id in ["1", "2", "3"] {
        wire.event("a:b", id, &json!({})).await;
    }
    bugle.buries(3).await;
    let (mut found, mut from) = (Vec::new(), Some(1));
    while let Some(number) = from {
        let page = api.get(&format!("/v1/dead-letters?limit=2&from={number}")).await.expect(200);
        found.extend(page["deadLetters"].as_array().unwrap().iter().cloned());
        from = page["nextFrom"].as_u64();
    }
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found.iter().all(|letter| letter["reason"] == "rejected"));

    sink.script("/hook", [Answer::Status(200)]);
    let path = format!("/v1/dead-letters/{}", found[0]["sequence"]);
    assert_eq!(api.get(&path).await.expect(200)["delivery"]["id"], found[0]["delivery"]["id"]);
    let again = api.post(&format!("{path}/redrive"), &json!({})).await.expect(202);
    api.becomes(again["delivery"].as_str().unwrap(), "sent").await;
    api.get(&path).await.expect_problem(404);
    api.post(&format!("{path}/redrive"), &json!({})).await.expect_problem(404);
}

#[tokio::test]
async fn what_cannot_be_sent_again_is_a_conflict_that_says_why() {
    let bugle = Bugle::new().await;
    bugle.start_without(&["nowhere"], &json!({ "rules": [rule("lost", "*", "nowhere")] })).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    let letters = bugle.buries(1).await;
    let path = format!("/v1/dead-letters/{}/redrive", letters[0]["sequence"]);
    let problem = bugle.api().post(&path, &json!({})).await.expect_problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("nowhere"), "{problem:#}");
    assert_eq!(bugle.dead_letters().await.len(), 1, "it is still there");
}

#[tokio::test]
async fn dead_letters_are_seen_by_their_workspace_only() {
    let bugle = Bugle::new().await;
    bugle.start().await;
    let wire = bugle.wire().await;
    wire.put(&wire.subject("events.red"), &[], "{}").await;
    wire.put(&wire.subject("events.blue"), &[], "{}").await;
    let letters = bugle.buries(2).await;
    let of = |workspace: &str| {
        let subject = wire.subject(&format!("events.{workspace}"));
        letters.iter().find(|letter| letter["message"]["subject"] == subject.as_str()).unwrap()["sequence"]
            .to_string()
    };
    let wanted = json!({ "name": "red", "role": "operator", "workspace": "red" });
    let token = bugle.api().post("/v1/tokens", &wanted).await.expect(201);
    let red = bugle.api_as(token["token"].as_str().unwrap());
    assert_eq!(red.get("/v1/dead-letters").await.expect(200)["deadLetters"].as_array().unwrap().len(), 1);
    red.get(&format!("/v1/dead-letters/{}", of("red"))).await.expect(200);
    red.get(&format!("/v1/dead-letters/{}", of("blue"))).await.expect_problem(404);
    red.post(&format!("/v1/dead-letters/{}/redrive", of("blue")), &json!({})).await.expect_problem(404);
    red.get("/v1/dead-letters?workspace=blue").await.expect_problem(403);
    assert_eq!(bugle.cli(&["dead", "list", "--json", "--workspace", "blue"]).await.json_lines().len(), 1);
}

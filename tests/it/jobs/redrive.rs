//! Dead letters sent again by a filter.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{began, failing, over};
use crate::support::api::token;
use crate::support::bugle::{Bugle, Role};
use crate::support::sink::{Answer, Sink};
use crate::support::{LATER, ensure, eventually};

const REDRIVE: &str = "/v1/dead-letters/redrive";

#[tokio::test]
async fn letters_are_listed_and_sent_again_by_whose_fault_they_are() {
    let sink = Sink::start().await;
    let bugle = failing(&sink).await;
    let (api, wire) = (bugle.api(), bugle.wire().await);
    wire.event("refuse:a", "1", &json!({})).await;
    wire.event("break:a", "2", &json!({})).await;
    wire.put(&wire.subject("events.default.x.y"), &[], "{ no json").await;
    bugle.buries(3).await;
    let found = async |query: &str| {
        let page = api.get(&format!("/v1/dead-letters?{query}")).await.expect(200);
        page["deadLetters"].as_array().unwrap().clone()
    };
    for (query, reason, fault) in [
        ("fault=recipient", "rejected", "recipient"),
        ("fault=provider", "provider_error", "provider"),
        ("fault=configuration", "undecodable", "configuration"),
        ("reason=rejected&kind=webhook", "rejected", "recipient"),
        ("rule=breaks&since=1h", "provider_error", "provider"),
        ("eventType=refuse:*&channel=refuses", "rejected", "recipient"),
    ] {
        let letters = found(query).await;
        assert_eq!(letters.len(), 1, "{query}: {letters:#?}");
        assert_eq!((&letters[0]["reason"], &letters[0]["fault"]), (&json!(reason), &json!(fault)), "{query}");
    }
    for empty in ["fault=ours", "recipient=ann", "until=1h", "workspace=red"] {
        assert!(found(empty).await.is_empty(), "{empty}");
    }
    for bad in ["fault=mine", "reason=accepted", "since=yesterday", "colour=red"] {
        api.get(&format!("/v1/dead-letters?{bad}")).await.expect_problem(400);
    }

    sink.script("/broken", [Answer::Status(200)]);
    let filter = json!({ "filter": { "fault": "provider" }, "dryRun": true });
    let dry = api.post(REDRIVE, &filter).await.expect(200);
    assert_eq!((&dry["counts"]["sent"], &dry["bounded"]), (&json!(1), &json!(false)), "{dry:#}");
    assert_eq!(dry["sample"][0]["channel"], "broken", "{dry:#}");
    assert_eq!(bugle.dead_letters().await.len(), 3, "a dry run does nothing");
    assert_eq!(api.get("/v1/jobs").await.expect(200)["jobs"], json!([]));

    let job = over(&api, &began(&api, REDRIVE, &json!({ "filter": { "fault": "provider" } })).await).await;
    assert_eq!((&job["state"], &job["counts"]["sent"]), (&json!("done"), &json!(1)), "{job:#}");
    api.delete(&format!("/v1/jobs/{}", job["id"].as_str().unwrap())).await.expect_problem(409);
    api.shows(1, "status=sent&channel=broken").await;
    assert!(found("fault=provider").await.is_empty());

    let rest = over(&api, &began(&api, REDRIVE, &json!({ "filter": { "fault": "recipient" } })).await).await;
    assert_eq!(rest["counts"]["sent"], 1, "{rest:#}");
    sink.receives(2, "/refuses").await;
    for bad in [
        json!({}),
        json!({ "filter": { "fault": "mine" } }),
        json!({ "filter": {}, "ratePerSecond": 5_000 }),
        json!({ "filter": { "colour": "red" } }),
        json!({ "filter": { "numbers": [] } }),
    ] {
        api.post(REDRIVE, &bad).await.expect_problem(400);
    }
}

/// So many dead letters of one channel, which would now be taken.
async fn letters(count: usize) -> (Bugle, Sink) {
    let sink = Sink::start().await;
    let bugle = failing(&sink).await;
    let wire = bugle.wire().await;
    for id in 0..count {
        wire.event("refuse:a", &id.to_string(), &json!({})).await;
    }
    bugle.buries(count).await;
    sink.script("/refuses", [Answer::Status(200)]);
    (bugle, sink)
}

#[tokio::test]
async fn a_redrive_keeps_its_rate_and_stops_when_it_is_cancelled() {
    let (bugle, sink) = letters(40).await;
    let api = bugle.api();
    let begun = Instant::now();
    let id = began(&api, REDRIVE, &json!({ "filter": { "channel": "refuses" }, "ratePerSecond": 4 })).await;
    sink.receives(40 + 9, "/refuses").await;
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    let cancelled = api.delete(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!(cancelled["state"], "cancelled");
    let job = eventually("its holder lets go", LATER, async || {
        let job = api.get(&format!("/v1/jobs/{id}")).await.expect(200);
        if job["holder"].is_null() { Ok(job) } else { Err(format!("{job:#}")) }
    })
    .await;
    let sent = job["counts"]["sent"].as_u64().unwrap();
    assert!((9..30).contains(&sent), "{job:#}");
    assert_eq!(bugle.dead_letters().await.len() as u64, 40 - sent, "nothing is sent after the end");
    assert_eq!(api.delete(&format!("/v1/jobs/{id}")).await.expect(200)["state"], "cancelled");
    api.delete("/v1/jobs/j_nothing").await.expect_problem(404);
}

#[tokio::test]
async fn another_process_goes_on_with_the_job_of_one_that_was_killed() {
    let (bugle, sink) = letters(60).await;
    let id = began(&bugle.api(), REDRIVE, &json!({ "filter": {}, "ratePerSecond": 20 })).await;
    sink.receives(60 + 30, "/refuses").await;
    bugle.kill_9(Role::Api);
    bugle.start_roles(&[Role::Api]).await;
    let api = bugle.api();
    let job = over(&api, &id).await;
    assert_eq!(job["state"], "done", "{job:#}");
    api.shows_within(LATER, 60, "status=sent").await;
    assert!(bugle.dead_letters().await.is_empty());
    let counts = sink.counts("/refuses");
    assert_eq!(counts.len(), 60);
    assert!(counts.values().all(|count| *count == 2), "each once refused and once taken: {counts:?}");
    // What it did in its last second is done, and not in the count.
    let sent = job["counts"]["sent"].as_u64().unwrap();
    assert!((35..=60).contains(&sent), "{job:#}");
}

#[tokio::test]
async fn a_job_is_for_its_workspace_and_its_key_only() {
    let bugle = Bugle::new().await;
    bugle.start().await;
    let wire = bugle.wire().await;
    wire.put(&wire.subject("events.red"), &[], "{}").await;
    wire.put(&wire.subject("events.blue"), &[], "{}").await;
    bugle.buries(2).await;
    let red = token(&bugle, "operator", &json!({ "workspace": "red" })).await;
    let everything = json!({ "filter": {} });
    red.post(&format!("{REDRIVE}?workspace=blue"), &everything).await.expect_problem(403);
    let dry = red.post(REDRIVE, &json!({ "filter": {}, "dryRun": true })).await.expect(200);
    assert_eq!(dry["counts"]["matched"], 1, "{dry:#}");
    let own = began(&red, REDRIVE, &everything).await;
    assert_eq!(over(&red, &own).await["counts"]["matched"], 1);

    let blue = began(&bugle.api(), &format!("{REDRIVE}?workspace=blue"), &everything).await;
    red.get(&format!("/v1/jobs/{blue}")).await.expect_problem(404);
    red.delete(&format!("/v1/jobs/{blue}")).await.expect_problem(404);
    let seen = red.get("/v1/jobs").await.expect(200);
    assert_eq!(seen["jobs"].as_array().unwrap().len(), 1, "{seen:#}");
    let viewer = token(&bugle, "viewer", &json!({})).await;
    viewer.post(REDRIVE, &everything).await.expect_problem(403);
    let ann = token(&bugle, "operator", &json!({ "name": "ann", "recipient": "ann" })).await;
    ann.post(REDRIVE, &everything).await.expect_problem(403);
    ann.get("/v1/jobs").await.expect_problem(403);

    let api = bugle.api();
    let first = api.post_once(REDRIVE, "k", &everything).await.expect(202);
    assert_eq!(api.post_once(REDRIVE, "k", &everything).await.expect(202)["id"], first["id"]);
    api.post_once(REDRIVE, "k", &json!({ "filter": { "fault": "ours" } })).await.expect_problem(422);
    eventually("both have ended", LATER, async || {
        let jobs = api.get("/v1/jobs").await.expect(200);
        let jobs = jobs["jobs"].as_array().unwrap().clone();
        ensure(jobs.len() == 3 && jobs.iter().all(|job| job["state"] == "done"), format!("{jobs:#?}"))
    })
    .await;
}

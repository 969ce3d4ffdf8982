//! `bugle status`: who is there, what waits, and what to do about it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bugle::{Bugle, Role, rule, webhook};
use crate::support::sink::{Answer, Sink};
use crate::support::{LATER, SOON, ensure, eventually};

fn roles(status: &Value) -> Vec<&str> {
    status["processes"].as_array().unwrap().iter().map(|one| one["role"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn status_names_every_process_and_what_waits_and_says_which_role_is_missing() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/ops", [Answer::Status(500)]);
    let channel = webhook("ops", &sink.url("/ops"));
    let off =
        json!({ "id": "old", "kind": "webhook", "enabled": false, "config": { "url": sink.url("/old") } });
    bugle.start_with(&json!({ "channels": [channel, off], "rules": [rule("r", "order", "ops")] })).await;
    bugle.wire().await.event("order", "e-1", &json!({})).await;
    bugle.api().shows(1, "status=retrying").await;

    let said = bugle.cli(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&said.ok()).unwrap();
    assert_eq!(roles(&status), ["api", "recorder", "router", "worker"]);
    for process in status["processes"].as_array().unwrap() {
        assert_eq!((&process["ready"], &process["complaints"]), (&json!(true), &json!([])), "{process}");
        assert!(process["pid"].as_u64().unwrap() > 0 && process["host"].is_string(), "{process}");
        assert_eq!(process["skewMs"], 0, "one machine has one clock: {process}");
    }
    assert!(status["processes"][3]["kinds"].as_array().unwrap().contains(&json!("webhook")));
    assert_eq!(
        status["waiting"][0],
        json!({ "kind": null, "lane": null, "pending": 0, "inHand": 0, "oldest": null })
    );
    assert_eq!(status["deadLetters"], 0);
    assert_eq!(status["channels"], json!([{ "workspace": "default", "channel": "old", "state": "off" }]));
    assert_eq!(status["unknown"], json!([]));
    eventually("the records are in the database", SOON, async || {
        let status: Value = serde_json::from_str(&bugle.cli(&["status", "--json"]).await.ok()).unwrap();
        ensure(status["recordsBehind"] == 0, status.to_string())
    })
    .await;

    bugle.kill_9(Role::Worker);
    bugle.wire().await.event("order", "e-2", &json!({})).await;
    eventually("what waits is shown, without colours where nobody looks", LATER, async || {
        let said = bugle.cli(&["status"]).await;
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.stderr.contains("no worker answers: start bugle-worker"), "{said:?}");
        assert!(!said.stdout.contains('\x1b'), "{said:?}");
        ensure(said.stdout.contains("webhook normal  1 "), said.stdout)
    })
    .await;
}

#[tokio::test]
async fn status_makes_nothing_and_says_the_next_step_where_nothing_was_ever_set_up() {
    let bugle = Bugle::new().await;
    let began = std::time::Instant::now();
    let said = bugle.cli(&["status"]).await;
    assert!(
        said.code == 1 && said.stderr.contains("no process answers: start them (`bugle run`"),
        "{said:?}"
    );
    assert!(said.stdout.contains("unknown: what waits") && said.stdout.contains("bugle setup"), "{said:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    let again = bugle.cli(&["status"]).await;
    assert!(again.stdout.contains("unknown: what waits"), "a look made something: {again:?}");
}

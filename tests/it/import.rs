//! Another system's configuration becomes documents that deliver.

use serde_json::json;

use crate::support::bugle::{Bugle, Role};
use crate::support::sink::{Request, Sink};

#[tokio::test]
async fn polpos_rules_deliver_after_the_import() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let theirs =
        bugle.folder.write("polpo.json", include_str!("../vectors/polpo.json")).display().to_string();
    let ours = bugle.folder.join("documents.yaml").display().to_string();
    let import = ["import", "polpo", &theirs, "--output", &ours];
    let said = bugle.cli(&import).await;
    assert_eq!(said.code, 65, "{said:?}");
    for part in ["channels/beep", "rules/1/channels/0", "tasks/0/notifications", "left out"] {
        assert!(said.stderr.contains(part), "{part}: {said:?}");
    }
    let again = bugle.cli(&import).await;
    assert_eq!(again.code, 78, "{again:?}");
    assert!(again.stderr.contains("--force"), "{again:?}");
    assert_eq!(bugle.cli(&[&import[..], &["--force"]].concat()).await.code, 65);

    bugle.set_variable("PAGER_URL", &sink.url("/pager"));
    bugle.set_variable("PAGER_TOKEN", "t0ken");
    bugle.set_variable("CHAT_URL", "https://hooks.slack.com/services/none");
    bugle.set_variable("DUTY_BOT", "1:a");
    bugle.cli(&["setup"]).await.ok();
    bugle.cli(&["apply", "-f", &ours]).await.ok();
    bugle.start_roles(&[Role::Router, Role::Worker]).await;
    let wire = bugle.wire().await;
    wire.event("task:progress", "long", &json!({ "taskId": "t-7", "minutes": 31 })).await;
    wire.event("task:progress", "short", &json!({ "taskId": "t-8", "minutes": 30 })).await;
    wire.event("sla:warning", "late", &json!({})).await;
    wire.event("sla:violated", "too-late", &json!({})).await;
    let requests = sink.receives(2, "/pager").await;
    let mut rules: Vec<_> = requests.iter().map(|request| request.json()["rule"].clone()).collect();
    rules.sort_by_key(ToString::to_string);
    assert_eq!(rules, ["deadlines", "long-runs"], "the second of the deadlines is within its cooldown");
    let long = requests.iter().map(Request::json).find(|body| body["rule"] == "long-runs").unwrap();
    assert_eq!(long["body"], "t-7 runs for 31 minutes");
    assert!(requests.iter().all(|request| request.headers["authorization"] == "Token t0ken"));
}

#[tokio::test]
async fn a_file_that_is_taken_whole_is_printed_and_said_nothing_about() {
    let bugle = Bugle::new().await;
    let bare = json!({
        "channels": { "hook": { "type": "webhook", "url": "https://example.com" } },
        "rules": [{ "id": "r", "events": ["*"], "channels": ["hook"] }],
    });
    let file = bugle.folder.write("bare.json", &bare.to_string()).display().to_string();
    let said = bugle.cli(&["import", "polpo", &file]).await;
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
    assert!(said.stdout.contains("kind: webhook"), "{said:?}");
}

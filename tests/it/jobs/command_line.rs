//! The same from the command line.

use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::failing;
use crate::support::LATER;
use crate::support::bugle::{Bugle, Role};
use crate::support::sink::{Answer, Sink};

async fn three_letters() -> (Bugle, Sink) {
    let sink = Sink::start().await;
    let bugle = failing(&sink).await;
    let wire = bugle.wire().await;
    for id in ["1", "2"] {
        wire.event("refuse:a", id, &json!({})).await;
    }
    wire.event("break:a", "3", &json!({})).await;
    bugle.buries(3).await;
    sink.script("/refuses", [Answer::Status(200)]);
    sink.script("/broken", [Answer::Status(200)]);
    (bugle, sink)
}

#[tokio::test]
async fn dead_letters_are_listed_tried_and_sent_again_by_filters() {
    let (bugle, _sink) = three_letters().await;
    let listed = bugle.cli(&["dead", "list", "--fault", "recipient", "--json"]).await.json_lines();
    assert_eq!(listed.len(), 2, "{listed:#?}");
    let shown = bugle.cli(&["dead", "list", "--since", "1h", "--event-type", "break:*"]).await.ok();
    assert!(shown.contains("provider_error") && !shown.contains("rejected"), "{shown}");
    let wrong = bugle.cli(&["dead", "list", "--fault", "mine"]).await;
    assert!(wrong.code != 0 && wrong.stderr.contains("--fault"), "{wrong:?}");
    for wrong in [["redrive", "1", "--json"].as_slice(), &["redrive", "1", "--rate", "5"], &["redrive"]] {
        assert_ne!(bugle.cli(&[["dead"].as_slice(), wrong].concat()).await.code, 0, "{wrong:?}");
    }

    let dry = bugle.cli(&["dead", "redrive", "--fault", "recipient", "--dry-run"]).await.ok();
    assert!(dry.contains("nothing is done") && dry.contains("2 would be sent"), "{dry}");
    assert_eq!(bugle.dead_letters().await.len(), 3);
    let done = bugle.cli(&["dead", "redrive", "--fault", "recipient", "--rate", "100", "--json"]).await;
    let changes = done.json_lines();
    let last = changes.last().unwrap();
    assert_eq!((&last["state"], &last["counts"]["sent"]), (&json!("done"), &json!(2)), "{last:#}");
    bugle.api().shows(2, "status=sent").await;

    let jobs = bugle.cli(&["jobs", "list", "--json"]).await.json_lines();
    assert_eq!(jobs.len(), 2, "{jobs:#?}");
    let id = last["id"].as_str().unwrap();
    let whole: serde_json::Value =
        serde_json::from_str(&bugle.cli(&["jobs", "show", id]).await.ok()).unwrap();
    assert_eq!(whole["counts"], last["counts"]);
    assert_eq!(bugle.cli(&["jobs", "cancel", id]).await.code, 1, "it is over");
}

#[tokio::test]
async fn a_replay_is_followed_to_its_end() {
    let (bugle, sink) = three_letters().await;
    let dry = bugle.cli(&["replay", "--since", "1h", "--rule", "breaks", "--dry-run"]).await.ok();
    assert!(dry.contains("1 would be sent"), "{dry}");
    let said = bugle.cli(&["replay", "--since", "1h", "--rule", "breaks", "--event-type", "break:*"]).await;
    assert!(said.stderr.contains("began"), "{said:?}");
    let done = said.ok();
    assert!(done.contains("done: ") && done.contains("1 sent"), "{done}");
    sink.receives(2, "/broken").await;
    let fresh = bugle.cli(&["replay", "--since", "1h", "--rule", "breaks", "--fresh-ids", "--json"]).await;
    assert_eq!(fresh.json_lines().last().unwrap()["counts"]["sent"], 1);
    let wrong = bugle.cli(&["replay", "--since", "soon"]).await;
    assert!(wrong.code != 0 && wrong.stderr.contains("since"), "{wrong:?}");
}

#[tokio::test]
async fn a_job_waits_for_an_api_process_and_says_so() {
    let (bugle, sink) = three_letters().await;
    bugle.kill_9(Role::Api);
    let began = bugle.cli(&["dead", "redrive", "--fault", "provider", "--detach"]).await.ok();
    let id = began.split_whitespace().nth(1).unwrap().to_owned();
    let waiting = bugle.cli(&["jobs"]).await.ok();
    assert!(waiting.contains("running") && waiting.contains(&id), "{waiting}");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_bugle"));
    command.args(["jobs", "show", &id, "--follow"]).envs(bugle.variables()).kill_on_drop(true);
    let mut following = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut notes = BufReader::new(following.stderr.take().unwrap()).lines();
    let told = async {
        while let Some(line) = notes.next_line().await.unwrap() {
            if line.contains("no API process has taken") {
                return true;
            }
        }
        false
    };
    assert!(tokio::time::timeout(LATER, told).await.unwrap(), "it does not say that the job waits");
    bugle.start_roles(&[Role::Api]).await;
    let output = tokio::time::timeout(LATER, following.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("1 sent again"), "{said}");
    sink.receives(2, "/broken").await;
}

//! Others' programs: events published by nats-py, signatures checked by the standardwebhooks package.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, rule, webhook};
use crate::support::database::Database;
use crate::support::sink::Sink;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SECRET: &str = "whsec_dGhpcy1pcy1hbi1vbGRlci1zZWNyZXQtb2YtMzItYg==";

/// A Python with both packages. Without one the test is left out, but never in CI.
pub fn python() -> Option<PathBuf> {
    let set_up = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".tools/venv/bin/python");
    let python = std::env::var_os("BUGLE_TEST_PYTHON").map_or(set_up, PathBuf::from);
    if python.is_file() {
        return Some(python);
    }
    assert!(std::env::var_os("CI").is_none(), "there is no {}: `make test` obtains it", python.display());
    eprintln!("left out, there is no {}: `make test` obtains it", python.display());
    None
}

async fn script(python: &PathBuf, name: &str, arguments: &[&str], input: &str) {
    let file = format!("{}/tests/it/clients/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut command = tokio::process::Command::new(python);
    command.arg(file).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn events_of_nats_py_arrive_in_all_three_encodings_with_signatures_that_standardwebhooks_verifies() {
    let Some(python) = python() else { return };
    let (bugle, sink) = (Bugle::on(NatsServer::shared().await, Database::sqlite()), Sink::start().await);
    let mut channel = webhook("hook", &sink.url("/hook"));
    channel["config"]["secrets"] = json!([SECRET, OLD_SECRET]);
    bugle
        .start_with(&json!({ "channels": [channel], "rules": [rule("orders", "order:placed", "hook")] }))
        .await;
    script(&python, "publish.py", &[&bugle.nats_url, &bugle.prefix], "").await;
    let requests = sink.receives(3, "/hook").await;
    for request in &requests {
        assert_eq!(request.json()["data"], json!({ "order": 7, "price": "12.50" }));
        let received =
            json!({ "headers": request.headers, "body": String::from_utf8(request.bytes.clone()).unwrap() });
        for secret in [SECRET, OLD_SECRET] {
            script(&python, "verify.py", &[secret], &received.to_string()).await;
        }
    }
    let shown = bugle.api().shows(3, "status=sent").await;
    let mut events: Vec<_> = shown.iter().map(|delivery| delivery["event"].as_str().unwrap()).collect();
    events.sort_unstable();
    assert_eq!(events, ["py-bare", "py-binary", "py-structured"]);
}

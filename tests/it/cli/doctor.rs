//! `bugle doctor`: what would lose data or stall, on a real server and real processes.

use serde_json::{Value, json};

use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Role, rule, webhook};
use crate::support::database::Database;
use crate::support::free_port;
use crate::support::sink::Sink;

/// The checks that are not ok: their names, their verdicts, what was found.
fn troubles(stdout: &str) -> Vec<[String; 3]> {
    let checks = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |check: &Value, name: &str| check[name].as_str().unwrap().to_owned();
    checks
        .filter(|check| check["verdict"] != "ok")
        .inspect(|check| assert!(check["why"].is_string() && check["next"].is_string(), "{check}"))
        .map(|check| ["check", "verdict", "found"].map(|name| text(&check, name)))
        .collect()
}

#[tokio::test]
async fn a_doctor_finds_a_fleet_well_and_then_what_was_broken_in_it() {
    let monitor = free_port();
    let server = NatsServer::start_with_rest(&format!("http: \"127.0.0.1:{monitor}\"")).await;
    let (bugle, sink) = (Bugle::on(&server, Database::sqlite()), Sink::start().await);
    let channel = webhook("ops", &sink.url("/ops"));
    bugle.start_with(&json!({ "channels": [channel], "rules": [rule("r", "order", "ops")] })).await;
    bugle.wire().await.event("order", "e-1", &json!({})).await;
    bugle.api().shows(1, "status=sent").await;

    let said = bugle.cli(&["doctor", "--json"]).await;
    let found = troubles(&said.stdout);
    assert!(said.code == 0 && found.len() == 1, "{said:?}");
    assert_eq!(found[0], ["sync_interval", "warn", "unknown"]);
    let url = format!("http://127.0.0.1:{monitor}");
    let said = bugle.cli(&["doctor", "--json", "--monitor", &url]).await;
    assert_eq!(
        troubles(&said.stdout),
        [["sync_interval", "fail", "every 120 s, with one replica"]],
        "the server was started without sync_interval: {said:?}"
    );
    assert!(said.code == 1 && said.stderr.contains("one check failed"), "{said:?}");

    bugle.kill_9(Role::Worker);
    bugle.kill_9(Role::Api);
    let wire = bugle.wire().await;
    wire.event("order", "e-2", &json!({})).await;
    crate::support::eventually("a delivery waits", crate::support::SOON, async || {
        let waiting = wire.messages("DELIVERIES").await;
        crate::support::ensure(waiting == 1, waiting.to_string())
    })
    .await;
    wire.js.delete_stream(wire.stream_name("DEAD")).await.unwrap();
    let bucket = format!("{}_CONFIG", bugle.prefix.to_uppercase());
    let bucket = wire.js.get_key_value(bucket).await.unwrap();
    bucket.put("channels.default.odd", "not JSON".into()).await.unwrap();
    let said = bugle.cli(&["doctor"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    for line in [
        format!("missing: {}", wire.stream_name("DEAD")),
        "1 deliveries of kind webhook wait, and no worker of that kind answers".to_owned(),
        "next: start a worker with webhook among worker.kinds".to_owned(),
        "no worker answers".to_owned(),
        "no api answers".to_owned(),
        "cannot be read by this version: channels.default.odd".to_owned(),
    ] {
        assert!(said.stdout.contains(&line), "{line} is missing: {}", said.stdout);
    }
    assert!(!said.stdout.contains('\x1b'), "{said:?}");
}

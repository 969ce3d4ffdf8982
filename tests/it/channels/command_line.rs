//! `bugle channels`.

use serde_json::json;

use super::{fleet, get, hook, send};
use crate::support::bugle::webhook;
use crate::support::sink::Answer;

#[tokio::test]
async fn the_command_line_lists_tests_and_switches_channels() {
    let (bugle, sink, api) = fleet(&json!({})).await;
    let bot = json!({ "id": "people", "kind": "telegram", "config": { "botToken": "1:a", "apiBase": sink.url("") } });
    bugle.apply(&json!({ "channels": [webhook("filed", &sink.url("/filed")), bot] })).await;
    send(&api, "PUT", "/ops", &hook(&sink.url("/ops/hunter2"))).await.expect(201);
    send(&api, "PUT", "/off", &json!({ "kind": "console", "enabled": false })).await.expect(201);
    let listed = bugle.cli(&["channels", "list"]).await.ok();
    let line = |id: &str| listed.lines().find(|line| line.starts_with(id)).unwrap().to_owned();
    assert!(line("ops").contains("pending") && line("ops").contains("bugle channels test ops"), "{listed}");
    assert!(line("filed").contains("file:documents.json") && line("off").contains("off"), "{listed}");
    assert!(!listed.contains("hunter2"), "{listed}");

    // All that are on, side by side; what writes to people is left out until somebody is named.
    let tested = bugle.cli(&["channels", "test"]).await.ok();
    assert!(tested.contains("skipped") && !tested.contains("failed"), "{tested}");
    assert!(!tested.lines().any(|line| line.starts_with("off")), "{tested}");
    assert_eq!((sink.requests("/filed").len(), sink.requests("/ops/hunter2").len()), (1, 1));
    assert_eq!(get(&api, "ops").await["verificationStatus"], "verified");

    sink.script("/ops/hunter2", [Answer::Status(503)]);
    let failed = bugle.cli(&["channels", "test", "ops", "filed", "people"]).await;
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stdout.contains("provider_error: answered 503"), "{failed:?}");
    assert!(failed.stdout.contains("no_address"), "{failed:?}");
    assert!(
        failed.stderr.contains("2 of 3 channels did not work") && !failed.stdout.contains("hunter2"),
        "{failed:?}"
    );
    let lines = bugle.cli(&["channels", "test", "filed", "off", "--json"]).await.json_lines();
    assert_eq!(
        (&lines[0]["channel"], &lines[0]["ok"], &lines[0]["code"]),
        (&json!("filed"), &json!(true), &json!(200))
    );
    assert!(lines[1]["note"].as_str().unwrap().contains("switched off"), "{lines:?}");
    let unknown = bugle.cli(&["channels", "test", "opps"]).await;
    assert!(unknown.code != 0 && unknown.stderr.contains("did you mean ops?"), "{unknown:?}");

    bugle.cli(&["channels", "enable", "off"]).await.ok();
    assert_eq!(get(&api, "off").await["enabled"], true);
    bugle.cli(&["channels", "disable", "ops"]).await.ok();
    assert_eq!(get(&api, "ops").await["enabled"], false);
    let owned = bugle.cli(&["channels", "disable", "filed"]).await;
    assert!(owned.code != 0 && owned.stderr.contains("file:documents.json"), "{owned:?}");
    let listed = bugle.cli(&["channels", "list", "--json"]).await.json_lines();
    let ops = listed.iter().find(|channel| channel["id"] == "ops").unwrap();
    assert_eq!((&ops["enabled"], &ops["verificationStatus"]), (&json!(false), &json!("verified")));
}

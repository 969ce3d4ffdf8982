//! Rules and channels at run time: seen within a second, owned by their file, quiet while they cool down.

mod windows;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Role, everything_to, rule, webhook, with};
use crate::support::database::Database;
use crate::support::sink::Sink;
use crate::support::wire::Wire;
use crate::support::{LATER, ensure, eventually};

/// What the issue promises is a second; the rest is for a machine that does other things too.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

async fn router_and_worker() -> (Bugle, Sink, Wire) {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.cli(&["setup"]).await.ok();
    bugle.start_roles(&[Role::Router, Role::Worker]).await;
    let wire = bugle.wire().await;
    (bugle, sink, wire)
}

/// Publishes events until one arrives, and fails when that takes longer than a change may take.
async fn arrives_at(sink: &Sink, wire: &Wire, path: &str, event_type: &str) {
    let what = format!("{event_type} arrives at {path}");
    let mut number = 0;
    eventually(&what, SEEN_WITHIN, async || {
        number += 1;
        wire.event(event_type, &format!("{path}-{event_type}-{number}"), &json!({})).await;
        ensure(!sink.requests(path).is_empty(), "not yet")
    })
    .await;
}

/// The number of documents that a routing process would see.
async fn documents(bugle: &Bugle) -> Vec<String> {
    let bucket =
        bugle.wire().await.js.get_key_value(format!("{}_CONFIG", bugle.prefix.to_uppercase())).await.unwrap();
    let keys: Vec<_> = futures_util::StreamExt::collect(bucket.keys().await.unwrap()).await;
    let mut keys: Vec<String> = keys.into_iter().map(|key: Result<String, _>| key.unwrap()).collect();
    // What secrets are sealed with is no document.
    keys.retain(|key| !key.starts_with("keys."));
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn what_is_applied_is_seen_within_a_second_and_what_is_gone_goes() {
    let (bugle, sink, wire) = router_and_worker().await;
    let said = bugle.apply_as("one", &everything_to(&sink.url("/first"))).await.ok();
    assert!(
        said.contains("created channels.default.hook") && said.contains("created rules.default.everything"),
        "{said}"
    );
    arrives_at(&sink, &wire, "/first", "a:b").await;

    let said = bugle.apply_as("one", &everything_to(&sink.url("/second"))).await.ok();
    assert!(said.contains("updated channels.default.hook") && !said.contains("rules"), "{said}");
    arrives_at(&sink, &wire, "/second", "a:b").await;

    let said = bugle.apply_as("one", &everything_to(&sink.url("/second"))).await.ok();
    assert!(said.contains("nothing to change"), "{said}");

    let other =
        json!({ "channels": [webhook("hook", &sink.url("/third"))], "rules": [rule("some", "c:*", "hook")] });
    let said = bugle.apply_as("one", &other).await.ok();
    assert!(said.contains("removed rules.default.everything"), "{said}");
    arrives_at(&sink, &wire, "/third", "c:d").await;
    let before = sink.requests("/third").len();
    wire.event("a:b", "nobody's", &json!({})).await;
    wire.event("c:d", "the last", &json!({})).await;
    let told = sink.receives(before + 1, "/third").await;
    assert!(
        told.iter().all(|request| request.json().to_string().contains("c:d")),
        "a removed rule still fires"
    );
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let bugle = Bugle::new().await;
    bugle.cli(&["setup"]).await.ok();
    bugle.apply_as("one", &everything_to("https://a.example/")).await.ok();
    let mut changed = everything_to("https://b.example/?key=s3cret");
    changed["rules"][0]["cooldownMs"] = json!(1_000);
    let file = bugle.folder.write("one.json", &changed.to_string()).display().to_string();
    let said = bugle.cli(&["apply", "--dry-run", "-f", &file]).await.ok();
    assert!(said.contains("updated rules.default.everything\n  /cooldownMs: nothing → 1000"), "{said}");
    assert!(said.contains("/config/url") && !said.contains("s3cret"), "{said}");
    let again = bugle.cli(&["apply", "--dry-run", "-f", &file]).await.ok();
    assert_eq!(said, again, "nothing was done");
    // A rule of somebody else's keeps the channel from going.
    bugle.apply_as("two", &json!({ "rules": [rule("theirs", "*", "hook")] })).await.ok();
    let other = json!({ "channels": [webhook("other", "https://a.example/")], "rules": [rule("everything", "*", "other")] });
    let file = bugle.folder.write("one.json", &other.to_string()).display().to_string();
    for arguments in [&["apply", "-f", &file][..], &["apply", "--dry-run", "-f", &file]] {
        let refused = bugle.cli(arguments).await;
        assert_eq!(refused.code, 78, "{refused:?}");
        assert!(
            refused.stderr.contains("rules.default.theirs would still name it")
                && refused.stderr.contains("--force"),
            "{refused:?}"
        );
        let shown = refused.stdout.contains("removed channels.default.hook");
        assert_eq!(shown, arguments.contains(&"--dry-run"), "{refused:?}");
    }
    let refused = bugle.apply_as("three", &json!({ "rules": [rule("new", "*", "hok")] })).await;
    assert!(
        refused.stderr.contains("/rules/0/channels/0") && refused.stderr.contains("did you mean hook?"),
        "{refused:?}"
    );
    let file = bugle.folder.write("one.json", "{}").display().to_string();
    let said = bugle.cli(&["apply", "--force", "-f", &file]).await.ok();
    let left = "left with a channel that does not exist, channels.default.hook: rules.default.theirs";
    assert!(said.contains(left), "{said}");
    assert_eq!(documents(&bugle).await, ["rules.default.theirs"]);
}

#[tokio::test]
async fn a_file_that_keeps_nothing_of_its_owners_is_refused_and_one_comes_by_standard_input() {
    let bugle = Bugle::new().await;
    bugle.cli(&["setup"]).await.ok();
    bugle.apply_as("rules", &everything_to("https://a.example/")).await.ok();
    let other = json!({ "channels": [webhook("other", "https://b.example/")] });
    let refused = bugle.apply_as("rules", &other).await;
    assert_eq!(refused.code, 78, "{refused:?}");
    let all = "everything that file:rules.json has would be removed: channels.default.hook, rules.default.everything";
    assert!(refused.stderr.contains(all) && refused.stderr.contains("`name`"), "{refused:?}");
    let file = bugle.folder.write("rules.json", &other.to_string()).display().to_string();
    let refused = bugle.cli(&["apply", "--dry-run", "-f", &file]).await;
    assert_eq!(refused.code, 78, "{refused:?}");
    assert!(refused.stdout.contains("removed rules.default.everything") && refused.stderr.contains(all));
    assert_eq!(documents(&bugle).await, ["channels.default.hook", "rules.default.everything"]);

    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_bugle"));
    command.args(["apply", "-f", "-"]).envs(bugle.variables()).kill_on_drop(true);
    let said = command.stdin(std::fs::File::open(file).unwrap()).output().await.unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("created channels.default.other"), "{said:?}");
    let refused = bugle.apply_as("rules", &other).await;
    assert!(refused.stderr.contains("channels.default.other belongs to file:stdin"), "{refused:?}");
    assert!(refused.stderr.contains("by its old name in `name:`"), "{refused:?}");
}

#[tokio::test]
async fn two_files_never_touch_each_others_documents() {
    let (bugle, sink, _wire) = router_and_worker().await;
    bugle.apply_as("one", &everything_to(&sink.url("/one"))).await.ok();
    let second =
        json!({ "channels": [webhook("second", &sink.url("/two"))], "rules": [rule("two", "*", "second")] });
    bugle.apply_as("two", &second).await.ok();
    assert_eq!(documents(&bugle).await.len(), 4);

    let refused = bugle.apply_as("two", &everything_to(&sink.url("/stolen"))).await;
    assert_eq!(refused.code, 78, "{refused:?}");
    assert!(refused.stderr.contains("belongs to file:one.json"), "{refused:?}");
    assert_eq!(documents(&bugle).await.len(), 4, "a refused file changes nothing");

    let file = bugle.folder.write("two.json", "{}").display().to_string();
    bugle.cli(&["apply", "--force", "-f", &file]).await.ok();
    assert_eq!(documents(&bugle).await, ["channels.default.hook", "rules.default.everything"]);
}

#[tokio::test]
async fn a_bad_document_is_refused_with_the_place_of_its_fault_and_changes_nothing() {
    let (bugle, sink, _wire) = router_and_worker().await;
    bugle.apply_as("one", &everything_to(&sink.url("/one"))).await.ok();
    let bad = |fields: Value| json!({ "channels": [webhook("hook", "http://x")], "rules": [with(rule("r", "*", "hook"), &fields)] });
    let faults = [
        (bad(json!({ "events": ["a b"] })), "/rules/0/events/0"),
        (bad(json!({ "condition": { "field": "a", "op": "~", "value": 1 } })), "/rules/0/condition"),
        (bad(json!({ "template": { "title": "{{ unclosed" } })), "/rules/0/template/title"),
        (bad(json!({ "coolDownMs": 5 })), "coolDownMs"),
        (bad(json!({ "channels": [] })), "/rules/0/channels"),
        (json!({ "channels": [{ "id": "a b", "kind": "webhook" }] }), "/channels/0/id"),
        (json!({ "channels": [{ "id": "a", "kind": "pigeon" }] }), "/channels/0/kind"),
        (
            json!({ "channels": [{ "id": "a", "kind": "webhook", "config": { "ulr": "x" } }] }),
            "/channels/0/config/ulr",
        ),
        (
            json!({ "channels": [{ "id": "a", "kind": "slack", "config": {} }] }),
            "/channels/0/config/webhookUrl",
        ),
        (json!({ "channels": [webhook("a", "ftp://x/")] }), "/channels/0/config/url"),
        (
            json!({ "channels": [with(webhook("a", "https://x/"), &json!({ "config": { "url": "https://x/", "headers": { "a b": "c" } } }))] }),
            "/channels/0/config/headers",
        ),
        (json!([]), "object"),
    ];
    for (documents, place) in faults {
        let refused = bugle.apply_as("one", &documents).await;
        assert_eq!(refused.code, 78, "{place}: {refused:?}");
        assert!(refused.stderr.contains(place), "{place}: {refused:?}");
        assert_eq!(refused.stderr.trim().lines().count(), 1, "one sentence: {refused:?}");
    }
    assert_eq!(documents(&bugle).await, ["channels.default.hook", "rules.default.everything"]);
}

#[tokio::test]
async fn two_files_of_one_name_are_refused_since_each_would_remove_the_others() {
    let bugle = Bugle::new().await;
    for team in ["a", "b"] {
        std::fs::create_dir(bugle.folder.join(team)).unwrap();
        bugle.folder.write(&format!("{team}/rules.json"), &everything_to("https://example.com/").to_string());
    }
    let files = ["a/rules.json", "b/rules.json"].map(|name| bugle.folder.join(name).display().to_string());
    bugle.set("DOCUMENTS", &files.join(","));
    for command in ["setup", "check-config"] {
        let refused = bugle.cli(&[command]).await;
        assert_eq!(refused.code, 78, "{refused:?}");
        assert!(files.iter().all(|file| refused.stderr.contains(file)), "{refused:?}");
    }
}

#[tokio::test]
async fn files_may_be_yaml_and_toml_and_name_variables() {
    let (bugle, sink, wire) = router_and_worker().await;
    bugle.kill_9(Role::Worker);
    bugle.set_variable("IT_HOOK", &sink.url("/yaml"));
    bugle.start_roles(&[Role::Worker]).await;
    let yaml = "channels:\n  - id: hook\n    kind: webhook\n    enabled: auto\n    config: { url: '${IT_HOOK}' }\n  \
                - id: off\n    kind: webhook\n    enabled: auto\n    config: { url: '${IT_NOT_SET}' }\n\
                rules:\n  - { id: all, events: ['*'], channels: [hook, off] }\n";
    let file = bugle.folder.write("hooks.yaml", yaml);
    bugle.cli(&["apply", "-f", &file.display().to_string()]).await.ok();
    arrives_at(&sink, &wire, "/yaml", "a:b").await;
    assert!(bugle.dead_letters().await.is_empty(), "a channel whose variable is not set is off");

    let toml = format!(
        "[[channels]]\nid = 'extra'\nkind = 'webhook'\nconfig = {{ url = '{}' }}\n\n\
                        [[rules]]\nid = 'extra'\nevents = ['x:*']\nchannels = ['extra']\n",
        sink.url("/toml")
    );
    let file = bugle.folder.write("extra.toml", &toml);
    bugle.cli(&["apply", "-f", &file.display().to_string()]).await.ok();
    arrives_at(&sink, &wire, "/toml", "x:y").await;
}

#[tokio::test]
async fn two_routers_hold_one_cooldown_window() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let cooled = json!({ "cooldownMs": 60_000, "cooldownKey": "{{task}}" });
    let documents = json!({
        "channels": [webhook("hook", &sink.url("/hook"))],
        "rules": [with(rule("cooled", "*", "hook"), &cooled)],
    });
    bugle.set("ROUTER__SLOTS", "4");
    bugle.start_with(&documents).await;
    bugle.start_roles(&[Role::Router]).await;
    let wire = bugle.wire().await;
    let events = (0..40).map(|number| {
        let wire = &wire;
        async move { wire.event("a:b", &number.to_string(), &json!({ "task": number % 2 })).await }
    });
    futures_util::future::join_all(events).await;
    let suppressed = bugle.api().shows(38, "status=suppressed").await;
    assert!(suppressed.iter().all(|delivery| delivery["reason"] == "cooldown"));
    sink.receives(2, "/hook").await;
    assert_eq!(sink.requests("/hook").len(), 2, "one for each key");
    assert_eq!(bugle.api().shows(40, "").await.len(), 40);
}

#[tokio::test]
async fn a_cooldown_ends_when_its_time_is_over() {
    let (bugle, sink, wire) = router_and_worker().await;
    let documents = json!({
        "channels": [webhook("hook", &sink.url("/hook"))],
        "rules": [with(rule("cooled", "*", "hook"), &json!({ "cooldownMs": 1_500 }))],
    });
    bugle.apply(&documents).await;
    let (started, mut number) = (Instant::now(), 0);
    eventually("the third window opens", LATER, async || {
        number += 1;
        wire.event("a:b", &number.to_string(), &json!({})).await;
        let found = sink.requests("/hook").len();
        ensure(found >= 3, format!("{found} windows"))
    })
    .await;
    let windows = usize::try_from(started.elapsed().as_millis() / 1_500).unwrap() + 1;
    let requests = sink.requests("/hook");
    assert!(requests.len() <= windows, "{} sent in {windows} windows", requests.len());
}

#[tokio::test]
async fn a_change_made_while_the_broker_was_away_is_seen_after_the_reconnect() {
    let (mut server, sink) = (NatsServer::start().await, Sink::start().await);
    let bugle = Bugle::on(&server, Database::sqlite());
    bugle.cli(&["setup"]).await.ok();
    bugle.apply(&everything_to(&sink.url("/before"))).await;
    bugle.start_roles(&[Role::Router, Role::Worker]).await;
    let wire = bugle.wire().await;
    arrives_at(&sink, &wire, "/before", "a:b").await;
    // Frozen, they cannot see the change before their connection is gone.
    bugle.freeze_all();
    server.kill_9();
    server.start_again().await;
    bugle.apply(&everything_to(&sink.url("/after"))).await;
    bugle.thaw_all();
    eventually("the change is seen", LATER, async || {
        bugle.cli(&["publish", "a:b"]).await.ok();
        ensure(!sink.requests("/after").is_empty(), "not yet")
    })
    .await;
}

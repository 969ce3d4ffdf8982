//! Each setting has a test that fails when it is ignored; what is wrong is one sentence and exit code 78. What other journeys
//! hold already is named in the list of `held`, so that a new setting without a test is found.

mod held;
mod logs;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use self::held::HELD;
use crate::support::broker::{self, NatsServer};
use crate::support::bugle::{ADMIN_TOKEN, Bugle, Role, Said, everything_to, rule, webhook};
use crate::support::sink::{Answer, Sink};
use crate::support::{SOON, database::Database, ensure, eventually, free_port, steadily, wire::Cable};

fn keys(prefix: &str, table: &toml::Table, found: &mut BTreeSet<String>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value.as_table() {
            Some(table) => keys(&format!("{key}."), table, found),
            None => {
                found.insert(key);
            }
        }
    }
}

#[test]
fn every_setting_is_held_by_a_test() {
    let text = include_str!("../../config/default.toml");
    let mut settings = BTreeSet::new();
    keys("", &text.parse().unwrap(), &mut settings);
    let held: BTreeSet<String> = HELD.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(settings, held);
}

/// Exit code 78 and one sentence that has these words, and no secret.
#[track_caller]
fn refused(said: &Said, words: &[&str]) {
    assert_eq!(said.code, 78, "{said:?}");
    assert_eq!(said.stderr.trim().lines().count(), 1, "one sentence: {said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "{word:?} is not in {said:?}");
    }
    assert!(!said.stderr.contains("s3cr3t"), "{said:?}");
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_in_one_sentence_without_secrets() {
    for (key, value, words) in [
        ("NATS__PREFX", "x", vec!["BUGLE__NATS__PREFX"]),
        ("NATS__PREFIX", "No.Such", vec!["nats.prefix"]),
        ("NATS__REPLICAS", "2", vec!["nats.replicas", "1, 3 or 5"]),
        ("NATS__REPLICAS", "many", vec!["NATS__REPLICAS"]),
        ("NATS__EMBEDDED__SYNC_INTERVAL", "often", vec!["sync_interval"]),
        ("DATABASE__CONNECTIONS", "0", vec!["database.connections"]),
        ("DATABASE__URL", "mysql://me:s3cr3t@host/db", vec!["database.url"]),
        ("KEEP__EVENTS_DAYS", "0", vec!["keep.events_days"]),
        ("KEEP__HISTORY_DAYS", "3651", vec!["keep.history_days", "0 to 3650"]),
        ("INBOX__KEEP_DAYS", "0", vec!["inbox.keep_days", "1 to 3650"]),
        ("INBOX__KEEP_PER_RECIPIENT", "9", vec!["inbox.keep_per_recipient", "10 to 100000"]),
        ("WORKSPACES__TEAM__INBOX_DAYS", "3", vec!["BUGLE__WORKSPACES__TEAM__INBOX_DAYS", "no known key"]),
        ("API__LISTEN", "nowhere", vec!["api.listen"]),
        ("API__ADMIN_TOKEN", "s3cr3t", vec!["api.admin_token", "16"]),
        ("ROUTER__SLOTS", "0", vec!["router.slots"]),
        ("WORKER__KINDS", "pigeon", vec!["worker.kinds", "webhook"]),
        ("WORKER__CHANNEL_SHARE", "1.5", vec!["worker.channel_share"]),
        ("WORKER__ALLOW_PLAIN_HTTP", "perhaps", vec!["WORKER__ALLOW_PLAIN_HTTP"]),
        ("WORKER__ALLOW_ADDRESSES", "127.0.0.1/99", vec!["worker.allow_addresses", "10.0.0.0/8"]),
        ("WORKER__EXTRA_CA_FILE", "/no/such/ca.pem", vec!["worker.extra_ca_file", "/no/such/ca.pem"]),
        ("SECRETS__KEY", "s3cr3t", vec!["secrets.key", "line 1"]),
        ("SHUTDOWN__DEADLINE_SECONDS", "0", vec!["shutdown.deadline_seconds"]),
        ("NATS__URL", "nats://me:s3cr3t@host:port", vec!["nats.url", "nats://host:port"]),
        ("WORKER__PROXY", "socks5://me:s3cr3t@host:1080", vec!["worker.proxy", "http"]),
        ("API__PUBLIC_URL", "https://me:s3cr3t@host/", vec!["api.public_url", "https"]),
        ("API__REQUESTS_PER_MINUTE", "2000000", vec!["api.requests_per_minute", "1000000"]),
        (
            "API__CORS_ORIGINS",
            "https://a.example,https://me:s3cr3t@b.example",
            vec!["api.cors_origins", "entry 2"],
        ),
        ("API__CORS_ORIGINS", "*,https://a.example", vec!["api.cors_origins", "alone"]),
        ("ADMIN__LISTEN", "127.0.0.1:8080", vec!["admin.listen", "api.listen"]),
        ("LOG__LEVEL", "loud", vec!["log.level", "info"]),
        ("TRACING__SAMPLE_RATIO", "2", vec!["tracing.sample_ratio", "0 to 1"]),
        ("TRACING__OTLP_ENDPOINT", "grpc://me:s3cr3t@host:4317", vec!["tracing.otlp_endpoint", "http"]),
        ("LOG__FORMAT", "xml", vec!["log.format", "json"]),
    ] {
        let bugle = Bugle::new().await;
        bugle.set(key, value);
        let said = bugle.cli(&["check-config"]).await;
        assert_ne!(said.code, 0, "{key}={value} is taken");
        refused(&said, &words);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_refused_in_one_sentence() {
    let bugle = Bugle::new().await;
    let in_file = async |text: &str| {
        let file = bugle.folder.write("bugle.toml", text).display().to_string();
        bugle.cli(&["--config", &file, "check-config"]).await
    };
    refused(&in_file("[nats]\nprefx = 1\n").await, &["unknown key \"prefx\" in [nats];", "`prefix`"]);
    refused(&in_file("[worker]\nslots = \"s3cr3t\"\n").await, &["worker.slots"]);
    refused(&in_file("[database\n").await, &["bugle.toml"]);
    refused(&in_file("documents = [\"missing.yaml\"]\n").await, &["missing.yaml"]);
    refused(&in_file("[workspaces.b]\ninbox = 1\n").await, &["\"inbox\" in [workspaces.b]", "inbox_days"]);
    refused(&in_file("[workspaces.B]\n").await, &["workspace \"B\" is not valid"]);
    let missing = bugle.cli(&["--config", "/no/such/file.toml", "check-config"]).await;
    refused(&missing, &["/no/such/file.toml"]);
    let fine = in_file("[worker]\nslots = 7\nallow_addresses = [\"10.1.2.3\", \"::1/128\"]\n").await.ok();
    assert!(fine.contains("valid"), "{fine}");
}

#[tokio::test]
async fn a_role_without_a_broker_says_what_it_needs() {
    let bugle = Bugle::new().await;
    bugle.set("NATS__URL", "");
    let mut router = bugle.spawn(Role::Router);
    assert_eq!(router.process.exit_code(SOON).await, 78);
    assert!(router.process.output().contains("BUGLE__NATS__URL"), "{}", router.process.output());
}

#[tokio::test]
async fn variables_beat_the_file_and_the_file_beats_the_defaults() {
    let bugle = Bugle::new().await;
    let file =
        bugle.folder.write("bugle.toml", "[worker]\nslots = 0\n[router]\nslots = 0\n").display().to_string();
    bugle.set("WORKER__SLOTS", "5");
    refused(&bugle.cli(&["--config", &file, "check-config"]).await, &["router.slots"]);
    bugle.set("ROUTER__SLOTS", "5");
    bugle.cli(&["--config", &file, "check-config"]).await.ok();
}

#[tokio::test]
async fn names_kept_days_and_replicas_are_the_brokers_too() {
    let bugle = Bugle::new().await;
    for (key, days) in [("EVENTS", "2"), ("RECORDS", "3"), ("DEAD", "4")] {
        bugle.set(&format!("KEEP__{key}_DAYS"), days);
    }
    bugle.cli(&["setup"]).await.ok();
    let wire = bugle.wire().await;
    for (name, days) in [("EVENTS", 2), ("RECORDS", 3), ("DEAD", 4)] {
        let mut stream = wire.js.get_stream(wire.stream_name(name)).await.unwrap();
        let config = &stream.info().await.unwrap().config;
        assert_eq!(config.max_age, Duration::from_secs(days * 24 * 3600), "{name}");
    }
    bugle.set("KEEP__EVENTS_DAYS", "5");
    bugle.cli(&["setup"]).await.ok();
    let mut stream = wire.js.get_stream(wire.stream_name("EVENTS")).await.unwrap();
    assert_eq!(
        stream.info().await.unwrap().config.max_age,
        Duration::from_secs(5 * 24 * 3600),
        "a change is applied"
    );

    // One server cannot hold three copies, and says so.
    let three = Bugle::new().await;
    three.set("NATS__REPLICAS", "3");
    assert_ne!(three.cli(&["setup"]).await.code, 0);
}

#[tokio::test]
async fn credentials_are_read_from_their_file() {
    let bugle = Bugle::new().await;
    bugle.set("NATS__CREDENTIALS_FILE", "/no/such/file.creds");
    let said = bugle.cli(&["setup"]).await;
    assert_ne!(said.code, 0);
    assert!(said.stderr.contains("/no/such/file.creds"), "{said:?}");
}

#[tokio::test]
async fn without_a_database_url_the_history_is_a_file_in_the_data_directory() {
    let bugle = Bugle::new().await;
    bugle.set("DATABASE__URL", "");
    bugle.cli(&["setup"]).await.ok();
    assert!(bugle.folder.join("data/bugle.db").is_file());
}

#[tokio::test]
async fn a_role_of_a_fleet_makes_no_history_of_its_own() {
    let bugle = Bugle::new().await;
    bugle.cli(&["setup"]).await.ok();
    bugle.set("DATABASE__URL", "");
    for role in [Role::Recorder, Role::Api] {
        let mut member = bugle.spawn(role);
        assert_eq!(member.process.exit_code(SOON).await, 78);
        assert!(member.process.output().contains("database.url"), "{}", member.process.output());
    }
}

#[tokio::test]
async fn a_token_may_come_with_the_end_of_its_line() {
    let bugle = Bugle::new().await;
    bugle.set("API__ADMIN_TOKEN", &format!("{ADMIN_TOKEN}\n"));
    bugle.start().await;
    bugle.api().get("/v1/deliveries").await.expect(200);
}

#[tokio::test]
async fn the_embedded_server_is_configured_as_set() {
    let bugle = Bugle::new().await;
    bugle.set("NATS__URL", "");
    bugle.set("DATABASE__URL", "");
    let port = free_port();
    bugle.set("NATS__EMBEDDED__PORT", &port.to_string());
    bugle.set("NATS__EMBEDDED__SYNC_INTERVAL", "3s");
    bugle.set("NATS__EMBEDDED__BINARY", "/no/such/nats-server");
    let mut all = bugle.spawn_all_in_one();
    assert_ne!(all.process.exit_code(SOON).await, 0);
    assert!(all.process.output().contains("/no/such/nats-server"), "{}", all.process.output());

    bugle.set("NATS__EMBEDDED__BINARY", &broker::binary().display().to_string());
    let mut all = bugle.spawn_all_in_one();
    all.until_ready(SOON).await;
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let written = std::fs::read_to_string(bugle.folder.join("data/nats/nats-server.conf")).unwrap();
    assert!(written.contains("sync_interval: 3s"), "{written}");
    assert_eq!(all.process.sigterm(SOON).await.0, 0);
}

#[tokio::test]
async fn a_process_opens_no_more_connections_than_it_may() {
    let Some(database) = Database::postgres().await else { return };
    let cable = Cable::to(database.address()).await;
    let bugle = Bugle::on(NatsServer::shared().await, database);
    bugle.cli(&["setup"]).await.ok();
    bugle.set("DATABASE__URL", &bugle.database.url_through(cable.port));
    for connections in [2, 6] {
        bugle.set("DATABASE__CONNECTIONS", &connections.to_string());
        bugle.start_roles(&[Role::Api]).await;
        let api = bugle.api();
        eventually("connections are used up to the limit", SOON, async || {
            futures_util::future::join_all((0..40).map(|_| api.get("/v1/deliveries"))).await;
            let most = cable.most_at_once();
            assert!(most <= connections, "{most} connections where {connections} are allowed");
            ensure(most == connections, format!("{most} of {connections}"))
        })
        .await;
        bugle.kill_9(Role::Api);
        cable.forget();
    }
}

#[tokio::test]
async fn a_router_takes_no_more_events_than_it_has_slots() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.cli(&["setup"]).await.ok();
    bugle.apply(&everything_to(&sink.url("/hook"))).await;
    bugle.set("ROUTER__SLOTS", "3");
    bugle.start_roles(&[Role::Router]).await;
    // Frozen with an open pull, it is handed what it asked for and acknowledges nothing.
    bugle.freeze_all();
    let wire = bugle.wire().await;
    for number in 0..20 {
        wire.event("a:b", &number.to_string(), &json!({})).await;
    }
    let stream = wire.js.get_stream(wire.stream_name("EVENTS")).await.unwrap();
    let info = stream.consumer_info("router").await.unwrap();
    assert!(info.num_ack_pending <= 3, "{} in hand", info.num_ack_pending);
    assert!(info.num_ack_pending + usize::try_from(info.num_pending).unwrap() == 20);
    bugle.thaw_all();
    eventually("all are routed", SOON, async || {
        let queued = wire.messages("DELIVERIES").await;
        ensure(queued == 20, format!("{queued}"))
    })
    .await;
}

#[tokio::test]
async fn routing_stops_while_the_queue_is_over_its_bound_and_goes_on_after() {
    let server = NatsServer::start().await;
    let (bugle, sink) = (Bugle::on(&server, Database::sqlite()), Sink::start().await);
    bugle.cli(&["setup"]).await.ok();
    bugle.apply(&everything_to(&sink.url("/hook"))).await;
    bugle.set("ROUTER__QUEUE_MIB_MAX", "1");
    bugle.start_roles(&[Role::Router]).await;
    let wire = bugle.wire().await;
    let heavy = json!({ "filler": "x".repeat(100_000) });
    for number in 0..15 {
        wire.event("a:b", &format!("before-{number}"), &heavy).await;
    }
    eventually("the queue is over its bound, and the router knows", SOON, async || {
        let log = bugle.log("router");
        ensure(log.contains("crossed its bound"), "the router says nothing")
    })
    .await;
    // A pull that was open when the gate closed still takes what comes; it ends within a second.
    steadily("the open pull ends", Duration::from_secs(2), async || Ok(())).await;
    let queued = wire.messages("DELIVERIES").await;
    for number in 0..5 {
        wire.event("a:b", &format!("after-{number}"), &heavy).await;
    }
    steadily("nothing more is routed", Duration::from_secs(3), async || {
        let now = wire.messages("DELIVERIES").await;
        ensure(now == queued, format!("{now} where {queued} were"))
    })
    .await;
    bugle.start_roles(&[Role::Worker]).await;
    sink.receives_within(Duration::from_secs(30), 20, "/hook").await;
}

#[tokio::test]
async fn slots_and_shares_bound_what_is_tried_at_once() {
    for (channel_share, workspace_share, at_once) in
        [("1.0", "1.0", 8), ("0.5", "1.0", 4), ("1.0", "0.25", 2)]
    {
        let (bugle, sink) = (Bugle::new().await, Sink::start().await);
        sink.script("/hook", [Answer::Hold]);
        bugle.set("WORKER__SLOTS", "8");
        bugle.set("WORKER__CHANNEL_SHARE", channel_share);
        bugle.set("WORKER__WORKSPACE_SHARE", workspace_share);
        bugle.cli(&["setup"]).await.ok();
        bugle.apply(&everything_to(&sink.url("/hook"))).await;
        bugle.start_roles(&[Role::Router, Role::Worker]).await;
        let wire = bugle.wire().await;
        for number in 0..20 {
            wire.event("a:b", &number.to_string(), &json!({})).await;
        }
        sink.receives(at_once, "/hook").await;
        // What was put off comes back in the retry lane after 0.75 s at the earliest, and has a share of its own there.
        steadily("no more are tried", Duration::from_millis(600), async || {
            let tried = sink.requests("/hook").len();
            ensure(tried == at_once, format!("{tried} where {at_once} may be"))
        })
        .await;
    }
}

#[tokio::test]
async fn plain_http_and_private_addresses_are_refused_unless_allowed() {
    for (plain_http, addresses, reason) in
        [("false", "127.0.0.0/8", "misconfigured"), ("true", "", "blocked_address")]
    {
        let (bugle, sink) = (Bugle::new().await, Sink::start().await);
        bugle.set("WORKER__ALLOW_PLAIN_HTTP", plain_http);
        bugle.set("WORKER__ALLOW_ADDRESSES", addresses);
        bugle.start_with(&everything_to(&sink.url("/hook"))).await;
        bugle.wire().await.event("a:b", "1", &json!({})).await;
        let shown = bugle.api().shows(1, "").await;
        let whole = eventually("the try is recorded", SOON, async || {
            let whole = bugle.api().delivery(shown[0]["id"].as_str().unwrap()).await;
            let tried = whole["timeline"].as_array().is_some_and(|steps| !steps.is_empty());
            if tried { Ok(whole) } else { Err(whole.to_string()) }
        })
        .await;
        assert_eq!(whole["timeline"][0]["reason"], reason, "{whole:#}");
        assert!(!whole.to_string().contains("127.0.0.1"), "an address is shown: {whole:#}");
        assert!(sink.requests("/hook").is_empty());
    }
}

#[tokio::test]
async fn a_proxy_that_is_set_is_used() {
    let (bugle, proxy) = (Bugle::new().await, Sink::start().await);
    bugle.set("WORKER__PROXY", &proxy.url(""));
    let channel = webhook("hook", "http://receiver.invalid/hook");
    bugle.start_with(&json!({ "channels": [channel], "rules": [rule("all", "*", "hook")] })).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    let requests = proxy.receives(1, "/hook").await;
    assert_eq!(requests[0].headers["host"], "receiver.invalid");
}

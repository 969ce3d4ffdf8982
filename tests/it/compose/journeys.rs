//! The fleet of docker-compose.yml at work, as processes.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream;
use serde_json::json;

use super::world::World;
use crate::support::prometheus;
use crate::support::sink::Sink;
use crate::support::{LATER, SOON, ensure, eventually, pause};

/// What has programs of its own that are not on every machine, and is tried elsewhere.
const WITHOUT: &[&str] = &["prometheus", "grafana"];

async fn publish(js: &jetstream::Context, event_type: &str, id: &str, data: &serde_json::Value) {
    let subject = format!("bugle.events.default.{}", event_type.replace(':', "."));
    let mut headers = async_nats::HeaderMap::new();
    headers.append("Nats-Msg-Id", format!("default/compose/{id}").as_str());
    js.publish_with_headers(subject, headers, data.to_string().into()).await.unwrap().await.unwrap();
}

/// What the broker refused to somebody.
fn refusals(world: &World) -> Vec<String> {
    world.log("nats").lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_fleet_takes_events_of_a_producer_sends_them_and_keeps_the_history() {
    // Grafana cannot be had; its files are tried beside the dashboards.
    let without = if prometheus::programs().is_some() { &["grafana"] } else { WITHOUT };
    let Some(mut world) = World::up(&[], without, &[], &[]).await else { return };
    let producer = world.nats("producer").await;
    let js = jetstream::new(producer);
    publish(&js, "build:failed", "1", &json!({ "branch": "main" })).await;
    let api = world.api();
    let sent = api.shows_within(LATER, 2, "status=sent").await;
    let mut channels: Vec<&str> = sent.iter().map(|delivery| delivery["channel"].as_str().unwrap()).collect();
    channels.sort_unstable();
    assert_eq!(channels, ["console", "mail"]);
    let mails = world.mail.as_ref().unwrap().receives(1).await;
    assert_eq!(mails[0].to(), "ops@example.com");
    assert!(world.log("worker").contains("Build failed"), "the console is the worker's standard output");
    let (well, said) = world.by_hand("cli", &["channels", "list"]).await;
    assert!(well && said.contains("mail"), "{said}");
    assert_eq!(world.of("router").len(), 2);
    let (well, said) = world.by_hand("cli", &["status"]).await;
    assert!(well && said.matches(" ready ").count() >= 6, "every process may answer: {said}");
    let (well, said) = world.by_hand("cli", &["doctor", "--monitor", "http://nats:8222"]).await;
    assert!(well && said.contains("always: each message is on the disk"), "{said}");
    if without.len() == 1 {
        eventually("Prometheus sees every process, and no alert", LATER, async || {
            let up = world.asks_prometheus("sum(up{job=\"bugle\"})").await;
            let all = up["data"]["result"]
                .as_array()
                .is_some_and(|found| found.iter().any(|one| one["value"][1] == "9"));
            ensure(all, up.to_string())
        })
        .await;
        let firing = world.asks_prometheus("ALERTS{alertstate=\"firing\",severity=\"page\"}").await;
        assert_eq!(firing["data"]["result"], json!([]), "{firing:#}");
    }
    assert_eq!(refusals(&world), Vec::<String>::new());
}

#[tokio::test]
async fn a_producers_key_publishes_events_and_opens_nothing_else() {
    let without = [WITHOUT, &["worker-push", "worker-email", "mail"]].concat();
    let Some(world) = World::up(&[], &without, &[("router", 1), ("worker", 1), ("recorder", 1)], &[]).await
    else {
        return;
    };
    let producer = world.nats("producer").await;
    let mut js = jetstream::new(producer.clone());
    js.set_timeout(Duration::from_secs(1));
    publish(&js, "a:b", "1", &json!({})).await;
    for subject in [
        "bugle.outcomes.sent.default.mail",
        "bugle.deliveries.email.normal.default.mail",
        "$KV.BUGLE_CONFIG.tokens.x",
    ] {
        let sent = js.publish(subject, "{}".into()).await.unwrap().await;
        assert!(sent.is_err(), "{subject} is open: {sent:?}");
    }
    assert!(js.get_stream("BUGLE_EVENTS").await.is_err());
    // Others' answers are others'.
    let mut spied = producer.subscribe("_INBOX_api.>").await.unwrap();
    producer.flush().await.unwrap();
    world.api().get("/v1/deliveries").await.expect(200);
    let heard =
        tokio::time::timeout(Duration::from_millis(500), futures_util::StreamExt::next(&mut spied)).await;
    assert!(!matches!(heard, Ok(Some(_))), "{heard:?}");
    let stranger = async_nats::ConnectOptions::new().connect(world.nats_url()).await;
    assert!(stranger.is_err(), "who shows no key is nobody");
}

/// Every role is stopped and started again, one process after the other, while events come in.
#[tokio::test]
async fn a_rolling_restart_under_load_loses_nothing_and_ends_everything_once() {
    let sink = Sink::start().await;
    let hook = sink.url("/hook");
    let without = [WITHOUT, &["worker-push", "worker-email", "mail"]].concat();
    let more = [
        ("worker", "BUGLE__WORKER__ALLOW_PLAIN_HTTP", "true"),
        ("worker", "BUGLE__WORKER__ALLOW_ADDRESSES", "127.0.0.0/8"),
    ];
    let scale = [("worker", 4), ("api", 1)];
    let Some(mut world) = World::up(&[("WEBHOOK_URL", &hook)], &without, &scale, &more).await else { return };
    assert_eq!(world.of("worker").len(), 4, "--scale worker=4");
    let js = jetstream::new(world.nats("producer").await);
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let load = tokio::spawn(async move {
        let mut sent = 0_u32;
        while !*stopped.borrow_and_update() {
            publish(&js, "load:tick", &sent.to_string(), &json!({ "n": sent })).await;
            sent += 1;
            pause(Duration::from_millis(10)).await;
        }
        sent
    });
    for service in ["router", "worker", "recorder", "api"] {
        for index in world.of(service) {
            world.restart(index).await;
        }
    }
    for service in ["router", "worker", "recorder"] {
        let index = world.of(service)[0];
        world.crash(index).await;
    }
    stop.send_replace(true);
    let events = load.await.unwrap();
    assert!(events > 100, "{events}");
    eventually("every event has its end", LATER, async || {
        let stats = world.api().get("/v1/deliveries/stats").await.expect(200);
        let of = |state: &str| stats["states"][state].as_u64().unwrap_or_default();
        // Slack is switched off: its deliveries end suppressed.
        let whole = of("sent") == u64::from(2 * events) && of("suppressed") == u64::from(events);
        ensure(whole && stats["total"] == 3 * events, format!("{events} events on 3 channels: {stats}"))
    })
    .await;
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for request in sink.requests("/hook") {
        *seen.entry(request.json()["data"]["n"].to_string()).or_default() += 1;
    }
    assert_eq!(seen.len(), events as usize, "every event came");
    // A crash may repeat what was in flight, a restart repeats nothing: 128 tries at once are the most that one worker has.
    let twice = seen.values().filter(|count| **count > 1).count();
    assert!(twice <= 128, "{twice} of {events} came twice");
    assert_eq!(refusals(&world), Vec::<String>::new());
}

/// Whatever the API and the workers can be asked for: no user of NATS lacks what it needs.
#[tokio::test]
async fn nobody_in_the_fleet_is_refused_what_it_needs() {
    let sink = Sink::start().await;
    let hook = sink.url("/hook");
    let more = [
        ("worker", "BUGLE__WORKER__ALLOW_PLAIN_HTTP", "true"),
        ("worker", "BUGLE__WORKER__ALLOW_ADDRESSES", "127.0.0.0/8"),
        ("api", "BUGLE__WORKER__ALLOW_PLAIN_HTTP", "true"),
        ("api", "BUGLE__WORKER__ALLOW_ADDRESSES", "127.0.0.0/8"),
    ];
    let scale = [("router", 1), ("worker", 1), ("recorder", 1)];
    let Some(mut world) = World::up(&[("WEBHOOK_URL", &hook)], WITHOUT, &scale, &more).await else { return };
    let api = world.api();
    let put = async |path: &str, body: serde_json::Value| {
        let request = crate::support::api::json(api.request("PUT", path), &body);
        let reply = crate::support::api::reply(request).await;
        assert!(reply.status < 300, "PUT {path}: {} {:#}", reply.status, reply.body);
    };
    let channel = json!({ "kind": "webhook", "config": { "url": hook }, "retry": { "scheduleMs": [1200] },
        "rateLimit": { "perSecond": 50, "burst": 5 } });
    put("/v1/notification-channels/paced", channel).await;
    put("/v1/notification-channels/push", json!({ "kind": "expo", "config": {} })).await;
    put("/v1/recipients/ann", json!({ "kind": "human", "contacts": { "email": "ann@example.com" } })).await;
    put(
        "/v1/rules/paced",
        json!({ "events": ["paced:*"], "channels": ["paced", "in_app"], "recipients": ["ann"],
        "cooldownMs": 60000, "cooldownKey": "{{k}}", "dedupe": { "key": "{{k}}", "windowMs": 60000 } }),
    )
    .await;
    put(
        "/v1/sources/hooks",
        json!({ "http": { "secrets": ["0123456789abcdef0123456789abcdef"] }, "map": { "type": "hook:came" } }),
    )
    .await;
    for channel in ["webhook", "paced"] {
        let tested = api.post(&format!("/v1/notification-channels/{channel}/test"), &json!({})).await;
        assert!(tested.status < 300, "{} {:#}", tested.status, tested.body);
    }
    let js = jetstream::new(world.nats("producer").await);
    for (id, key) in [("1", "a"), ("2", "a"), ("3", "b")] {
        publish(&js, "paced:now", id, &json!({ "k": key })).await;
    }
    sink.script(
        "/hook",
        [crate::support::sink::Answer::Status(503), crate::support::sink::Answer::Status(200)],
    );
    publish(&js, "paced:later", "4", &json!({ "k": "c" })).await;
    let later = json!({ "channel": "webhook", "title": "later", "body": "b", "delayMs": 3_600_000 });
    let later = api.post("/v1/notifications/send", &later).await.expect(202);
    let soon = json!({ "channel": "webhook", "title": "soon", "body": "b" });
    api.post("/v1/notifications/send", &soon).await.expect(202);
    let cancelled = api.delete(&format!("/v1/notifications/send/{}", later["id"].as_str().unwrap())).await;
    assert!(cancelled.status < 300, "{} {:#}", cancelled.status, cancelled.body);
    api.post("/v1/events", &json!({ "type": "by:api", "data": {} })).await;
    api.shows_within(LATER, 1, "rule=paced&status=suppressed").await;
    api.shows_within(SOON, 2, "rule=paced&status=sent&channel=paced").await;
    put("/v1/notifications/preferences?recipient=ann", json!({ "preferences": [] })).await;
    sink.script("/hook", [crate::support::sink::Answer::Status(400)]);
    publish(&js, "paced:refused", "5", &json!({ "k": "d" })).await;
    api.shows_within(LATER, 1, "status=failed&channel=paced").await;
    sink.script("/hook", [crate::support::sink::Answer::Status(200)]);
    for (command, sent) in [
        (["dead", "redrive", "--all", "--fault", "recipient"].as_slice(), "1"),
        (&["replay", "--since", "1h", "--rule", "paced"], ""),
    ] {
        let (well, said) = world.by_hand("cli", command).await;
        assert!(well && said.contains(sent), "{command:?}: {said}");
    }
    world.by_hand("cli", &["dead", "list"]).await;
    assert_eq!(refusals(&world), Vec::<String>::new());
}

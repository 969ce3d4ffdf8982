//! Subjects and streams of others.

use async_nats::jetstream::stream::{Config, RetentionPolicy};
use serde_json::json;

use super::{attached, fleet, foreign_stream, metric, put, types};
use crate::support::bugle::{Bugle, Role, everything_to, with};
use crate::support::wire::Wire;
use crate::support::{LATER, SOON, ensure, eventually, steadily, unique};

#[tokio::test]
async fn subjects_that_lie_in_no_stream_become_events_without_a_change_of_their_producer() {
    let subject = unique("orders");
    let (bugle, sink, wire) = fleet(&json!([
        { "id": "orders", "nats": { "subjects": [format!("{subject}.>")], "keepDays": 2 },
          "map": { "type": "order:{{_source.tokens[1]}}", "id": "{{number}}", "severity": "{{level}}" } },
    ]))
    .await;
    let stream = format!("{}_SOURCE_default=orders", bugle.prefix.to_uppercase());
    attached(&bugle, &wire, &stream, "orders").await;
    // A producer that knows nothing of JetStream.
    let producer = async_nats::connect(&bugle.nats_url).await.unwrap();
    for number in 1..=3 {
        let body = json!({ "number": number, "level": "fatal" }).to_string();
        producer.publish(format!("{subject}.created"), body.into()).await.unwrap();
    }
    producer.flush().await.unwrap();
    let requests = sink.receives(3, "/hook").await;
    assert_eq!(types(&requests), ["order:created"; 3]);
    assert_eq!(requests[0].json()["severity"], "critical");
    assert_eq!(requests[0].json()["event"]["source"], "bugle:source:orders");
    let config = wire.js.get_stream(&stream).await.unwrap().cached_info().config.clone();
    assert_eq!(config.max_age.as_secs(), 2 * 24 * 3600);
    bugle.api().shows(3, "status=sent").await;
}

#[tokio::test]
async fn an_existing_stream_is_read_from_where_it_is_told_and_left_as_it_is() {
    let (bugle, sink, wire) = fleet(&json!([])).await;
    let (name, subject) = (unique("STREAM"), unique("shop"));
    foreign_stream(&wire, &name, &format!("{subject}.>")).await;
    for number in 1..=3 {
        wire.put(&format!("{subject}.paid"), &[], json!({ "n": number }).to_string()).await;
    }
    wire.put(&format!("{subject}.other"), &[], "{}").await;
    let before = wire.js.get_stream(&name).await.unwrap().cached_info().config.clone();
    let api = bugle.api();
    put(&api, "new", &json!({ "nats": { "stream": name }, "map": { "type": "new" } })).await;
    attached(&bugle, &wire, &name, "new").await;
    let all = json!({ "nats": { "stream": name, "subjects": [format!("{subject}.paid")], "from": "all" },
        "map": { "type": "all" } });
    put(&api, "all", &all).await;
    let requests = sink.receives(3, "/hook").await;
    assert_eq!(types(&requests), ["all"; 3]);
    wire.put(&format!("{subject}.paid"), &[], json!({ "n": 4 }).to_string()).await;
    let requests = sink.receives(5, "/hook").await;
    assert_eq!(types(&requests), ["all", "all", "all", "all", "new"]);
    let after = wire.js.get_stream(&name).await.unwrap().cached_info().clone();
    assert_eq!((after.config, after.state.messages), (before, 5));
}

#[tokio::test]
async fn a_source_says_whether_it_is_attached_and_what_stands_in_the_way() {
    let (bugle, sink, wire) = fleet(&json!([])).await;
    let (name, subject) = (unique("STREAM"), unique("queue"));
    let api = bugle.api();
    let status = async |id: &str| api.get(&format!("/v1/sources/{id}")).await.expect(200)["status"].clone();
    put(&api, "late", &json!({ "nats": { "stream": name, "from": "all" }, "map": { "type": "late" } })).await;
    let absent = status("late").await;
    assert_eq!(absent["attached"], false);
    assert!(absent["why"].as_str().unwrap().contains(&format!("there is no stream {name}")), "{absent}");

    foreign_stream(&wire, &name, &format!("{subject}.>")).await;
    attached(&bugle, &wire, &name, "late").await;
    wire.put(&format!("{subject}.a"), &[], "{}").await;
    sink.receives(1, "/hook").await;
    eventually("all of it is taken", SOON, async || {
        let found = status("late").await;
        let wanted = json!({ "attached": true, "why": null, "pending": 0, "inHand": 0 });
        ensure(found == wanted, format!("{found}"))
    })
    .await;
    // What was read may be sent back whole.
    let read = api.get("/v1/sources/late").await.expect(200);
    let written = put(&api, "late", &read).await;
    assert_eq!((written.get("status"), &written["meta"]["version"]), (None, &json!(1)));

    put(&api, "taken", &json!({ "nats": { "subjects": [format!("{subject}.a")] } })).await;
    let elsewhere = status("taken").await;
    assert_eq!(elsewhere["attached"], false);
    assert!(
        elsewhere["why"].as_str().unwrap().contains(&format!("lies in the stream {name}")),
        "{elsewhere}"
    );
    let queue = Config {
        name: unique("QUEUE"),
        subjects: vec![unique("jobs")],
        retention: RetentionPolicy::WorkQueue,
        ..Default::default()
    };
    wire.js.create_stream(queue.clone()).await.unwrap();
    let documents = json!({ "sources": [
        { "id": "queue", "nats": { "stream": queue.name } },
        { "id": "closed", "http": { "secret": "${NOT_SET_ANYWHERE}" } },
        { "id": "off", "enabled": false, "nats": { "stream": "NONE" } },
    ] });
    let applied = bugle.apply_as("file", &documents).await.ok();
    for said in [
        "note: source default/closed takes nothing where the API finds, as here: at /secret: the variable NOT_SET_ANYWHERE",
        &format!("note: source default/queue cannot be attached now: {} is a work queue", queue.name),
    ] {
        assert!(applied.contains(said), "{applied}");
    }
    assert_eq!(applied.matches("note: ").count(), 2, "{applied}");
    assert!(status("queue").await["why"].as_str().unwrap().contains("with `from: all`"));
    let closed = status("closed").await;
    assert_eq!(closed["secretsReadable"], false);
    assert!(closed["why"].as_str().unwrap().contains("the variable NOT_SET_ANYWHERE is not set"), "{closed}");
    assert_eq!(status("off").await["why"], "it is switched off");
}

#[tokio::test]
async fn sources_of_several_workspaces_meet_their_own_rules() {
    let (bugle, sink, wire) = fleet(&json!([])).await;
    let (name, subject) = (unique("STREAM"), unique("teams"));
    foreign_stream(&wire, &name, &format!("{subject}.>")).await;
    for workspace in ["red", "blue"] {
        let documents = with(
            everything_to(&sink.url(&format!("/{workspace}"))),
            &json!({ "workspace": workspace, "sources": [
                { "id": "own", "nats": { "stream": name, "subjects": [format!("{subject}.{workspace}")], "from": "all" } },
            ] }),
        );
        bugle.apply_as(workspace, &documents).await.ok();
    }
    let mapped = json!({ "nats": { "stream": name, "subjects": [format!("{subject}.any")], "from": "all" },
        "map": { "type": "mapped", "workspace": "{{team}}" }, "workspaces": ["red", "blue"] });
    put(&bugle.api(), "any", &mapped).await;
    for (to, body) in [("red", json!({})), ("blue", json!({})), ("any", json!({ "team": "blue" }))] {
        wire.put(&format!("{subject}.{to}"), &[], body.to_string()).await;
    }
    wire.put(&format!("{subject}.any"), &[], json!({ "team": "green" }).to_string()).await;
    assert_eq!(types(&sink.receives(2, "/blue").await), ["mapped".to_owned(), format!("{subject}:blue")]);
    assert_eq!(types(&sink.receives(1, "/red").await), [format!("{subject}:red")]);
    let letters = bugle.buries(1).await;
    assert!(letters[0]["detail"].as_str().unwrap().contains("at /map/workspace"), "{letters:#?}");
    assert!(sink.requests("/hook").is_empty(), "a workspace of its own is none of default's");
}

#[tokio::test]
async fn a_message_that_makes_no_event_is_kept_with_its_source_and_can_be_sent_again() {
    let (bugle, sink, wire) = fleet(&json!([])).await;
    let (name, subject) = (unique("STREAM"), unique("odd"));
    foreign_stream(&wire, &name, &format!("{subject}.>")).await;
    let api = bugle.api();
    let source = |kind: &str| json!({ "nats": { "stream": name, "from": "all" }, "map": { "type": kind } });
    put(&api, "odd", &source("{{kind}}")).await;
    wire.put(&format!("{subject}.a"), &[("X-Trace", "7")], "{ not json").await;
    wire.put(&format!("{subject}.a"), &[], json!({ "nokind": 1 }).to_string()).await;
    let letters = bugle.buries(2).await;
    let broken = letters.iter().find(|letter| letter["message"]["body"] == "{ not json").unwrap();
    let unmapped = letters.iter().find(|letter| letter["message"]["body"] != "{ not json").unwrap();
    for letter in [broken, unmapped] {
        assert_eq!((&letter["reason"], &letter["message"]["source"]), (&json!("unmapped"), &json!("odd")));
        assert_eq!(letter["message"]["subject"], format!("{subject}.a"));
    }
    assert!(unmapped["detail"].as_str().unwrap().contains("at /map/type"), "{unmapped:#}");
    assert!(broken["detail"].as_str().unwrap().contains("not JSON"), "{broken:#}");

    put(&api, "odd", &source("odd:thing")).await;
    let stored = wire.js.get_stream(&name).await.unwrap().cached_info().state.messages;
    bugle.cli(&["dead", "redrive", &unmapped["sequence"].to_string()]).await.ok();
    assert_eq!(types(&sink.receives(1, "/hook").await), ["odd:thing"]);
    let refused = bugle.cli(&["dead", "redrive", &broken["sequence"].to_string()]).await;
    assert!(refused.code == 1 && refused.stdout.contains("still makes no event"), "{refused:?}");
    let now = wire.js.get_stream(&name).await.unwrap().cached_info().state.messages;
    assert_eq!(now, stored, "its own stream sees nothing of it");
}

#[tokio::test]
async fn a_router_killed_in_the_middle_of_a_source_loses_and_doubles_nothing() {
    let (bugle, sink, wire) = fleet(&json!([])).await;
    let (name, subject) = (unique("STREAM"), unique("many"));
    foreign_stream(&wire, &name, &format!("{subject}.>")).await;
    put(&bugle.api(), "many", &json!({ "nats": { "stream": name, "from": "all" } })).await;
    attached(&bugle, &wire, &name, "many").await;
    for number in 0..200 {
        wire.put(&format!("{subject}.a"), &[], json!({ "n": number }).to_string()).await;
        if number % 80 == 40 {
            bugle.kill_9(Role::Router);
            bugle.adopt(bugle.spawn(Role::Router));
        }
    }
    bugle.until_ready(LATER).await;
    // What the dead routers had in hand comes back when the broker has waited long enough.
    sink.receives_within(LATER, 200, "/hook").await;
    bugle.api().shows(200, "status=sent").await;
    let events = wire.messages("EVENTS").await;
    assert_eq!(events, 200, "each message is one event");
    assert_eq!(sink.counts("/hook").len(), 200);
}

#[tokio::test]
async fn a_source_is_changed_and_removed_while_the_fleet_runs() {
    let (bugle, sink, wire) = fleet(&json!([])).await;
    let (name, second, subject) = (unique("STREAM"), unique("STREAM"), unique("sub"));
    foreign_stream(&wire, &name, &format!("{subject}.first.>")).await;
    foreign_stream(&wire, &second, &format!("{subject}.second.>")).await;
    let api = bugle.api();
    put(&api, "s", &json!({ "nats": { "stream": name }, "map": { "type": "one" } })).await;
    attached(&bugle, &wire, &name, "s").await;
    wire.put(&format!("{subject}.first.a"), &[], "{}").await;
    assert_eq!(types(&sink.receives(1, "/hook").await), ["one"]);

    // Other subjects of the same stream: the consumer stays.
    let narrow = |filters: &[&str]| {
        let subjects: Vec<String> =
            filters.iter().map(|filter| format!("{subject}.first.{filter}")).collect();
        json!({ "nats": { "stream": name, "subjects": subjects }, "map": { "type": "one:{{_source.tokens[2]}}" } })
    };
    for (filters, count, last) in [(&["b"][..], 2, "b"), (&["b", "c"], 3, "c"), (&[], 4, "a")] {
        put(&api, "s", &narrow(filters)).await;
        filtered(&bugle, &wire, &name, filters.len()).await;
        if !filters.is_empty() {
            wire.put(&format!("{subject}.first.x"), &[], "{}").await;
        }
        wire.put(&format!("{subject}.first.{last}"), &[], "{}").await;
        let found = types(&sink.receives(count, "/hook").await);
        assert!(found.contains(&format!("one:{last}")) && !found.contains(&"one:x".to_owned()), "{found:?}");
    }

    put(&api, "s", &json!({ "nats": { "stream": second }, "map": { "type": "two" } })).await;
    attached(&bugle, &wire, &second, "s").await;
    wire.put(&format!("{subject}.second.a"), &[], "{}").await;
    wire.put(&format!("{subject}.first.b"), &[], "{}").await;
    assert_eq!(types(&sink.receives(5, "/hook").await), ["one", "one:a", "one:b", "one:c", "two"]);
    let durables =
        async |stream: &str| wire.js.get_stream(stream).await.unwrap().cached_info().state.consumer_count;
    eventually("the first stream is let go of", SOON, async || ensure(durables(&name).await == 0, "not yet"))
        .await;

    api.delete("/v1/sources/s").await.expect(204);
    eventually("the second one too", SOON, async || ensure(durables(&second).await == 0, "not yet")).await;
    wire.put(&format!("{subject}.second.b"), &[], "{}").await;
    steadily("nothing more arrives", std::time::Duration::from_secs(1), async || {
        ensure(sink.requests("/hook").len() == 5, "something did")
    })
    .await;
    assert_eq!(
        wire.js.get_stream(&second).await.unwrap().cached_info().state.messages,
        2,
        "it is not ours to empty"
    );

    // A stream that Bugle made goes with its source.
    let third = |rest: &str| json!({ "nats": { "subjects": [format!("{subject}.third{rest}")] }, "map": { "type": "made" } });
    put(&api, "made", &third("")).await;
    let made = format!("{}_SOURCE_default=made", bugle.prefix.to_uppercase());
    attached(&bugle, &wire, &made, "made").await;
    put(&api, "made", &third(".>")).await;
    eventually("its stream has the new subjects", SOON, async || {
        let subjects = wire.js.get_stream(&made).await.unwrap().cached_info().config.subjects.clone();
        ensure(subjects == [format!("{subject}.third.>")], format!("{subjects:?}"))
    })
    .await;
    wire.put(&format!("{subject}.third.a"), &[], "{}").await;
    sink.receives(6, "/hook").await;
    api.delete("/v1/sources/made").await.expect(204);
    eventually("its stream goes", SOON, async || ensure(wire.js.get_stream(&made).await.is_err(), "not yet"))
        .await;
}

/// Waits until the consumer of the source `s` has so many filters.
async fn filtered(bugle: &Bugle, wire: &Wire, stream: &str, count: usize) {
    let durable = format!("{}-source-default=s", bugle.prefix);
    eventually("the consumer has its filters", SOON, async || {
        let info = wire.js.get_stream(stream).await.unwrap().consumer_info(&durable).await.unwrap();
        let single = usize::from(!info.config.filter_subject.is_empty());
        let found = info.config.filter_subjects.len() + single;
        ensure(found == count, format!("{found}"))
    })
    .await;
}

#[tokio::test]
async fn what_the_broker_refuses_is_said_once_and_ends_nothing() {
    let (bugle, sink, wire) = fleet(&json!([])).await;
    let (name, queue, subject) = (unique("STREAM"), unique("QUEUE"), unique("taken"));
    foreign_stream(&wire, &name, &format!("{subject}.>")).await;
    let config = Config {
        name: queue.clone(),
        subjects: vec![format!("jobs-{subject}")],
        retention: RetentionPolicy::WorkQueue,
        ..Default::default()
    };
    wire.js.create_stream(config).await.unwrap();
    let api = bugle.api();
    put(&api, "overlap", &json!({ "nats": { "subjects": [format!("{subject}.created")] } })).await;
    put(&api, "queue", &json!({ "nats": { "stream": queue } })).await;
    put(&api, "missing", &json!({ "nats": { "stream": "NO_SUCH_STREAM" } })).await;
    for says in [
        format!("lies in the stream {name} already: attach that one"),
        format!("{queue} is a work queue: it can be read from its beginning alone"),
        "there is no stream NO_SUCH_STREAM".to_owned(),
    ] {
        eventually(&says, SOON, async || ensure(bugle.log("router").contains(&says), "it is not said")).await;
    }
    wire.event("a:b", "1", &json!({})).await;
    sink.receives(1, "/hook").await;
    let router = bugle.take(Role::Router).remove(0);
    let (_, metrics) = router.admin("/metrics").await;
    assert_eq!(metric(&metrics, "bugle_sources_unattached "), 3);
    bugle.adopt(router);
    let log = bugle.log("router");
    assert_eq!(log.matches("there is no stream NO_SUCH_STREAM").count(), 1, "{log}");
    assert!(bugle.readiness().await.iter().all(|(_, status, _)| *status == 200));
    let own = json!({ "nats": { "stream": wire.stream_name("EVENTS") } });
    let refused = crate::support::api::json(api.request("PUT", "/v1/sources/own"), &own);
    let refused = crate::support::api::reply(refused).await.expect_problem(400);
    assert!(refused["detail"].as_str().unwrap().contains("Bugle's own"), "{refused}");
    let subjects = [wire.subject("events.default.>")];
    let refused = bugle
        .apply_as("own", &json!({ "sources": [{ "id": "own", "nats": { "subjects": subjects } }] }))
        .await;
    assert!(refused.code == 78 && refused.stderr.contains("at /sources/0/nats: "), "{refused:?}");
    bugle.set_variable("SHORT", "hunter2");
    let short = json!({ "sources": [{ "id": "in", "http": { "secret": "${SHORT}" } }] });
    let refused = bugle.apply_as("short", &short).await;
    assert!(
        refused.code == 78 && refused.stderr.contains("at /sources/0/http/secret: is too short"),
        "{refused:?}"
    );
    assert!(!refused.stderr.contains("hunter2"), "{refused:?}");
}

#[tokio::test]
async fn a_source_that_is_off_waits_and_one_whose_consumer_was_deleted_goes_on_where_it_stood() {
    let (bugle, sink, wire) = fleet(&json!([])).await;
    let (name, subject) = (unique("STREAM"), unique("kept"));
    foreign_stream(&wire, &name, &format!("{subject}.>")).await;
    let api = bugle.api();
    let source = |enabled: bool| json!({ "enabled": enabled, "nats": { "stream": name, "from": "all" }, "map": { "type": "kept" } });
    put(&api, "kept", &source(true)).await;
    let publish = async || wire.put(&format!("{subject}.a"), &[], "{}").await;
    publish().await;
    sink.receives(1, "/hook").await;
    let durable = format!("{}-source-default=kept", bugle.prefix);
    let floor = bugle::bus::subject::Names::new(&bugle.prefix).unwrap().floor(&name, &durable);
    eventually("it is written down where it stands", LATER, async || {
        let kept = wire.js.get_stream(wire.stream_name("THROTTLE")).await.unwrap();
        let kept = kept.get_last_raw_message_by_subject(&floor).await.map_err(|error| error.to_string())?;
        let kept: serde_json::Value = serde_json::from_slice(&kept.payload).unwrap();
        ensure(kept["sequence"] == 1, kept.to_string())
    })
    .await;
    wire.js.get_stream(&name).await.unwrap().delete_consumer(&durable).await.unwrap();
    publish().await;
    sink.receives(2, "/hook").await;

    put(&api, "kept", &source(false)).await;
    let waiting = async || {
        let stream = wire.js.get_stream(&name).await.unwrap();
        stream.consumer_info(&durable).await.map(|info| info.num_waiting).unwrap_or_default()
    };
    eventually("nobody asks for messages any more", SOON, async || ensure(waiting().await == 0, "not yet"))
        .await;
    publish().await;
    steadily("it waits", std::time::Duration::from_secs(1), async || {
        ensure(sink.requests("/hook").len() == 2, "something arrived")
    })
    .await;
    put(&api, "kept", &source(true)).await;
    sink.receives(3, "/hook").await;
    assert_eq!(sink.counts("/hook").len(), 3, "none comes twice");
}

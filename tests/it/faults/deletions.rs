//! Somebody deletes what the fleet stands on.

use serde_json::json;

use super::an_event_gets_through;
use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Role, everything_to, rule, webhook, with};
use crate::support::database::Database;
use crate::support::sink::{Answer, Sink};
use crate::support::wire::Wire;
use crate::support::{LATER, eventually};

async fn fleet() -> (NatsServer, Bugle, Sink, Wire) {
    let (server, sink) = (NatsServer::start().await, Sink::start().await);
    let bugle = Bugle::on(&server, Database::sqlite());
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    an_event_gets_through(&bugle, &wire, &sink, "/hook").await;
    (server, bugle, sink, wire)
}

/// The consumers of a stream whose names hold a text.
async fn consumers(wire: &Wire, stream: &str, holding: &str) -> Vec<String> {
    let stream = wire.js.get_stream(wire.stream_name(stream)).await.unwrap();
    let names: Vec<_> = futures_util::StreamExt::collect(stream.consumer_names()).await;
    let names = names.into_iter().map(|name: Result<String, _>| name.unwrap());
    names.filter(|name| name.contains(holding)).collect()
}

async fn delete_consumers(wire: &Wire, stream: &str, holding: &str) {
    let found = consumers(wire, stream, holding).await;
    assert!(!found.is_empty(), "{stream} has no consumer with {holding}");
    let stream = wire.js.get_stream(wire.stream_name(stream)).await.unwrap();
    for name in found {
        stream.delete_consumer(&name).await.unwrap();
    }
}

#[tokio::test]
async fn consumers_deleted_by_hand_are_made_again() {
    let (_server, bugle, sink, wire) = fleet().await;
    for (stream, holding) in [("EVENTS", "router"), ("DELIVERIES", "webhook")] {
        delete_consumers(&wire, stream, holding).await;
        an_event_gets_through(&bugle, &wire, &sink, "/hook").await;
        assert!(!consumers(&wire, stream, holding).await.is_empty());
    }
    delete_consumers(&wire, "RECORDS", "").await;
    an_event_gets_through(&bugle, &wire, &sink, "/hook").await;
    bugle.api().shows_within(LATER, sink.counts("/hook").len(), "status=sent").await;
}

#[tokio::test]
async fn a_router_whose_consumer_was_deleted_goes_on_where_it_stood() {
    let (mut server, bugle, sink, wire) = fleet().await;
    let before = sink.counts("/hook").len();
    for number in 0..30 {
        wire.event("a:b", &format!("old-{number}"), &json!({})).await;
    }
    sink.receives(before + 30, "/hook").await;
    eventually("it is written down where the router stands", LATER, async || {
        let events =
            wire.js.get_stream(wire.stream_name("EVENTS")).await.map_err(|error| error.to_string())?;
        let last = events.cached_info().state.last_sequence;
        let throttle = wire.js.get_stream(wire.stream_name("THROTTLE")).await.unwrap();
        let kept = throttle.get_last_raw_message_by_subject(&wire.subject("throttle._.router")).await;
        let kept = kept.map_err(|error| error.to_string())?;
        let floor: serde_json::Value = serde_json::from_slice(&kept.payload).unwrap();
        crate::support::ensure(floor["sequence"] == last, format!("{floor} of {last}"))
    })
    .await;
    // Nor may anything be on its way: what a worker did not finish is sent again, and rightly.
    eventually("everything is finished", LATER, async || {
        let stream = wire.js.get_stream(wire.stream_name("DELIVERIES")).await.unwrap();
        let consumers: Vec<_> = futures_util::StreamExt::collect(stream.consumers()).await;
        let open = consumers.into_iter().map(|info| {
            let info = info.map_err(|error| error.to_string())?;
            Ok::<_, String>(info.num_ack_pending + usize::try_from(info.num_pending).unwrap())
        });
        let open = open.sum::<Result<usize, String>>()?;
        crate::support::ensure(open == 0, format!("{open} are not"))
    })
    .await;
    // New workers and a new server remember no delivery: only the place keeps the old ones from being sent again.
    bugle.kill_9(Role::Worker);
    server.kill_9();
    server.start_again().await;
    bugle.start_roles(&[Role::Worker]).await;
    delete_consumers(&wire, "EVENTS", "router").await;
    an_event_gets_through(&bugle, &wire, &sink, "/hook").await;
    let twice: Vec<_> = sink.counts("/hook").into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(twice.is_empty(), "sent again: {twice:?}");
}

#[tokio::test]
async fn consumers_deleted_while_the_broker_was_hidden_are_made_again() {
    let (mut server, bugle, sink, wire) = fleet().await;
    // Frozen, the fleet cannot see the deletion; the restart then hides it behind a reconnect.
    bugle.freeze_all();
    delete_consumers(&wire, "EVENTS", "router").await;
    delete_consumers(&wire, "DELIVERIES", "webhook").await;
    delete_consumers(&wire, "RECORDS", "").await;
    server.kill_9();
    server.start_again().await;
    bugle.thaw_all();
    an_event_gets_through(&bugle, &wire, &sink, "/hook").await;
    bugle.api().shows_within(LATER, sink.counts("/hook").len(), "status=sent").await;
}

#[tokio::test]
async fn streams_deleted_by_hand_are_made_again() {
    for name in ["EVENTS", "DELIVERIES", "RECORDS", "THROTTLE", "COUNTS", "PACE", "RECEIPTS"] {
        let (_server, bugle, sink, wire) = fleet().await;
        let before = bugle.api().shows(sink.counts("/hook").len(), "status=sent").await.len();
        wire.js.delete_stream(wire.stream_name(name)).await.unwrap();
        eventually("the fleet resumes or is started anew", LATER, async || {
            for (role, code) in bugle.ended() {
                assert_ne!(code, 0, "{role} ended without saying that it failed");
            }
            revive(&bugle);
            Ok(())
        })
        .await;
        resumes(&bugle, &wire, &sink, name).await;
        bugle.api().shows_within(LATER, before + 1, "status=sent").await;
    }
}

#[tokio::test]
async fn what_fails_and_what_cools_down_is_stored_although_its_stream_was_deleted() {
    let (server, sink) = (NatsServer::start().await, Sink::start().await);
    let bugle = Bugle::on(&server, Database::sqlite());
    sink.script("/gone", [Answer::Status(410)]);
    let quiet = with(rule("quiet", "quiet:*", "hook"), &json!({ "cooldownMs": 60_000 }));
    let documents = json!({
        "channels": [webhook("hook", &sink.url("/hook")), webhook("gone", &sink.url("/gone"))],
        "rules": [quiet, rule("fails", "fail:*", "gone")]
    });
    bugle.start_with(&documents).await;
    let wire = bugle.wire().await;
    for name in ["DEAD", "THROTTLE"] {
        wire.js.delete_stream(wire.stream_name(name)).await.unwrap();
    }
    wire.event("quiet:a", "1", &json!({})).await;
    sink.receives(1, "/hook").await;
    wire.event("quiet:a", "2", &json!({})).await;
    wire.event("fail:a", "3", &json!({})).await;
    bugle.api().shows(1, "status=suppressed").await;
    bugle.api().shows(1, "status=failed").await;
    bugle.buries(1).await;
    assert!(bugle.ended().is_empty());
}

#[tokio::test]
async fn events_without_ids_are_told_apart_after_their_stream_was_made_anew() {
    let (_server, bugle, sink, wire) = fleet().await;
    let subject = wire.subject("events.default.plain.event");
    let before = sink.requests("/hook").len();
    wire.js.delete_stream(wire.stream_name("EVENTS")).await.unwrap();
    resumes(&bugle, &wire, &sink, "EVENTS").await;
    let mut seen = before + 1;
    for _ in 0..2 {
        wire.put(&subject, &[], "{}").await;
        seen += 1;
        sink.receives(seen, "/hook").await;
        wire.js.delete_stream(wire.stream_name("EVENTS")).await.unwrap();
        eventually("the stream is there again", LATER, async || {
            wire.js.get_stream(wire.stream_name("EVENTS")).await.map_err(|error| error.to_string())
        })
        .await;
    }
}

/// What a supervisor does: starts anew what ended with a failure.
fn revive(bugle: &Bugle) {
    for role in Role::ALL {
        for mut member in bugle.take(role) {
            let again = member.process.ended().is_some();
            bugle.adopt(if again { bugle.spawn(role) } else { member });
        }
    }
}

async fn resumes(bugle: &Bugle, wire: &Wire, sink: &Sink, deleted: &str) {
    let before = sink.requests("/hook").len();
    let mut number = 0;
    eventually(&format!("after {deleted} was deleted an event gets through"), LATER, async || {
        revive(bugle);
        number += 1;
        wire.event_whatever_happens("a:b", &format!("after-{deleted}-{number}"), &json!({})).await;
        crate::support::pause(std::time::Duration::from_millis(200)).await;
        crate::support::ensure(sink.requests("/hook").len() > before, "nothing arrives")
    })
    .await;
}

#[tokio::test]
async fn a_deleted_bucket_of_documents_is_made_again_and_takes_them_anew() {
    let (_server, bugle, sink, wire) = fleet().await;
    wire.js.delete_key_value(format!("{}_CONFIG", bugle.prefix.to_uppercase())).await.unwrap();
    eventually("the documents are applied anew", LATER, async || {
        revive(&bugle);
        let said = bugle.apply_as("documents", &everything_to(&sink.url("/anew"))).await;
        crate::support::ensure(said.code == 0, format!("{said:?}"))
    })
    .await;
    eventually("an event goes where the new documents say", LATER, async || {
        revive(&bugle);
        bugle.cli(&["publish", "a:b"]).await.ok();
        crate::support::ensure(!sink.requests("/anew").is_empty(), "nothing arrives")
    })
    .await;
}

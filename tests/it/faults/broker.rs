//! The broker goes away, for a moment or for long, and comes back with its store.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::{an_event_gets_through, each_is_sent_once};
use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, everything_to};
use crate::support::database::Database;
use crate::support::sink::Sink;
use crate::support::{LATER, SOON, ensure, eventually, steadily};

const BURST: usize = 2_000;
const PRODUCERS: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_in_the_middle_of_a_burst_loses_no_acknowledged_event() {
    let (mut server, sink) = (NatsServer::start().await, Sink::start().await);
    let bugle = Bugle::on(&server, Database::sqlite());
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    let events: Vec<String> = (0..BURST).map(|number| format!("e{number}")).collect();
    let producer = &wire;
    let produce = join_all(events.chunks(BURST / PRODUCERS).map(|mine| async move {
        for event in mine {
            producer.event_whatever_happens("a:b", event, &json!({})).await;
        }
    }));
    let interrupt = async {
        sink.receives_within(LATER, BURST / 10, "/hook").await;
        server.kill_9();
        server.start_again().await;
        sink.receives_within(LATER, BURST / 2, "/hook").await;
        server.kill_9();
        server.start_again().await;
    };
    tokio::join!(produce, interrupt);
    each_is_sent_once(&bugle.api(), &sink, "/hook", &events).await;
    assert_eq!(bugle.ended(), [], "a role ended instead of resuming");
}

#[tokio::test]
async fn a_broker_that_is_away_for_long_makes_everyone_unready_and_everyone_resumes() {
    let (mut server, sink) = (NatsServer::start().await, Sink::start().await);
    let bugle = Bugle::on(&server, Database::sqlite());
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    an_event_gets_through(&bugle, &wire, &sink, "/hook").await;
    server.kill_9();
    // At once: sooner than the loops would complain by themselves.
    eventually("nobody is ready", Duration::from_secs(6), async || {
        let ready: Vec<_> =
            bugle.readiness().await.into_iter().filter(|(_, status, _)| *status != 503).collect();
        ensure(ready.is_empty(), format!("{ready:?}"))
    })
    .await;
    steadily("everybody is alive and unready", Duration::from_secs(20), async || {
        let ready: Vec<_> =
            bugle.readiness().await.into_iter().filter(|(_, status, _)| *status != 503).collect();
        ensure(ready.is_empty() && bugle.ended().is_empty(), format!("{ready:?} {:?}", bugle.ended()))
    })
    .await;
    server.start_again().await;
    bugle.until_ready(LATER).await;
    an_event_gets_through(&bugle, &wire, &sink, "/hook").await;
    let sent = sink.counts("/hook").len();
    bugle.api().shows(sent, "status=sent").await;
}

#[tokio::test]
async fn a_fleet_that_starts_before_its_broker_waits_for_it() {
    let (mut server, sink) = (NatsServer::start().await, Sink::start().await);
    let bugle = Bugle::on(&server, Database::sqlite());
    bugle.cli(&["setup"]).await.ok();
    bugle.apply(&everything_to(&sink.url("/hook"))).await;
    server.kill_9();
    let mut members: Vec<_> =
        crate::support::bugle::Role::ALL.iter().map(|role| bugle.spawn(*role)).collect();
    for member in &members {
        eventually("the admin port answers", SOON, async || {
            let (status, _) = member.admin("/healthz").await;
            ensure(status == 200, format!("{status}"))
        })
        .await;
        assert_eq!(member.readyz().await.0, 503);
    }
    server.start_again().await;
    for member in &mut members {
        member.until_ready(LATER).await;
    }
    members.into_iter().for_each(|member| bugle.adopt(member));
    let wire = bugle.wire().await;
    an_event_gets_through(&bugle, &wire, &sink, "/hook").await;
}

#[tokio::test]
async fn a_broker_that_falls_silent_makes_everyone_unready_and_everyone_resumes() {
    let (mut server, sink) = (NatsServer::start().await, Sink::start().await);
    let bugle = Bugle::on(&server, Database::sqlite());
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    an_event_gets_through(&bugle, &wire, &sink, "/hook").await;
    server.freeze();
    eventually("nobody is ready", LATER, async || {
        let ready: Vec<_> =
            bugle.readiness().await.into_iter().filter(|(_, status, _)| *status != 503).collect();
        ensure(ready.is_empty(), format!("{ready:?}"))
    })
    .await;
    server.thaw();
    bugle.until_ready(LATER).await;
    an_event_gets_through(&bugle, &wire, &sink, "/hook").await;
    bugle.api().shows(sink.counts("/hook").len(), "status=sent").await;
}

#[tokio::test]
async fn a_live_stream_outlives_its_broker_without_gap_or_repeat() {
    let (mut server, sink) = (NatsServer::start().await, Sink::start().await);
    let bugle = Bugle::on(&server, Database::sqlite());
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    let mut live = bugle.api().stream("/v1/deliveries/stream", None).await;
    let mut told = Vec::new();
    for round in 0..3 {
        for number in 0..10 {
            wire.event_whatever_happens("a:b", &format!("{round}-{number}"), &json!({})).await;
        }
        for _ in 0..10 {
            told.push(live.outcome(LATER).await.json()["event"]["id"].as_str().unwrap().to_owned());
        }
        server.kill_9();
        server.start_again().await;
    }
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 30, "{told:?}");
}

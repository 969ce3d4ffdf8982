//! Workers and whole fleets that die at the worst moment.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{each_is_sent_once, finals};
use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Role, everything_to};
use crate::support::database::Database;
use crate::support::sink::{Answer, Sink};
use crate::support::{LATER, SOON, ensure, eventually, pause};

#[tokio::test]
async fn a_worker_killed_between_send_and_ack_loses_nothing_and_its_successor_repeats_under_the_same_id() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/hook", [Answer::Hold, Answer::Hold, Answer::Hold, Answer::Status(200)]);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    for id in ["1", "2", "3"] {
        wire.event("a:b", id, &json!({})).await;
    }
    sink.receives(3, "/hook").await;
    bugle.kill_9(Role::Worker);
    bugle.start_roles(&[Role::Worker]).await;
    let events = ["1", "2", "3"].map(str::to_owned);
    each_is_sent_once(&bugle.api(), &sink, "/hook", &events).await;
    for (id, count) in sink.counts("/hook") {
        assert_eq!(count, 2, "once by the dead worker and once by the new one: {id}");
        assert_eq!(finals(&bugle.api().delivery(&id).await), 1);
    }
}

#[tokio::test]
async fn a_fleet_killed_again_and_again_in_a_burst_delivers_every_event() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.set("WORKER__SLOTS", "16");
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    let events: Vec<String> = (0..300).map(|number| format!("e{number}")).collect();
    for (index, event) in events.iter().enumerate() {
        wire.event("a:b", event, &json!({})).await;
        if index % 75 == 74 {
            for role in Role::ALL {
                bugle.kill_9(role);
                bugle.adopt(bugle.spawn(role));
            }
        }
    }
    bugle.until_ready(LATER).await;
    each_is_sent_once(&bugle.api(), &sink, "/hook", &events).await;
}

#[tokio::test]
async fn kill_9_within_the_first_second_of_a_start_leaves_nothing_that_hinders_the_next() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.cli(&["setup"]).await.ok();
    bugle.apply(&everything_to(&sink.url("/hook"))).await;
    bugle.wire().await.event("a:b", "early", &json!({})).await;
    for round in 0_u64..6 {
        let mut members: Vec<_> = Role::ALL.iter().map(|role| bugle.spawn(*role)).collect();
        let began = Instant::now();
        let moment = Duration::from_millis(60 + 150 * round);
        eventually("the moment to kill", LATER, async || ensure(began.elapsed() >= moment, "not yet")).await;
        members.iter_mut().for_each(|member| member.process.kill_9());
    }
    bugle.start_roles(&Role::ALL).await;
    each_is_sent_once(&bugle.api(), &sink, "/hook", &["early".to_owned()]).await;
}

#[tokio::test]
async fn setup_killed_at_any_moment_can_be_done_again() {
    let bugle = Bugle::on(NatsServer::shared().await, Database::sqlite());
    let sink = Sink::start().await;
    let file = bugle.folder.write("documents.json", &everything_to(&sink.url("/hook")).to_string());
    bugle.set("DOCUMENTS", &file.display().to_string());
    for round in 0_u64..10 {
        let mut setup = bugle.spawn_setup();
        let began = Instant::now();
        let moment = Duration::from_millis(15 * (round + 1));
        eventually("the moment to kill", LATER, async || ensure(began.elapsed() >= moment, "not yet")).await;
        setup.kill_9();
    }
    bugle.cli(&["setup"]).await.ok();
    bugle.start_roles(&Role::ALL).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    each_is_sent_once(&bugle.api(), &sink, "/hook", &["1".to_owned()]).await;
}

#[tokio::test]
async fn a_worker_that_stood_still_lets_go_of_what_others_have_sent_meanwhile() {
    const AT_A_TIME: usize = 6;
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/hook", [Answer::Slow(Duration::from_millis(50))]);
    // A few are tried at a time, and more wait for their turn.
    bugle.set("WORKER__SLOTS", "64");
    bugle.set("WORKER__CHANNEL_SHARE", "0.1");
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    let events: Vec<String> = (0..200).map(|number| format!("e{number}")).collect();
    for event in &events {
        wire.event("a:b", event, &json!({})).await;
    }
    sink.receives(50, "/hook").await;
    let mut frozen = bugle.take(Role::Worker).remove(0);
    frozen.process.freeze();
    pause(Duration::from_millis(200)).await;
    let tried = sink.counts("/hook");
    assert!(tried.len() < events.len(), "too late");
    bugle.start_roles(&[Role::Worker]).await;
    each_is_sent_once(&bugle.api(), &sink, "/hook", &events).await;
    frozen.process.signal("CONT");
    eventually("it lets go", SOON, async || {
        let (_, metrics) = frozen.admin("/metrics").await;
        let lapsed = metrics.lines().find_map(|line| line.strip_prefix("bugle_messages_lapsed_total "));
        ensure(lapsed.is_some_and(|count| count != "0"), frozen.process.output())
    })
    .await;
    let mut again = sink.counts("/hook");
    again.retain(|id, count| *count > 1 && !tried.contains_key(id));
    // What was on its way to the receiver when it stopped goes on its way; what waited for its turn does not.
    assert!(again.len() <= AT_A_TIME, "sent again: {again:?}");
}

#[tokio::test]
async fn sigterm_finishes_what_runs_and_ends_every_role_with_0() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/hook", [Answer::Slow(Duration::from_millis(1_500)), Answer::Status(200)]);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    sink.receives(1, "/hook").await;
    for role in [Role::Worker, Role::Router, Role::Recorder, Role::Api] {
        for mut member in bugle.take(role) {
            let (code, took) = member.process.sigterm(LATER).await;
            assert_eq!(code, 0, "{role:?}: {}", member.process.output());
            assert!(took < Duration::from_secs(10), "{role:?} took {took:?}");
        }
    }
    bugle.start_roles(&Role::ALL).await;
    each_is_sent_once(&bugle.api(), &sink, "/hook", &["1".to_owned()]).await;
    assert_eq!(sink.requests("/hook").len(), 1, "what ran was finished, not repeated");
}

#[tokio::test]
async fn sigterm_ends_a_role_that_still_waits_for_its_broker() {
    let bugle = Bugle::new().await;
    bugle.set("NATS__URL", &format!("nats://127.0.0.1:{}", crate::support::free_port()));
    for role in Role::ALL {
        let mut member = bugle.spawn(role);
        eventually("it waits", SOON, async || {
            ensure(member.process.output().contains("not ready yet"), member.process.output())
        })
        .await;
        assert_eq!(member.process.sigterm(SOON).await.0, 0, "{role:?}: {}", member.process.output());
    }
}

#[tokio::test]
async fn what_does_not_finish_by_the_deadline_is_handed_back() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/hook", [Answer::Hold, Answer::Status(200)]);
    bugle.set("SHUTDOWN__DEADLINE_SECONDS", "1");
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    sink.receives(1, "/hook").await;
    let mut worker = bugle.take(Role::Worker).remove(0);
    let (code, took) = worker.process.sigterm(LATER).await;
    assert_eq!(code, 0, "{}", worker.process.output());
    assert!(took < Duration::from_secs(6), "the deadline of 1 s is ignored: {took:?}");
    bugle.start_roles(&[Role::Worker]).await;
    each_is_sent_once(&bugle.api(), &sink, "/hook", &["1".to_owned()]).await;
}

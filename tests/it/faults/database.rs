//! The database goes away, and the recorders fight.

use serde_json::json;

use super::{each_is_sent_once, finals};
use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Role, everything_to};
use crate::support::database::{Database, on_both_databases};
use crate::support::sink::Sink;
use crate::support::wire::Cable;
use crate::support::{LATER, SOON, ensure, eventually};

#[tokio::test]
async fn while_the_database_is_away_deliveries_go_on_and_the_history_catches_up() {
    let Some(database) = Database::postgres().await else { return };
    let sink = Sink::start().await;
    let cable = Cable::to(database.address()).await;
    let bugle = Bugle::on(NatsServer::shared().await, database);
    bugle.set("DATABASE__URL", &bugle.database.url_through(cable.port));
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    wire.event("a:b", "before", &json!({})).await;
    bugle.api().shows(1, "status=sent").await;

    cable.cut();
    eventually("the API says that it cannot know", SOON, async || {
        let reply = bugle.api().get("/v1/deliveries").await;
        ensure(reply.status == 503, format!("{reply:?}"))
    })
    .await;
    bugle.api().get("/v1/deliveries").await.expect_problem(503);
    bugle.api().get("/v1/deliveries/stats").await.expect_problem(503);
    for number in 0..20 {
        wire.event("a:b", &format!("during-{number}"), &json!({})).await;
    }
    sink.receives(21, "/hook").await;

    cable.mend();
    bugle.api().shows_within(LATER, 21, "status=sent").await;
    let mut events: Vec<String> = (0..20).map(|number| format!("during-{number}")).collect();
    events.push("before".to_owned());
    each_is_sent_once(&bugle.api(), &sink, "/hook", &events).await;
    assert_eq!(bugle.ended(), []);
}

#[tokio::test]
async fn a_database_that_falls_silent_is_a_503_in_time_and_not_a_hanging_request() {
    let Some(database) = Database::postgres().await else { return };
    let sink = Sink::start().await;
    let cable = Cable::to(database.address()).await;
    let bugle = Bugle::on(NatsServer::shared().await, database);
    bugle.set("DATABASE__URL", &bugle.database.url_through(cable.port));
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    wire.event("a:b", "before", &json!({})).await;
    bugle.api().shows(1, "status=sent").await;
    cable.silence();
    bugle.api().get("/v1/deliveries").await.expect_problem(503);
    wire.event("a:b", "during", &json!({})).await;
    sink.receives(2, "/hook").await;
    cable.mend();
    bugle.api().shows_within(LATER, 2, "status=sent").await;
    bugle.until_ready(LATER).await;
}

#[tokio::test]
async fn a_bell_that_comes_back_while_the_database_is_away_waits_for_it() {
    const BELL: &str = "/v1/notifications/stream?recipient=ann";
    let Some(database) = Database::postgres().await else { return };
    let cable = Cable::to(database.address()).await;
    let bugle = Bugle::on(NatsServer::shared().await, database);
    bugle.set("DATABASE__URL", &bugle.database.url_through(cable.port));
    let rule = json!({ "id": "all", "events": ["a:*"], "channels": ["in_app"], "recipients": ["ann"] });
    bugle.start_with(&json!({ "rules": [rule] })).await;
    let wire = bugle.wire().await;
    let mut before = bugle.api().stream(BELL, None).await;
    let (mut last, mut seen) = (String::new(), 0);
    wire.event("a:b", "1", &json!({})).await;
    while seen < 1 {
        let sent = before.next(SOON).await.unwrap();
        seen += usize::from(sent.event == "notification");
        last = sent.id;
    }
    drop(before);
    cable.cut();
    wire.event("a:b", "2", &json!({})).await;
    // A browser gives a stream up that is refused once.
    let (mut back, mut new) =
        (bugle.api().stream(BELL, Some(&last)).await, bugle.api().stream(BELL, None).await);
    cable.mend();
    assert_eq!(new.next(LATER).await.unwrap().event, "connected");
    loop {
        let sent = back.next(LATER).await.expect("the stream goes on");
        if sent.event == "notification" {
            assert_eq!(sent.id, "2.0");
            return;
        }
    }
}

#[tokio::test]
async fn a_fleet_that_starts_before_its_database_delivers_and_tells_later() {
    let Some(database) = Database::postgres().await else { return };
    let sink = Sink::start().await;
    let cable = Cable::to(database.address()).await;
    let bugle = Bugle::on(NatsServer::shared().await, database);
    bugle.set("DATABASE__URL", &bugle.database.url_through(cable.port));
    bugle.cli(&["setup"]).await.ok();
    bugle.apply(&everything_to(&sink.url("/hook"))).await;
    cable.cut();
    let (recorder, mut api) = (bugle.spawn(Role::Recorder), bugle.spawn(Role::Api));
    bugle.start_roles(&[Role::Router, Role::Worker]).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    sink.receives(1, "/hook").await;
    api.until_ready(LATER).await;
    bugle.adopt(recorder);
    bugle.adopt(api);
    bugle.api().get("/v1/deliveries").await.expect_problem(503);
    cable.mend();
    bugle.until_ready(LATER).await;
    each_is_sent_once(&bugle.api(), &sink, "/hook", &["1".to_owned()]).await;
}

on_both_databases! {
    async fn setups_at_the_same_time_do_not_hinder_each_other(database: Database) {
        let (bugle, sink) = (Bugle::on(NatsServer::shared().await, database), Sink::start().await);
        let file = bugle.folder.write("documents.json", &everything_to(&sink.url("/hook")).to_string());
        bugle.set("DOCUMENTS", &file.display().to_string());
        for said in futures_util::future::join_all((0..6).map(|_| bugle.cli(&["setup"]))).await {
            said.ok();
        }
        bugle.start_roles(&Role::ALL).await;
        bugle.wire().await.event("a:b", "1", &json!({})).await;
        each_is_sent_once(&bugle.api(), &sink, "/hook", &["1".to_owned()]).await;
    }

    async fn of_two_recorders_one_may_die_and_nothing_is_lost_or_doubled(database: Database) {
        let (bugle, sink) = (Bugle::on(NatsServer::shared().await, database), Sink::start().await);
        bugle.start_with(&everything_to(&sink.url("/hook"))).await;
        bugle.start_roles(&[Role::Recorder]).await;
        let wire = bugle.wire().await;
        let events: Vec<String> = (0..400).map(|number| format!("e{number}")).collect();
        for (index, event) in events.iter().enumerate() {
            wire.event("a:b", event, &json!({})).await;
            if index == 200 {
                let mut recorders = bugle.take(Role::Recorder);
                recorders.remove(0).process.kill_9();
                recorders.into_iter().for_each(|member| bugle.adopt(member));
            }
        }
        each_is_sent_once(&bugle.api(), &sink, "/hook", &events).await;
        for (id, count) in sink.counts("/hook") {
            let delivery = bugle.api().delivery(&id).await;
            assert_eq!((count, finals(&delivery)), (1, 1), "{id}");
            // Nothing was sent twice, so nothing is recorded as a repeat: two recorders wrote nothing both.
            let steps = delivery["timeline"].as_array().unwrap();
            assert!(steps.iter().all(|step| step["repeats"] == 0), "{delivery:#}");
        }
        let stats = bugle.api().get("/v1/deliveries/stats").await.expect(200);
        assert_eq!(stats["states"]["sent"], events.len());
    }
}

//! A rollout and its way back: the last release and this one on one broker and one database, under load.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Member, Role, rule, webhook};
use crate::support::database::on_both_databases;
use crate::support::sink::{Answer, Sink};
use crate::support::wire::Wire;
use crate::support::{LATER, SOON, earlier, ensure, eventually, pause};

/// Publishes until it is stopped, and says how much that was.
async fn load(wire: Wire, mut stopped: watch::Receiver<bool>) -> usize {
    let mut count = 0;
    while !*stopped.borrow_and_update() {
        wire.event("load:tick", &format!("e-{count}"), &json!({ "n": count })).await;
        count += 1;
        pause(Duration::from_millis(20)).await;
    }
    count
}

async fn ready(mut member: Member) -> Member {
    member.until_ready(LATER).await;
    member
}

/// Ends in order, as a rollout asks for it.
async fn over(mut member: Member) {
    let (code, _) = member.process.sigterm(SOON).await;
    assert_eq!(code, 0, "{}: {}", member.process.name, member.process.output());
}

on_both_databases! {
    async fn a_release_takes_the_place_of_the_last_one_and_gives_it_back(database: Database) {
        let Some(folder) = earlier::programs() else { return };
        let (bugle, sink) = (Bugle::on(NatsServer::shared().await, database), Sink::start().await);
        // Some are still waiting for their next try when the other release takes over.
        sink.script("/flaky", [503, 503, 503, 503, 503, 200].map(Answer::Status));
        let documents = json!({
            "channels": [webhook("hook", &sink.url("/hook")), webhook("flaky", &sink.url("/flaky"))],
            "rules": [rule("all", "load:*", "hook"), rule("some", "load:*", "flaky")],
        });
        let file = bugle.folder.write("documents.json", &documents.to_string());
        bugle.set("DOCUMENTS", &file.display().to_string());
        bugle.cli_of(&folder, &["setup"]).await;
        let mut old = Vec::new();
        for role in Role::ALL {
            old.push(ready(bugle.spawn_of(&folder, role)).await);
        }
        let (stop, stopped) = watch::channel(false);
        let loading = tokio::spawn(load(bugle.wire().await, stopped));

        bugle.cli(&["setup"]).await.ok();
        let mut new = Vec::new();
        for role in Role::ALL {
            new.push(ready(bugle.spawn(role)).await);
        }
        pause(Duration::from_secs(2)).await;
        for member in old.drain(..) {
            over(member).await;
        }
        pause(Duration::from_secs(1)).await;
        // And back: what is new was not what it should be.
        for role in Role::ALL {
            old.push(ready(bugle.spawn_of(&folder, role)).await);
        }
        for member in new.drain(..) {
            over(member).await;
        }
        pause(Duration::from_secs(1)).await;
        stop.send_replace(true);
        let events = loading.await.unwrap();
        for member in old.drain(..) {
            over(member).await;
        }
        // What is left is done by the new one.
        bugle.start_roles(&Role::ALL).await;
        eventually("everything has one end", LATER, async || {
            let stats = bugle.api().get("/v1/deliveries/stats").await.expect(200);
            let sent = stats["states"]["sent"].as_u64().unwrap_or_default();
            let whole = sent == 2 * events as u64 && stats["total"] == 2 * events;
            ensure(whole, format!("{events} events on 2 channels: {}", stats["states"]))
        })
        .await;
        assert!(events > 100, "{events}");
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for request in sink.requests("/hook") {
            *seen.entry(request.id).or_default() += 1;
        }
        assert_eq!(seen.len(), events, "each came");
        assert!(seen.values().all(|times| *times == 1), "nobody was killed: nothing comes twice");
    }
}

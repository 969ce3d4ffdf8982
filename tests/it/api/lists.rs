//! The history: filters that combine, pages that neither skip nor repeat, and bad values that are refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::LATER;
use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, rule, webhook, with};
use crate::support::database::{Database, on_both_databases};
use crate::support::sink::{Answer, Sink};

const EVENTS: usize = 8;

/// Deliveries in every final state: sent, failed by the receiver, failed for an unknown channel, suppressed.
async fn varied(database: Database) -> Bugle {
    let (bugle, sink) = (Bugle::on(NatsServer::shared().await, database), Sink::start().await);
    sink.script("/bad", [Answer::Status(302)]);
    let documents = json!({
        "channels": [
            webhook("good", &sink.url("/good")),
            webhook("bad", &sink.url("/bad")),
            with(webhook("off", &sink.url("/off")), &json!({ "enabled": false })),
        ],
        "rules": [
            with(rule("people", "a:*", "good"), &json!({ "channels": ["good", "bad"], "recipients": ["ann", "bob"] })),
            with(rule("all", "*", "good"), &json!({ "channels": ["good", "off", "nowhere"] })),
        ],
    });
    bugle.start_without(&["nowhere"], &documents).await;
    let wire = bugle.wire().await;
    for number in 0..EVENTS {
        let event_type = if number % 2 == 0 { "a:b" } else { "c:d" };
        wire.event(event_type, &format!("e{number}"), &json!({})).await;
    }
    bugle.api().shows_within(LATER, EVENTS / 2 * 4 + EVENTS * 3, "").await;
    bugle.api().shows_within(LATER, EVENTS / 2 * 2 + EVENTS, "status=sent").await;
    bugle.api().shows_within(LATER, EVENTS / 2 * 2 + EVENTS, "status=failed").await;
    // The sink of this installation ends here; nothing is sent any more.
    bugle
}

fn ids(deliveries: &[Value]) -> BTreeSet<&str> {
    deliveries.iter().map(|delivery| delivery["id"].as_str().unwrap()).collect()
}

/// Whether a delivery passes one `name=value` filter, told from what the list shows of it.
fn passes(delivery: &Value, filter: &str) -> bool {
    let (name, value) = filter.split_once('=').unwrap();
    delivery[name] == value
}

on_both_databases! {
    async fn every_combination_of_filters_finds_what_a_plain_scan_finds(database: Database) {
        let bugle = varied(database).await;
        let api = bugle.api();
        let all = api.deliveries("").await;
        assert_eq!(ids(&all).len(), all.len());
        let filters = [
            ["", "status=sent", "status=failed", "status=suppressed"],
            ["", "channel=good", "channel=bad", "channel=nowhere"],
            ["", "rule=people", "rule=all", "rule=none"],
            ["", "event=e0", "event=e1", "recipient=ann"],
        ];
        for combination in 0..256_usize {
            let chosen: Vec<&str> = filters
                .iter()
                .enumerate()
                .map(|(place, values)| values[combination >> (2 * place) & 3])
                .filter(|filter| !filter.is_empty())
                .collect();
            let scanned: Vec<Value> = all
                .iter()
                .filter(|delivery| chosen.iter().all(|filter| passes(delivery, filter)))
                .cloned()
                .collect();
            let found = api.deliveries(&chosen.join("&")).await;
            assert_eq!(ids(&found), ids(&scanned), "{chosen:?}");
        }
    }

    async fn pages_neither_skip_nor_repeat_and_the_newest_comes_first(database: Database) {
        let bugle = varied(database).await;
        let api = bugle.api();
        let all: Vec<String> =
            api.deliveries("").await.iter().map(|delivery| delivery["id"].as_str().unwrap().to_owned()).collect();
        for limit in [1, 3, 500] {
            let (mut found, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = api.get(&format!("/v1/deliveries?limit={limit}{cursor}")).await.expect(200);
                let deliveries = page["deliveries"].as_array().unwrap();
                assert!(deliveries.len() <= limit);
                found.extend(deliveries.iter().map(|delivery| delivery["id"].as_str().unwrap().to_owned()));
                let Some(next) = page["nextCursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            assert_eq!(found, all, "limit={limit}");
        }
        let stats = api.get("/v1/deliveries/stats").await.expect(200);
        for state in ["sent", "failed", "suppressed"] {
            let counted = api.deliveries(&format!("status={state}")).await.len();
            assert_eq!(stats["states"][state], counted, "{stats:#}");
            let by_hour = stats["hours"].as_array().unwrap().iter();
            assert_eq!(by_hour.map(|hour| hour["states"][state].as_u64().unwrap()).sum::<u64>(), counted as u64);
        }
        for channel in stats["channels"].as_array().unwrap() {
            let name = channel["channel"].as_str().unwrap();
            let counted = api.deliveries(&format!("channel={name}&status=sent")).await.len();
            assert_eq!(channel["states"]["sent"], counted, "{name}: {stats:#}");
        }
        let narrowed = api.get("/v1/deliveries/stats?rule=people&recipient=ann").await.expect(200);
        assert_eq!(narrowed["total"], api.deliveries("rule=people&recipient=ann").await.len(), "{narrowed:#}");
    }
}

#[tokio::test]
async fn values_that_make_no_sense_are_refused_and_never_clipped() {
    let bugle = Bugle::new().await;
    bugle.start().await;
    for query in [
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=many",
        "cursor=nonsense",
        "status=gone",
        "since=yesterday",
        "channel=a%20b",
        "workspace=No",
        "unknown=1",
    ] {
        let problem = bugle.api().get(&format!("/v1/deliveries?{query}")).await.expect_problem(400);
        let name = query.split('=').next().unwrap();
        assert!(problem.to_string().contains(name), "{query}: {problem:#}");
    }
    bugle.api().get("/v1/deliveries/d_aaaaaaaaaaaaaaaaaaaaaaaa").await.expect_problem(404);
}

#[tokio::test]
async fn since_leaves_out_what_is_older() {
    let bugle = varied(Database::sqlite()).await;
    let (api, all) = (bugle.api(), bugle.api().deliveries("").await.len());
    assert_eq!(api.deliveries("since=2020-01-01T00:00:00Z").await.len(), all);
    assert_eq!(api.deliveries("since=2100-01-01T00:00:00Z").await.len(), 0);
}

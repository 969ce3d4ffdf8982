//! One rule of a hundred thousand changes: how soon that is in force, and what those notice who route meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use testbed::broker::NatsServer;
use testbed::free_port;

use crate::chain::steadily;
use crate::fleet::{Fleet, Role, channel, event, publish, rule, rule_by_pattern};
use crate::report::{Goal, Report};
use crate::{Anything, PATIENCE, PAYLOADS, ROUNDS, median, now_micros, percentile};

const SECTION: &str = "changes";
const RULES: usize = 100_000;
const LIVE: usize = 20;
/// Events a second while rules change.
const LOAD: f64 = 2_000.0;
const SECONDS: u64 = 10;
/// Changes a second meanwhile.
const CHANGES: f64 = 10.0;
const TOKEN: &str = "the-bench-s-own-token";

struct Subject {
    fleet: Fleet,
    http: reqwest::Client,
    api: u16,
}

pub async fn measure(report: &mut Report) -> Anything<()> {
    let server = NatsServer::start().await;
    let subject = Subject::start(&server).await?;
    let mut live = Vec::new();
    for number in 0..LIVE {
        live.push(subject.becomes_live(number).await?);
    }
    live.sort_by(f64::total_cmp);
    let what = format!("a rule more among {RULES}");
    report.state(SECTION, format!("{what}: in force after, median"), percentile(&live, 0.5), "ms");
    report.note(
        SECTION,
        format!("{what}: in force after, at most"),
        percentile(&live, 1.0),
        "ms",
        Goal::AtMost(1_000.0),
    );
    let (mut still, mut changing) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS as u64 {
        still.push(subject.routed(2 * round, 0.0).await?);
        changing.push(subject.routed(2 * round + 1, CHANGES).await?);
    }
    for (words, part) in [("p50", 0.5), ("p99", 0.99), ("longest", 1.0)] {
        let of = |runs: &[Vec<f64>]| median(runs.iter().map(|run| percentile(run, part)).collect());
        report.state(SECTION, format!("routing at {LOAD}/s, {words}"), of(&still), "ms");
        report.state(
            SECTION,
            format!("… while {CHANGES} rules a second change, {words}"),
            of(&changing),
            "ms",
        );
        if part < 1.0 {
            report.note(
                SECTION,
                format!("{words}, ratio"),
                of(&changing) / of(&still),
                "",
                Goal::AtMost(2.0),
            );
        }
    }
    subject.fleet.tear_down().await
}

impl Subject {
    async fn start(server: &NatsServer) -> Anything<Self> {
        let rules: Vec<Value> = (0..RULES).map(rule_by_pattern).collect();
        let documents = json!({"channels": [channel("sink", "http://127.0.0.1:9/hook")], "rules": rules});
        let mut fleet = Fleet::set_up(server, None, &documents).await?;
        let api = free_port();
        fleet.set("API__ADMIN_TOKEN", TOKEN);
        fleet.set("API__LISTEN", &format!("127.0.0.1:{api}"));
        fleet.start(&[Role::Router, Role::Api]).await?;
        bugle::channel::http::install_tls_provider();
        Ok(Self { fleet, http: reqwest::Client::builder().no_proxy().build()?, api })
    }

    async fn put(&self, number: usize, pattern: &str, title: &str) -> Anything<()> {
        let mut rule = rule(number, pattern, &json!({"field": "to", "op": "==", "value": "failed"}));
        rule["id"] = json!(format!("changed-{number}"));
        rule["template"]["title"] = json!(title);
        let url = format!("http://127.0.0.1:{}/v1/rules/changed-{number}", self.api);
        let request = self.http.put(url).bearer_auth(TOKEN).body(rule.to_string());
        request.header("content-type", "application/json").send().await?.error_for_status()?;
        Ok(())
    }

    /// Milliseconds from sending a new rule to the first delivery that it makes.
    async fn becomes_live(&self, number: usize) -> Anything<f64> {
        let mut deliveries = self.deliveries().await?;
        let started = Instant::now();
        let pattern = format!("live{number}:*");
        let subject = format!("{}.events.default.live{number}.done", self.fleet.prefix);
        let (written, delivered) = tokio::join!(self.put(number, &pattern, "it is live"), async {
            for probe in 0.. {
                let id = format!("live-{number}-{probe}");
                publish(&self.fleet.js, subject.clone(), id, event(probe, PAYLOADS[0])).await?;
                if tokio::time::timeout(Duration::from_millis(2), deliveries.next()).await.is_ok() {
                    return Ok(());
                }
                if started.elapsed() > PATIENCE {
                    break;
                }
            }
            Anything::Err("a rule did not come into force".into())
        });
        written?;
        delivered?;
        Ok(started.elapsed().as_secs_f64() * 1_000.0)
    }

    /// How long each event took from its publish to its delivery's, sorted, in milliseconds.
    async fn routed(&self, round: u64, changes: f64) -> Anything<Vec<f64>> {
        let mut deliveries = self.deliveries().await?;
        let (first, count) = ((round + 1) * 1_000_000, (LOAD * SECONDS as f64) as u64);
        let subject = format!("{}.events.default.bench7.done", self.fleet.prefix);
        let publishing = steadily(&self.fleet, LOAD, first..first + count, |number| {
            (subject.clone(), event(number, PAYLOADS[0]))
        });
        let arriving = async {
            let mut arrived = BTreeMap::new();
            while (arrived.len() as u64) < count {
                let message =
                    tokio::time::timeout(PATIENCE, deliveries.next()).await?.ok_or("no more deliveries")?;
                let at = now_micros();
                let delivery: Value = serde_json::from_slice(&message.payload)?;
                arrived.insert(delivery["data"]["n"].as_u64().unwrap_or_default(), at);
            }
            Anything::Ok(arrived)
        };
        let changing = async {
            let wanted = (changes * SECONDS as f64) as usize;
            let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / changes.max(1.0)));
            for number in 0..wanted {
                ticks.tick().await;
                self.put(1_000 + number, "changed:*", &format!("round {round}")).await?;
            }
            Anything::Ok(())
        };
        let (published, arrived, changed) = tokio::join!(publishing, arriving, changing);
        changed?;
        let arrived = arrived?;
        let took =
            published?.into_iter().filter_map(|(number, at)| Some(arrived.get(&number)?.saturating_sub(at)));
        let mut took: Vec<f64> = took.map(|micros| micros as f64 / 1_000.0).collect();
        took.sort_by(f64::total_cmp);
        Ok(took)
    }

    /// What the router publishes from now on, as it is stored.
    async fn deliveries(&self) -> Anything<async_nats::Subscriber> {
        let client = self.fleet.js.client();
        let subscriber = client.subscribe(format!("{}.deliveries.>", self.fleet.prefix)).await?;
        client.flush().await?;
        Ok(subscriber)
    }
}

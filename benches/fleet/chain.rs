//! The whole chain: publish → router → worker → sink → history, everything on; and its latency beside the bare chain's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bugle::store::Store;
use bugle::store::deliveries::Filter;
use serde_json::{Value, json};
use testbed::broker::NatsServer;
use testbed::postgres;

use crate::bare::Bare;
use crate::fleet::{Fleet, Role, channel, event, publish, rule_by_pattern};
use crate::report::{Goal, Report};
use crate::router::publish_events;
use crate::sink::Sink;
use crate::worker::SLOTS;
use crate::{Anything, PATIENCE, PAYLOADS, ROUNDS, median, now_micros, per_second, percentile};

const SECTION: &str = "chain";
const RULES: usize = 100;
const WARM_UP: u64 = 3_000;
const EVENTS: u64 = 30_000;
/// Ten times what the best-known open webhook server reached on two cores, with its database and its queue.
const GOAL: f64 = 8_000.0;
const LATENCY_SECONDS: u64 = 15;
const ALWAYS: &str = "sync_interval: always";

pub async fn measure(report: &mut Report) -> Anything<()> {
    let server = NatsServer::start().await;
    let mut half = 0.0;
    for bytes in PAYLOADS {
        let goal = if bytes == PAYLOADS[0] { Goal::AtLeast(GOAL) } else { Goal::Stated };
        let mut rates = Vec::new();
        for round in 0..ROUNDS {
            let last = round + 1 == ROUNDS;
            let burst = burst(&server, None, bytes).await?;
            rates.push(burst.delivered);
            if last {
                burst.report(report, &format!("{bytes} B, SQLite"));
            }
        }
        let rate = median(rates);
        report.note(SECTION, format!("{bytes} B, delivered, median of {ROUNDS}"), rate, "deliveries/s", goal);
        if bytes == PAYLOADS[0] {
            half = rate / 2.0;
        }
    }
    if let Some(url) = postgres::fresh_database() {
        let burst = burst(&server, Some(url), PAYLOADS[0]).await?;
        burst.report(report, "Postgres");
        let what = "Postgres, recorded beside delivered: not the bottleneck";
        report.note(SECTION, what, burst.recorded / burst.delivered, "", Goal::AtLeast(0.95));
    }
    let synced = NatsServer::start_with(ALWAYS).await;
    let burst = burst(&synced, None, PAYLOADS[0]).await?;
    report.state(SECTION, format!("{} B, {ALWAYS}: delivered", PAYLOADS[0]), burst.delivered, "deliveries/s");
    drop(synced);
    latencies(report, &server, half).await
}

struct Burst {
    published: f64,
    delivered: f64,
    recorded: f64,
    used: Vec<Used>,
}

/// What one process used.
struct Used {
    name: &'static str,
    /// CPU seconds for a thousand events.
    cpu: f64,
    rest_mib: f64,
    peak_mib: f64,
}

impl Burst {
    fn report(&self, report: &mut Report, words: &str) {
        report.state(SECTION, format!("{words}, published"), self.published, "events/s");
        report.state(SECTION, format!("{words}, delivered"), self.delivered, "deliveries/s");
        report.state(SECTION, format!("{words}, recorded"), self.recorded, "deliveries/s");
        for Used { name, cpu, rest_mib, peak_mib } in &self.used {
            report.state(SECTION, format!("{words}, {name}: CPU"), *cpu, "s/1,000");
            report.state(SECTION, format!("{words}, {name}: memory at rest"), *rest_mib, "MiB");
            report.state(SECTION, format!("{words}, {name}: peak memory"), *peak_mib, "MiB");
        }
    }
}

pub fn documents(url: &str) -> Value {
    json!({"channels": [channel("sink", url)], "rules": (0..RULES).map(rule_by_pattern).collect::<Vec<_>>()})
}

async fn burst(server: &NatsServer, database: Option<String>, bytes: usize) -> Anything<Burst> {
    let sink = Sink::start()?;
    let mut fleet = Fleet::set_up(server, database, &documents(&sink.url("/hook"))).await?;
    fleet.start(&Role::ALL).await?;
    let at_rest = Role::ALL.map(|role| fleet.usage(role).resident_mib);
    let broker_at_rest = server.usage().unwrap_or_default().resident_mib;
    let numbered = |first: u64, count: u64| {
        let subject = format!("{}.events.default.bench7.done", fleet.prefix);
        (first..first + count)
            .map(move |number| (subject.clone(), format!("bench-{number}"), event(number, bytes)))
    };
    fleet.publish_all(numbered(0, WARM_UP)).await?;
    sink.wait(WARM_UP).await?;
    recorded(&fleet, WARM_UP).await?;
    let cpu = |role: Role| fleet.usage(role).cpu_seconds;
    let before = Role::ALL.map(cpu);
    let broker_before = server.usage().unwrap_or_default().cpu_seconds;

    let started = Instant::now();
    fleet.publish_all(numbered(WARM_UP, EVENTS)).await?;
    let published = per_second(EVENTS, started.elapsed());
    sink.wait(WARM_UP + EVENTS).await?;
    let delivered = per_second(EVENTS, started.elapsed());
    recorded(&fleet, WARM_UP + EVENTS).await?;
    let recorded = per_second(EVENTS, started.elapsed());

    let a_thousand = |seconds: f64| seconds * 1_000.0 / EVENTS as f64;
    let mut used: Vec<_> = Role::ALL
        .into_iter()
        .zip(before)
        .zip(at_rest)
        .map(|((role, before), rest_mib)| {
            let cpu = a_thousand(cpu(role) - before);
            Used { name: role.word(), cpu, rest_mib, peak_mib: fleet.usage(role).peak_mib }
        })
        .collect();
    let broker = server.usage().unwrap_or_default();
    used.push(Used {
        name: "nats-server",
        cpu: a_thousand(broker.cpu_seconds - broker_before),
        rest_mib: broker_at_rest,
        peak_mib: broker.peak_mib,
    });
    fleet.tear_down().await?;
    Ok(Burst { published, delivered, recorded, used })
}

async fn recorded(fleet: &Fleet, wanted: u64) -> Anything<()> {
    let store = Store::open(&fleet.database_url, 1)?;
    let started = Instant::now();
    while store.position(&fleet.stream("RECORDS")).await?.map_or(0, |position| position.seq) < wanted {
        if started.elapsed() > PATIENCE {
            return Err("the recorder did not catch up".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let total = store.stats(&Filter::default()).await?.total;
    if total == wanted {
        Ok(())
    } else {
        Err(format!("{total} deliveries in the history of {wanted}").into())
    }
}

/// At half of what the chain can do, ours and then the bare one: from an event's publish to the sink, in milliseconds.
async fn latencies(report: &mut Report, server: &NatsServer, load: f64) -> Anything<()> {
    let sink = Sink::start()?;
    let mut fleet = Fleet::set_up(server, None, &documents(&sink.url("/hook"))).await?;
    fleet.start(&Role::ALL).await?;
    publish_events(&fleet, PAYLOADS[0], WARM_UP).await?;
    sink.wait(WARM_UP).await?;
    let ours = latency(&fleet, &sink, load, LATENCY_SECONDS, WARM_UP).await?;
    fleet.tear_down().await?;

    let sink = Sink::start()?;
    let fleet = Fleet::set_up(server, None, &json!({})).await?;
    let url = server.url();
    let bare = [Bare::router(&fleet, &url)?, Bare::worker(&fleet, &url, &sink.url("/hook"), SLOTS)?];
    publish_events(&fleet, PAYLOADS[0], WARM_UP).await?;
    sink.wait(WARM_UP).await?;
    let limit = latency(&fleet, &sink, load, LATENCY_SECONDS, WARM_UP).await?;
    drop(bare);
    fleet.tear_down().await?;

    report.state(SECTION, "latency is measured at", load, "events/s");
    for (part, words) in [(0.5, "p50"), (0.99, "p99"), (1.0, "max")] {
        report.state(SECTION, format!("latency {words}"), percentile(&ours, part), "ms");
        report.state(SECTION, format!("latency {words} of the bare chain"), percentile(&limit, part), "ms");
    }
    Ok(())
}

/// Publishes events numbered from `first` at a steady load and returns how long each took to the sink, sorted.
pub async fn latency(fleet: &Fleet, sink: &Sink, load: f64, seconds: u64, first: u64) -> Anything<Vec<f64>> {
    let subject = format!("{}.events.default.bench7.done", fleet.prefix);
    let count = (load * seconds as f64) as u64;
    sink.forget().await?;
    let sent_at =
        steadily(fleet, load, first..first + count, |number| (subject.clone(), event(number, PAYLOADS[0])))
            .await?;
    sink.wait(count).await?;
    let arrivals = sink.arrivals().await?;
    let mut took: Vec<f64> = sent_at
        .iter()
        .filter_map(|(number, sent)| Some(arrivals.get(number)?.saturating_sub(*sent) as f64 / 1_000.0))
        .collect();
    took.sort_by(f64::total_cmp);
    Ok(took)
}

/// Publishes at an even pace, however slowly the broker answers; returns when each was sent.
pub async fn steadily(
    fleet: &Fleet,
    load: f64,
    numbers: std::ops::Range<u64>,
    message: impl Fn(u64) -> (String, Vec<u8>),
) -> Anything<BTreeMap<u64, u64>> {
    let pause = Duration::from_secs_f64(1.0 / load);
    let (started, first) = (Instant::now(), numbers.start);
    let (mut sent_at, mut running) = (BTreeMap::new(), tokio::task::JoinSet::new());
    for number in numbers {
        tokio::time::sleep_until((started + pause.mul_f64((number - first) as f64)).into()).await;
        let (subject, body) = message(number);
        let (js, id) = (fleet.js.clone(), format!("bench-{number}"));
        sent_at.insert(number, now_micros());
        running.spawn(async move { publish(&js, subject, id, body).await });
        while let Some(done) = running.try_join_next() {
            done??;
        }
    }
    for done in running.join_all().await {
        done?;
    }
    Ok(sent_at)
}

//! The router against a loop that copies: events a second, CPU, and what more rules and more matches cost.

use serde_json::{Value, json};
use testbed::broker::NatsServer;

use crate::bare::Bare;
use crate::fleet::{Fleet, Role, channel, event, rule, rule_by_condition, rule_by_pattern};
use crate::report::{Goal, Report};
use crate::{Anything, PAYLOADS, ROUNDS, median};

const SECTION: &str = "router";
const RULES_SECTION: &str = "rules";
const EVENTS: u64 = 60_000;
const RULES: usize = 100;
const MANY_RULES: [usize; 2] = [10_000, 100_000];
const MATCHES: u64 = 10;
const SCOPES: usize = 10_000;

/// Documents with so many rules.
type Documents = fn(usize) -> Value;

/// What one run showed.
struct Run {
    /// Deliveries a second.
    rate: f64,
    /// CPU seconds for a thousand deliveries.
    cpu: f64,
    /// The same of the broker.
    broker_cpu: f64,
    peak_mib: f64,
}

pub async fn measure(report: &mut Report) -> Anything<()> {
    let server = NatsServer::start().await;
    for bytes in PAYLOADS {
        let (mut ours, mut limits) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(route(&server, &by_pattern(RULES), bytes, EVENTS, 1).await?);
            limits.push(copy(&server, bytes).await?);
        }
        let of = |runs: &[Run], figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
        let cpus = [("the router", &ours), ("the bare loop", &limits)].map(|(words, runs)| {
            [
                (words.to_owned(), of(runs, |run| run.cpu)),
                (format!("the broker under {words}"), of(runs, |run| run.broker_cpu)),
            ]
        });
        let (ours, limit) = (of(&ours, |run| run.rate), of(&limits, |run| run.rate));
        report.state(SECTION, format!("{bytes} B, {RULES} rules, 1 match"), ours, "deliveries/s");
        report.state(SECTION, format!("{bytes} B, bare copy loop"), limit, "copies/s");
        report.note(SECTION, format!("{bytes} B, ratio"), ours / limit, "", Goal::AtLeast(0.8));
        for (words, cpu) in cpus.into_iter().flatten() {
            report.state(SECTION, format!("{bytes} B, CPU of {words}"), cpu, "s/1,000");
        }
    }
    Ok(())
}

/// What more rules and more matches cost.
pub async fn measure_rules(report: &mut Report) -> Anything<()> {
    let server = NatsServer::start().await;
    more_rules(report, &server).await?;
    more_matches(report, &server).await
}

/// Ours at more and more rules, of which one matches.
async fn more_rules(report: &mut Report, server: &NatsServer) -> Anything<()> {
    let by: [(&str, Documents, u64); 3] = [
        ("told apart by patterns", by_pattern, EVENTS),
        ("one pattern, an equality each", by_condition, EVENTS),
        ("the same with a cooldown each, 10,000 scopes", with_everything, EVENTS / 3),
    ];
    for (words, rules, events) in by {
        let few = route(server, &rules(RULES), PAYLOADS[0], events, 1).await?;
        for count in MANY_RULES {
            let run = route(server, &rules(count), PAYLOADS[0], events, 1).await?;
            let what = format!("{count} rules, {words}");
            report.state(RULES_SECTION, format!("{what}, peak memory"), run.peak_mib, "MiB");
            report.note(
                RULES_SECTION,
                format!("{what}: CPU beside {RULES}"),
                run.cpu / few.cpu,
                "",
                Goal::AtMost(2.0),
            );
            report.note(
                RULES_SECTION,
                format!("{what}: time beside {RULES}"),
                few.rate / run.rate,
                "",
                Goal::AtMost(2.0),
            );
        }
    }
    Ok(())
}

async fn more_matches(report: &mut Report, server: &NatsServer) -> Anything<()> {
    let one = route(server, &by_pattern(RULES), PAYLOADS[0], EVENTS, 1).await?;
    let every = json!({"field": "to", "op": "==", "value": "failed"});
    let rules = (0..MATCHES).map(|number| rule(number as usize, "bench7:*", &every));
    let ten =
        route(server, &documents(&rules.collect::<Vec<_>>()), PAYLOADS[0], EVENTS / MATCHES, MATCHES).await?;
    let what = format!("{MATCHES} matches: CPU for a delivery beside 1");
    report.note(RULES_SECTION, what, ten.cpu / one.cpu, "", Goal::AtMost(1.0));
    Ok(())
}

fn by_pattern(count: usize) -> Value {
    documents(&(0..count).map(rule_by_pattern).collect::<Vec<_>>())
}

fn by_condition(count: usize) -> Value {
    documents(&(0..count).map(rule_by_condition).collect::<Vec<_>>())
}

/// Every event opens a window of its own, and every second one belongs to a task with rules of its own, none of which
/// matches.
fn with_everything(count: usize) -> Value {
    let with_cooldown = |number| {
        let mut rule = rule_by_condition(number);
        rule["cooldownMs"] = json!(60_000);
        rule["cooldownKey"] = json!("{{taskId}}");
        rule
    };
    let scope = |number: usize| {
        let mut other = rule_by_pattern(number + 8);
        other["id"] = json!("other");
        json!({"task": format!("t-{}", 2 * number), "inherit": true, "rules": [other]})
    };
    let mut documents = documents(&(0..count).map(with_cooldown).collect::<Vec<_>>());
    documents["scopes"] = (0..SCOPES).map(scope).collect();
    documents
}

fn documents(rules: &[Value]) -> Value {
    // Nobody sends: the deliveries stay where the router puts them.
    json!({"channels": [channel("sink", "http://127.0.0.1:9/hook")], "rules": rules})
}

async fn route(
    server: &NatsServer,
    documents: &Value,
    bytes: usize,
    events: u64,
    matches: u64,
) -> Anything<Run> {
    let mut fleet = Fleet::set_up(server, None, documents).await?;
    // Started and warm before there is work: reading 100,000 rules is no part of routing.
    fleet.start(&[Role::Router]).await?;
    let before = fleet.usage(Role::Router).cpu_seconds;
    fleet.signal("STOP");
    publish_events(&fleet, bytes, events).await?;
    let broker_before = server.usage().unwrap_or_default().cpu_seconds;
    fleet.signal("CONT");
    let rate = fleet.rate_into("DELIVERIES", events * matches).await?;
    let usage = fleet.usage(Role::Router);
    let a_thousand = |seconds: f64| seconds * 1_000.0 / (events * matches) as f64;
    let broker_cpu = a_thousand(server.usage().unwrap_or_default().cpu_seconds - broker_before);
    fleet.tear_down().await?;
    Ok(Run { rate, cpu: a_thousand(usage.cpu_seconds - before), broker_cpu, peak_mib: usage.peak_mib })
}

async fn copy(server: &NatsServer, bytes: usize) -> Anything<Run> {
    let fleet = Fleet::set_up(server, None, &json!({})).await?;
    publish_events(&fleet, bytes, EVENTS).await?;
    let broker_before = server.usage().unwrap_or_default().cpu_seconds;
    let bare = Bare::router(&fleet, &server.url())?;
    let rate = fleet.rate_into("DELIVERIES", EVENTS).await?;
    let usage = bare.usage();
    let a_thousand = |seconds: f64| seconds * 1_000.0 / EVENTS as f64;
    let broker_cpu = a_thousand(server.usage().unwrap_or_default().cpu_seconds - broker_before);
    drop(bare);
    fleet.tear_down().await?;
    Ok(Run { rate, cpu: a_thousand(usage.cpu_seconds), broker_cpu, peak_mib: usage.peak_mib })
}

pub async fn publish_events(fleet: &Fleet, bytes: usize, events: u64) -> Anything<()> {
    let subject = format!("{}.events.default.bench7.done", fleet.prefix);
    let message = |number| (subject.clone(), format!("bench-{number}"), event(number, bytes));
    fleet.publish_all((0..events).map(message)).await
}

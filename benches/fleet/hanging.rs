//! A channel that hangs beside a healthy one: the healthy one must hardly notice.

use serde_json::json;
use testbed::broker::NatsServer;

use crate::chain::{latency, steadily};
use crate::fleet::{Fleet, Role, channel, event, rule_by_pattern};
use crate::report::{Goal, Report};
use crate::sink::Sink;
use crate::{Anything, PAYLOADS, ROUNDS, median, percentile};

const SECTION: &str = "hanging";
/// Events a second to each of the two channels.
const LOAD: f64 = 300.0;
const SECONDS: u64 = 15;
/// Events to the hanging channel before the measurement begins: by then it holds all that it may.
const WARM_UP_SECONDS: u64 = 5;

pub async fn measure(report: &mut Report) -> Anything<()> {
    let server = NatsServer::start().await;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(percentile(&healthy(&server, false).await?, 0.99));
        beside.push(percentile(&healthy(&server, true).await?, 0.99));
    }
    let (alone, beside) = (median(alone), median(beside));
    report.state(SECTION, format!("p99 of a channel with {LOAD} events/s, alone"), alone, "ms");
    report.state(SECTION, "p99 beside a channel that hangs", beside, "ms");
    report.note(SECTION, "ratio", beside / alone, "", Goal::AtMost(1.2));
    Ok(())
}

/// How long each delivery of the healthy channel took, sorted, in milliseconds.
async fn healthy(server: &NatsServer, with_hanging: bool) -> Anything<Vec<f64>> {
    let (sink, black_hole) = (Sink::start()?, Sink::start()?);
    let always = json!({"field": "n", "op": "exists"});
    let mut hanging = crate::fleet::rule(0, "stuck:*", &always);
    hanging["channels"] = json!(["hole"]);
    let documents = json!({
        "channels": [channel("sink", &sink.url("/hook")), channel("hole", &black_hole.url("/hang"))],
        "rules": [rule_by_pattern(7), hanging]
    });
    let mut fleet = Fleet::set_up(server, None, &documents).await?;
    fleet.start(&Role::ALL).await?;
    latency(&fleet, &sink, LOAD, 2, 0).await?;
    let first = 1_000_000;
    let took = if with_hanging {
        let subject = format!("{}.events.default.stuck.done", fleet.prefix);
        let count = (LOAD * (WARM_UP_SECONDS + SECONDS) as f64) as u64;
        let stuck = steadily(&fleet, LOAD, 2 * first..2 * first + count, |number| {
            (subject.clone(), event(number, PAYLOADS[0]))
        });
        let measured = async {
            tokio::time::sleep(std::time::Duration::from_secs(WARM_UP_SECONDS)).await;
            latency(&fleet, &sink, LOAD, SECONDS, first).await
        };
        let (stuck, measured) = tokio::join!(stuck, measured);
        stuck?;
        measured?
    } else {
        latency(&fleet, &sink, LOAD, SECONDS, first).await?
    };
    fleet.tear_down().await?;
    Ok(took)
}

//! A limit that several workers share: how much of it they use, and whether they stay below it.

use serde_json::json;
use testbed::broker::NatsServer;

use crate::fleet::{Fleet, Role, channel, rule_by_pattern};
use crate::report::{Goal, Report};
use crate::router::publish_events;
use crate::sink::{Sink, http_get};
use crate::{Anything, PAYLOADS};

const SECTION: &str = "pacing";
const PER_SECOND: u64 = 600;
const SECONDS: u64 = 10;
const WORKERS: usize = 4;
/// What is left of a limit for those who are not urgent: one of five slots is kept, and a tenth goes to lateness.
const LEFT: f64 = 0.8 / 1.1;

pub async fn measure(report: &mut Report) -> Anything<()> {
    let server = NatsServer::start().await;
    let sink = Sink::start()?;
    let mut paced = channel("sink", &sink.url("/hook"));
    paced["rateLimit"] = json!({"perSecond": PER_SECOND});
    let documents = json!({"channels": [paced], "rules": [rule_by_pattern(7)]});
    let mut fleet = Fleet::set_up(&server, None, &documents).await?;
    fleet.start(&[Role::Router, Role::Recorder, Role::Api]).await?;
    let mut ports = Vec::new();
    for _ in 0..WORKERS {
        ports.push(fleet.spawn(Role::Worker));
    }
    let events = PER_SECOND * SECONDS;
    publish_events(&fleet, PAYLOADS[0], events).await?;
    sink.wait(events).await?;
    let mut times: Vec<u64> = sink.arrivals().await?.into_values().collect();
    times.sort_unstable();
    let rate = crate::steady_rate(&times).ok_or("too few arrivals")?;
    let text = format!("{WORKERS} workers, a limit of {PER_SECOND}/s");
    report.note(SECTION, text, rate / (PER_SECOND as f64 * LEFT), "of what is left", Goal::AtLeast(0.9));
    report.note(
        SECTION,
        "most within a second",
        most_within(&times) as f64,
        "",
        Goal::AtMost(PER_SECOND as f64),
    );
    let (mut done, mut conflicts, mut late) = (0.0, 0.0, 0.0);
    for port in ports {
        let metrics = http_get(port, "/metrics").await?.1;
        done += figure(&metrics, r#"bugle_pace_reservations_total{result="done"}"#);
        conflicts += figure(&metrics, r#"bugle_pace_reservations_total{result="conflict"}"#);
        late += figure(&metrics, r#"bugle_pace_moments_lost_total{why="late"}"#);
    }
    report.state(SECTION, format!("reservations for {events} deliveries"), done, "");
    report.state(SECTION, "of which met another one", conflicts, "");
    report.state(SECTION, "moments lost by lateness", late, "");
    fleet.tear_down().await
}

/// The fullest second of sorted times in microseconds.
fn most_within(times: &[u64]) -> usize {
    let (mut first, mut most) = (0, 0);
    for (index, time) in times.iter().enumerate() {
        while times[first] + 1_000_000 <= *time {
            first += 1;
        }
        most = most.max(index - first + 1);
    }
    most
}

fn figure(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(f64::NAN)
}

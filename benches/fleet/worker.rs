//! The worker against a loop that takes, posts, publishes one outcome and acks, at the same sink with the same bytes.

use std::time::Duration;

use bugle::bus::Names;
use bugle::channel::Kind;
use bugle::delivery::{Delivery, GLOBAL_SCOPE};
use bugle::event::{EventRef, EventType};
use bugle::ids::{ChannelId, DeliveryKey, RuleId, WorkspaceId};
use jiff::Timestamp;
use serde_json::json;
use serde_json::value::RawValue;
use testbed::broker::NatsServer;

use crate::bare::Bare;
use crate::fleet::{Fleet, Role, channel, event};
use crate::report::{Goal, Report};
use crate::sink::Sink;
use crate::{Anything, PAYLOADS, ROUNDS, median};

const SECTION: &str = "worker";
const DELIVERIES: u64 = 30_000;
/// Requests at once that one channel may have by default: three quarters of 128 slots.
pub const SLOTS: usize = 96;

pub async fn measure(report: &mut Report) -> Anything<()> {
    let server = NatsServer::start().await;
    for bytes in PAYLOADS {
        let (mut ours, mut limits, mut cpus, mut bare_cpus) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (rate, cpu, body_bytes) = deliver(&server, bytes).await?;
            ours.push(rate);
            cpus.push(cpu);
            let (rate, cpu) = post(&server, body_bytes).await?;
            limits.push(rate);
            bare_cpus.push(cpu);
        }
        let (ours, limit) = (median(ours), median(limits));
        report.state(SECTION, format!("{bytes} B, signed webhook"), ours, "deliveries/s");
        report.state(SECTION, format!("{bytes} B, bare take, POST, publish, ack"), limit, "posts/s");
        report.note(SECTION, format!("{bytes} B, ratio"), ours / limit, "", Goal::AtLeast(0.8));
        report.state(SECTION, format!("{bytes} B, CPU"), median(cpus), "s/1,000");
        report.state(SECTION, format!("{bytes} B, CPU of the bare loop"), median(bare_cpus), "s/1,000");
    }
    Ok(())
}

/// The rate, CPU seconds for a thousand, and the bytes of a request's body.
async fn deliver(server: &NatsServer, bytes: usize) -> Anything<(f64, f64, usize)> {
    let sink = Sink::start()?;
    let documents = json!({"channels": [channel("sink", &sink.url("/hook"))]});
    let mut fleet = Fleet::set_up(server, None, &documents).await?;
    let names = Names::new(&fleet.prefix)?;
    let messages = (0..DELIVERIES).map(|number| {
        let delivery = delivery(number, event(number, bytes));
        let body = serde_json::to_vec(&delivery).unwrap_or_default();
        (names.delivery(&delivery), delivery.id.to_string(), body)
    });
    fleet.publish_all(messages).await?;
    fleet.start(&[Role::Worker]).await?;
    sink.wait(DELIVERIES).await?;
    let cpu = fleet.usage(Role::Worker).cpu_seconds * 1_000.0 / DELIVERIES as f64;
    let (rate, body_bytes) = (sink.rate().await?, sink.body_bytes().await?);
    fleet.tear_down().await?;
    Ok((rate, cpu, body_bytes))
}

async fn post(server: &NatsServer, body_bytes: usize) -> Anything<(f64, f64)> {
    let sink = Sink::start()?;
    let fleet = Fleet::set_up(server, None, &json!({})).await?;
    let subject = format!("{}.deliveries.webhook.normal.default.sink", fleet.prefix);
    let messages =
        (0..DELIVERIES).map(|number| (subject.clone(), number.to_string(), event(number, body_bytes)));
    fleet.publish_all(messages).await?;
    let bare = Bare::worker(&fleet, &server.url(), &sink.url("/hook"), SLOTS)?;
    sink.wait(DELIVERIES).await?;
    let cpu = bare.usage().cpu_seconds * 1_000.0 / DELIVERIES as f64;
    let rate = sink.rate().await?;
    drop(bare);
    fleet.tear_down().await?;
    Ok((rate, cpu))
}

/// What a router makes of an event with these data.
pub fn delivery(number: u64, data: Vec<u8>) -> Delivery {
    let parsed = (
        WorkspaceId::default(),
        ChannelId::parse("sink").expect("a legal id"),
        RuleId::parse("rule-7").expect("a legal id"),
    );
    let (workspace, channel, rule) = parsed;
    let event = EventRef {
        id: format!("bench-{number}"),
        hops: 0,
        source: "bench".to_owned(),
        event_type: EventType::parse("bench7:done").expect("a legal type"),
        time: Timestamp::now(),
        traceparent: None,
        tracestate: None,
    };
    let id = DeliveryKey {
        workspace: &workspace,
        source: &event.source,
        event: &event.id,
        scope: GLOBAL_SCOPE,
        rule: Some(&rule),
        channel: &channel,
        recipient: None,
    }
    .id();
    Delivery {
        kind: Some(Kind::Webhook),
        title: format!("t-{number} failed"),
        body: format!("Task t-{number} moved to failed"),
        data: RawValue::from_string(String::from_utf8(data).expect("it is JSON")).expect("it is JSON").into(),
        expires_at: Timestamp::now() + Duration::from_secs(3_600),
        rule: Some(rule),
        ..Delivery::begin(id, workspace, event.clone(), channel)
    }
}

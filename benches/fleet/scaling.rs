//! More workers against a slow sink: each doubling should nearly double what goes out.

use testbed::broker::NatsServer;

use crate::Anything;
use crate::chain::documents;
use crate::fleet::{Fleet, Role};
use crate::report::{Goal, Report};
use crate::router::publish_events;
use crate::sink::Sink;

const SECTION: &str = "scaling";
const WORKERS: [u64; 3] = [1, 2, 4];
/// What the sink takes for each request.
const SINK_MS: u64 = 50;
/// Slots of each worker: few enough that four of them wait for the sink and not for two cores.
const SLOTS: u64 = 32;
const SECONDS: u64 = 10;

pub async fn measure(report: &mut Report) -> Anything<()> {
    let server = NatsServer::start().await;
    let mut before: Option<f64> = None;
    for workers in WORKERS {
        let rate = chain(&server, workers).await?;
        report.state(SECTION, format!("{workers} workers, {SINK_MS} ms a request"), rate, "deliveries/s");
        if let Some(before) = before {
            report.note(
                SECTION,
                format!("from {} to {workers} workers", workers / 2),
                rate / before,
                "",
                Goal::AtLeast(1.7),
            );
        }
        before = Some(rate);
    }
    Ok(())
}

async fn chain(server: &NatsServer, workers: u64) -> Anything<f64> {
    let sink = Sink::start()?;
    let mut fleet = Fleet::set_up(server, None, &documents(&sink.url(&format!("/slow/{SINK_MS}")))).await?;
    fleet.set("WORKER__SLOTS", &SLOTS.to_string());
    fleet.start(&[Role::Router, Role::Recorder, Role::Api]).await?;
    fleet.start(&vec![Role::Worker; workers as usize]).await?;
    let events = workers * SLOTS * 1_000 / SINK_MS * SECONDS;
    publish_events(&fleet, crate::PAYLOADS[0], events).await?;
    sink.wait(events).await?;
    let rate = sink.rate().await?;
    fleet.tear_down().await?;
    Ok(rate)
}

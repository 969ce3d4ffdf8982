//! Ten minutes at a steady load: memory that grows shows here.

use std::time::Duration;

use testbed::broker::NatsServer;

use crate::chain::{documents, steadily};
use crate::fleet::{Fleet, Role, event};
use crate::report::{Goal, Report};
use crate::sink::Sink;
use crate::{Anything, PAYLOADS};

const SECTION: &str = "endurance";
/// Half of what the chain can do on two cores.
const LOAD: f64 = 4_000.0;
const SETTLED: u64 = 120;
const REST: u64 = 480;

pub async fn measure(report: &mut Report) -> Anything<()> {
    let server = NatsServer::start().await;
    let sink = Sink::start()?;
    let mut fleet = Fleet::set_up(&server, None, &documents(&sink.url("/hook"))).await?;
    fleet.start(&Role::ALL).await?;
    let subject = format!("{}.events.default.bench7.done", fleet.prefix);
    let mut next = 0;
    let mut resident = Vec::new();
    for seconds in [SETTLED, REST] {
        // In parts: the times that are kept of each publish would grow in this process for ten minutes.
        for _ in 0..seconds / 10 {
            let count = (LOAD * 10.0) as u64;
            steadily(&fleet, LOAD, next..next + count, |number| {
                (subject.clone(), event(number, PAYLOADS[0]))
            })
            .await?;
            next += count;
            sink.wait(count).await?;
            sink.forget().await?;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        resident.push(Role::ALL.map(|role| fleet.usage(role).resident_mib));
    }
    report.state(SECTION, "events", next as f64, "");
    for (index, role) in Role::ALL.into_iter().enumerate() {
        let [early, late] = [resident[0][index], resident[1][index]];
        report.state(SECTION, format!("{} after two minutes", role.word()), early, "MiB");
        report.note(
            SECTION,
            format!("{} after ten, beside two", role.word()),
            late / early,
            "",
            Goal::AtMost(1.1),
        );
    }
    fleet.tear_down().await
}

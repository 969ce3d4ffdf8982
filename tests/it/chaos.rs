//! A fleet under fire: real processes, real servers, faults from a seed, and a checker that compares what was acknowledged
//! with what was recorded and what was received.
//!
//! The short runs are part of every `cargo test`; `make chaos` is the long one. docs/faults.md says what is checked.

mod checker;
mod elections;
mod evidence;
mod fleet;
mod load;
mod log;
mod plan;
mod report;
mod sink;

use std::time::Duration;

use fleet::Fleet;
use load::Load;
use report::Report;

/// A run and its measures.
struct Run {
    seed: u64,
    nodes: usize,
    span: Duration,
    /// Events a second.
    rate: f64,
    /// Faults that last longer, and come as long as the load does.
    long: bool,
    /// How long the end may take: timers, redeliveries after half a minute, and the history.
    patience: Duration,
}

impl Run {
    fn short(nodes: usize) -> Self {
        let (seed, patience) = (seed().unwrap_or(1), Duration::from_secs(150));
        Self { seed, nodes, span: Duration::from_secs(20), rate: 40.0, long: false, patience }
    }

    /// Runs, prints the table, and fails on any violation.
    async fn judge(self) {
        let Self { seed, nodes, span, rate, long, patience } = self;
        let Some(mut fleet) = Fleet::start(nodes, load::documents).await else { return };
        let load =
            Load::start(&fleet.bugle.nats_url, &fleet.bugle.prefix, seed, rate, fleet.api_ports()).await;
        let plan = plan::plan(seed, nodes > 1, span, long);
        fleet.suffer(&plan, span).await;
        fleet.heal().await;
        let ledger = load.stop().await;
        let pending = evidence::quiet(&mut fleet, patience).await;
        let log = evidence::gather(&fleet, &ledger, pending).await;
        let findings = checker::check(&log);
        let report = Report {
            seed,
            nodes,
            seconds: span.as_secs(),
            plan: &plan,
            log: &log,
            findings: &findings,
            fell: &fleet.fell,
        };
        eprintln!("{}{}", report.table(), report.write().display());
        if !findings.violations.is_empty() {
            let logs = report.keep_logs(fleet.bugle.folder.path(), fleet.broker_logs());
            panic!(
                "violations with seed {seed} on {nodes} server(s): see the table above and {}",
                logs.display()
            );
        }
    }
}

/// `CHAOS_SEED`. The short runs have one of their own, the long one another each time: what fails says which it was.
fn seed() -> Option<u64> {
    variable("CHAOS_SEED")
}

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value:?}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server() {
    Run::short(1).judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three() {
    Run::short(3).judge().await;
}

/// `make chaos`: for `CHAOS_MINUTES` on `CHAOS_NODES` servers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes as long as it is told to: `make chaos`"]
async fn long() {
    let minutes = variable("CHAOS_MINUTES").unwrap_or(20);
    let nodes = variable("CHAOS_NODES").map_or(1, |nodes| usize::try_from(nodes).unwrap());
    let (span, patience) = (Duration::from_secs(60 * minutes), Duration::from_secs(300));
    let seed = seed().unwrap_or_else(|| fastrand::u64(..1_000_000));
    Run { seed, nodes, span, rate: 100.0, long: true, patience }.judge().await;
}

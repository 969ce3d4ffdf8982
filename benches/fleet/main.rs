//! What Bugle does a second, beside what the machine could do at most: `make bench`.
//!
//! Everything runs on loopback in processes of its own: nats-server, our roles, the bare loops that are the limits, and
//! the sink. Each figure stands beside its limit of the same run, rounds of both taken in turn, medians compared. It is
//! bounded in time and stops by itself. `make bench ONLY="router chain"` measures some sections;
//! `docs/benchmarks.md` says what each means.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it measures time, waits for it, prints figures and rounds them"
)]

mod bare;
mod chain;
mod changes;
mod endurance;
mod fleet;
mod hanging;
mod inbox;
mod listeners;
mod pacing;
mod recorder;
mod report;
mod retention;
mod router;
mod scaling;
mod sink;
mod streams;
mod worker;

use std::path::Path;
use std::time::Duration;

use report::Report;

type Anything<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(180);
/// Of both ours and the limit; the medians are compared.
const ROUNDS: usize = 3;
/// The payloads that everything is measured with.
const PAYLOADS: [usize; 2] = [400, 4_096];

/// The sections in the order they run in; the last takes ten minutes and runs only when it is named.
const SECTIONS: [&str; 13] = [
    "router",
    "rules",
    "changes",
    "worker",
    "recorder",
    "chain",
    "inbox",
    "retention",
    "scaling",
    "hanging",
    "pacing",
    "streams",
    "endurance",
];

fn main() -> Anything<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|argument| argument == "--sink") {
        return sink::run();
    }
    if let Some(result) = bare::run(&arguments) {
        return result;
    }
    if let Some(unknown) = arguments.iter().find(|argument| !SECTIONS.contains(&argument.as_str())) {
        return Err(format!("there is no section {unknown}: {}", SECTIONS.join(", ")).into());
    }
    block_on(measure(&arguments))
}

async fn measure(only: &[String]) -> Anything<()> {
    let wanted = |section: &str| {
        if only.is_empty() { section != "endurance" } else { only.iter().any(|one| one == section) }
    };
    let mut report = Report::default();
    for section in SECTIONS.into_iter().filter(|section| wanted(section)) {
        match section {
            "router" => router::measure(&mut report).await?,
            "rules" => router::measure_rules(&mut report).await?,
            "changes" => changes::measure(&mut report).await?,
            "worker" => worker::measure(&mut report).await?,
            "recorder" => recorder::measure(&mut report).await?,
            "chain" => chain::measure(&mut report).await?,
            "inbox" => inbox::measure(&mut report).await?,
            "retention" => retention::measure(&mut report).await?,
            "scaling" => scaling::measure(&mut report).await?,
            "hanging" => hanging::measure(&mut report).await?,
            "pacing" => pacing::measure(&mut report).await?,
            "streams" => streams::measure(&mut report).await?,
            _ => endurance::measure(&mut report).await?,
        }
    }
    report.finish(&Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench.json"))
}

fn block_on<T>(work: impl Future<Output = Anything<T>>) -> Anything<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

fn now_micros() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}

fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Of sorted times in microseconds, how many a second once the first tenth is over.
fn steady_rate(times: &[u64]) -> Option<f64> {
    let start = times.len() / 10;
    let (first, last) = (times.get(start)?, times.last()?);
    Some(per_second((times.len() - start) as u64, Duration::from_micros(last - first)))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Of sorted values, the one below which this part lies.
fn percentile(sorted: &[f64], part: f64) -> f64 {
    let index = (sorted.len().saturating_sub(1)) as f64 * part;
    sorted.get(index as usize).copied().unwrap_or(f64::NAN)
}

//! The whole chain, measured: publish → router → worker → sink → history, as separate processes on loopback.
//!
//! Run it with `make bench`. It starts its own nats-server (default sync interval) and its own sink, is bounded in time
//! and stops by itself. Latency is from an event's publish to the sink's receipt, waiting included. Figures of one run
//! on one machine: compare them with each other, not with another machine's.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it measures time, waits for it, prints figures and rounds them"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use futures_util::StreamExt;

type Anything<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const RULES: usize = 100;
const WARM_UP: u64 = 2_000;
const EVENTS: u64 = 20_000;
const IN_FLIGHT: usize = 512;
const PATIENCE: Duration = Duration::from_secs(120);
/// Events a second at which latency is measured, as a part of what the burst reached.
const LATENCY_LOAD: f64 = 0.5;
const LATENCY_SECONDS: u64 = 10;

const ROLES: [(&str, &str); 4] = [
    ("router", env!("CARGO_BIN_EXE_bugle-router")),
    ("worker", env!("CARGO_BIN_EXE_bugle-worker")),
    ("recorder", env!("CARGO_BIN_EXE_bugle-recorder")),
    ("api", env!("CARGO_BIN_EXE_bugle-api")),
];

fn main() -> Anything<()> {
    if std::env::args().any(|argument| argument == "--sink") {
        return sink::run();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> Anything<()> {
    let folder = std::env::temp_dir().join(format!("bugle-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = measure_in(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    result
}

async fn measure_in(folder: &Path) -> Anything<()> {
    let mut chain = Chain::start(folder).await?;
    let at_rest = memory(&chain.processes);
    let js = jetstream::new(async_nats::connect(&chain.url).await?);

    burst(&js, 0, WARM_UP).await?;
    sink::wait(chain.sink_port, WARM_UP).await?;
    let before = cpu(&chain.processes);
    let started = Instant::now();
    burst(&js, WARM_UP, EVENTS).await?;
    let published = started.elapsed();
    sink::wait(chain.sink_port, WARM_UP + EVENTS).await?;
    let sent = started.elapsed();
    recorded(&folder.join("history.db"), WARM_UP + EVENTS).await?;
    let in_history = started.elapsed();
    let after = cpu(&chain.processes);

    let per_second = |took: Duration| EVENTS as f64 / took.as_secs_f64();
    println!("\nthe chain: {EVENTS} events, {RULES} rules of which one matches, one webhook channel, SQLite");
    println!("  published  {:>8.0} events/s", per_second(published));
    println!("  delivered  {:>8.0} events/s   (publish → accepted by the sink)", per_second(sent));
    println!("  recorded   {:>8.0} events/s   (publish → in the history)", per_second(in_history));

    let load = per_second(sent) * LATENCY_LOAD;
    let [p50, p99, max] = latency(&js, chain.sink_port, load, WARM_UP + EVENTS).await?;
    println!("latency at {load:.0} events/s: p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms\n");

    println!("{:<12} {:>12} {:>12} {:>22}", "process", "at rest MiB", "peak MiB", "CPU s per 1,000 events");
    let peak = peaks(&chain.processes);
    for Process { name, .. } in &chain.processes {
        let spent = (after[name] - before[name]) * 1_000.0 / EVENTS as f64;
        println!("{name:<12} {:>12.1} {:>12.1} {spent:>22.3}", at_rest[name], peak[name]);
    }
    // The broker last: the roles drain against it.
    while let Some(process) = chain.processes.pop() {
        process.stop();
    }
    Ok(())
}

/// Everything that runs.
struct Chain {
    processes: Vec<Process>,
    url: String,
    sink_port: u16,
}

impl Chain {
    async fn start(folder: &Path) -> Anything<Self> {
        let nats_port = free_port()?;
        let mut command = Command::new(nats_server());
        command
            .args(["-js", "-a", "127.0.0.1", "-p", &nats_port.to_string(), "-sd"])
            .arg(folder.join("nats"));
        let mut processes = vec![Process::start("nats-server", &mut command)?];
        let (sink, sink_port) = start_sink()?;
        processes.push(sink);
        wait_for_port(nats_port).await?;
        let documents = folder.join("documents.json");
        std::fs::write(&documents, documents_for(sink_port).to_string())?;
        let url = format!("nats://127.0.0.1:{nats_port}");
        let environment = |port: u16| settings(folder, &url, &documents, port);
        let mut setup = Command::new(env!("CARGO_BIN_EXE_bugle"));
        if !setup.arg("setup").envs(environment(0)).stdout(Stdio::null()).status()?.success() {
            return Err("bugle setup failed".into());
        }
        for (name, binary) in ROLES {
            let port = free_port()?;
            processes.push(Process::start(name, Command::new(binary).envs(environment(port)))?);
            wait_for_ready(port).await?;
        }
        Ok(Self { processes, url, sink_port })
    }
}

fn settings(folder: &Path, url: &str, documents: &Path, admin_port: u16) -> Vec<(String, String)> {
    let database = format!("sqlite://{}?mode=rwc", folder.join("history.db").display());
    [
        ("NATS__URL", url.to_owned()),
        ("DATABASE__URL", database),
        ("DOCUMENTS", documents.display().to_string()),
        ("ADMIN__LISTEN", format!("127.0.0.1:{admin_port}")),
        ("API__LISTEN", "127.0.0.1:0".to_owned()),
        ("WORKER__KINDS", "webhook".to_owned()),
        ("WORKER__ALLOW_PLAIN_HTTP", "true".to_owned()),
        ("WORKER__ALLOW_ADDRESSES", "127.0.0.0/8".to_owned()),
        ("LOG__LEVEL", "warn".to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (format!("BUGLE__{key}"), value))
    .collect()
}

fn documents_for(sink_port: u16) -> serde_json::Value {
    let rules: Vec<_> = (0..RULES)
        .map(|number| {
            serde_json::json!({
                "id": format!("rule-{number}"), "events": [format!("bench{number}:*")], "channels": ["sink"],
                "condition": {"field": "to", "op": "==", "value": "failed"},
                "template": {"title": "{{taskId}} failed", "body": "Task {{taskId}} moved to {{to}}"}
            })
        })
        .collect();
    let url = format!("http://127.0.0.1:{sink_port}/hook");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    serde_json::json!({
        "channels": [{"id": "sink", "kind": "webhook", "config": {"url": url, "secrets": [secret]}}],
        "rules": rules
    })
}

fn payload(number: u64) -> Vec<u8> {
    let filler = "x".repeat(300);
    serde_json::json!({"taskId": format!("t-{number}"), "to": "failed", "n": number, "note": filler})
        .to_string()
        .into_bytes()
}

async fn burst(js: &jetstream::Context, first: u64, count: u64) -> Anything<()> {
    let publishes = (first..first + count).map(|number| publish(js, number));
    let mut running = futures_util::stream::iter(publishes).buffer_unordered(IN_FLIGHT);
    while let Some(done) = running.next().await {
        done?;
    }
    Ok(())
}

async fn publish(js: &jetstream::Context, number: u64) -> Anything<()> {
    let message = jetstream::message::PublishMessage::build()
        .message_id(format!("bench-{number}"))
        .payload(payload(number).into());
    js.send_publish("bugle.events.default.bench7.done", message).await?.await?;
    Ok(())
}

/// p50, p99 and maximum in milliseconds at a steady load.
async fn latency(js: &jetstream::Context, sink_port: u16, load: f64, first: u64) -> Anything<[f64; 3]> {
    let count = (load * LATENCY_SECONDS as f64) as u64;
    let pause = Duration::from_secs_f64(1.0 / load);
    sink::forget(sink_port).await?;
    let started = Instant::now();
    let mut sent_at = BTreeMap::new();
    let mut running = tokio::task::JoinSet::new();
    for number in first..first + count {
        let due = started + pause.mul_f64((number - first) as f64);
        tokio::time::sleep_until(due.into()).await;
        sent_at.insert(number, now_micros());
        let js = js.clone();
        running.spawn(async move { publish(&js, number).await });
    }
    for done in running.join_all().await {
        done?;
    }
    sink::wait(sink_port, count).await?;
    let mut took: Vec<f64> = Vec::new();
    for (number, at) in sink::arrivals(sink_port).await? {
        if let Some(sent) = sent_at.get(&number) {
            took.push(at.saturating_sub(*sent) as f64 / 1_000.0);
        }
    }
    took.sort_by(f64::total_cmp);
    let at = |part: f64| took.get(((took.len() - 1) as f64 * part) as usize).copied().unwrap_or_default();
    Ok([at(0.5), at(0.99), at(1.0)])
}

async fn recorded(database: &Path, wanted: u64) -> Anything<()> {
    let store = bugle::store::Store::open(&format!("sqlite://{}?mode=rwc", database.display()), 1)?;
    let started = Instant::now();
    while store.stats(&bugle::store::deliveries::Filter::default()).await?.total < wanted {
        if started.elapsed() > PATIENCE {
            return Err("the recorder did not catch up".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn now_micros() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}

struct Process {
    name: String,
    child: Child,
}

impl Process {
    fn start(name: &str, command: &mut Command) -> Anything<Self> {
        let child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).stdin(Stdio::null());
        let quiet = if name == "nats-server" { child.stderr(Stdio::null()) } else { child };
        Ok(Self { name: name.to_owned(), child: quiet.spawn().map_err(|error| format!("{name}: {error}"))? })
    }

    fn stop(mut self) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status();
        if sent.is_ok() {
            drop(self.child.wait());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn status(process: &Process, field: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    let kilobytes: f64 =
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default();
    kilobytes / 1024.0
}

fn memory(processes: &[Process]) -> BTreeMap<String, f64> {
    processes.iter().map(|process| (process.name.clone(), status(process, "VmRSS:"))).collect()
}

fn peaks(processes: &[Process]) -> BTreeMap<String, f64> {
    processes.iter().map(|process| (process.name.clone(), status(process, "VmHWM:"))).collect()
}

/// CPU seconds that each process has used.
fn cpu(processes: &[Process]) -> BTreeMap<String, f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let used = |process: &Process| {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", process.child.id())).unwrap_or_default();
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks =
            |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
        (ticks(11) + ticks(12)) / TICKS_PER_SECOND
    };
    processes.iter().map(|process| (process.name.clone(), used(process))).collect()
}

fn nats_server() -> PathBuf {
    std::env::var_os("BUGLE_NATS_SERVER").map_or_else(|| "nats-server".into(), PathBuf::from)
}

fn free_port() -> Anything<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn wait_for_port(port: u16) -> Anything<()> {
    let started = Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        if started.elapsed() > PATIENCE {
            return Err(format!("nothing listens on port {port}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn wait_for_ready(port: u16) -> Anything<()> {
    let started = Instant::now();
    loop {
        if sink::get(port, "/readyz").await.is_ok_and(|(status, _)| status == 200) {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err("a role did not become ready".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn start_sink() -> Anything<(Process, u16)> {
    let mut child = Command::new(std::env::current_exe()?).arg("--sink").stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().ok_or("the sink has no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok((Process { name: "sink".to_owned(), child }, line.trim().parse()?))
}

/// The receiving end, in a process of its own.
mod sink {
    use super::{Anything, Duration, Instant, PATIENCE, Write, now_micros};
    use axum::extract::State;
    use axum::routing::{get as get_route, post};
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex, PoisonError};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// When each number arrived first, in microseconds of the Unix clock.
    type Arrivals = Arc<Mutex<HashMap<u64, u64>>>;

    pub fn run() -> Anything<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(serve())
    }

    async fn serve() -> Anything<()> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
        let routes = axum::Router::new()
            .route("/hook", post(receive))
            .route(
                "/count",
                get_route(
                    |State(arrivals): State<Arrivals>| async move { lock(&arrivals).len().to_string() },
                ),
            )
            .route(
                "/arrivals",
                get_route(
                    |State(arrivals): State<Arrivals>| async move { axum::Json(lock(&arrivals).clone()) },
                ),
            )
            .route(
                "/forget",
                get_route(|State(arrivals): State<Arrivals>| async move { lock(&arrivals).clear() }),
            )
            .with_state(Arrivals::default());
        axum::serve(listener, routes).await?;
        Ok(())
    }

    async fn receive(State(arrivals): State<Arrivals>, body: bytes::Bytes) {
        let marker = b"\"n\":";
        let start =
            body.windows(marker.len()).position(|window| window == marker).map(|start| start + marker.len());
        let digits: Vec<u8> =
            body[start.unwrap_or(body.len())..].iter().copied().take_while(u8::is_ascii_digit).collect();
        if let Some(number) = String::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()) {
            lock(&arrivals).entry(number).or_insert_with(now_micros);
        }
    }

    fn lock(arrivals: &Arrivals) -> std::sync::MutexGuard<'_, HashMap<u64, u64>> {
        arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn get(port: u16, path: &str) -> Anything<(u16, String)> {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        Ok((status, body))
    }

    pub async fn wait(port: u16, wanted: u64) -> Anything<()> {
        let started = Instant::now();
        while get(port, "/count").await?.1.trim().parse::<u64>()? < wanted {
            if started.elapsed() > PATIENCE {
                return Err(format!("only {} of {wanted} arrived", get(port, "/count").await?.1).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub async fn forget(port: u16) -> Anything<()> {
        get(port, "/forget").await.map(|_| ())
    }

    pub async fn arrivals(port: u16) -> Anything<HashMap<u64, u64>> {
        Ok(serde_json::from_str(&get(port, "/arrivals").await?.1)?)
    }
}

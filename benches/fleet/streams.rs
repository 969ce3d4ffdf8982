//! Ten thousand bells on one API process: what a connection costs, how long one message takes to five thousand of them, and what a
//! storm of all clients that come back at once leaves out (nothing).

use std::time::{Duration, Instant};

use serde_json::json;
use testbed::broker::NatsServer;
use testbed::free_port;
use testbed::process::Process;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::fleet::{Fleet, Role, publish};
use crate::listeners::{Listener, Listeners};
use crate::report::{Goal, Report};
use crate::{Anything, PATIENCE, median};

const SECTION: &str = "streams";
const CONNECTIONS: usize = 10_000;
/// Those of the workspace in which something is said.
const CONCERNED: usize = 5_000;
const MESSAGES: u64 = 20;
const BETWEEN: Duration = Duration::from_millis(400);
/// A well-known push server took 42 KB a connection and 100 ms, on two cores.
const KIB_GOAL: f64 = 10.0;
const FAN_OUT_MS_GOAL: f64 = 50.0;
const TOKEN: &str = "the-administrator-of-the-bench";

pub async fn measure(report: &mut Report) -> Anything<()> {
    let server = NatsServer::start().await;
    let bare = bare(CONCERNED).await?;
    let mut fleet = fleet(&server).await?;
    let ports = start(&mut fleet, 1).await?;
    let rest = fleet.usage(Role::Api).resident_mib;
    let listeners = Listeners::connect(listeners(&ports)).await?;
    let held = (fleet.usage(Role::Api).resident_mib - rest) * 1_024.0 / CONNECTIONS as f64;
    report.note(SECTION, "resident memory of a connection, 10,000 open", held, "KiB", Goal::AtMost(KIB_GOAL));
    let (whole, fan_out) = say(&fleet, &listeners, 1).await?;
    report.note(
        SECTION,
        "one message to 5,000 of 10,000, first to last",
        fan_out,
        "ms",
        Goal::AtMost(FAN_OUT_MS_GOAL),
    );
    report.state(SECTION, "the same from its event's publishing", whole, "ms");
    report.state(SECTION, "the same bytes from a bare loop, first to last", bare, "ms");
    report.state(SECTION, "ratio to the bare loop", fan_out / bare, "");
    storm(report, &fleet, &listeners, "").await?;
    drop(listeners);
    fleet.tear_down().await?;
    replicas(report, &server).await
}

/// All hang up, twenty messages are said, all come back at once.
async fn storm(report: &mut Report, fleet: &Fleet, listeners: &Listeners, at: &str) -> Anything<()> {
    listeners.hang_up().await?;
    let before = listeners.told();
    for number in MESSAGES + 1..=2 * MESSAGES {
        broadcast(fleet, number).await?;
        // In their order also behind workers who send side by side.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let started = Instant::now();
    listeners.come_back().await?;
    let connected = started.elapsed();
    listeners.until_told(before + MESSAGES * CONCERNED as u64).await?;
    let caught_up = started.elapsed();
    // Whatever comes too much comes now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (gaps, repeats) = listeners.faults();
    let come_back = format!("{at}10,000 come back at once: all connected");
    report.state(SECTION, come_back, connected.as_secs_f64(), "s");
    let caught_up_with = format!("{at}all have the 20 messages that they missed");
    report.state(SECTION, caught_up_with, caught_up.as_secs_f64(), "s");
    report.note(SECTION, format!("{at}messages missed by somebody"), gaps as f64, "", Goal::AtMost(0.0));
    let twice = format!("{at}messages told twice to somebody");
    report.note(SECTION, twice, repeats as f64, "", Goal::AtMost(0.0));
    Ok(())
}

/// The same behind several API processes that clients are spread over.
async fn replicas(report: &mut Report, server: &NatsServer) -> Anything<()> {
    let mut fleet = fleet(server).await?;
    let ports = start(&mut fleet, 3).await?;
    let listeners = Listeners::connect(listeners(&ports)).await?;
    let (_, fan_out) = say(&fleet, &listeners, 1).await?;
    report.state(SECTION, "three API processes: one message to 5,000, first to last", fan_out, "ms");
    storm(report, &fleet, &listeners, "three API processes, each client at another one than before: ")
        .await?;
    drop(listeners);
    fleet.tear_down().await
}

async fn fleet(server: &NatsServer) -> Anything<Fleet> {
    let documents = json!({ "rules": [{
        "id": "all", "events": ["said:*"], "channels": ["in_app"],
        "template": {"title": "n{{n}}.", "body": "Something was said to everybody, and this is what it was."}
    }]});
    let mut fleet = Fleet::set_up(server, None, &documents).await?;
    fleet.set("WORKER__KINDS", "in_app");
    fleet.set("API__ADMIN_TOKEN", TOKEN);
    fleet.set("API__REQUESTS_PER_MINUTE", "0");
    Ok(fleet)
}

async fn start(fleet: &mut Fleet, apis: usize) -> Anything<Vec<u16>> {
    fleet.start(&[Role::Router, Role::Worker, Role::Recorder]).await?;
    let mut ports = Vec::new();
    for _ in 0..apis {
        let port = free_port();
        fleet.set("API__LISTEN", &format!("127.0.0.1:{port}"));
        fleet.start(&[Role::Api]).await?;
        ports.push(port);
    }
    Ok(ports)
}

fn listeners(ports: &[u16]) -> Vec<Listener> {
    let listener = |number: usize| Listener {
        ports: ports.iter().copied().cycle().skip(number % ports.len()).take(ports.len()).collect(),
        workspace: if number < CONCERNED { "default" } else { "elsewhere" }.to_owned(),
        recipient: format!("user-{number}"),
        token: TOKEN.to_owned(),
    };
    (0..CONNECTIONS).map(listener).collect()
}

async fn broadcast(fleet: &Fleet, number: u64) -> Anything<()> {
    let subject = format!("{}.events.default.said.all", fleet.prefix);
    publish(&fleet.js, subject, format!("said-{number}"), json!({ "n": number }).to_string().into()).await
}

/// Says twenty messages to everybody: the medians of how long each took, in all and from the first client to the last.
async fn say(fleet: &Fleet, listeners: &Listeners, first: u64) -> Anything<(f64, f64)> {
    let (mut whole, mut fan_out) = (Vec::new(), Vec::new());
    for number in first..first + MESSAGES {
        let (before, started) = (listeners.told(), Instant::now());
        broadcast(fleet, number).await?;
        listeners.until_told(before + CONCERNED as u64).await?;
        let (earliest, latest) = listeners.span(number).ok_or("a message was told to nobody")?;
        whole.push((latest - started).as_secs_f64() * 1e3);
        fan_out.push((latest - earliest).as_secs_f64() * 1e3);
        tokio::time::sleep(BETWEEN).await;
    }
    Ok((median(whole), median(fan_out)))
}

/// The same frame written to as many sockets by a loop that does nothing else.
async fn bare(count: usize) -> Anything<f64> {
    let (port, control) = (free_port(), free_port());
    let log = std::env::temp_dir().join(format!("bare-{port}.log"));
    let arguments = ["--bare-fan-out", &port.to_string(), &control.to_string()];
    let process = Process::start("bare", &std::env::current_exe()?, &arguments, &[], &log);
    let listener = |_| Listener {
        ports: vec![port],
        workspace: String::new(),
        recipient: String::new(),
        token: String::new(),
    };
    let listeners = Listeners::connect((0..count).map(listener).collect()).await?;
    let mut control = connect(control).await?;
    let mut took = Vec::new();
    for number in 1..=MESSAGES {
        let before = listeners.told();
        control.write_u64(number).await?;
        listeners.until_told(before + count as u64).await?;
        let (earliest, latest) = listeners.span(number).ok_or("a message was told to nobody")?;
        took.push((latest - earliest).as_secs_f64() * 1e3);
        tokio::time::sleep(BETWEEN).await;
    }
    drop(process);
    std::fs::remove_file(log)?;
    Ok(median(took))
}

async fn connect(port: u16) -> Anything<TcpStream> {
    let started = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(socket) => return Ok(socket),
            Err(error) if started.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

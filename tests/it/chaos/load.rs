//! The load: known rules, events whose fate is known beforehand, and sends; and a ledger of what was acknowledged.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::log::{Asked, Cancel, Case, Published, now_ms};
use crate::support::bugle::ADMIN_TOKEN;
use crate::support::pause;
use crate::support::wire::Wire;
use crate::support::{api, unique};

/// How long the cooldown of the rule `cool` is.
pub const COOLDOWN: Duration = Duration::from_secs(2);
/// So many keys share its cooldowns.
const COOL_KEYS: usize = 4;
/// A publisher tries for so long to have an event acknowledged.
const STUBBORN: Duration = Duration::from_secs(120);
/// Sends of a second.
const SENDS: f64 = 4.0;

/// The rules and channels of the load. `url` is where the receivers listen.
pub fn documents(url: &str) -> Value {
    // Two minutes of patience: longer than any receiver of ours misbehaves.
    let patient: Vec<u64> = [300, 700].into_iter().chain([2_500; 48]).collect();
    let channel = |id: &str, schedule: &[u64]| {
        json!({
            "id": id, "kind": "webhook", "config": { "url": format!("{url}/{id}") }, "timeoutMs": 3_000,
            "retry": { "scheduleMs": schedule },
        })
    };
    let rule = |id: &str, channels: &[&str]| json!({ "id": id, "events": [format!("chaos:{id}")], "channels": channels });
    let mut wanted = rule("wanted", &["steady"]);
    wanted["condition"] = json!({ "and": [
        { "field": "level", "op": "==", "value": "high" },
        { "field": "load.now", "op": ">", "value": 5 },
    ] });
    let mut cool = rule("cool", &["steady"]);
    cool["cooldownMs"] = json!(COOLDOWN.as_millis());
    cool["cooldownKey"] = json!("{{key}}");
    json!({
        "channels": [
            channel("steady", &patient), channel("other", &patient), channel("flaky", &patient),
            channel("refusing", &patient), channel("broken", &[300, 300]),
        ],
        "rules": [
            rule("plain", &["steady"]), wanted, cool, rule("flaky", &["flaky"]), rule("refused", &["refusing"]),
            rule("broken", &["broken"]), rule("orphan", &["nowhere"]), rule("fan", &["steady", "other", "flaky"]),
        ],
    })
}

/// What was published and asked for, and what of it was acknowledged.
#[derive(Default)]
pub struct Ledger {
    pub events: Mutex<Vec<Published>>,
    pub sends: Mutex<Vec<Asked>>,
}

/// The load of one run.
pub struct Load {
    pub ledger: Arc<Ledger>,
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    /// Publishes so many events a second, and sends a few, until it is stopped.
    pub async fn start(url: &str, prefix: &str, seed: u64, rate: f64, apis: Vec<u16>) -> Self {
        let ledger = Arc::<Ledger>::default();
        let stop = watch::Sender::new(false);
        let mut tasks = Vec::new();
        let wire = Arc::new(Wire::connect(url, prefix).await);
        let (publishing, stopped, run) = (Arc::clone(&ledger), stop.subscribe(), unique(""));
        tasks.push(tokio::spawn(publish(wire, publishing, stopped, Rng::with_seed(seed), rate, run)));
        tasks.push(tokio::spawn(send(Arc::clone(&ledger), stop.subscribe(), Rng::with_seed(!seed), apis)));
        Self { ledger, stop, tasks }
    }

    /// Begins nothing new, and waits for what was begun.
    pub async fn stop(self) -> Arc<Ledger> {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.ledger
    }
}

/// A pace in steps, each of which is its own task; it ends with the last of them.
async fn paced(
    mut stopped: watch::Receiver<bool>,
    rate: f64,
    mut step: impl FnMut(&mut tokio::task::JoinSet<()>),
) {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    let mut running = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => step(&mut running),
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
    }
    running.join_all().await;
}

async fn publish(
    wire: Arc<Wire>,
    ledger: Arc<Ledger>,
    stopped: watch::Receiver<bool>,
    mut rng: Rng,
    rate: f64,
    run: String,
) {
    let mut number = 0;
    paced(stopped, rate, |running| {
        let case = case(&mut rng);
        number += 1;
        let id = format!("{run}-{number}");
        running.spawn(put(Arc::clone(&wire), Arc::clone(&ledger), id, case));
    })
    .await;
}

fn case(rng: &mut Rng) -> Case {
    match rng.u8(..100) {
        0..40 => Case::Plain,
        40..50 => Case::Wanted,
        50..55 => Case::Unwanted,
        55..65 => Case::Cool(format!("k{}", rng.usize(..COOL_KEYS))),
        65..80 => Case::Flaky,
        80..85 => Case::Refused,
        85..88 => Case::Broken,
        88..90 => Case::Orphan,
        90..98 => Case::Fan,
        _ => Case::Unreadable,
    }
}

/// Publishes one event until it is acknowledged, under one id, as producers should.
async fn put(wire: Arc<Wire>, ledger: Arc<Ledger>, id: String, case: Case) {
    let place = {
        let mut events = lock(&ledger.events);
        events.push(Published {
            id: id.clone(),
            case: case.clone(),
            begun: now_ms(),
            acknowledged: None,
            tries: 0,
        });
        events.len() - 1
    };
    let (name, body) = match &case {
        Case::Unreadable => ("unreadable", format!("{{ not JSON: {id}")),
        Case::Wanted => ("wanted", json!({ "level": "high", "load": { "now": 7 }, "id": id }).to_string()),
        Case::Unwanted => ("wanted", json!({ "level": "low", "load": { "now": 7 }, "id": id }).to_string()),
        Case::Cool(key) => ("cool", json!({ "key": key, "id": id }).to_string()),
        Case::Plain | Case::Flaky | Case::Refused | Case::Broken | Case::Orphan | Case::Fan => {
            (case.rule().unwrap(), json!({ "id": id, "padding": "x".repeat(200) }).to_string())
        }
    };
    let subject = wire.subject(&format!("events.default.chaos.{name}"));
    let began = std::time::Instant::now();
    while began.elapsed() < STUBBORN {
        lock(&ledger.events)[place].tries += 1;
        let mut headers = HeaderMap::new();
        headers.append("Nats-Msg-Id", id.as_str());
        let sent = wire.js.publish_with_headers(subject.clone(), headers, body.clone().into()).await;
        if let Ok(sent) = sent
            && sent.await.is_ok()
        {
            lock(&ledger.events)[place].acknowledged = Some(now_ms());
            return;
        }
        pause(Duration::from_millis(100)).await;
    }
}

async fn send(ledger: Arc<Ledger>, stopped: watch::Receiver<bool>, mut rng: Rng, apis: Vec<u16>) {
    let mut number = 0;
    paced(stopped, SENDS, |running| {
        number += 1;
        let delay = rng.bool().then(|| rng.u64(1_000..8_000));
        // Before, while and after it fires.
        let cancel_after = delay.filter(|_| rng.u8(..3) > 0).map(|delay| rng.u64(0..delay + 500));
        let apis = if number % 2 == 0 { apis.clone() } else { apis.iter().rev().copied().collect() };
        let key = unique("send-");
        running.spawn(ask(Arc::clone(&ledger), apis, key, delay, cancel_after));
    })
    .await;
}

/// Asks for one send until it is answered, under one key, and perhaps takes it back.
async fn ask(
    ledger: Arc<Ledger>,
    apis: Vec<u16>,
    key: String,
    delay: Option<u64>,
    cancel_after: Option<u64>,
) {
    let place = {
        let mut sends = lock(&ledger.sends);
        sends.push(Asked { key: key.clone(), delivery: None, cancel: Cancel::No });
        sends.len() - 1
    };
    let mut body = json!({ "channel": "steady", "title": key, "body": "a send" });
    if let Some(delay) = delay {
        body["delayMs"] = json!(delay);
    }
    let Some((202, answer)) =
        call(&apis, "POST", "/v1/notifications/send", Some((&key, &body)), &[202]).await
    else {
        return;
    };
    let id = answer["id"].as_str().unwrap().to_owned();
    lock(&ledger.sends)[place].delivery = Some(id.clone());
    let Some(wait) = cancel_after else { return };
    pause(Duration::from_millis(wait)).await;
    lock(&ledger.sends)[place].cancel = Cancel::Asked;
    let first = call_once(&apis, 0, "DELETE", &format!("/v1/notifications/send/{id}"), None).await;
    // An answer that was lost may have been a yes: only what was answered at once is a promise.
    let cancel = match first {
        Some((200, _)) => Cancel::Confirmed,
        Some((409, _)) => Cancel::TooLate,
        _ => Cancel::Asked,
    };
    lock(&ledger.sends)[place].cancel = cancel;
}

/// Tries one API after the other until one of these statuses comes, or the patience is over.
async fn call(
    apis: &[u16],
    method: &str,
    path: &str,
    body: Option<(&str, &Value)>,
    wanted: &[u16],
) -> Option<(u16, Value)> {
    let began = std::time::Instant::now();
    let mut turn = 0;
    while began.elapsed() < STUBBORN {
        match call_once(apis, turn, method, path, body).await {
            Some((status, answer)) if wanted.contains(&status) => return Some((status, answer)),
            _ => pause(Duration::from_millis(200)).await,
        }
        turn += 1;
    }
    None
}

async fn call_once(
    apis: &[u16],
    turn: usize,
    method: &str,
    path: &str,
    body: Option<(&str, &Value)>,
) -> Option<(u16, Value)> {
    let port = apis[turn % apis.len()];
    let api = api::Api::new(port, ADMIN_TOKEN);
    let mut request = api.request(method, path).timeout(Duration::from_secs(15));
    if let Some((key, body)) = body {
        request = request
            .header("idempotency-key", key)
            .header("content-type", "application/json")
            .body(body.to_string());
    }
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    let text = response.text().await.ok()?;
    Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Expo's push service, as far as its documentation goes: tickets, receipts, limits, projects, and its errors' bodies.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use axum::routing::post;
use serde_json::{Value, json};

use crate::support::pause;

const PER_SECOND: usize = 600;

#[derive(Default)]
struct World {
    /// Every request, as the list of its tokens.
    requests: Vec<Vec<String>>,
    /// Everything that a token was told, in order.
    shown: HashMap<String, Vec<Value>>,
    accepted: VecDeque<Instant>,
    gone: HashSet<String>,
    /// Errors of the next tickets of a token.
    tickets: HashMap<String, VecDeque<&'static str>>,
    /// What the receipts of a token tell; ok where nothing is said.
    receipts: HashMap<String, VecDeque<&'static str>>,
    /// Whole requests that are answered so; None passes.
    whole: VecDeque<Option<(u16, &'static str)>>,
    projects: HashMap<String, &'static str>,
    issued: HashMap<String, String>,
    asked: usize,
    holds: bool,
}

#[derive(Clone)]
pub struct Expo {
    pub base: String,
    world: Arc<Mutex<World>>,
}

pub const ACCESS_TOKEN: &str = "expo-access-token-hunter2";

impl Expo {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let expo = Self { base, world: Arc::default() };
        let router = Router::new()
            .route("/--/api/v2/push/send", post(send))
            .route("/--/api/v2/push/getReceipts", post(receipts))
            .with_state(expo.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        expo
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn is_gone(&self, token: &str) {
        self.world().gone.insert(token.to_owned());
    }

    pub fn next_ticket(&self, token: &str, error: &'static str) {
        self.world().tickets.entry(token.to_owned()).or_default().push_back(error);
    }

    pub fn next_receipt(&self, token: &str, error: &'static str) {
        self.world().receipts.entry(token.to_owned()).or_default().push_back(error);
    }

    pub fn next_request(&self, status: u16, code: &'static str) {
        self.world().whole.push_back(Some((status, code)));
    }

    /// The next requests pass, whatever comes behind them.
    pub fn lets_pass(&self, requests: usize) {
        self.world().whole.extend(vec![None; requests]);
    }

    /// Takes requests and does not answer them, as long as it holds.
    pub fn holds_its_answers(&self, holds: bool) {
        self.world().holds = holds;
    }

    pub fn was_asked_for(&self, token: &str) -> bool {
        self.world().requests.iter().flatten().any(|asked| asked == token)
    }

    pub fn belongs_to(&self, token: &str, project: &'static str) {
        self.world().projects.insert(token.to_owned(), project);
    }

    /// The sizes of the requests that were made.
    pub fn batches(&self) -> Vec<usize> {
        self.world().requests.iter().map(Vec::len).collect()
    }

    /// What a device was shown.
    pub fn shown(&self, token: &str) -> Vec<Value> {
        self.world().shown.get(token).cloned().unwrap_or_default()
    }

    pub fn shown_to(&self) -> HashMap<String, usize> {
        self.world().shown.iter().map(|(token, shown)| (token.clone(), shown.len())).collect()
    }

    /// How often receipts were asked for.
    pub fn asked(&self) -> usize {
        self.world().asked
    }
}

fn answer(status: u16, body: &Value) -> Response<String> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(body.to_string())
        .unwrap()
}

fn error(status: u16, code: &str, details: &Value) -> Response<String> {
    answer(
        status,
        &json!({"errors": [{"code": code, "message": format!("{code} at this request"), "details": details}]}),
    )
}

fn refused(headers: &HeaderMap) -> Option<Response<String>> {
    let sent = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    (sent != format!("Bearer {ACCESS_TOKEN}")).then(|| error(401, "UNAUTHORIZED", &Value::Null))
}

async fn send(State(expo): State<Expo>, headers: HeaderMap, body: Bytes) -> Response<String> {
    if let Some(refused) = refused(&headers) {
        return refused;
    }
    let messages: Vec<Value> = serde_json::from_slice(&body).unwrap();
    let mut sent: Vec<(String, Value)> = Vec::new();
    for message in &messages {
        for token in message["to"].as_array().unwrap() {
            sent.push((token.as_str().unwrap().to_owned(), message.clone()));
        }
    }
    expo.world().requests.push(sent.iter().map(|(token, _)| token.clone()).collect());
    while expo.world().holds {
        pause(Duration::from_millis(20)).await;
    }
    let mut world = expo.world();
    if let Some((status, code)) = world.whole.pop_front().flatten() {
        return error(status, code, &Value::Null);
    }
    if sent.len() > 100 {
        return error(400, "PUSH_TOO_MANY_NOTIFICATIONS", &Value::Null);
    }
    let mut projects: HashMap<&str, Vec<&str>> = HashMap::new();
    for (token, _) in &sent {
        projects.entry(world.projects.get(token).copied().unwrap_or("@bugle/app")).or_default().push(token);
    }
    if projects.len() > 1 {
        return error(400, "PUSH_TOO_MANY_EXPERIENCE_IDS", &json!(projects));
    }
    let now = Instant::now();
    while world.accepted.front().is_some_and(|at| now - *at > Duration::from_secs(1)) {
        world.accepted.pop_front();
    }
    if world.accepted.len() + sent.len() > PER_SECOND {
        return error(429, "TOO_MANY_REQUESTS", &Value::Null);
    }
    let tickets: Vec<Value> =
        sent.into_iter().map(|(token, message)| ticket(&mut world, &token, message)).collect();
    answer(200, &json!({ "data": tickets }))
}

fn ticket(world: &mut World, token: &str, message: Value) -> Value {
    let failed = |word: &str| {
        let message = format!("\"{token}\" cannot be sent to");
        json!({"status": "error", "message": message, "details": {"error": word, "expoPushToken": token}})
    };
    if world.gone.contains(token) {
        return failed("DeviceNotRegistered");
    }
    if let Some(word) = world.tickets.get_mut(token).and_then(VecDeque::pop_front) {
        return failed(word);
    }
    world.accepted.push_back(Instant::now());
    world.shown.entry(token.to_owned()).or_default().push(message);
    let id = format!("ticket-{}", world.issued.len());
    world.issued.insert(id.clone(), token.to_owned());
    json!({"status": "ok", "id": id})
}

async fn receipts(State(expo): State<Expo>, headers: HeaderMap, body: Bytes) -> Response<String> {
    if let Some(refused) = refused(&headers) {
        return refused;
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    let ids: Vec<&str> = body["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    if ids.len() > 1_000 {
        return error(400, "PUSH_TOO_MANY_RECEIPTS", &Value::Null);
    }
    let mut world = expo.world();
    world.asked += 1;
    let mut data = serde_json::Map::new();
    for id in ids {
        let Some(token) = world.issued.get(id).cloned() else { continue };
        let receipt = match world.receipts.get_mut(&token).and_then(VecDeque::pop_front) {
            None => json!({"status": "ok"}),
            Some("nothing yet") => continue,
            Some(word) => json!({"status": "error", "message": token, "details": {"error": word}}),
        };
        data.insert(id.to_owned(), receipt);
    }
    answer(200, &json!({ "data": data }))
}

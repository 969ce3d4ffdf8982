//! The receiving end: a real HTTP server that counts what arrives and answers as the test scripted it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use serde_json::Value;
use tokio::sync::watch;

use super::{SOON, eventually, pause};

/// What a path answers to one request. The last one of a script answers for ever; no script is 200.
#[derive(Debug, Clone)]
pub enum Answer {
    Status(u16),
    /// A status with a header.
    Header(u16, &'static str, String),
    /// A 200 with this body.
    Json(Value),
    /// A status with this body.
    Refusal(u16, Value),
    /// A 200 that takes its time.
    Slow(Duration),
    /// Nothing until the test releases the path, then a 200.
    Hold,
}

#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    /// The delivery's id: the idempotency key that receivers are told to use.
    pub id: String,
    pub headers: BTreeMap<String, String>,
    pub bytes: Vec<u8>,
    pub at: Instant,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    scripts: HashMap<String, VecDeque<Answer>>,
}

#[derive(Clone)]
struct Shared {
    seen: Arc<Mutex<Seen>>,
    released: watch::Sender<bool>,
}

pub struct Sink {
    pub port: u16,
    shared: Shared,
}

impl Sink {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Shared { seen: Arc::default(), released: watch::Sender::new(false) };
        let router = Router::new().fallback(receive).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { port, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn script(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        let answers = answers.into_iter().collect();
        self.shared.seen.lock().unwrap().scripts.insert(path.to_owned(), answers);
    }

    /// Lets go what [`Answer::Hold`] holds, now and from now on.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// What came in on a path, in order.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        let seen = self.shared.seen.lock().unwrap();
        seen.requests.iter().filter(|request| request.path == path).cloned().collect()
    }

    /// How often each delivery came in on a path.
    pub fn counts(&self, path: &str) -> BTreeMap<String, usize> {
        let seen = self.shared.seen.lock().unwrap();
        let mut counts = BTreeMap::new();
        for request in seen.requests.iter().filter(|request| request.path == path) {
            *counts.entry(request.id.clone()).or_default() += 1;
        }
        counts
    }

    /// Waits for so many requests on a path, and returns all there are then.
    pub async fn receives(&self, count: usize, path: &str) -> Vec<Request> {
        self.receives_within(SOON, count, path).await
    }

    pub async fn receives_within(&self, patience: Duration, count: usize, path: &str) -> Vec<Request> {
        let what = format!("{path} receives {count} requests");
        eventually(&what, patience, async || {
            let found = self.requests(path);
            if found.len() >= count { Ok(found) } else { Err(format!("{} so far", found.len())) }
        })
        .await
    }
}

async fn receive(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<String> {
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: BTreeMap<_, _> =
        headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let path = uri.path().to_owned();
    let id = headers.get("webhook-id").cloned().unwrap_or_default();
    let answer = {
        let mut seen = shared.seen.lock().unwrap();
        seen.requests.push(Request {
            path: path.clone(),
            id,
            headers,
            bytes: body.to_vec(),
            at: Instant::now(),
        });
        match seen.scripts.get_mut(&path) {
            Some(script) if script.len() > 1 => script.pop_front(),
            Some(script) => script.front().cloned(),
            None => None,
        }
    };
    let response = Response::builder();
    let mut body = String::new();
    let response = match answer.unwrap_or(Answer::Status(200)) {
        Answer::Json(json) => {
            body = json.to_string();
            response.header("content-type", "application/json")
        }
        Answer::Refusal(status, json) => {
            body = json.to_string();
            response.status(status).header("content-type", "application/json")
        }
        Answer::Status(status) => response.status(status),
        Answer::Header(status, name, value) => response.status(status).header(name, value),
        Answer::Slow(span) => {
            pause(span).await;
            response
        }
        Answer::Hold => {
            let mut released = shared.released.subscribe();
            let _released = released.wait_for(|released| *released).await.is_ok();
            response
        }
    };
    response.body(body).unwrap()
}

//! Slack's Web API as its documentation has it: refusals are `ok: false` under 200, a limit is a 429 with `Retry-After`, and a
//! message is known by its channel and its `ts`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use serde_json::{Value, json};

use super::{SOON, eventually};

pub const TOKEN: &str = "xoxb-of-the-tests";
pub const CHANNEL: &str = "C0123456789";

const TEXT_CHARS_MAX: usize = 40_000;
const BLOCKS_MAX: usize = 50;

/// What a method answers to one request instead of doing its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// `ok: false` with this word.
    Refuse(&'static str),
    /// 429, for so many seconds.
    Limit(u64),
    /// Nothing, ever.
    Hang,
    /// The work is done, and nothing is answered.
    DoAndHang,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub ts: String,
    pub text: String,
    /// The `ts` of the first message of its thread.
    pub thread: Option<String>,
    pub edits: usize,
    deleted: bool,
}

#[derive(Debug, Clone)]
pub struct File {
    pub name: String,
    pub bytes: Vec<u8>,
    /// The thread that it was shared in.
    pub thread: Option<String>,
}

#[derive(Default)]
struct Workspace {
    messages: Vec<Message>,
    files: Vec<File>,
    calls: Vec<String>,
    instead: HashMap<&'static str, VecDeque<Instead>>,
}

#[derive(Clone)]
struct Shared {
    port: u16,
    workspace: Arc<Mutex<Workspace>>,
}

pub struct Slack {
    pub port: u16,
    workspace: Arc<Mutex<Workspace>>,
}

impl Slack {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let workspace = Arc::<Mutex<Workspace>>::default();
        let shared = Shared { port, workspace: Arc::clone(&workspace) };
        let router = Router::new().fallback(receive).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { port, workspace }
    }

    /// A channel document for its bot.
    pub fn channel(&self, id: &str) -> Value {
        let base = format!("http://127.0.0.1:{}", self.port);
        let config = json!({ "botToken": TOKEN, "channelId": CHANNEL, "apiBase": base });
        json!({ "id": id, "kind": "slack", "config": config, "retry": { "scheduleMs": [2_000, 2_000] } })
    }

    /// What the next calls of a method lead to.
    pub fn script(&self, method: &'static str, instead: impl IntoIterator<Item = Instead>) {
        self.lock().instead.insert(method, instead.into_iter().collect());
    }

    /// What stands in the channel, answers in threads included.
    pub fn messages(&self) -> Vec<Message> {
        self.lock().messages.iter().filter(|message| !message.deleted).cloned().collect()
    }

    pub fn files(&self) -> Vec<File> {
        self.lock().files.clone()
    }

    /// How often a method was called.
    pub fn calls(&self, method: &str) -> usize {
        self.lock().calls.iter().filter(|called| *called == method).count()
    }

    /// A person deletes all that is there.
    pub fn delete_all(&self) {
        self.lock().messages.iter_mut().for_each(|message| message.deleted = true);
    }

    /// Waits until a message says this.
    pub async fn shows(&self, text: &str) -> Message {
        eventually(&format!("Slack shows {text}"), SOON, async || {
            let found = self.messages();
            let shown = found.iter().find(|message| message.text.contains(text)).cloned();
            shown.ok_or_else(|| format!("{found:#?}"))
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Workspace> {
        lock(&self.workspace)
    }
}

fn lock(workspace: &Mutex<Workspace>) -> MutexGuard<'_, Workspace> {
    workspace.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn receive(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<String> {
    let (answer, hangs) = {
        let mut workspace = lock(&shared.workspace);
        let method = uri.path().trim_start_matches("/api/").to_owned();
        workspace.calls.push(method.clone());
        let instead = workspace.instead.get_mut(method.as_str()).and_then(VecDeque::pop_front);
        let answer = match instead {
            Some(Instead::Refuse(word)) => refused(word),
            Some(Instead::Limit(seconds)) => return limited(seconds),
            Some(Instead::Hang) => Value::Null,
            Some(Instead::DoAndHang) | None => workspace.answer(shared.port, &method, &headers, &body),
        };
        (answer, matches!(instead, Some(Instead::Hang | Instead::DoAndHang)))
    };
    if hangs {
        std::future::pending::<()>().await;
    }
    let response = Response::builder().header("content-type", "application/json; charset=utf-8");
    response.body(answer.to_string()).unwrap()
}

fn refused(word: &str) -> Value {
    json!({ "ok": false, "error": word })
}

fn limited(seconds: u64) -> Response<String> {
    let response = Response::builder().status(429).header("retry-after", seconds);
    response.body(refused("ratelimited").to_string()).unwrap()
}

impl Workspace {
    fn answer(&mut self, port: u16, method: &str, headers: &HeaderMap, body: &[u8]) -> Value {
        if let Some(index) = method.strip_prefix("/upload/").and_then(|index| index.parse::<usize>().ok()) {
            self.files[index].bytes = body.to_vec();
            return json!("OK");
        }
        let token = headers.get("authorization").map(|value| value.to_str().unwrap_or_default());
        match token.map(|token| token.strip_prefix("Bearer ")) {
            None => return refused("not_authed"),
            Some(token) if token != Some(TOKEN) => return refused("invalid_auth"),
            Some(_) => {}
        }
        if method == "files.getUploadURLExternal" {
            return self.upload_url(port, body);
        }
        let Ok(arguments) = serde_json::from_slice::<Value>(body) else { return refused("invalid_json") };
        match method {
            "chat.postMessage" => self.post(&arguments),
            "chat.update" => self.update(&arguments),
            "files.completeUploadExternal" => self.share(&arguments),
            "auth.test" => json!({ "ok": true, "team": "tests", "user": "bugle" }),
            _ => refused("unknown_method"),
        }
    }

    fn post(&mut self, arguments: &Value) -> Value {
        if let Some(refused) = unfit(arguments) {
            return refused;
        }
        let thread = arguments["thread_ts"].as_str().map(str::to_owned);
        if thread.as_ref().is_some_and(|ts| self.message(ts).is_none()) {
            return refused("thread_not_found");
        }
        let ts = format!("1712345678.{:06}", 100 * (self.messages.len() + 1));
        let text = shown(arguments);
        self.messages.push(Message { ts: ts.clone(), text, thread, edits: 0, deleted: false });
        json!({ "ok": true, "channel": CHANNEL, "ts": ts, "message": { "text": arguments["text"] } })
    }

    fn update(&mut self, arguments: &Value) -> Value {
        if let Some(refused) = unfit(arguments) {
            return refused;
        }
        let ts = arguments["ts"].as_str().unwrap_or_default();
        let Some(message) = self.message(ts) else { return refused("message_not_found") };
        message.text = shown(arguments);
        message.edits += 1;
        json!({ "ok": true, "channel": CHANNEL, "ts": ts, "text": arguments["text"] })
    }

    fn message(&mut self, ts: &str) -> Option<&mut Message> {
        self.messages.iter_mut().find(|message| message.ts == ts && !message.deleted)
    }

    fn upload_url(&mut self, port: u16, form: &[u8]) -> Value {
        let fields: HashMap<_, _> = url::form_urlencoded::parse(form).into_owned().collect();
        let (Some(name), Some(_)) = (fields.get("filename"), fields.get("length")) else {
            return refused("invalid_arguments");
        };
        let index = self.files.len();
        self.files.push(File { name: name.clone(), bytes: Vec::new(), thread: None });
        let url = format!("http://127.0.0.1:{port}/upload/{index}");
        json!({ "ok": true, "upload_url": url, "file_id": format!("F{index}") })
    }

    fn share(&mut self, arguments: &Value) -> Value {
        if arguments["channel_id"] != CHANNEL {
            return refused("invalid_channel");
        }
        for file in arguments["files"].as_array().into_iter().flatten() {
            let index = file["id"].as_str().and_then(|id| id.strip_prefix('F')?.parse::<usize>().ok());
            let Some(file) = index.and_then(|index| self.files.get_mut(index)) else {
                return refused("file_not_found");
            };
            file.thread = arguments["thread_ts"].as_str().map(str::to_owned);
        }
        json!({ "ok": true, "files": arguments["files"] })
    }
}

/// What Slack refuses of a message, whatever becomes of it.
fn unfit(arguments: &Value) -> Option<Value> {
    let text = arguments["text"].as_str().unwrap_or_default();
    let blocks = arguments["blocks"].as_array().map_or(0, Vec::len);
    let attachments = arguments["attachments"].as_array().map_or(0, Vec::len);
    if arguments["channel"] != CHANNEL {
        Some(refused("channel_not_found"))
    } else if text.is_empty() && blocks == 0 && attachments == 0 {
        Some(refused("no_text"))
    } else if text.chars().count() > TEXT_CHARS_MAX {
        Some(refused("msg_too_long"))
    } else {
        (blocks > BLOCKS_MAX).then(|| refused("invalid_blocks"))
    }
}

/// What people see of it: its blocks, and those beside the bar.
fn shown(arguments: &Value) -> String {
    format!("{}{}", arguments["blocks"], arguments["attachments"])
}

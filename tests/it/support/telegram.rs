//! A Telegram for tests: bots, chats and messages as its documentation has them, errors included.
//!
//! It knows one bot. Chats are private ones, groups, or what a group became; what it refuses, it refuses in Telegram's words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response};
use axum::routing::post;
use serde_json::{Value, json};

use super::{SOON, ensure, eventually};

pub const TOKEN: &str = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";

const TAGS: [&str; 8] = ["b", "i", "u", "s", "a", "code", "pre", "blockquote"];

/// A message as a chat shows it.
#[derive(Debug, Clone)]
pub struct Message {
    pub id: i64,
    pub chat: i64,
    pub at: Instant,
    pub fields: Value,
    /// Of a document.
    pub file: Option<(String, String)>,
}

#[derive(Default)]
struct Known {
    chats: BTreeSet<i64>,
    moved: BTreeMap<i64, i64>,
    messages: Vec<Message>,
    /// Seconds of pauses that are asked for before anything is taken.
    pauses: Vec<u64>,
    refuses_files: bool,
    calls: Vec<String>,
}

#[derive(Clone)]
pub struct Telegram {
    port: u16,
    known: Arc<Mutex<Known>>,
}

impl Telegram {
    pub async fn with_chats(chats: &[i64]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let known = Known { chats: chats.iter().copied().collect(), ..Known::default() };
        let telegram = Self { port, known: Arc::new(Mutex::new(known)) };
        let app = Router::new().route("/{bot}/{method}", post(answer)).with_state(telegram.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        telegram
    }

    /// A channel to a chat of this bot, with `more` in its settings.
    pub fn channel(&self, chat: i64, more: &Value) -> Value {
        let base = format!("http://127.0.0.1:{}", self.port);
        let config = json!({ "botToken": TOKEN, "chatId": chat, "apiBase": base });
        json!({ "id": "bot", "kind": "telegram", "config": super::documents::with(config, more),
            "retry": { "scheduleMs": [300, 300] } })
    }

    pub fn moves(&self, from: i64, to: i64) {
        let mut known = self.known();
        known.moved.insert(from, to);
        known.chats.insert(to);
    }

    pub fn asks_for_pauses(&self, seconds: &[u64]) {
        self.known().pauses = seconds.to_vec();
    }

    /// As if people had deleted them.
    pub fn forgets_messages(&self) {
        self.known().messages.clear();
    }

    pub fn refuses_files(&self) {
        self.known().refuses_files = true;
    }

    /// The methods that were called, in order.
    pub fn calls(&self) -> Vec<String> {
        self.known().calls.clone()
    }

    pub async fn shows(&self, count: usize) -> Vec<Message> {
        eventually(&format!("the chats show {count} messages"), SOON, async || {
            let messages = self.known().messages.clone();
            let so_far = format!("{} so far, calls {:?}", messages.len(), self.calls());
            ensure(messages.len() >= count, so_far).map(|()| messages)
        })
        .await
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    fn call(&self, bot: &str, method: &str, headers: &HeaderMap, body: &Bytes) -> Value {
        if bot != format!("bot{TOKEN}") {
            return error(401, "Unauthorized");
        }
        let mut known = self.known();
        known.calls.push(method.to_owned());
        if let Some(seconds) = known.pauses.pop() {
            let mut answer = error(429, &format!("Too Many Requests: retry after {seconds}"));
            answer["parameters"] = json!({ "retry_after": seconds });
            return answer;
        }
        let (fields, file) = match method {
            "sendMessage" | "editMessageText" => (serde_json::from_slice(body).unwrap_or_default(), None),
            "sendDocument" => form(headers, body),
            _ => return error(404, "Not Found"),
        };
        match known.said(method, fields, file) {
            Ok(message) => json!({ "ok": true, "result": { "message_id": message.id, "date": 1,
                "chat": { "id": message.chat, "type": "supergroup" } } }),
            Err(answer) => answer,
        }
    }
}

impl Known {
    fn said(
        &mut self,
        method: &str,
        fields: Value,
        file: Option<(String, String)>,
    ) -> Result<Message, Value> {
        let chat = number(&fields["chat_id"]);
        if let Some(to) = self.moved.get(&chat) {
            let mut answer = bad("group chat was upgraded to a supergroup chat");
            answer["parameters"] = json!({ "migrate_to_chat_id": to });
            return Err(answer);
        }
        if !self.chats.contains(&chat) {
            return Err(bad("chat not found"));
        }
        if method == "sendDocument" {
            if self.refuses_files {
                return Err(bad("not enough rights to send documents to the chat"));
            }
            if file.as_ref().is_none_or(|(_, content)| content.is_empty()) {
                return Err(bad("file must be non-empty"));
            }
        } else {
            check(&fields)?;
        }
        if method == "editMessageText" {
            let id = number(&fields["message_id"]);
            let known = self.messages.iter_mut().find(|message| message.id == id && message.chat == chat);
            let message = known.ok_or_else(|| bad("message to edit not found"))?;
            if (&message.fields["text"], &message.fields["reply_markup"])
                == (&fields["text"], &fields["reply_markup"])
            {
                return Err(bad("message is not modified"));
            }
            message.fields = fields;
            return Ok(message.clone());
        }
        let id = i64::try_from(self.messages.len()).unwrap() + 1;
        let message = Message { id, chat, at: Instant::now(), fields, file };
        self.messages.push(message.clone());
        Ok(message)
    }
}

async fn answer(
    State(telegram): State<Telegram>,
    Path((bot, method)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<String> {
    let answer = telegram.call(&bot, &method, &headers, &body);
    let status = answer["error_code"].as_u64().map_or(200, |code| u16::try_from(code).unwrap());
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(answer.to_string()).unwrap()
}

fn error(code: u16, description: &str) -> Value {
    json!({ "ok": false, "error_code": code, "description": description })
}

fn bad(description: &str) -> Value {
    error(400, &format!("Bad Request: {description}"))
}

fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
}

/// The text's length and tags, and where the buttons lead.
fn check(fields: &Value) -> Result<(), Value> {
    let text = fields["text"].as_str().unwrap_or_default();
    let (mut open, mut shown) = (Vec::new(), String::new());
    for (index, part) in text.split('<').enumerate() {
        if index == 0 {
            shown.push_str(part);
            continue;
        }
        let (tag, rest) =
            part.split_once('>').ok_or_else(|| bad("can't parse entities: unclosed start tag"))?;
        shown.push_str(rest);
        let name = tag.trim_start_matches('/').split(' ').next().unwrap_or_default();
        if !TAGS.contains(&name) {
            return Err(bad(&format!(
                "can't parse entities: Unsupported start tag \"{name}\" at byte offset 0"
            )));
        }
        match tag.strip_prefix('/') {
            Some(_) if open.pop() != Some(name) => {
                return Err(bad("can't parse entities: Unmatched end tag"));
            }
            Some(_) => {}
            None => open.push(name),
        }
    }
    let shown = shown.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    if !open.is_empty() {
        return Err(bad("can't parse entities: Can't find end tag corresponding to start tag"));
    }
    if shown.trim().is_empty() || shown.encode_utf16().count() > 4096 {
        return Err(bad(if shown.trim().is_empty() {
            "message text is empty"
        } else {
            "message is too long"
        }));
    }
    for row in fields["reply_markup"]["inline_keyboard"].as_array().into_iter().flatten() {
        for button in row.as_array().into_iter().flatten() {
            let url = button["url"].as_str().unwrap_or_default();
            let host = url.split("://").nth(1).and_then(|rest| rest.split(['/', ':']).next());
            if !url.starts_with("http") || !host.unwrap_or_default().contains('.') {
                let what = format!("inline keyboard button URL '{url}' is invalid: Wrong HTTP URL");
                return Err(bad(&what));
            }
        }
    }
    Ok(())
}

/// The fields of a form, and its file.
fn form(headers: &HeaderMap, body: &Bytes) -> (Value, Option<(String, String)>) {
    let content_type = headers["content-type"].to_str().unwrap();
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
    let body = String::from_utf8_lossy(body);
    let (mut fields, mut file) = (json!({}), None);
    for part in body.split(&format!("--{boundary}")) {
        let Some((head, content)) = part.split_once("\r\n\r\n") else { continue };
        let content = content.strip_suffix("\r\n").unwrap().to_owned();
        let quoted = |name: &str| head.split(&format!("{name}=\"")).nth(1)?.split('"').next();
        match quoted("; filename") {
            Some(name) => file = Some((name.to_owned(), content)),
            None => fields[quoted("; name").unwrap()] = content.into(),
        }
    }
    (fields, file)
}

//! What a try is made of, against a Web API that answers each method as told.
#![expect(clippy::disallowed_methods, reason = "the server ends with its test")]

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes as Body;
use axum::http::{HeaderMap as Headers, Uri};
use serde_json::json;

use super::*;
use crate::attachment;
use crate::channel::conformance::{sample, workshop};

const TOKEN: &str = "xoxb-hunter2";

struct Request {
    method: String,
    headers: Headers,
    body: Body,
}

impl Request {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    answers: HashMap<&'static str, VecDeque<Value>>,
}

/// Answers a method's script in order, and then a success with a new time.
struct Fake {
    base: String,
    seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Seen>>::default();
        let (here, shared) = (base.clone(), Arc::clone(&seen));
        let app = Router::new().fallback(move |uri: Uri, headers: Headers, body: Body| {
            let (here, shared) = (here.clone(), Arc::clone(&shared));
            async move { answer(&here, &shared, &uri, headers, body) }
        });
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { base, seen, task }
    }

    fn script(&self, method: &'static str, answers: impl IntoIterator<Item = Value>) {
        self.seen.lock().unwrap().answers.insert(method, answers.into_iter().collect());
    }

    fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.seen.lock().unwrap().requests)
    }

    fn methods(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.method).collect()
    }

    fn slack(&self, more: &Value) -> Slack {
        let mut config = json!({ "botToken": TOKEN, "channelId": "C1", "apiBase": self.base });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Slack::new(&config, &workshop()).unwrap()
    }
}

fn answer(here: &str, shared: &Mutex<Seen>, uri: &Uri, headers: Headers, body: Body) -> String {
    let method = uri.path().trim_start_matches("/api/").to_owned();
    let mut seen = shared.lock().unwrap();
    seen.requests.push(Request { method: method.clone(), headers, body });
    let number = seen.requests.len();
    let scripted = seen.answers.get_mut(method.as_str()).and_then(VecDeque::pop_front);
    let success = match method.as_str() {
        "files.getUploadURLExternal" => {
            json!({ "ok": true, "upload_url": format!("{here}/upload"), "file_id": format!("F{number}") })
        }
        _ => json!({ "ok": true, "channel": "C1", "ts": format!("171.{number}") }),
    };
    scripted.unwrap_or(success).to_string()
}

fn refused(word: &str) -> Value {
    json!({ "ok": false, "error": word })
}

async fn send(slack: &Slack, delivery: &Delivery, earlier: Option<&str>) -> Result<Receipt, SendError> {
    let attempt = Try { earlier, ..Try::of(delivery, "2026-11-20T10:00:05Z".parse().unwrap()) };
    slack.send(attempt).await
}

#[test]
fn faults_name_the_place_and_no_secret() {
    let bot = json!({ "botToken": "xoxb-hunter2", "channelId": "C1" });
    let with = |more: Value| {
        let mut config = bot.clone();
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    for (config, pointer) in [
        (json!({}), "/webhookUrl"),
        (json!({ "webhookUrl": "", "botToken": "" }), "/webhookUrl"),
        (json!({ "webhookUrl": "hunter2" }), "/webhookUrl"),
        (json!({ "webhookUrl": "https://a.example/hunter2", "apiBase": "x" }), "/apiBase"),
        (json!({ "webhookUrl": "https://a.example/hunter2", "url": 1 }), "/url"),
        (with(json!({ "webhookUrl": "https://a.example/hunter2" })), "/botToken"),
        (json!({ "webhookUrl": "https://a.example/hunter2", "channelId": "C1" }), "/channelId"),
        (json!({ "webhookUrl": "https://a.example/hunter2", "updates": "edit" }), "/updates"),
        (json!({ "botToken": "xoxb-hunter2" }), "/channelId"),
        (json!({ "channelId": "C1" }), "/botToken"),
        (with(json!({ "channelId": "#hunter2" })), "/channelId"),
        (with(json!({ "botToken": "hunter2 x" })), "/botToken"),
        (with(json!({ "updates": "hunter2" })), "/updates"),
        (with(json!({ "replyBroadcast": true })), "/replyBroadcast"),
    ] {
        let fault = Slack::new(&config, &workshop()).unwrap_err();
        assert_eq!(fault.pointer, pointer, "{config} {fault}");
        assert!(!fault.message.contains("hunter2"), "{fault}");
    }
    assert!(!format!("{:?}", Slack::new(&bot, &workshop()).unwrap()).contains("hunter2"));
}

#[test]
fn what_is_missing_shows_before_variables_are_replaced() {
    use crate::channel::Kind;
    assert_eq!(Kind::Slack.check(&json!({})).unwrap_err().pointer, "/webhookUrl");
    assert_eq!(Kind::Slack.check(&json!({ "botToken": "${T}" })).unwrap_err().pointer, "/channelId");
    assert_eq!(Kind::Slack.check(&json!({ "botToken": "${T}", "channelId": "${C}" })), Ok(()));
}

#[test]
fn an_empty_base_is_none() {
    let config = json!({ "webhookUrl": "https://a.example/b", "apiBase": "" });
    let slack = Slack::new(&config, &workshop()).unwrap();
    assert!(matches!(&slack.out, Out::Webhook(url) if url.expose().as_str() == "https://a.example/b"));
}

#[test]
fn channels_that_share_a_place_share_its_limit_and_only_a_bot_takes_back_what_it_said() {
    let slack = |config: Value| Slack::new(&config, &workshop()).unwrap();
    let bot = |channel: &str, updates: &str| {
        slack(json!({ "botToken": TOKEN, "channelId": channel, "updates": updates }))
    };
    let hook = slack(json!({ "webhookUrl": "https://a.example/hunter2" }));
    let (edits, answers, elsewhere) = (bot("C1", "edit"), bot("C1", "thread"), bot("C2", "edit"));
    let delivery = sample();
    let limit = |slack: &Slack| slack.limits(&Try::of(&delivery, Timestamp::UNIX_EPOCH)).remove(0);
    assert_eq!(limit(&edits), limit(&answers));
    assert_ne!(limit(&edits).of, limit(&elsewhere).of);
    assert_eq!((limit(&hook).most, limit(&hook).per, limit(&hook).burst), (1, PACE, 1));
    assert!(!limit(&hook).of.contains("hunter2") && limit(&hook).of.starts_with("slack-channel."));
    let one_thing = Delivery { collapse_id: Some("c".to_owned()), ..sample() };
    let limits = |slack: &Slack| slack.limits(&Try::of(&one_thing, Timestamp::UNIX_EPOCH));
    let of_edits = |slack: &Slack| limits(slack).get(1).cloned();
    let (here, there) = (of_edits(&edits).unwrap(), of_edits(&elsewhere).unwrap());
    assert_eq!((here.most, here.per), (50, Duration::from_secs(60)));
    assert_eq!(here, there, "edits are counted for the bot, over all its channels");
    assert_eq!((of_edits(&answers), of_edits(&hook)), (None, None));
    assert_eq!(edits.limits(&Try::of(&delivery, Timestamp::UNIX_EPOCH)).len(), 1, "nothing to edit");
    assert_eq!((edits.replaces(), edits.follows()), (true, false));
    assert_eq!((answers.replaces(), answers.follows()), (false, true));
    assert_eq!((hook.replaces(), hook.follows()), (false, false));
}

#[tokio::test]
async fn a_bot_posts_and_knows_what_it_posted() {
    let fake = Fake::start().await;
    let receipt = send(&fake.slack(&json!({})), &sample(), None).await.unwrap();
    assert_eq!(receipt.handle.as_deref(), Some("C1:171.1"));
    assert_eq!((receipt.provider_id.as_deref(), receipt.code, receipt.note), (Some("171.1"), Some(200), None));
    let requests = fake.requests();
    assert_eq!(requests[0].method, "chat.postMessage");
    assert_eq!(requests[0].headers["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!(requests[0].headers["content-type"], "application/json; charset=utf-8");
    assert_eq!(requests[0].json()["channel"], "C1");
    assert_eq!(requests[0].json().get("thread_ts"), None);
}

#[tokio::test]
async fn an_answer_that_repeats_a_long_message_is_read_to_its_end() {
    let fake = Fake::start().await;
    let message = json!({ "text": "🚀".repeat(60_000) });
    fake.script("chat.postMessage", [json!({ "message": message, "ok": true, "channel": "C1", "ts": "9.9" })]);
    let receipt = send(&fake.slack(&json!({})), &sample(), None).await.unwrap();
    assert_eq!(receipt.handle.as_deref(), Some("C1:9.9"));
}

#[tokio::test]
async fn what_was_shown_before_is_replaced() {
    let fake = Fake::start().await;
    let receipt = send(&fake.slack(&json!({})), &sample(), Some("C1:99.5")).await.unwrap();
    assert_eq!(receipt.handle.as_deref(), Some("C1:99.5"));
    let requests = fake.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].method, "chat.update");
    let said = requests[0].json();
    assert_eq!((&said["channel"], &said["ts"], &said["parse"]), (&json!("C1"), &json!("99.5"), &json!("none")));
    assert!(said["blocks"].is_array() && said["attachments"].is_array(), "what is left out would stay");
}

#[tokio::test]
async fn what_is_gone_is_posted_anew() {
    for word in ["message_not_found", "cant_update_message", "edit_window_closed"] {
        let fake = Fake::start().await;
        fake.script("chat.update", [refused(word)]);
        let receipt = send(&fake.slack(&json!({})), &sample(), Some("C1:99.5")).await.unwrap();
        assert_eq!(receipt.handle.as_deref(), Some("C1:171.2"), "{word}");
        assert_eq!(fake.methods(), ["chat.update", "chat.postMessage"]);
    }
    let fake = Fake::start().await;
    fake.script("chat.update", [refused("is_archived")]);
    let failed = send(&fake.slack(&json!({})), &sample(), Some("C1:99.5")).await.unwrap_err();
    assert_eq!(failed.failure().reason, Reason::Gone);
    assert_eq!(fake.methods(), ["chat.update"]);
}

#[tokio::test]
async fn what_stands_in_another_channel_stays_there() {
    let fake = Fake::start().await;
    for earlier in ["C2:99.5", "nonsense"] {
        send(&fake.slack(&json!({})), &sample(), Some(earlier)).await.unwrap();
        assert_eq!(fake.methods(), ["chat.postMessage"]);
    }
}

#[tokio::test]
async fn in_a_thread_the_first_message_stays_and_a_repeat_replaces_itself() {
    let fake = Fake::start().await;
    let slack = fake.slack(&json!({ "updates": "thread", "replyBroadcast": true }));
    let (first, mut second) = (sample(), sample());
    second.id = crate::ids::DeliveryId::parse("d_aaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
    let head = send(&slack, &first, None).await.unwrap().handle.unwrap();
    let again = send(&slack, &first, Some(&head)).await.unwrap().handle.unwrap();
    assert_eq!(head, again);
    let answered = send(&slack, &second, Some(&head)).await.unwrap().handle.unwrap();
    assert_eq!(answered, format!("C1:171.1 {}:171.3", second.id));
    send(&slack, &second, Some(&answered)).await.unwrap();
    let requests = fake.requests();
    let methods: Vec<_> = requests.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["chat.postMessage", "chat.update", "chat.postMessage", "chat.update"]);
    assert_eq!(requests[1].json()["ts"], "171.1");
    let reply = requests[2].json();
    assert_eq!((&reply["thread_ts"], &reply["reply_broadcast"]), (&json!("171.1"), &json!(true)));
    assert_eq!(requests[3].json()["ts"], "171.3");
}

#[tokio::test]
async fn a_thread_whose_first_message_is_gone_begins_anew() {
    let fake = Fake::start().await;
    fake.script("chat.postMessage", [refused("thread_not_found")]);
    let slack = fake.slack(&json!({ "updates": "thread" }));
    let receipt = send(&slack, &sample(), Some("C1:99.5")).await.unwrap();
    assert!(receipt.handle.unwrap().starts_with("C1:171.2 "));
    assert!(fake.requests()[1].json().get("thread_ts").is_none());
}

fn with_files() -> Delivery {
    let files = json!([
        { "name": "a b.txt", "text": "hello" },
        { "name": "log", "url": "https://ci.example/7" },
        { "name": "c.bin", "base64": "AAE=" },
    ]);
    Delivery { attachments: attachment::read(&files).0, ..sample() }
}

#[tokio::test]
async fn files_go_into_the_thread_of_their_message() {
    let fake = Fake::start().await;
    let receipt = send(&fake.slack(&json!({})), &with_files(), None).await.unwrap();
    assert_eq!(receipt.note, None);
    let requests = fake.requests();
    let of = |method: &str| requests.iter().filter(|request| request.method == method).collect::<Vec<_>>();
    let asked: Vec<_> = of("files.getUploadURLExternal");
    let forms: Vec<_> = asked.iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect();
    assert!(forms.contains(&"filename=a+b.txt&length=5".to_owned()), "{forms:?}");
    assert!(forms.contains(&"filename=c.bin&length=2".to_owned()), "{forms:?}");
    assert_eq!(asked[0].headers["content-type"], "application/x-www-form-urlencoded");
    let uploads = of("/upload");
    assert!(uploads.iter().any(|request| &*request.body == b"hello"));
    assert!(uploads.iter().all(|request| request.headers.get("authorization").is_none()));
    let done = of("files.completeUploadExternal")[0].json();
    assert_eq!((&done["channel_id"], &done["thread_ts"]), (&json!("C1"), &json!("171.1")));
    assert_eq!(done["files"].as_array().unwrap().len(), 2);
    assert_eq!(done["files"][0]["title"], "a b.txt");
}

#[tokio::test]
async fn files_that_fail_are_noted_and_the_message_is_sent() {
    for (method, answers, note) in [
        (
            "files.getUploadURLExternal",
            vec![refused("missing_scope"), refused("missing_scope")],
            "2 of 2 files were not sent: Slack answered missing_scope",
        ),
        (
            "files.getUploadURLExternal",
            vec![json!({ "ok": true, "upload_url": "http://10.0.0.1/hunter2", "file_id": "F" })],
            "1 of 2 files were not sent: the network policy forbids the address of the endpoint: worker.allow_addresses opens networks",
        ),
        (
            "files.getUploadURLExternal",
            vec![json!({ "ok": true, "upload_url": "hunter2", "file_id": "F" })],
            "1 of 2 files were not sent: the URL for the upload cannot be used",
        ),
        (
            "files.completeUploadExternal",
            vec![refused("posting_to_channel_denied")],
            "2 of 2 files were not sent: Slack answered posting_to_channel_denied",
        ),
    ] {
        let fake = Fake::start().await;
        fake.script(method, answers);
        let receipt = send(&fake.slack(&json!({})), &with_files(), None).await.unwrap();
        assert_eq!(receipt.note.as_deref(), Some(note));
        assert!(receipt.handle.is_some());
    }
}

#[tokio::test]
async fn a_connection_is_asked_for_its_health() {
    let fake = Fake::start().await;
    let at = Timestamp::UNIX_EPOCH;
    let http = workshop().http;
    let connection = json!({ "botToken": TOKEN, "apiBase": fake.base });
    assert_eq!(Slack::probe(&connection, &http, at).await, Ok(()));
    let requests = fake.requests();
    assert_eq!(requests[0].method, "auth.test");
    assert_eq!(requests[0].headers["authorization"], format!("Bearer {TOKEN}"));
    fake.script("auth.test", [refused("token_revoked")]);
    let sick = Slack::probe(&connection, &http, at).await.unwrap_err();
    assert_eq!(sick.failure().detail, "Slack answered token_revoked");
    assert_eq!(sick.failure().reason, Reason::Unauthorized);
    let broken = Slack::probe(&json!({ "botToken": "a b" }), &http, at).await.unwrap_err();
    assert!(broken.failure().detail.contains("/botToken") && !broken.failure().detail.contains("a b"));
}

#[tokio::test]
async fn a_connection_may_have_more_than_its_bot_or_nothing_to_ask_with() {
    let fake = Fake::start().await;
    let (at, workshop) = (Timestamp::UNIX_EPOCH, workshop());
    let more = json!({ "botToken": TOKEN, "apiBase": fake.base, "updates": "thread", "replyBroadcast": true });
    assert_eq!(<Slack as Adapter>::probe(&more, &workshop, at).unwrap().await, Ok(()));
    for part in [json!({ "updates": "thread" }), json!({ "webhookUrl": "https://hooks.slack.com/services/T/B/x" })] {
        assert!(<Slack as Adapter>::probe(&part, &workshop, at).is_none(), "{part}");
    }
}

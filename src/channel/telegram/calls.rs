//! Tries that take several calls, and what a bot is asked besides, against a Telegram that answers from a script.
#![expect(clippy::disallowed_methods, reason = "the server ends with its test")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{Response, StatusCode, Uri};
use serde_json::json;

use super::*;
use crate::channel::conformance::{sample, workshop};

const TOKEN: &str = "1:hunter2";

/// What was asked: the method, and the body as text.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

struct Script {
    base: String,
    asked: Asked,
}

impl Script {
    /// Answers so, one after the other; then `ok: true`.
    async fn of(answers: Vec<Value>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (asked, answers) = (Asked::default(), Arc::new(Mutex::new(answers.into_iter())));
        let seen = Arc::clone(&asked);
        let app = Router::new().fallback(move |uri: Uri, body: Bytes| {
            let method = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
            seen.lock().unwrap().push((method, String::from_utf8_lossy(&body).into_owned()));
            let answer = answers.lock().unwrap().next().unwrap_or_else(|| json!({ "ok": true, "result": true }));
            let status = answer["error_code"].as_u64().and_then(|code| u16::try_from(code).ok());
            async move {
                let status = StatusCode::from_u16(status.unwrap_or(200)).unwrap();
                Response::builder().status(status).body(answer.to_string()).unwrap()
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { base, asked }
    }

    fn channel(&self, more: &Value) -> Telegram {
        let mut config = json!({ "botToken": TOKEN, "apiBase": self.base });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Telegram::new(&config, &workshop()).unwrap()
    }

    fn methods(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(method, _)| method.clone()).collect()
    }

    fn asked(&self, index: usize) -> Value {
        serde_json::from_str(&self.asked.lock().unwrap()[index].1).unwrap()
    }
}

fn sent(message_id: i64) -> Value {
    json!({ "ok": true, "result": { "message_id": message_id, "date": 1, "chat": { "id": -1, "type": "group" } } })
}

fn refused(description: &str) -> Value {
    json!({ "ok": false, "error_code": 400, "description": format!("Bad Request: {description}") })
}

fn moved(to: i64) -> Value {
    let mut answer = refused("group chat was upgraded to a supergroup chat");
    answer["parameters"] = json!({ "migrate_to_chat_id": to });
    answer
}

async fn send(channel: &Telegram, delivery: &Delivery, earlier: Option<&str>) -> Result<Receipt, SendError> {
    channel.send(Try { earlier, ..Try::of(delivery, Timestamp::UNIX_EPOCH) }).await
}

#[tokio::test]
async fn an_earlier_message_is_replaced_in_place() {
    let script = Script::of(vec![sent(41), refused("message is not modified: it is the same")]).await;
    let channel = script.channel(&json!({ "chatId": -1 }));
    for _ in 0..2 {
        let receipt = send(&channel, &sample(), Some("-1:41")).await.unwrap();
        assert_eq!((receipt.provider_id.as_deref(), receipt.handle.as_deref()), (Some("41"), Some("-1:41")));
    }
    assert_eq!(script.methods(), ["editMessageText", "editMessageText"]);
    let edit = script.asked(0);
    assert_eq!((&edit["chat_id"], &edit["message_id"]), (&json!(-1), &json!(41)));
    assert!(edit.get("reply_markup").is_none() && edit["text"].as_str().unwrap().contains("<b>Task"));
}

#[tokio::test]
async fn a_message_that_cannot_be_replaced_is_said_anew() {
    let script =
        Script::of(vec![refused("message to edit not found"), sent(42), refused("message can't be edited"), sent(43)])
            .await;
    let channel = script.channel(&json!({ "chatId": -1 }));
    for (earlier, now) in [("-1:41", "-1:42"), ("-1:42", "-1:43")] {
        let receipt = send(&channel, &sample(), Some(earlier)).await.unwrap();
        assert_eq!(receipt.handle.as_deref(), Some(now));
    }
    // One of another chat is not touched.
    send(&channel, &sample(), Some("-2:7")).await.unwrap();
    let methods = ["editMessageText", "sendMessage", "editMessageText", "sendMessage", "sendMessage"];
    assert_eq!(script.methods(), methods);
}

#[tokio::test]
async fn a_channel_that_answers_leaves_the_first_message_as_it_is() {
    let script = Script::of(vec![sent(42), sent(43)]).await;
    let channel = script.channel(&json!({ "chatId": -1, "updates": "thread" }));
    assert!(channel.follows() && !channel.replaces());
    for earlier in ["-1:41", "-2:7"] {
        let receipt = send(&channel, &sample(), Some(earlier)).await.unwrap();
        let expected = if earlier == "-1:41" { "-1:41" } else { "-1:43" };
        assert_eq!(receipt.handle.as_deref(), Some(expected));
    }
    assert_eq!(script.methods(), ["sendMessage", "sendMessage"]);
    let reply = json!({ "message_id": 41, "allow_sending_without_reply": true });
    assert_eq!(script.asked(0)["reply_parameters"], reply);
    assert!(script.asked(1).get("reply_parameters").is_none());
    assert!(script.channel(&json!({})).replaces());
}

#[tokio::test]
async fn a_group_that_moved_is_followed_at_once_and_remembered() {
    let script = Script::of(vec![moved(-1001), sent(1), sent(2)]).await;
    let channel = script.channel(&json!({ "chatId": -1 }));
    for handle in ["-1001:1", "-1001:2"] {
        let receipt = send(&channel, &sample(), None).await.unwrap();
        assert_eq!(receipt.handle.as_deref(), Some(handle));
        let note = receipt.note.unwrap();
        assert!(note.contains("chatId") && !note.contains("1001"), "{note}");
    }
    let chats: Vec<Value> = (0..3).map(|index| script.asked(index)["chat_id"].clone()).collect();
    assert_eq!(chats, [json!(-1), json!(-1001), json!(-1001)]);
    // Where the new id leads nowhere either, it is given up.
    let circle = Script::of(vec![moved(-2), moved(-1)]).await;
    let error = send(&circle.channel(&json!({ "chatId": -1 })), &sample(), None).await.unwrap_err();
    assert!(matches!(&error, SendError::Permanent(failure) if failure.reason == Reason::Gone), "{error:?}");
}

fn with_files() -> Delivery {
    let files = json!([{ "name": "a.csv", "contentType": "text/csv", "text": "1,2\r\n--x--\r\n" },
        { "name": "ä.bin", "base64": "AAEC/w==" }, { "name": "log", "url": "https://ci.example/l" }]);
    Delivery { attachments: serde_json::from_value(files).unwrap(), ..sample() }
}

#[tokio::test]
async fn files_answer_the_message_and_one_that_fails_fails_nothing_else() {
    let script = Script::of(vec![sent(7), refused("file is too big"), sent(8)]).await;
    let channel = script.channel(&json!({ "chatId": -1, "threadId": 5, "silent": ["warning"] }));
    let receipt = send(&channel, &with_files(), None).await.unwrap();
    assert_eq!(receipt.provider_id.as_deref(), Some("7"));
    let note = "1 of 2 attachments did not go out: Telegram answered: Bad Request: file is too big";
    assert_eq!(receipt.note.as_deref(), Some(note));
    assert_eq!(script.methods(), ["sendMessage", "sendDocument", "sendDocument"]);
    let form = script.asked.lock().unwrap()[1].1.clone();
    let boundary = form.lines().next().unwrap();
    let parts: Vec<&str> = form.split(boundary).collect();
    assert_eq!(parts.len(), 7, "five fields and the end: {form}");
    for (part, expected) in [
        (parts[1], "\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n-1\r\n"),
        (parts[2], "\r\nContent-Disposition: form-data; name=\"message_thread_id\"\r\n\r\n5\r\n"),
        (
            parts[3],
            "\r\nContent-Disposition: form-data; name=\"reply_parameters\"\r\n\r\n\
             {\"message_id\":7,\"allow_sending_without_reply\":true}\r\n",
        ),
        (parts[4], "\r\nContent-Disposition: form-data; name=\"disable_notification\"\r\n\r\ntrue\r\n"),
        (
            parts[5],
            "\r\nContent-Disposition: form-data; name=\"document\"; filename=\"a.csv\"\r\n\
             Content-Type: text/csv\r\n\r\n1,2\r\n--x--\r\n\r\n",
        ),
        (parts[6], "--\r\n"),
    ] {
        assert_eq!(part, expected);
    }
}

#[tokio::test]
async fn a_message_that_is_refused_sends_no_files() {
    let script = Script::of(vec![refused("chat not found")]).await;
    let error = send(&script.channel(&json!({ "chatId": -1 })), &with_files(), None).await.unwrap_err();
    assert_eq!(error.failure().reason, Reason::Gone);
    assert_eq!(script.methods(), ["sendMessage"]);
}

#[tokio::test]
async fn chats_are_detected_and_nothing_is_confirmed() {
    // Longer than what is read of other answers.
    let long = "x".repeat(64 * 1024);
    let updates = json!({ "ok": true, "result": [
        { "update_id": 1, "message": { "text": long, "chat": { "id": -5, "type": "group", "title": "Ops" } } } ] });
    let conflict = json!({ "ok": false, "error_code": 409,
        "description": "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first" });
    let script = Script::of(vec![updates, conflict]).await;
    let config = json!({ "botToken": TOKEN, "apiBase": script.base, "chatId": 1 });
    let workshop = workshop();
    let detect = || Telegram::detect_chats(&config, &workshop, Timestamp::UNIX_EPOCH);
    let chats = detect().await.unwrap();
    assert_eq!((chats.len(), chats[0].chat_id.as_str(), chats[0].name.as_str()), (1, "-5", "Ops"));
    let asked = script.asked(0);
    // Telegram keeps `allowed_updates` for whoever asks next, and an `offset` confirms.
    assert_eq!(asked, json!({ "timeout": 0, "limit": 100 }));
    let error = detect().await.unwrap_err();
    assert!(error.failure().detail.contains("deleteWebhook"), "{error:?}");
}

#[tokio::test]
async fn a_probe_says_whether_the_token_is_known() {
    let unknown = json!({ "ok": false, "error_code": 401, "description": "Unauthorized" });
    let me = json!({ "ok": true, "result": { "id": 1, "is_bot": true, "first_name": "Bugle" } });
    let script = Script::of(vec![me, unknown]).await;
    let config = json!({ "botToken": TOKEN, "apiBase": script.base });
    let workshop = workshop();
    let probe = || Telegram::probe(&config, &workshop, Timestamp::UNIX_EPOCH);
    probe().await.unwrap();
    let error = probe().await.unwrap_err();
    assert!(matches!(&error, SendError::Ours(failure) if failure.reason == Reason::Unauthorized), "{error:?}");
    assert_eq!(script.methods(), ["getMe", "getMe"]);
    let bad = Telegram::probe(&json!({ "botToken": "hunter2/x" }), &workshop, Timestamp::UNIX_EPOCH).await;
    let bad = bad.unwrap_err();
    assert!(bad.failure().detail.contains("/botToken") && !format!("{bad:?}").contains("hunter2"), "{bad:?}");
}

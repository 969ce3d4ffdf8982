//! Telegram, driven end to end by the real programs: what a rule and a send look like in a chat, and what a chat's own ways do.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::bugle::{Bugle, with};
use crate::support::telegram::{TOKEN, Telegram};
use crate::support::{SOON, ensure, eventually};

const GROUP: i64 = -5;
const SUPERGROUP: i64 = -1_001_234_567_890;

fn rule(template: &Value) -> Value {
    json!({ "id": "r", "events": ["ci:*"], "channels": ["bot"], "attachments": "files", "template": template })
}

async fn fleet(telegram: &Telegram, config: &Value, template: &Value) -> Bugle {
    let bugle = Bugle::new().await;
    let documents = json!({ "channels": [telegram.channel(GROUP, config)], "rules": [rule(template)] });
    bugle.start_with(&documents).await;
    bugle
}

#[tokio::test]
async fn a_message_has_its_html_its_buttons_and_its_files() {
    let telegram = Telegram::with_chats(&[GROUP]).await;
    let template = json!({
        "title": "Build {{n}} failed",
        "format": "html",
        "body": "<p>On <u>{{branch}}</u>:</p><ul><li><code>{{error}}</code></ul><script>x</script>",
        "actions": [
            { "label": "Open build", "url": "https://ci.example/{{n}}" },
            { "label": "Here", "url": "/builds/{{n}}" },
        ],
    });
    let bugle = fleet(&telegram, &json!({ "threadId": 9 }), &template).await;
    let files = json!([{ "name": "log.txt", "text": "line\r\nline" }, { "name": "all", "url": "https://ci.example/all" }]);
    let data = json!({ "n": 7, "branch": "<main>", "error": "a < b</code><b>", "files": files });
    bugle.wire().await.event("ci:failed", "e-1", &data).await;

    let messages = telegram.shows(2).await;
    let (message, file) = (&messages[0], &messages[1]);
    let text = message.fields["text"].as_str().unwrap();
    assert!(
        text.starts_with(
            "<b>Build 7 failed</b>\n\nOn <u>&lt;main&gt;</u>:\n\n• <code>a &lt; b&lt;/code&gt;&lt;b&gt;</code>\n\n\
             Here: /builds/7\n📎 <a href=\"https://ci.example/all\">all</a>\n\n<i>info · ci:failed"
        ),
        "{text}"
    );
    let button = json!([[{ "text": "Open build", "url": "https://ci.example/7" }]]);
    assert_eq!(message.fields["reply_markup"]["inline_keyboard"], button);
    assert_eq!(message.fields["message_thread_id"], 9);
    assert_eq!(message.fields["disable_notification"], true, "info makes no sound");
    assert_eq!(file.file, Some(("log.txt".to_owned(), "line\r\nline".to_owned())));
    let reply: Value = serde_json::from_str(file.fields["reply_parameters"].as_str().unwrap()).unwrap();
    assert_eq!(reply, json!({ "message_id": message.id, "allow_sending_without_reply": true }));
    let shown = bugle.api().shows(1, "status=sent").await;
    assert_eq!(shown[0]["detail"], Value::Null, "{shown:#?}");
    // The history keeps what it says, without the styles.
    let whole = bugle.api().delivery(shown[0]["id"].as_str().unwrap()).await;
    assert!(whole["body"].as_str().unwrap().starts_with("On \\<main>:"), "{whole:#}");
}

#[tokio::test]
async fn a_group_that_became_a_supergroup_is_followed_and_the_history_says_so() {
    let telegram = Telegram::with_chats(&[GROUP]).await;
    telegram.moves(GROUP, SUPERGROUP);
    let bugle = fleet(&telegram, &json!({}), &json!({ "title": "Build {{n}}" })).await;
    let wire = bugle.wire().await;
    for number in 1..=2 {
        wire.event("ci:failed", &format!("e-{number}"), &json!({ "n": number })).await;
        let messages = telegram.shows(number).await;
        assert_eq!(messages[number - 1].chat, SUPERGROUP);
    }
    assert_eq!(telegram.calls().len(), 3, "the old chat was asked once: {:?}", telegram.calls());
    for shown in bugle.api().shows(2, "status=sent").await {
        let detail = shown["detail"].as_str().unwrap();
        assert!(detail.contains("supergroup") && detail.contains("chatId"), "{detail}");
    }
}

#[tokio::test]
async fn one_build_is_one_message_which_changes_in_place() {
    let telegram = Telegram::with_chats(&[GROUP]).await;
    let bugle = Bugle::new().await;
    let template = json!({ "title": "Build {{n}} is {{state}}" });
    let rule = with(rule(&template), &json!({ "collapse": { "key": "{{n}}" } }));
    let documents = json!({ "channels": [telegram.channel(GROUP, &json!({}))], "rules": [rule] });
    bugle.start_with(&documents).await;
    let wire = bugle.wire().await;
    for (id, state) in ["running", "failed", "mended"].iter().enumerate() {
        wire.event("ci:state", &format!("e-{id}"), &json!({ "n": 1, "state": state })).await;
        eventually(&format!("the message says {state}"), SOON, async || {
            let messages = telegram.shows(1).await;
            let text = messages[0].fields["text"].as_str().unwrap_or_default().to_owned();
            ensure(text.contains(&format!("Build 1 is {state}")), text)
        })
        .await;
    }
    assert_eq!(telegram.calls(), ["sendMessage", "editMessageText", "editMessageText"]);
    assert_eq!(bugle.api().shows(3, "status=sent").await.len(), 3);
    // One that a person deleted is said anew.
    telegram.forgets_messages();
    wire.event("ci:state", "e-9", &json!({ "n": 1, "state": "green" })).await;
    assert!(telegram.shows(1).await[0].fields["text"].as_str().unwrap().contains("green"));
}

#[tokio::test]
async fn a_file_that_is_refused_is_a_note_and_nothing_is_sent_twice() {
    let telegram = Telegram::with_chats(&[GROUP]).await;
    telegram.refuses_files();
    let bugle = fleet(&telegram, &json!({}), &json!({ "title": "Build {{n}}" })).await;
    let files = json!([{ "name": "log.txt", "text": "x" }]);
    bugle.wire().await.event("ci:failed", "e-1", &json!({ "n": 1, "files": files })).await;
    let shown = bugle.api().shows(1, "status=sent").await;
    let detail = shown[0]["detail"].as_str().unwrap();
    assert_eq!(
        detail,
        "1 of 1 attachments did not go out: Telegram answered: Bad Request: not enough rights to send documents to \
         the chat"
    );
    assert_eq!(telegram.calls(), ["sendMessage", "sendDocument"]);
}

#[tokio::test]
async fn a_pause_that_telegram_asks_for_is_kept_and_costs_no_attempt() {
    let telegram = Telegram::with_chats(&[GROUP]).await;
    telegram.asks_for_pauses(&[2]);
    let bugle = fleet(&telegram, &json!({}), &json!({ "title": "Build {{n}}" })).await;
    let asked = Instant::now();
    bugle.wire().await.event("ci:failed", "e-1", &json!({ "n": 1 })).await;
    telegram.shows(1).await;
    assert!(asked.elapsed().as_millis() >= 1_900, "{:?}", asked.elapsed());
    let shown = bugle.api().shows(1, "status=sent").await;
    let whole = bugle.api().delivery(shown[0]["id"].as_str().unwrap()).await;
    let tries: Vec<_> = whole["timeline"].as_array().unwrap().iter().map(|step| &step["attempt"]).collect();
    assert!(tries.iter().all(|attempt| **attempt == 1), "{whole:#}");
}

#[tokio::test]
async fn a_send_may_be_html_too_and_what_telegram_refuses_says_why() {
    let telegram = Telegram::with_chats(&[GROUP]).await;
    let bugle = Bugle::new().await;
    let nowhere = with(telegram.channel(77, &json!({})), &json!({ "id": "nowhere" }));
    bugle.start_with(&json!({ "channels": [telegram.channel(GROUP, &json!({})), nowhere] })).await;
    let api = bugle.api();
    let send = json!({ "channel": "bot", "title": "Hello", "format": "html", "severity": "critical",
        "body": "a <b>bold</b><br>line & <a href=\"javascript:x\">no link</a>" });
    api.post("/v1/notifications/send?wait=true", &send).await.expect(202);
    let messages = telegram.shows(1).await;
    let text = messages[0].fields["text"].as_str().unwrap();
    assert!(text.contains("\n\na <b>bold</b>\nline &amp; no link\n\n"), "{text}");
    assert!(messages[0].fields.get("disable_notification").is_none(), "{:?}", messages[0]);
    let bad = api.post("/v1/notifications/send", &with(send.clone(), &json!({ "format": "rtf" }))).await;
    assert!(bad.expect_problem(400).to_string().contains("format"));
    let lost = with(send, &json!({ "channel": "nowhere" }));
    let lost = api.post("/v1/notifications/send?wait=true", &lost).await.expect(202);
    let lost = api.becomes(lost["id"].as_str().unwrap(), "failed").await;
    assert_eq!(
        (&lost["reason"], &lost["detail"]),
        (&json!("gone"), &json!("Telegram answered: Bad Request: chat not found"))
    );
    for role in ["worker", "api", "router", "recorder"] {
        assert!(!bugle.log(role).contains(TOKEN), "{role}");
    }
}

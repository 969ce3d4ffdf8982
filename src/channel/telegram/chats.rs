//! What a bot can be asked besides sending: whether it can be used, and which chats it has heard of.
//!
//! Updates are looked at and not confirmed, so that whoever else reads them misses nothing; who reads them at the same moment
//! may be answered 409, and asks again. Which updates are wanted is not said: Telegram keeps that for the bot, and would hand
//! others nothing else from then on. It keeps updates for a day, and hands out the oldest hundred. Source:
//! <https://core.telegram.org/bots/api#getupdates>.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{ApiAnswer, Bot, classify, is_said};
use crate::channel::http::Answer;
use crate::channel::secret::Redacted;
use crate::channel::text::one_line;
use crate::channel::{Failure, SendError, Workshop, settings};
use crate::outcome::Reason;

/// A hundred updates, each with a message of 4096 characters and what it answers.
const UPDATES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Those that come with a chat.
const UPDATES: [&str; 5] =
    ["message", "edited_message", "channel_post", "edited_channel_post", "my_chat_member"];

/// Of a connection or of a channel, which has more.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BotConfig {
    bot_token: Redacted<String>,
    api_base: Option<String>,
}

/// A chat that a bot has heard of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Chat {
    pub chat_id: String,
    /// Its title, or the person's name, or its id.
    pub name: String,
    /// `private`, `group`, `supergroup` or `channel`.
    #[serde(rename = "type")]
    pub chat_type: String,
    pub username: Option<String>,
}

pub(super) fn bot(config: &Value, workshop: &Workshop) -> Result<Bot, SendError> {
    let read = settings::read::<BotConfig>(config);
    read.and_then(|config| Bot::new(config.bot_token, config.api_base.as_deref(), workshop)).map_err(
        |fault| SendError::Ours(Failure::new(Reason::Misconfigured, format!("the bot's settings: {fault}"))),
    )
}

pub(super) async fn probe(bot: &Bot, at: Timestamp) -> Result<(), SendError> {
    let answer = bot.post_json(&bot.http, "getMe", &json!({}), at).await?;
    bot.classify(&answer, &[]).map(drop)
}

pub(super) async fn detect(bot: &Bot, at: Timestamp) -> Result<Vec<Chat>, SendError> {
    let http = bot.http.with_body_bytes_max(UPDATES_BYTES_MAX);
    let request = json!({ "timeout": 0, "limit": 100 });
    let answer = bot.post_json(&http, "getUpdates", &request, at).await?;
    updates(&answer, bot.token.expose()).map(|updates| chats(&updates))
}

fn updates(answer: &Answer, token: &str) -> Result<Vec<Value>, SendError> {
    #[derive(Deserialize)]
    struct Updates {
        result: Vec<Value>,
    }
    if let Ok(api) = serde_json::from_slice::<ApiAnswer>(&answer.body)
        && api.error_code.unwrap_or(answer.status) == 409
    {
        let failure = |detail: &str| Failure::new(Reason::Rejected, detail).code(409);
        return Err(if is_said(&api.description, &["webhook"]) {
            SendError::Permanent(failure(
                "the bot has a webhook, and Telegram hands its updates to nobody else: call deleteWebhook, or write \
                 the chat id by hand",
            ))
        } else {
            let failure = failure("another program is reading the bot's updates just now");
            SendError::Transient { failure, retry_after: None }
        });
    }
    classify(answer, &[token])?;
    let read = serde_json::from_slice::<Updates>(&answer.body);
    read.map(|updates| updates.result).map_err(|_| {
        let failure = Failure::new(Reason::ProviderError, "the answer is not a list of updates");
        SendError::Transient { failure: failure.code(answer.status), retry_after: None }
    })
}

/// Each chat once, as it was first seen, but for those that the bot had to leave or that became another.
fn chats(updates: &[Value]) -> Vec<Chat> {
    let (mut found, mut gone): (Vec<Chat>, BTreeSet<String>) = (Vec::new(), BTreeSet::new());
    for update in updates {
        let Some(about) = UPDATES.iter().find_map(|kind| update.get(*kind)) else { continue };
        let Some(chat) = about.get("chat").and_then(chat) else { continue };
        let status = about.pointer("/new_chat_member/status").and_then(Value::as_str);
        if about.get("migrate_to_chat_id").is_some() || matches!(status, Some("left" | "kicked")) {
            gone.insert(chat.chat_id.clone());
        } else if status.is_some() {
            gone.remove(&chat.chat_id);
        }
        if !found.iter().any(|known| known.chat_id == chat.chat_id) {
            found.push(chat);
        }
    }
    found.retain(|chat| !gone.contains(&chat.chat_id));
    found
}

fn chat(found: &Value) -> Option<Chat> {
    let text = |name: &str| {
        let text = found.get(name).and_then(Value::as_str).map(one_line);
        text.filter(|text| !text.is_empty())
    };
    let chat_id = found.get("id")?.as_i64()?.to_string();
    let names: Vec<String> = text("first_name").into_iter().chain(text("last_name")).collect();
    let person = (!names.is_empty()).then(|| names.join(" "));
    let name = text("title").or(person).unwrap_or_else(|| chat_id.clone());
    Some(Chat { chat_id, name, chat_type: text("type").unwrap_or_default(), username: text("username") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: u16, body: &Value) -> Result<Vec<Chat>, SendError> {
        let answer = Answer { status, retry_after: None, body: body.to_string().into_bytes() };
        updates(&answer, "1:a").map(|updates| chats(&updates))
    }

    #[test]
    fn each_chat_is_named_once_as_it_was_first_seen() {
        let body = json!({ "ok": true, "result": [
            { "update_id": 1, "message": { "message_id": 1, "text": "hi",
                "chat": { "id": 7, "type": "private", "first_name": "Ann", "last_name": "Lee", "username": "ann" } } },
            { "update_id": 2, "channel_post": { "chat": { "id": -1002, "type": "channel", "title": "News\u{202e}" } } },
            { "update_id": 3, "edited_message": { "chat": { "id": 7, "type": "private", "first_name": "Anna" } } },
            { "update_id": 4, "my_chat_member": { "chat": { "id": -5, "type": "group", "title": "Ops" },
                "new_chat_member": { "status": "member" } } },
            { "update_id": 5, "my_chat_member": { "chat": { "id": -6, "type": "group", "title": "Left" },
                "new_chat_member": { "status": "kicked" } } },
            { "update_id": 6, "message": { "chat": { "id": -8, "type": "group", "title": "Old" }, "migrate_to_chat_id": -1008 } },
            { "update_id": 7, "message": { "chat": { "id": -1008, "type": "supergroup" }, "migrate_from_chat_id": -8 } },
            { "update_id": 8, "poll": { "id": "x" } },
        ]});
        let shown = serde_json::to_value(seen(200, &body).unwrap()).unwrap();
        assert_eq!(
            shown,
            json!([
                { "chatId": "7", "name": "Ann Lee", "type": "private", "username": "ann" },
                { "chatId": "-1002", "name": "News", "type": "channel", "username": null },
                { "chatId": "-5", "name": "Ops", "type": "group", "username": null },
                { "chatId": "-1008", "name": "-1008", "type": "supergroup", "username": null },
            ])
        );
    }

    #[test]
    fn what_went_wrong_is_said_in_words_that_help() {
        let webhook = json!({ "ok": false, "error_code": 409,
            "description": "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first" });
        let other = json!({ "ok": false, "error_code": 409,
            "description": "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running" });
        let unknown = json!({ "ok": false, "error_code": 401, "description": "Unauthorized" });
        for (status, body, words) in [
            (409, &webhook, "deleteWebhook"),
            (409, &other, "another program"),
            (401, &unknown, "does not know the bot's token"),
            (200, &json!({ "ok": true, "result": true }), "not a list"),
        ] {
            let error = seen(status, body).unwrap_err();
            assert!(error.failure().detail.contains(words), "{error:?}");
        }
    }
}

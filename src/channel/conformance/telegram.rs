//! Telegram's Bot API and the errors that it documents.

use serde_json::json;

use super::BOT_TOKEN;
use super::subjects::{Documented, Subject};
use crate::channel::Kind;
use crate::outcome::Reason;

pub(super) fn subjects() -> Vec<Subject> {
    vec![Subject {
        kind: Kind::Telegram,
        way: "",
        config: |base| json!({ "botToken": BOT_TOKEN, "chatId": -1001, "apiBase": base }),
        success: r#"{"ok":true,"result":{"message_id":42,"date":1,"chat":{"id":-1001,"type":"group"}}}"#,
        provider_id: Some("42"),
        body_decides: true,
        documented: documented(),
    }]
}

fn documented() -> Vec<Documented> {
    vec![
        (
            400,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}"#,
            "permanent",
            Reason::Gone,
        ),
        (
            400,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: can't parse entities: Unsupported start tag \"x\" at byte offset 5"}"#,
            "permanent",
            Reason::Rejected,
        ),
        (
            400,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded to a supergroup chat","parameters":{"migrate_to_chat_id":-1002}}"#,
            "permanent",
            Reason::Gone,
        ),
        (401, r#"{"ok":false,"error_code":401,"description":"Unauthorized"}"#, "ours", Reason::Unauthorized),
        (
            403,
            r#"{"ok":false,"error_code":403,"description":"Forbidden: bot was blocked by the user"}"#,
            "permanent",
            Reason::Gone,
        ),
        (404, r#"{"ok":false,"error_code":404,"description":"Not Found"}"#, "ours", Reason::Unauthorized),
        (
            200,
            r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 5","parameters":{"retry_after":5}}"#,
            "limited",
            Reason::RateLimited,
        ),
        (
            500,
            r#"{"ok":false,"error_code":500,"description":"Internal Server Error"}"#,
            "transient",
            Reason::ProviderError,
        ),
    ]
}

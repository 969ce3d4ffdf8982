//! The kinds under test: how they are configured, what their providers answer, and the errors that those document.

use serde_json::{Value, json};

use super::devices::documented_for_devices;
use super::{BOT_TOKEN, HEADER_SECRET, PATH_SECRET, SIGNING_SECRET};
use crate::channel::Kind;
use crate::outcome::Reason;

pub(super) struct Subject {
    pub(super) kind: Kind,
    /// At a server of ours.
    pub(super) config: fn(&str) -> Value,
    /// The provider's answer to a success.
    pub(super) success: &'static str,
    pub(super) provider_id: Option<&'static str>,
}

/// None for kinds that call nobody.
fn subject(kind: Kind) -> Option<Subject> {
    match kind {
        Kind::Console => None,
        Kind::Webhook => Some(Subject {
            kind,
            config: |base| {
                let headers = json!({ "Authorization": HEADER_SECRET });
                json!({ "url": format!("{base}/{PATH_SECRET}"), "secrets": [SIGNING_SECRET], "headers": headers })
            },
            success: "",
            provider_id: None,
        }),
        Kind::Slack => Some(Subject {
            kind,
            config: |base| {
                let url = format!("https://hooks.slack.com/services/T0/B0/{PATH_SECRET}");
                json!({ "webhookUrl": url, "apiBase": base })
            },
            success: "ok",
            provider_id: None,
        }),
        Kind::Telegram => Some(Subject {
            kind,
            config: |base| json!({ "botToken": BOT_TOKEN, "chatId": -1001, "apiBase": base }),
            success: r#"{"ok":true,"result":{"message_id":42,"date":1,"chat":{"id":-1001,"type":"group"}}}"#,
            provider_id: Some("42"),
        }),
        Kind::Expo => Some(Subject {
            kind,
            config: |base| json!({ "accessToken": HEADER_SECRET, "apiBase": base }),
            success: r#"{"data":[{"status":"ok","id":"0190e7a2"}]}"#,
            provider_id: Some("0190e7a2"),
        }),
        Kind::WebPush => Some(Subject {
            kind,
            config: |_| crate::channel::webpush::tests::config(),
            success: "",
            provider_id: None,
        }),
    }
}

pub(super) fn subjects() -> impl Iterator<Item = Subject> {
    Kind::ALL.iter().filter_map(|&kind| subject(kind))
}

/// The errors that a provider documents: status, body, and what they mean.
pub(super) fn documented(kind: Kind) -> Vec<(u16, &'static str, &'static str, Reason)> {
    match kind {
        Kind::Console => vec![],
        Kind::Webhook => vec![
            (301, "", "permanent", Reason::Rejected),
            (400, "{\"error\":\"bad\"}", "transient", Reason::Rejected),
            (401, "", "transient", Reason::Unauthorized),
            (404, "", "transient", Reason::Gone),
            (410, "", "permanent", Reason::Gone),
            (502, "<html>", "transient", Reason::ProviderError),
            (503, "", "transient", Reason::ProviderError),
        ],
        Kind::Slack => vec![
            (400, "invalid_payload", "permanent", Reason::Rejected),
            (400, "no_text", "permanent", Reason::Rejected),
            (403, "action_prohibited", "permanent", Reason::Unauthorized),
            (403, "posting_to_general_channel_denied", "permanent", Reason::Unauthorized),
            (403, "invalid_token", "ours", Reason::Unauthorized),
            (404, "channel_not_found", "permanent", Reason::Gone),
            (404, "no_service", "permanent", Reason::Gone),
            (404, "no_active_hooks", "permanent", Reason::Gone),
            (410, "channel_is_archived", "permanent", Reason::Gone),
            (500, "rollup_error", "transient", Reason::ProviderError),
        ],
        Kind::Telegram => vec![
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
            (
                401,
                r#"{"ok":false,"error_code":401,"description":"Unauthorized"}"#,
                "ours",
                Reason::Unauthorized,
            ),
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
        ],
        Kind::Expo | Kind::WebPush => documented_for_devices(kind),
    }
}

//! Slack's two ways: the incoming webhook, and the bot with the errors that `chat.postMessage` documents.

use serde_json::json;

use super::subjects::{Documented, Subject};
use super::{HEADER_SECRET, PATH_SECRET};
use crate::channel::Kind;
use crate::outcome::Reason;

pub(super) fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            kind: Kind::Slack,
            way: "webhook",
            config: |base| {
                let url = format!("https://hooks.slack.com/services/T0/B0/{PATH_SECRET}");
                json!({ "webhookUrl": url, "apiBase": base })
            },
            success: "ok",
            provider_id: None,
            body_decides: false,
            documented: documented_webhook(),
        },
        Subject {
            kind: Kind::Slack,
            way: "bot",
            config: |base| json!({ "botToken": HEADER_SECRET, "channelId": "C0123456789", "apiBase": base }),
            success: r#"{"ok":true,"channel":"C0123456789","ts":"1503435956.000247","message":{"text":"x"}}"#,
            provider_id: Some("1503435956.000247"),
            body_decides: true,
            documented: documented_bot(),
        },
    ]
}

fn documented_webhook() -> Vec<Documented> {
    vec![
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
    ]
}

macro_rules! refused {
    ($word:literal) => {
        concat!(r#"{"ok":false,"error":""#, $word, r#""}"#)
    };
}

fn documented_bot() -> Vec<Documented> {
    vec![
        (200, refused!("not_in_channel"), "ours", Reason::Unauthorized),
        (200, refused!("invalid_auth"), "ours", Reason::Unauthorized),
        (200, refused!("not_authed"), "ours", Reason::Unauthorized),
        (200, refused!("token_revoked"), "ours", Reason::Unauthorized),
        (200, refused!("token_expired"), "ours", Reason::Unauthorized),
        (200, refused!("account_inactive"), "ours", Reason::Unauthorized),
        (200, refused!("missing_scope"), "ours", Reason::Unauthorized),
        (200, refused!("no_permission"), "ours", Reason::Unauthorized),
        (200, refused!("team_access_not_granted"), "ours", Reason::Unauthorized),
        (200, refused!("not_allowed_token_type"), "ours", Reason::Unauthorized),
        (200, refused!("is_bot"), "ours", Reason::Unauthorized),
        (200, refused!("app_access_restricted"), "permanent", Reason::Unauthorized),
        (200, refused!("restricted_action"), "permanent", Reason::Unauthorized),
        (200, refused!("restricted_action_read_only_channel"), "permanent", Reason::Unauthorized),
        (200, refused!("ekm_access_denied"), "permanent", Reason::Unauthorized),
        (200, refused!("channel_not_found"), "permanent", Reason::Gone),
        (200, refused!("is_archived"), "permanent", Reason::Gone),
        (200, refused!("messages_tab_disabled"), "permanent", Reason::Gone),
        (200, refused!("msg_too_long"), "permanent", Reason::Rejected),
        (200, refused!("msg_blocks_too_long"), "permanent", Reason::Rejected),
        (200, refused!("no_text"), "permanent", Reason::Rejected),
        (200, refused!("invalid_blocks"), "permanent", Reason::Rejected),
        (200, refused!("invalid_arguments"), "permanent", Reason::Rejected),
        (200, refused!("slack_connect_canvas_sharing_blocked"), "permanent", Reason::Rejected),
        (200, refused!("too_many_attachments"), "permanent", Reason::Rejected),
        (200, refused!("rate_limited"), "limited", Reason::RateLimited),
        (200, refused!("message_limit_exceeded"), "limited", Reason::RateLimited),
        (429, refused!("ratelimited"), "limited", Reason::RateLimited),
        (200, refused!("fatal_error"), "transient", Reason::ProviderError),
        (200, refused!("internal_error"), "transient", Reason::ProviderError),
        (200, refused!("request_timeout"), "transient", Reason::ProviderError),
        (200, refused!("team_added_to_org"), "transient", Reason::ProviderError),
        (503, refused!("service_unavailable"), "transient", Reason::ProviderError),
        (200, refused!("a_word_of_tomorrow"), "transient", Reason::ProviderError),
        (200, "<html>", "transient", Reason::ProviderError),
    ]
}

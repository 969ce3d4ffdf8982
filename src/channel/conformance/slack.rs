//! Slack's bot, which shares its kind with the incoming webhook, and the errors that `chat.postMessage` documents.

use serde_json::json;

use super::HEADER_SECRET;
use super::subjects::Subject;
use crate::channel::Kind;
use crate::outcome::Reason;

pub(super) fn bot() -> Subject {
    Subject {
        kind: Kind::Slack,
        config: |base| json!({ "botToken": HEADER_SECRET, "channelId": "C0123456789", "apiBase": base }),
        success: r#"{"ok":true,"channel":"C0123456789","ts":"1503435956.000247","message":{"text":"x"}}"#,
        provider_id: Some("1503435956.000247"),
    }
}

impl Subject {
    /// Of the two ways of Slack, the one that answers with the id of its message.
    pub(super) fn is_slack_bot(&self) -> bool {
        self.kind == Kind::Slack && self.provider_id.is_some()
    }
}

macro_rules! refused {
    ($word:literal) => {
        concat!(r#"{"ok":false,"error":""#, $word, r#""}"#)
    };
}

pub(super) fn documented() -> Vec<(u16, &'static str, &'static str, Reason)> {
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

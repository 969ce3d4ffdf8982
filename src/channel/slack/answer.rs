//! What Slack's answers mean. A webhook answers a status and one word, the Web API `{"ok": false, "error": "…"}` under 200: the
//! word decides where it is known, else the status. Only a known word is quoted.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::bot::unreadable;
use crate::channel::http::{Answer, classify_provider, classify_provider_status};
use crate::channel::{Failure, Receipt, SendError};
use crate::outcome::Reason;

/// Words that say that a message can be neither replaced nor answered (any more), though its channel can be posted to.
const OUT_OF_REACH: &[&str] = &[
    "message_not_found",
    "cant_update_message",
    "edit_window_closed",
    "thread_not_found",
    "invalid_thread_ts",
    "cannot_reply_to_message",
    "restricted_action_thread_locked",
];

/// Refusals of this very message, whoever sends it.
const REJECTED: &[&str] = &[
    "invalid_payload",
    "no_text",
    "invalid_blocks",
    "invalid_blocks_format",
    "invalid_attachments",
    "missing_text_or_fallback_or_attachments",
    "msg_too_long",
    "msg_blocks_too_long",
    "too_many_attachments",
    "attachment_payload_limit_exceeded",
    "block_mismatch",
    "invalid_arguments",
    "invalid_arg_name",
    "invalid_array_arg",
    "invalid_charset",
    "invalid_form_data",
    "invalid_json",
    "json_not_object",
    "invalid_post_type",
    "missing_post_type",
    "as_user_not_supported",
    "deprecated_endpoint",
    "method_deprecated",
    "unknown_method",
    "missing_argument",
    "slack_connect_file_link_sharing_blocked",
    "slack_connect_file_upload_sharing_blocked",
    "slack_connect_canvas_sharing_blocked",
    "slack_connect_clip_sharing_blocked",
    "slack_connect_lists_sharing_blocked",
    "slack_connect_blocked_file_type",
    "blocked_file_type",
    "file_type_not_allowed",
    "file_uploads_disabled",
    "file_uploads_except_images_disabled",
    "file_upload_size_restricted",
    "file_not_found",
    "file_update_failed",
    "storage_limit_reached",
    "streaming_state_conflict",
    "markdown_text_conflict",
    "cant_broadcast_message",
    "message_not_found",
    "cant_update_message",
    "edit_window_closed",
    "thread_not_found",
    "invalid_thread_ts",
    "cannot_reply_to_message",
];

/// A setting of the workspace forbids it; nobody at our end can change that.
const FORBIDDEN: &[&str] = &[
    "action_prohibited",
    "posting_to_general_channel_denied",
    "posting_to_channel_denied",
    "restricted_action",
    "restricted_action_read_only_channel",
    "restricted_action_thread_only_channel",
    "restricted_action_non_threadable_channel",
    "restricted_action_thread_locked",
    "ekm_access_denied",
    "enterprise_is_restricted",
    "access_denied",
    "app_access_restricted",
];

/// The place is no more.
const GONE: &[&str] = &[
    "channel_not_found",
    "channel_is_archived",
    "is_archived",
    "is_inactive",
    "invalid_channel",
    "user_not_found",
    "team_not_found",
    "no_service",
    "no_service_id",
    "no_active_hooks",
    "no_team",
    "team_disabled",
    "messages_tab_disabled",
];

/// Mended at our end: another token, another scope, the bot invited into the channel.
const CREDENTIALS: &[&str] = &[
    "invalid_token",
    "invalid_auth",
    "not_authed",
    "account_inactive",
    "token_revoked",
    "token_expired",
    "missing_scope",
    "not_allowed_token_type",
    // The token of a kind of bot that Slack has no more.
    "is_bot",
    "no_permission",
    "not_in_channel",
    "team_access_not_granted",
    "accesslimited",
    "two_factor_setup_required",
];

const LIMITED: &[&str] = &["rate_limited", "ratelimited", "message_limit_exceeded"];

/// Passes by itself.
const TROUBLE: &[&str] = &[
    "rollup_error",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "update_failed",
    "external_channel_migrating",
    "team_added_to_org",
    "org_login_required",
];

/// `{"ok": false, "error": "…"}`, which gateways in the place of a webhook may answer, too.
#[derive(Deserialize)]
struct Reply {
    ok: bool,
    #[serde(default)]
    error: String,
}

/// What `chat.postMessage` and `chat.update` answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Posted {
    pub(super) status: u16,
    pub(super) channel: Option<String>,
    pub(super) ts: Option<String>,
}

/// # Errors
/// When the webhook did not take it.
pub(super) fn of_webhook(answer: &Answer) -> Result<Receipt, SendError> {
    let body = String::from_utf8_lossy(&answer.body);
    let refused = serde_json::from_str::<Reply>(&body).ok().filter(|reply| !reply.ok);
    let accepted = (200..300).contains(&answer.status);
    match &refused {
        Some(refused) => Err(refusal(&refused.error, answer)),
        None if accepted => {
            classify_provider(answer)?;
            Ok(Receipt { code: Some(answer.status), ..Receipt::default() })
        }
        None => Err(refusal(body.trim(), answer)),
    }
}

/// What a method of the Web API answers to a success.
///
/// # Errors
/// When it refused, or what it answers cannot be read.
pub(super) fn of_api<T: DeserializeOwned>(answer: &Answer) -> Result<T, SendError> {
    match serde_json::from_slice::<Reply>(&answer.body) {
        Ok(reply) if !reply.ok => Err(refusal(&reply.error, answer)),
        Ok(_) if (200..300).contains(&answer.status) => {
            serde_json::from_slice(&answer.body).map_err(|_| unreadable(answer.status))
        }
        Ok(_) => Err(refusal("", answer)),
        Err(_) => {
            classify_provider_status(answer.status, answer.retry_after)?;
            Err(unreadable(answer.status))
        }
    }
}

/// # Errors
/// As [`of_api`].
pub(super) fn posted(answer: &Answer) -> Result<Posted, SendError> {
    #[derive(Deserialize)]
    struct Message {
        channel: Option<String>,
        ts: Option<String>,
    }
    let Message { channel, ts } = of_api(answer)?;
    Ok(Posted { status: answer.status, channel, ts })
}

/// True when the message that was to be replaced or answered cannot be: one of its own must be posted.
pub(super) fn is_out_of_reach(answer: &Answer) -> bool {
    let reply = serde_json::from_slice::<Reply>(&answer.body);
    reply.is_ok_and(|reply| !reply.ok && OUT_OF_REACH.contains(&reply.error.as_str()))
}

fn refusal(word: &str, answer: &Answer) -> SendError {
    if let Some(error) = classify_word(word, answer) {
        return error;
    }
    if let Err(error) = classify_provider_status(answer.status, answer.retry_after) {
        return error;
    }
    // A refusal in words unknown to us, under a status that says the opposite.
    let failure =
        Failure::new(Reason::ProviderError, "refused without a reason that is known").code(answer.status);
    SendError::Transient { failure, retry_after: answer.retry_after }
}

fn classify_word(word: &str, answer: &Answer) -> Option<SendError> {
    let failure = |reason| Failure::new(reason, format!("Slack answered {word}")).code(answer.status);
    let is = |words: &[&str]| words.contains(&word);
    let retry_after = answer.retry_after;
    Some(if is(REJECTED) {
        SendError::Permanent(failure(Reason::Rejected))
    } else if is(FORBIDDEN) {
        SendError::Permanent(failure(Reason::Unauthorized))
    } else if is(GONE) {
        SendError::Permanent(failure(Reason::Gone))
    } else if is(CREDENTIALS) {
        SendError::Ours(failure(Reason::Unauthorized))
    } else if is(LIMITED) {
        SendError::RateLimited { failure: failure(Reason::RateLimited), retry_after }
    } else if is(TROUBLE) {
        SendError::Transient { failure: failure(Reason::ProviderError), retry_after }
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, body: body.as_bytes().to_vec() }
    }

    fn seen<T>(result: Result<T, SendError>) -> String {
        match result {
            Ok(_) => "ok".to_owned(),
            Err(SendError::Transient { failure, .. }) => format!("transient {}", failure.reason),
            Err(SendError::RateLimited { failure, .. }) => format!("limited {}", failure.reason),
            Err(SendError::Permanent(failure)) => format!("permanent {}", failure.reason),
            Err(SendError::Ours(failure)) => format!("ours {}", failure.reason),
        }
    }

    #[test]
    fn a_webhooks_word_decides_before_its_status() {
        for (status, body, expected) in [
            (200, "ok", "ok"),
            (200, r#"{"ok":true}"#, "ok"),
            (200, r#"{"ok":false,"error":"channel_not_found"}"#, "permanent gone"),
            (200, r#"{"ok":false}"#, "transient provider_error"),
            (400, "no_text", "permanent rejected"),
            (403, "invalid_token", "ours unauthorized"),
            (404, "<html>", "permanent gone"),
            (500, "no_service", "permanent gone"),
            (500, "", "transient provider_error"),
            (503, "rate_limited", "limited rate_limited"),
        ] {
            assert_eq!(seen(of_webhook(&answer(status, body))), expected, "{status} {body}");
        }
        for status in (100..600).filter(|status| !(200..300).contains(status)) {
            let answered = of_webhook(&answer(status, "")).map(|_| ());
            assert_eq!(answered, classify_provider_status(status, None), "{status}");
        }
    }

    #[test]
    fn the_apis_word_decides_before_its_status_and_a_yes_is_in_the_body() {
        for (status, body, expected) in [
            (200, r#"{"ok":true,"channel":"C1","ts":"1.2"}"#, "ok"),
            (200, r#"{"ok":false,"error":"new_word"}"#, "transient provider_error"),
            (200, "ok", "transient provider_error"),
            (200, "", "transient provider_error"),
            (500, r#"{"ok":true}"#, "transient provider_error"),
            (404, "<html>", "permanent gone"),
            (429, "", "limited rate_limited"),
        ] {
            assert_eq!(seen(posted(&answer(status, body))), expected, "{status} {body}");
        }
        for status in (100..600).filter(|status| !(200..300).contains(status)) {
            let answered = posted(&answer(status, "")).map(|_| ());
            assert_eq!(answered, classify_provider_status(status, None), "{status}");
        }
    }

    #[test]
    fn why_a_file_is_refused_is_quoted() {
        for word in [
            "file_uploads_disabled",
            "file_uploads_except_images_disabled",
            "file_upload_size_restricted",
            "missing_argument",
            "blocked_file_type",
            "slack_connect_file_upload_sharing_blocked",
        ] {
            let refused = of_api::<Reply>(&answer(200, &format!(r#"{{"ok":false,"error":"{word}"}}"#)));
            let detail = refused.err().map(|error| error.failure().detail.clone());
            assert_eq!(detail, Some(format!("Slack answered {word}")));
        }
    }

    #[test]
    fn no_word_has_two_meanings() {
        let mut all: Vec<_> =
            [REJECTED, FORBIDDEN, GONE, CREDENTIALS, LIMITED, TROUBLE].concat();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(OUT_OF_REACH.iter().all(|word| all.contains(word)));
    }

    #[test]
    fn a_message_that_is_gone_is_told_from_a_channel_that_is() {
        let refused = |word: &str| answer(200, &format!(r#"{{"ok":false,"error":"{word}"}}"#));
        for word in ["message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"] {
            assert!(is_out_of_reach(&refused(word)), "{word}");
        }
        for word in ["channel_not_found", "is_archived", "invalid_auth", "ratelimited"] {
            assert!(!is_out_of_reach(&refused(word)), "{word}");
        }
    }
}

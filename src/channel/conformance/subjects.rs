//! The kinds under test: how they are configured, what their providers answer, and the errors that those document.

use serde_json::{Value, json};

use super::{BOT_TOKEN, HEADER_SECRET, MAILBOX, PATH_SECRET, SIGNING_SECRET};
use crate::channel::Kind;
use crate::outcome::Reason;

pub(super) struct Subject {
    pub(super) kind: Kind,
    /// Of several ways of a kind this one.
    pub(super) way: &'static str,
    /// At a server of ours.
    pub(super) config: fn(&str) -> Value,
    /// The provider's answer to a success.
    pub(super) success: &'static str,
    pub(super) provider_id: Option<&'static str>,
}

/// None for kinds that call nobody by HTTP.
fn subjects_of(kind: Kind) -> Vec<Subject> {
    match kind {
        Kind::Console => vec![],
        Kind::Webhook => vec![Subject {
            kind,
            way: "",
            config: |base| {
                let headers = json!({ "Authorization": HEADER_SECRET });
                json!({ "url": format!("{base}/{PATH_SECRET}"), "secrets": [SIGNING_SECRET], "headers": headers })
            },
            success: "",
            provider_id: None,
        }],
        Kind::Slack => vec![Subject {
            kind,
            way: "",
            config: |base| {
                let url = format!("https://hooks.slack.com/services/T0/B0/{PATH_SECRET}");
                json!({ "webhookUrl": url, "apiBase": base })
            },
            success: "ok",
            provider_id: None,
        }],
        Kind::Telegram => vec![Subject {
            kind,
            way: "",
            config: |base| json!({ "botToken": BOT_TOKEN, "chatId": -1001, "apiBase": base }),
            success: r#"{"ok":true,"result":{"message_id":42,"date":1,"chat":{"id":-1001,"type":"group"}}}"#,
            provider_id: Some("42"),
        }],
        Kind::Email => vec![
            Subject {
                kind,
                way: "resend",
                config: |base| api("resend", base),
                success: r#"{"id":"49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"}"#,
                provider_id: Some("49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"),
            },
            Subject {
                kind,
                way: "sendgrid",
                config: |base| api("sendgrid", base),
                success: "",
                provider_id: None,
            },
        ],
    }
}

fn api(provider: &str, base: &str) -> Value {
    json!({ "provider": provider, "apiKey": PATH_SECRET, "apiBase": base, "from": "Bugle <bugle@example.com>",
            "to": format!("{MAILBOX}@example.com") })
}

pub(super) fn subjects() -> impl Iterator<Item = Subject> {
    Kind::ALL.iter().flat_map(|&kind| subjects_of(kind))
}

/// The errors that a provider documents: status, body, and what they mean.
pub(super) fn documented(subject: &Subject) -> Vec<(u16, &'static str, &'static str, Reason)> {
    match subject.kind {
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
        Kind::Email => email(subject.way),
    }
}

fn email(way: &str) -> Vec<(u16, &'static str, &'static str, Reason)> {
    if way == "resend" { resend() } else { sendgrid() }
}

/// <https://resend.com/docs/api-reference/errors>
fn resend() -> Vec<(u16, &'static str, &'static str, Reason)> {
    vec![
        (
            400,
            r#"{"statusCode":400,"name":"validation_error","message":"no"}"#,
            "permanent",
            Reason::Rejected,
        ),
        (400, r#"{"name":"validation_error","message":"API key is invalid"}"#, "ours", Reason::Unauthorized),
        (400, r#"{"name":"invalid_idempotency_key","message":"no"}"#, "permanent", Reason::Rejected),
        (401, r#"{"statusCode":401,"name":"missing_api_key","message":"no"}"#, "ours", Reason::Unauthorized),
        (401, r#"{"name":"validation_error","message":"API key is invalid"}"#, "ours", Reason::Unauthorized),
        (401, r#"{"name":"restricted_api_key","message":"no"}"#, "ours", Reason::Unauthorized),
        (403, r#"{"statusCode":403,"name":"invalid_api_key","message":"no"}"#, "ours", Reason::Unauthorized),
        (403, r#"{"name":"validation_error","message":"domain"}"#, "ours", Reason::Unauthorized),
        (403, "", "ours", Reason::Unauthorized),
        (404, r#"{"name":"not_found","message":"no"}"#, "permanent", Reason::Gone),
        (405, r#"{"name":"method_not_allowed","message":"no"}"#, "permanent", Reason::Rejected),
        (409, r#"{"name":"invalid_idempotent_request","message":"no"}"#, "permanent", Reason::Rejected),
        (
            409,
            r#"{"name":"concurrent_idempotent_requests","message":"no"}"#,
            "transient",
            Reason::ProviderError,
        ),
        (422, r#"{"name":"invalid_attachment","message":"no"}"#, "permanent", Reason::Rejected),
        (422, r#"{"name":"invalid_from_address","message":"no"}"#, "ours", Reason::Unauthorized),
        (422, r#"{"name":"missing_required_field","message":"no"}"#, "permanent", Reason::Rejected),
        (429, r#"{"name":"rate_limit_exceeded","message":"no"}"#, "limited", Reason::RateLimited),
        (429, r#"{"name":"daily_quota_exceeded","message":"no"}"#, "limited", Reason::RateLimited),
        (429, r#"{"name":"monthly_quota_exceeded","message":"no"}"#, "limited", Reason::RateLimited),
        (451, r#"{"name":"security_error","message":"no"}"#, "permanent", Reason::Rejected),
        (500, r#"{"name":"application_error","message":"no"}"#, "transient", Reason::ProviderError),
    ]
}

/// <https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/errors>
fn sendgrid() -> Vec<(u16, &'static str, &'static str, Reason)> {
    vec![
        (
            400,
            r#"{"errors":[{"message":"Does not contain a valid address.","field":"personalizations.0.to.0.email"}]}"#,
            "permanent",
            Reason::Rejected,
        ),
        (
            401,
            r#"{"errors":[{"message":"The provided authorization grant is invalid, expired, or revoked","field":null}]}"#,
            "ours",
            Reason::Unauthorized,
        ),
        (401, r#"{"errors":[{"message":"Maximum credits exceeded"}]}"#, "ours", Reason::Unauthorized),
        (
            403,
            r#"{"errors":[{"message":"The from address does not match a verified Sender Identity.","field":"from"}]}"#,
            "ours",
            Reason::Unauthorized,
        ),
        (403, r#"{"errors":[{"message":"access forbidden","field":null}]}"#, "ours", Reason::Unauthorized),
        (413, r#"{"errors":[{"message":"too large"}]}"#, "permanent", Reason::Rejected),
        (429, r#"{"errors":[{"message":"too many requests","field":null}]}"#, "limited", Reason::RateLimited),
        (500, "", "transient", Reason::ProviderError),
        (503, "", "transient", Reason::ProviderError),
    ]
}

//! The services of the kind `url`: a subject each, and the errors that each documents. Those that post into a chat are here.

mod pagers;

use serde_json::{Value, json};

use super::subjects::{Documented, Subject};
use super::{Server, failure, retry_after};
use crate::channel::Kind;
use crate::outcome::Reason;

type Errors = &'static [Documented];

struct Case {
    config: fn(&str) -> Value,
    success: &'static str,
    provider_id: Option<&'static str>,
    errors: Errors,
}

fn config(url: &str, base: &str) -> Value {
    json!({ "url": url, "apiBase": base })
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn chats() -> Vec<Case> {
    vec![
        Case {
            config: |base| config("discord://123456789012345678/XXXXsecretpathXXXX?thread=42", base),
            success: r#"{"id":"1234","type":0,"channel_id":"5"}"#,
            provider_id: Some("1234"),
            errors: &[
                (
                    400,
                    r#"{"message":"Invalid Form Body","code":50035,"errors":{}}"#,
                    "permanent",
                    Reason::Rejected,
                ),
                (401, r#"{"message":"Invalid Webhook Token","code":50027}"#, "ours", Reason::Unauthorized),
                (404, r#"{"message":"Unknown Webhook","code":10015}"#, "permanent", Reason::Gone),
                (404, r#"{"message":"Unknown Channel","code":10003}"#, "permanent", Reason::Gone),
                (
                    429,
                    r#"{"message":"You are being rate limited.","retry_after":0.65,"global":false}"#,
                    "limited",
                    Reason::RateLimited,
                ),
            ],
        },
        Case {
            config: |base| {
                config(
                    "https://prod-1.westeurope.logic.azure.com:443/workflows/w1/triggers/manual/paths/invoke?api-version=2016-06-01&sig=XXXXsecretpathXXXX",
                    base,
                )
            },
            success: "",
            provider_id: None,
            errors: &[
                (
                    400,
                    r#"{"error":{"code":"TriggerInputSchemaMismatch","message":"x"}}"#,
                    "permanent",
                    Reason::Rejected,
                ),
                (
                    400,
                    r#"{"error":{"code":"WorkflowTriggerIsNotEnabled","message":"x"}}"#,
                    "transient",
                    Reason::Gone,
                ),
                (
                    400,
                    r#"{"error":{"code":"WorkflowTriggerIsNotEnabled","message":"Could not execute workflow 'w1' trigger 'manual' with state 'Deleted': trigger is not enabled."}}"#,
                    "permanent",
                    Reason::Gone,
                ),
                (
                    401,
                    r#"{"error":{"code":"DirectApiAuthorizationRequired","message":"x"}}"#,
                    "ours",
                    Reason::Unauthorized,
                ),
                (404, r#"{"error":{"code":"WorkflowNotFound","message":"x"}}"#, "permanent", Reason::Gone),
                (
                    429,
                    r#"{"error":{"code":"WorkflowRunInProgress","message":"x"}}"#,
                    "limited",
                    Reason::RateLimited,
                ),
            ],
        },
        Case {
            config: |base| config("mmosts://bugle@chat.example/XXXXsecretpathXXXX?to=town-square", base),
            success: "ok",
            provider_id: None,
            errors: &[
                (
                    400,
                    r#"{"id":"web.incoming_webhook.invalid.app_error","message":"Invalid webhook.","status_code":400}"#,
                    "permanent",
                    Reason::Gone,
                ),
                (
                    404,
                    r#"{"id":"web.incoming_webhook.channel.app_error","message":"x","status_code":404}"#,
                    "permanent",
                    Reason::Gone,
                ),
                // Its database does not answer.
                (
                    500,
                    r#"{"id":"web.incoming_webhook.channel.app_error","message":"x","status_code":500}"#,
                    "transient",
                    Reason::ProviderError,
                ),
                (
                    403,
                    r#"{"id":"web.incoming_webhook.channel_locked.app_error","message":"x","status_code":403}"#,
                    "permanent",
                    Reason::Unauthorized,
                ),
                (
                    501,
                    r#"{"id":"web.incoming_webhook.disabled.app_error","message":"x","status_code":501}"#,
                    "ours",
                    Reason::Unauthorized,
                ),
                (
                    400,
                    r#"{"id":"web.incoming_webhook.text.app_error","message":"x","status_code":400}"#,
                    "permanent",
                    Reason::Rejected,
                ),
            ],
        },
        Case {
            config: |base| config("gchat://AAAA/XXXXsecretpathXXXX/XXXXsecretpathXXXX", base),
            success: r#"{"name":"spaces/AAAA/messages/B.C","thread":{"name":"spaces/AAAA/threads/B"}}"#,
            provider_id: Some("spaces/AAAA/messages/B.C"),
            errors: &[
                (
                    400,
                    r#"{"error":{"code":400,"message":"Invalid JSON payload received.","status":"INVALID_ARGUMENT"}}"#,
                    "permanent",
                    Reason::Rejected,
                ),
                (
                    401,
                    r#"{"error":{"code":401,"message":"x","status":"UNAUTHENTICATED"}}"#,
                    "ours",
                    Reason::Unauthorized,
                ),
                (
                    403,
                    r#"{"error":{"code":403,"message":"x","status":"PERMISSION_DENIED"}}"#,
                    "permanent",
                    Reason::Unauthorized,
                ),
                (
                    404,
                    r#"{"error":{"code":404,"message":"x","status":"NOT_FOUND"}}"#,
                    "permanent",
                    Reason::Gone,
                ),
                (
                    429,
                    r#"{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}"#,
                    "limited",
                    Reason::RateLimited,
                ),
            ],
        },
        Case {
            config: |base| config("rockets://id1/XXXXsecretpathXXXX@chat.example", base),
            success: r#"{"success":true}"#,
            provider_id: None,
            errors: &[
                (400, r#"{"success":false,"error":"invalid-channel"}"#, "permanent", Reason::Rejected),
                (200, r#"{"success":false}"#, "permanent", Reason::Rejected),
                // An older server does not know the webhook; a newer one does not say so.
                (
                    404,
                    r#"{"success":false,"error":"Invalid integration id or token provided."}"#,
                    "permanent",
                    Reason::Gone,
                ),
                (500, "Internal Server Error", "transient", Reason::ProviderError),
                (
                    400,
                    r#"{"success":false,"error":"overriding destination channel is disabled for this integration"}"#,
                    "ours",
                    Reason::Unauthorized,
                ),
                (
                    400,
                    r#"{"success":false,"error":"error-user-lacks-message-impersonate-permission"}"#,
                    "ours",
                    Reason::Unauthorized,
                ),
                // The integration's user is no more.
                (401, r#"{"success":false,"error":"unauthorized"}"#, "ours", Reason::Unauthorized),
                (
                    429,
                    r#"{"success":false,"error":"Error, too many requests. Please slow down. [error-too-many-requests]"}"#,
                    "limited",
                    Reason::RateLimited,
                ),
                // The integration is switched off.
                (
                    503,
                    r#"{"success":false,"error":"Service Unavailable"}"#,
                    "transient",
                    Reason::ProviderError,
                ),
            ],
        },
    ]
}

fn subject(case: &Case) -> Subject {
    let &Case { config, success, provider_id, errors } = case;
    Subject {
        kind: Kind::Url,
        way: "",
        config,
        success,
        provider_id,
        body_decides: false,
        documented: errors.to_vec(),
    }
}

pub(super) fn subjects() -> Vec<Subject> {
    chats().iter().chain(&pagers::cases()).map(subject).collect()
}

#[tokio::test]
async fn discord_asks_for_its_pause_in_the_body_too() {
    let discord = subject(&chats()[0]);
    let server =
        Server::answering(429, &[("retry-after", "1")], r#"{"message":"x","retry_after":0.65}"#).await;
    let error = failure(&discord, &server.base).await;
    assert_eq!(retry_after(&error), Some(std::time::Duration::from_millis(650)));
}

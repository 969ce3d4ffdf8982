//! Mail by the APIs of Resend and SendGrid, and the errors that they document. SMTP has tests of its own.

use serde_json::{Value, json};

use super::subjects::{Documented, Subject};
use super::{AT, MAILBOX, PATH_SECRET, Server, failure, retry_after};
use crate::channel::Kind;
use crate::outcome::Reason;

pub(super) fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            kind: Kind::Email,
            way: "resend",
            config: |base| api("resend", base),
            success: r#"{"id":"49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"}"#,
            provider_id: Some("49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"),
            body_decides: false,
            documented: resend(),
        },
        Subject {
            kind: Kind::Email,
            way: "sendgrid",
            config: |base| api("sendgrid", base),
            success: "",
            provider_id: None,
            body_decides: false,
            documented: sendgrid(),
        },
    ]
}

fn api(provider: &str, base: &str) -> Value {
    json!({ "provider": provider, "apiKey": PATH_SECRET, "apiBase": base, "from": "Bugle <bugle@example.com>",
            "to": format!("{MAILBOX}@example.com") })
}

/// <https://resend.com/docs/api-reference/errors>
fn resend() -> Vec<Documented> {
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
fn sendgrid() -> Vec<Documented> {
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

#[tokio::test]
async fn sendgrid_says_in_a_header_of_its_own_when_to_come_again() {
    let sendgrid = subjects().into_iter().find(|subject| subject.way == "sendgrid").unwrap();
    let at: jiff::Timestamp = AT.parse().unwrap();
    for (seconds, wait) in [(42, Some(42)), (100_000, Some(86_400)), (-1, None)] {
        let reset = (at.as_second() + seconds).to_string();
        let headers = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset.as_str())];
        let server =
            Server::answering(429, &headers, r#"{"errors":[{"message":"too many requests"}]}"#).await;
        let error = failure(&sendgrid, &server.base).await;
        assert_eq!(retry_after(&error), wait.map(std::time::Duration::from_secs), "{seconds}");
    }
}

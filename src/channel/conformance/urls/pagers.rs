//! Those that ring somebody's telephone, or keep an alert.

use std::time::Duration;

use serde_json::json;

use super::{Case, config, subject};
use crate::channel::conformance::server::Server;
use crate::channel::conformance::{failure, retry_after};
use crate::outcome::Reason;

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case {
            config: |base| config("ntfys://tk_XXXXsecretpathXXXX@ntfy.example/alerts", base),
            success: r#"{"id":"xE73Iyuabi","time":1673542291,"event":"message","topic":"alerts"}"#,
            provider_id: Some("xE73Iyuabi"),
            errors: &[
                (
                    400,
                    r#"{"code":40017,"http":400,"error":"invalid request: request body must be message JSON"}"#,
                    "permanent",
                    Reason::Rejected,
                ),
                (401, r#"{"code":40101,"http":401,"error":"unauthorized"}"#, "ours", Reason::Unauthorized),
                (403, r#"{"code":40301,"http":403,"error":"forbidden"}"#, "permanent", Reason::Unauthorized),
                (
                    413,
                    r#"{"code":41303,"http":413,"error":"JSON body too large"}"#,
                    "permanent",
                    Reason::Rejected,
                ),
                (
                    429,
                    r#"{"code":42901,"http":429,"error":"limit reached: too many requests"}"#,
                    "limited",
                    Reason::RateLimited,
                ),
                (
                    429,
                    r#"{"code":42908,"http":429,"error":"limit reached: daily message quota reached"}"#,
                    "limited",
                    Reason::RateLimited,
                ),
                (
                    507,
                    r#"{"code":50701,"http":507,"error":"cannot publish to UnifiedPush topic without previously active subscriber"}"#,
                    "transient",
                    Reason::ProviderError,
                ),
            ],
        },
        Case {
            config: |base| config("gotifys://gotify.example/XXXXsecretpathXXXX", base),
            success: r#"{"id":25,"appid":5,"message":"m"}"#,
            provider_id: Some("25"),
            errors: &[
                (
                    400,
                    r#"{"error":"Bad Request","errorCode":400,"errorDescription":"x"}"#,
                    "permanent",
                    Reason::Rejected,
                ),
                (
                    401,
                    r#"{"error":"Unauthorized","errorCode":401,"errorDescription":"you need to provide a valid access token"}"#,
                    "ours",
                    Reason::Unauthorized,
                ),
                (
                    403,
                    r#"{"error":"Forbidden","errorCode":403,"errorDescription":"x"}"#,
                    "permanent",
                    Reason::Unauthorized,
                ),
            ],
        },
        Case {
            config: |base| config("pagerduty://XXXXsecretpathXXXXaaaaaaaaaaaaaa?region=eu", base),
            success: r#"{"status":"success","message":"Event processed","dedup_key":"samplekeyhere"}"#,
            provider_id: Some("samplekeyhere"),
            errors: &[
                (
                    400,
                    r#"{"status":"invalid event","message":"Event object is invalid","errors":["Length of 'routing_key' is incorrect (should be 32 characters)"]}"#,
                    "ours",
                    Reason::Unauthorized,
                ),
                (
                    400,
                    r#"{"status":"invalid event","message":"Event object is invalid","errors":["'payload.severity' is invalid"]}"#,
                    "permanent",
                    Reason::Rejected,
                ),
                (
                    429,
                    r#"{"status":"throttle exceeded","message":"Requests for this service are arriving too quickly."}"#,
                    "limited",
                    Reason::RateLimited,
                ),
                (503, "", "transient", Reason::ProviderError),
            ],
        },
        Case {
            config: |base| {
                config("pover://uuuuuuuuuuuuuuuuuuuuuuuuuuuuuu@XXXXsecretpathXXXXaaaaaaaaaaaa/phone", base)
            },
            success: r#"{"status":1,"request":"647d2300-702c-4b38-8b2f-d56326ae460b"}"#,
            provider_id: Some("647d2300-702c-4b38-8b2f-d56326ae460b"),
            errors: &[
                (
                    400,
                    r#"{"user":"invalid","errors":["user identifier is invalid"],"status":0,"request":"5"}"#,
                    "permanent",
                    Reason::Gone,
                ),
                (
                    400,
                    r#"{"token":"invalid","errors":["application token is invalid"],"status":0,"request":"5"}"#,
                    "ours",
                    Reason::Unauthorized,
                ),
                (
                    400,
                    r#"{"message":"cannot be blank","errors":["message cannot be blank"],"status":0,"request":"5"}"#,
                    "permanent",
                    Reason::Rejected,
                ),
                (200, r#"{"status":0,"request":"5"}"#, "permanent", Reason::Rejected),
                (
                    429,
                    r#"{"errors":["application is over its quota"],"status":0,"request":"5"}"#,
                    "limited",
                    Reason::RateLimited,
                ),
            ],
        },
        Case {
            config: |base| config("opsgenie://XXXXsecretpathXXXX", base),
            success: r#"{"result":"Request will be processed","took":0.302,"requestId":"43a29c5c-3dbf-4fa4-9c26-f4f71023e120"}"#,
            provider_id: Some("43a29c5c-3dbf-4fa4-9c26-f4f71023e120"),
            errors: &[
                (
                    401,
                    r#"{"message":"Could not authenticate","took":0.001,"requestId":"x"}"#,
                    "ours",
                    Reason::Unauthorized,
                ),
                (402, r#"{"message":"x","took":0.001,"requestId":"x"}"#, "ours", Reason::Unauthorized),
                (403, r#"{"message":"x","took":0.001,"requestId":"x"}"#, "ours", Reason::Unauthorized),
                (
                    422,
                    r#"{"message":"Request body is not processable.","took":0.0,"requestId":"x"}"#,
                    "permanent",
                    Reason::Rejected,
                ),
                (
                    429,
                    r#"{"message":"You are making too many requests!","took":0.0,"requestId":"x"}"#,
                    "limited",
                    Reason::RateLimited,
                ),
            ],
        },
    ]
}

#[tokio::test]
async fn a_used_up_day_of_ntfys_pauses_for_longer_than_a_minutes_limit() {
    let ntfy = subject(&cases()[0]);
    for (code, pause) in [(42901, None), (42908, Some(Duration::from_hours(1)))] {
        let body = json!({ "code": code, "http": 429, "error": "limit reached" }).to_string();
        let server = Server::answering(429, &[], &body).await;
        assert_eq!(retry_after(&failure(&ntfy, &server.base).await), pause, "{code}");
    }
}

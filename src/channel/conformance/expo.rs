//! Expo's push service, and the errors that it documents for a request and for each of its messages.

use serde_json::json;

use super::HEADER_SECRET;
use super::subjects::{Documented, Subject};
use crate::channel::Kind;
use crate::outcome::Reason;

pub(super) fn subjects() -> Vec<Subject> {
    vec![Subject {
        kind: Kind::Expo,
        way: "",
        config: |base| json!({ "accessToken": HEADER_SECRET, "apiBase": base }),
        success: r#"{"data":[{"status":"ok","id":"0190e7a2"}]}"#,
        provider_id: Some("0190e7a2"),
        body_decides: true,
        documented: documented(),
    }]
}

/// <https://docs.expo.dev/push-notifications/sending-notifications/#errors>
fn documented() -> Vec<Documented> {
    vec![
        (
            200,
            r#"{"data":[{"status":"error","message":"\"ExponentPushToken[XXXXsecretpathXXXX]\" is not a registered push notification recipient","details":{"error":"DeviceNotRegistered"}}]}"#,
            "permanent",
            Reason::Gone,
        ),
        (
            200,
            r#"{"data":[{"status":"error","message":"m","details":{"error":"MessageTooBig"}}]}"#,
            "permanent",
            Reason::Rejected,
        ),
        (
            200,
            r#"{"data":[{"status":"error","message":"m","details":{"error":"MessageRateExceeded"}}]}"#,
            "transient",
            Reason::RateLimited,
        ),
        (
            200,
            r#"{"data":[{"status":"error","message":"m","details":{"error":"MismatchSenderId"}}]}"#,
            "ours",
            Reason::Unauthorized,
        ),
        (
            200,
            r#"{"data":[{"status":"error","message":"m","details":{"error":"InvalidCredentials"}}]}"#,
            "ours",
            Reason::Unauthorized,
        ),
        (
            200,
            r#"{"errors":[{"code":"API_ERROR","message":"ExponentPushToken[XXXXsecretpathXXXX]"}]}"#,
            "transient",
            Reason::ProviderError,
        ),
        (
            400,
            r#"{"errors":[{"code":"VALIDATION_ERROR","message":"\"ExponentPushToken[XXXXsecretpathXXXX]\" is not valid"}]}"#,
            "permanent",
            Reason::Rejected,
        ),
        (
            400,
            r#"{"errors":[{"code":"PUSH_TOO_MANY_EXPERIENCE_IDS","message":"m","details":{"@a/one":["x"]}}]}"#,
            "ours",
            Reason::Misconfigured,
        ),
        (
            400,
            r#"{"errors":[{"code":"PUSH_TOO_MANY_NOTIFICATIONS","message":"m"}]}"#,
            "permanent",
            Reason::Rejected,
        ),
        (
            401,
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"The bearer token is invalid"}]}"#,
            "ours",
            Reason::Unauthorized,
        ),
        (429, r#"{"errors":[{"code":"TOO_MANY_REQUESTS","message":"m"}]}"#, "limited", Reason::RateLimited),
        (
            500,
            r#"{"errors":[{"code":"INTERNAL_SERVER_ERROR","message":"m"}]}"#,
            "transient",
            Reason::ProviderError,
        ),
    ]
}

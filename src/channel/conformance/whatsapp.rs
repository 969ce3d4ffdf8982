//! WhatsApp's Cloud API and the errors that it documents by code.

use serde_json::json;

use super::HEADER_SECRET;
use super::subjects::{Documented, Subject};
use crate::channel::Kind;
use crate::outcome::Reason;

pub(super) fn subjects() -> Vec<Subject> {
    vec![Subject {
        kind: Kind::WhatsApp,
        way: "",
        config: |base| {
            json!({ "phoneNumberId": "106540352242922", "accessToken": HEADER_SECRET, "to": "+16505551234",
                    "apiBase": base })
        },
        success: r#"{"messaging_product":"whatsapp","contacts":[{"input":"+16505551234","wa_id":"16505551234"}],
            "messages":[{"id":"wamid.HBgLMTY1MDU1NTEyMzQVAgARGBI5QTNDQTVCM0Q0Q0Q2RTY3RTcA"}]}"#,
        provider_id: Some("wamid.HBgLMTY1MDU1NTEyMzQVAgARGBI5QTNDQTVCM0Q0Q0Q2RTY3RTcA"),
        body_decides: true,
        documented: documented(),
    }]
}

fn documented() -> Vec<Documented> {
    vec![
        (
            401,
            r#"{"error":{"message":"Error validating access token: Session has expired","type":"OAuthException","code":190,"error_subcode":463,"fbtrace_id":"x"}}"#,
            "ours",
            Reason::Unauthorized,
        ),
        (
            403,
            r#"{"error":{"message":"(#10) Application does not have permission for this action","code":10}}"#,
            "ours",
            Reason::Unauthorized,
        ),
        (
            400,
            r#"{"error":{"message":"Unsupported post request. Object with ID '106540352242922' does not exist","type":"GraphMethodException","code":100,"error_subcode":33}}"#,
            "ours",
            Reason::Misconfigured,
        ),
        (
            400,
            r#"{"error":{"message":"(#80007) Rate limit issues","code":80007}}"#,
            "limited",
            Reason::RateLimited,
        ),
        (
            429,
            r#"{"error":{"message":"(#130429) Rate limit hit","code":130429}}"#,
            "limited",
            Reason::RateLimited,
        ),
        (
            400,
            r#"{"error":{"message":"(#131056) (Business Account, Consumer Account) pair rate limit hit","code":131056}}"#,
            "limited",
            Reason::RateLimited,
        ),
        (
            400,
            r#"{"error":{"message":"(#131026) Message undeliverable","code":131026}}"#,
            "permanent",
            Reason::Gone,
        ),
        (
            400,
            r#"{"error":{"message":"(#131030) Recipient phone number not in allowed list","code":131030,"error_data":{"messaging_product":"whatsapp","details":"+16505551234"}}}"#,
            "permanent",
            Reason::Rejected,
        ),
        (
            400,
            r#"{"error":{"message":"(#131047) Re-engagement message","code":131047}}"#,
            "permanent",
            Reason::Rejected,
        ),
        (
            404,
            r#"{"error":{"message":"(#132001) Template name does not exist in the translation","code":132001}}"#,
            "ours",
            Reason::Misconfigured,
        ),
        (
            500,
            r#"{"error":{"message":"(#131000) Something went wrong","code":131000}}"#,
            "transient",
            Reason::ProviderError,
        ),
        (
            403,
            r#"{"error":{"message":"(#131031) Business Account locked","code":131031}}"#,
            "ours",
            Reason::Unauthorized,
        ),
    ]
}

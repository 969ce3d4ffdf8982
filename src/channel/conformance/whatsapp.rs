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

/// As Meta answers, with a number in its words that may not be quoted.
macro_rules! meta {
    ($code:literal) => {
        concat!(
            r#"{"error":{"message":"(#"#,
            $code,
            r#") failed for +16505551234","type":"OAuthException","code":"#,
            $code,
            r#","error_data":{"messaging_product":"whatsapp","details":"+16505551234"},"fbtrace_id":"A"}}"#
        )
    };
}

fn documented() -> Vec<Documented> {
    vec![
        (401, meta!(190), "ours", Reason::Unauthorized),
        (403, meta!(10), "ours", Reason::Unauthorized),
        (403, meta!(131031), "ours", Reason::Unauthorized),
        (400, meta!(100), "ours", Reason::Misconfigured),
        (404, meta!(132001), "ours", Reason::Misconfigured),
        (400, meta!(133010), "ours", Reason::Misconfigured),
        (400, meta!(80007), "limited", Reason::RateLimited),
        (429, meta!(130429), "limited", Reason::RateLimited),
        (400, meta!(131056), "limited", Reason::RateLimited),
        (400, meta!(131026), "permanent", Reason::Gone),
        (400, meta!(131030), "permanent", Reason::Rejected),
        (400, meta!(131047), "permanent", Reason::Rejected),
        (500, meta!(131000), "transient", Reason::ProviderError),
        (503, meta!(2), "transient", Reason::ProviderError),
    ]
}

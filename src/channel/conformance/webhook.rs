//! A webhook: any endpoint of somebody's own.

use serde_json::json;

use super::subjects::{Documented, Subject};
use super::{HEADER_SECRET, PATH_SECRET, SIGNING_SECRET};
use crate::channel::Kind;
use crate::outcome::Reason;

pub(super) fn subjects() -> Vec<Subject> {
    vec![Subject {
        kind: Kind::Webhook,
        way: "",
        config: |base| {
            let headers = json!({ "Authorization": HEADER_SECRET });
            json!({ "url": format!("{base}/{PATH_SECRET}"), "secrets": [SIGNING_SECRET], "headers": headers })
        },
        success: "",
        provider_id: None,
        body_decides: false,
        documented,
    }]
}

fn documented() -> Vec<Documented> {
    vec![
        (301, "", "permanent", Reason::Rejected),
        (400, "{\"error\":\"bad\"}", "transient", Reason::Rejected),
        (401, "", "transient", Reason::Unauthorized),
        (404, "", "transient", Reason::Gone),
        (410, "", "permanent", Reason::Gone),
        (502, "<html>", "transient", Reason::ProviderError),
        (503, "", "transient", Reason::ProviderError),
    ]
}

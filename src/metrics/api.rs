//! What the API counts: requests, and those it did not let in.

use metrics::counter;
use serde::{Deserialize, Serialize};

use super::{REQUESTS, REQUESTS_LIMITED};

crate::outcome::words! {
    /// Which limit a request was over.
    Limit {
        /// That of its token.
        Token = "token",
        /// That of unknown tokens, which are looked up in the broker.
        Unknown = "unknown",
    }
}

pub fn api_request(method: &'static str, class: &'static str) {
    counter!(REQUESTS, "method" => method, "class" => class).increment(1);
}

pub fn request_limited(limit: Limit) {
    counter!(REQUESTS_LIMITED, "limit" => limit.as_str()).increment(1);
}

pub(super) fn start_at_zero() {
    for limit in Limit::ALL {
        counter!(REQUESTS_LIMITED, "limit" => limit.as_str()).absolute(0);
    }
}

//! What the API counts: requests, and those it did not let in.

use metrics::counter;
use serde::{Deserialize, Serialize};

use super::names::{REQUESTS, REQUESTS_LIMITED};

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

/// The methods and classes of status that are told apart.
const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "other"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

pub(super) fn start_at_zero() {
    for method in METHODS {
        for class in CLASSES {
            counter!(REQUESTS, "method" => method, "class" => class).absolute(0);
        }
    }
    for limit in Limit::ALL {
        counter!(REQUESTS_LIMITED, "limit" => limit.as_str()).absolute(0);
    }
}

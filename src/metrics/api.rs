//! What the API counts: requests, those it did not let in, and how streams end.

use metrics::counter;
use serde::{Deserialize, Serialize};

use super::{REQUESTS, REQUESTS_LIMITED, STREAMS_ENDED};

crate::outcome::words! {
    /// Which limit a request was over.
    Limit {
        /// That of its token.
        Token = "token",
        /// That of unknown tokens and tickets, which are looked up in the broker.
        Unknown = "unknown",
    }
}

crate::outcome::words! {
    /// Why a live stream ended.
    StreamEnd {
        /// The client went away.
        Client = "client",
        /// The client did not keep up.
        Slow = "slow",
        /// Its token was revoked.
        Revoked = "revoked",
        /// The process stops.
        Shutdown = "shutdown",
    }
}

pub fn api_request(method: &'static str, class: &'static str) {
    counter!(REQUESTS, "method" => method, "class" => class).increment(1);
}

pub fn request_limited(limit: Limit) {
    counter!(REQUESTS_LIMITED, "limit" => limit.as_str()).increment(1);
}

pub fn stream_ended(end: StreamEnd) {
    counter!(STREAMS_ENDED, "reason" => end.as_str()).increment(1);
}

pub(super) fn start_at_zero() {
    for limit in Limit::ALL {
        counter!(REQUESTS_LIMITED, "limit" => limit.as_str()).absolute(0);
    }
    for end in StreamEnd::ALL {
        counter!(STREAMS_ENDED, "reason" => end.as_str()).absolute(0);
    }
}

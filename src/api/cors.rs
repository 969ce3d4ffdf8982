//! Which pages of other origins may call the API from a browser. A token is always sent as a header: never a cookie, so
//! credentials in the sense of browsers are not allowed.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::limits::{RATELIMIT, RATELIMIT_POLICY};

/// A browser asks again after this.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// None where no other origin is allowed. The origins were checked with the settings.
#[must_use]
pub fn layer(origins: &[String]) -> Option<CorsLayer> {
    let allowed = match origins {
        [] => return None,
        [every] if every == "*" => AllowOrigin::any(),
        origins => AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("idempotency-key"),
        ])
        .expose_headers([header::ETAG, header::RETRY_AFTER, RATELIMIT, RATELIMIT_POLICY])
        .max_age(MAX_AGE);
    Some(layer)
}

//! How often who may ask: each token so many requests a minute, and strangers so many questions to the broker a second.
//!
//! All of it is in the memory of one API process, and counts what that process answers. A request is counted where its
//! token is read ([`super::auth`]), so that none is forgotten and none counts twice; [`tell`] puts what came of it into the
//! answer, as draft-ietf-httpapi-ratelimit-headers has it.

pub mod quota;
pub mod strangers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::{OpenApi, Ref, ResponseBuilder};

use self::quota::{Quota, Standing};
use super::problem::{Problem, whole_seconds};
use crate::metrics::{self, Limit};

pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

const WINDOW: Duration = Duration::from_secs(60);

/// The requests of each token.
pub struct Rates {
    /// None: no limit.
    quota: Option<Quota>,
    began: Instant,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// When the quota of each is whole again; whoever is not there has all of it.
    full_at: HashMap<String, Duration>,
    sweep_at: Duration,
}

impl Rates {
    /// 0: no limit.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        let quota = (per_minute > 0).then_some(Quota { most: per_minute, window: WINDOW });
        Self { quota, began: Instant::now(), held: Mutex::default() }
    }

    /// Counts a request; None where there is no limit.
    pub fn count(&self, holder: &str) -> Option<Standing> {
        self.count_at(holder, self.began.elapsed())
    }

    fn count_at(&self, holder: &str, now: Duration) -> Option<Standing> {
        let quota = self.quota?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= held.sweep_at {
            // Whoever has all of it again is forgotten: what stays is who asked within the last minute.
            held.full_at.retain(|_, full_at| *full_at > now);
            held.sweep_at = now + WINDOW;
        }
        if let Some(full_at) = held.full_at.get_mut(holder) {
            return Some(quota.take(full_at, now));
        }
        let mut full_at = Duration::ZERO;
        let standing = quota.take(&mut full_at, now);
        held.full_at.insert(holder.to_owned(), full_at);
        Some(standing)
    }
}

/// What the reading of a token leaves for the answer's headers.
#[derive(Clone, Default)]
pub struct Told(Arc<OnceLock<Standing>>);

/// # Errors
/// 429 when it was refused.
pub fn let_in(standing: Standing, told: Option<&Told>) -> Result<(), Problem> {
    if let Some(told) = told {
        told.0.get_or_init(|| standing);
    }
    match standing.refused {
        None => Ok(()),
        Some(wait) => {
            metrics::request_limited(Limit::Token);
            let most = standing.quota.most;
            Err(Problem::limited(format!("this token made more than {most} requests in a minute"), wait))
        }
    }
}

/// Puts how the token stands into the answer.
pub async fn tell(mut request: Request, next: Next) -> Response {
    let told = Told::default();
    request.extensions_mut().insert(told.clone());
    let mut response = next.run(request).await;
    if let Some(standing) = told.0.get() {
        let Standing { quota, left, full_in, .. } = standing;
        let (most, window, full_in) = (quota.most, quota.window.as_secs(), whole_seconds(*full_in));
        let policy = HeaderValue::try_from(format!("\"default\";q={most};w={window}"));
        let standing = HeaderValue::try_from(format!("\"default\";r={left};t={full_in}"));
        let headers = [(RATELIMIT_POLICY, policy), (RATELIMIT, standing)];
        response
            .headers_mut()
            .extend(headers.into_iter().filter_map(|(name, text)| Some((name, text.ok()?))));
    }
    response
}

/// Every operation that takes a token may be refused for its limit.
pub fn describe(description: &mut OpenApi) {
    let problem = || ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let paths = description.paths.paths.values_mut();
    let operations = paths.flat_map(|path| {
        [&mut path.get, &mut path.put, &mut path.post, &mut path.patch, &mut path.delete]
            .into_iter()
            .flatten()
    });
    // Whatever says that it takes no token has a list of its own.
    for operation in operations.filter(|operation| operation.security.is_none()) {
        let refused = ResponseBuilder::new()
            .description("more requests than the token may make; `Retry-After` says when to come again")
            .content("application/problem+json", problem())
            .build();
        operation.responses.responses.entry("429".to_owned()).or_insert(refused.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn each_token_has_a_quota_of_its_own() {
        let rates = Rates::new(2);
        let refused = |holder: &str| rates.count_at(holder, second(1)).unwrap().refused.is_some();
        assert_eq!([refused("a"), refused("a"), refused("a")], [false, false, true]);
        assert!(!refused("b"));
    }

    #[test]
    fn whoever_is_idle_is_forgotten() {
        let rates = Rates::new(2);
        for number in 0..1_000 {
            rates.count_at(&number.to_string(), second(1));
        }
        rates.count_at("last", second(100));
        assert_eq!(rates.held.lock().unwrap().full_at.len(), 1);
    }

    #[test]
    fn no_limit_is_no_limit() {
        assert!((0..10_000).all(|_| Rates::new(0).count("a").is_none()));
    }
}

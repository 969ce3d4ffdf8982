//! What a status means when nothing more is known: once for endpoints of somebody's own, once for providers' APIs.
//!
//! An endpoint of somebody's own is repaired while we try: Standard Webhooks 1.0 counts everything but 2xx as a failure to be
//! tried again, and only 410 as the wish to hear no more. A provider's API means what it says.
//!
//! | status   | endpoint ([`classify_status`])       | provider ([`classify_provider_status`]) |
//! |----------|--------------------------------------|-----------------------------------------|
//! | 2xx      | accepted                             | accepted                                |
//! | 3xx      | permanent, `rejected`: not followed  | the same                                |
//! | 401      | transient, `unauthorized`            | ours, `unauthorized`                    |
//! | 403      | transient, `unauthorized`            | permanent, `unauthorized`               |
//! | 404      | transient, `gone`                    | permanent, `gone`                       |
//! | 408      | transient, `timeout`                 | the same                                |
//! | 410      | permanent, `gone`                    | the same                                |
//! | 425      | transient, `rejected`                | the same                                |
//! | 429      | rate limited                         | the same                                |
//! | 4xx      | transient, `rejected`                | permanent, `rejected`                   |
//! | 502, 504 | transient, `provider_error`, 30 s    | the same                                |
//! | 5xx      | transient, `provider_error`          | the same                                |
//! | others   | transient, `provider_error`          | the same                                |
//!
//! A 2xx of a provider is none with a web page in it ([`classify_provider`]).
//!
//! A `Retry-After` is passed on wherever it is transient or rate limited.

use std::time::Duration;

use super::Answer;
use crate::channel::{Failure, SendError};
use crate::outcome::Reason;

/// A gateway that answers for its server says that it is under load: it gets a longer pause than the first of the
/// schedule, unless it asks for another one.
const OVERLOAD_PAUSE: Duration = Duration::from_secs(30);

/// # Errors
/// Whatever is not 2xx, as the table above has it.
pub fn classify_status(status: u16, retry_after: Option<Duration>) -> Result<(), SendError> {
    match status {
        401 | 403 => Err(transient(Reason::Unauthorized, status, retry_after)),
        404 => Err(transient(Reason::Gone, status, retry_after)),
        400..=407 | 409 | 411..=424 | 426..=428 | 430..=499 => {
            Err(transient(Reason::Rejected, status, retry_after))
        }
        _ => classify_provider_status(status, retry_after),
    }
}

/// # Errors
/// Whatever is not 2xx, as the table above has it.
pub fn classify_provider_status(status: u16, retry_after: Option<Duration>) -> Result<(), SendError> {
    Err(match status {
        200..=299 => return Ok(()),
        300..=399 => {
            let detail = format!("answered {status}: redirects are not followed");
            SendError::Permanent(Failure::new(Reason::Rejected, detail).code(status))
        }
        401 => SendError::Ours(failure(Reason::Unauthorized, status)),
        403 => SendError::Permanent(failure(Reason::Unauthorized, status)),
        404 | 410 => SendError::Permanent(failure(Reason::Gone, status)),
        408 => transient(Reason::Timeout, status, retry_after),
        425 => transient(Reason::Rejected, status, retry_after),
        429 => SendError::RateLimited { failure: failure(Reason::RateLimited, status), retry_after },
        400..=499 => SendError::Permanent(failure(Reason::Rejected, status)),
        502 | 504 => transient(Reason::ProviderError, status, retry_after.or(Some(OVERLOAD_PAUSE))),
        _ => transient(Reason::ProviderError, status, retry_after),
    })
}

/// The same of a whole answer. A page in the place of what an API says is a proxy's or a portal's: nobody took the message.
///
/// # Errors
/// Whatever is not 2xx, and pages.
pub fn classify_provider(answer: &Answer) -> Result<(), SendError> {
    classify_provider_status(answer.status, answer.retry_after)?;
    if !is_page(&answer.body) {
        return Ok(());
    }
    let detail = format!("answered {} with a web page in place of its own words", answer.status);
    let failure = Failure::new(Reason::ProviderError, detail).code(answer.status);
    Err(SendError::Transient { failure, retry_after: None })
}

/// Markup, behind white space and marks of an encoding.
fn is_page(body: &[u8]) -> bool {
    body.iter().find(|byte| byte.is_ascii_graphic()) == Some(&b'<')
}

fn transient(reason: Reason, status: u16, retry_after: Option<Duration>) -> SendError {
    SendError::Transient { failure: failure(reason, status), retry_after }
}

/// The body is not quoted: it may hold what we sent.
fn failure(reason: Reason, status: u16) -> Failure {
    Failure::new(reason, format!("answered {status}")).code(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Class, reason and wait in short.
    fn seen(result: Result<(), SendError>, status: u16) -> String {
        let Err(error) = result else { return "ok".to_owned() };
        assert_eq!(error.failure().code, Some(status));
        let reason = error.failure().reason;
        match error {
            SendError::Transient { retry_after, .. } => format!("transient {reason} {retry_after:?}"),
            SendError::RateLimited { retry_after, .. } => format!("limited {reason} {retry_after:?}"),
            SendError::Permanent(_) => format!("permanent {reason}"),
            SendError::Ours(_) => format!("ours {reason}"),
        }
    }

    #[test]
    fn every_status_has_its_row() {
        for status in 100..=599 {
            let (endpoint, provider) = match status {
                200..=299 => ("ok", "ok"),
                300..=399 => ("permanent rejected", "permanent rejected"),
                401 => ("transient unauthorized None", "ours unauthorized"),
                403 => ("transient unauthorized None", "permanent unauthorized"),
                404 => ("transient gone None", "permanent gone"),
                408 => ("transient timeout None", "transient timeout None"),
                410 => ("permanent gone", "permanent gone"),
                425 => ("transient rejected None", "transient rejected None"),
                429 => ("limited rate_limited None", "limited rate_limited None"),
                400..=499 => ("transient rejected None", "permanent rejected"),
                502 | 504 => ("transient provider_error Some(30s)", "transient provider_error Some(30s)"),
                _ => ("transient provider_error None", "transient provider_error None"),
            };
            assert_eq!(seen(classify_status(status, None), status), endpoint, "{status}");
            assert_eq!(seen(classify_provider_status(status, None), status), provider, "{status}");
        }
    }

    #[test]
    fn retry_after_is_passed_on() {
        let wait = Some(Duration::from_secs(7));
        for status in [400, 401, 404, 408, 500, 502, 503] {
            assert!(seen(classify_status(status, wait), status).ends_with("Some(7s)"), "{status}");
        }
        assert_eq!(seen(classify_provider_status(429, wait), 429), "limited rate_limited Some(7s)");
    }
}

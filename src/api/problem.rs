//! Every error that the API answers, as RFC 9457 problem details.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::bus::BusError;
use crate::errand::Tested;
use crate::rule::fault::Fault;
use crate::send::SendFailure;
use crate::store::StoreError;

/// What was not available may be again after this many seconds.
const UNAVAILABLE_SECONDS: u64 = 2;

#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// A stable name of the kind of problem.
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub title: &'static str,
    pub status: u16,
    /// What is wrong here, in words.
    pub detail: String,
    /// Where in the request's body, as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What came of the test of a channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Box<Tested>>,
    /// Asking again may help after so many seconds. It is a header.
    #[serde(skip)]
    pub retry_after: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let (status, detail) = (status.as_u16(), detail.into());
        Self { kind, title, status, detail, pointer: None, test: None, retry_after: None }
    }

    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "urn:bugle:problem:invalid", "The request is not valid", detail)
    }

    #[must_use]
    pub fn fault(fault: Fault) -> Self {
        let pointer = (!fault.pointer.is_empty()).then(|| fault.pointer.clone());
        Self { pointer, ..Self::invalid(fault.message) }
    }

    /// The same, seen from the document around.
    #[must_use]
    pub fn below(self, place: &str) -> Self {
        Self { pointer: self.pointer.map(|pointer| format!("{place}{pointer}")), ..self }
    }

    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "urn:bugle:problem:unauthorized", "Who are you?", detail)
    }

    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "urn:bugle:problem:forbidden", "Not allowed", detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "urn:bugle:problem:not-found", "There is no such thing", detail)
    }

    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "urn:bugle:problem:conflict", "Too late, or taken", detail)
    }

    /// What is asked for is somebody else's to change.
    pub fn owned(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "urn:bugle:problem:conflict", "It belongs to another owner", detail)
    }

    /// What a worker could not do; `ours` when no provider was asked.
    pub fn undone(ours: bool, detail: impl Into<String>) -> Self {
        let kind = "urn:bugle:problem:provider";
        if ours {
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, kind, "It could not be tried", detail)
        } else {
            Self::new(StatusCode::BAD_GATEWAY, kind, "The provider did not do it", detail)
        }
    }

    pub fn unverified(detail: impl Into<String>) -> Self {
        let (status, kind) = (StatusCode::CONFLICT, "urn:bugle:problem:channel-unverified");
        Self::new(status, kind, "The channel is not verified", detail)
    }

    pub fn precondition(detail: impl Into<String>) -> Self {
        let (status, kind) = (StatusCode::PRECONDITION_FAILED, "urn:bugle:problem:precondition");
        Self::new(status, kind, "Not in that state any more", detail)
    }

    #[must_use]
    pub fn method() -> Self {
        let (status, kind) = (StatusCode::METHOD_NOT_ALLOWED, "urn:bugle:problem:method");
        Self::new(status, kind, "Not with this method", "this path does not answer to that method")
    }

    pub fn upgrade_required(detail: impl Into<String>) -> Self {
        let (status, kind) = (StatusCode::UPGRADE_REQUIRED, "urn:bugle:problem:upgrade-required");
        Self::new(status, kind, "Not in this protocol", detail)
    }

    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "urn:bugle:problem:too-large",
            "The request is too large",
            detail,
        )
    }

    #[must_use]
    pub fn key_reused() -> Self {
        let (status, kind) = (StatusCode::UNPROCESSABLE_ENTITY, "urn:bugle:problem:idempotency-key-reused");
        Self::new(
            status,
            kind,
            "Another request had this key",
            "the Idempotency-Key was used with another body",
        )
    }

    /// RFC 6585: too many requests, for so long.
    pub fn limited(detail: impl Into<String>, wait: Duration) -> Self {
        let (status, kind) = (StatusCode::TOO_MANY_REQUESTS, "urn:bugle:problem:rate-limited");
        let problem = Self::new(status, kind, "Too many requests", detail);
        Self { retry_after: Some(whole_seconds(wait).max(1)), ..problem }
    }

    pub fn unavailable(detail: impl Into<String>) -> Self {
        let (status, kind) = (StatusCode::SERVICE_UNAVAILABLE, "urn:bugle:problem:unavailable");
        let problem = Self::new(status, kind, "Not known at the moment", detail);
        Self { retry_after: Some(UNAVAILABLE_SECONDS), ..problem }
    }

    /// RFC 5842.
    pub fn circle(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::LOOP_DETECTED, "urn:bugle:problem:loop", "It goes round in a circle", detail)
    }

    /// What the framework refused, in its own words.
    pub fn refusal(status: StatusCode, detail: impl Into<String>) -> Self {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(detail),
            StatusCode::METHOD_NOT_ALLOWED => Self::method(),
            StatusCode::NOT_FOUND => Self::not_found(detail),
            status if status.is_client_error() => {
                let kind = "urn:bugle:problem:invalid";
                Self::new(status, kind, "The request is not valid", detail)
            }
            _ => Self::internal(),
        }
    }

    fn internal() -> Self {
        let (status, kind) = (StatusCode::INTERNAL_SERVER_ERROR, "urn:bugle:problem:internal");
        Self::new(status, kind, "Our own fault", "it is logged")
    }
}

/// Rounded up: whoever comes then is not too early.
#[must_use]
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<BusError> for Problem {
    fn from(error: BusError) -> Self {
        match error {
            BusError::TooLarge { .. } => Self::too_large(error.to_string()),
            BusError::Encode(_) | BusError::Unreadable(_) | BusError::LeaseOver => {
                tracing::error!(%error, "a request met our own fault");
                Self::internal()
            }
            BusError::Connect { .. }
            | BusError::Credentials(_)
            | BusError::TooOld { .. }
            | BusError::NoJetStream { .. }
            | BusError::Request(_)
            | BusError::Conflict => {
                tracing::warn!(%error, "NATS did not answer a request");
                Self::unavailable("the broker does not answer at the moment")
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::warn!(%error, "the database did not answer a request");
                Self::unavailable("the database does not answer at the moment")
            }
            StoreError::Broken(_) | StoreError::Url(_) => {
                tracing::error!(%error, "a request met our own fault");
                Self::internal()
            }
        }
    }
}

impl From<SendFailure> for Problem {
    fn from(failure: SendFailure) -> Self {
        match failure {
            SendFailure::Invalid(fault) => Self::fault(fault),
            SendFailure::KeyReused => Self::key_reused(),
            SendFailure::Unverified(_) => Self::unverified(failure.to_string()),
            SendFailure::Bus(error) => error.into(),
        }
    }
}

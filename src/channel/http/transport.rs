//! What it means when there is no answer: no connection, a lost one, or one that policy forbids.
//!
//! Only kinds of errors are looked at, and only fixed words come out: the texts below name hosts and addresses.

use std::error::Error;
use std::io;

use super::resolve::AllForbidden;
use crate::channel::{Failure, SendError};
use crate::outcome::Reason;

pub(super) fn blocked() -> SendError {
    SendError::Permanent(Failure::new(
        Reason::BlockedAddress,
        "the network policy forbids the address of the endpoint: worker.allow_addresses opens networks",
    ))
}

pub(super) fn classify(error: &reqwest::Error) -> SendError {
    let causes = Causes::of(error);
    if causes.forbidden {
        return blocked();
    }
    if error.is_timeout() {
        return transient(Reason::Timeout, "no connection in time");
    }
    if error.is_builder() {
        return SendError::Ours(Failure::new(Reason::Internal, "the request could not be built"));
    }
    let detail = if error.is_dns() {
        "name not resolved"
    } else {
        let lost =
            if error.is_connect() { "connection failed" } else { "connection closed before the answer" };
        causes.in_words().unwrap_or(lost)
    };
    transient(Reason::Unreachable, detail)
}

/// The same for a connection that is not HTTP's.
#[must_use]
pub fn unanswered(error: &(dyn Error + 'static)) -> SendError {
    let detail = Causes::of(error).in_words().unwrap_or("connection closed before the answer");
    transient(Reason::Unreachable, detail)
}

fn transient(reason: Reason, detail: &str) -> SendError {
    SendError::Transient { failure: Failure::new(reason, detail), retry_after: None }
}

/// What is found in the chain of causes.
#[derive(Default)]
struct Causes {
    forbidden: bool,
    tls: bool,
    certificate: bool,
    io: Option<io::ErrorKind>,
}

impl Causes {
    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut causes = Self::default();
        let mut next = Some(error);
        while let Some(cause) = next {
            causes.forbidden |= cause.is::<AllForbidden>();
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                causes.tls = true;
                causes.certificate |= matches!(tls, rustls::Error::InvalidCertificate(_));
            }
            next = cause.source();
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                causes.io = causes.io.or(Some(io.kind()));
                // `source` of an io::Error skips the error it wraps.
                next = io.get_ref().map(|inner| inner as &(dyn Error + 'static));
            }
        }
        causes
    }
    fn in_words(&self) -> Option<&'static str> {
        match self.io {
            _ if self.certificate => {
                Some("TLS handshake failed: the certificate is not trusted, or not the host's")
            }
            _ if self.tls => Some("TLS handshake failed"),
            Some(io::ErrorKind::ConnectionRefused) => Some("connection refused"),
            Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                Some("no route to the host")
            }
            Some(_) | None => None,
        }
    }
}

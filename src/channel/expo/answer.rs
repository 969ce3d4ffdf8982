//! Expo's answers: tickets, receipts, and errors of whole requests.
//!
//! `data` tells of each message, `errors` of the request, under whatever status. An error's word is from a list that grows: what is
//! not known yet may pass.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::channel::http::{Answer, classify_provider_status};
use crate::channel::tally::{Answered, Ticket, Told};
use crate::channel::{Failure, SendError};
use crate::outcome::Reason;

const TOO_MANY_PROJECTS: &str = "PUSH_TOO_MANY_EXPERIENCE_IDS";

#[derive(Deserialize)]
struct Body<T> {
    data: Option<T>,
    #[serde(default)]
    errors: Vec<RequestError>,
}

#[derive(Deserialize)]
struct RequestError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    details: Value,
}

/// A ticket or a receipt.
#[derive(Deserialize)]
struct Item {
    status: String,
    id: Option<String>,
    #[serde(default)]
    details: Details,
}

#[derive(Default, Deserialize)]
struct Details {
    error: Option<String>,
}

/// What an error's word means.
enum Meaning {
    Gone,
    /// May pass by itself.
    Passing(Reason),
    /// For the owner of the app to mend.
    Credentials,
    Refused,
}

/// The words that may be told on, and what they mean.
fn meaning(word: Option<&str>) -> (Meaning, &'static str) {
    match word {
        Some("DeviceNotRegistered") => (Meaning::Gone, "DeviceNotRegistered"),
        Some("MessageRateExceeded") => (Meaning::Passing(Reason::RateLimited), "MessageRateExceeded"),
        Some("ExpoError") => (Meaning::Passing(Reason::ProviderError), "ExpoError"),
        Some("ProviderError") => (Meaning::Passing(Reason::ProviderError), "ProviderError"),
        Some("MismatchSenderId") => (Meaning::Credentials, "MismatchSenderId"),
        Some("InvalidCredentials") => (Meaning::Credentials, "InvalidCredentials"),
        Some("MessageTooBig") => (Meaning::Refused, "MessageTooBig"),
        Some("DeveloperError") => (Meaning::Refused, "DeveloperError"),
        Some(_) | None => (Meaning::Passing(Reason::ProviderError), "an error"),
    }
}

/// What became of each of `count` messages of a request, in their order.
///
/// # Errors
/// What is wrong with all of them.
pub(super) fn tickets(answer: &Answer, count: usize) -> Result<Vec<Answered>, SendError> {
    let body: Option<Body<Vec<Item>>> = serde_json::from_slice(&answer.body).ok();
    if let Some(error) = body.as_ref().and_then(|body| body.errors.first()) {
        return Err(request_error(answer, &error.code));
    }
    classify(answer)?;
    match body.and_then(|body| body.data) {
        Some(tickets) if tickets.len() == count => {
            Ok(tickets.into_iter().map(|ticket| judge(answer, ticket)).collect())
        }
        Some(_) | None => Err(unreadable(answer)),
    }
}

fn judge(answer: &Answer, ticket: Item) -> Answered {
    if ticket.status == "ok" {
        return Answered::Reached(ticket.id);
    }
    let (meaning, word) = meaning(ticket.details.error.as_deref());
    let failure = |reason| Failure::new(reason, format!("Expo answered {word}")).code(answer.status);
    match meaning {
        Meaning::Gone => Answered::Gone(failure(Reason::Gone)),
        Meaning::Passing(reason) => {
            Answered::Failed(SendError::Transient { failure: failure(reason), retry_after: answer.retry_after })
        }
        Meaning::Credentials => Answered::Failed(SendError::Ours(failure(Reason::Unauthorized))),
        Meaning::Refused => Answered::Failed(SendError::Permanent(failure(Reason::Rejected))),
    }
}

/// Adds what is known of tickets; those that are not mentioned still wait.
///
/// # Errors
/// What is wrong with the request.
pub(super) fn receipts(answer: &Answer, tickets: &[Ticket], told: &mut Told) -> Result<(), SendError> {
    let body: Option<Body<HashMap<String, Item>>> = serde_json::from_slice(&answer.body).ok();
    if let Some(error) = body.as_ref().and_then(|body| body.errors.first()) {
        return Err(request_error(answer, &error.code));
    }
    classify(answer)?;
    let receipts = body.and_then(|body| body.data).ok_or_else(|| unreadable(answer))?;
    for ticket in tickets {
        let Some(receipt) = receipts.get(&ticket.id) else {
            told.waiting.push(ticket.clone());
            continue;
        };
        if receipt.status == "ok" {
            told.confirmed += 1;
            continue;
        }
        let (meaning, word) = meaning(receipt.details.error.as_deref());
        match meaning {
            Meaning::Gone => told.gone.push(ticket.device.clone()),
            Meaning::Passing(_) => told.again.push(ticket.device.clone()),
            Meaning::Credentials | Meaning::Refused => told.refused += 1,
        }
        told.why = Some(format!("Expo told of {word}"));
    }
    Ok(())
}

/// The tokens of each project, when those of a request belong to several.
pub(super) fn projects(answer: &Answer) -> Option<Vec<Vec<String>>> {
    let body: Body<Value> = serde_json::from_slice(&answer.body).ok()?;
    let error = body.errors.into_iter().find(|error| error.code == TOO_MANY_PROJECTS)?;
    let projects: HashMap<String, Vec<String>> = serde_json::from_value(error.details).ok()?;
    (projects.len() > 1).then(|| projects.into_values().collect())
}

fn request_error(answer: &Answer, code: &str) -> SendError {
    let failure = |reason, detail: &str| Failure::new(reason, detail).code(answer.status);
    match code {
        "TOO_MANY_REQUESTS" => SendError::RateLimited {
            failure: failure(Reason::RateLimited, "Expo answered TOO_MANY_REQUESTS"),
            retry_after: answer.retry_after,
        },
        "UNAUTHORIZED" => {
            SendError::Ours(failure(Reason::Unauthorized, "Expo answered UNAUTHORIZED: is accessToken right?"))
        }
        TOO_MANY_PROJECTS => SendError::Ours(failure(
            Reason::Misconfigured,
            "Expo answered PUSH_TOO_MANY_EXPERIENCE_IDS: the devices belong to several projects",
        )),
        "VALIDATION_ERROR" => {
            SendError::Permanent(failure(Reason::Rejected, "Expo answered VALIDATION_ERROR"))
        }
        "PUSH_TOO_MANY_NOTIFICATIONS" | "PUSH_TOO_MANY_RECEIPTS" => {
            SendError::Permanent(failure(Reason::Rejected, "Expo finds that too much at once"))
        }
        _ => classify(answer).err().unwrap_or_else(|| unreadable(answer)),
    }
}

fn classify(answer: &Answer) -> Result<(), SendError> {
    let failure = |reason, detail: &str| Failure::new(reason, detail).code(answer.status);
    match answer.status {
        401 | 403 => Err(SendError::Ours(failure(Reason::Unauthorized, "Expo does not accept the access token"))),
        // There is one path, and it is not the device's.
        404 | 410 => {
            Err(SendError::Ours(failure(Reason::Misconfigured, "Expo's API is not there: is apiBase right?")))
        }
        status => classify_provider_status(status, answer.retry_after),
    }
}

/// It may have been sent: another try may repeat it, giving up may lose it.
fn unreadable(answer: &Answer) -> SendError {
    let failure = Failure::new(Reason::ProviderError, "the answer was cut short or is not Expo's");
    SendError::Transient { failure: failure.code(answer.status), retry_after: answer.retry_after }
}

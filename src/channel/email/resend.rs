//! Resend: `POST /emails`, with the delivery's id as `Idempotency-Key`, so that a repeat within a day sends nothing more.
//!
//! The error's name says more than its status, and only known names are quoted. Resend makes the `Message-ID` itself.
//! Sources: <https://resend.com/docs/api-reference/emails/send-email>, <https://resend.com/docs/api-reference/errors>,
//! <https://resend.com/docs/dashboard/emails/idempotency-keys>.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use url::Url;

use super::letter::Letter;
use super::{EmailConfig, Envelope, given};
use crate::channel::http::{Answer, HttpClient, classify_provider, parse_endpoint};
use crate::channel::secret::Redacted;
use crate::channel::{Failure, Receipt, SendError, Workshop};
use crate::outcome::Reason;
use crate::rule::fault::Fault;

const API_BASE: &str = "https://api.resend.com";

/// A quota of a day or a month is not there again in a minute.
const QUOTA_PAUSE: Duration = Duration::from_secs(3_600);

pub(super) struct Resend {
    http: HttpClient,
    base: Url,
    pub(super) key: Redacted<String>,
}

impl Resend {
    pub(super) fn new(config: &EmailConfig, workshop: &Workshop) -> Result<Self, Fault> {
        let base = given(config.api_base.as_ref()).map_or(API_BASE, String::as_str);
        let base = parse_endpoint(base, workshop.http.policy(), "/apiBase")?;
        Ok(Self { http: workshop.http.clone(), base, key: config.key()? })
    }

    pub(super) async fn send(
        &self,
        letter: &Letter,
        envelope: &Envelope<'_>,
        at: Timestamp,
    ) -> Result<Receipt, SendError> {
        let mut headers = bearer(&self.key)?;
        let key = HeaderValue::try_from(&letter.key).map_err(|_| unwritten())?;
        headers.insert(HeaderName::from_static("idempotency-key"), key);
        let body = serde_json::to_vec(&Email::of(letter, envelope)).map_err(|_| unwritten())?;
        let answer = self.http.post(&below(&self.base, "/emails"), headers, Bytes::from(body), at).await?;
        classify(&answer)
    }

    /// A key that may only send is told so, and works.
    pub(super) async fn probe(&self, at: Timestamp) -> Result<(), SendError> {
        let url = below(&self.base, "/domains");
        let answer = self.http.ask(Method::GET, &url, bearer(&self.key)?, Bytes::new(), at).await?;
        if refusal(&answer).is_some_and(|refusal| refusal.name == "restricted_api_key") {
            return Ok(());
        }
        classify(&answer).map(drop)
    }
}

/// A path of the API below its base.
pub(super) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

pub(super) fn bearer(key: &Redacted<String>) -> Result<HeaderMap, SendError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose())).map_err(|_| unwritten())?;
    value.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(headers)
}

pub(super) fn unwritten() -> SendError {
    SendError::Ours(Failure::new(Reason::Internal, "the request could not be written"))
}

#[derive(Serialize)]
struct Email<'a> {
    from: String,
    to: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
    subject: &'a str,
    text: &'a str,
    html: &'a str,
    headers: BTreeMap<&'static str, &'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<Attachment<'a>>,
}

#[derive(Serialize)]
struct Attachment<'a> {
    filename: &'a str,
    content: String,
    content_type: &'a str,
}

impl<'a> Email<'a> {
    fn of(letter: &'a Letter, envelope: &Envelope<'_>) -> Self {
        let attachments = letter.files.iter().map(|file| Attachment {
            filename: &file.name,
            content: STANDARD.encode(&file.bytes),
            content_type: &file.media_type,
        });
        Self {
            from: envelope.from.to_string(),
            to: envelope.to.iter().map(ToString::to_string).collect(),
            reply_to: envelope.reply_to.map(ToString::to_string),
            subject: &letter.subject,
            text: &letter.text,
            html: &letter.html,
            headers: letter.headers.iter().map(|(name, value)| (*name, value.as_str())).collect(),
            attachments: attachments.collect(),
        }
    }
}

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

#[derive(Deserialize)]
struct Refusal {
    name: String,
    #[serde(default)]
    message: String,
}

fn refusal(answer: &Answer) -> Option<Refusal> {
    serde_json::from_slice(&answer.body).ok().filter(|_| !(200..300).contains(&answer.status))
}

fn classify(answer: &Answer) -> Result<Receipt, SendError> {
    let code = Some(answer.status);
    if let Some(error) = refusal(answer).and_then(|refusal| classify_name(&refusal, answer)) {
        return Err(error);
    }
    match classify_provider(answer) {
        // Whether the id can be read or not: the status is the verdict.
        Ok(()) => {
            let accepted: Option<Accepted> = serde_json::from_slice(&answer.body).ok();
            Ok(Receipt { provider_id: accepted.map(|accepted| accepted.id), code, ..Receipt::default() })
        }
        // A key or a domain that has to be mended: not this message's fault.
        Err(SendError::Permanent(failure)) if failure.reason == Reason::Unauthorized => {
            Err(SendError::Ours(failure))
        }
        Err(error) => Err(error),
    }
}

/// The names that Resend documents. Only a known name is quoted.
fn classify_name(refusal: &Refusal, answer: &Answer) -> Option<SendError> {
    let name = refusal.name.as_str();
    let failure = |reason| Failure::new(reason, format!("Resend answered {name}")).code(answer.status);
    let limited = |pause| SendError::RateLimited {
        failure: failure(Reason::RateLimited),
        retry_after: answer.retry_after.or(pause),
    };
    let transient =
        || SendError::Transient { failure: failure(Reason::ProviderError), retry_after: answer.retry_after };
    Some(match name {
        "missing_api_key" | "restricted_api_key" | "invalid_api_key" | "invalid_from_address" => {
            SendError::Ours(failure(Reason::Unauthorized))
        }
        // Of a key that is none, or a domain that is not verified.
        "validation_error" if matches!(answer.status, 401 | 403) || refusal.message == "API key is invalid" => {
            SendError::Ours(failure(Reason::Unauthorized))
        }
        "validation_error"
        | "invalid_attachment"
        | "invalid_parameter"
        | "invalid_access"
        | "invalid_region"
        | "missing_required_field"
        | "invalid_idempotency_key"
        | "invalid_idempotent_request"
        | "method_not_allowed"
        | "security_error" => SendError::Permanent(failure(Reason::Rejected)),
        "not_found" => SendError::Permanent(failure(Reason::Gone)),
        "concurrent_idempotent_requests" | "application_error" | "internal_server_error" => transient(),
        "rate_limit_exceeded" => limited(None),
        "daily_quota_exceeded" | "monthly_quota_exceeded" => limited(Some(QUOTA_PAUSE)),
        _ => return None,
    })
}

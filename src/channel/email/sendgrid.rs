//! SendGrid: `POST /v3/mail/send`. 202 means queued, and the id is in the header `X-Message-Id`.
//!
//! Errors have texts but no names, so the status decides; of the fields they name only known first words are quoted. A 429 says
//! in a header of its own when to come again. Sources:
//! <https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send>,
//! <https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/rate-limits>,
//! <https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/errors>.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use lettre::message::Mailbox;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};
use url::Url;

use super::letter::Letter;
use super::resend::{below, bearer, unwritten};
use super::{EmailConfig, Envelope, given};
use crate::channel::http::{Answer, HttpClient, RETRY_AFTER_MAX, classify_provider, parse_endpoint};
use crate::channel::secret::Redacted;
use crate::channel::{Failure, Receipt, SendError, Workshop};
use crate::outcome::Reason;
use crate::rule::fault::Fault;

const API_BASE: &str = "https://api.sendgrid.com";
const ID_HEADER: &str = "x-message-id";
const ID_BYTES_MAX: usize = 128;
/// Unix seconds.
const RESET_HEADER: &str = "x-ratelimit-reset";

/// What the fields that errors name begin with.
const FIELDS: [&str; 8] =
    ["personalizations", "from", "reply_to", "subject", "content", "attachments", "headers", "template_id"];

pub(super) struct Sendgrid {
    http: HttpClient,
    base: Url,
    key: Redacted<String>,
}

impl Sendgrid {
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
        let body = Bytes::from(serde_json::to_vec(&Mail::of(letter, envelope)).map_err(|_| unwritten())?);
        let url = below(&self.base, "/v3/mail/send");
        let (answer, headers) =
            self.http.ask_for(Method::POST, &url, bearer(&self.key)?, body, at).await?;
        let wait = if answer.status == 429 { reset(&headers, at) } else { None };
        let answer = Answer { retry_after: answer.retry_after.or(wait), ..answer };
        classify(&answer)?;
        Ok(Receipt { provider_id: message_id(&headers), code: Some(answer.status), ..Receipt::default() })
    }

    pub(super) async fn probe(&self, at: Timestamp) -> Result<(), SendError> {
        let url = below(&self.base, "/v3/scopes");
        classify(&self.http.ask(Method::GET, &url, bearer(&self.key)?, Bytes::new(), at).await?)
    }
}

/// How long until it takes more.
fn reset(headers: &HeaderMap, at: Timestamp) -> Option<Duration> {
    let reset: i64 = headers.get(RESET_HEADER)?.to_str().ok()?.trim().parse().ok()?;
    let wait = u64::try_from(reset.saturating_sub(at.as_second())).ok()?;
    (wait > 0).then(|| Duration::from_secs(wait).min(RETRY_AFTER_MAX))
}

fn message_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(ID_HEADER)?.to_str().ok()?;
    let legal = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    (legal && !id.is_empty() && id.len() <= ID_BYTES_MAX).then(|| id.to_owned())
}

#[derive(Serialize)]
struct Mail<'a> {
    personalizations: [Personalization; 1],
    from: Party,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Party>,
    subject: &'a str,
    content: [Content<'a>; 2],
    headers: BTreeMap<&'static str, &'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<Attachment<'a>>,
}

#[derive(Serialize)]
struct Personalization {
    to: Vec<Party>,
}

#[derive(Serialize)]
struct Party {
    email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Serialize)]
struct Content<'a> {
    r#type: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
struct Attachment<'a> {
    content: String,
    r#type: &'a str,
    filename: &'a str,
    disposition: &'static str,
}

impl From<&Mailbox> for Party {
    fn from(mailbox: &Mailbox) -> Self {
        Self { email: mailbox.email.to_string(), name: mailbox.name.clone() }
    }
}

impl<'a> Mail<'a> {
    fn of(letter: &'a Letter, envelope: &Envelope<'_>) -> Self {
        let attachments = letter.files.iter().map(|file| Attachment {
            content: STANDARD.encode(&file.bytes),
            // No parameters are taken here.
            r#type: file.media_type.split(';').next().unwrap_or_default().trim(),
            filename: &file.name,
            disposition: "attachment",
        });
        let mut headers: BTreeMap<_, _> =
            letter.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.insert("Message-ID", &letter.id);
        Self {
            personalizations: [Personalization { to: unique(envelope.to).map(Party::from).collect() }],
            from: envelope.from.into(),
            reply_to: envelope.reply_to.map(Party::from),
            subject: &letter.subject,
            content: [
                Content { r#type: "text/plain", value: &letter.text },
                Content { r#type: "text/html", value: &letter.html },
            ],
            headers,
            attachments: attachments.collect(),
        }
    }
}

/// Each address once: SendGrid refuses a whole message for one that is named twice, in whatever case.
fn unique(to: &[Mailbox]) -> impl Iterator<Item = &Mailbox> {
    let mut seen = BTreeSet::new();
    to.iter().filter(move |mailbox| seen.insert(mailbox.email.to_string().to_lowercase()))
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    message: String,
    field: Option<String>,
}

fn classify(answer: &Answer) -> Result<(), SendError> {
    let errors = serde_json::from_slice::<Errors>(&answer.body).map(|found| found.errors).unwrap_or_default();
    match classify_provider(answer) {
        Ok(()) => Ok(()),
        // The sender or the key has to be mended, or the account was blocked for a while: not this message's fault.
        Err(SendError::Permanent(failure) | SendError::Ours(failure))
            if failure.reason == Reason::Unauthorized =>
        {
            Err(SendError::Ours(Failure { detail: in_words(answer.status, &errors), ..failure }))
        }
        Err(SendError::Permanent(failure)) => {
            let field = errors.iter().filter_map(|problem| problem.field.as_deref()).find_map(known);
            let detail = field.map(|field| format!("SendGrid refused the field {field}"));
            Err(SendError::Permanent(Failure { detail: detail.unwrap_or(failure.detail), ..failure }))
        }
        Err(error) => Err(error),
    }
}

fn known(field: &str) -> Option<&'static str> {
    let first = field.split('.').next()?;
    FIELDS.into_iter().find(|known| *known == first)
}

fn in_words(status: u16, errors: &[Problem]) -> String {
    let says = |words: &str| errors.iter().any(|problem| problem.message.contains(words));
    if says("Maximum credits exceeded") {
        "SendGrid answered: Maximum credits exceeded".to_owned()
    } else if says("does not match a verified Sender Identity") {
        "SendGrid answered: the from address is no verified sender identity".to_owned()
    } else if status == 401 {
        "SendGrid does not take the key".to_owned()
    } else {
        "SendGrid refused: the key lacks the scope, the sender is not verified, or the account is blocked for a while"
            .to_owned()
    }
}

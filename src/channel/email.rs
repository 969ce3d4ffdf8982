//! E-mail: by SMTP, or by the APIs of Resend and SendGrid. One message for each try, in text and HTML.
//!
//! The `Message-ID` is made of the delivery's id, so that a repeat is known as one. Without `to` each recipient is written
//! to at their own address; people among them get a link with which they end it (RFC 8058). Addresses are read by the
//! mail library, and texts lose their control characters: nothing that a notification says can become a header.
//! Sources: RFC 5321, RFC 5322, RFC 8058, <https://resend.com/docs/api-reference/emails/send-email>,
//! <https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send>.

mod letter;
mod mailbox;
mod mime;
mod reply;
mod resend;
mod sendgrid;
mod smtp;

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use lettre::message::Mailbox;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::secret::Redacted;
use super::{Adapter, Channel, Failure, Limit, Receipt, SendError, Try, Workshop, settings};
use crate::delivery::Delivery;
use crate::ids::digest;
use crate::outcome::Reason;
use crate::rule::fault::Fault;
use letter::Letter;
use mailbox::{domain_of, mailbox, mailboxes};
use resend::Resend;
use sendgrid::Sendgrid;
use smtp::Smtp;

/// Resend takes 50, and nobody needs more.
const TO_MAX: usize = 50;

/// Who asks a provider, and writes to nobody.
const NOBODY: &str = "bugle@localhost";

/// The lower of two numbers that its pages have had. It is a team's; a key is all that we know of a team, so that two keys of one
/// team are counted apart. <https://resend.com/docs/api-reference/rate-limit>
const RESEND_PER_SECOND: u32 = 2;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmailConfig {
    #[schemars(extend("x-address" = true))]
    #[serde(default)]
    provider: Provider,
    /// The mail server's name.
    #[schemars(extend("x-address" = true))]
    host: Option<String>,
    /// Default: by `security`.
    #[schemars(extend("x-address" = true))]
    port: Option<Port>,
    /// Default: `tls` on port 465, else `starttls`.
    #[schemars(extend("x-address" = true))]
    security: Option<Security>,
    username: Option<String>,
    password: Option<Redacted<String>>,
    api_key: Option<Redacted<String>>,
    /// `bugle@example.com` or `Bugle <bugle@example.com>`.
    from: Redacted<String>,
    reply_to: Option<Redacted<String>>,
    /// One or several. None: each recipient's own address.
    to: Option<OneOrMany>,
    /// Takes the place of the provider's own address.
    #[schemars(extend("x-address" = true))]
    api_base: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Provider {
    #[default]
    Smtp,
    Resend,
    Sendgrid,
}

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Security {
    /// Plain at first, then TLS, or nothing is sent.
    Starttls,
    /// TLS from the start.
    Tls,
    /// Not at all.
    None,
}

/// A number, or the same as text: variables bring texts only.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum Port {
    Number(u16),
    Text(String),
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum OneOrMany {
    One(Redacted<String>),
    Many(Vec<Redacted<String>>),
}

pub struct Email {
    from: Mailbox,
    reply_to: Option<Mailbox>,
    /// Empty: the recipient's.
    to: Vec<Mailbox>,
    way: Way,
}

/// Boxed, since it is by far the largest.
enum Way {
    Smtp(Box<Smtp>),
    Resend(Resend),
    Sendgrid(Sendgrid),
}

/// Who writes to whom.
struct Envelope<'a> {
    from: &'a Mailbox,
    reply_to: Option<&'a Mailbox>,
    to: &'a [Mailbox],
}

/// Addresses do not print.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Email").finish_non_exhaustive()
    }
}

impl Adapter for Email {
    type Config = EmailConfig;

    fn show(delivery: &Delivery) -> Value {
        let letter = Letter::new(delivery, "example.com", None);
        json!({ "subject": letter.subject, "text": letter.text, "html": letter.html })
    }

    fn new(config: &Value, workshop: &Workshop) -> Result<Self, Fault> {
        let config: EmailConfig = settings::read(config)?;
        let from = mailbox(config.from.expose(), "/from")?;
        let reply_to = given(config.reply_to.as_ref().map(Redacted::expose));
        let reply_to = reply_to.map(|text| mailbox(text, "/replyTo")).transpose()?;
        let mut to = Vec::new();
        match &config.to {
            None => {}
            Some(OneOrMany::One(text)) => to.extend(mailboxes(text.expose(), "/to")?),
            Some(OneOrMany::Many(texts)) => {
                for (index, text) in texts.iter().enumerate() {
                    to.extend(mailboxes(text.expose(), &format!("/to/{index}"))?);
                }
            }
        }
        if config.to.is_some() && to.is_empty() || to.len() > TO_MAX {
            return Err(Fault::new("/to", format!("must name 1 to {TO_MAX} addresses, or be left out")));
        }
        let way = match config.provider {
            Provider::Smtp => Way::Smtp(Box::new(Smtp::new(&config, domain_of(&from), workshop)?)),
            Provider::Resend => Way::Resend(Resend::new(&config, workshop)?),
            Provider::Sendgrid => Way::Sendgrid(Sendgrid::new(&config, workshop)?),
        };
        Ok(Self { from, reply_to, to, way })
    }

    fn probe<'a>(
        config: &'a Value,
        workshop: &'a Workshop,
        at: Timestamp,
    ) -> Option<BoxFuture<'a, Result<(), SendError>>> {
        has_account(config).then(|| Box::pin(Self::probe(config, workshop, at)) as BoxFuture<'_, _>)
    }
}

impl EmailConfig {
    /// Fields of the other providers would be ignored.
    fn refuse(&self, names: &[&str]) -> Result<(), Fault> {
        let set = [
            ("host", given(self.host.as_ref()).is_some()),
            ("port", self.port.is_some()),
            ("security", self.security.is_some()),
            ("username", given(self.username.as_ref()).is_some()),
            ("password", given(self.password.as_ref().map(Redacted::expose)).is_some()),
            ("apiKey", given(self.api_key.as_ref().map(Redacted::expose)).is_some()),
            ("apiBase", given(self.api_base.as_ref()).is_some()),
        ];
        let refused = set.into_iter().find(|(name, set)| *set && names.contains(name));
        let provider = match self.provider {
            Provider::Smtp => "smtp",
            Provider::Resend => "resend",
            Provider::Sendgrid => "sendgrid",
        };
        refused.map_or(Ok(()), |(name, _)| {
            Err(Fault::new(format!("/{name}"), format!("is not for the provider {provider}")))
        })
    }

    fn key(&self) -> Result<Redacted<String>, Fault> {
        self.refuse(&["host", "port", "security", "username", "password"])?;
        let key = given(self.api_key.as_ref().map(Redacted::expose));
        let key = key.ok_or_else(|| Fault::new("/apiKey", "is missing"))?;
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Fault::new("/apiKey", "has characters that no key has"));
        }
        Ok(Redacted::new(key.clone()))
    }
}

/// True when there is something to ask with; a connection may leave to its channels what it is.
fn has_account(config: &Value) -> bool {
    let has = |name| settings::has(config, name);
    match config.get("provider").and_then(Value::as_str) {
        Some("resend" | "sendgrid") => has("apiKey"),
        Some(_) | None => has("host") && has("username") == has("password"),
    }
}

/// An empty text is none: variables have empty defaults.
fn given(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.trim().is_empty())
}

impl Channel for Email {
    fn send<'a>(&'a self, attempt: Try<'a>) -> BoxFuture<'a, Result<Receipt, SendError>> {
        Box::pin(async move {
            let Try { delivery, to, unsubscribe, at, .. } = attempt;
            let own = match to {
                Some(to) if self.to.is_empty() => vec![mailbox(to.expose(), "").map_err(|_| {
                    SendError::Permanent(Failure::new(Reason::NoAddress, "the recipient's address is none"))
                })?],
                Some(_) | None => Vec::new(),
            };
            let to = if self.to.is_empty() { &own } else { &self.to };
            if to.is_empty() {
                let detail = "there is no address to send it to";
                return Err(SendError::Ours(Failure::new(Reason::Misconfigured, detail)));
            }
            let envelope = Envelope { from: &self.from, reply_to: self.reply_to.as_ref(), to };
            let letter = Letter::new(delivery, domain_of(&self.from), unsubscribe);
            match &self.way {
                Way::Smtp(smtp) => {
                    let message = mime::message(&letter, &envelope, at)?;
                    smtp.send(&envelope, &message, at).await
                }
                Way::Resend(resend) => resend.send(&letter, &envelope, at).await,
                Way::Sendgrid(sendgrid) => sendgrid.send(&letter, &envelope, at).await,
            }
        })
    }

    fn limits(&self, _attempt: &Try<'_>) -> Vec<Limit> {
        match &self.way {
            // What a mail server takes only its owner knows. SendGrid takes thousands a second, and says in a 429 when to come again.
            Way::Smtp(_) | Way::Sendgrid(_) => Vec::new(),
            Way::Resend(resend) => {
                let (of, per) = (format!("email_{}", digest(&[resend.key.expose()])), Duration::from_secs(1));
                vec![Limit { of, most: RESEND_PER_SECOND, per, burst: RESEND_PER_SECOND, cost: 1 }]
            }
        }
    }
}

impl Email {
    /// Whether the provider takes our credentials, without a message: for the health of a connection, whose channels may each
    /// bring a sender of their own.
    ///
    /// # Errors
    /// Why it does not, as a send would say it.
    pub async fn probe(config: &Value, workshop: &Workshop, at: Timestamp) -> Result<(), SendError> {
        let mut config = config.clone();
        if let Value::Object(fields) = &mut config {
            fields.entry("from").or_insert_with(|| NOBODY.into());
        }
        let email = Self::new(&config, workshop)
            .map_err(|fault| SendError::Ours(Failure::new(Reason::Misconfigured, fault.to_string())))?;
        match &email.way {
            Way::Smtp(smtp) => smtp.probe().await,
            Way::Resend(resend) => resend.probe(at).await,
            Way::Sendgrid(sendgrid) => sendgrid.probe(at).await,
        }
    }
}

#[cfg(test)]
mod tests;

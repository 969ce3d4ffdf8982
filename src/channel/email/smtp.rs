//! SMTP: a conversation that is led command by command, so that a refusal is known by what it refuses.
//!
//! The host is resolved here and only addresses that the network policy permits are connected to, while TLS asks for a
//! certificate of the configured name. Connections are kept for the next message. An HTTP proxy does not carry SMTP: with one
//! configured there is no channel, since whoever configures a proxy means all that goes out.

mod guard;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lettre::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Noop, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::Response;
use tokio::net::TcpStream;
use url::Host;

use guard::{Guarded, Injected};

use super::reply::{self, Stage};
use super::{EmailConfig, Envelope, Port, Security, given};
use crate::channel::http::{HttpClient, HttpPolicy, addresses, unanswered};
use crate::channel::secret::Redacted;
use crate::channel::{Failure, Receipt, SendError, Workshop};
use crate::outcome::Reason;
use crate::rule::fault::Fault;

const SUBMISSION: u16 = 587;
const SUBMISSIONS: u16 = 465;
const RELAY: u16 = 25;

/// TCP alone; what follows has the time of the try.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Servers close idle connections after one to five minutes.
const IDLE_MAX: Duration = Duration::from_secs(50);
const IDLE_CONNECTIONS_MAX: usize = 8;
/// To find out whether a kept connection lives, and to clear one after a refusal.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Of a server's own name for a message.
const QUEUE_ID_BYTES_MAX: usize = 64;

pub(super) struct Smtp {
    http: HttpClient,
    host: Host,
    port: u16,
    security: Security,
    tls: Option<TlsParameters>,
    credentials: Option<Credentials>,
    hello: ClientId,
    /// Ready for the next message, with the moment of the last.
    idle: Mutex<Vec<(AsyncSmtpConnection, Timestamp)>>,
}

impl Smtp {
    /// `domain`: the sender's, which is what we say we are.
    pub(super) fn new(config: &EmailConfig, domain: &str, workshop: &Workshop) -> Result<Self, Fault> {
        config.refuse(&["apiKey", "apiBase"])?;
        let policy = workshop.http.policy();
        if policy.proxy.is_some() {
            let message = "cannot be reached: worker.proxy is set, and SMTP does not go through an HTTP proxy. Use resend or \
                           sendgrid, or workers without a proxy for the kind email";
            return Err(Fault::new("/host", message));
        }
        let host = given(config.host.as_ref()).ok_or_else(|| Fault::new("/host", "is missing"))?;
        let host = parse_host(host.trim()).ok_or_else(|| Fault::new("/host", "is no name of a host"))?;
        let port = port(config)?;
        let security = match (config.security, port) {
            (Some(security), _) => security,
            (None, Some(SUBMISSIONS)) => Security::Tls,
            (None, _) => Security::Starttls,
        };
        if security == Security::None && !policy.allow_plain_http && policy.allow_addresses.is_empty() {
            return Err(Fault::new("/security", "is none, which is not allowed here: use starttls or tls"));
        }
        let port = port.unwrap_or(match security {
            Security::Starttls => SUBMISSION,
            Security::Tls => SUBMISSIONS,
            Security::None => RELAY,
        });
        let tls = match security {
            Security::None => None,
            Security::Starttls | Security::Tls => Some(tls_parameters(&host, policy)?),
        };
        Ok(Self {
            http: workshop.http.clone(),
            host,
            port,
            security,
            tls,
            credentials: credentials(config)?,
            hello: ClientId::Domain(domain.to_owned()),
            idle: Mutex::default(),
        })
    }

    /// One message, within the time of a try.
    pub(super) async fn send(
        &self,
        envelope: &Envelope<'_>,
        message: &[u8],
        at: Timestamp,
    ) -> Result<Receipt, SendError> {
        let timeout = self.http.timeout();
        let mut line = None;
        let work = async {
            let line = line.insert(self.line(at).await?);
            hand_over(line, envelope, message).await
        };
        let sent = tokio::time::timeout(timeout, work).await.map_err(|_| SendError::late(timeout))?;
        let replied = sent.as_ref().map_or_else(|error| error.failure().code.is_some(), |_| true);
        if let Some(mut line) = line.filter(|_| replied) {
            // What was begun and refused must not stand in the way of the next message.
            if sent.is_ok() || answers(&mut line, Rset).await {
                self.keep(line, at);
            }
        }
        sent
    }

    /// As far as the credentials.
    pub(super) async fn probe(&self) -> Result<(), SendError> {
        let timeout = self.http.timeout();
        let mut line =
            tokio::time::timeout(timeout, self.connect()).await.map_err(|_| SendError::late(timeout))??;
        tokio::time::timeout(CHECK_TIMEOUT, line.quit()).await.ok();
        Ok(())
    }

    /// A connection that was kept, or a new one.
    async fn line(&self, at: Timestamp) -> Result<AsyncSmtpConnection, SendError> {
        while let Some((mut line, last)) = self.kept() {
            let fresh = at.duration_since(last).unsigned_abs() < IDLE_MAX;
            if fresh && answers(&mut line, Noop).await {
                return Ok(line);
            }
        }
        self.connect().await
    }

    fn kept(&self) -> Option<(AsyncSmtpConnection, Timestamp)> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, line: AsyncSmtpConnection, at: Timestamp) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push((line, at));
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SendError> {
        let reachable = self.reachable().await?;
        let connected = match (&self.tls, self.security) {
            (Some(tls), Security::Tls) => {
                let tls = Some(tls.clone());
                let at = reachable.as_slice();
                AsyncSmtpConnection::connect_tokio1(at, Some(CONNECT_TIMEOUT), &self.hello, tls, None).await
            }
            (_, Security::Starttls | Security::None) | (None, Security::Tls) => {
                let stream = Box::new(Guarded::new(tcp(&reachable).await?));
                AsyncSmtpConnection::connect_with_transport(stream, &self.hello).await
            }
        };
        let mut line = connected.map_err(|error| classify(Stage::Hello, &error))?;
        if let (Some(tls), Security::Starttls) = (&self.tls, self.security) {
            if !line.can_starttls() {
                let detail = "the mail server offers no STARTTLS: nothing is sent in the clear";
                return Err(SendError::Ours(Failure::new(Reason::Misconfigured, detail)));
            }
            let upgraded = line.starttls(tls.clone(), &self.hello).await;
            upgraded.map_err(|error| classify(Stage::Starttls, &error))?;
        }
        if let Some(credentials) = &self.credentials {
            let known = [Mechanism::Plain, Mechanism::Login];
            if line.server_info().get_auth_mechanism(&known).is_none() {
                let detail = "the mail server takes no password here: it offers neither AUTH PLAIN nor LOGIN";
                return Err(SendError::Ours(Failure::new(Reason::Misconfigured, detail)));
            }
            line.auth(&known, credentials).await.map_err(|error| classify(Stage::Auth, &error))?;
        }
        Ok(line)
    }

    /// What may be connected to: in the clear only what an operator has opened.
    async fn reachable(&self) -> Result<Vec<SocketAddr>, SendError> {
        let policy = self.http.policy();
        let mut found = addresses(&self.host, self.port, policy).await?;
        if self.security == Security::None && !policy.allow_plain_http {
            found.retain(|address| policy.allow_addresses.iter().any(|net| net.contains(&address.ip())));
        }
        if found.is_empty() {
            let detail = "the network policy forbids to send in the clear to the address of the mail server";
            return Err(SendError::Permanent(Failure::new(Reason::BlockedAddress, detail)));
        }
        Ok(found)
    }
}

/// The first address that answers.
async fn tcp(reachable: &[SocketAddr]) -> Result<TcpStream, SendError> {
    match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(reachable)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(unanswered(&error)),
        Err(_) => Err(SendError::Transient {
            failure: Failure::new(Reason::Timeout, "no connection in time"),
            retry_after: None,
        }),
    }
}

fn parse_host(text: &str) -> Option<Host> {
    match text.parse() {
        Ok(IpAddr::V4(address)) => Some(Host::Ipv4(address)),
        Ok(IpAddr::V6(address)) => Some(Host::Ipv6(address)),
        Err(_) => Host::parse(text).ok(),
    }
}

fn port(config: &EmailConfig) -> Result<Option<u16>, Fault> {
    let port = match &config.port {
        Some(Port::Number(number)) => Some(*number),
        Some(Port::Text(text)) if text.trim().is_empty() => None,
        Some(Port::Text(text)) => {
            Some(text.trim().parse().map_err(|_| Fault::new("/port", "is not a number from 1 to 65535"))?)
        }
        None => None,
    };
    if port == Some(0) { Err(Fault::new("/port", "is not a number from 1 to 65535")) } else { Ok(port) }
}

fn credentials(config: &EmailConfig) -> Result<Option<Credentials>, Fault> {
    let password = given(config.password.as_ref().map(Redacted::expose));
    match (given(config.username.as_ref()), password) {
        (Some(username), Some(password)) => Ok(Some(Credentials::new(username.clone(), password.clone()))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Fault::new("/password", "is missing: there is a username")),
        (None, Some(_)) => Err(Fault::new("/username", "is missing: there is a password")),
    }
}

/// The machine's certificates and the operator's; the name in the configuration is the one that is proved.
fn tls_parameters(host: &Host, policy: &HttpPolicy) -> Result<TlsParameters, Fault> {
    let name = match host {
        Host::Domain(name) => name.clone(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    let unusable = |_| Fault::new("/host", "has no usable TLS configuration");
    let mut builder = TlsParameters::builder(name);
    if let Some(pem) = &policy.extra_ca {
        builder = builder.add_root_certificate(Certificate::from_pem(pem).map_err(unusable)?);
    }
    builder.build().map_err(unusable)
}

/// True when the server agrees, soon.
async fn answers<C: std::fmt::Display>(line: &mut AsyncSmtpConnection, command: C) -> bool {
    matches!(tokio::time::timeout(CHECK_TIMEOUT, line.command(command)).await, Ok(Ok(_)))
}

/// The message, from MAIL to the reply to its last line.
async fn hand_over(
    line: &mut AsyncSmtpConnection,
    envelope: &Envelope<'_>,
    message: &[u8],
) -> Result<Receipt, SendError> {
    let ascii = |address: &Address| address.user().is_ascii();
    let mut parameters = Vec::new();
    if !ascii(&envelope.from.email) || !envelope.to.iter().all(|to| ascii(&to.email)) {
        if !line.server_info().supports_feature(Extension::SmtpUtfEight) {
            let detail = "an address has characters that the mail server does not take (SMTPUTF8)";
            return Err(SendError::Permanent(Failure::new(Reason::Rejected, detail)));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    let mail = Mail::new(Some(envelope.from.email.clone()), parameters);
    line.command(mail).await.map_err(|error| classify(Stage::Mail, &error))?;
    let note = name_all(line, envelope.to).await?;
    line.command(Data).await.map_err(|error| classify(Stage::Data, &error))?;
    let reply = line.message(message).await.map_err(|error| classify(Stage::Data, &error))?;
    Ok(Receipt { provider_id: queue_id(&reply), code: Some(reply.code().into()), note, ..Receipt::default() })
}

/// All recipients. One that is refused for good does not keep the others from theirs; anything else is tried again whole,
/// since nothing is sent yet.
async fn name_all(line: &mut AsyncSmtpConnection, to: &[Mailbox]) -> Result<Option<String>, SendError> {
    let mut refused = Vec::new();
    for mailbox in to {
        let named = line.command(Rcpt::new(mailbox.email.clone(), Vec::new())).await;
        match named.map_err(|error| classify(Stage::Rcpt, &error)) {
            Ok(_) => {}
            Err(SendError::Permanent(failure)) => refused.push(failure),
            Err(error) => return Err(error),
        }
    }
    match refused.pop() {
        Some(last) if refused.len() + 1 == to.len() => Err(SendError::Permanent(last)),
        Some(last) => {
            let count = refused.len() + 1;
            Ok(Some(format!("{count} of {} addresses got nothing: {}", to.len(), last.detail)))
        }
        None => Ok(None),
    }
}

/// `… queued as 4F2C…`: what the server's own log calls it.
fn queue_id(reply: &Response) -> Option<String> {
    let line = reply.first_line()?;
    let id = line.split_once("queued as ")?.1.split_whitespace().next()?;
    let legal = id.len() <= QUEUE_ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    legal.then(|| id.to_owned())
}

/// A reply by its table; anything else by what it is, in fixed words.
fn classify(stage: Stage, error: &Error) -> SendError {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    if let Some(code) = error.status() {
        return reply::classify(stage, code.into(), &cause);
    }
    let transient =
        |reason, detail: &str| SendError::Transient { failure: Failure::new(reason, detail), retry_after: None };
    if was_injected(error) {
        let detail = "something was said between STARTTLS and TLS: the mail server is broken, or somebody is in between";
        transient(Reason::ProviderError, detail)
    } else if error.is_timeout() {
        transient(Reason::Timeout, "no connection in time")
    } else if error.is_response() && cause == "incomplete response" {
        transient(Reason::Unreachable, "connection closed before the answer")
    } else if error.is_response() || error.is_client() {
        transient(Reason::ProviderError, "the answer is not a mail server's")
    } else {
        unanswered(error)
    }
}

fn was_injected(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    matches!(cause.and_then(std::io::Error::get_ref), Some(inner) if inner.is::<Injected>())
}

#[cfg(test)]
mod tests;

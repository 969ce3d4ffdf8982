//! The one HTTP client of all channels: a POST, its answer, and what a failure on the way means.
//!
//! It follows no redirects, takes no proxy from the environment, connects to no address the policy forbids, and reads
//! 16 KiB of an answer. Errors are told in fixed words: those of the libraries below name hosts and addresses.

pub mod address;
pub mod multipart;
mod resolve;
mod status;
pub mod tls;
mod transport;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;
use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use url::{Host, Url};

use super::{SendError, TIMEOUT};
use crate::rule::fault::Fault;
use resolve::GuardedResolver;
pub use resolve::addresses;
pub use status::{classify_provider, classify_provider_status, classify_status};
use tls::Own;
pub use transport::unanswered;

const USER_AGENT: &str = concat!("Bugle/", env!("CARGO_PKG_VERSION"));

/// Name resolution, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Enough for every slot of a worker to go to one host; idle ones are closed before the usual servers do it (60 to 75 s).
const IDLE_PER_HOST_MAX: usize = 256;
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// How soon a connection that is dead without a word is found out.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Providers' errors are short; a page of HTML tells nobody anything.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// How long a body may take once the status is known, beyond the time of the try: the status is the verdict, and to try
/// again because the receiver is slow to finish its answer would send it twice.
pub const BODY_WAIT: Duration = Duration::from_secs(2);

/// The longest wait that a receiver may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// What may be talked to, and how.
#[derive(Clone, Default)]
pub struct HttpPolicy {
    pub allow_plain_http: bool,
    /// Networks that may be reached although they are private or special.
    pub allow_addresses: Vec<IpNet>,
    /// The URL of a proxy: everything goes through it, and it is trusted to check addresses itself. May hold a password.
    pub proxy: Option<String>,
    /// Certificates (PEM) that are trusted beside the machine's.
    pub extra_ca: Option<Arc<[u8]>>,
}

impl fmt::Debug for HttpPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpPolicy")
            .field("allow_plain_http", &self.allow_plain_http)
            .field("allow_addresses", &self.allow_addresses)
            .field("proxy", &self.proxy.is_some())
            .field("extra_ca", &self.extra_ca.is_some())
            .finish()
    }
}

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    #[error("the configured proxy cannot be used: it must be an http or https URL")]
    Proxy,
    #[error("worker.extra_ca_file holds no certificate that can be used (PEM)")]
    ExtraCa,
    #[error("the certificates cannot be used: one is broken, or the key is another one's")]
    Certificates,
    #[error("the HTTP client cannot be built: {0}")]
    Client(&'static str),
}

/// Cheap to clone; all clones share their connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    policy: Arc<HttpPolicy>,
    timeout: Duration,
    body_bytes_max: usize,
}

/// What a receiver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// More than nothing and at most a day.
    pub retry_after: Option<Duration>,
    /// Its first 16 KiB, unless the client reads more, or as much as came.
    pub body: Vec<u8>,
}

/// Makes ring the TLS provider of the whole process. Done again it changes nothing.
pub fn install_tls_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may be faster: then the provider is installed just as well.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
}

impl HttpClient {
    /// # Errors
    /// When the proxy is no URL a client can use, or the machine has no certificates to trust.
    pub fn new(policy: HttpPolicy) -> Result<Self, HttpError> {
        Self::build(Arc::new(policy), TIMEOUT, None)
    }

    /// A client under the same policy that shows a certificate of its own, or trusts more than the public authorities. It shares
    /// no connections with this one.
    ///
    /// # Errors
    /// When key and certificate do not belong together, or one of them cannot be used.
    pub fn with_tls(&self, own: Own) -> Result<Self, HttpError> {
        Self::build(Arc::clone(&self.policy), self.timeout, Some(own))
    }

    fn build(policy: Arc<HttpPolicy>, timeout: Duration, own: Option<Own>) -> Result<Self, HttpError> {
        // reqwest panics without one.
        install_tls_provider();
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            // One connection carries all requests to a host: a dead one would time them all out until TCP gives it up.
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .tcp_keepalive(PING_INTERVAL)
            .no_proxy();
        builder = match &policy.proxy {
            Some(url) => builder.proxy(parse_proxy(url)?),
            None => builder.dns_resolver(GuardedResolver::new(Arc::clone(&policy))),
        };
        if let Some(pem) = &policy.extra_ca {
            let found = reqwest::Certificate::from_pem_bundle(pem).map_err(|_| HttpError::ExtraCa)?;
            if found.is_empty() {
                return Err(HttpError::ExtraCa);
            }
            builder = builder.tls_certs_merge(found);
        }
        let unusable = match &own {
            Some(_) => HttpError::Certificates,
            None => HttpError::Client("no usable TLS configuration (are ca-certificates installed?)"),
        };
        if let Some(own) = own {
            builder = own.apply(builder);
        }
        let client = builder.build().map_err(|_| unusable)?;
        Ok(Self { client, policy, timeout, body_bytes_max: BODY_BYTES_MAX })
    }

    /// The same client, which waits so long for a status.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// How long it waits for a status.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The same client, for answers that are longer than providers' usual ones.
    #[must_use]
    pub fn with_body_bytes_max(&self, body_bytes_max: usize) -> Self {
        Self { body_bytes_max, ..self.clone() }
    }

    #[must_use]
    pub fn policy(&self) -> &HttpPolicy {
        &self.policy
    }

    /// Posts once. `at` is the moment of the try, to which a `Retry-After` date is relative.
    ///
    /// # Errors
    /// What kept the request from being answered; any answer is an `Ok`.
    pub async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
        at: Timestamp,
    ) -> Result<Answer, SendError> {
        self.ask(Method::POST, url, headers, body, at).await
    }

    /// The same with any method.
    ///
    /// # Errors
    /// As [`HttpClient::post`].
    pub async fn ask(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
        at: Timestamp,
    ) -> Result<Answer, SendError> {
        self.ask_for(method, url, headers, body, at).await.map(|(answer, _)| answer)
    }

    /// The same, for an API that says something in its answer's headers.
    ///
    /// # Errors
    /// As [`HttpClient::post`].
    pub async fn ask_for(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
        at: Timestamp,
    ) -> Result<(Answer, HeaderMap), SendError> {
        self.check_literal(url)?;
        let request = self.client.request(method, url.clone()).headers(headers).body(body);
        let answered = tokio::time::timeout(self.timeout, request.send()).await;
        let mut response = answered
            .map_err(|_| SendError::late(self.timeout))?
            .map_err(|error| transport::classify(&error))?;
        let status = response.status().as_u16();
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = header.and_then(|text| parse_retry_after(text, at));
        let headers = response.headers().clone();
        let mut body = Vec::new();
        if response.content_length() != Some(0) {
            // Late or broken: what came is kept, and the status stands.
            tokio::time::timeout(BODY_WAIT, read_body(&mut response, &mut body, self.body_bytes_max))
                .await
                .ok();
        }
        Ok((Answer { status, retry_after, body }, headers))
    }

    /// The resolver never sees a host that is an address already. `url` has made one spelling of all of them.
    fn check_literal(&self, url: &Url) -> Result<(), SendError> {
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) | None => None,
        };
        match literal {
            Some(address) if self.policy.proxy.is_none() && !self.policy.permits(address) => {
                Err(transport::blocked())
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn parse_proxy(text: &str) -> Result<reqwest::Proxy, HttpError> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.and_then(|url| reqwest::Proxy::all(url).ok()).ok_or(HttpError::Proxy)
}

async fn read_body(response: &mut reqwest::Response, body: &mut Vec<u8>, bytes_max: usize) {
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = bytes_max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == bytes_max {
            return;
        }
    }
}

/// Seconds or an HTTP date (RFC 9110, 10.2.3). None when it is neither, or asks for no wait at all.
#[must_use]
pub fn parse_retry_after(text: &str, at: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = if let Ok(seconds) = text.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Duration::try_from(date.duration_since(at)).ok()?
    };
    (wait > Duration::ZERO).then_some(wait.min(RETRY_AFTER_MAX))
}

/// The URL of an endpoint in a channel's configuration. `pointer` is its place there.
///
/// # Errors
/// When it is no http(s) URL, is plain http where that is not allowed, or has credentials in it.
pub fn parse_endpoint(text: &str, policy: &HttpPolicy, pointer: &str) -> Result<Url, Fault> {
    let fault = |message: &str| Err(Fault::new(pointer.to_owned(), message.to_owned()));
    if text.trim().is_empty() {
        return fault("is empty");
    }
    let Ok(url) = Url::parse(text) else { return fault("is not an absolute URL") };
    match url.scheme() {
        "https" => {}
        "http" if policy.allow_plain_http => {}
        "http" => return fault("is plain http, which is not allowed here: use https"),
        _ => return fault("is not an https URL"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return fault("holds credentials, which end up in logs on the way: use a header");
    }
    Ok(url)
}

/// `url` at another server: scheme, host, port and a path before its own come from `base`.
#[must_use]
pub fn rebase(url: &Url, base: &Url) -> Url {
    let mut rebased = base.clone();
    rebased.set_path(&format!("{}{}", base.path().trim_end_matches('/'), url.path()));
    rebased.set_query(url.query());
    rebased.set_fragment(None);
    rebased
}

#[cfg(test)]
mod tests;

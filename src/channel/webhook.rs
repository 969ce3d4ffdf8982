//! Webhooks to endpoints of somebody's own, signed as Standard Webhooks 1.0 has it.
//!
//! The body is the same on every try, so that a receiver may compare; the moment of the try is in a header, and signed with
//! it. `webhook-id` is the delivery's id: what a receiver recognises a repeat by. Source:
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

mod keys;
#[cfg(test)]
mod mutual_tls;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use self::keys::Key;
use super::http::tls::{Own, Pems};
use super::http::{Answer, HttpClient, classify_status, parse_endpoint};
pub use super::payload::HOPS_HEADER;
use super::payload::{Format, Payload, Writer, Written};
use super::secret::{Redacted, below};
use super::{Adapter, Channel, Failure, Receipt, SendError, Try, Workshop, settings};
use crate::delivery::Delivery;
use crate::rule::fault::Fault;

/// A receiver's wish to hear no more (Standard Webhooks 1.0).
const GONE: u16 = 410;

/// Headers that say how the request is framed or who sent it: ours alone.
const OWN_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "traceparent",
    "upgrade",
];

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookConfig {
    #[schemars(extend("x-address" = true))]
    url: Redacted<String>,
    #[serde(default)]
    method: Verb,
    /// `whsec_…` or `whsk_…`, the first one in use and older ones until receivers have changed. Empty ones are ignored.
    #[serde(default)]
    secrets: Vec<Redacted<String>>,
    #[serde(default)]
    headers: BTreeMap<String, Redacted<String>>,
    #[serde(default)]
    format: Format,
    /// What takes the place of Bugle's own JSON: any JSON value, whose texts are templates over it.
    #[serde(default)]
    template: Option<Value>,
    /// Of a body by a template; else the format's own.
    #[serde(default)]
    content_type: Option<String>,
    /// PEM, to show to a receiver who asks for one.
    #[serde(default)]
    client_certificate: Option<Redacted<String>>,
    /// PEM.
    #[serde(default)]
    client_key: Option<Redacted<String>>,
    /// PEM, trusted besides the public authorities.
    #[serde(default)]
    ca_certificate: Option<Redacted<String>>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Verb {
    #[default]
    Post,
    Put,
    Patch,
}

impl Verb {
    fn method(self) -> Method {
        match self {
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Patch => Method::PATCH,
        }
    }
}

#[derive(Debug)]
pub struct Webhook {
    http: HttpClient,
    url: Redacted<Url>,
    method: Method,
    keys: Vec<Key>,
    /// All that does not change from try to try.
    headers: HeaderMap,
    writer: Writer,
    content_type: Option<HeaderValue>,
}

impl Adapter for Webhook {
    type Config = WebhookConfig;

    fn show(delivery: &Delivery) -> Value {
        serde_json::to_value(Payload::of(delivery)).unwrap_or_default()
    }

    fn check(config: &WebhookConfig) -> Result<(), Fault> {
        writer(config).map(drop)
    }

    fn new(config: &Value, workshop: &Workshop) -> Result<Self, Fault> {
        let config: WebhookConfig = settings::read(config)?;
        let url = parse_endpoint(config.url.expose(), workshop.http.policy(), "/url")?;
        let mut keys = Vec::new();
        for (index, secret) in config.secrets.iter().enumerate() {
            if !secret.expose().is_empty() {
                keys.push(Key::parse(secret.expose(), &format!("/secrets/{index}"))?);
            }
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let (name, value) = parse_header(name, value.expose())?;
            headers.insert(name, value);
        }
        let content_type = config.content_type.as_deref().map(|text| parse_content_type(text, config.format));
        Ok(Self {
            http: client(&config, workshop)?,
            url: Redacted::new(url),
            method: config.method.method(),
            keys,
            headers,
            writer: writer(&config)?,
            content_type: content_type.transpose()?,
        })
    }
}

fn writer(config: &WebhookConfig) -> Result<Writer, Fault> {
    Writer::new(config.format, config.template.as_ref()).map_err(|fault| fault.below("/template"))
}

/// One of its own where it has certificates of its own.
fn client(config: &WebhookConfig, workshop: &Workshop) -> Result<HttpClient, Fault> {
    let pems = Pems {
        certificate: config.client_certificate.as_ref(),
        key: config.client_key.as_ref(),
        authority: config.ca_certificate.as_ref(),
    };
    let place = if config.client_key.is_some() { "/clientKey" } else { "/caCertificate" };
    match Own::read(&pems)? {
        Some(own) => workshop.http.with_tls(own).map_err(|error| Fault::new(place, error.to_string())),
        None => Ok(workshop.http.clone()),
    }
}

fn parse_content_type(text: &str, format: Format) -> Result<HeaderValue, Fault> {
    let fault = |message: &str| Fault::new("/contentType", message);
    if format == Format::CloudEvents {
        return Err(fault("is that of the format: leave it out"));
    }
    let (essence, _) = text.split_once(';').unwrap_or((text, ""));
    let is_json = essence.trim().ends_with("/json") || essence.trim().ends_with("+json");
    let value = HeaderValue::from_str(text).ok().filter(|_| is_json);
    value.ok_or_else(|| fault("is no media type of JSON, like application/json or application/vnd.example+json"))
}

fn parse_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Fault> {
    let fault = |message: &str| Fault::new(below("/headers", name), message.to_owned());
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        return Err(fault("is not a header's name"));
    };
    let lower = parsed.as_str();
    let ours = ["webhook-", "proxy-", "ce-"].iter().any(|head| lower.starts_with(head));
    if ours || lower == HOPS_HEADER || OWN_HEADERS.contains(&lower) {
        return Err(fault("is set by Bugle itself"));
    }
    let Ok(mut value) = HeaderValue::from_str(value) else {
        return Err(fault("has characters that a header cannot carry"));
    };
    value.set_sensitive(true);
    Ok((parsed, value))
}

impl Webhook {
    fn headers(&self, attempt: Try<'_>, written: &Written) -> HeaderMap {
        let Try { delivery, at, .. } = attempt;
        let mut headers = self.headers.clone();
        let id = delivery.id.as_str();
        let timestamp = at.as_second().to_string();
        let content_type = HeaderValue::from_static(written.content_type);
        headers.insert(CONTENT_TYPE, self.content_type.clone().unwrap_or(content_type));
        insert(&mut headers, "webhook-id", id);
        insert(&mut headers, "webhook-timestamp", &timestamp);
        if !self.keys.is_empty() {
            let signatures: Vec<_> =
                self.keys.iter().map(|key| key.sign(id, &timestamp, &written.body)).collect();
            insert(&mut headers, "webhook-signature", &signatures.join(" "));
        }
        // Whatever makes an event of it says so, and a circle is noticed.
        insert(&mut headers, HOPS_HEADER, &(delivery.event.hops + 1).to_string());
        for (name, value) in attempt.trace_headers() {
            insert(&mut headers, name, value);
        }
        for (name, value) in &written.attributes {
            insert(&mut headers, name, value);
        }
        headers
    }
}

fn classify(answer: &Answer) -> Result<(), SendError> {
    classify_status(answer.status, answer.retry_after).map_err(|error| match answer.status {
        GONE => error.with_failure(Failure::for_good),
        _ => error,
    })
}

/// A value that a header cannot carry is left out: only an event's own `traceparent` can be one.
fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

impl Channel for Webhook {
    fn send<'a>(&'a self, attempt: Try<'a>) -> BoxFuture<'a, Result<Receipt, SendError>> {
        Box::pin(async move {
            let Try { delivery, at, .. } = attempt;
            let written = self.writer.write(delivery)?;
            let headers = self.headers(attempt, &written);
            let body = Bytes::from(written.body);
            let answer = self.http.ask(self.method.clone(), self.url.expose(), headers, body, at).await?;
            classify(&answer)?;
            Ok(Receipt { code: Some(answer.status), ..Receipt::default() })
        })
    }
}

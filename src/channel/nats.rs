//! NATS, for machines: one message on a subject, over the worker's own connection.
//!
//! Plain publishing promises that the server has taken the message, not that anybody listens, nor that the account may publish
//! there; with `jetStream` a stream has stored it, under the delivery's id as `Nats-Msg-Id`. Subjects of this installation are
//! refused: what is published there would be routed again. Sources:
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/nats-protocol-binding.md>,
//! <https://docs.nats.io/nats-concepts/jetstream/headers>.

use async_nats::client::{PublishError, PublishErrorKind, RequestErrorKind};
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context as jetstream;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::payload::{Format, HOPS_HEADER, Payload, Writer, Written};
use super::{Adapter, Channel, Failure, Receipt, SendError, Try, Workshop, settings};
use crate::bus::Bus;
use crate::delivery::Delivery;
use crate::outcome::Reason;
use crate::rule::fault::{Fault, unknown_word};

/// Servers take no longer protocol line (`max_control_line`), and there is more in it.
const SUBJECT_BYTES_MAX: usize = 1024;

/// The token that stands where a delivery has no rule.
const NONE: &str = "_";

/// Of the server, its streams and buckets, and of replies.
const RESERVED: [&str; 6] = ["$JS", "$SYS", "$KV", "$O", "$G", "_INBOX"];

const PLACEHOLDERS: [&str; 5] = ["type", "severity", "workspace", "channel", "rule"];

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NatsConfig {
    /// Without wildcards; a token may be `{{type}}`, `{{severity}}`, `{{workspace}}`, `{{channel}}` or `{{rule}}`.
    subject: String,
    #[serde(default)]
    format: Format,
    /// What takes the place of Bugle's own JSON: any JSON value, whose texts are templates over it.
    #[serde(default)]
    template: Option<Value>,
    /// Wait until a stream has stored it.
    #[serde(default)]
    jet_stream: bool,
}

pub struct Nats {
    bus: Option<Bus>,
    subject: Vec<Token>,
    writer: Writer,
    jet_stream: bool,
}

/// One token of the subject; a type is as many as it has segments.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Fixed(String),
    Type,
    Severity,
    Workspace,
    Channel,
    Rule,
}

impl Adapter for Nats {
    type Config = NatsConfig;

    fn show(delivery: &Delivery) -> Value {
        serde_json::to_value(Payload::of(delivery)).unwrap_or_default()
    }

    fn check(config: &NatsConfig) -> Result<(), Fault> {
        writer(config).map(drop)
    }

    fn new(config: &Value, workshop: &Workshop) -> Result<Self, Fault> {
        let config: NatsConfig = settings::read(config)?;
        let subject = parse_subject(&config.subject)?;
        if let (Some(bus), Some(Token::Fixed(first))) = (&workshop.bus, subject.first())
            && bus.names.is_own_subject(first)
        {
            return Err(Fault::new("/subject", "is a subject of Bugle's own: it would be fed with itself"));
        }
        let (bus, writer) = (workshop.bus.clone(), writer(&config)?);
        Ok(Self { bus, subject, writer, jet_stream: config.jet_stream })
    }
}

fn writer(config: &NatsConfig) -> Result<Writer, Fault> {
    Writer::new(config.format, config.template.as_ref()).map_err(|fault| fault.below("/template"))
}

impl Channel for Nats {
    fn send<'a>(&'a self, attempt: Try<'a>) -> BoxFuture<'a, Result<Receipt, SendError>> {
        Box::pin(async move {
            let Some(bus) = &self.bus else {
                let failure = Failure::new(Reason::Internal, "this process has no connection to publish on");
                return Err(SendError::Ours(failure));
            };
            let written = self.writer.write(attempt.delivery)?;
            let headers = headers(attempt, &written);
            let (subject, body) = (subject(&self.subject, attempt.delivery), Bytes::from(written.body));
            if bus.names.is_own_subject(&subject) {
                let detail = "the subject would be one of Bugle's own";
                return Err(SendError::Permanent(Failure::new(Reason::Misconfigured, detail)));
            }
            if self.jet_stream {
                store(bus, subject, headers, body).await
            } else {
                publish(bus, subject, headers, body).await
            }
        })
    }
}

/// Publishes, and asks for a sign that the server has read as far as that: it reads in order.
async fn publish(bus: &Bus, subject: String, headers: HeaderMap, body: Bytes) -> Result<Receipt, SendError> {
    let client = bus.client();
    client.publish_with_headers(subject, headers, body).await.map_err(|error| not_published(&error))?;
    match client.request(bus.names.nobody(), Bytes::new()).await {
        Ok(_) => Ok(Receipt::default()),
        Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(Receipt::default()),
        Err(_) => Err(transient(Reason::Unreachable, "no sign of the server that it has taken the message")),
    }
}

async fn store(bus: &Bus, subject: String, headers: HeaderMap, body: Bytes) -> Result<Receipt, SendError> {
    let message = async_nats::jetstream::message::PublishMessage::build().headers(headers).payload(body);
    let sent = bus.js.send_publish(subject, message).await;
    let ack = match sent {
        Ok(ack) => ack.await,
        Err(error) => Err(error),
    };
    let ack = ack.map_err(|error| not_stored(&error))?;
    // A duplicate was stored by an earlier try of this very delivery.
    Ok(Receipt { provider_id: Some(format!("{}:{}", ack.stream, ack.sequence)), ..Receipt::default() })
}

fn headers(attempt: Try<'_>, written: &Written) -> HeaderMap {
    let delivery = attempt.delivery;
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, delivery.id.as_str());
    headers.insert("content-type", written.content_type);
    // Whatever makes an event of it says so, and a circle is noticed.
    headers.insert(HOPS_HEADER, (delivery.event.hops + 1).to_string().as_str());
    for (name, value) in attempt.trace_headers() {
        if let Ok(value) = value.parse::<HeaderValue>() {
            headers.insert(name, value);
        }
    }
    for (name, value) in &written.attributes {
        headers.insert(name.as_str(), value.as_str());
    }
    // The binding of CloudEvents to NATS has it as an attribute, the one to HTTP has not.
    if !written.attributes.is_empty() {
        headers.insert("ce-datacontenttype", written.content_type);
    }
    headers
}

fn parse_subject(text: &str) -> Result<Vec<Token>, Fault> {
    let fault = |message: String| Fault::new("/subject", message);
    if text.is_empty() || text.len() > SUBJECT_BYTES_MAX {
        return Err(fault(format!("has 1 to {SUBJECT_BYTES_MAX} bytes")));
    }
    let mut tokens = Vec::new();
    for token in text.split('.') {
        if let Some(name) = token.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) {
            tokens.push(match name.trim() {
                "type" => Token::Type,
                "severity" => Token::Severity,
                "workspace" => Token::Workspace,
                "channel" => Token::Channel,
                "rule" => Token::Rule,
                other => return Err(fault(unknown_word(other, &PLACEHOLDERS))),
            });
            continue;
        }
        let legal = |ch: char| !ch.is_whitespace() && !ch.is_control() && !matches!(ch, '*' | '>' | '{' | '}');
        if token.is_empty() || !token.chars().all(legal) {
            return Err(fault("is no subject to publish on: tokens between dots, none of them empty, without white space and wildcards; a placeholder is a token of its own".to_owned()));
        }
        tokens.push(Token::Fixed(token.to_owned()));
    }
    match tokens.first() {
        Some(Token::Fixed(first)) if RESERVED.contains(&first.as_str()) => {
            Err(fault(format!("begins with {first}, which NATS keeps for itself")))
        }
        Some(Token::Fixed(_)) => Ok(tokens),
        Some(_) | None => Err(fault("begins with a placeholder: the first token must be fixed".to_owned())),
    }
}

/// Each name is legal as a token by its own grammar, a type's segments likewise.
fn subject(tokens: &[Token], delivery: &Delivery) -> String {
    let tokens: Vec<_> = tokens
        .iter()
        .map(|token| match token {
            Token::Fixed(text) => text.clone(),
            Token::Type => delivery.event.event_type.as_str().replace(':', "."),
            Token::Severity => delivery.severity.as_str().to_owned(),
            Token::Workspace => delivery.workspace.as_str().to_owned(),
            Token::Channel => delivery.channel.as_str().to_owned(),
            Token::Rule => delivery.rule.as_ref().map_or(NONE, crate::ids::RuleId::as_str).to_owned(),
        })
        .collect();
    tokens.join(".")
}

fn transient(reason: Reason, detail: &str) -> SendError {
    SendError::Transient { failure: Failure::new(reason, detail), retry_after: None }
}

fn too_large() -> SendError {
    SendError::Permanent(Failure::new(Reason::TooLarge, "the message is longer than the server or the stream takes"))
}

fn not_published(error: &PublishError) -> SendError {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => too_large(),
        PublishErrorKind::InvalidSubject => {
            SendError::Permanent(Failure::new(Reason::Rejected, "the client refuses the subject"))
        }
        PublishErrorKind::Send => transient(Reason::Unreachable, "the connection to the server is closed"),
    }
}

fn not_stored(error: &jetstream::PublishError) -> SendError {
    use jetstream::PublishErrorKind as Kind;
    let refused = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>())
        .map(async_nats::jetstream::Error::error_code);
    match (error.kind(), refused) {
        (Kind::MaxPayloadExceeded, _) | (Kind::Other, Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)) => too_large(),
        (Kind::StreamNotFound, _) => transient(Reason::Gone, "no stream takes the subject"),
        (Kind::TimedOut, _) => transient(Reason::Timeout, "no acknowledgement of the stream in time"),
        (Kind::BrokenPipe, _) => transient(Reason::Unreachable, "the connection to the server is closed"),
        (Kind::MaxAckPending, _) => transient(Reason::ProviderError, "too many messages wait for their acknowledgement"),
        (Kind::WrongLastMessageId | Kind::WrongLastSequence | Kind::Other, _) => {
            transient(Reason::ProviderError, "the stream refused the message")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::channel::conformance::{sample, workshop};

    fn subject_of(text: &str, delivery: &Delivery) -> String {
        subject(&parse_subject(text).unwrap(), delivery)
    }

    #[test]
    fn a_subject_is_fixed_but_for_tokens_that_are_placeholders() {
        let mut delivery = sample();
        let text = "alerts.{{severity}}.{{ type }}.{{workspace}}.{{channel}}.{{rule}}";
        assert_eq!(subject_of(text, &delivery), "alerts.warning.task.created.default.c.everything");
        delivery.rule = None;
        assert_eq!(subject_of("a.{{rule}}", &delivery), "a._");
        assert_eq!(subject_of("größe.a-b_c", &delivery), "größe.a-b_c");
    }

    #[test]
    fn faults_name_the_place() {
        let long = "a".repeat(2000);
        for (config, pointer, message) in [
            (json!({}), "/subject", "missing"),
            (json!({ "subject": "" }), "/subject", "1 to 1024"),
            (json!({ "subject": long }), "/subject", "1 to 1024"),
            (json!({ "subject": "a..b" }), "/subject", "no subject"),
            (json!({ "subject": "a.*" }), "/subject", "no subject"),
            (json!({ "subject": "a.>" }), "/subject", "no subject"),
            (json!({ "subject": "a b" }), "/subject", "no subject"),
            (json!({ "subject": "a\r\nb" }), "/subject", "no subject"),
            (json!({ "subject": "a.x-{{rule}}" }), "/subject", "no subject"),
            (json!({ "subject": "a.{{title}}" }), "/subject", "allowed are type"),
            (json!({ "subject": "{{workspace}}.a" }), "/subject", "must be fixed"),
            (json!({ "subject": "$JS.API.INFO" }), "/subject", "keeps for itself"),
            (json!({ "subject": "$SYS.x" }), "/subject", "keeps for itself"),
            (json!({ "subject": "$KV.x.y" }), "/subject", "keeps for itself"),
            (json!({ "subject": "_INBOX.x" }), "/subject", "keeps for itself"),
            (json!({ "subject": "a", "jetstream": true }), "/jetstream", "did you mean `jetStream`?"),
            (json!({ "subject": "a", "template": ["{{x}}"] }), "/template/0", "allowed are"),
        ] {
            let Err(fault) = Nats::new(&config, &workshop()) else { panic!("{config} was built") };
            assert_eq!(fault.pointer, pointer, "{fault}");
            assert!(fault.message.contains(message), "{fault}");
        }
    }

    #[test]
    fn headers_say_what_it_is_and_count_its_rounds() {
        let mut delivery = sample();
        delivery.event.traceparent = Some("a\r\nb".to_owned());
        let own = Writer::default().write(&delivery).unwrap();
        let plain = headers(Try::of(&delivery, jiff::Timestamp::UNIX_EPOCH), &own);
        let seen = |headers: &HeaderMap, name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        assert_eq!(seen(&plain, "Nats-Msg-Id").as_deref(), Some("d_bivfuvuqt5zrxmfsw4jhrdbp"));
        assert_eq!(seen(&plain, "content-type").as_deref(), Some("application/json"));
        assert_eq!(seen(&plain, "bugle-hops").as_deref(), Some("1"));
        assert_eq!(seen(&plain, "traceparent"), None, "what a header cannot carry is left out");
        assert_eq!(seen(&plain, "ce-id"), None);
        let binary = Writer::new(Format::CloudEventsBinary, None).unwrap().write(&delivery).unwrap();
        let binary = headers(Try::of(&delivery, jiff::Timestamp::UNIX_EPOCH), &binary);
        assert_eq!(seen(&binary, "ce-datacontenttype").as_deref(), Some("application/json"));
        assert_eq!(seen(&binary, "ce-type").as_deref(), Some("bugle.notification"));
    }

    #[tokio::test]
    async fn without_a_connection_nothing_is_sent() {
        let nats = Nats::new(&json!({ "subject": "a" }), &workshop()).unwrap();
        let error = nats.send(Try::of(&sample(), jiff::Timestamp::UNIX_EPOCH)).await.unwrap_err();
        assert!(matches!(&error, SendError::Ours(failure) if failure.reason == Reason::Internal), "{error:?}");
    }
}

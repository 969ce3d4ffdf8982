//! From a message's headers and bytes to an [`Event`], or to the reason why it is none.
//!
//! Three forms are read: CloudEvents structured (`application/cloudevents+json`), CloudEvents binary (`ce-…` headers)
//! and any bare JSON object. A JSON object that says `specversion` is taken for a structured CloudEvent even without
//! the content type, which many clients cannot set. Source: CloudEvents 1.0, NATS protocol binding and JSON format.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;

use super::event_type::{EventType, EventTypeError};
use super::traceparent::{self, STATE_CHARS_MAX};
use super::{Event, Severity};
use crate::ids::WorkspaceId;
use crate::rule::fault::{field_pointer, nearest, shortened};

/// Ids and sources are keys of the history and parts of headers: longer ones are refused.
const NAME_BYTES_MAX: usize = 1024;

/// A message as it came, from whatever wire.
#[derive(Debug)]
pub struct Incoming<'a> {
    pub workspace: WorkspaceId,
    /// The type that the subject says, used by bare JSON only.
    pub subject_type: Option<&'a str>,
    /// Header names in any case.
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
    /// The id of a bare object: its `Nats-Msg-Id`, else one made of the stream and the sequence.
    pub fallback_id: &'a str,
    /// The source of a bare object.
    pub fallback_source: &'a str,
    /// When the broker stored it: the time of an event that says none.
    pub received_at: Timestamp,
}

/// Why a message is not an event. The texts end up in dead letters and in the API's answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the body is not UTF-8 (first bad byte at {0})")]
    NotUtf8(usize),
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    #[error("the body is JSON but not an object")]
    NotAnObject,
    #[error("content type {0:?} is not understood: send application/json or application/cloudevents+json")]
    UnknownEncoding(String),
    #[error("CloudEvents batches are not accepted on a subject: publish one message an event")]
    Batch,
    #[error("specversion {0:?} is not supported: 1.0 is")]
    SpecVersion(String),
    #[error("the event has no {name}{}", .instead.as_ref().map(|found| format!("; did you mean `{name}` by `{found}`?")).unwrap_or_default())]
    Missing { name: &'static str, instead: Option<String> },
    #[error("{0}")]
    Type(#[from] EventTypeError),
    #[error("{name} {found:?} is not valid: {legal}")]
    Attribute { name: &'static str, found: String, legal: &'static str },
    #[error(
        "the source `bugle` and types that begin with `notification` are for what Bugle says about itself"
    )]
    Reserved,
    #[error("the workspace of an event is that of the request, and no attribute")]
    Workspace,
    #[error("attribute {name:?} is {found}: attributes are texts, numbers or booleans{}", meant(name))]
    NotScalar { name: String, found: &'static str },
    #[error("the event is {bytes} bytes, more than the {bytes_max} that a delivery can carry")]
    TooLarge { bytes: usize, bytes_max: usize },
}

impl DecodeError {
    /// Nothing there could be it.
    #[must_use]
    pub fn missing(name: &'static str) -> Self {
        Self::Missing { name, instead: None }
    }

    /// Where in a CloudEvent in JSON, as a JSON pointer; empty where the whole is meant.
    #[must_use]
    pub fn pointer(&self) -> String {
        match self {
            Self::SpecVersion(_) => "/specversion".to_owned(),
            Self::Workspace => "/workspace".to_owned(),
            Self::Type(_) => "/type".to_owned(),
            Self::Missing { name, .. } | Self::Attribute { name, .. } => field_pointer(name),
            Self::NotScalar { name, .. } => field_pointer(name),
            Self::NotUtf8(_)
            | Self::NotJson(_)
            | Self::NotAnObject
            | Self::UnknownEncoding(_)
            | Self::Batch
            | Self::Reserved
            | Self::TooLarge { .. } => String::new(),
        }
    }
}

/// What CloudEvents and Bugle know of an event: who writes something else may have mistyped one of them.
const KNOWN: [&str; 11] = [
    "type",
    "data",
    "id",
    "source",
    "time",
    "severity",
    "subject",
    "recipients",
    "specversion",
    "datacontenttype",
    "traceparent",
];

/// The end of a sentence about an attribute that cannot be one.
fn meant(name: &str) -> String {
    let word = nearest(name, &KNOWN).filter(|word| *word != name);
    word.map(|word| format!("; did you mean {word}?")).unwrap_or_default()
}

/// # Errors
/// When the message is not an event; the error says why in words for its sender.
pub fn decode(incoming: &Incoming<'_>) -> Result<Event, DecodeError> {
    let content_type = incoming.header("content-type").map(media_type);
    match content_type.as_deref() {
        Some("application/cloudevents+json") => structured(incoming),
        Some(other) if other.starts_with("application/cloudevents-batch") => Err(DecodeError::Batch),
        Some(other) if other.starts_with("application/cloudevents") => {
            Err(DecodeError::UnknownEncoding(excerpt(other)))
        }
        _ if incoming.header("ce-specversion").is_some() => binary(incoming, content_type.as_deref()),
        Some(other) if !is_json(other) => Err(DecodeError::UnknownEncoding(excerpt(other))),
        _ => bare(incoming),
    }
}

impl<'a> Incoming<'a> {
    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    fn text(&self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.body).map_err(|error| DecodeError::NotUtf8(error.valid_up_to()))
    }
}

/// The attributes of a CloudEvent before they are checked, from either mode.
#[derive(Default)]
struct Attributes {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    event_type: Option<String>,
    time: Option<String>,
    others: BTreeMap<String, String>,
}

impl Attributes {
    fn set(&mut self, name: &str, value: String) {
        match name {
            "specversion" => self.specversion = Some(value),
            "id" => self.id = Some(value),
            "source" => self.source = Some(value),
            "type" => self.event_type = Some(value),
            "time" => self.time = Some(value),
            other => {
                self.others.insert(other.to_owned(), value);
            }
        }
    }

    /// An attribute is missing; another one may be it, mistyped.
    fn without(&self, name: &'static str) -> DecodeError {
        let is_it = |found: &&String| nearest(found, &KNOWN) == Some(name);
        DecodeError::Missing { name, instead: self.others.keys().find(is_it).map(|found| shortened(found)) }
    }

    fn event(mut self, incoming: &Incoming<'_>, data: Data) -> Result<Event, DecodeError> {
        match self.specversion.as_deref() {
            Some("1.0") => {}
            Some(other) => return Err(DecodeError::SpecVersion(other.chars().take(20).collect())),
            None => return Err(self.without("specversion")),
        }
        let event_type = self.event_type.take().ok_or_else(|| self.without("type"))?;
        let event_type = EventType::parse(&event_type)?;
        let id = self.id.take().ok_or_else(|| self.without("id"))?;
        let id = name("id", id)?;
        let source = self.source.take().ok_or_else(|| self.without("source"))?;
        let source = name("source", source)?;
        let time = self.time.as_deref().map(parse_time).transpose()?.unwrap_or(incoming.received_at);
        let severity = severity(self.others.remove("severity").as_deref(), &data.value)?;
        let mut either =
            |name: &str| self.others.remove(name).or_else(|| incoming.header(name).map(str::to_owned));
        let (traceparent, tracestate) = traced(either("traceparent"), either("tracestate"));
        Ok(Event {
            workspace: incoming.workspace.clone(),
            source,
            id,
            event_type,
            time,
            severity,
            traceparent,
            tracestate,
            attributes: self.others,
            data: data.value,
            data_json: data.json,
        })
    }
}

struct Data {
    value: Value,
    json: Arc<RawValue>,
}

fn structured(incoming: &Incoming<'_>) -> Result<Event, DecodeError> {
    let fields: BTreeMap<String, &RawValue> = object(incoming.text()?)?;
    let mut attributes = Attributes::default();
    let mut data = None;
    for (name, raw) in fields {
        match name.as_str() {
            "data" => data = Some(json_data(raw.get())?),
            "data_base64" => data = Some(base64_data(raw.get())?),
            "datacontenttype" => attributes.set(&name, scalar_text(&name, raw.get())?),
            _ if raw.get() == "null" => {}
            _ => attributes.set(&name, scalar_text(&name, raw.get())?),
        }
    }
    attributes.event(incoming, data.map_or_else(|| json_data("null"), Ok)?)
}

fn binary(incoming: &Incoming<'_>, content_type: Option<&str>) -> Result<Event, DecodeError> {
    let mut attributes = Attributes::default();
    for (header, value) in incoming.headers {
        if let Some(name) = header.to_ascii_lowercase().strip_prefix("ce-") {
            attributes.set(name, percent_decoded(value));
        }
    }
    let declared = attributes.others.get("datacontenttype").map(|found| media_type(found));
    let data = match declared.as_deref().or(content_type) {
        _ if incoming.body.is_empty() => json_data("null")?,
        None => json_data(incoming.text()?)?,
        Some(json) if is_json(json) => json_data(incoming.text()?)?,
        Some(text) if text.starts_with("text/") => {
            json_data(&Value::String(incoming.text()?.to_owned()).to_string())?
        }
        Some(other) => return Err(DecodeError::UnknownEncoding(excerpt(other))),
    };
    attributes.event(incoming, data)
}

fn bare(incoming: &Incoming<'_>) -> Result<Event, DecodeError> {
    let text = incoming.text()?;
    let data = json_data(text)?;
    if !data.value.is_object() {
        return Err(DecodeError::NotAnObject);
    }
    // A CloudEvent whose producer forgot to say so.
    let has = |name: &str| data.value.get(name).is_some_and(|value| !value.is_null());
    if has("specversion") && has("type") && has("source") {
        return structured(incoming);
    }
    let header = |name: &str| incoming.header(name).map(str::to_owned);
    let (traceparent, tracestate) = traced(header("traceparent"), header("tracestate"));
    let event_type = EventType::parse(incoming.subject_type.ok_or_else(|| DecodeError::missing("type"))?)?;
    Ok(Event {
        workspace: incoming.workspace.clone(),
        source: incoming.fallback_source.to_owned(),
        id: name("id", incoming.fallback_id.to_owned())?,
        event_type,
        time: incoming.received_at,
        severity: severity(None, &data.value)?,
        traceparent,
        tracestate,
        attributes: BTreeMap::new(),
        data: data.value,
        data_json: data.json,
    })
}

/// A context that is none is left out, as the standard asks: it starts no trace; and what others add to it says nothing alone.
fn traced(parent: Option<String>, state: Option<String>) -> (Option<String>, Option<String>) {
    let parent = parent.filter(|text| traceparent::parsed(text).is_some());
    let short = |text: &String| {
        text.len() <= STATE_CHARS_MAX && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    };
    let state = state.filter(|text| parent.is_some() && short(text));
    (parent, state)
}

fn object(text: &str) -> Result<BTreeMap<String, &RawValue>, DecodeError> {
    serde_json::from_str(text).map_err(|error| {
        if error.is_data() { DecodeError::NotAnObject } else { DecodeError::NotJson(error.to_string()) }
    })
}

fn json_data(text: &str) -> Result<Data, DecodeError> {
    let not_json = |error: serde_json::Error| DecodeError::NotJson(error.to_string());
    let value = serde_json::from_str(text).map_err(not_json)?;
    let raw: Box<RawValue> = serde_json::from_str(text).map_err(not_json)?;
    Ok(Data { value, json: Arc::from(raw) })
}

/// Binary data carried in a structured event: read when it is JSON, since rules and templates read JSON.
fn base64_data(raw: &str) -> Result<Data, DecodeError> {
    let text = scalar_text("data_base64", raw)?;
    let invalid =
        || DecodeError::Attribute { name: "data_base64", found: excerpt(&text), legal: "base 64 of JSON" };
    let bytes = data_encoding::BASE64.decode(text.as_bytes()).map_err(|_| invalid())?;
    json_data(std::str::from_utf8(&bytes).map_err(|_| invalid())?)
}

/// A CloudEvents attribute: a string, number or boolean, as text.
fn scalar_text(name: &str, raw: &str) -> Result<String, DecodeError> {
    let refused = |found| Err(DecodeError::NotScalar { name: shortened(name), found });
    match serde_json::from_str(raw).map_err(|error| DecodeError::NotJson(error.to_string()))? {
        Value::String(text) => Ok(text),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => refused("null"),
        Value::Array(_) => refused("a list"),
        Value::Object(_) => refused("an object"),
    }
}

fn severity(attribute: Option<&str>, data: &Value) -> Result<Option<Severity>, DecodeError> {
    if let Some(word) = attribute {
        let legal = "info, warning or critical";
        let unknown = || DecodeError::Attribute { name: "severity", found: excerpt(word), legal };
        return Severity::parse(word).map(Some).ok_or_else(unknown);
    }
    // A field of the data may happen to be called severity and mean something else: then it says nothing to us.
    Ok(data.get("severity").and_then(Value::as_str).and_then(Severity::parse))
}

fn name(what: &'static str, text: String) -> Result<String, DecodeError> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        let legal = "1 to 1024 bytes of UTF-8 without control characters";
        return Err(DecodeError::Attribute { name: what, found: excerpt(&text), legal });
    }
    Ok(text)
}

fn parse_time(text: &str) -> Result<Timestamp, DecodeError> {
    text.parse().map_err(|_| DecodeError::Attribute { name: "time", found: excerpt(text), legal: "RFC 3339" })
}

/// `application/json` of `Application/JSON; charset=UTF-8`.
#[must_use]
pub fn media_type(header: &str) -> String {
    header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_json(media_type: &str) -> bool {
    media_type.is_empty() || media_type.ends_with("/json") || media_type.ends_with("+json")
}

fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Header values of binary mode are percent-encoded outside printable ASCII. Bytes that make no UTF-8 stay as they came.
#[must_use]
pub fn percent_decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let decoded = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| value.to_owned())
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests;

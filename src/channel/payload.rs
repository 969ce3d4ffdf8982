//! A delivery written for machines: what webhooks post and what goes out over NATS.
//!
//! A receiver may know three forms (Bugle's own, and CloudEvents in its two modes), each with Bugle's own body or with one by a
//! template. The body is the same on every try, so that a receiver may compare.

mod cloud_event;
mod template;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use self::cloud_event::CloudEvent;
use self::template::PayloadTemplate;
use super::{Failure, SendError};
use crate::attachment::Attachment;
use crate::delivery::{Action, Delivery, Format as BodyFormat};
use crate::outcome::Reason;
use crate::rule::fault::Fault;

/// How often the event of a delivery went out and came in again, this time included.
pub const HOPS_HEADER: &str = "bugle-hops";

/// No receiver is known to take more; a template could ask for an event's data any number of times.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

const JSON: &str = "application/json";

/// What a receiver gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Format {
    /// One JSON object.
    #[default]
    #[serde(rename = "bugle")]
    Bugle,
    /// CloudEvents 1.0 in JSON, with that object as `data`.
    #[serde(rename = "cloudevents")]
    CloudEvents,
    /// CloudEvents 1.0 with its attributes in headers, and that object as the body.
    #[serde(rename = "cloudevents-binary")]
    CloudEventsBinary,
}

/// Writes deliveries as a channel is configured.
#[derive(Debug, Default)]
pub struct Writer {
    format: Format,
    template: Option<PayloadTemplate>,
}

/// A delivery, written.
#[derive(Debug)]
pub struct Written {
    pub content_type: &'static str,
    /// The attributes of a CloudEvent in binary mode, ASCII as both protocols want them.
    pub attributes: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Writer {
    /// # Errors
    /// The place in the template, relative to it, and the fault.
    pub fn new(format: Format, template: Option<&Value>) -> Result<Self, Fault> {
        Ok(Self { format, template: template.map(PayloadTemplate::compile).transpose()? })
    }

    /// # Errors
    /// When the template has nothing to say to such a delivery, or the body grows beyond all measure.
    pub fn write(&self, delivery: &Delivery) -> Result<Written, SendError> {
        let written = match &self.template {
            None => self.written(delivery, &Payload::of(delivery))?,
            Some(template) => self.written(delivery, &template.render(delivery)?)?,
        };
        if written.body.len() > BODY_BYTES_MAX {
            let detail = format!("the body would be longer than {BODY_BYTES_MAX} bytes");
            return Err(SendError::Permanent(Failure::new(Reason::TooLarge, detail)));
        }
        Ok(written)
    }

    fn written(&self, delivery: &Delivery, data: &impl Serialize) -> Result<Written, SendError> {
        let plain = |content_type, attributes| Ok(Written { content_type, attributes, body: json(data)? });
        match self.format {
            Format::Bugle => plain(JSON, Vec::new()),
            Format::CloudEventsBinary => plain(JSON, CloudEvent::of(delivery, ()).headers()),
            Format::CloudEvents => {
                let body = json(&CloudEvent::of(delivery, data))?;
                Ok(Written { content_type: cloud_event::CONTENT_TYPE, attributes: Vec::new(), body })
            }
        }
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, SendError> {
    serde_json::to_vec(value).map_err(|_| {
        SendError::Ours(Failure::new(Reason::Internal, "the delivery could not be written as JSON"))
    })
}

/// What receivers see. A field more is fine, a field less breaks them: absent things are null.
#[derive(Serialize)]
pub struct Payload<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    /// When the event happened.
    timestamp: Timestamp,
    id: &'a str,
    workspace: &'a str,
    event: PayloadEvent<'a>,
    rule: Option<&'a str>,
    severity: &'a str,
    title: &'a str,
    body: &'a str,
    /// What the body is written in, when that is not Markdown.
    #[serde(skip_serializing_if = "BodyFormat::is_markdown")]
    format: BodyFormat,
    link: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Action]>::is_empty")]
    actions: &'a [Action],
    #[serde(skip_serializing_if = "<[Attachment]>::is_empty")]
    attachments: &'a [Attachment],
    recipient: Option<&'a str>,
    /// How many like it were held back since the last one.
    #[serde(rename = "heldBack")]
    held_back: u64,
    /// What has the same one takes the place of what was sent before.
    #[serde(rename = "collapseId", skip_serializing_if = "Option::is_none")]
    collapse_id: Option<&'a str>,
    data: &'a RawValue,
}

#[derive(Serialize)]
struct PayloadEvent<'a> {
    id: &'a str,
    source: &'a str,
}

impl<'a> Payload<'a> {
    #[must_use]
    pub fn of(delivery: &'a Delivery) -> Self {
        Self {
            event_type: delivery.event.event_type.as_str(),
            timestamp: delivery.event.time,
            id: delivery.id.as_str(),
            workspace: delivery.workspace.as_str(),
            event: PayloadEvent { id: &delivery.event.id, source: &delivery.event.source },
            rule: delivery.rule.as_ref().map(crate::ids::RuleId::as_str),
            severity: delivery.severity.as_str(),
            title: &delivery.title,
            body: &delivery.body,
            format: delivery.format,
            link: delivery.link.as_deref(),
            actions: &delivery.actions,
            attachments: &delivery.attachments,
            recipient: delivery.recipient.as_ref().map(crate::ids::Recipient::as_str),
            held_back: delivery.held_back,
            collapse_id: delivery.collapse_id.as_deref(),
            data: &delivery.data,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::channel::conformance::sample;

    fn written(format: Format, template: Option<&Value>, delivery: &Delivery) -> Written {
        Writer::new(format, template).unwrap().write(delivery).unwrap()
    }

    #[test]
    fn the_payload_holds_all_that_is_known_word_for_word() {
        let payload = serde_json::to_string(&Payload::of(&sample())).unwrap();
        let expected = concat!(
            r#"{"type":"task:created","timestamp":"2026-11-20T10:00:00Z","id":"d_bivfuvuqt5zrxmfsw4jhrdbp","#,
            r#""workspace":"default","event":{"id":"e-1","source":"tests"},"rule":"everything","severity":"warning","#,
            r#""title":"Task <created> & more","body":"**bold** snake_case_name\n\n<!channel>","link":null,"#,
            r#""recipient":null,"heldBack":0,"data":{"b":1, "a":1.0}}"#
        );
        assert_eq!(payload, expected);
    }

    #[test]
    fn each_form_carries_the_same_object() {
        let delivery = sample();
        let own = written(Format::Bugle, None, &delivery);
        let binary = written(Format::CloudEventsBinary, None, &delivery);
        let structured = written(Format::CloudEvents, None, &delivery);
        assert_eq!((own.content_type, &own.body), (binary.content_type, &binary.body));
        assert_eq!(structured.content_type, "application/cloudevents+json");
        let text = String::from_utf8(structured.body).unwrap();
        assert!(text.ends_with(&format!(r#""data":{}}}"#, String::from_utf8(own.body).unwrap())), "{text}");
    }

    #[test]
    fn a_template_takes_the_place_of_the_object_in_each_form() {
        let template = json!({ "text": "{{title}}" });
        let data = json!({ "text": "Task <created> & more" });
        for format in [Format::Bugle, Format::CloudEventsBinary, Format::CloudEvents] {
            let body: Value =
                serde_json::from_slice(&written(format, Some(&template), &sample()).body).unwrap();
            let found = if format == Format::CloudEvents { &body["data"] } else { &body };
            assert_eq!(found, &data, "{format:?}");
        }
    }

    #[test]
    fn a_body_beyond_all_measure_is_given_up() {
        let mut delivery = sample();
        let long = json!({ "x": "x".repeat(300_000) }).to_string();
        delivery.data = std::sync::Arc::from(RawValue::from_string(long).unwrap());
        let template = Value::from(vec!["{{data}}"; 30]);
        let error = Writer::new(Format::Bugle, Some(&template)).unwrap().write(&delivery).unwrap_err();
        assert!(
            matches!(&error, SendError::Permanent(failure) if failure.reason == Reason::TooLarge),
            "{error:?}"
        );
        assert!(written(Format::Bugle, None, &delivery).body.len() > 300_000);
    }
}

//! The delivery that a send is.

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::request::SendRequest;
use crate::channel::ChannelSpec;
use crate::delivery::{Consent, Delivery, GLOBAL_SCOPE};
use crate::event::{EventRef, EventType, project};
use crate::ids::{DeliveryKey, WorkspaceId};
use crate::route::{expiry, texts};

const SOURCE: &str = "bugle:send";
const EVENT_TYPE: &str = "direct:send";
const TITLE_CHARS_MAX: usize = 512;

/// When a send was asked for, and when it is due.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub asked: Timestamp,
    pub due: Timestamp,
}

/// The type of all sends: a name of our own that is valid.
pub(super) fn event_type() -> EventType {
    EventType::parse(EVENT_TYPE).unwrap_or_else(|_| unreachable!("{EVENT_TYPE} is a type"))
}

/// What a delivery is made of.
#[derive(Clone, Copy)]
pub(super) struct Draft<'a> {
    pub workspace: &'a WorkspaceId,
    pub request: &'a SendRequest,
    pub spec: &'a ChannelSpec,
    /// Its recipient's preferences do not count.
    pub mandatory: bool,
}

impl Draft<'_> {
    /// The delivery that is asked for now and goes out then.
    pub fn delivery(&self, event: &str, times: Times) -> Delivery {
        let Self { workspace, request, spec, mandatory } = *self;
        let due = times.due;
        // Who asks for now is told what the recipient wants; for later that is not known yet.
        let later = request.recipient.is_some() && due > times.asked;
        let consent = match (mandatory, later) {
            (true, _) => Consent::NotNeeded,
            (false, true) => Consent::Open,
            (false, false) => Consent::Given,
        };
        let id = DeliveryKey {
            workspace,
            source: SOURCE,
            event,
            scope: GLOBAL_SCOPE,
            rule: None,
            channel: &request.channel,
            recipient: request.recipient.as_ref(),
        }
        .id();
        let data = request.data.as_ref().and_then(|data| serde_json::value::to_raw_value(data).ok());
        let data = data.unwrap_or_else(|| RawValue::NULL.to_owned());
        let event_type = event_type();
        Delivery {
            kind: Some(spec.kind),
            recipient: request.recipient.clone(),
            severity: request.severity,
            title: texts::one_line(&request.title, TITLE_CHARS_MAX),
            body: request.body.clone(),
            format: request.format,
            link: request.link.clone(),
            actions: request.actions.clone(),
            attachments: request.attachments.clone(),
            data: data.into(),
            expires_at: expiry(due, Some(spec)),
            once: true,
            project: request
                .data
                .as_ref()
                .filter(|_| request.recipient.is_some())
                .and_then(project::named_in),
            consent,
            ..Delivery::begin(
                id,
                workspace.clone(),
                EventRef {
                    id: event.to_owned(),
                    source: SOURCE.to_owned(),
                    event_type,
                    time: due,
                    traceparent: None,
                    tracestate: None,
                    hops: 0,
                },
                request.channel.clone(),
            )
        }
    }
}

//! A delivery at its beginning: nothing was tried, nothing is said, and all that only some deliveries have is not there.

use serde_json::value::RawValue;

use super::{Consent, Delivery, ENVELOPE_VERSION, Format, GLOBAL_SCOPE};
use crate::event::{EventRef, Severity};
use crate::ids::{ChannelId, DeliveryId, WorkspaceId};

impl Delivery {
    /// For whoever makes one to say the rest. As it is, it expires at the moment of its event.
    #[must_use]
    pub fn begin(id: DeliveryId, workspace: WorkspaceId, event: EventRef, channel: ChannelId) -> Self {
        Self {
            v: ENVELOPE_VERSION,
            id,
            workspace,
            expires_at: event.time,
            event,
            rule: None,
            scope: GLOBAL_SCOPE.to_owned(),
            channel,
            kind: None,
            recipient: None,
            severity: Severity::default(),
            title: String::new(),
            body: String::new(),
            format: Format::default(),
            link: None,
            actions: Vec::new(),
            attachments: Vec::new(),
            data: RawValue::NULL.to_owned().into(),
            note: None,
            held_back: 0,
            collapse_id: None,
            collapse_ms: None,
            attempt: 1,
            redrive: 0,
            postponed: 0,
            stepped: 0,
            held: 0,
            cancelled: false,
            once: false,
            turn: None,
            origin: None,
            project: None,
            consent: Consent::default(),
            reach: None,
        }
    }
}

//! What a notification that somebody makes comes to before it is stored: whether its channel is on, what its recipient wants to
//! hear of and when, and what its type says of inboxes, asked in the order in which routers ask.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::bus::{Bus, BusError, people};
use crate::channel::{ChannelSpec, Enabled};
use crate::delivery::Delivery;
use crate::event::Event;
use crate::outcome::Reason;
use crate::preferences::{self, Hold, Judgement};
use crate::route::texts::Texts;
use crate::route::throttle::{Entrant, Pass, Throttle};
use crate::route::windows::{self, Inbox};

pub(super) enum Judged {
    Store(Delivery),
    Hold(Delivery, Hold),
    Suppress(Delivery, Reason),
}

pub(super) async fn judged(
    bus: &Bus,
    spec: &ChannelSpec,
    delivery: Delivery,
    inbox: Option<&Inbox>,
) -> Result<Judged, BusError> {
    if spec.enabled != Enabled::On {
        return Ok(Judged::Suppress(delivery, Reason::ChannelDisabled));
    }
    let asked = delivery.event.time;
    let wanted = match preferences::asked(&delivery) {
        Some(recipient) => people::read_wishes(bus, &delivery.workspace, recipient)
            .await?
            .map_or(Judgement::Pass, |wishes| wishes.judge(&delivery, asked)),
        None => Judgement::Pass,
    };
    if let Judgement::Muted(row) = wanted {
        let note = Some(row.to_string());
        return Ok(Judged::Suppress(Delivery { note, ..delivery }, Reason::Muted));
    }
    let delivery = match in_its_window(bus, delivery, inbox).await? {
        Ok(delivery) => delivery,
        Err(delivery) => return Ok(Judged::Suppress(delivery, Reason::Duplicate)),
    };
    Ok(match wanted {
        Judgement::Hold(hold) => Judged::Hold(delivery.left_until(hold.until, asked), hold),
        Judgement::Pass | Judgement::Muted(_) => Judged::Store(delivery),
    })
}

/// As its type has it: shown as one with others, or, as an error, said already.
async fn in_its_window(
    bus: &Bus,
    delivery: Delivery,
    inbox: Option<&Inbox>,
) -> Result<Result<Delivery, Delivery>, BusError> {
    let Some(inbox) = inbox else { return Ok(Ok(delivery)) };
    let (throttle, workspace) = (Throttle::default(), delivery.workspace.clone());
    // Made again by the same request it finds itself.
    let id = delivery.id.to_string();
    let entrant = Entrant { event: &id, stored_at: delivery.event.time };
    let recipient = delivery.recipient.as_ref();
    if let Some(window) = inbox.window(recipient)
        && let Pass::Closed(until) = throttle.enter(bus, &workspace, &window, entrant).await?
    {
        let note = Some(format!("the same was said before, within a window that ends at {until}"));
        return Ok(Err(Delivery { note, ..delivery }));
    }
    let Some(group) = inbox.group(recipient) else { return Ok(Ok(delivery)) };
    let collapse_id = Some(throttle.join(bus, &workspace, &group, entrant).await?);
    let collapse_ms = group.length.and_then(|length| u64::try_from(length.as_millis()).ok());
    Ok(Ok(Delivery { collapse_id, collapse_ms, ..delivery }))
}

/// What its type says of inboxes. Keys are made of its metadata; what it is about is there under the names that events use.
pub(super) fn inbox(texts: &Texts, delivery: &Delivery) -> Option<Inbox> {
    let said: Value = serde_json::from_str(delivery.data.get()).ok()?;
    let mut data = said.get("metadata").cloned().filter(Value::is_object)?;
    if let (Some(kind), Some(id)) = (said["source"]["type"].as_str(), said["source"].get("id")) {
        let name = format!("{kind}Id");
        if data.get(&name).is_none() {
            data[name] = id.clone();
        }
    }
    let event = Event {
        workspace: delivery.workspace.clone(),
        source: delivery.event.source.clone(),
        id: delivery.event.id.clone(),
        event_type: delivery.event.event_type.clone(),
        time: delivery.event.time,
        severity: Some(delivery.severity),
        traceparent: None,
        tracestate: None,
        attributes: BTreeMap::new(),
        data,
        data_json: delivery.data.clone(),
    };
    windows::inbox_of_type(&event, &texts.of(&event)?.traits)
}

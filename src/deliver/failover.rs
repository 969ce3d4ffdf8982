//! What one channel cannot deliver goes to another one: a new delivery, under an id that the first one gives it.
//!
//! The chain ends by itself: a channel that was tried is not tried again, and a channel names five others at most. The texts
//! stay those that were made for the first channel.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::circuit::state::Passage;
use super::hand::Hand;
use crate::bus::BusError;
use crate::bus::directory::Snapshot;
use crate::channel::{ChannelSpec, Enabled};
use crate::clock;
use crate::delivery::Delivery;
use crate::metrics;
use crate::recipient::Addressing;
use crate::route::{EXPIRES_IN, expiry};

/// How long a delivery waits for a channel on which nothing works, unless its document says otherwise.
const AFTER_MS: u64 = 5 * 60 * 1000;

/// The first of the channel's fallbacks that can take the delivery, works, and was not tried. Where none works, the first one
/// whose probe is due: one that gets messages only in place of others would never be tried again.
#[must_use]
pub fn target(
    delivery: &Delivery,
    spec: &ChannelSpec,
    snapshot: &Snapshot,
    passage: impl Fn(&ChannelSpec) -> Passage,
) -> Option<Arc<ChannelSpec>> {
    let tried = |id| delivery.origin.as_ref().is_some_and(|origin| origin.via.contains(id));
    let untried = spec.fallback.iter().filter(|id| **id != delivery.channel && !tried(id));
    let found = untried.filter_map(|id| snapshot.channels.get(&(delivery.workspace.clone(), id.clone())));
    let mut due = None;
    for stand_in in found.filter(|stand_in| takes(stand_in, delivery, snapshot)) {
        match passage(stand_in) {
            Passage::Free => return Some(Arc::clone(stand_in)),
            Passage::Probe => due = due.or(Some(stand_in)),
            Passage::ClosedUntil(_) => {}
        }
    }
    due.cloned()
}

/// Whoever cannot get it to anybody would only end the chain.
fn takes(stand_in: &ChannelSpec, delivery: &Delivery, snapshot: &Snapshot) -> bool {
    let workspace = &delivery.workspace;
    let open = snapshot.channels.closed(&(workspace.clone(), stand_in.id.clone())).is_none();
    let connected = stand_in.connection.as_ref().is_none_or(|id| {
        snapshot.connections.get(&(workspace.clone(), id.clone())).is_some_and(|found| found.enabled)
    });
    let nobody = delivery.recipient.is_none() && matches!(stand_in.addressing(), Addressing::Contact(_));
    stand_in.enabled == Enabled::On && open && connected && !nobody
}

/// From when on a delivery does not wait any more for a channel on which nothing works.
#[must_use]
pub fn patience_over(delivery: &Delivery, spec: &ChannelSpec) -> Timestamp {
    // Its life began when its event happened, when it was to be sent, or when it was sent again.
    let lives_for = spec.expires_in_ms.map_or(EXPIRES_IN, std::time::Duration::from_millis);
    let begun = delivery.expires_at.checked_sub(lives_for).unwrap_or(delivery.event.time);
    let wait = std::time::Duration::from_millis(spec.fallback_after_ms.unwrap_or(AFTER_MS));
    super::after(begun, wait)
}

impl Hand<'_> {
    /// Who gets it when it is given up. Nobody, where some devices have it: they would be told twice.
    pub(super) fn stand_in(&self, spec: &ChannelSpec) -> Option<Arc<ChannelSpec>> {
        if spec.fallback.is_empty() || self.delivery.has_reached_some() {
            return None;
        }
        let (workspace, now) = (&self.delivery.workspace, clock::now());
        let passage = |stand_in: &ChannelSpec| self.tools.circuits.look(workspace, stand_in, now);
        target(self.delivery, spec, &self.tools.directory.snapshot(), passage)
    }

    /// Stores the delivery that takes this one's place. Doing it again is doing it once.
    pub(super) async fn hand_over(&self, stand_in: &ChannelSpec) -> Result<(), BusError> {
        let expires_at = expiry(clock::now(), Some(stand_in));
        let next = self.delivery.handed_over(&stand_in.id, stand_in.kind, expires_at);
        let bus = &self.tools.bus;
        let subject = || bus.names.delivery(&next);
        match bus.publish_json(subject(), next.id.as_str(), &next).await {
            Err(BusError::TooLarge { .. }) => {
                // It was at the limit already: better without data and files than not at all.
                let data = RawValue::NULL.to_owned().into();
                let small = Delivery { data, attachments: Vec::new(), ..next.clone() };
                bus.publish_json(subject(), next.id.as_str(), &small).await?;
            }
            stored => drop(stored?),
        }
        metrics::delivery_published(&next);
        tracing::info!(delivery = %self.delivery.id, next = %next.id, channel = %next.channel, "handed to another channel");
        Ok(())
    }
}

/// How it is told where a delivery went.
#[must_use]
pub(super) fn told(detail: Option<&str>, stand_in: &ChannelSpec) -> String {
    match detail {
        Some(detail) => format!("{detail}; handed to {}", stand_in.id),
        None => format!("handed to {}", stand_in.id),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::connection::ConnectionSpec;

    const CLOSED: Passage = Passage::ClosedUntil(Timestamp::MAX);

    fn channel(value: Value) -> ChannelSpec {
        serde_json::from_value(value).unwrap()
    }

    fn delivery(more: &Value) -> Delivery {
        let mut whole = json!({
            "v": 1, "id": "d_aaaaaaaaaaaaaaaaaaaaaaaa", "workspace": "default", "scope": "global", "channel": "first",
            "event": {"id": "e", "source": "s", "type": "a:b", "time": "2026-01-01T00:00:00Z"}, "severity": "info",
            "title": "t", "body": "b", "data": null, "expiresAt": "2026-01-02T00:00:00Z", "attempt": 1,
        });
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        // Data can be read from a text alone.
        serde_json::from_str(&whole.to_string()).unwrap()
    }

    fn hook(id: &str) -> Value {
        json!({"id": id, "kind": "webhook", "config": {"url": "https://a.example/"}})
    }

    /// Who stands in for a channel that names all these, in this order.
    fn stand_in(channels: Vec<Value>, connection: Option<Value>, passages: &[(&str, Passage)]) -> String {
        stand_in_for(&delivery(&json!({})), channels, connection, passages)
    }

    fn stand_in_for(
        delivery: &Delivery,
        channels: Vec<Value>,
        connection: Option<Value>,
        passages: &[(&str, Passage)],
    ) -> String {
        let mut snapshot = Snapshot::default();
        let channels: Vec<ChannelSpec> = channels.into_iter().map(channel).collect();
        let first = with_fallback(&channels.iter().map(|spec| spec.id.as_str()).collect::<Vec<_>>());
        let named =
            channels.into_iter().map(|spec| ((delivery.workspace.clone(), spec.id.clone()), Arc::new(spec)));
        snapshot.channels = Arc::new(named.collect::<std::collections::HashMap<_, _>>().into());
        if let Some(connection) = connection {
            let spec: ConnectionSpec = serde_json::from_value(connection).unwrap();
            let key = (delivery.workspace.clone(), spec.id.clone());
            snapshot.connections = Arc::new([(key, Arc::new(spec))].into());
        }
        let passage = |spec: &ChannelSpec| {
            passages
                .iter()
                .find(|(id, _)| *id == spec.id.as_str())
                .map_or(Passage::Free, |(_, passage)| *passage)
        };
        let found = target(delivery, &first, &snapshot, passage);
        found.map_or_else(|| "-".to_owned(), |spec| spec.id.to_string())
    }

    fn with_fallback(fallback: &[&str]) -> ChannelSpec {
        let mut first = hook("first");
        first["fallback"] = json!(fallback);
        channel(first)
    }

    #[test]
    fn one_on_which_nothing_works_is_passed_by_and_tried_again_when_its_probe_is_due() {
        let both = || vec![hook("b"), hook("c")];
        assert_eq!(stand_in(both(), None, &[]), "b");
        assert_eq!(stand_in(both(), None, &[("b", CLOSED)]), "c");
        assert_eq!(stand_in(both(), None, &[("b", CLOSED), ("c", CLOSED)]), "-");
        assert_eq!(stand_in(both(), None, &[("b", CLOSED), ("c", Passage::Probe)]), "c");
        // Where another one works nothing is put at risk.
        assert_eq!(stand_in(both(), None, &[("b", Passage::Probe)]), "c");
    }

    #[test]
    fn whoever_cannot_get_it_to_anybody_is_passed_by() {
        let on = |connection: &str| json!({"id": "b", "kind": "telegram", "connection": connection, "config": {"chatId": "1"}});
        let bot = |enabled: bool| Some(json!({"id": "bot", "kind": "telegram", "enabled": enabled}));
        assert_eq!(stand_in(vec![on("bot"), hook("c")], bot(true), &[]), "b");
        assert_eq!(stand_in(vec![on("bot"), hook("c")], bot(false), &[]), "c");
        assert_eq!(stand_in(vec![on("gone"), hook("c")], bot(true), &[]), "c");
        let mail = || {
            let config = json!({"host": "mail.example.com", "from": "bugle@example.com"});
            vec![json!({"id": "b", "kind": "email", "config": config}), hook("c")]
        };
        assert_eq!(stand_in(mail(), None, &[]), "c");
        let to_ann = delivery(&json!({"recipient": "ann"}));
        assert_eq!(stand_in_for(&to_ann, mail(), None, &[]), "b");
    }
}

//! The in-app inbox: what is sent here lies in the recipient's inbox, and goes to whoever follows it live.
//!
//! Its provider is Bugle itself: a message for the recorder, which makes the inbox's row of it under the delivery's own id, so
//! that a try that is made twice shows once. Every workspace has such a channel, `in_app`, without a document.

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Adapter, Channel, Failure, Receipt, SendError, Try, Workshop, settings};
use crate::bus::{Bus, BusError};
use crate::delivery::Delivery;
use crate::notification::item::Item;
use crate::outcome::Reason;
use crate::rule::fault::Fault;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InAppConfig {}

pub struct InApp {
    bus: Option<Bus>,
}

impl Adapter for InApp {
    type Config = InAppConfig;

    fn show(delivery: &Delivery) -> Value {
        let (item, _) = Item::of(delivery, delivery.event.time);
        serde_json::to_value(item).unwrap_or_default()
    }

    fn new(config: &Value, workshop: &Workshop) -> Result<Self, Fault> {
        let InAppConfig {} = settings::read(config)?;
        Ok(Self { bus: workshop.bus.clone() })
    }
}

impl Channel for InApp {
    fn send<'a>(&'a self, attempt: Try<'a>) -> BoxFuture<'a, Result<Receipt, SendError>> {
        Box::pin(async move {
            let Some(bus) = &self.bus else {
                let failure = Failure::new(Reason::Internal, "this process has no connection to publish on");
                return Err(SendError::Ours(failure));
            };
            let (item, notes) = Item::of(attempt.delivery, attempt.at);
            let subject = bus.names.inbox(&item.workspace, &item.recipient);
            // Not the delivery's own id: its outcomes lie in the same stream.
            match bus.publish_json(subject, item.id.as_str(), &item).await {
                Ok(_) => Ok(Receipt {
                    provider_id: Some(item.id.to_string()),
                    note: (!notes.is_empty()).then(|| notes.join("; ")),
                    ..Receipt::default()
                }),
                Err(error) => Err(refused(&error)),
            }
        })
    }
}

fn refused(error: &BusError) -> SendError {
    if let BusError::TooLarge { .. } = error {
        let detail = "the notification is longer than the broker carries";
        return SendError::Permanent(Failure::new(Reason::TooLarge, detail));
    }
    let failure = Failure::new(Reason::Unreachable, "the broker did not store it");
    SendError::Transient { failure, retry_after: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::channel::conformance::{sample, workshop};

    #[test]
    fn it_has_no_settings() {
        assert!(InApp::new(&json!({}), &workshop()).is_ok());
        let Err(fault) = InApp::new(&json!({ "to": "ann" }), &workshop()) else { panic!("a setting was taken") };
        assert_eq!(fault.pointer, "/to");
    }

    #[test]
    fn what_is_shown_is_what_lies_in_the_inbox() {
        let shown = InApp::show(&sample());
        assert_eq!((&shown["id"], &shown["recipient"]), (&json!("n_bivfuvuqt5zrxmfsw4jhrdbp"), &json!("*")));
    }

    #[tokio::test]
    async fn without_a_connection_nothing_is_sent() {
        let in_app = InApp::new(&json!({}), &workshop()).unwrap();
        let error = in_app.send(Try::of(&sample(), jiff::Timestamp::UNIX_EPOCH)).await.unwrap_err();
        assert!(matches!(&error, SendError::Ours(failure) if failure.reason == Reason::Internal), "{error:?}");
    }
}

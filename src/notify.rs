//! Notifications that somebody makes without an event: a delivery on the channel `in_app` for each recipient, through the same
//! queues, workers and records as what rules send.
//!
//! As for sends, the delivery's id is derived from the idempotency key, so that a request that died half-way is finished by its
//! repeat, and the delivery is stored before it is recorded.

mod judge;
mod request;

use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::bus::claim::{self, First};
use crate::bus::{Bus, BusError, schedule};
use crate::channel::ChannelSpec;
use crate::clock;
use crate::delivery::{Consent, Delivery, GLOBAL_SCOPE};
use crate::event::{self, EventRef};
use crate::ids::{DeliveryKey, Recipient, WorkspaceId, digest};
use crate::metrics;
use crate::outcome::{Outcome, Reason, State, Verdict};
use crate::route::expiry;
use crate::route::texts::{Texts, one_line};
use crate::route::throttle;
use crate::route::windows::Inbox;
use crate::rule::fault::Fault;
use crate::send::SendFailure;
use judge::Judged;
use request::TITLE_CHARS_MAX;
pub use request::{Draft, NewNotification, RECIPIENTS_MAX};

const SOURCE: &str = "bugle:notify";
const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 3600);
const KEY_BYTES_MAX: usize = 255;
/// Deliveries of one request that are stored side by side.
const AT_ONCE: usize = 16;

/// Where it is to be shown: the inboxes of a workspace.
#[derive(Debug, Clone, Copy)]
pub struct To<'a> {
    pub workspace: &'a WorkspaceId,
    /// The channel `in_app`, as it stands there.
    pub spec: &'a ChannelSpec,
    /// What is said of types.
    pub texts: &'a Texts,
}

/// What a request is remembered by.
#[derive(Debug, Clone, Copy)]
pub struct Once<'a> {
    pub key: &'a str,
    /// Of the body as it was sent.
    pub body: &'a str,
}

/// What an idempotency key stands for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claim {
    body: String,
    asked: Timestamp,
    /// All deliveries are stored.
    done: bool,
    /// What each is collapsed under, where something is: a repeat is answered the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    collapsed: Vec<Option<String>>,
}

/// Makes a notification for each recipient, in their order, each with what it is collapsed under; again under the same key it makes
/// nothing new.
///
/// # Errors
/// When it is too long, the key was used for another body, or the broker does not answer. Doing it again under the same key is
/// safe.
pub async fn notify(
    bus: &Bus,
    to: To<'_>,
    draft: &Draft,
    once: Option<Once<'_>>,
) -> Result<Vec<Delivery>, SendFailure> {
    let now = clock::now();
    let Some(once) = once else {
        let made = deliveries(to, draft, &clock::random_id(), now);
        check_size(bus, &made)?;
        return Ok(store_all(bus, to, made).await?);
    };
    if once.key.is_empty() || once.key.len() > KEY_BYTES_MAX {
        let message = format!("Idempotency-Key must have 1 to {KEY_BYTES_MAX} bytes");
        return Err(SendFailure::Invalid(Fault::here(message)));
    }
    check_size(bus, &deliveries(to, draft, &event_of(once.key, now), now))?;
    // No header has a control character: no send has this key.
    let subject = bus.names.idempotency(to.workspace, &format!("notify\n{}", once.key));
    let claim = Claim { body: once.body.to_owned(), asked: now, done: false, collapsed: Vec::new() };
    let (held, sequence) = match claim::first(bus, &subject, &claim, Some(IDEMPOTENCY_TTL)).await? {
        First::Mine(sequence) => (claim, sequence),
        First::Theirs(held, sequence) => (held, sequence),
    };
    if held.body != once.body {
        return Err(SendFailure::KeyReused);
    }
    // The first request's moment holds; what it did not finish is done again under the same ids.
    let made = deliveries(to, draft, &event_of(once.key, held.asked), held.asked);
    if !held.done {
        let made = store_all(bus, to, made).await?;
        let some = made.iter().any(|delivery| delivery.collapse_id.is_some());
        let collapsed = made.iter().filter(|_| some).map(|delivery| delivery.collapse_id.clone()).collect();
        let done = Claim { done: true, collapsed, ..held };
        match claim::put(bus, &subject, &done, Some(IDEMPOTENCY_TTL), sequence).await {
            Ok(_) | Err(BusError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        return Ok(made);
    }
    let collapsed = held.collapsed.into_iter().chain(std::iter::repeat(None));
    let made = made.into_iter().zip(collapsed);
    Ok(made.map(|(delivery, collapse_id)| Delivery { collapse_id, ..delivery }).collect())
}

/// When the broker has forgotten a key, the same one stands for another notification.
fn event_of(key: &str, asked: Timestamp) -> String {
    format!("key-{}", digest(&[key, &asked.as_millisecond().to_string()]))
}

fn deliveries(to: To<'_>, draft: &Draft, event: &str, at: Timestamp) -> Vec<Delivery> {
    draft.recipients.iter().map(|recipient| delivery(to, draft, (event, at), recipient)).collect()
}

fn delivery(to: To<'_>, draft: &Draft, (event, at): (&str, Timestamp), recipient: &Recipient) -> Delivery {
    let To { workspace, spec, texts } = to;
    let urgency = texts.urgency(&draft.event_type);
    let channel = &spec.id;
    let id = DeliveryKey {
        workspace,
        source: SOURCE,
        event,
        scope: GLOBAL_SCOPE,
        rule: None,
        channel,
        recipient: Some(recipient),
    }
    .id();
    let mut data = draft.data.clone();
    if let (None, Some(urgency)) = (draft.severity, urgency) {
        data["urgency"] = urgency.word.clone().into();
    }
    let data = serde_json::value::to_raw_value(&data).unwrap_or_else(|_| RawValue::NULL.to_owned());
    Delivery {
        kind: Some(spec.kind),
        recipient: Some(recipient.clone()),
        severity: draft.severity.or(urgency.map(|urgency| urgency.severity)).unwrap_or_default(),
        title: one_line(&draft.title, TITLE_CHARS_MAX),
        body: draft.body.clone(),
        link: draft.link.clone(),
        actions: draft.actions.clone(),
        data: data.into(),
        expires_at: expiry(at, Some(spec)),
        once: true,
        project: event::project::named_in(&draft.data),
        consent: if texts.is_mandatory(&draft.event_type) { Consent::NotNeeded } else { Consent::Given },
        ..Delivery::begin(
            id,
            workspace.clone(),
            EventRef {
                id: event.to_owned(),
                source: SOURCE.to_owned(),
                event_type: draft.event_type.clone(),
                time: at,
                traceparent: None,
                tracestate: None,
                hops: 0,
            },
            channel.clone(),
        )
    }
}

/// All of them are as long as their recipients' names differ: the longest one tells.
fn check_size(bus: &Bus, made: &[Delivery]) -> Result<(), SendFailure> {
    let longest = made.iter().max_by_key(|delivery| delivery.recipient.as_ref().map(|id| id.as_str().len()));
    let Some(longest) = longest else { return Ok(()) };
    let (bytes, bytes_max) =
        (serde_json::to_vec(longest).map_err(BusError::from)?.len(), bus.event_bytes_max());
    if bytes > bytes_max {
        let message = format!("makes a delivery of {bytes} bytes: at most {bytes_max}");
        return Err(SendFailure::Invalid(Fault::new("/body", message)));
    }
    Ok(())
}

async fn store_all(bus: &Bus, to: To<'_>, made: Vec<Delivery>) -> Result<Vec<Delivery>, BusError> {
    let inbox = made.first().and_then(|delivery| judge::inbox(to.texts, delivery));
    let stored = made.into_iter().map(|delivery| take_on(bus, to.spec, delivery, inbox.as_ref()));
    // What was begun is ended, also when one of them fails.
    let stored: Vec<Result<Delivery, BusError>> =
        stream::iter(stored.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await;
    stored.into_iter().collect()
}

async fn take_on(
    bus: &Bus,
    spec: &ChannelSpec,
    delivery: Delivery,
    inbox: Option<&Inbox>,
) -> Result<Delivery, BusError> {
    let id = delivery.id.clone();
    let (workspace, recipient) = (delivery.workspace.clone(), delivery.recipient.clone());
    let stored = match judge::judged(bus, spec, delivery, inbox).await {
        Ok(judged) => store(bus, judged).await,
        Err(error) => Err(error),
    };
    if stored.is_err()
        && let Some(window) = inbox.and_then(|inbox| inbox.window(recipient.as_ref()))
        && let Err(error) = throttle::leave(bus, &workspace, &window, id.as_str()).await
    {
        tracing::warn!(delivery = %id, %error, "what was not stored may hold back its repeat for as long as its type says");
    }
    stored
}

async fn store(bus: &Bus, judged: Judged) -> Result<Delivery, BusError> {
    let (delivery, verdict) = match judged {
        Judged::Suppress(delivery, reason) => (delivery, Verdict::new(State::Suppressed, reason)),
        Judged::Hold(delivery, hold) => {
            if !schedule::at(bus, &delivery, hold.until, delivery.id.as_str()).await?.duplicate {
                metrics::delivery_published(&delivery);
            }
            (delivery, hold.verdict())
        }
        Judged::Store(delivery) => {
            let stored = bus.publish_json(bus.names.delivery(&delivery), delivery.id.as_str(), &delivery);
            if !stored.await?.duplicate {
                metrics::delivery_published(&delivery);
            }
            (delivery, Verdict::new(State::Scheduled, Reason::Delayed))
        }
    };
    let outcome = Outcome::of(&delivery, verdict, None, delivery.event.time);
    bus.record(&outcome, delivery.id.as_str()).await?;
    metrics::outcome(&outcome);
    Ok(delivery)
}

//! Sends without a rule: now, or at a time that the broker keeps; cancelled as long as they have not fired.
//!
//! A send's id is derived from its idempotency key, so that a request that died half-way is finished by its repeat.
//! The delivery is stored first and recorded then: a record without a delivery would be a lie.

pub mod fate;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::attachment::{self, Attachment};
use crate::bus::claim::{self, First};
use crate::bus::schedule;
use crate::bus::{Bus, BusError, topology};
use crate::channel::ChannelSpec;
use crate::channel::standing::{Verification, is_of_file};
use crate::clock;
use crate::deliver::after;
use crate::delivery::{Action, Delivery, ENVELOPE_VERSION, Format, GLOBAL_SCOPE};
use crate::documents::{Document, Key, strict};
use crate::event::{EventRef, EventType, Severity};
use crate::ids::{ChannelId, DeliveryId, DeliveryKey, Recipient, WorkspaceId, digest};
use crate::metrics;
use crate::outcome::{Outcome, Reason, State, Verdict};
use crate::recipient::Addressing;
use crate::route::{channels::without_document, expiry, texts};
use crate::rule::fault::Fault;
use crate::shelf::standing;
use fate::{Fate, settle_fate};

const SOURCE: &str = "bugle:send";
const EVENT_TYPE: &str = "direct:send";
/// The broker fires times beyond 2262 at once; a year is as far as anybody plans.
const AHEAD_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 3600);
const KEY_BYTES_MAX: usize = 255;
const TITLE_CHARS_MAX: usize = 512;
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What to send.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendRequest {
    #[schema(value_type = String)]
    pub channel: ChannelId,
    pub title: String,
    /// A small Markdown, unless `format` says otherwise.
    pub body: String,
    #[serde(default)]
    pub format: Format,
    #[serde(default)]
    pub severity: Severity,
    #[serde(default)]
    pub link: Option<String>,
    /// Buttons that open a page.
    #[serde(default)]
    pub actions: Vec<Action>,
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub recipient: Option<Recipient>,
    /// Goes to the channel beside the text.
    #[serde(default)]
    pub data: Option<Value>,
    /// Milliseconds from now.
    #[serde(default)]
    pub delay_ms: Option<u64>,
    /// A time, RFC 3339.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub send_at: Option<Timestamp>,
}

/// A send that the broker has.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    #[schema(value_type = String)]
    pub id: DeliveryId,
    #[schema(value_type = String)]
    pub channel: ChannelId,
    pub status: State,
    /// Why, once it was tried or is not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[schema(value_type = String)]
    pub scheduled_at: Timestamp,
    /// When it goes out.
    #[schema(value_type = String)]
    pub fires_at: Timestamp,
    /// An earlier request with this key sent it.
    #[serde(skip)]
    pub repeated: bool,
    /// The place of its record in the broker.
    #[serde(skip)]
    pub record: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum SendFailure {
    #[error("{0}")]
    Invalid(Fault),
    #[error("the idempotency key was used with another body")]
    KeyReused,
    #[error(
        "channel {0} is not verified: test it first (POST /v1/notification-channels/{0}/test, or `bugle channels test {0}`)"
    )]
    Unverified(ChannelId),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// What an idempotency key stands for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claim {
    body: String,
    answer: Sent,
    /// Everything that the request asked for is stored.
    done: bool,
}

/// Sends, or answers a repeat as it was answered before.
///
/// # Errors
/// When the request is not valid, its key was used for another body, or the broker does not answer. Sending again under
/// the same key is safe.
pub async fn send(
    bus: &Bus,
    workspace: &WorkspaceId,
    body: Value,
    key: Option<&str>,
) -> Result<Sent, SendFailure> {
    let body_digest = digest(&[&body.to_string()]);
    let request: SendRequest = strict(body).map_err(SendFailure::Invalid)?;
    let now = clock::now();
    let due = check(&request, now).map_err(SendFailure::Invalid)?;
    let spec = channel(bus, workspace, &request.channel).await?;
    if request.recipient.is_none() && matches!(spec.addressing(), Addressing::Contact(_)) {
        let message = format!("is missing: channel {} takes its address from a recipient", request.channel);
        return Err(SendFailure::Invalid(Fault::new("/recipient", message)));
    }
    if key.is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
        let message = format!("Idempotency-Key must have 1 to {KEY_BYTES_MAX} bytes");
        return Err(SendFailure::Invalid(Fault::new("", message)));
    }
    let times = Times { asked: now, due };
    let Some(key) = key else {
        let delivery = delivery(workspace, &request, &spec, clock::random_id(), due);
        check_size(bus, &delivery)?;
        let mut sent = times.sent(&delivery);
        store(bus, &delivery, &mut sent).await?;
        return Ok(sent);
    };
    let delivery = delivery(workspace, &request, &spec, times.event(key), due);
    check_size(bus, &delivery)?;
    let subject = bus.names.idempotency(workspace, key);
    let claim = Claim { body: body_digest, answer: times.sent(&delivery), done: false };
    let body = claim.body.clone();
    let (held, sequence) = match claim::first(bus, &subject, &claim, Some(IDEMPOTENCY_TTL)).await? {
        First::Mine(sequence) => (claim, sequence),
        First::Theirs(held, sequence) => (held, sequence),
    };
    if held.body != body {
        return Err(SendFailure::KeyReused);
    }
    // The first request's times hold; what it did not finish is done again under the same ids.
    let mut sent = held.answer;
    sent.repeated = sent.scheduled_at != now;
    if !held.done {
        let times = Times { asked: sent.scheduled_at, due: sent.fires_at };
        let delivery = self::delivery(workspace, &request, &spec, times.event(key), times.due);
        store(bus, &delivery, &mut sent).await?;
        let done = Claim { body: held.body, answer: sent.clone(), done: true };
        match claim::put(bus, &subject, &done, Some(IDEMPOTENCY_TTL), sequence).await {
            Ok(_) | Err(BusError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sent)
}

/// When a send was asked for, and when it is due.
struct Times {
    asked: Timestamp,
    due: Timestamp,
}

impl Times {
    /// The id of what a key stands for. The moment is a part of it: when the broker has forgotten the key, the same one
    /// stands for another send.
    fn event(&self, key: &str) -> String {
        format!("key-{}", digest(&[key, &self.asked.as_millisecond().to_string()]))
    }

    fn sent(&self, delivery: &Delivery) -> Sent {
        Sent {
            id: delivery.id.clone(),
            channel: delivery.channel.clone(),
            status: State::Scheduled,
            reason: None,
            detail: None,
            scheduled_at: self.asked,
            fires_at: self.due,
            repeated: false,
            record: 0,
        }
    }
}

/// A retry and a dead letter are a little longer than the delivery: all of them must fit.
fn check_size(bus: &Bus, delivery: &Delivery) -> Result<(), SendFailure> {
    let (bytes, bytes_max) =
        (serde_json::to_vec(delivery).map_err(BusError::from)?.len(), bus.event_bytes_max());
    if bytes > bytes_max {
        let message = format!("makes a delivery of {bytes} bytes: at most {bytes_max}");
        let place = if delivery.attachments.is_empty() { "/data" } else { "/attachments" };
        return Err(SendFailure::Invalid(Fault::new(place, message)));
    }
    Ok(())
}

fn check(request: &SendRequest, now: Timestamp) -> Result<Timestamp, Fault> {
    if request.title.trim().is_empty() {
        return Err(Fault::new("/title", "is empty"));
    }
    if request.body.len() > BODY_BYTES_MAX {
        return Err(Fault::new("/body", format!("is longer than {BODY_BYTES_MAX} bytes")));
    }
    if request.link.as_deref().is_some_and(|link| !texts::is_link(link)) {
        return Err(Fault::new("/link", "is neither http(s) nor a path that begins with /, or too long"));
    }
    texts::check_actions(&request.actions).map_err(|fault| fault.below("/actions"))?;
    attachment::check(&request.attachments).map_err(|fault| fault.below("/attachments"))?;
    let due = match (request.delay_ms, request.send_at) {
        (Some(_), Some(_)) => return Err(Fault::new("/sendAt", "and delayMs exclude each other")),
        (Some(delay), None) => after(now, Duration::from_millis(delay)),
        (None, Some(at)) => at.max(now),
        (None, None) => now,
    };
    if due > after(now, AHEAD_MAX) {
        let place = if request.delay_ms.is_some() { "/delayMs" } else { "/sendAt" };
        return Err(Fault::new(place, "is more than a year ahead"));
    }
    Ok(due)
}

async fn channel(bus: &Bus, workspace: &WorkspaceId, id: &ChannelId) -> Result<ChannelSpec, SendFailure> {
    let bucket = topology::config_bucket(bus).await?;
    let key = Key::Channel(workspace.clone(), id.clone());
    let found = bucket.get(key.to_string()).await.map_err(BusError::request)?;
    let unknown = || SendFailure::Invalid(Fault::new("/channel", format!("there is no channel {id}")));
    let built_in = || without_document(id).map(|spec| (**spec).clone()).ok_or_else(unknown);
    let Some(found) = found else { return built_in() };
    let document: Document<ChannelSpec> = serde_json::from_slice(&found).map_err(BusError::from)?;
    if !is_of_file(&document.owner) {
        let (standing, _) = standing::read(bus, workspace, id).await?;
        let address = standing::address(bus, workspace, &document.spec).await?;
        match standing.verification(&document.owner, &address) {
            Verification::Verified => {}
            Verification::Pending => return Err(SendFailure::Unverified(id.clone())),
        }
    }
    Ok(document.spec)
}

fn delivery(
    workspace: &WorkspaceId,
    request: &SendRequest,
    spec: &ChannelSpec,
    event: String,
    due: Timestamp,
) -> Delivery {
    let id = DeliveryKey {
        workspace,
        source: SOURCE,
        event: &event,
        scope: GLOBAL_SCOPE,
        rule: None,
        channel: &request.channel,
        recipient: request.recipient.as_ref(),
    }
    .id();
    let data = request.data.as_ref().and_then(|data| serde_json::value::to_raw_value(data).ok());
    let data = data.unwrap_or_else(|| RawValue::NULL.to_owned());
    // A name of our own that is a valid type.
    let event_type = EventType::parse(EVENT_TYPE).unwrap_or_else(|_| unreachable!("{EVENT_TYPE} is a type"));
    Delivery {
        v: ENVELOPE_VERSION,
        id,
        workspace: workspace.clone(),
        event: EventRef {
            id: event,
            source: SOURCE.to_owned(),
            event_type,
            time: due,
            traceparent: None,
            hops: 0,
        },
        rule: None,
        scope: GLOBAL_SCOPE.to_owned(),
        channel: request.channel.clone(),
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
        note: None,
        held_back: 0,
        collapse_id: None,
        collapse_ms: None,
        expires_at: expiry(due, Some(spec)),
        attempt: 1,
        redrive: 0,
        postponed: 0,
        stepped: 0,
        held: 0,
        cancelled: false,
        once: true,
        turn: None,
        origin: None,
        reach: None,
    }
}

async fn store(bus: &Bus, delivery: &Delivery, sent: &mut Sent) -> Result<(), BusError> {
    let now = clock::now();
    let delayed = sent.fires_at > now;
    let id = delivery.id.as_str();
    let fresh = if delayed {
        !schedule::at(bus, delivery, sent.fires_at, id).await?.duplicate
    } else {
        !bus.publish_json(bus.names.delivery(delivery), id, delivery).await?.duplicate
    };
    if fresh {
        metrics::delivery_published(delivery);
    }
    let verdict = Verdict { next_at: Some(sent.fires_at), ..Verdict::new(State::Scheduled, Reason::Delayed) };
    let outcome = Outcome::of(delivery, verdict, None, sent.scheduled_at);
    sent.record = bus.record(&outcome, id).await?.sequence;
    metrics::outcome(&outcome);
    Ok(())
}

/// What became of a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    Done,
    /// No timer is pending in that workspace: it fired, was cancelled before, or never was.
    NotPending,
}

/// Cancels a send whose time has not come. `allowed` says whether the caller may touch that delivery.
///
/// # Errors
/// When the broker does not answer; cancelling again is safe.
pub async fn cancel(
    bus: &Bus,
    id: &DeliveryId,
    allowed: impl Fn(&Delivery) -> bool,
) -> Result<Cancellation, BusError> {
    let Some((pending, sequence)) = schedule::pending(bus, id).await? else {
        return Ok(Cancellation::NotPending);
    };
    // A retry waits on the same kind of timer; only what was never tried is a send that has not fired.
    if pending.attempt > 1
        || pending.postponed > 0
        || pending.held > 0
        || pending.rule.is_some()
        || !allowed(&pending)
    {
        return Ok(Cancellation::NotPending);
    }
    if pending.once && settle_fate(bus, &pending, Fate::Cancelled).await? != Fate::Cancelled {
        return Ok(Cancellation::NotPending);
    }
    let taken_back = schedule::cancel(bus, &pending, sequence).await?;
    // It fires just now, and whoever takes it finds out that it was cancelled.
    if !taken_back && !pending.once {
        return Ok(Cancellation::NotPending);
    }
    // The worker that takes the cancelled delivery records the same; this only makes it visible at once.
    let outcome =
        Outcome::of(&pending, Verdict::new(State::Suppressed, Reason::Cancelled), None, clock::now());
    bus.record(&outcome, &format!("{id}/cancel")).await?;
    Ok(Cancellation::Done)
}

//! Sends without a rule: now, or at a time that the broker keeps; cancelled as long as they have not fired.
//!
//! A send's id is derived from its idempotency key, so that a request that died half-way is finished by its repeat.
//! The delivery is stored first and recorded then: a record without a delivery would be a lie.

mod cancel;
mod draft;
pub mod fate;
mod request;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bus::claim::{self, First};
use crate::bus::{Bus, BusError, people, schedule, topology};
use crate::channel::ChannelSpec;
use crate::channel::standing::{Verification, is_of_file};
use crate::clock;
use crate::delivery::Delivery;
use crate::documents::{Document, Key, strict};
use crate::ids::{ChannelId, DeliveryId, WorkspaceId, digest};
use crate::metrics;
use crate::outcome::{Outcome, Reason, State, Verdict};
use crate::preferences::{self, Judgement};
use crate::recipient::Addressing;
use crate::route::channels::without_document;
use crate::route::texts::Texts;
use crate::rule::fault::Fault;
use crate::shelf::standing;
pub use cancel::{Cancellation, cancel};
use draft::{Draft, Times, event_type};
pub use request::SendRequest;

const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 3600);
const KEY_BYTES_MAX: usize = 255;

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
    texts: &Texts,
    workspace: &WorkspaceId,
    body: Value,
    key: Option<&str>,
) -> Result<Sent, SendFailure> {
    let body_digest = digest(&[&body.to_string()]);
    let request: SendRequest = strict(body).map_err(SendFailure::Invalid)?;
    let asked = clock::now();
    let due = request::check(&request, asked).map_err(SendFailure::Invalid)?;
    let spec = channel(bus, workspace, &request.channel).await?;
    if request.recipient.is_none() && matches!(spec.addressing(), Addressing::Contact(_)) {
        let message = format!("is missing: channel {} takes its address from a recipient", request.channel);
        return Err(SendFailure::Invalid(Fault::new("/recipient", message)));
    }
    if key.is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
        let message = format!("Idempotency-Key must have 1 to {KEY_BYTES_MAX} bytes");
        return Err(SendFailure::Invalid(Fault::new("", message)));
    }
    let draft =
        Draft { workspace, request: &request, spec: &spec, mandatory: texts.is_mandatory(&event_type()) };
    let times = Times { asked, due };
    let event = key.map_or_else(clock::random_id, |key| times.event(key));
    let delivery = draft.delivery(&event, times);
    check_size(bus, &delivery)?;
    let mut sent = as_wanted(bus, &delivery, times.sent(&delivery)).await?;
    let Some(key) = key else {
        store(bus, &draft.delivery(&event, Times::of(&sent)), &mut sent).await?;
        return Ok(sent);
    };
    let subject = bus.names.idempotency(workspace, key);
    let claim = Claim { body: body_digest, answer: sent, done: false };
    let body = claim.body.clone();
    let (held, sequence) = match claim::first(bus, &subject, &claim, Some(IDEMPOTENCY_TTL)).await? {
        First::Mine(sequence) => (claim, sequence),
        First::Theirs(held, sequence) => (held, sequence),
    };
    if held.body != body {
        return Err(SendFailure::KeyReused);
    }
    // The first request's answer holds; what it did not finish is done again under the same ids.
    let mut sent = held.answer;
    sent.repeated = sent.scheduled_at != asked;
    if !held.done {
        let times = Times::of(&sent);
        store(bus, &draft.delivery(&times.event(key), times), &mut sent).await?;
        let done = Claim { body: held.body, answer: sent.clone(), done: true };
        match claim::put(bus, &subject, &done, Some(IDEMPOTENCY_TTL), sequence).await {
            Ok(_) | Err(BusError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sent)
}

/// What becomes of it by its recipient's preferences, where it is due at once. One for later is judged when its time comes.
async fn as_wanted(bus: &Bus, delivery: &Delivery, sent: Sent) -> Result<Sent, BusError> {
    let Some(recipient) = preferences::asked(delivery).filter(|_| sent.fires_at <= sent.scheduled_at) else {
        return Ok(sent);
    };
    let wishes = people::read_wishes(bus, &delivery.workspace, recipient).await?;
    let judged = wishes.map_or(Judgement::Pass, |wishes| wishes.judge(delivery, sent.scheduled_at));
    Ok(match judged {
        Judgement::Pass => sent,
        Judgement::Muted(row) => {
            let (status, detail) = (State::Suppressed, Some(row.to_string()));
            Sent { status, reason: Some(Reason::Muted), detail, ..sent }
        }
        Judgement::Hold(hold) => {
            let detail = hold.verdict().detail;
            Sent { reason: Some(hold.reason), detail, fires_at: hold.until, ..sent }
        }
    })
}

impl Times {
    fn of(sent: &Sent) -> Self {
        Self { asked: sent.scheduled_at, due: sent.fires_at }
    }

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

async fn store(bus: &Bus, delivery: &Delivery, sent: &mut Sent) -> Result<(), BusError> {
    let id = delivery.id.as_str();
    if sent.status != State::Suppressed {
        let fresh = if sent.fires_at > clock::now() {
            !schedule::at(bus, delivery, sent.fires_at, id).await?.duplicate
        } else {
            !bus.publish_json(bus.names.delivery(delivery), id, delivery).await?.duplicate
        };
        if fresh {
            metrics::delivery_published(delivery);
        }
    }
    let verdict = Verdict {
        next_at: Some(sent.fires_at).filter(|_| sent.status != State::Suppressed),
        detail: sent.detail.clone(),
        ..Verdict::new(sent.status, sent.reason.unwrap_or(Reason::Delayed))
    };
    let outcome = Outcome::of(delivery, verdict, None, sent.scheduled_at);
    sent.record = bus.record(&outcome, id).await?.sequence;
    metrics::outcome(&outcome);
    Ok(())
}

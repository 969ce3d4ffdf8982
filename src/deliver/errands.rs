//! Errands, answered: a worker listens for those of its kinds in a queue group, so that one worker does each.
//!
//! They have a few slots of their own: what people wait for does not wait behind deliveries, and cannot crowd them out.

mod trial;

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use futures_util::stream::SelectAll;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::handler::Tools;
use crate::bus::consumer::Stop;
use crate::bus::{Bus, BusError};
use crate::channel::standing::OWN_OWNER;
use crate::channel::telegram::Telegram;
use crate::channel::{ChannelSpec, Kind, Workshop};
use crate::clock;
use crate::connection::ConnectionSpec;
use crate::delivery::ENVELOPE_VERSION;
use crate::documents::{Document, Key};
use crate::errand::{Answer, Errand, Of, Refusal, What};
use crate::outcome::Reason;
use crate::route::channels::without_document;
use crate::shelf;

/// Errands in work at once; more are answered with `busy`.
const SLOTS: usize = 32;
const AFTER_TROUBLE: Duration = Duration::from_secs(1);
/// The one queue group.
const GROUP: &str = "workers";

/// Answers errands of these kinds until it is told to stop, and finishes what it has in hand.
pub async fn answer(tools: Arc<Tools>, kinds: Vec<Kind>, stop: Stop) {
    let (slots, running) = (Arc::new(Semaphore::new(SLOTS)), TaskTracker::new());
    let listening = async {
        loop {
            match subscribe(&tools.bus, &kinds).await {
                Ok(mut asked) => {
                    while let Some((what, message)) = asked.next().await {
                        take(&tools, &slots, &running, what, message).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "errands are not heard at the moment"),
            }
            clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
        }
    };
    tokio::select! {
        () = listening => {}
        () = stop.soft.cancelled() => {}
    }
    running.close();
    tokio::select! {
        () = running.wait() => {}
        () = stop.hard.cancelled() => {}
    }
}

type Asked = SelectAll<futures_util::stream::BoxStream<'static, (What, Message)>>;

async fn subscribe(bus: &Bus, kinds: &[Kind]) -> Result<Asked, BusError> {
    let mut asked = SelectAll::new();
    for kind in kinds {
        for what in What::ALL {
            let subject = bus.names.errand(*what, *kind);
            let subscribed = bus.client().queue_subscribe(subject, GROUP.to_owned()).await;
            let subscriber: Subscriber = subscribed.map_err(BusError::request)?;
            asked.push(subscriber.map(move |message| (*what, message)).boxed());
        }
    }
    // Heard from here on: whoever is ready is also asked.
    bus.client().flush().await.map_err(BusError::request)?;
    Ok(asked)
}

async fn take(
    tools: &Arc<Tools>,
    slots: &Arc<Semaphore>,
    running: &TaskTracker,
    what: What,
    message: Message,
) {
    match Arc::clone(slots).try_acquire_owned() {
        Ok(slot) => {
            running.spawn(handle(Arc::clone(tools), slot, what, message));
        }
        Err(_) => reply(&tools.bus, message, &Answer::Busy).await,
    }
}

async fn handle(tools: Arc<Tools>, _slot: OwnedSemaphorePermit, what: What, message: Message) {
    let answer = match Box::pin(done(&tools, what, &message)).await {
        Ok(answer) => answer,
        Err(refusal) => Answer::Refused(refusal),
    };
    reply(&tools.bus, message, &answer).await;
}

async fn done(tools: &Tools, what: What, message: &Message) -> Result<Answer, Refusal> {
    let unreadable = |_| Refusal::new(Reason::Internal, "the worker cannot read what it was asked");
    let errand: Errand = serde_json::from_slice(&message.payload).map_err(unreadable)?;
    if errand.v > ENVELOPE_VERSION {
        return Err(Refusal::new(Reason::Internal, "the worker is older than whoever asked: update it"));
    }
    match what {
        What::TestChannel => written(&trial::test(tools, &errand).await?),
        What::DetectChats => {
            let (config, workshop) = settings(tools, &errand).await?;
            let chats = Telegram::detect_chats(&config, &workshop, clock::now()).await;
            written(&chats.map_err(|error| Refusal::of(error.failure()))?)
        }
    }
}

/// The settings of a channel with those of its connection, or of a connection alone.
async fn settings(tools: &Tools, errand: &Errand) -> Result<(Value, Workshop), Refusal> {
    let settings = match &errand.of {
        Of::Channel(id) => {
            let key = Key::Channel(errand.workspace.clone(), id.clone());
            let mut spec = document::<ChannelSpec>(tools, key).await?.spec;
            // What is looked for: perhaps the variable that is to hold it is not set yet.
            spec.config.as_object_mut().map(|config| config.remove("chatId"));
            tools.adapters.settings(&errand.workspace, &spec)
        }
        Of::Connection(id) => {
            let key = Key::Connection(errand.workspace.clone(), id.clone());
            let spec = document::<ConnectionSpec>(tools, key).await?.spec;
            tools.adapters.settings_of(&errand.workspace, &spec)
        }
    };
    settings.map_err(|fault| Refusal::new(Reason::Misconfigured, fault.to_string()))
}

fn written<T: Serialize>(done: &T) -> Result<Answer, Refusal> {
    Ok(Answer::Done(serde_json::to_value(done)?))
}

/// The document as it is now: it may be newer than what this worker has heard of.
async fn document<T: DeserializeOwned>(tools: &Tools, key: Key) -> Result<Document<T>, Refusal> {
    let missing = || Refusal::new(Reason::UnknownChannel, format!("there is no {}", key.as_written()));
    let found = match shelf::get(&tools.bus, &key).await? {
        Some(held) => held.document,
        None => built_in(&key).ok_or_else(missing)?,
    };
    let Document { v, owner, version, author, updated_at, spec } = found;
    let unreadable = |_| Refusal::new(Reason::Misconfigured, "the worker cannot read the document");
    let spec = serde_json::from_value(spec).map_err(unreadable)?;
    Ok(Document { v, owner, version, author, updated_at, spec })
}

/// As its document would be if it had one.
fn built_in(key: &Key) -> Option<Document<Value>> {
    let Key::Channel(_, id) = key else { return None };
    let spec = serde_json::to_value(without_document(id)?.as_ref()).ok()?;
    let (owner, author) = (OWN_OWNER.to_owned(), OWN_OWNER.to_owned());
    Some(Document { v: ENVELOPE_VERSION, owner, version: 0, author, updated_at: Timestamp::UNIX_EPOCH, spec })
}

async fn reply(bus: &Bus, message: Message, answer: &Answer) {
    let (Some(to), Ok(payload)) = (message.reply, serde_json::to_vec(answer)) else { return };
    if let Err(error) = bus.client().publish(to, payload.into()).await {
        tracing::warn!(%error, "an errand was done, and whoever asked was not told");
    }
}

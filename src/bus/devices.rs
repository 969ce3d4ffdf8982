//! Where devices lie: in the bucket of people, a document each, read by prefix and never all at once.
//!
//! A removed one leaves nothing behind: a bucket's own marker would stay for ever, and devices come and go. Its marker is
//! published, so that those who follow the bucket hear of it, and purged. One token is one device, whoever uses it: where it
//! turns up with another user, the old document goes.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;

use super::reader::{From, Reader};
use super::{Bus, BusError};
use crate::channel::Kind;
use crate::device::{DEVICES_PER_USER_MAX, Device, DeviceKey};
use crate::ids::{DeviceId, Recipient, WorkspaceId};
use crate::metrics;

/// The broker's answer to one request for many.
const PATIENCE: Duration = Duration::from_secs(5);
/// The broker gives no more last messages than 1,024 for one request.
const AT_ONCE_MAX: usize = 1_000;
/// Two that register the same device at once: one of them looks again.
const TRIES_MAX: usize = 8;
/// Users whose devices are remembered; beyond it all are forgotten, and read again as they are asked for.
const REMEMBERED_MAX: usize = 50_000;
/// A copy of the bucket may lag when it is read: nothing is believed for longer.
const BELIEVED_FOR: Duration = Duration::from_secs(60);

const OPERATION: &str = "KV-Operation";
const PAGE_MAX: usize = 1_000;

/// Devices in the order of their places, and where the next ones begin.
pub struct Page {
    pub devices: Vec<Device>,
    pub next: Option<u64>,
}

/// The places of the bucket that lie behind one, up to another.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub after: u64,
    pub until: Option<u64>,
}

impl Span {
    #[must_use]
    pub fn behind(after: u64) -> Self {
        Self { after, until: None }
    }

    fn ends_before(self, place: u64) -> bool {
        self.until.is_some_and(|until| place > until)
    }
}

/// What lies under a subject.
struct Last {
    subject: String,
    sequence: u64,
    /// None for what was removed.
    payload: Option<Bytes>,
}

/// # Errors
/// When the broker does not answer.
pub async fn get(
    bus: &Bus,
    workspace: &WorkspaceId,
    kind: Kind,
    keys: &[DeviceKey],
) -> Result<Vec<Device>, BusError> {
    let mut found = Vec::with_capacity(keys.len());
    for keys in keys.chunks(AT_ONCE_MAX) {
        let subjects: Vec<String> = keys.iter().map(|key| bus.names.device(workspace, kind, key)).collect();
        found.extend(live(bus, last(bus, &subjects).await?.0));
    }
    Ok(found)
}

/// A device by its id alone; whose it is narrows the search. Two only while it moves from one user to another.
///
/// # Errors
/// When the broker does not answer.
pub async fn find(
    bus: &Bus,
    workspace: &WorkspaceId,
    user: Option<&Recipient>,
    id: &DeviceId,
) -> Result<Vec<Device>, BusError> {
    let filter = bus.names.devices(workspace, None, user.map(Some), Some(id));
    Ok(live(bus, last(bus, &[filter]).await?.0))
}

/// The place of the bucket's last change.
///
/// # Errors
/// When the broker does not answer.
pub async fn last_place(bus: &Bus) -> Result<u64, BusError> {
    let stream = bus.js.get_stream(bus.names.people_stream()).await.map_err(BusError::request)?;
    Ok(stream.cached_info().state.last_sequence)
}

/// Devices in a span of the bucket: up to `limit`, of one kind and one user where they are named.
///
/// # Errors
/// When the broker does not answer.
pub async fn page(
    bus: &Bus,
    (workspace, kind, user): (&WorkspaceId, Option<Kind>, Option<&Recipient>),
    span: Span,
    limit: usize,
) -> Result<Page, BusError> {
    let filter = bus.names.devices(workspace, kind, user.map(Some), None);
    let stream = bus.names.people_stream();
    let mut reader = Reader::open_stream(bus, &stream, filter, From::Sequence(span.after + 1)).await?;
    let (mut devices, mut pending) = (Vec::new(), reader.pending_at_start);
    while pending > 0 {
        let entries = reader.next(PAGE_MAX).await?;
        // What was counted and does not come was removed meanwhile.
        let Some(last) = entries.last() else { break };
        pending = last.pending;
        for entry in entries {
            if span.ends_before(entry.sequence) {
                return Ok(Page { devices, next: None });
            }
            if devices.len() == limit {
                let next = devices.last().map(|device: &Device| device.revision);
                return Ok(Page { devices, next });
            }
            let removed = entry.headers.get(OPERATION).is_some();
            let payload = (!removed).then_some(entry.payload);
            let last = Last { subject: entry.subject, sequence: entry.sequence, payload };
            devices.extend(live(bus, vec![last]));
        }
    }
    Ok(Page { devices, next: None })
}

/// Registers a device, or says that it is still there. False: it was known.
///
/// # Errors
/// When the broker does not answer.
pub async fn upsert(bus: &Bus, workspace: &WorkspaceId, device: &Device) -> Result<(Device, bool), BusError> {
    let (kind, key) = (device.way.kind(), device.key());
    let subject = bus.names.device(workspace, kind, &key);
    for _ in 0..TRIES_MAX {
        let (own, _) = last(bus, std::slice::from_ref(&subject)).await?;
        let revision = own.first().map_or(0, |own| own.sequence);
        let known = live(bus, own).pop();
        let mut written = device.clone();
        let others = match &known {
            Some(known) if device.adds_nothing_to(known) => return Ok((known.clone(), false)),
            Some(_) => Vec::new(),
            None => find(bus, workspace, None, &device.id).await?,
        };
        if let Some(known) = known.as_ref().or(others.first()) {
            (written.created_at, written.moved_from) = (known.created_at, Some(known.revision));
        }
        let stored = bus.publish(subject.clone(), expecting(revision), serde_json::to_vec(&written)?.into());
        match stored.await {
            Ok(stored) => written.revision = stored.sequence,
            Err(BusError::Conflict) => continue,
            Err(error) => return Err(error),
        }
        for other in others.iter().filter(|other| other.key() != key) {
            remove(bus, workspace, other).await?;
        }
        if let (Some(user), None) = (&device.user, &known) {
            keep_few(bus, workspace, user).await?;
        }
        return Ok((written, known.is_none() && others.is_empty()));
    }
    Err(BusError::Conflict)
}

/// The ones that were seen longest ago go.
async fn keep_few(bus: &Bus, workspace: &WorkspaceId, user: &Recipient) -> Result<(), BusError> {
    let filter = bus.names.devices(workspace, None, Some(Some(user)), None);
    let mut devices = live(bus, last(bus, &[filter]).await?.0);
    devices.sort_by_key(|device| std::cmp::Reverse((device.last_seen_at, device.revision)));
    for device in devices.iter().skip(DEVICES_PER_USER_MAX) {
        remove(bus, workspace, device).await?;
    }
    Ok(())
}

/// Removes a device as it was read. False when it is another one by now, or none.
///
/// # Errors
/// When the broker does not answer.
pub async fn remove(bus: &Bus, workspace: &WorkspaceId, device: &Device) -> Result<bool, BusError> {
    let subject = bus.names.device(workspace, device.way.kind(), &device.key());
    let mut headers = expecting(device.revision);
    headers.insert(OPERATION, "DEL");
    let marker = match bus.publish(subject.clone(), headers, Bytes::new()).await {
        Ok(marker) => marker.sequence,
        Err(BusError::Conflict) => return Ok(false),
        Err(error) => return Err(error),
    };
    let stream = bus.js.get_stream_no_info(bus.names.people_stream()).await.map_err(BusError::request)?;
    // Up to the marker: whoever registered it meanwhile keeps it.
    stream.purge().filter(subject).sequence(marker + 1).await.map_err(BusError::request)?;
    Ok(true)
}

fn expecting(revision: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, revision.to_string());
    headers
}

/// One that this version cannot read is none, aloud; the error's text would hold an address.
fn live(bus: &Bus, found: Vec<Last>) -> Vec<Device> {
    let mut devices = Vec::with_capacity(found.len());
    for Last { subject, sequence, payload } in found {
        let Some(payload) = payload else { continue };
        match serde_json::from_slice::<Device>(&payload) {
            Ok(device) if bus.names.device_of(&subject).is_some_and(|(_, _, key)| key == device.key()) => {
                devices.push(Device { revision: sequence, ..device });
            }
            Ok(_) | Err(_) => {
                metrics::document_unreadable();
                tracing::error!("a push subscription cannot be read");
            }
        }
    }
    devices
}

/// The last messages of subjects, in which wildcards may stand, and up to which place of the stream they are the last: one request
/// (`multi_last` of the direct get API), answered by any copy of the stream.
async fn last(bus: &Bus, subjects: &[String]) -> Result<(Vec<Last>, u64), BusError> {
    if subjects.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let client = bus.client();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(BusError::request)?;
    let question = json!({ "multi_last": subjects }).to_string();
    let api = format!("$JS.API.DIRECT.GET.{}", bus.names.people_stream());
    client.publish_with_reply(api, inbox, question.into()).await.map_err(BusError::request)?;
    let read = async {
        let mut found = Vec::new();
        while let Some(answer) = answers.next().await {
            let headers = answer.headers.unwrap_or_default();
            let number = |name: &str| headers.get(name).and_then(|value| value.as_str().parse::<u64>().ok());
            match answer.status {
                None | Some(StatusCode::OK) => {}
                Some(status) if status.as_u16() == 204 => {
                    return match number("Nats-Num-Pending") {
                        Some(0) | None => Ok((found, number("Nats-UpTo-Sequence").unwrap_or(0))),
                        Some(_) => Err(BusError::Request("more devices than fit one answer".to_owned())),
                    };
                }
                Some(StatusCode::NOT_FOUND) => return Ok((found, 0)),
                Some(status) => return Err(BusError::Request(format!("devices: answered {status}"))),
            }
            let subject = headers.get("Nats-Subject").map(|value| value.as_str().to_owned());
            if let (Some(subject), Some(sequence)) = (subject, number("Nats-Sequence")) {
                let removed = headers.get(OPERATION).is_some();
                found.push(Last { subject, sequence, payload: (!removed).then_some(answer.payload) });
            }
        }
        Err(BusError::Request("the connection was lost".to_owned()))
    };
    let silent = |_| BusError::Request("the broker does not answer".to_owned());
    tokio::time::timeout(PATIENCE, read).await.map_err(silent)?
}

type Owner = (WorkspaceId, Kind, Recipient);

/// The devices of the users that this process was asked for.
#[derive(Default)]
pub struct Remembered(RwLock<State>);

#[derive(Default)]
struct State {
    known: HashMap<Owner, (Instant, Vec<Device>)>,
    /// The place of the last change that was heard; None: changes are not heard at the moment, and nothing is remembered.
    heard: Option<u64>,
}

impl Remembered {
    /// # Errors
    /// When the broker does not answer.
    pub async fn of(
        &self,
        bus: &Bus,
        workspace: &WorkspaceId,
        kind: Kind,
        user: &Recipient,
    ) -> Result<Vec<Device>, BusError> {
        let owner = (workspace.clone(), kind, user.clone());
        {
            let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let known = state.known.get(&owner).filter(|(at, _)| at.elapsed() < BELIEVED_FOR);
            if let (Some((_, devices)), Some(_)) = (known, state.heard) {
                return Ok(devices.clone());
            }
        }
        let filter = bus.names.devices(workspace, Some(kind), Some(Some(user)), None);
        let (found, up_to) = last(bus, &[filter]).await?;
        let devices = live(bus, found);
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // What a copy said that lags behind what was heard is used once, and not believed.
        if state.heard.is_some_and(|heard| up_to >= heard && up_to > 0) {
            if state.known.len() >= REMEMBERED_MAX {
                state.known.clear();
            }
            state.known.insert(owner, (Instant::now(), devices.clone()));
        }
        Ok(devices)
    }

    /// What changed is read again. True when it was a device.
    pub fn hear(&self, bus: &Bus, subject: &str, sequence: u64) -> bool {
        let found = bus.names.device_of(subject);
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.heard = Some(sequence);
        let Some((workspace, kind, key)) = found else { return false };
        if let Some(user) = key.user {
            state.known.remove(&(workspace, kind, user));
        }
        true
    }

    /// Changes are heard from now on.
    pub fn begin_anew(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) =
            State { known: HashMap::new(), heard: Some(0) };
    }

    pub fn remember_nothing(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = State::default();
    }
}

//! Outcomes as they happen, as server-sent events, resumed without gap or repeat.
//!
//! The id of an event is its place in the record stream, so that any API process can resume what another one began. The
//! stream ends when the process stops, when the token is revoked, and when the client does not keep up.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State as AxumState;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use tokio::sync::mpsc;

use super::auth::{Permission, Principal};
use super::deliveries::visible;
use super::problem::Problem;
use super::query::Query;
use super::{Api, Shared};
use crate::bus::reader::{self, Entry, From, Reader};
use crate::bus::{BusError, StreamName, topology};
use crate::clock;
use crate::metrics::OpenStream;
use crate::outcome::Outcome;
use crate::store::deliveries::Filter;

const HEARTBEAT: Duration = Duration::from_secs(15);
/// What a client should wait before it comes again.
const RETRY: Duration = Duration::from_secs(2);
/// Events waiting for a slow client; beyond it the stream ends, and the client resumes.
const WAITING_MAX: usize = 256;
const PATIENCE: Duration = Duration::from_secs(10);
const BATCH_MAX: usize = 100;
const AFTER_TROUBLE: Duration = Duration::from_millis(500);

/// Follow outcomes live (server-sent events).
///
/// Each event is named `outcome`, has the outcome as JSON and an `id`. With `Last-Event-ID` it resumes behind that id, without
/// it only what happens from now on comes. `gap` says that what was asked for has expired; `server_shutdown` comes before
/// the server ends the stream. A heartbeat comment comes every 15 seconds. Takes the filters of the list except times.
#[utoipa::path(
    get,
    path = "/v1/deliveries/stream",
    operation_id = "followDeliveries",
    tag = "deliveries",
    params(
        ("Last-Event-ID" = Option<u64>, Header), ("lastEventId" = Option<u64>, Query, description = "the same, in the query"),
        ("token" = Option<String>, Query, description = "for clients that cannot set headers"),
        ("workspace" = Option<String>, Query), ("status" = Option<String>, Query), ("channel" = Option<String>, Query),
        ("kind" = Option<String>, Query), ("rule" = Option<String>, Query), ("event" = Option<String>, Query),
        ("eventType" = Option<String>, Query), ("recipient" = Option<String>, Query), ("severity" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "the stream", content_type = "text/event-stream"),
        (status = 400, description = "a bad parameter", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the role may not", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn outcomes(
    principal: Principal,
    AxumState(api): AxumState<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    principal.may(Permission::ReadDeliveries)?;
    let query = query.only(&[
        "workspace",
        "status",
        "channel",
        "kind",
        "rule",
        "event",
        "eventType",
        "recipient",
        "severity",
        "lastEventId",
        "token",
    ])?;
    let filter = visible(&principal, &query)?;
    let resume = match headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default()) {
        Some(text) if !text.is_empty() => {
            let wrong = |_| Problem::invalid("Last-Event-ID is not an id of this stream");
            Some(text.parse::<u64>().map_err(wrong)?)
        }
        Some(_) | None => query.number("lastEventId")?,
    };
    let place = Place::find(&api, resume).await?;
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let feed = Feed { api, principal, filter, sender, place };
    spawn(feed);
    Ok(response(receiver))
}

/// One client's feed ends with that client, and its failure is nobody else's.
#[expect(clippy::disallowed_methods, reason = "nothing rests on one client's stream")]
fn spawn(feed: Feed) {
    tokio::spawn(feed.run());
}

/// Where a feed stands in which stream.
struct Place {
    /// The stream's creation: one made anew counts from one again.
    epoch: String,
    /// The last sequence that was read.
    last: u64,
    /// Something between what was asked for and this place is no longer there.
    gap: bool,
}

impl Place {
    /// Behind `resume`, or behind the stream's end.
    async fn find(api: &Api, resume: Option<u64>) -> Result<Self, BusError> {
        let epoch = reader::epoch(&api.bus, StreamName::Records).await?;
        let info = topology::stream(&api.bus, StreamName::Records).await?;
        let state = &info.cached_info().state;
        let (last, gap) = match resume {
            None => (state.last_sequence, false),
            // An id of a stream that was made anew meanwhile, or that lost its end.
            Some(id) if id > state.last_sequence => (state.last_sequence, true),
            Some(id) => (id, id + 1 < state.first_sequence),
        };
        Ok(Self { epoch, last, gap })
    }

    /// The same place after the stream was out of sight.
    async fn again(&self, api: &Api) -> Result<Self, BusError> {
        let found = Self::find(api, Some(self.last)).await?;
        // Everything in a stream made anew is new to this client.
        if found.epoch == self.epoch { Ok(found) } else { Ok(Self { last: 0, gap: true, ..found }) }
    }
}

fn response(receiver: mpsc::Receiver<Event>) -> Response {
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("heartbeat");
    let headers = [(header::CACHE_CONTROL, "no-cache"), (HeaderName::from_static("x-accel-buffering"), "no")];
    (headers, Sse::new(events(receiver)).keep_alive(keep_alive)).into_response()
}

fn events(receiver: mpsc::Receiver<Event>) -> impl Stream<Item = Result<Event, Infallible>> {
    futures_util::stream::unfold((receiver, OpenStream::new()), |(mut receiver, open)| async move {
        let event = receiver.recv().await?;
        Some((Ok(event), (receiver, open)))
    })
}

/// One client's feed.
struct Feed {
    api: Shared,
    principal: Principal,
    filter: Filter,
    sender: mpsc::Sender<Event>,
    place: Place,
}

/// Why a feed ends.
enum End {
    /// The client is gone, or does not keep up, or may no longer see this.
    Client,
    Bus(BusError),
}

impl Feed {
    async fn run(mut self) {
        // With an id from the start: a client that loses the stream before its first outcome resumes here too.
        let connected =
            Event::default().retry(RETRY).event("connected").id(self.place.last.to_string()).data("{}");
        if self.sender.send(connected).await.is_err() || !self.tell_of_gap().await {
            return;
        }
        let (soft, closed) = (self.api.stop.soft.clone(), self.sender.clone());
        tokio::select! {
            () = self.feed() => {}
            () = closed.closed() => {}
            () = soft.cancelled() => {
                // A client that does not take even this is gone.
                drop(closed.try_send(Event::default().event("server_shutdown").data("{}")));
            }
        }
    }

    async fn feed(&mut self) {
        loop {
            match self.follow().await {
                End::Client => return,
                End::Bus(error) => {
                    tracing::debug!(%error, "a live stream lost the broker and opens anew");
                    clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
                    if let Ok(place) = self.place.again(&self.api).await {
                        self.place = place;
                    }
                    if !self.tell_of_gap().await {
                        return;
                    }
                }
            }
        }
    }

    async fn follow(&mut self) -> End {
        let names = &self.api.bus.names;
        let filter = names.outcome_filter(self.filter.workspace.as_ref());
        let opened =
            Reader::open(&self.api.bus, StreamName::Records, filter, From::Sequence(self.place.last + 1))
                .await;
        let mut reader = match opened {
            Ok(reader) => reader,
            Err(error) => return End::Bus(error),
        };
        loop {
            if self.is_revoked() {
                return End::Client;
            }
            let entries = match reader.next(BATCH_MAX).await {
                Ok(entries) => entries,
                Err(error) => return End::Bus(error),
            };
            for entry in entries {
                if !self.pass_on(&entry).await {
                    return End::Client;
                }
                self.place.last = entry.sequence;
            }
        }
    }

    /// False when the client is gone.
    async fn tell_of_gap(&mut self) -> bool {
        let gap = std::mem::take(&mut self.place.gap);
        !gap || self.sender.send(Event::default().event("gap").data("{}")).await.is_ok()
    }

    /// False when the client is gone or too slow.
    async fn pass_on(&self, entry: &Entry) -> bool {
        let Ok(outcome) = serde_json::from_slice::<Outcome>(&entry.payload) else { return true };
        if !keeps(&self.filter, &outcome) {
            return true;
        }
        let text = String::from_utf8_lossy(&entry.payload);
        let event = Event::default().event("outcome").id(entry.sequence.to_string()).data(text);
        matches!(tokio::time::timeout(PATIENCE, self.sender.send(event)).await, Ok(Ok(())))
    }

    fn is_revoked(&self) -> bool {
        let known = |hash: &String| self.api.directory.snapshot().tokens.contains_key(hash);
        // A token so new that it was looked up in the bucket is in the snapshot by the next round.
        self.principal.token_hash.as_ref().is_some_and(|hash| !known(hash)) && self.api.bus.is_connected()
    }
}

fn keeps(filter: &Filter, outcome: &Outcome) -> bool {
    (filter.status.is_empty() || filter.status.contains(&outcome.state))
        && filter.channel.as_ref().is_none_or(|channel| *channel == outcome.channel)
        && filter.kind.is_none_or(|kind| Some(kind) == outcome.kind)
        && filter.rule.as_ref().is_none_or(|rule| Some(rule) == outcome.rule.as_ref())
        && filter.event.as_ref().is_none_or(|event| *event == outcome.event.id)
        && filter.event_type.as_ref().is_none_or(|name| name == outcome.event.event_type.as_str())
        && filter.recipient.as_ref().is_none_or(|recipient| Some(recipient) == outcome.recipient.as_ref())
        && filter.severity.is_none_or(|severity| severity == outcome.severity)
}

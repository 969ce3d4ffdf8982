//! One client's feed: reads a stream of the broker from a place on, and passes on what the client may see.
//!
//! It ends when the process stops, when the token is revoked, when the client is gone, and when it does not keep up. While
//! the broker is away it waits and opens anew, so that the client notices nothing but silence.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::frames::{self, Frame, Frames, Outlet};
use super::place::Place;
use crate::api::auth::{Principal, agents};
use crate::api::problem::Problem;
use crate::api::{Api, Shared};
use crate::bus::reader::{Entry, From, Reader};
use crate::bus::{Bus, BusError, Names, StreamName};
use crate::clock;
use crate::documents::Role;
use crate::live::frame::FrameName;
use crate::metrics::{Followed, OpenStream, StreamEnd, Transport};
use crate::store::inbox::Owner;

/// The first frame. It has an id: a client that loses the stream before anything happened resumes there too.
pub const CONNECTED: &str = "connected";
/// What an event is told as.
pub const EVENT: &str = "event";
/// What an outcome is told as.
pub const OUTCOME: &str = "outcome";
/// Messages may be as large as the broker takes them, and wait here for a client that is slow.
const BATCH_MAX: usize = 32;
/// Between two looks whether an agent is one.
const AGENT_LOOK: Duration = Duration::from_secs(2);
const AFTER_TROUBLE: Duration = Duration::from_millis(500);
/// A token that was made just now is followed by this process within this time, or it is gone again.
const NEW_TOKEN: Duration = Duration::from_secs(2);

/// What a client sees of a stream of the broker.
pub trait View: Send + Sync + 'static {
    const STREAM: StreamName;
    const FOLLOWED: Followed;

    /// What the broker sends of it.
    fn filter(&self, names: &Names) -> String;

    /// What a message becomes; None when it is not for this client. `epoch` is that of the stream.
    fn show(&self, bus: &Bus, epoch: &Arc<str>, entry: Entry) -> Option<Frame>;
}

/// Opens a feed behind `resume`, or behind all that there is.
///
/// # Errors
/// When the broker does not answer.
pub async fn open<V: View>(
    api: Shared,
    principal: &Principal,
    view: V,
    resume: Option<u64>,
    transport: Transport,
) -> Result<Frames, Problem> {
    let place = Place::find(&api.bus, V::STREAM, resume).await?;
    let (outlet, frames) = frames::pair(OpenStream::new(V::FOLLOWED, transport));
    spawn(run(api, Holder::of(principal), Feed { view, place }, outlet));
    Ok(frames)
}

/// One client's feed ends with that client, and its failure is nobody else's.
#[expect(clippy::disallowed_methods, reason = "nothing rests on one client's stream")]
fn spawn(feed: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(feed);
}

async fn run<V: View>(api: Shared, holder: Holder, mut feed: Feed<V>, outlet: Outlet) {
    let end = tokio::select! {
        biased;
        () = api.stop.soft.cancelled() => StreamEnd::Shutdown,
        () = outlet.closed() => StreamEnd::Client,
        () = revoked(&api, holder.token.as_deref()) => StreamEnd::Revoked,
        () = became_human(&api, holder.agent.as_ref()) => StreamEnd::Revoked,
        ended = feed.run(&api, &outlet) => {
            let Err(end) = ended;
            end
        }
    };
    outlet.end(end);
}

/// Whose stream it is.
struct Holder {
    /// None for the administrator of the settings.
    token: Option<String>,
    /// The agent that the token is of.
    agent: Option<Owner>,
}

impl Holder {
    fn of(principal: &Principal) -> Self {
        let Principal { role, workspace, recipient, token_hash, .. } = principal.clone();
        let agent = workspace.zip(recipient).filter(|_| role == Role::Agent);
        let agent = agent.map(|(workspace, recipient)| Owner { workspace, recipient });
        Self { token: token_hash, agent }
    }
}

/// Waits until an agent is registered as human: it is out of its token's reach then.
async fn became_human(api: &Api, agent: Option<&Owner>) {
    let Some(Owner { workspace, recipient }) = agent else { return std::future::pending().await };
    loop {
        clock::sleep(clock::jittered(AGENT_LOOK)).await;
        // What cannot be asked now is asked again.
        if agents::is_human(api, workspace, recipient).await.unwrap_or(false) {
            return;
        }
    }
}

/// Waits until the token is revoked. The administrator of the settings never is.
async fn revoked(api: &Api, token: Option<&str>) {
    let Some(hash) = token else { return std::future::pending().await };
    // One that was made by another process just now was looked up in the bucket, and is not followed here yet.
    let followed = api.directory.until(|snapshot| snapshot.tokens.contains_key(hash));
    tokio::pin!(followed);
    while tokio::time::timeout(NEW_TOKEN, &mut followed).await.is_err() {
        if api.bus.is_connected() {
            return;
        }
    }
    api.directory.until(|snapshot| !snapshot.tokens.contains_key(hash)).await;
}

struct Feed<V> {
    view: V,
    place: Place,
}

impl<V: View> Feed<V> {
    /// Goes on until the client is gone or does not keep up.
    async fn run(&mut self, api: &Api, outlet: &Outlet) -> Result<Infallible, StreamEnd> {
        outlet.tell(Frame { id: Some(self.place.last), ..Frame::plain(CONNECTED) }).await?;
        loop {
            if std::mem::take(&mut self.place.gap) {
                outlet.tell(Frame::plain(FrameName::Gap.as_str())).await?;
            }
            let error = self.follow(&api.bus, outlet).await?;
            tracing::debug!(%error, "a live stream lost the broker and opens anew");
            clock::sleep(clock::jittered(AFTER_TROUBLE)).await;
            if let Ok(place) = self.place.again(&api.bus).await {
                self.place = place;
            }
        }
    }

    /// Passes on what comes until the broker is lost, and returns how.
    async fn follow(&mut self, bus: &Bus, outlet: &Outlet) -> Result<BusError, StreamEnd> {
        let from = From::Sequence(self.place.last + 1);
        let mut reader = match Reader::open(bus, V::STREAM, self.view.filter(&bus.names), from).await {
            Ok(reader) => reader.asking(BATCH_MAX),
            Err(error) => return Ok(error),
        };
        let epoch = Arc::from(self.place.epoch.as_str());
        loop {
            let entries = match reader.next(BATCH_MAX).await {
                Ok(entries) => entries,
                Err(error) => return Ok(error),
            };
            for entry in entries {
                let sequence = entry.sequence;
                if let Some(frame) = self.view.show(bus, &epoch, entry) {
                    outlet.tell(frame).await?;
                }
                self.place.last = sequence;
            }
        }
    }
}

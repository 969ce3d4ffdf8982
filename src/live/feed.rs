//! What one client gets: what it missed, read from SQL page by page, and then what is heard, each change once.
//!
//! The id of a frame says what the client has seen with it, of its own inbox and of everybody's. It is made here, at the end of
//! the queue, so that it never claims what still waits. While nothing happens a feed holds no buffer and no timer.

mod read;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_util::Stream;

use self::read::{Reader, Reading, Step};
use super::follower::{Behind, End, Entry, Follower, LookUp, Taken, Took};
use super::frame::{Frame, Sent};
use super::hear::NEW_TOKEN;
use super::heard::Heard;
use super::place::{Place, Side};
use super::{Hub, Topics};
use crate::metrics::{Followed, OpenStream, StreamEnd};
use crate::store::StoreError;
use crate::store::inbox::Owner;
use crate::store::inbox::changes::Standing;

/// Frames of one moment, in their order.
pub type Frames = Vec<Sent>;

pub struct Feed {
    hub: Arc<Hub>,
    follower: Arc<Follower>,
    topics: Topics,
    /// What the client has seen.
    sent: Place,
    /// From here on it has seen everything on this connection.
    begun: Place,
    /// The end of a replay.
    until: Place,
    /// What is told at once.
    first: VecDeque<Sent>,
    phase: Phase,
    /// A place from which the client wants to have what it missed before this connection.
    resume: Option<Place>,
    /// Whether its holder may still, where that has to be looked up.
    checking: Option<LookUp>,
    open: OpenStream,
    /// What the client did that its connection had to be ended for.
    fault: Option<StreamEnd>,
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum Phase {
    /// Asks where the inbox stands, to begin behind this place.
    Beginning(Boxed<Standing>, Option<Place>),
    /// Reads what was missed, until both inboxes are told live.
    Reading(Boxed<(Step, Reading)>),
    Live,
    /// Reads what the client missed before it came, up to where this connection began; what is live waits. With what the
    /// client has seen of it.
    Replaying(Boxed<(Step, Reading)>, Place),
    Over,
}

impl Feed {
    pub(super) fn new(hub: Arc<Hub>, follower: Arc<Follower>, topics: Topics) -> Self {
        let open = OpenStream::new(Followed::Inbox, follower.transport);
        let nowhere = Place::default();
        let (sent, begun, until, first) = (nowhere, nowhere, nowhere, VecDeque::new());
        Self {
            hub,
            follower,
            topics,
            sent,
            begun,
            until,
            first,
            phase: Phase::Live,
            resume: None,
            checking: None,
            open,
            fault: None,
        }
    }

    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.follower.owner
    }

    /// Whether its holder may still see this inbox.
    pub fn may_go_on(&self) -> impl Future<Output = bool> + Send + use<> {
        let follower = Arc::clone(&self.follower);
        async move {
            let looked_up = match follower.look_up() {
                Some(look_up) => look_up.await,
                None => true,
            };
            looked_up && follower.holds(NEW_TOKEN)
        }
    }

    /// The client does not take what it is given.
    pub fn cut_slow(&self) {
        self.follower.end(End::Slow);
    }

    /// The client's connection is ended for what it did.
    pub fn blame(&mut self, fault: StreamEnd) {
        self.fault = Some(fault);
    }

    /// Stands behind `after`, or at the inbox's end.
    pub(super) async fn begin(&mut self, after: Option<Place>) -> Result<(), StoreError> {
        let standing = self.hub.ask(|| self.hub.store.standing(&self.follower.owner)).await?;
        self.begin_at(after, standing);
        Ok(())
    }

    /// The same as soon as the database answers, however long that takes: a browser gives a stream up that is refused once.
    pub(super) fn begin_soon(&mut self, after: Option<Place>) {
        self.sent = after.unwrap_or_default();
        self.phase = Phase::Beginning(Box::pin(self.reader().standing()), after);
    }

    fn begin_at(&mut self, after: Option<Place>, standing: Standing) {
        let now = self.place_of(standing);
        let lost = after.is_some_and(|after| after.is_ahead_of(now));
        let from = after.filter(|_| !lost).unwrap_or(now);
        self.stand(from, standing);
        self.tell(Frame::Connected);
        if lost {
            self.tell(Frame::Gap);
        }
    }

    /// Goes on behind `from`.
    fn stand(&mut self, from: Place, standing: Standing) {
        let now = self.place_of(standing);
        (self.sent, self.begun) = (from, from);
        self.follower.begin(from, standing);
        let complete = Side::BOTH.map(|side| from.of(side) == now.of(side));
        self.read_on(Reading { from, complete });
    }

    fn reader(&self) -> Reader {
        let (hub, follower, topics) =
            (Arc::clone(&self.hub), Arc::clone(&self.follower), self.topics.clone());
        Reader { hub, follower, topics }
    }

    fn read_on(&mut self, reading: Reading) {
        self.phase = Phase::Reading(Box::pin(self.reader().catch_up(reading)));
    }

    fn replay_on(&mut self, reading: Reading, seen: Place) {
        self.phase = Phase::Replaying(Box::pin(self.reader().replay(reading, self.until)), seen);
    }

    /// Where the inbox stands is asked, and told of as a gap.
    fn begin_anew(&mut self) {
        let reading = Reading { from: self.sent, complete: [false; 2] };
        self.phase = Phase::Reading(Box::pin(self.reader().anew(reading)));
    }

    fn place_of(&self, standing: Standing) -> Place {
        let own = if self.follower.is_everybody() { 0 } else { standing.own };
        Place { own, everybody: standing.everybody }
    }

    /// What the client has seen without a hole: behind it nothing is lost, whenever the connection breaks.
    #[must_use]
    pub fn here(&self) -> Place {
        match (&self.phase, self.resume) {
            (Phase::Replaying(_, seen), None) => *seen,
            (Phase::Replaying(_, seen), Some(wanted)) => seen.lower(wanted),
            (Phase::Beginning(..) | Phase::Reading(_) | Phase::Live | Phase::Over, Some(wanted)) => {
                self.sent.lower(wanted)
            }
            (Phase::Beginning(..) | Phase::Reading(_) | Phase::Live | Phase::Over, None) => self.sent,
        }
    }

    fn at(&self, frame: Frame) -> Sent {
        Sent { frame, id: self.here() }
    }

    fn tell(&mut self, frame: Frame) {
        let sent = self.at(frame);
        self.first.push_back(sent);
    }

    /// Gives the client what it missed behind `after`, before this connection began. What it got on it does not come again.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn resume(&mut self, after: Place) -> Result<(), StoreError> {
        let standing = self.hub.ask(|| self.hub.store.standing(&self.follower.owner)).await?;
        if after.is_ahead_of(self.place_of(standing)) {
            self.tell(Frame::Gap);
        } else {
            self.resume = Some(self.resume.map_or(after, |before| before.lower(after)));
        }
        Ok(())
    }

    fn poll_frames(&mut self, context: &mut Context<'_>) -> Poll<Option<Frames>> {
        loop {
            if !self.first.is_empty() {
                return Poll::Ready(Some(std::mem::take(&mut self.first).into()));
            }
            let hold = match &self.phase {
                Phase::Over => return Poll::Ready(None),
                Phase::Replaying(..) => true,
                Phase::Beginning(..) | Phase::Reading(_) | Phase::Live => false,
            };
            if let Some(Poll::Ready(may)) = self.checking.as_mut().map(|check| check.as_mut().poll(context)) {
                self.checking = None;
                if !may {
                    self.follower.end(End::Revoked);
                }
            }
            match self.follower.take(hold, context) {
                Poll::Ready(Taken::Behind(Behind::Full)) => {
                    self.follower.rejoin(self.sent);
                    self.read_on(Reading { from: self.sent, complete: [false; 2] });
                }
                Poll::Ready(Taken::Behind(Behind::Lost)) => self.begin_anew(),
                Poll::Ready(Taken::Check) => self.checking = self.follower.look_up(),
                Poll::Ready(taken) => return Poll::Ready(Some(self.told(taken))),
                Poll::Pending => ready!(self.poll_read(context)),
            }
        }
    }

    fn told(&mut self, taken: Taken) -> Frames {
        match taken {
            Taken::Entries(entries) => {
                let mut frames = Vec::with_capacity(entries.len() * 2);
                for Entry { side, heard, unread } in entries {
                    self.sent.set(side, heard.seq);
                    self.push(&mut frames, heard, unread);
                }
                frames
            }
            Taken::Unread(count) => vec![self.at(Frame::UnreadCount(count))],
            Taken::Heartbeat => vec![self.at(Frame::Heartbeat)],
            Taken::End(_) if matches!(self.phase, Phase::Beginning(_, None)) => {
                // It stands nowhere yet: no id would be true.
                self.phase = Phase::Over;
                Vec::new()
            }
            Taken::End(end) => {
                let last = self.at(end.frame());
                self.phase = Phase::Over;
                vec![last]
            }
            Taken::Behind(_) | Taken::Check => Vec::new(),
        }
    }

    fn push(&self, frames: &mut Frames, heard: Arc<Heard>, unread: Option<u64>) {
        frames.push(self.at(Frame::Change(heard)));
        frames.extend(unread.map(|count| self.at(Frame::UnreadCount(count))));
    }

    /// Goes on reading; ready when there is something to tell or to take, or another phase.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.phase {
            Phase::Beginning(standing, after) => {
                let (standing, after) = (ready!(standing.as_mut().poll(context)), *after);
                self.begin_at(after, standing);
            }
            Phase::Reading(step) => {
                let (step, reading) = ready!(step.as_mut().poll(context));
                self.took_step(step, reading);
            }
            Phase::Replaying(step, seen) => {
                let (step, reading) = ready!(step.as_mut().poll(context));
                let seen = *seen;
                self.took_replay(step, reading, seen);
            }
            Phase::Live => match self.resume.take() {
                Some(after) => self.begin_replay(after),
                None => return Poll::Pending,
            },
            Phase::Over => {}
        }
        Poll::Ready(())
    }

    fn took_step(&mut self, step: Step, reading: Reading) {
        match step {
            Step::Page(side, changes) => {
                for heard in changes.into_iter().map(Heard::of) {
                    let (entry, took) = self.follower.read(side, heard);
                    if took == Took::Uncounted {
                        self.hub.count_anew(&self.follower);
                    }
                    if let Some(Entry { heard, .. }) = entry {
                        self.sent.set(side, heard.seq);
                        self.tell(Frame::Change(heard));
                    }
                }
                self.sent.set(side, reading.from.of(side));
                self.read_on(reading);
            }
            Step::Done => {
                self.phase = Phase::Live;
                // Whatever was read altered it.
                self.follower.tell_unread();
            }
            Step::Full => self.phase = Phase::Live,
            Step::Expired => self.begin_anew(),
            Step::Anew(standing) => {
                self.stand(self.place_of(standing), standing);
                self.tell(Frame::Gap);
            }
        }
    }

    fn begin_replay(&mut self, after: Place) {
        let until = self.begun;
        self.begun = until.lower(after);
        if self.begun == until {
            // The client waits for an answer.
            self.follower.tell_unread();
        } else {
            let from = self.begun;
            self.until = until;
            self.replay_on(Reading { from, complete: [false; 2] }, from);
        }
    }

    fn took_replay(&mut self, step: Step, reading: Reading, mut seen: Place) {
        match step {
            Step::Page(side, changes) => {
                for heard in changes.into_iter().map(Heard::of) {
                    seen.set(side, heard.seq);
                    if self.follower.sees(side, &heard) {
                        self.first.push_back(Sent { frame: Frame::Change(Arc::new(heard)), id: seen });
                    }
                }
                seen.set(side, reading.from.of(side));
                self.replay_on(reading, seen);
            }
            Step::Expired => {
                self.phase = Phase::Live;
                self.tell(Frame::Gap);
            }
            // The id of what is told now says that all of it was.
            Step::Done | Step::Full | Step::Anew(_) => {
                self.phase = Phase::Live;
                self.follower.tell_unread();
            }
        }
    }
}

impl Stream for Feed {
    type Item = Frames;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frames>> {
        let feed = self.get_mut();
        let frames = ready!(feed.poll_frames(context));
        if let Some(frames) = &frames {
            feed.open.sent(frames.len());
            feed.follower.handed();
        }
        Poll::Ready(frames)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.hub.leave(&self.follower, &self.topics);
        let ended = || self.follower.ended(Instant::now()).map(End::counted);
        self.open.ended(self.fault.or_else(ended).unwrap_or(StreamEnd::Client));
    }
}

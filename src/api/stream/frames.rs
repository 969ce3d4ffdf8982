//! What one client is told, whatever the wire: frames on their way from a feed to a connection.
//!
//! So many bytes of them wait for a client that is slow; beyond it the feed is cut, and the client resumes. Why a feed ended
//! is said in a last frame.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::live::frame::FrameName;
use crate::metrics::{OpenStream, StreamEnd};

/// What may wait for one client.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// What a frame costs beside its data.
const FRAME_BYTES: usize = 256;
/// A client that makes no room for this long does not keep up.
const PATIENCE: Duration = Duration::from_secs(10);

/// One thing that a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub name: &'static str,
    /// From where to resume.
    pub id: Option<u64>,
    /// JSON in one line.
    pub data: Cow<'static, str>,
}

impl Frame {
    #[must_use]
    pub fn plain(name: &'static str) -> Self {
        Self { name, id: None, data: Cow::Borrowed("{}") }
    }

    /// What a client is told at the end; nothing where nobody listens.
    fn last(end: StreamEnd) -> Option<Self> {
        match end {
            StreamEnd::Client | StreamEnd::Silent | StreamEnd::Abuse => None,
            StreamEnd::Shutdown => Some(Self::plain(FrameName::ServerShutdown.as_str())),
            StreamEnd::Slow | StreamEnd::Revoked => {
                let data = format!("{{\"reason\":\"{end}\"}}").into();
                Some(Self { name: FrameName::Cut.as_str(), id: None, data })
            }
        }
    }
}

type Waiting = (Frame, OwnedSemaphorePermit);

/// The feed's end of it.
pub struct Outlet {
    sender: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
    end: Arc<OnceLock<StreamEnd>>,
    open: OpenStream,
}

/// The connection's end of it.
pub struct Frames {
    receiver: mpsc::UnboundedReceiver<Waiting>,
    end: Arc<OnceLock<StreamEnd>>,
    over: bool,
}

#[must_use]
pub fn pair(open: OpenStream) -> (Outlet, Frames) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let end = Arc::<OnceLock<StreamEnd>>::default();
    let room = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
    let frames = Frames { receiver, end: Arc::clone(&end), over: false };
    (Outlet { sender, room, end, open }, frames)
}

impl Outlet {
    /// Hands a frame to the client as soon as there is room for it.
    ///
    /// # Errors
    /// Why the feed has to end: the client is gone, or does not keep up.
    pub async fn tell(&self, frame: Frame) -> Result<(), StreamEnd> {
        // One that is larger than all the room is alone in it.
        let cost = (frame.data.len() + FRAME_BYTES).min(WAITING_BYTES_MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(u32::try_from(cost).unwrap_or(u32::MAX));
        let room = tokio::time::timeout(PATIENCE, room).await.map_err(|_| StreamEnd::Slow)?;
        self.sender.send((frame, room.map_err(|_| StreamEnd::Client)?)).map_err(|_| StreamEnd::Client)?;
        self.open.sent(1);
        Ok(())
    }

    /// Waits until the client is gone.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }

    /// The feed is over.
    pub fn end(self, why: StreamEnd) {
        self.open.ended(why);
        self.end.get_or_init(|| why);
    }
}

impl Frames {
    /// Why the feed ended, once that was told.
    #[must_use]
    pub fn ended(&self) -> Option<StreamEnd> {
        self.end.get().copied().filter(|_| self.over)
    }
}

impl Stream for Frames {
    type Item = Frame;

    /// Whoever is cut is told so before what still waits: they resume there.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        if self.over {
            return Poll::Ready(None);
        }
        let cut = matches!(self.end.get(), Some(StreamEnd::Slow | StreamEnd::Revoked));
        if !cut && let Some((frame, _)) = ready!(self.receiver.poll_recv(context)) {
            return Poll::Ready(Some(frame));
        }
        self.over = true;
        self.receiver.close();
        while self.receiver.try_recv().is_ok() {}
        Poll::Ready(self.end.get().copied().and_then(Frame::last))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;
    use crate::metrics::{Followed, Transport};

    fn pair() -> (Outlet, Frames) {
        super::pair(OpenStream::new(Followed::Events, Transport::Sse))
    }

    fn frame(id: u64, bytes: usize) -> Frame {
        Frame { name: "event", id: Some(id), data: "x".repeat(bytes).into() }
    }

    #[tokio::test]
    async fn frames_come_in_their_order_and_a_shutdown_comes_behind_them() {
        let (outlet, mut frames) = pair();
        for id in 0..3 {
            outlet.tell(frame(id, 10)).await.unwrap();
        }
        outlet.end(StreamEnd::Shutdown);
        for id in 0..3 {
            assert_eq!(frames.next().await.unwrap().id, Some(id));
        }
        assert_eq!(frames.next().await, Some(Frame::plain("server_shutdown")));
        assert_eq!(frames.next().await, None);
    }

    #[tokio::test]
    async fn whoever_is_cut_is_told_so_before_what_waits() {
        for (end, data) in
            [(StreamEnd::Slow, r#"{"reason":"slow"}"#), (StreamEnd::Revoked, r#"{"reason":"revoked"}"#)]
        {
            let (outlet, mut frames) = pair();
            outlet.tell(frame(1, 10)).await.unwrap();
            outlet.tell(frame(2, 10)).await.unwrap();
            assert_eq!(frames.next().await.unwrap().id, Some(1));
            outlet.end(end);
            let last = frames.next().await.unwrap();
            assert_eq!((last.name, last.data.as_ref(), last.id), ("cut", data, None));
            assert_eq!(frames.next().await, None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_slow_when_so_many_bytes_wait() {
        let (outlet, mut frames) = pair();
        // Larger than all the room, and taken nevertheless.
        outlet.tell(frame(1, WAITING_BYTES_MAX * 2)).await.unwrap();
        assert_eq!(outlet.tell(frame(2, 1)).await, Err(StreamEnd::Slow));
        assert_eq!(frames.next().await.unwrap().id, Some(1));
        for id in 3..1_000 {
            outlet.tell(frame(id, 10)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_client_that_is_gone_ends_the_feed() {
        let (outlet, frames) = pair();
        drop(frames);
        outlet.closed().await;
        assert_eq!(outlet.tell(frame(1, 1)).await, Err(StreamEnd::Client));
    }
}

//! What is counted of live streams: how many are open, what they are told, and how they end.

use metrics::{Counter, Unit, counter, describe_counter, describe_gauge, gauge};
use serde::{Deserialize, Serialize};

const OPEN: &str = "bugle_streams_open";
const FRAMES: &str = "bugle_stream_frames_sent_total";
const ENDED: &str = "bugle_streams_ended_total";
const CATCH_UPS: &str = "bugle_inbox_catch_ups_total";

crate::outcome::words! {
    /// What is followed.
    Followed {
        Inbox = "inbox",
        Deliveries = "deliveries",
        Events = "events",
    }
}

crate::outcome::words! {
    Transport {
        /// Server-sent events.
        Sse = "sse",
        /// A `WebSocket`.
        Ws = "ws",
    }
}

crate::outcome::words! {
    /// Why a live stream ended.
    StreamEnd {
        /// The client went away.
        Client = "client",
        /// The process stops.
        Shutdown = "shutdown",
        /// The client did not take what there was.
        Slow = "slow",
        /// Its token is gone, or may no more.
        Revoked = "revoked",
        /// It answered no ping.
        Silent = "silent",
        /// It sent too much, too often, or what is no WebSocket.
        Abuse = "abuse",
    }
}

/// Counts a live stream for as long as it lives.
pub struct OpenStream {
    followed: Followed,
    transport: Transport,
    /// Looked up once: thousands are told the same thing at a time.
    frames: Counter,
}

impl OpenStream {
    #[must_use]
    pub fn new(followed: Followed, transport: Transport) -> Self {
        gauge!(OPEN, "stream" => followed.as_str(), "transport" => transport.as_str()).increment(1.0);
        let frames = counter!(FRAMES, "stream" => followed.as_str(), "transport" => transport.as_str());
        Self { followed, transport, frames }
    }

    pub fn sent(&self, frames: usize) {
        self.frames.increment(frames as u64);
    }

    pub fn ended(&self, why: StreamEnd) {
        counter!(ENDED, "stream" => self.followed.as_str(), "reason" => why.as_str()).increment(1);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        gauge!(OPEN, "stream" => self.followed.as_str(), "transport" => self.transport.as_str())
            .decrement(1.0);
    }
}

pub fn inbox_caught_up() {
    counter!(CATCH_UPS).increment(1);
}

pub(super) fn describe() {
    describe_gauge!(OPEN, Unit::Count, "Live streams open, by what is followed and by transport.");
    describe_counter!(
        FRAMES,
        Unit::Count,
        "Frames told to those who follow, by what is followed and by transport."
    );
    describe_counter!(ENDED, Unit::Count, "Live streams that ended, by what was followed and by reason.");
    describe_counter!(
        CATCH_UPS,
        Unit::Count,
        "Times that missed changes of an inbox were read from the database."
    );
}

pub(super) fn start_at_zero() {
    for followed in Followed::ALL {
        for transport in Transport::ALL {
            let labels = [("stream", followed.as_str()), ("transport", transport.as_str())];
            gauge!(OPEN, &labels).set(0.0);
            counter!(FRAMES, &labels).absolute(0);
        }
        for why in StreamEnd::ALL {
            counter!(ENDED, "stream" => followed.as_str(), "reason" => why.as_str()).absolute(0);
        }
    }
    counter!(CATCH_UPS).absolute(0);
}

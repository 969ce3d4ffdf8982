//! What is counted of live inboxes.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use serde::{Deserialize, Serialize};

const STREAMS_OPEN: &str = "bugle_inbox_streams_open";
const FRAMES_SENT: &str = "bugle_inbox_frames_sent_total";
const STREAMS_CUT: &str = "bugle_inbox_streams_cut_total";
const CATCH_UPS: &str = "bugle_inbox_catch_ups_total";

crate::outcome::words! {
    InboxTransport {
        /// Server-sent events.
        Sse = "sse",
        /// A `WebSocket`.
        Ws = "ws",
    }
}

crate::outcome::words! {
    /// Why a live inbox was ended by this side.
    InboxCut {
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

/// Counts a live inbox for as long as it lives, and why it ended.
pub struct OpenInboxStream {
    transport: InboxTransport,
}

impl OpenInboxStream {
    #[must_use]
    pub fn new(transport: InboxTransport) -> Self {
        gauge!(STREAMS_OPEN, "transport" => transport.as_str()).increment(1.0);
        Self { transport }
    }

    pub fn sent(&self, frames: usize) {
        counter!(FRAMES_SENT, "transport" => self.transport.as_str()).increment(frames as u64);
    }
}

impl Drop for OpenInboxStream {
    fn drop(&mut self) {
        gauge!(STREAMS_OPEN, "transport" => self.transport.as_str()).decrement(1.0);
    }
}

pub fn inbox_cut(why: InboxCut) {
    counter!(STREAMS_CUT, "reason" => why.as_str()).increment(1);
}

pub fn inbox_caught_up() {
    counter!(CATCH_UPS).increment(1);
}

pub(super) fn describe() {
    describe_gauge!(STREAMS_OPEN, Unit::Count, "Live inboxes open, by transport.");
    describe_counter!(FRAMES_SENT, Unit::Count, "Frames told to those who follow inboxes, by transport.");
    describe_counter!(STREAMS_CUT, Unit::Count, "Live inboxes that were ended by this side, by reason.");
    describe_counter!(
        CATCH_UPS,
        Unit::Count,
        "Times that missed changes of an inbox were read from the database."
    );
}

pub(super) fn start_at_zero() {
    for transport in InboxTransport::ALL {
        gauge!(STREAMS_OPEN, "transport" => transport.as_str()).set(0.0);
        counter!(FRAMES_SENT, "transport" => transport.as_str()).absolute(0);
    }
    for why in InboxCut::ALL {
        counter!(STREAMS_CUT, "reason" => why.as_str()).absolute(0);
    }
    counter!(CATCH_UPS).absolute(0);
}

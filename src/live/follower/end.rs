//! How a feed is ended by this side.

use crate::live::frame::{CutReason, Frame};
use crate::metrics::StreamEnd;

/// Why a feed is ended by this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Shutdown,
    /// The client does not take what there is.
    Slow,
    /// The token is gone, or may no more.
    Revoked,
}

impl End {
    #[must_use]
    pub fn frame(self) -> Frame {
        match self {
            Self::Shutdown => Frame::ServerShutdown,
            Self::Slow => Frame::Cut(CutReason::Slow),
            Self::Revoked => Frame::Cut(CutReason::Revoked),
        }
    }

    #[must_use]
    pub fn counted(self) -> StreamEnd {
        match self {
            Self::Shutdown => StreamEnd::Shutdown,
            Self::Slow => StreamEnd::Slow,
            Self::Revoked => StreamEnd::Revoked,
        }
    }
}

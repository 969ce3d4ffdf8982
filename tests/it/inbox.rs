//! Inboxes: what lies in them, and what is told of them live.

mod live;
mod resume;
mod stream;
mod ws;

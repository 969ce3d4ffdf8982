//! The API as its clients know it.

mod dead_letters;
mod limits;
mod lists;
mod live;
mod live_events;
mod origins;
mod rules;
mod surface;
mod tickets;
mod tokens;

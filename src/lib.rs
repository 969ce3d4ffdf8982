//! Bugle turns events into notifications, and proves that none was lost.
//!
//! The modules, in the order in which an event travels:
//!
//! - words: [`ids`], [`event`], [`rule`], [`delivery`], [`attachment`], [`outcome`], [`channel`], [`connection`],
//!   [`recipient`], [`preferences`], [`notification`], [`documents`]
//! - [`source`]: events that come from elsewhere, and what they become
//! - [`route`]: who gets what, and why not
//! - [`deliver`]: one try, and what its end means; [`errand`]: what is asked of a worker at once
//! - [`dead`]: what was given up, kept whole; [`own_events`]: what became of deliveries, as events
//! - [`jobs`]: long work that somebody asked for: dead letters sent again, events routed once more
//! - [`record`] and [`store`]: from outcomes to SQL, exactly once, and out of it what is kept no longer
//! - [`explain`]: what an event leads to, and why; [`fixture`]: whether that is what was meant
//! - [`live`]: what changes in inboxes, passed on to whoever follows one
//! - [`api`]: history, sends, inboxes, tokens and live streams; [`send`] and [`notify`]: what somebody sends without an event; [`unsubscribe`]: links with which recipients end what is sent to them
//! - [`preset`]: what one begins with; [`import`]: documents from other systems' configuration; [`schema`]: the shape of what people write
//! - [`secrets`]: where they stand in documents, and what is shown in their place
//! - [`presence`]: who is there and how it does; [`overview`]: how a whole installation stands, for people; [`doctor`]: what would lose data or stall
//! - shell: [`bus`], [`shelf`], [`app`], [`cli`], [`apply`], [`config`], [`embedded`], [`health`], [`metrics`], [`telemetry`],
//!   [`trace`], [`clock`], [`task`]
//!
//! What must not be, and is checked by the lints and by `tests/tidy.rs`:
//!
//! - no I/O, clock or chance in the words, in `route::plan`, in `deliver::decide`;
//! - no acknowledgement outside `bus::consumer`; no SQL outside `store`; no subject built outside `bus::subject`;
//! - no promise in memory: every timer and every queue is the broker's.

pub mod api;
pub mod app;
pub mod apply;
pub mod attachment;
pub mod bus;
pub mod channel;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connection;
pub mod dead;
pub mod deliver;
pub mod delivery;
pub mod device;
pub mod doctor;
pub mod documents;
pub mod embedded;
pub mod errand;
pub mod event;
pub mod explain;
pub mod fixture;
pub mod health;
pub mod ids;
pub mod import;
pub mod installation;
pub mod jobs;
pub mod live;
pub mod metrics;
pub mod notification;
pub mod notify;
pub mod outcome;
pub mod overview;
pub mod own_events;
pub mod preferences;
pub mod presence;
pub mod preset;
pub mod publish;
pub mod recipient;
pub mod record;
pub mod route;
pub mod rule;
pub mod schema;
pub mod secrets;
pub mod send;
pub mod shelf;
pub mod source;
pub mod store;
pub mod task;
pub mod telemetry;
pub mod trace;
pub mod unsubscribe;

/// The code of the page on adding a channel is true: it is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/adding-a-channel.md")]
pub struct AddingAChannel;

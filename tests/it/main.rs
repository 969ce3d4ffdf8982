//! The journeys: what users are promised, tried on the real programs against a real nats-server and both databases.
//!
//! Each test has an installation of its own (a prefix, a database, a folder, free ports), so they run side by side.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails by panicking, and waits for conditions with a deadline"
)]

mod support;

mod api;
mod bells;
mod channels;
mod chaos;
mod circuits;
mod cli;
mod clients;
mod compose;
mod connections;
mod dashboards;
mod delivery;
mod docs;
mod email;
mod embedded;
mod explain;
mod faults;
mod fuzz;
mod golden;
mod import;
mod inbox;
mod inside;
mod jobs;
mod leaks;
mod machines;
mod metrics;
mod network;
mod own_events;
mod pacing;
mod preferences;
mod presets;
mod push;
mod recipients;
mod retention;
mod retries;
mod rules;
mod secrets;
mod security;
mod sends;
mod settings;
mod sources;
mod telegram;
mod texts;
mod threads;
mod tracing;
mod undecodable;
mod upgrade;
mod versions;
mod whatsapp;

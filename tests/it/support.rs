//! An installation of Bugle and what stands around it, on the testbed's servers and processes.

pub mod api;
pub mod bugle;
pub mod database;
pub mod documents;
pub mod earlier;
pub mod prometheus;
pub mod sink;
pub mod slack;
pub mod stream;
pub mod telegram;
pub mod wire;

pub use testbed::{
    Folder, LATER, SOON, broker, ensure, eventually, free_port, pause, postgres, process, steadily, unique,
};

//! The command line for people, on real processes: what it shows, what its exit code says, and what a machine gets of it.

mod doctor;
mod status;

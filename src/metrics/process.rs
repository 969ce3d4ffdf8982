//! What a process says about itself: what it is, whether it is ready, and whether it reaches what it needs.

use metrics::{counter, gauge};

use super::names::{BUILD, CONNECTED, DATABASE_OUTAGES, DATABASE_UP, DISCONNECTS, MEMORY, READY, STARTED};
use crate::app::Role;
use crate::clock;

/// What this program was built from, where whoever built it said so.
const REVISION: &str = match option_env!("BUGLE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

pub(super) fn started(role: Role) {
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("revision", REVISION), ("role", role.as_str())];
    gauge!(BUILD, &labels).set(1.0);
    gauge!(STARTED).set(f64::from(u32::try_from(clock::now().as_second()).unwrap_or(0)));
}

/// What is measured when somebody asks.
pub fn process(ready: bool) {
    gauge!(READY).set(u8::from(ready));
    // Linux says it; elsewhere there is no such series.
    if let Some(kibibytes) = std::fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident) {
        gauge!(MEMORY).set(f64::from(kibibytes) * 1024.0);
    }
}

fn resident(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

pub fn nats_connected(connected: bool) {
    gauge!(CONNECTED).set(u8::from(connected));
}

pub fn nats_disconnected() {
    counter!(DISCONNECTS).increment(1);
    nats_connected(false);
}

pub fn database_up(up: bool) {
    gauge!(DATABASE_UP).set(u8::from(up));
}

/// It answered before and does so no more.
pub fn database_lost() {
    counter!(DATABASE_OUTAGES).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_process_is_read_from_its_line() {
        assert_eq!(resident("Name:\tbugle\nVmPeak:\t  99 kB\nVmRSS:\t   10240 kB\n"), Some(10240));
        assert_eq!(resident("Name:\tbugle\n"), None);
    }
}

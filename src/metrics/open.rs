//! What is counted for as long as it lives.

use metrics::gauge;

use super::names::SOURCES_UNATTACHED;

/// Counts a source that cannot be attached for as long as it lives.
pub struct Unattached;

impl Unattached {
    #[must_use]
    pub fn new() -> Self {
        gauge!(SOURCES_UNATTACHED).increment(1.0);
        Self
    }
}

impl Default for Unattached {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Unattached {
    fn drop(&mut self) {
        gauge!(SOURCES_UNATTACHED).decrement(1.0);
    }
}

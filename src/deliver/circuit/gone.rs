//! What a worker counted of channels that are gone. What the fleet knows of them ends with the broker's memory of it.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::Circuits;
use crate::deliver::gone::There;

impl Circuits {
    pub fn forget_gone(&self, there: &There<'_>) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|channel, _| there.has(channel));
        self.any_runs.store(!runs.is_empty(), Ordering::Relaxed);
    }
}

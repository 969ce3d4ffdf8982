//! How long a message is ours: until the broker has waited in vain, and hands it to somebody else.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::bus::topology::ACK_WAIT;

/// A process that was frozen, or a machine that slept, may find in its hands what others have long since finished. The
/// messages of a group share one.
#[derive(Debug, Clone)]
pub struct Lease(Arc<Mutex<Option<Instant>>>);

impl Lease {
    /// `from` lies before the moment at which the broker handed the messages out.
    pub(super) fn new(from: Instant) -> Self {
        Self(Arc::new(Mutex::new(Some(from))))
    }

    /// True once the broker may have handed the message to somebody else, and for ever after.
    pub(crate) fn is_over(&self) -> bool {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *since = since.filter(|since| since.elapsed() < ACK_WAIT);
        since.is_none()
    }

    /// The broker was told that work goes on.
    pub(super) fn renew(&self) {
        if !self.is_over() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_lasts_while_it_is_renewed() {
        let lease = Lease::new(Instant::now());
        for _ in 0..3 {
            tokio::time::advance(ACK_WAIT.mul_f64(0.9)).await;
            assert!(!lease.is_over());
            lease.renew();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_over_cannot_be_renewed() {
        let lease = Lease::new(Instant::now());
        tokio::time::advance(ACK_WAIT).await;
        lease.renew();
        assert!(lease.is_over());
    }
}

//! The deliveries that this process has brought to an end lately: a repeat of one is dropped instead of sent again.
//!
//! It only saves repeats. The promise is in the data: the broker's ids and the history's keys.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::delivery::Delivery;
use crate::ids::DeliveryId;

/// At 10,000 a second, the last ten seconds.
const REMEMBERED_MAX: usize = 100_000;
/// Redeliveries come within a minute or two.
const REMEMBERED_FOR: Duration = Duration::from_secs(15 * 60);

#[derive(Default)]
pub struct Finished {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    known: HashSet<(DeliveryId, u32)>,
    order: VecDeque<((DeliveryId, u32), Instant)>,
}

impl Inner {
    fn forget_old(&mut self) {
        let over = |(_, at): &(_, Instant)| at.elapsed() > REMEMBERED_FOR;
        while self.order.len() > REMEMBERED_MAX || self.order.front().is_some_and(over) {
            if let Some((oldest, _)) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

impl Finished {
    #[must_use]
    pub fn contains(&self, delivery: &Delivery) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.forget_old();
        inner.known.contains(&(delivery.id.clone(), delivery.redrive))
    }

    pub fn insert(&self, delivery: &Delivery) {
        let key = (delivery.id.clone(), delivery.redrive);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.known.insert(key.clone()) {
            return;
        }
        inner.order.push_back((key, Instant::now()));
        inner.forget_old();
    }
}

//! The deliveries that this process has brought to an end lately: a repeat of one is dropped instead of sent again.
//!
//! It only saves repeats. The promise is in the data: the broker's ids and the history's keys.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::delivery::Delivery;
use crate::ids::DeliveryId;

/// At 10,000 a second, the last ten seconds; at 100, the last quarter of an hour.
const REMEMBERED_MAX: usize = 100_000;

#[derive(Default)]
pub struct Finished {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    known: HashSet<(DeliveryId, u32)>,
    order: VecDeque<(DeliveryId, u32)>,
}

impl Finished {
    #[must_use]
    pub fn contains(&self, delivery: &Delivery) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.known.contains(&(delivery.id.clone(), delivery.redrive))
    }

    pub fn insert(&self, delivery: &Delivery) {
        let key = (delivery.id.clone(), delivery.redrive);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.known.insert(key.clone()) {
            return;
        }
        inner.order.push_back(key);
        if inner.order.len() > REMEMBERED_MAX
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.known.remove(&oldest);
        }
    }
}

//! The documents word for word, for whoever lists them. Changed in place, like the book of scopes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use crate::documents::Key;
use crate::shelf::Held;

/// Each document under its key.
#[derive(Default)]
pub struct Library(RwLock<BTreeMap<Key, Arc<Held>>>);

impl Library {
    pub fn put(&self, key: Key, held: Held) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::new(held));
    }

    pub fn remove(&self, key: &Key) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<Held>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// In the order of keys behind `after`, up to `limit` of those that are wanted. What is wanted ends where `wanted` says
    /// None.
    pub fn page(
        &self,
        after: Bound<&Key>,
        limit: usize,
        mut wanted: impl FnMut(&Key, &Held) -> Option<bool>,
    ) -> Vec<(Key, Arc<Held>)> {
        let documents = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for (key, held) in documents.range((after, Bound::Unbounded)) {
            match wanted(key, held) {
                None => break,
                Some(false) => {}
                Some(true) => found.push((key.clone(), Arc::clone(held))),
            }
            if found.len() == limit {
                break;
            }
        }
        found
    }
}

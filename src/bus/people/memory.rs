//! What was read of the bucket and heard since, by recipient. Bounded, and believed only as long as changes are heard.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::ids::{Recipient, WorkspaceId};

/// Beyond it all is forgotten, and read again as it is asked for.
const REMEMBERED_MAX: usize = 50_000;
/// A copy of the bucket may lag when it is read, and a change may be heard before that: nothing is believed for longer.
const BELIEVED_FOR: Duration = Duration::from_secs(60);

type Of = (WorkspaceId, Recipient);

/// None: changes are not heard at the moment, and nothing is remembered.
pub(super) struct Memory<T>(RwLock<Option<HashMap<Of, Read<T>>>>);

struct Read<T> {
    revision: u64,
    at: Instant,
    /// None: there is nothing in the bucket.
    found: Option<Arc<T>>,
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self(RwLock::new(None))
    }
}

impl<T> Memory<T> {
    /// None: it is not remembered.
    #[expect(clippy::option_option, reason = "that nothing is there is remembered too")]
    pub fn get(&self, of: &Of) -> Option<Option<Arc<T>>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let read = known.as_ref()?.get(of).filter(|read| read.at.elapsed() < BELIEVED_FOR)?;
        Some(read.found.clone())
    }

    /// What was heard of a later revision stays.
    pub fn put(&self, of: Of, revision: u64, found: Option<Arc<T>>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = known.as_mut() else { return };
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        match known.get(&of) {
            Some(newer) if newer.revision > revision && newer.at.elapsed() < BELIEVED_FOR => {}
            Some(_) | None => drop(known.insert(of, Read { revision, at: Instant::now(), found })),
        }
    }

    /// Changes are heard from now on.
    pub fn begin_anew(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(HashMap::new());
    }

    pub fn remember_nothing(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use tidings_transport::{Browser, Entry, Inbound, TransportError};

use crate::sync::lock;

/// Reads a dead-letter topic of a [`Memory`](crate::Memory), oldest first.
///
/// Many may read one topic at once; what one removes, the others no longer see.
pub struct MemoryBrowser {
    retained: Arc<Retained>,
    next: u64,
}

impl MemoryBrowser {
    pub(crate) fn new(retained: Arc<Retained>) -> Self {
        Self { retained, next: 0 }
    }
}

impl Browser for MemoryBrowser {
    async fn next(&mut self) -> Result<Option<Entry>, TransportError> {
        let entry = self.retained.from(self.next);
        if let Some(entry) = &entry {
            self.next = entry.token + 1;
        }
        Ok(entry)
    }

    async fn remove(&mut self, entry: &Entry) -> Result<(), TransportError> {
        self.retained.remove(entry.token);
        Ok(())
    }
}

impl fmt::Debug for MemoryBrowser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBrowser")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// What a retained topic keeps: at most `bound` messages (M1).
pub(crate) struct Retained {
    bound: usize,
    kept: Mutex<Kept>,
}

/// The messages by token, which is their arrival number.
#[derive(Default)]
pub(crate) struct Kept {
    entries: BTreeMap<u64, Inbound>,
    next: u64,
}

impl Kept {
    pub(crate) fn push(&mut self, message: Inbound) {
        self.entries.insert(self.next, message);
        self.next += 1;
    }
}

impl Retained {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            bound,
            kept: Mutex::default(),
        }
    }

    /// Room for one more, held as long as the lock; `None` when it is full.
    pub(crate) fn room(&self) -> Option<MutexGuard<'_, Kept>> {
        let kept = lock(&self.kept);
        (kept.entries.len() < self.bound).then_some(kept)
    }

    fn from(&self, token: u64) -> Option<Entry> {
        let kept = lock(&self.kept);
        let (&token, message) = kept.entries.range(token..).next()?;
        Some(Entry {
            token,
            message: message.clone(),
        })
    }

    fn remove(&self, token: u64) {
        // Dropped after the lock: a payload's destructor is the user's code.
        let _removed = lock(&self.kept).entries.remove(&token);
    }
}

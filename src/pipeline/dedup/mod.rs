//! Each handler sees an id once (X1, X3, X5, X6).
//!
//! A delivery claims its id for a handler, runs it, and marks the id as done afterwards: a mark
//! set before would swallow an event whose first try failed. Until then a concurrent copy waits
//! for the first one to end, and then asks again: it is a duplicate if that one was done, and next
//! in line if it was not.
//!
//! Claims in progress are as many as deliveries in progress and live in a concurrent map. What is
//! done lives in a table of its own, bounded by count and time; the fingerprints in it are 128 bits
//! under keys that are drawn afresh in each process, so that nobody can choose two ids that meet.

mod memory;
mod policy;
mod table;

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::{DashMap, Entry};
use smallvec::SmallVec;
use tidings_transport::EventId;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use memory::{Known, Memory};
use policy::MOST;

pub use policy::DedupPolicy;

/// The ids that one group has seen. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dedup(Arc<Shared>);

struct Shared {
    policy: DedupPolicy,
    keys: [RandomState; 2],
    // Locked before `done`, never the other way round, and neither across an await.
    running: DashMap<u128, Running, BuildHasherDefault<AsIs>>,
    done: Mutex<Memory>,
    overflowed: AtomicBool,
}

/// The answer to a claim.
#[derive(Debug)]
#[must_use]
pub(crate) enum Claim {
    /// Nobody was here before: run the handler, then [`Guard::done`].
    First(Guard),
    /// The handler is done with this id: a duplicate, to be settled without running.
    Done,
    /// A copy is running: [`Wait::wait`], then claim again.
    Running(Wait),
    /// The id belongs to another payload (X6): not a duplicate, but an IdCollision.
    Collision,
}

impl Dedup {
    /// `None` when the policy is off.
    pub(crate) fn new(policy: &DedupPolicy) -> Option<Self> {
        (!policy.is_off()).then(|| {
            Self(Arc::new(Shared {
                policy: policy.clone(),
                keys: [RandomState::new(), RandomState::new()],
                running: DashMap::with_hasher_and_shard_amount(Default::default(), SHARDS),
                done: Mutex::new(Memory::new(policy)),
                overflowed: AtomicBool::new(false),
            }))
        })
    }

    /// Claims an id for a handler. Never waits.
    ///
    /// `handler` is the stable hash of the handler's id; `payload` that of the encoded data, where
    /// there is any. Two payloads are compared only where both are known.
    // contract: X1, X3, X6
    pub(crate) fn claim(&self, id: &EventId, handler: u64, payload: Option<u64>) -> Claim {
        let id = self.0.fingerprint(id);
        let recall = || self.0.memory().recall(id, handler, payload, Instant::now());
        match self.0.running.entry(id) {
            Entry::Occupied(mut entry) => {
                let running = entry.get_mut();
                if running
                    .payload
                    .zip(payload)
                    .is_some_and(|(here, other)| here != other)
                {
                    return Claim::Collision;
                }
                if let Some(twin) = running.of(handler) {
                    return Claim::Running(Wait::for_end_of(twin));
                }
                match recall() {
                    Known::Done => return Claim::Done,
                    Known::Other => return Claim::Collision,
                    Known::New => {}
                }
                running.payload = running.payload.or(payload);
                running.handlers.push(Runner {
                    handler,
                    ended: None,
                });
            }
            Entry::Vacant(entry) => {
                match recall() {
                    Known::Done => return Claim::Done,
                    Known::Other => return Claim::Collision,
                    Known::New => {}
                }
                let mut handlers = SmallVec::new();
                handlers.push(Runner {
                    handler,
                    ended: None,
                });
                entry.insert(Running { payload, handlers });
            }
        }
        Claim::First(Guard {
            dedup: self.clone(),
            id,
            handler,
            payload,
            claimed: true,
        })
    }

    /// How many ids were forgotten within the window because there were more than the capacity.
    pub(crate) fn forgotten(&self) -> u64 {
        self.0.memory().forgotten()
    }

    /// Ids remembered now.
    pub(crate) fn len(&self) -> usize {
        self.0.memory().len()
    }

    /// Ids claimed now.
    pub(crate) fn in_progress(&self) -> usize {
        self.0.running.len()
    }
}

impl fmt::Debug for Dedup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedup")
            .field("policy", &self.0.policy)
            .field("remembered", &self.len())
            .field("in_progress", &self.in_progress())
            .finish_non_exhaustive()
    }
}

/// The right to run a handler for an id. Dropping it gives the claim back, so that a failed try
/// swallows nothing; either way whoever waits for it is woken.
#[must_use]
pub(crate) struct Guard {
    dedup: Dedup,
    id: u128,
    handler: u64,
    payload: Option<u64>,
    claimed: bool,
}

impl Guard {
    /// The handler is done with this id; call it after the effect and before the settle (X5).
    ///
    /// The first time in the life of a [`Dedup`] that this makes it forget an id too early, the
    /// answer is a warning to be logged; later times are only counted.
    pub(crate) fn done(mut self) -> Option<Overflow> {
        self.claimed = false;
        let shared = &self.dedup.0;
        let mut forgot = false;
        shared.end(self.id, self.handler, || {
            forgot = shared
                .memory()
                .mark(self.id, self.handler, self.payload, Instant::now());
        });
        (forgot && !shared.overflowed.swap(true, Ordering::Relaxed)).then(|| Overflow {
            policy: shared.policy.clone(),
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.claimed {
            self.dedup.0.end(self.id, self.handler, || ());
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

/// A copy that is running.
#[derive(Debug)]
#[must_use]
pub(crate) struct Wait(Pin<Box<OwnedNotified>>);

impl Wait {
    /// Registered under the twin's lock, so the end cannot slip in between.
    fn for_end_of(twin: &mut Runner) -> Self {
        let ended = twin.ended.get_or_insert_default();
        Self(Box::pin(Arc::clone(ended).notified_owned()))
    }

    /// Waits until that copy ends, whatever became of it. It is told apart by claiming again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub(crate) async fn wait(self) {
        self.0.await;
    }
}

/// More ids were done within the window than the capacity holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overflow {
    policy: DedupPolicy,
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "more than {} ids were handled within the dedup window of {}, so the oldest are \
             forgotten early and their duplicates will be handled again: raise the dedup capacity \
             or shorten the window",
            self.policy.capacity,
            super::duration::write(self.policy.window)
        )
    }
}

/// An id in progress: its payload, and the handlers that run.
struct Running {
    payload: Option<u64>,
    handlers: SmallVec<[Runner; 2]>,
}

struct Runner {
    handler: u64,
    // Made by the first who waits.
    ended: Option<Arc<Notify>>,
}

impl Running {
    fn of(&mut self, handler: u64) -> Option<&mut Runner> {
        self.handlers
            .iter_mut()
            .find(|runner| runner.handler == handler)
    }
}

impl Shared {
    /// Equal ids have equal hashes, however they are kept.
    fn fingerprint(&self, id: &EventId) -> u128 {
        let [low, high] = &self.keys;
        u128::from(low.hash_one(id)) | u128::from(high.hash_one(id)) << 64
    }

    /// Removes a claim, after `mark` was run under its lock: nobody sees the id free and unmarked.
    fn end(&self, id: u128, handler: u64, mark: impl FnOnce()) {
        let Entry::Occupied(mut entry) = self.running.entry(id) else {
            return;
        };
        mark();
        let handlers = &mut entry.get_mut().handlers;
        let place = handlers.iter().position(|runner| runner.handler == handler);
        let ended = place.and_then(|place| handlers.swap_remove(place).ended);
        if handlers.is_empty() {
            entry.remove();
        } else {
            drop(entry);
        }
        if let Some(ended) = ended {
            ended.notify_waiters();
        }
    }

    /// A panic while it is held leaves counters and links that are only ever updated together with
    /// no user code in between, so the data is used on.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enough for the workers of a group; the default, four per core, costs kilobytes per group.
const SHARDS: usize = 8;

/// Fingerprints are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = (fingerprint >> 64) as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = super::hash::stable_hash(bytes);
    }
}

#[cfg(test)]
mod tests;

//! One group: its bounded queue, its members, and what they hold unsettled.
//!
//! A publisher takes the lock once to put a message in; a member takes it once per batch, and
//! usually swaps the whole queue out. An ack takes no lock at all while a group has one member
//! and nobody waits for it.

mod lanes;
mod ready;
mod state;
mod tally;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use tidings_transport::{Inbound, Mode, Name};

pub(crate) use ready::{Ready, inbound};
pub(crate) use state::{Abandoned, Admission, State, Taken};
pub(crate) use tally::Tally;

use crate::store::Counters;
use crate::sync::lock;

/// A group and its queue.
pub(crate) struct Group {
    /// In the order of creation; locks of several groups are taken in this order.
    pub(crate) id: u64,
    pub(crate) name: Name,
    pub(crate) ordered: bool,
    /// Messages that may wait.
    pub(crate) capacity: usize,
    /// Messages that its own handlers may add beyond that.
    pub(crate) spill: usize,
    counters: Arc<Counters>,
    next_seat: AtomicU64,
    state: Mutex<State>,
}

impl Group {
    pub(crate) fn new(
        id: u64,
        name: Name,
        ordered: bool,
        capacity: usize,
        spill: usize,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            id,
            name,
            ordered,
            capacity,
            spill,
            counters,
            next_seat: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Whether one more message fits; `own` is set for a message of this group's own handlers.
    #[inline]
    pub(crate) fn admits(&self, state: &State, own: bool) -> Admission {
        let queued = state.queued();
        if state.is_removed() {
            Admission::Removed
        } else if queued < self.capacity {
            Admission::Yes
        } else if !own {
            Admission::Full
        } else if queued < self.capacity.saturating_add(self.spill) {
            Admission::Yes
        } else {
            Admission::SpillFull
        }
    }

    /// Whether its queue has no room but the spill.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().queued() >= self.capacity
    }

    /// A new member; `None` when the group is removed.
    pub(crate) fn join(&self, mode: Mode) -> Option<Arc<Tally>> {
        let seat = self.next_seat.fetch_add(1, Ordering::Relaxed);
        let tally = Arc::new(Tally::new(seat, mode));
        self.lock().join(&tally, self.ordered).then_some(tally)
    }

    /// A member takes no more. Repeatable. What it holds unsettled stays its own until settled.
    pub(crate) fn leave(&self, tally: &Tally) {
        let mut state = self.lock();
        let wakers = state.leave(tally);
        let left = state.abandoned();
        drop(state);
        self.count_dropped(left);
        wakers.wake();
        tally.ring();
    }

    /// Takes at most `limit` messages for a member.
    pub(crate) fn take(&self, tally: &Tally, limit: usize, out: &mut Ready) -> Taken {
        let mut state = self.lock();
        let taken = state.take(tally, limit, out);
        let starved = matches!(taken, Taken::Some) && state.has_starved();
        drop(state);
        if starved {
            self.relieve();
        }
        taken
    }

    /// Waits until the queue changed since `version`.
    pub(crate) fn poll_changed(&self, tally: &Tally, version: u64, cx: &Context<'_>) -> Poll<()> {
        self.lock().poll_changed(tally.seat, version, cx)
    }

    /// These messages are final.
    #[inline]
    pub(crate) fn finish_all(&self, tally: &Tally, positions: &[u64]) {
        if tally.is_watched() {
            return self.finish_watched(tally, positions);
        }
        tally.finish(positions.len());
        // Who began to watch in between may have missed it, so look again.
        if tally.is_watched() {
            self.tell(tally);
        }
    }

    /// A message comes again.
    pub(crate) fn put_back(&self, tally: &Tally, position: u64, message: Inbound) {
        if tally.mode == Mode::AtMostOnce {
            // contract: D9. It was final before it was handed over, so this is too late.
            self.counters.late.fetch_add(1, Ordering::Relaxed);
            return self.finish_all(tally, &[position]);
        }
        let mut state = self.lock();
        let wakers = state.put_back(tally, position, message);
        let left = state.abandoned();
        drop(state);
        self.count_dropped(left);
        wakers.wake();
        tally.ring();
    }

    #[cold]
    fn finish_watched(&self, tally: &Tally, positions: &[u64]) {
        let mut state = self.lock();
        let wakers = state.finish_all(tally, positions);
        drop(state);
        wakers.wake();
        tally.ring();
    }

    fn tell(&self, tally: &Tally) {
        let mut state = self.lock();
        let wakers = state.changed();
        drop(state);
        wakers.wake();
        tally.ring();
    }

    /// Publishes reach it no more. What is queued goes to a live member, or is counted. Who waited
    /// for room here is served by the caller, which knows the topics.
    pub(crate) fn remove(&self) {
        let mut state = self.lock();
        let wakers = state.remove();
        let left = state.abandoned();
        drop(state);
        self.count_dropped(left);
        wakers.wake();
    }

    /// Lets the topics whose publishers wait for this group put messages in, one each in turn.
    pub(crate) fn relieve(&self) {
        loop {
            let topic = {
                let mut state = self.lock();
                if state.queued() >= self.capacity {
                    return;
                }
                match state.next_starved() {
                    Some(topic) => topic,
                    None => return,
                }
            };
            let Some(served) = topic.upgrade() else {
                continue;
            };
            if served.serve_one() {
                self.lock().starve(&topic);
            }
        }
    }

    /// How many messages came in, and how many are final.
    pub(crate) fn lag(&self) -> (u64, u64) {
        self.lock().lag()
    }

    fn count_dropped(&self, left: Abandoned) {
        if left.len() == 0 {
            return;
        }
        self.counters
            .dropped
            .fetch_add(left.len() as u64, Ordering::Relaxed);
        tracing::warn!(
            group = %self.name.escape_debug(),
            messages = left.len(),
            "dropped what was queued for a removed group without a consumer"
        );
    }
}

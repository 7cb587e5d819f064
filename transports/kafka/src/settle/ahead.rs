//! What was polled and not handed over yet.

use std::collections::VecDeque;
use std::ops::AddAssign;
use std::sync::Arc;

use tidings_transport::{Batch, Inbound, Payload, Received, Settle};

/// Small messages, up to so many and so many bytes, may wait beyond the window: the thread that polls
/// and who receives then wake each other seldom, and a partition is not paused for a moment's delay,
/// which would have all of this fetched again (trap 9).
const MOST: usize = 4_096;
const MOST_BYTES: usize = 1024 * 1024;

/// What a message takes besides its payload, roughly.
const OVERHEAD: usize = 512;

/// Messages in the order of their offsets.
#[derive(Default)]
pub(super) struct Ahead {
    queue: VecDeque<Received>,
    bytes: usize,
}

/// How much waits.
#[derive(Clone, Copy, Default)]
pub(super) struct Level {
    count: usize,
    bytes: usize,
}

impl Level {
    /// Whether there is no use in polling for more.
    pub(super) fn is_full(self, window: usize) -> bool {
        self.count >= window && (self.count >= MOST || self.bytes >= MOST_BYTES)
    }

    /// Whether half of that is free again.
    pub(super) fn has_room(self, window: usize) -> bool {
        self.count <= window / 2 || self.count <= MOST / 2 && self.bytes <= MOST_BYTES / 2
    }
}

impl AddAssign for Level {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
    }
}

impl Ahead {
    pub(super) fn level(&self) -> Level {
        Level {
            count: self.queue.len(),
            bytes: self.bytes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The offset of one of them.
    pub(super) fn offset(&self, at: usize) -> Option<i64> {
        self.queue.get(at).map(offset)
    }

    /// How many come before an offset.
    pub(super) fn before(&self, end: i64) -> usize {
        self.queue
            .partition_point(|received| offset(received) < end)
    }

    pub(super) fn extend(&mut self, polled: impl Iterator<Item = Received>) {
        for received in polled {
            self.bytes += weight(&received);
            self.queue.push_back(received);
        }
    }

    /// Puts one back to its place.
    pub(super) fn put_back(&mut self, index: u64, message: Inbound) {
        let at = self.queue.partition_point(|other| other.index() < index);
        let received = Received::queued(message, index);
        self.bytes += weight(&received);
        self.queue.insert(at, received);
    }

    /// The first of them.
    pub(super) fn take(&mut self, count: usize) -> VecDeque<Received> {
        let taken = match count >= self.queue.len() {
            true => std::mem::take(&mut self.queue),
            false => self.queue.drain(..count).collect(),
        };
        self.bytes -= taken.iter().map(weight).sum::<usize>();
        taken
    }

    /// Hands over the first of them.
    pub(super) fn hand_over(&mut self, count: usize, batch: &mut Batch, to: &Arc<dyn Settle>) {
        let mut taken = self.take(count);
        batch.add(&mut taken, to);
        // What the batch gave in exchange has memory that is worth keeping.
        if self.queue.is_empty() && taken.capacity() > self.queue.capacity() {
            self.queue = taken;
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn offset(received: &Received) -> i64 {
    received.index().cast_signed()
}

fn weight(received: &Received) -> usize {
    let payload = match &received.payload {
        Payload::Bytes(payload) => payload.len(),
        Payload::Local(_) | Payload::Tombstone => 0,
    };
    payload + OVERHEAD
}

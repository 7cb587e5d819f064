use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use tidings_transport::{Inbound, Name};

use super::hash::StableHasher;

/// The key lanes of one group: which keys are busy, and what waits behind them (contract O1).
///
/// A lane exists while a delivery of its key is unsettled, retries and backoff included; the next
/// one starts when that one is final. The lanes belong to one worker, so they need no lock, and
/// the worker's window bounds what waits in them.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    busy: HashMap<LaneKey, VecDeque<T>, StableHasher>,
    waiting: usize,
}

/// Lane = (group, topic, key): no order is promised across topics.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LaneKey {
    topic: Name,
    key: Bytes,
}

impl LaneKey {
    /// The lane of a message; `None` without a key, which promises no order.
    pub(crate) fn of(message: &Inbound) -> Option<Self> {
        let key = message.key.clone()?;
        Some(Self {
            topic: message.topic.clone(),
            key,
        })
    }
}

impl<T> Lanes<T> {
    pub(crate) fn new() -> Self {
        Self {
            busy: HashMap::default(),
            waiting: 0,
        }
    }

    /// Whether no lane is taken.
    pub(crate) fn are_free(&self) -> bool {
        self.busy.is_empty()
    }

    /// Whether somebody is in a lane.
    pub(crate) fn is_taken(&self, lane: &LaneKey) -> bool {
        self.busy.contains_key(lane)
    }

    /// Takes a free lane.
    pub(crate) fn take(&mut self, lane: LaneKey) {
        self.busy.entry(lane).or_default();
    }

    /// Takes the lane for an item, or puts the item behind those that are there.
    pub(crate) fn enter(&mut self, lane: LaneKey, item: T) -> Option<T> {
        match self.busy.entry(lane) {
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(VecDeque::new());
                Some(item)
            }
            std::collections::hash_map::Entry::Occupied(mut busy) => {
                busy.get_mut().push_back(item);
                self.waiting += 1;
                None
            }
        }
    }

    /// The item in the lane is final: gives out the next one, or frees the lane.
    pub(crate) fn leave(&mut self, lane: &LaneKey) -> Option<T> {
        let next = self.busy.get_mut(lane)?.pop_front();
        if next.is_some() {
            self.waiting -= 1;
        } else {
            self.busy.remove(lane);
        }
        next
    }

    /// Frees a lane with all that waits in it.
    pub(crate) fn close(&mut self, lane: &LaneKey) -> VecDeque<T> {
        let items = self.busy.remove(lane).unwrap_or_default();
        self.waiting -= items.len();
        items
    }

    /// How many items wait behind others.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Everything that waits, in the order of each lane.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.waiting = 0;
        std::mem::take(&mut self.busy).into_values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(topic: &'static str, key: &'static str) -> LaneKey {
        LaneKey {
            topic: Name::from_static(topic),
            key: Bytes::from_static(key.as_bytes()),
        }
    }

    #[test]
    fn one_key_is_serial_and_others_are_free() {
        let mut lanes = Lanes::new();
        assert_eq!(lanes.enter(lane("t", "a"), 1), Some(1));
        assert_eq!(lanes.enter(lane("t", "a"), 2), None);
        assert_eq!(lanes.enter(lane("t", "a"), 3), None);
        assert_eq!(lanes.enter(lane("t", "b"), 4), Some(4));
        assert_eq!(lanes.enter(lane("u", "a"), 5), Some(5));
        assert_eq!(lanes.waiting(), 2);
        assert_eq!(lanes.leave(&lane("t", "a")), Some(2));
        assert_eq!(lanes.leave(&lane("t", "a")), Some(3));
        assert_eq!(lanes.leave(&lane("t", "a")), None);
        assert_eq!(lanes.waiting(), 0);
        assert_eq!(lanes.enter(lane("t", "a"), 6), Some(6));
    }

    #[test]
    fn the_empty_key_is_a_key() {
        let mut lanes = Lanes::new();
        assert_eq!(lanes.enter(lane("t", ""), 1), Some(1));
        assert_eq!(lanes.enter(lane("t", ""), 2), None);
        assert_eq!(lanes.close(&lane("t", "")), [2]);
        assert_eq!(lanes.drain().count(), 0);
    }
}

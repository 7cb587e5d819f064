use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use tidings_transport::Inbound;

/// Which member holds which lane (topic and key), while several members share an ordered group.
///
/// A lane stays with its member until all its messages there are settled, so that the next event
/// of a key starts only after the previous one is final (O1). Lanes are 64-bit hashes with a
/// random seed: two that collide merely wait for each other. Bounded by the members' windows.
#[derive(Default)]
pub(crate) struct Lanes {
    hasher: RandomState,
    held: HashMap<u64, Hold>,
    /// What was handed out since lanes are followed; `None` is a message without a key.
    by_position: HashMap<u64, Option<u64>>,
}

struct Hold {
    seat: u64,
    messages: usize,
}

impl Lanes {
    /// Whether a member may take a message. `others_untracked`: other members hold messages that
    /// were handed out before lanes were followed, of keys nobody knows.
    pub(crate) fn allows(&self, seat: u64, message: &Inbound, others_untracked: bool) -> bool {
        let Some(lane) = self.lane(message) else {
            return true;
        };
        match self.held.get(&lane) {
            Some(hold) => hold.seat == seat,
            None => !others_untracked,
        }
    }

    /// A member takes a message.
    pub(crate) fn hold(&mut self, seat: u64, position: u64, message: &Inbound) {
        let lane = self.lane(message);
        self.by_position.insert(position, lane);
        if let Some(lane) = lane {
            self.held
                .entry(lane)
                .or_insert(Hold { seat, messages: 0 })
                .messages += 1;
        }
    }

    /// A message is settled; whether it was a followed one.
    pub(crate) fn release(&mut self, position: u64) -> bool {
        let Some(lane) = self.by_position.remove(&position) else {
            return false;
        };
        if let Some(lane) = lane
            && let Some(hold) = self.held.get_mut(&lane)
        {
            hold.messages -= 1;
            if hold.messages == 0 {
                self.held.remove(&lane);
            }
        }
        true
    }

    fn lane(&self, message: &Inbound) -> Option<u64> {
        let key = message.key.as_ref()?;
        Some(self.hasher.hash_one((&*message.topic, key)))
    }
}

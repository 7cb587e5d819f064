use std::sync::Arc;

use crate::bus::GroupCore;

/// A slot of the group's concurrency that the worker holds, or not.
pub(super) struct Held {
    group: Arc<GroupCore>,
    taken: bool,
}

impl Held {
    pub(super) fn new(group: &Arc<GroupCore>) -> Self {
        Self {
            group: Arc::clone(group),
            taken: false,
        }
    }

    pub(super) fn try_take(&mut self) -> bool {
        self.taken = self.taken || self.group.slots.try_take();
        self.taken
    }

    /// The slot belongs to a call that gives it back itself.
    pub(super) fn hand_over(&mut self) {
        self.taken = false;
    }

    pub(super) fn give_back(&mut self) {
        if std::mem::take(&mut self.taken) {
            self.group.slots.give_back();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back();
    }
}

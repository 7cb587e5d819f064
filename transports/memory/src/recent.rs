//! Which topics a thread published to lately, so that it need not look them up.
//!
//! A look-up in the shared table hashes the name and counts a reference, which all publishers
//! share; an entry here costs neither. It holds as long as the table that it came from is the
//! newest.

use std::cell::Cell;

use tidings_transport::Name;

use crate::store::Entry;

/// An entry of a store's table.
pub(crate) struct Recent {
    /// Unique in the process.
    pub(crate) store: u64,
    /// Of the table.
    pub(crate) generation: u64,
    pub(crate) topic: Name,
    pub(crate) entry: Entry,
}

impl Recent {
    #[inline]
    fn is(&self, store: u64, generation: u64, topic: &Name) -> bool {
        self.store == store && self.generation == generation && self.topic == *topic
    }
}

/// Direct-mapped, so that it is bounded.
const WAYS: usize = 16;

thread_local! {
    static RECENT: [Cell<Option<Box<Recent>>>; WAYS] = const { [const { Cell::new(None) }; WAYS] };
}

/// Takes an entry out; whoever needs it meanwhile looks its topic up.
#[inline(always)]
pub(crate) fn take(store: u64, generation: u64, topic: &Name) -> Option<Box<Recent>> {
    // In the destructors of a thread it may be gone.
    let taken = RECENT.try_with(|recent| recent[way(topic)].take()).ok()?;
    taken.filter(|recent| recent.is(store, generation, topic))
}

/// Puts an entry in, or back.
#[inline(always)]
pub(crate) fn put(recent: Box<Recent>) {
    let way = way(&recent.topic);
    let old = RECENT.try_with(|all| all[way].replace(Some(recent)));
    // Outside of the slot: what it frees may publish.
    if let Ok(Some(old)) = old {
        surplus(old);
    }
}

#[cold]
#[inline(never)]
fn surplus(old: Box<Recent>) {
    drop(old);
}

/// By the place of the text: the topics of a program are constants, each in its own place.
#[inline]
fn way(topic: &Name) -> usize {
    let place = topic.as_ptr() as usize;
    (place ^ place >> 4 ^ topic.len()) % WAYS
}

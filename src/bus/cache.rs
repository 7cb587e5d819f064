//! The newest snapshot of a slot, kept where it is read: by each thread and by each handle. Reading
//! it takes no lock and touches no shared counter (house rule 16).

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::slot::{Slot, Snapshot};
use crate::Event;

/// A place for a slot and its newest snapshot. `#[derive(Event)]` gives every type without
/// parameters one per thread, for the bus that asked last; all else shares [`OTHERS`].
///
/// What is in use is taken out: a counted borrow would let each emit wait for the last one's count.
#[doc(hidden)]
#[allow(
    missing_debug_implementations,
    reason = "no part of the public interface"
)]
pub struct Cache<E: Event>(Cell<Option<Box<CachedSlot<E>>>>);

pub(crate) struct CachedSlot<E: Event> {
    bus: u64,
    pub(crate) slot: Arc<Slot<E>>,
    pub(crate) snapshot: Arc<Snapshot<E>>,
}

/// A snapshot in use.
pub(crate) type Taken<E> = Option<Box<CachedSlot<E>>>;

impl<E: Event> CachedSlot<E> {
    fn new(bus: u64, slot: Arc<Slot<E>>) -> Self {
        Self {
            bus,
            snapshot: slot.snapshot(),
            slot,
        }
    }

    #[inline(always)]
    fn is_of(&self, bus: u64) -> bool {
        self.bus == bus
    }
}

impl<E: Event> Cache<E> {
    /// An empty place.
    #[must_use]
    pub const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// Takes the newest snapshot out, if it is here: to be [put back](Self::put).
    #[inline(always)]
    pub(crate) fn take(&self, is_mine: impl FnOnce(&CachedSlot<E>) -> bool) -> Taken<E> {
        let cached = self.0.take()?;
        if is_mine(&cached) && !cached.snapshot.is_stale() {
            return Some(cached);
        }
        self.put(cached);
        None
    }

    /// Puts back what was taken.
    #[inline(always)]
    pub(crate) fn put(&self, cached: Box<CachedSlot<E>>) {
        if let Some(other) = self.0.replace(Some(cached)) {
            surplus(other);
        }
    }

    /// Runs `f` with the newest snapshot; `find` finds the slot where this place is empty. What runs
    /// in there and comes back here finds the place empty, and fills it.
    pub(crate) fn with<R>(
        &self,
        bus: u64,
        find: impl FnOnce() -> Arc<Slot<E>>,
        f: impl FnOnce(&CachedSlot<E>) -> R,
    ) -> R {
        let cached = fresh(bus, self.0.take(), find);
        let done = f(&cached);
        self.put(cached);
        done
    }

    /// Lets go of a bus that has ended.
    fn forget(&self, bus: u64) {
        match self.0.take() {
            Some(cached) if cached.is_of(bus) => drop(cached),
            other => self.0.set(other),
        }
    }
}

/// What came into the place while its own was in use. What this frees may emit.
#[cold]
#[inline(never)]
fn surplus<E: Event>(other: Box<CachedSlot<E>>) {
    drop(other);
}

/// The newest snapshot, from one that may be stale or missing.
fn fresh<E: Event>(
    bus: u64,
    known: Taken<E>,
    find: impl FnOnce() -> Arc<Slot<E>>,
) -> Box<CachedSlot<E>> {
    match known {
        Some(cached) if !cached.snapshot.is_stale() => cached,
        Some(stale) => Box::new(CachedSlot::new(bus, Arc::clone(&stale.slot))),
        None => Box::new(CachedSlot::new(bus, find())),
    }
}

impl<E: Event> Default for Cache<E> {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes this thread's newest snapshot of a type out, if it has it in a place of its own.
#[inline(always)]
pub(super) fn take<E: Event>(bus: u64) -> Taken<E> {
    E::cache(
        #[inline(always)]
        |cache| {
            cache.take(
                #[inline(always)]
                |cached| cached.is_of(bus),
            )
        },
    )
    .flatten()
}

/// Puts back what [`take`] took.
#[inline(always)]
pub(super) fn put<E: Event>(cached: Box<CachedSlot<E>>) {
    E::cache(
        #[inline(always)]
        |cache| cache.put(cached),
    );
}

/// Runs `f` with this thread's newest snapshot of a type. A bus that finds another one in the type's
/// place takes it over.
pub(super) fn with<E: Event, R>(
    bus: u64,
    find: impl FnOnce() -> Arc<Slot<E>>,
    f: impl FnOnce(&CachedSlot<E>) -> R,
) -> R {
    // `None` where the type has no place of its own, or the thread ends.
    let place = E::cache(|cache| cache.0.take());
    let has_place = place.is_some();
    let known = match place.flatten() {
        Some(mine) if mine.is_of(bus) => Some(mine),
        Some(other) => {
            put_by(other);
            fetch(bus)
        }
        None => fetch(bus),
    };
    let cached = fresh(bus, known, find);
    let done = f(&cached);
    match has_place {
        true => put(cached),
        false => put_by(cached),
    }
    done
}

/// Lets go of this thread's snapshot of a bus that has ended. Other threads let go of theirs when
/// they emit through another bus; a slot that was cleared owns no listener any more.
pub(super) fn forget<E: Event>(bus: u64) {
    E::cache(|cache| cache.forget(bus));
    drop(fetch::<E>(bus));
}

/// Few, so that it is bounded.
const WAYS: usize = 64;

/// How many of them each may have: with one, two that meet would take it from each other for ever.
const CHOICE: usize = 4;

/// A [`CachedSlot`] of the bus and type beside it.
type Other = Option<(u64, TypeId, Box<dyn Any>)>;

thread_local! {
    static OTHERS: RefCell<[Other; WAYS]> = const { RefCell::new([const { None }; WAYS]) };
}

/// Takes a snapshot out of the shared places.
fn fetch<E: Event>(bus: u64) -> Taken<E> {
    let event = TypeId::of::<E>();
    let first = first_of(bus, &event);
    let is_mine = |other: &mut (u64, TypeId, Box<dyn Any>)| other.0 == bus && other.1 == event;
    let found = OTHERS.try_with(|others| {
        let mut ways = others.borrow_mut();
        let mut mine = ways[first..][..CHOICE].iter_mut();
        mine.find_map(|way| way.take_if(is_mine))
    });
    found.ok()??.2.downcast().ok()
}

/// Puts a snapshot into the shared places.
fn put_by<E: Event>(cached: Box<CachedSlot<E>>) {
    let (bus, event) = (cached.bus, TypeId::of::<E>());
    let first = first_of(bus, &event);
    let other = (bus, event, cached as Box<dyn Any>);
    let old = OTHERS.try_with(|others| {
        let mut ways = others.borrow_mut();
        let mine = &mut ways[first..][..CHOICE];
        let free = mine.iter().position(Option::is_none).unwrap_or(0);
        mine[free].replace(other)
    });
    // Outside of the borrow: what it frees may emit.
    drop(old);
}

/// The first of its ways.
fn first_of(bus: u64, event: &TypeId) -> usize {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((bus, event));
    hash as usize % (WAYS / CHOICE) * CHOICE
}

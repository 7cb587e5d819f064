//! The newest snapshot of a slot, kept where it is read: by each thread and by each handle. Reading
//! it takes no lock and touches no shared counter (house rule 16).

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::slot::{Slot, Snapshot};
use crate::Event;

/// A place for a slot and its newest snapshot. `#[derive(Event)]` gives every type without
/// parameters one per thread, for the first bus that asks; all else shares [`OTHERS`].
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

    /// Runs `f` with the newest snapshot; `find` finds the slot where this place holds none of the
    /// bus. What runs in there and comes back here finds the place empty, and fills it.
    pub(crate) fn with<R>(
        &self,
        bus: u64,
        find: impl FnOnce() -> Arc<Slot<E>>,
        f: impl FnOnce(&CachedSlot<E>) -> R,
    ) -> R {
        let cached = match self.0.take() {
            Some(cached) if cached.is_of(bus) && !cached.snapshot.is_stale() => cached,
            stale => renewed(bus, stale, find),
        };
        let done = f(&cached);
        self.put(cached);
        done
    }

    /// Whether another bus, one that goes on, has the place.
    fn is_taken_from(&self, bus: u64) -> bool {
        let cached = self.0.take();
        let taken = cached
            .as_ref()
            .is_some_and(|cached| !cached.is_of(bus) && !cached.slot.core().is_closing());
        self.0.set(cached);
        taken
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

#[cold]
#[inline(never)]
fn renewed<E: Event>(
    bus: u64,
    stale: Option<Box<CachedSlot<E>>>,
    find: impl FnOnce() -> Arc<Slot<E>>,
) -> Box<CachedSlot<E>> {
    let slot = match &stale {
        Some(cached) if cached.is_of(bus) => Arc::clone(&cached.slot),
        _ => find(),
    };
    Box::new(CachedSlot::new(bus, slot))
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

/// Runs `f` with this thread's newest snapshot of a type.
pub(super) fn with<E: Event, R>(
    bus: u64,
    find: impl FnOnce() -> Arc<Slot<E>>,
    f: impl FnOnce(&CachedSlot<E>) -> R,
) -> R {
    // What is not called is still there: where the type has no place of its own, where another bus
    // has it, or where the thread ends.
    let mut given = Some((find, f));
    let own = E::cache(|cache| match cache.is_taken_from(bus) {
        true => None,
        false => given.take().map(|(find, f)| cache.with(bus, find, f)),
    });
    match (own.flatten(), given) {
        (Some(done), _) => done,
        (None, Some((find, f))) => in_others(bus, find, f),
        (None, None) => unreachable!("what was taken was called"),
    }
}

/// Lets go of this thread's snapshot of a bus that has ended. Other threads let go of theirs when
/// they emit through another bus; a slot that was cleared owns no listener any more.
pub(super) fn forget<E: Event>(bus: u64) {
    E::cache(|cache| cache.forget(bus));
    if let Some(cache) = known_other::<E>(bus) {
        cache.forget(bus);
    }
}

/// Direct-mapped, so that it is bounded and a look-up is one comparison.
const WAYS: usize = 64;

/// A [`Cache`] of the type beside it.
type Other = Option<(TypeId, Rc<dyn Any>)>;

thread_local! {
    static OTHERS: RefCell<[Other; WAYS]> = const { RefCell::new([const { None }; WAYS]) };
}

/// The shared places, for types without one of their own.
#[inline(never)]
fn in_others<E: Event, R>(
    bus: u64,
    find: impl FnOnce() -> Arc<Slot<E>>,
    f: impl FnOnce(&CachedSlot<E>) -> R,
) -> R {
    match other::<E>(bus) {
        Some(cache) => cache.with(bus, find, f),
        // In the destructors of a thread its places may be gone: then every emit looks up.
        None => f(&CachedSlot::new(bus, find())),
    }
}

/// The shared place of a type and bus, made where it is missing.
fn other<E: Event>(bus: u64) -> Option<Rc<Cache<E>>> {
    if let Some(found) = known_other(bus) {
        return Some(found);
    }
    let cache = Rc::new(Cache::<E>::new());
    let other = (TypeId::of::<E>(), Rc::clone(&cache) as Rc<dyn Any>);
    let way = way_of(bus, &other.0);
    let old = OTHERS.try_with(|others| others.borrow_mut()[way].replace(other));
    // Outside of the borrow: what it frees may emit.
    old.is_ok().then_some(cache)
}

fn known_other<E: Event>(bus: u64) -> Option<Rc<Cache<E>>> {
    let event = TypeId::of::<E>();
    let way = way_of(bus, &event);
    let found = OTHERS.try_with(|others| match &others.borrow()[way] {
        Some((held, cache)) if *held == event => Some(Rc::clone(cache)),
        _ => None,
    });
    found.ok()??.downcast().ok()
}

fn way_of(bus: u64, event: &TypeId) -> usize {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((bus, event));
    hash as usize % WAYS
}

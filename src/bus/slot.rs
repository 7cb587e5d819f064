//! What an emit reads: one immutable snapshot per event type, swapped when a subscription changes
//! (house rule 16). The read path takes no lock and touches no shared counter.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tidings_transport::{Encode, Interest, Name};

use super::core::BusCore;
use super::registry::Taps;
use crate::Event;
use crate::emit::{Called, Listening, TapListener};
use crate::pipeline::Middleware;

/// Everything the bus keeps about one event type.
pub(crate) struct Slot<E: Event> {
    core: Arc<BusCore>,
    kind: Kind,
    generation: AtomicU64,
    snapshot: ArcSwap<Snapshot<E>>,
    cold: Mutex<Cold<E>>,
}

/// The constants of a type on this bus.
pub(crate) struct Kind {
    pub(crate) name: Name,
    pub(crate) topic: Name,
    pub(crate) source: Name,
    pub(crate) encoder: Arc<dyn Encode>,
}

/// Who gets an event of this type, at one moment.
pub(crate) struct Snapshot<E: Event> {
    pub(crate) generation: u64,
    /// Typed listeners and taps, in registration order.
    pub(crate) listeners: Arc<[Called<E>]>,
    pub(crate) interest: Interest,
    pub(crate) layers: Arc<[Arc<dyn Middleware>]>,
    /// Why events of this type are refused: a registration that was.
    pub(crate) rejected: Option<Arc<str>>,
    /// Nothing to publish through, nothing to refuse, no listener that keeps events and so needs
    /// them shared: only interest decides.
    pub(crate) plain: bool,
}

struct Cold<E: Event> {
    listeners: Vec<Arc<dyn Listening<E>>>,
    taps: Taps,
    rejected: Option<Arc<str>>,
    warned: usize,
}

impl<E: Event> Slot<E> {
    pub(super) fn new(core: Arc<BusCore>, kind: Kind) -> Self {
        let empty = Snapshot {
            generation: 0,
            listeners: Arc::new([]),
            interest: Interest::unknown(),
            layers: Arc::clone(&core.publish_layers),
            rejected: None,
            plain: false,
        };
        let warned = core.config.warn_handlers;
        let slot = Self {
            core,
            kind,
            generation: AtomicU64::new(0),
            snapshot: ArcSwap::from_pointee(empty),
            cold: Mutex::new(Cold {
                listeners: Vec::new(),
                taps: Taps::default(),
                rejected: None,
                warned,
            }),
        };
        drop(slot.rebuild(&mut slot.cold()));
        slot
    }

    #[inline]
    pub(crate) fn core(&self) -> &Arc<BusCore> {
        &self.core
    }

    #[inline]
    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot<E>> {
        self.snapshot.load_full()
    }

    /// Adds a listener behind those that are there.
    pub(super) fn add_listener(&self, listener: Arc<dyn Listening<E>>) {
        let site = listener.heard().site;
        let (growing, old) = {
            let mut cold = self.cold();
            cold.listeners.push(listener);
            let listeners = cold.listeners.len();
            let growing = (listeners > cold.warned).then(|| {
                cold.warned = cold.warned.max(1) * 2;
                listeners
            });
            (growing, self.rebuild(&mut cold))
        };
        drop(old);
        if let Some(listeners) = growing {
            tracing::warn!(
                event = E::NAME,
                listeners,
                site = %site,
                "the number of listeners of one type keeps growing: does each get its `off`?"
            );
        }
    }

    pub(crate) fn remove_listener(&self, subscription: u64) {
        // What a listener owns may use the bus as it goes, another subscription's guard for one:
        // it is dropped outside of the lock.
        let _removed = {
            let mut cold = self.cold();
            let mut listeners = cold.listeners.iter();
            let Some(at) = listeners.position(|it| it.heard().subscription == subscription) else {
                return;
            };
            let removed = cold.listeners.remove(at);
            removed.heard().remove();
            (removed, self.rebuild(&mut cold))
        };
    }

    /// Gives back the old snapshot, to be dropped outside of the lock.
    fn rebuild(&self, cold: &mut Cold<E>) -> Arc<Snapshot<E>> {
        let called = |listener: &Arc<dyn Listening<E>>| Arc::clone(listener).called();
        let mut listeners: Vec<Called<E>> = cold.listeners.iter().map(called).collect();
        for (heard, tap) in cold.taps.iter() {
            let tap = TapListener {
                heard: Arc::clone(heard),
                tap: Arc::clone(tap),
            };
            listeners.push(Box::new(tap));
        }
        // Registration order across typed listeners and taps: subscriptions are numbered.
        listeners.sort_by_key(|listener| listener.heard().subscription);
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        let snapshot = Snapshot {
            generation,
            interest: self.core.transport.interest(&self.kind.topic),
            layers: Arc::clone(&self.core.publish_layers),
            rejected: cold.rejected.clone(),
            plain: !self.core.recorder.is_on()
                && self.core.publish_layers.is_empty()
                && cold.rejected.is_none()
                && !self.core.is_closing()
                && !listeners.iter().any(|listener| listener.keeps()),
            listeners: listeners.into(),
        };
        let old = self.snapshot.swap(Arc::new(snapshot));
        self.generation.store(generation, Ordering::Release);
        old
    }

    fn cold(&self) -> MutexGuard<'_, Cold<E>> {
        self.cold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot whose type is not known.
pub(super) trait AnySlot: Send + Sync {
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
    /// Takes changed taps, or the beginning of a shutdown, into the snapshot.
    fn refresh(&self, taps: Taps);
    fn reject(&self, why: Arc<str>);
    fn listeners(&self) -> usize;
    /// Lets go of every listener and tap, so that what they own goes too.
    fn clear(&self);
}

impl<E: Event> AnySlot for Slot<E> {
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn refresh(&self, taps: Taps) {
        let _old = {
            let mut cold = self.cold();
            let taps = std::mem::replace(&mut cold.taps, taps);
            (taps, self.rebuild(&mut cold))
        };
    }

    fn reject(&self, why: Arc<str>) {
        let _old = {
            let mut cold = self.cold();
            cold.rejected = Some(why);
            self.rebuild(&mut cold)
        };
    }

    fn listeners(&self) -> usize {
        self.cold().listeners.len()
    }

    fn clear(&self) {
        let _old = {
            let mut cold = self.cold();
            let listeners = std::mem::take(&mut cold.listeners);
            listeners
                .iter()
                .for_each(|listener| listener.heard().remove());
            let taps = std::mem::take(&mut cold.taps);
            (listeners, taps, self.rebuild(&mut cold))
        };
    }
}

/// A slot with its newest snapshot, kept by a thread.
pub(crate) struct CachedSlot<E: Event> {
    pub(crate) slot: Arc<Slot<E>>,
    pub(crate) snapshot: Arc<Snapshot<E>>,
}

/// Direct-mapped, so that it is bounded and a look-up is one comparison.
const WAYS: usize = 64;

struct Way {
    bus: u64,
    event: TypeId,
    cached: Rc<dyn Any>,
}

thread_local! {
    static CACHE: RefCell<[Option<Way>; WAYS]> = const { RefCell::new([const { None }; WAYS]) };
}

/// This thread's cached slot of a type, made by `find` where it is missing or stale.
#[inline(always)]
pub(super) fn cached<E: Event>(bus: u64, find: impl FnOnce() -> Arc<Slot<E>>) -> Rc<CachedSlot<E>> {
    let event = TypeId::of::<E>();
    let way = way_of(bus, &event);
    let hit = CACHE.try_with(|cache| match &cache.borrow()[way] {
        Some(entry) if entry.bus == bus && entry.event == event => {
            Rc::clone(&entry.cached).downcast::<CachedSlot<E>>().ok()
        }
        _ => None,
    });
    // In the destructors of a thread the cache may be gone: then every emit looks up.
    let hit = hit.ok().flatten();
    match hit {
        Some(hit) if hit.snapshot.generation == hit.slot.generation() => hit,
        Some(stale) => cache(bus, event, way, Arc::clone(&stale.slot)),
        None => cache(bus, event, way, find()),
    }
}

#[cold]
#[inline(never)]
fn cache<E: Event>(bus: u64, event: TypeId, way: usize, slot: Arc<Slot<E>>) -> Rc<CachedSlot<E>> {
    let fresh = Rc::new(CachedSlot {
        snapshot: slot.snapshot(),
        slot,
    });
    let entry = Way {
        bus,
        event,
        cached: Rc::clone(&fresh) as Rc<dyn Any>,
    };
    // The old entry is dropped outside of the borrow: what it frees may emit.
    let old = CACHE.try_with(|cache| cache.borrow_mut()[way].replace(entry));
    drop(old);
    fresh
}

/// Forgets this thread's slots of a bus that has ended. Other threads forget theirs when another
/// type takes the place; a slot that was cleared owns no listener any more.
pub(super) fn forget(bus: u64) {
    let old: Result<Vec<Way>, _> = CACHE.try_with(|cache| {
        let mut cache = cache.borrow_mut();
        let of_bus = |way: &&mut Option<Way>| way.as_ref().is_some_and(|way| way.bus == bus);
        cache
            .iter_mut()
            .filter(of_bus)
            .filter_map(Option::take)
            .collect()
    });
    drop(old);
}

#[inline(always)]
fn way_of(bus: u64, event: &TypeId) -> usize {
    use std::hash::{Hash, Hasher};
    /// A `TypeId` hashes itself as a single number that is random already.
    struct Take(u64);
    impl Hasher for Take {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
            }
        }
        fn write_u64(&mut self, number: u64) {
            self.0 = number;
        }
    }
    let mut hasher = Take(0);
    event.hash(&mut hasher);
    (hasher.finish() ^ bus) as usize % WAYS
}

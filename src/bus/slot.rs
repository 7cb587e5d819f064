//! What an emit reads: one immutable snapshot per event type, swapped when a subscription changes
//! (house rule 16). The read path takes no lock and touches no shared counter.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tidings_transport::{Encoder, Interest, Name};

use super::core::BusCore;
use super::registry::Taps;
use crate::Event;
use crate::emit::{Called, Listening, TapListener};
use crate::pipeline::Middleware;

impl<E: Event> Snapshot<E> {
    #[inline(always)]
    pub(crate) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }
}

/// Everything the bus keeps about one event type.
pub(crate) struct Slot<E: Event> {
    core: Arc<BusCore>,
    kind: Kind,
    snapshot: ArcSwap<Snapshot<E>>,
    cold: Mutex<Cold<E>>,
}

/// The constants of a type on this bus.
pub(crate) struct Kind {
    pub(crate) name: Name,
    pub(crate) topic: Name,
    pub(crate) source: Name,
    pub(crate) encoder: Encoder,
}

/// Who gets an event of this type, at one moment.
pub(crate) struct Snapshot<E: Event> {
    /// There is a newer one, or there is about to be.
    stale: AtomicBool,
    /// Typed listeners and taps, in registration order.
    pub(crate) listeners: Box<[Called<E>]>,
    pub(crate) interest: Interest,
    /// The interest where it alone decides whether an emit is more than a call of listeners:
    /// nothing to publish through, nothing to refuse, no listener that keeps events and so needs
    /// them shared. Unknown elsewhere.
    pub(crate) beside_listeners: Interest,
    /// Nobody but groups of this process gets it, and nothing else is to be done about it.
    pub(crate) straight: bool,
    pub(crate) layers: Arc<[Arc<dyn Middleware>]>,
    /// Why events of this type are refused: a registration that was.
    pub(crate) rejected: Option<Arc<str>>,
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
            stale: AtomicBool::new(true),
            listeners: Box::new([]),
            interest: Interest::unknown(),
            beside_listeners: Interest::unknown(),
            straight: false,
            layers: Arc::clone(&core.publish_layers),
            rejected: None,
        };
        let warned = core.config.warn_handlers;
        let slot = Self {
            core,
            kind,
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
                core: Arc::clone(&self.core),
                topic: self.kind.topic.clone(),
                heard: Arc::clone(heard),
                tap: Arc::clone(tap),
            };
            listeners.push(Box::new(tap));
        }
        // Registration order across typed listeners and taps: subscriptions are numbered.
        listeners.sort_by_key(|listener| listener.heard().subscription);
        let plain = !self.core.recorder.is_on()
            && self.core.publish_layers.is_empty()
            && cold.rejected.is_none()
            && !self.core.is_closing()
            && !listeners.iter().any(|listener| listener.keeps());
        let interest = self.core.transport.interest(&self.kind.topic);
        let snapshot = Snapshot {
            stale: AtomicBool::new(false),
            layers: Arc::clone(&self.core.publish_layers),
            rejected: cold.rejected.clone(),
            beside_listeners: match plain {
                true => interest.clone(),
                false => Interest::unknown(),
            },
            straight: plain && listeners.is_empty() && !self.core.capabilities.durable,
            interest,
            listeners: listeners.into(),
        };
        let old = self.snapshot.swap(Arc::new(snapshot));
        old.stale.store(true, Ordering::Release);
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
        super::cache::forget::<E>(self.core.id);
    }
}

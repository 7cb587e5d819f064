use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tidings_transport::EventId;

use super::context::{self, Current};
use crate::Event;
use crate::bus::Slot;
use crate::handler::{Listener, Outcome};

/// What listens to events of one type inside an emit.
pub(crate) trait Listening<E: Event>: Send + Sync {
    /// Hears the event, unless it was removed: a snapshot may be older than an `off`, and one
    /// removed before its turn is skipped. What panics in here is caught by [`fire`].
    fn hear(&self, event: &E, slot: &Slot<E>);
    /// [`hear`](Self::hear), where the event is shared.
    fn hear_shared(&self, event: &Arc<E>, slot: &Slot<E>) {
        self.hear(event, slot);
    }
    fn heard(&self) -> &Heard;
    /// Whether it keeps the event, so that the emit must share it.
    fn keeps(&self) -> bool {
        false
    }
    /// As a snapshot holds it: see [`Called`].
    fn called(self: Arc<Self>) -> Called<E>;
}

/// A listener in a snapshot. Where in an `Arc<dyn _>` the value begins has to be worked out at each
/// call; in a box it is known.
pub(crate) type Called<E> = Box<dyn Listening<E>>;

impl<E: Event, L: Listening<E> + ?Sized> Listening<E> for Arc<L> {
    #[inline]
    fn hear(&self, event: &E, slot: &Slot<E>) {
        L::hear(self, event, slot);
    }

    fn hear_shared(&self, event: &Arc<E>, slot: &Slot<E>) {
        L::hear_shared(self, event, slot);
    }

    fn heard(&self) -> &Heard {
        L::heard(self)
    }

    fn keeps(&self) -> bool {
        L::keeps(self)
    }

    fn called(self: Arc<Self>) -> Called<E> {
        L::called(Self::clone(&self))
    }
}

/// One event on its way to the listeners.
pub(crate) enum Firing<'a, E: Event> {
    Lent(&'a E),
    Shared(&'a Arc<E>),
}

/// What every listener has: whose it is, and whether its turn still comes.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) subscription: u64,
    pub(crate) site: &'static Location<'static>,
    removed: AtomicBool,
}

impl Heard {
    pub(crate) fn new(subscription: u64, site: &'static Location<'static>) -> Self {
        Self {
            subscription,
            site,
            removed: AtomicBool::new(false),
        }
    }

    pub(crate) fn remove(&self) {
        self.removed.store(true, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
}

/// Runs the listeners of a snapshot in registration order (house rule 8). Whether one of them asked
/// for metadata: then [`context::made`] has the id.
#[inline(always)]
pub(crate) fn fire<E: Event>(listeners: &[Called<E>], event: &E, slot: &Slot<E>) -> bool {
    let turn = context::QuietTurn::begin();
    call(listeners, &Firing::Lent(event), slot);
    turn.end()
}

/// [`fire`] inside a handler.
#[inline(never)]
pub(crate) fn fire_inside<E: Event>(listeners: &[Called<E>], event: &E, slot: &Slot<E>) -> bool {
    let turn = context::Turn::begin();
    call(listeners, &Firing::Lent(event), slot);
    turn.end()
}

/// [`fire`] for an event whose metadata exists already.
pub(crate) fn fire_knowing<E: Event>(
    listeners: &[Called<E>],
    firing: &Firing<'_, E>,
    slot: &Slot<E>,
    known: Current,
) {
    let turn = context::Turn::begin_knowing(known);
    call(listeners, firing, slot);
    turn.end();
}

#[inline(always)]
fn call<E: Event>(listeners: &[Called<E>], firing: &Firing<'_, E>, slot: &Slot<E>) {
    let next = Cell::new(0);
    // One guard around all of them is entered again behind the one that panicked.
    while let Err(panic) = catch_unwind(AssertUnwindSafe(|| {
        while let Some(listener) = listeners.get(next.get()) {
            next.set(next.get() + 1);
            match firing {
                Firing::Lent(event) => listener.hear(event, slot),
                Firing::Shared(event) => listener.hear_shared(event, slot),
            }
        }
    })) {
        if let Some(listener) = listeners.get(next.get() - 1) {
            complain(slot, listener.heard(), Err(panic));
        }
    }
}

/// A listener closure.
pub(crate) struct Inline<L> {
    heard: Heard,
    listener: L,
}

impl<L> Inline<L> {
    pub(crate) fn new(heard: Heard, listener: L) -> Self {
        Self { heard, listener }
    }
}

impl<E: Event, L: Listener<E>> Listening<E> for Inline<L> {
    #[inline]
    fn hear(&self, event: &E, slot: &Slot<E>) {
        if !self.heard.is_removed() {
            let outcome = self.listener.hear(event);
            if !matches!(outcome, Outcome::Done) {
                complain(slot, &self.heard, Ok(outcome));
            }
        }
    }

    fn heard(&self) -> &Heard {
        &self.heard
    }

    fn called(self: Arc<Self>) -> Called<E> {
        Box::new(self)
    }
}

/// A listener closure for a number of events.
pub(crate) struct Limited<L> {
    inline: Inline<L>,
    remaining: AtomicUsize,
}

impl<L> Limited<L> {
    pub(crate) fn new(heard: Heard, times: usize, listener: L) -> Self {
        Self {
            inline: Inline::new(heard, listener),
            remaining: AtomicUsize::new(times),
        }
    }
}

impl<E: Event, L: Listener<E>> Listening<E> for Limited<L> {
    fn hear(&self, event: &E, slot: &Slot<E>) {
        if self.inline.heard.is_removed() {
            return;
        }
        let left = self
            .remaining
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                left.checked_sub(1)
            });
        match left {
            // Removed before it runs; so its own flag no longer counts.
            Ok(1) => slot.remove_listener(self.inline.heard.subscription),
            Ok(_) => {}
            Err(_) => return,
        }
        let outcome = self.inline.listener.hear(event);
        if !matches!(outcome, Outcome::Done) {
            complain(slot, &self.inline.heard, Ok(outcome));
        }
    }

    fn heard(&self) -> &Heard {
        &self.inline.heard
    }

    fn called(self: Arc<Self>) -> Called<E> {
        Box::new(self)
    }
}

/// A tap over all types, beside the listeners of one.
pub(crate) struct TapListener {
    pub(crate) heard: Arc<Heard>,
    pub(crate) tap: Arc<dyn Fn(&Tap<'_>) + Send + Sync>,
}

impl<E: Event> Listening<E> for TapListener {
    fn hear(&self, event: &E, slot: &Slot<E>) {
        if self.heard.is_removed() {
            return;
        }
        (self.tap)(&Tap {
            event,
            name: E::NAME,
            version: E::VERSION,
            topic: &slot.kind().topic,
            id: &|| context::heard_id(&*slot.core().clock),
        });
    }

    fn heard(&self) -> &Heard {
        &self.heard
    }

    fn called(self: Arc<Self>) -> Called<E> {
        Box::new(self)
    }
}

/// An error or panic of a listener reaches neither the emitter nor its neighbours.
#[cold]
#[inline(never)]
fn complain<E: Event>(slot: &Slot<E>, heard: &Heard, ended: Result<Outcome, Box<dyn Any + Send>>) {
    let error = match ended {
        Ok(Outcome::Done) => return,
        Ok(Outcome::Failed(failure)) => failure.into_text(),
        Err(panic) => crate::text::safe(&crate::text::panic_message(panic)),
    };
    tracing::error!(
        event = E::NAME,
        id = %crate::text::Escaped(context::heard_id(&*slot.core().clock)),
        listener = %heard.site,
        error,
        "listener failed"
    );
}

/// An event of any type, seen by [`Bus::on_any`](crate::Bus::on_any) inside the emit.
#[derive(Clone, Copy)]
pub struct Tap<'a> {
    event: &'a (dyn Any + Send + Sync),
    name: &'static str,
    version: u32,
    topic: &'a str,
    id: &'a dyn Fn() -> EventId,
}

impl Tap<'_> {
    /// The event's declared name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The event's declared version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The topic it goes to.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.topic
    }

    /// The event's id, made now if nobody asked before.
    #[must_use]
    pub fn id(&self) -> EventId {
        (self.id)()
    }

    /// The event, if it is an `E`.
    #[must_use]
    pub fn downcast_ref<E: Event>(&self) -> Option<&E> {
        self.event.downcast_ref()
    }
}

impl fmt::Debug for Tap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use tidings_transport::{EventId, Name};

use super::context::{self, Current, QuietTurn, Turn};
use crate::Event;
use crate::bus::{BusCore, Slot, Snapshot};
use crate::handler::{Listener, Outcome};

/// What listens to events of one type inside an emit.
pub(crate) trait Listening<E: Event>: Send + Sync {
    /// Hears the event. What panics in here is caught by [`fire`].
    fn hear(&self, event: &E);
    /// [`hear`](Self::hear), where the event is shared.
    fn hear_shared(&self, event: &Arc<E>) {
        self.hear(event);
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
    fn hear(&self, event: &E) {
        L::hear(self, event);
    }

    fn hear_shared(&self, event: &Arc<E>) {
        L::hear_shared(self, event);
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

impl<E: Event> Firing<'_, E> {
    #[inline(always)]
    fn reach(&self, listener: &Called<E>) {
        match self {
            Self::Lent(event) => listener.hear(event),
            Self::Shared(event) => listener.hear_shared(event),
        }
    }
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

/// Runs the listeners of a snapshot in registration order (house rule 8). The end of the turn says
/// whether one of them asked for metadata: then [`context::made`] has the id.
#[inline(always)]
pub(crate) fn fire<E: Event>(slot: &Slot<E>, snapshot: &Snapshot<E>, event: &E) -> QuietTurn {
    let turn = QuietTurn::begin();
    call::<E, false>(slot, snapshot, &Firing::Lent(event));
    turn
}

/// [`fire`] in a call of its own, for a caller that leaves the loop too few registers.
#[inline(never)]
pub(crate) fn fire_apart<E: Event>(slot: &Slot<E>, snapshot: &Snapshot<E>, event: &E) -> QuietTurn {
    let turn = QuietTurn::begin();
    call::<E, true>(slot, snapshot, &Firing::Lent(event));
    turn
}

/// [`fire`] inside a handler.
#[inline(never)]
pub(crate) fn fire_inside<E: Event>(slot: &Slot<E>, snapshot: &Snapshot<E>, event: &E) -> bool {
    let turn = Turn::begin();
    call_each(slot, &Firing::Lent(event), &snapshot.listeners);
    turn.end()
}

/// [`fire`] for an event whose metadata exists already.
pub(crate) fn fire_knowing<E: Event>(
    slot: &Slot<E>,
    snapshot: &Snapshot<E>,
    firing: &Firing<'_, E>,
    known: Current,
) {
    let turn = Turn::begin_knowing(known);
    call_each(slot, firing, &snapshot.listeners);
    turn.end();
}

/// Calls the listeners of a snapshot, all of them in one guard and without a look at their own marks:
/// every removal makes a new snapshot. What a panic or a removal leaves over, [`call_each`] calls.
/// `APART` makes two of it, so that the one that belongs inline has no other caller and is.
#[inline(always)]
fn call<E: Event, const APART: bool>(
    slot: &Slot<E>,
    snapshot: &Snapshot<E>,
    firing: &Firing<'_, E>,
) {
    // Whose turn it is, for what comes after. Only written in the loop, where it costs nothing.
    let turn = Cell::new(None);
    let caught = catch_unwind(AssertUnwindSafe(
        #[inline(always)]
        || {
            for listener in &snapshot.listeners {
                turn.set(Some(listener));
                firing.reach(listener);
                if snapshot.is_stale() {
                    return Ended::Early;
                }
            }
            Ended::All
        },
    ));
    if !matches!(caught, Ok(Ended::All)) {
        call_rest(slot, snapshot, firing, turn.get(), caught.err());
    }
}

/// How a round of calls ended that did not panic.
enum Ended {
    All,
    /// There is a newer snapshot.
    Early,
}

/// Calls those behind the one whose turn it was.
#[cold]
#[inline(never)]
fn call_rest<E: Event>(
    slot: &Slot<E>,
    snapshot: &Snapshot<E>,
    firing: &Firing<'_, E>,
    last: Option<&Called<E>>,
    panic: Option<Box<dyn Any + Send>>,
) {
    let mut rest = snapshot.listeners.iter();
    let Some(last) = last.and_then(|last| rest.find(|it| ptr::eq(*it, last))) else {
        return;
    };
    if let Some(panic) = panic {
        panicked(slot, last, panic);
    }
    call_each(slot, firing, rest.as_slice());
}

/// Calls those that were not removed before their turn (house rule 8), each in its own guard.
fn call_each<E: Event>(slot: &Slot<E>, firing: &Firing<'_, E>, listeners: &[Called<E>]) {
    for listener in listeners {
        if listener.heard().is_removed() {
            continue;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| firing.reach(listener))) {
            panicked(slot, listener, panic);
        }
    }
}

#[cold]
#[inline(never)]
fn panicked<E: Event>(slot: &Slot<E>, listener: &Called<E>, panic: Box<dyn Any + Send>) {
    let text = crate::text::safe(&crate::text::panic_message(panic));
    complain::<E>(slot.core(), listener.heard(), text);
}

/// A listener closure.
pub(crate) struct Inline<L> {
    core: Arc<BusCore>,
    heard: Heard,
    listener: L,
}

impl<L> Inline<L> {
    pub(crate) fn new(core: &Arc<BusCore>, heard: Heard, listener: L) -> Self {
        Self {
            core: Arc::clone(core),
            heard,
            listener,
        }
    }
}

impl<E: Event, L: Listener<E>> Listening<E> for Inline<L> {
    #[inline]
    fn hear(&self, event: &E) {
        if let Outcome::Failed(failure) = self.listener.hear(event) {
            complain::<E>(&self.core, &self.heard, failure.into_text());
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
pub(crate) struct Limited<E: Event, L> {
    inline: Inline<L>,
    slot: Weak<Slot<E>>,
    remaining: AtomicUsize,
}

impl<E: Event, L> Limited<E, L> {
    pub(crate) fn new(slot: &Arc<Slot<E>>, heard: Heard, times: usize, listener: L) -> Self {
        Self {
            inline: Inline::new(slot.core(), heard, listener),
            slot: Arc::downgrade(slot),
            remaining: AtomicUsize::new(times),
        }
    }
}

impl<E: Event, L: Listener<E>> Listening<E> for Limited<E, L> {
    fn hear(&self, event: &E) {
        let left = self
            .remaining
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                left.checked_sub(1)
            });
        match left {
            // Removed before it runs; so its own flag no longer counts.
            Ok(1) => {
                if let Some(slot) = self.slot.upgrade() {
                    slot.remove_listener(self.inline.heard.subscription);
                }
            }
            Ok(_) => {}
            Err(_) => return,
        }
        self.inline.hear(event);
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
    pub(crate) core: Arc<BusCore>,
    pub(crate) topic: Name,
    pub(crate) heard: Arc<Heard>,
    pub(crate) tap: Arc<dyn Fn(&Tap<'_>) + Send + Sync>,
}

impl<E: Event> Listening<E> for TapListener {
    fn hear(&self, event: &E) {
        (self.tap)(&Tap {
            event,
            name: E::NAME,
            version: E::VERSION,
            topic: &self.topic,
            id: &|| context::heard_id(&*self.core.clock),
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
fn complain<E: Event>(core: &BusCore, heard: &Heard, error: String) {
    tracing::error!(
        event = E::NAME,
        id = %crate::text::Escaped(context::heard_id(&*core.clock)),
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

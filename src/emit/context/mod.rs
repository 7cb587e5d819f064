//! The context that follows a handler: correlation, causation and trace, with no code.
//!
//! A handler's context lies in a thread-local slot while the handler is polled, moved in and out
//! by value, so that a delivery costs no allocation. Listeners run inside an emit; for them the
//! context is made when somebody asks.

mod entered;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::pin;

use tidings_transport::{Envelope, EventId, Name, TraceContext};

use self::entered::Scoped;
pub(crate) use self::entered::{Entered, outside};
use crate::clock::Clock;

/// What an event emitted here would carry on: see [`Bus::context`](crate::Bus::context).
///
/// Take it inside a handler and [`scope`](Self::scope) a spawned task with it; without that a
/// `tokio::spawn` starts a new story.
#[derive(Clone, Default)]
pub struct Context(Option<Box<Current>>);

impl Context {
    pub(crate) fn capture(clock: &dyn Clock) -> Self {
        Self(Current::capture(clock).map(Box::new))
    }

    /// The id shared by everything that one cause set off; `None` outside handlers.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&EventId> {
        self.0.as_ref().map(|current| current.correlation())
    }

    /// The id of the event being handled.
    #[must_use]
    pub fn event_id(&self) -> Option<&EventId> {
        self.0.as_ref().map(|current| &current.event)
    }

    /// The trace of the event being handled. Where spans are recorded it names the handler's own
    /// span, the parent of what is emitted here; elsewhere the producer's.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceContext> {
        self.0.as_ref()?.trace.as_ref()
    }

    /// Runs a future in this context: what it emits belongs to the same story.
    ///
    /// ```
    /// # use tidings::Bus;
    /// # async fn inside_a_handler(bus: Bus) {
    /// let context = bus.context();
    /// tokio::spawn(context.scope(async move {
    ///     // emits here carry the handler's correlation id, causation id and trace
    /// }));
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// As the inner future.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        // The task is no longer the handler: waiting for that handler is no deadlock here.
        let current = self.0.map(|mut current| {
            current.subscription = 0;
            current
        });
        Scoped::new(current, pin!(future)).await
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("event_id", &self.event_id())
            .field("correlation_id", &self.correlation_id())
            .finish_non_exhaustive()
    }
}

/// The event being handled on this thread.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) bus: u64,
    /// The handler that runs; 0 in a task or listener.
    pub(crate) subscription: u64,
    /// Its group; empty in a listener outside handlers.
    pub(crate) group: Name,
    pub(crate) event: EventId,
    /// `None` is the event's own id.
    pub(crate) correlation: Option<EventId>,
    /// `None` in the slots below where it is the one that the event's id stands for: most handlers
    /// never ask.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) hops: u16,
    /// A replay's: nothing may be published from it (contract Y2).
    pub(crate) mute: bool,
}

const LISTENING: u8 = 1;
const HANDLING: u8 = 2;
/// `HEARD` belongs to the event whose listeners run.
const KNOWN: u8 = 4;
/// `DEFERRED` is not empty.
const WAITING: u8 = 8;

thread_local! {
    /// Which of the slots below are in use. No destructor, so reading it is one load; the slots
    /// have one and are touched only where a flag says so.
    static FLAGS: Cell<u8> = const { Cell::new(0) };
    static CURRENT: RefCell<Option<Box<Current>>> = const { RefCell::new(None) };
    /// The event whose listeners run, if its metadata was known or asked for.
    static HEARD: RefCell<Option<Current>> = const { RefCell::new(None) };
    static DEFERRED: RefCell<VecDeque<Box<dyn FnOnce()>>> = const { RefCell::new(VecDeque::new()) };
}

/// How many events emitted by listeners may wait for their own listeners, per thread.
pub(crate) const MAX_DEFERRED: usize = 1_024;

impl Current {
    pub(crate) fn of(envelope: &Envelope, bus: u64, subscription: u64, group: Name) -> Self {
        Self {
            bus,
            subscription,
            group,
            event: envelope.id.clone(),
            correlation: envelope.attributes().correlation.clone(),
            trace: envelope.attributes().trace.clone(),
            hops: envelope.hops,
            mute: false,
        }
    }

    pub(crate) fn correlation(&self) -> &EventId {
        self.correlation.as_ref().unwrap_or(&self.event)
    }

    /// As it is handed out.
    fn told(&self) -> Self {
        let mut told = self.clone();
        told.trace = told.trace.or_else(|| told.event.derived_trace());
        told
    }

    /// The same handler's next event.
    #[inline(always)]
    pub(crate) fn turn_to(&mut self, envelope: &Envelope) {
        self.event = envelope.id.clone();
        self.hops = envelope.hops;
        let attributes = envelope.attributes();
        if self.correlation.is_some() || attributes.correlation.is_some() {
            self.correlation = attributes.correlation.clone();
        }
        if self.trace.is_some() || attributes.trace.is_some() {
            self.trace = attributes.trace.clone();
        }
    }

    /// What an emit at this point of the program continues.
    pub(crate) fn capture(clock: &dyn Clock) -> Option<Self> {
        match FLAGS.get() {
            0 => None,
            flags if flags & LISTENING != 0 => Some(heard(clock)),
            _ => outer(),
        }
    }
}

/// The handler that runs here goes on to its next event.
#[inline(always)]
pub(crate) fn turn_to(envelope: &Envelope) {
    CURRENT.with_borrow_mut(|current| {
        if let Some(current) = current {
            current.turn_to(envelope);
        }
    });
}

/// The handler's context on this thread. In the destructors of a thread all of these slots may be
/// gone, and an emit must still not panic: a second panic there aborts the process.
fn outer() -> Option<Current> {
    CURRENT
        .try_with(|current| current.borrow().as_deref().map(Current::told))
        .ok()
        .flatten()
}

/// Whether neither handlers nor listeners run on this thread.
#[inline(always)]
pub(crate) fn is_quiet() -> bool {
    FLAGS.get() == 0
}

/// Whether listeners of an event run on this thread right now.
#[inline]
pub(crate) fn is_listening() -> bool {
    FLAGS.get() & LISTENING != 0
}

/// The handler that runs here, if one does: its bus, subscription and group.
pub(crate) fn running_handler() -> Option<(u64, u64, Name)> {
    if FLAGS.get() & HANDLING == 0 {
        return None;
    }
    CURRENT.with_borrow(|current| {
        current
            .as_ref()
            .filter(|current| current.subscription != 0)
            .map(|current| (current.bus, current.subscription, current.group.clone()))
    })
}

fn heard(clock: &dyn Clock) -> Current {
    let flags = FLAGS.get();
    let known = HEARD.try_with(|heard| {
        let mut heard = heard.borrow_mut();
        if flags & KNOWN == 0 {
            *heard = None;
        }
        heard.get_or_insert_with(|| begin(clock)).told()
    });
    if known.is_ok() {
        FLAGS.set(flags | KNOWN);
    }
    known.unwrap_or_else(|_| begin(clock))
}

/// The metadata of an event that nobody had asked for before.
fn begin(clock: &dyn Clock) -> Current {
    let event = EventId::fresh(clock.now());
    let outer = outer();
    Current {
        bus: 0,
        subscription: 0,
        group: outer
            .as_ref()
            .map_or(Name::from_static(""), |outer| outer.group.clone()),
        correlation: outer.as_ref().map(|outer| outer.correlation().clone()),
        trace: outer
            .as_ref()
            .and_then(|outer| outer.trace.as_ref().map(TraceContext::child))
            .or_else(|| event.derived_trace()),
        hops: outer
            .as_ref()
            .map_or(0, |outer| outer.hops.saturating_add(1)),
        mute: outer.is_some_and(|outer| outer.mute),
        event,
    }
}

/// Runs the listeners of one event. Events that they emit have their own listeners run afterwards,
/// breadth first, before the outermost call returns.
pub(crate) struct Turn {
    outer: u8,
}

impl Turn {
    pub(crate) fn begin() -> Self {
        let outer = FLAGS.get();
        FLAGS.set(outer & !KNOWN | LISTENING);
        Self { outer }
    }

    /// The event's metadata exists already.
    pub(crate) fn begin_knowing(known: Current) -> Self {
        let this = Self::begin();
        if HEARD.try_with(|heard| heard.replace(Some(known))).is_ok() {
            FLAGS.set(FLAGS.get() | KNOWN);
        }
        this
    }

    /// Whether somebody asked for metadata: then [`made`] has the id, until the next event.
    pub(crate) fn end(self) -> bool {
        heard_out(self.outer)
    }
}

/// Restores even if a listener's own drop code unwinds.
impl Drop for Turn {
    fn drop(&mut self) {
        FLAGS.set(self.outer);
    }
}

/// A [`Turn`] where [`is_quiet`]. It is the whole cost of an emit without groups, so it stores
/// constants only: no emit has to wait for what the last one stored.
pub(crate) struct QuietTurn(());

impl QuietTurn {
    #[inline(always)]
    pub(crate) fn begin() -> Self {
        FLAGS.set(LISTENING);
        Self(())
    }

    /// As [`Turn::end`].
    #[inline(always)]
    pub(crate) fn end(self) -> bool {
        FLAGS.get() != LISTENING && heard_out(0)
    }
}

/// As for [`Turn`].
impl Drop for QuietTurn {
    #[inline(always)]
    fn drop(&mut self) {
        FLAGS.set(0);
    }
}

/// The id that was made because a listener asked for it.
#[cold]
pub(crate) fn made() -> Option<EventId> {
    HEARD
        .try_with(RefCell::take)
        .ok()
        .flatten()
        .map(|heard| heard.event)
}

/// What is left to do after listeners that asked for metadata or emitted.
#[inline(never)]
fn heard_out(outer: u8) -> bool {
    let flags = FLAGS.get();
    FLAGS.set(flags & !KNOWN);
    let known = match flags & KNOWN {
        0 => None,
        _ => HEARD.try_with(RefCell::take).ok().flatten(),
    };
    if outer & LISTENING == 0 {
        drain_deferred();
    }
    // Back in place: the events that were put off had their own in between.
    known.is_some() && HEARD.try_with(|heard| heard.replace(known)).is_ok()
}

fn drain_deferred() {
    let next = || {
        DEFERRED
            .try_with(|deferred| deferred.borrow_mut().pop_front())
            .ok()
            .flatten()
    };
    while let Some(next) = next() {
        next();
    }
}

/// Whether one more event may wait for its listeners.
pub(crate) fn can_defer() -> bool {
    DEFERRED
        .try_with(|deferred| deferred.borrow().len())
        .is_ok_and(|waiting| waiting < MAX_DEFERRED)
}

/// Puts the listeners of an event that a listener emitted behind those that run now.
pub(crate) fn defer(fire: impl FnOnce() + 'static) {
    FLAGS.set(FLAGS.get() | WAITING);
    DEFERRED.with_borrow_mut(|deferred| deferred.push_back(Box::new(fire)));
}

/// The id of the event whose listeners run now, made if nobody asked before.
pub(crate) fn heard_id(clock: &dyn Clock) -> EventId {
    heard(clock).event
}

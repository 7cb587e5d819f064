//! The bus: what a program holds.

mod builder;
mod cache;
mod config;
mod core;
mod doctor;
mod error;
mod explain;
mod group;
mod lag;
mod lifecycle;
mod listening;
mod live;
mod register;
mod registry;
mod replay;
mod slot;
mod stream;
mod subscription;
mod supervised;
mod url;

pub use self::core::GroupStats;
pub use builder::BusBuilder;
pub use config::{AfterDeadLetter, Mapping};
pub use error::{BuildError, RunError, ShutdownError, StartError, WouldDeadlock};
pub use explain::Explain;
pub use group::{Group, WithState};
pub use lag::GroupLag;
pub use lifecycle::ShutdownReport;
pub use replay::{From, Replay, ReplayError, ReplayProgress};
pub use stream::{EventStream, Lagged, NeverCame, Overflow, WaitFor};
pub use subscription::Subscription;

pub(crate) use self::core::{BusCore, GroupCore};
#[doc(hidden)]
pub use cache::Cache;
pub(crate) use cache::{CachedSlot, Taken};
pub(crate) use config::GroupSettings;
pub(crate) use registry::Table;
pub(crate) use slot::{Slot, Snapshot};

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use tidings_transport::Name;

use self::live::LiveGroup;
use self::registry::{Registry, topic_of};
use crate::Event;
use crate::emit::{
    Context, Emit, Plain, PublishError, Publisher, QuietTurn, Receipt, call_plainly, fire, try_emit,
};
use crate::handler::{AnyHandler, EventArg, Handler, Wanted};
use crate::pipeline::{DeadLetters, Middleware, Watchdog, Watched};

/// A typed event bus: register handlers per type, emit.
///
/// Cheap to clone: all clones are one bus.
///
/// # Guarantee
///
/// An emit that is Ok reached what contract P2 says for the transport: in memory, the bounded
/// queue of every group subscribed now. Every event reaches exactly one final state per group:
/// completed, dead-lettered, or skipped by a named rule. Events of one key are handled one at a
/// time and in order, retries included.
///
/// # Overload
///
/// Queues are bounded. A full one makes [`emit`](Self::emit) wait and
/// [`try_emit`](Self::try_emit) fail; nothing is dropped.
///
/// # Closing
///
/// [`shutdown`](Self::shutdown) drains and reports. A bus that is dropped without it stops at
/// once and logs what was unsettled; that neither blocks nor panics. A handler that holds a clone
/// of the bus keeps it alive until `shutdown`.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidings::{Bus, Event};
///
/// #[derive(Debug, Clone, Serialize, Deserialize, Event)]
/// #[event(name = "order.placed", version = 1, key = order_id)]
/// struct OrderPlaced {
///     order_id: String,
///     total_cents: u64,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = Bus::builder("order-service").build().await?;
/// bus.on(async |order: OrderPlaced| println!("charging {}", order.total_cents));
/// bus.emit(OrderPlaced { order_id: "ord-1".into(), total_cents: 5_999 }).await?;
/// bus.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Bus {
    inner: Arc<Inner>,
    /// The core's, at hand for every emit.
    id: u64,
}

pub(crate) struct Inner {
    core: Arc<BusCore>,
    registry: Registry,
    defaults: GroupSettings,
    handler_layers: Arc<[Arc<dyn Middleware>]>,
    watchdog: Watchdog,
}

impl Bus {
    /// A bus for a service of this name, which is also the name of the bus's own group and the
    /// source of its events.
    pub fn builder(service: impl Into<Name>) -> BusBuilder {
        BusBuilder::new(service.into())
    }

    /// Registers an async handler in the bus's own group.
    ///
    /// The argument's type says which events: `E` (needs `Clone`), `Arc<E>` or
    /// [`Delivery<E>`](crate::Delivery). The result is `()` or `Result<(), E>`: an error is
    /// retried, then dead-lettered. Handlers of one event run side by side and independently.
    ///
    /// A refused registration (two handlers of one name, two types of one wire identity) is
    /// logged, and [`start`](Self::start) and each emit of the type return it.
    #[track_caller]
    pub fn on<A: EventArg, H: Handler<A>>(&self, handler: H) -> Subscription {
        Group::own(self).on(handler)
    }

    /// Gives handlers state, cloned for each attempt and passed first.
    ///
    /// A closure that is `async move` and owns what it captures can be called only once, so it is
    /// no handler; state goes here, or is cloned into an inner `async move` block.
    ///
    /// ```
    /// # use tidings::{Bus, Event};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::sync::Arc;
    /// # #[derive(Debug, Clone, Serialize, Deserialize, Event)]
    /// # #[event(name = "order.placed", version = 1)]
    /// # struct OrderPlaced { order_id: String }
    /// #[derive(Clone)]
    /// struct Db;
    /// impl Db { async fn save(&self, id: &str) {} }
    ///
    /// struct Payments;
    /// impl Payments {
    ///     async fn charge(self: Arc<Self>, order: OrderPlaced) -> Result<(), std::io::Error> { Ok(()) }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::builder("order-service").build().await?;
    /// bus.with(Arc::new(Payments)).on(Payments::charge);
    /// bus.with(Db).on(async |db: Db, order: OrderPlaced| db.save(&order.order_id).await);
    ///
    /// let db = Db;
    /// bus.named("save-too").on(move |order: OrderPlaced| {
    ///     let db = db.clone();
    ///     async move { db.save(&order.order_id).await }
    /// });
    /// # Ok(()) }
    /// ```
    pub fn with<S: Clone + Send + Sync + 'static>(&self, state: S) -> WithState<S> {
        Group::own(self).with(state)
    }

    /// Names the next handler of the bus's own group: see [`Group::named`].
    pub fn named(&self, name: impl Into<Name>) -> Group {
        Group::own(self).named(name)
    }

    /// A named, independent consumer: see [`Group`].
    pub fn group(&self, name: impl Into<Name>) -> Group {
        Group::named_group(self, name.into())
    }

    /// Registers a handler of every event whose topic matches, undecoded.
    ///
    /// The pattern is an AMQP one: words parted by dots, `*` for one word, `#` for any number. It
    /// never matches the reserved topics that end in `.dead` and `.retry`.
    #[track_caller]
    pub fn on_pattern<H: AnyHandler>(&self, pattern: &str, handler: H) -> Subscription {
        Group::own(self).on_pattern(pattern, handler)
    }

    /// Emits an event: await it, after choosing a key, an id, headers or a delay.
    ///
    /// Ok is what contract P2 says for the transport. With a full queue it waits until the
    /// transport's publish deadline.
    ///
    /// # Errors
    ///
    /// A [`PublishError`] says whether the event may have been published all the same, and hands
    /// it back: see [`emit_again`](Self::emit_again).
    #[inline]
    pub fn emit<E: Event>(&self, event: E) -> Emit<'_, E> {
        Emit::first(self, event)
    }

    /// Emits an event that an earlier emit handed back, with the same id: where that one's outcome
    /// was Unknown, dedup suppresses the repeat.
    pub fn emit_again<E: Event>(&self, failed: PublishError<E>) -> Emit<'_, E> {
        Emit::again(self, failed)
    }

    /// Emits without waiting: done, or an error.
    ///
    /// # Errors
    ///
    /// `Full` where an emit would wait; `Unsupported` over a broker, whose confirmation only
    /// waiting can bring, and with a publish middleware.
    #[inline(always)]
    pub fn try_emit<E: Event>(&self, event: E) -> Result<Receipt, PublishError<E>> {
        match self.call_plainly(
            &event,
            #[inline(always)]
            |slot, snapshot, event| fire(slot, snapshot, event),
        ) {
            Plain::Heard => Ok(Receipt::heard()),
            other => self.try_more(other, event),
        }
    }

    #[inline(never)]
    fn try_more<E: Event>(&self, plain: Plain, event: E) -> Result<Receipt, PublishError<E>> {
        match plain {
            Plain::No => self.with_slot(|cached| try_emit(cached, event)),
            Plain::Heard | Plain::Asked => Ok(Receipt::asked()),
        }
    }

    /// Calls the listeners of an event, if that is all there is to do.
    #[inline(always)]
    pub(crate) fn call_plainly<E: Event>(
        &self,
        event: &E,
        fire: impl FnOnce(&Slot<E>, &Snapshot<E>, &E) -> QuietTurn,
    ) -> Plain {
        call_plainly(cache::take(self.id), cache::put, fire, event)
    }

    /// Emits many events, in order, up to 1,024 of them in flight at once; one result per event,
    /// in the same order.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves some events published and others not.
    pub async fn emit_all<E: Event>(
        &self,
        events: impl IntoIterator<Item = E>,
    ) -> Vec<Result<Receipt, PublishError<E>>> {
        let emits: Vec<_> = events
            .into_iter()
            .map(|event| self.emit(event).into_future())
            .collect();
        futures::stream::iter(emits)
            .buffered(IN_FLIGHT)
            .collect()
            .await
    }

    /// A handle for emitting one type on a hot path.
    #[must_use]
    pub fn publisher<E: Event>(&self) -> Publisher<E> {
        Publisher::new(self.clone())
    }

    /// What an emit at this point would carry on: inside a handler its correlation id, event id
    /// and trace; elsewhere nothing. For tasks that a handler spawns: see [`Context::scope`].
    #[must_use]
    pub fn context(&self) -> Context {
        Context::capture(&*self.core().clock)
    }

    /// Whether anything in this process handles or listens to events of this type. A pattern counts
    /// where it matches; taps, which see everything, do not count.
    #[must_use]
    pub fn has_handlers<E: Event>(&self) -> bool {
        self.registry().has_listeners(TypeId::of::<E>())
            || self
                .registry()
                .groups()
                .iter()
                .any(|group| self.group_gets::<E>(&group.core.name))
    }

    /// A group's dead letters: its name as given to [`group`](Self::group), or as it is on the
    /// wire; the service's own name stands for the bus's own group.
    #[must_use]
    pub fn dead_letters(&self, group: &str) -> DeadLetters {
        let prefixed = Name::from(format!("{}.{group}", self.core().service));
        let name = match self.registry().find_group(&prefixed) {
            Some(_) => prefixed,
            None => Name::from(group),
        };
        DeadLetters::new(Arc::clone(self.core()), live::dead_letter_topic(&name))
    }

    pub(crate) fn core(&self) -> &Arc<BusCore> {
        &self.inner.core
    }

    pub(crate) fn slot<E: Event>(&self) -> Arc<Slot<E>> {
        self.inner.registry.slot::<E>(&self.inner.core)
    }

    #[inline(always)]
    pub(crate) fn with_slot<E: Event, R>(&self, f: impl FnOnce(&CachedSlot<E>) -> R) -> R {
        cache::with(self.id, || self.slot::<E>(), f)
    }

    /// Whether a group stopped after a dead letter, and nothing of it runs any more.
    pub(crate) fn has_stopped(&self, group: &str) -> bool {
        self.registry().find_group(group).is_some_and(|group| {
            let stats = group.core.counters.stats();
            stats.stopped && stats.unsettled == 0
        })
    }

    /// Whether a group of this bus has a handler that gets events of a type.
    pub(crate) fn group_gets<E: Event>(&self, group: &str) -> bool {
        let topic = topic_of::<E>();
        self.registry().find_group(group).is_some_and(|group| {
            group
                .handlers()
                .iter()
                .any(|handler| match &handler.info().wanted {
                    Wanted::Type { event, .. } => event == E::NAME,
                    Wanted::Pattern(pattern) => pattern.matches(&topic),
                })
        })
    }

    /// Starts the task of a group, once, under the watchdog's eyes.
    fn run_group(&self, group: &Arc<LiveGroup>) {
        self.watch(group, || group.start());
    }

    /// Has the watchdog look at what was started, if it was.
    fn watch(&self, group: &Arc<LiveGroup>, start: impl FnOnce() -> bool) {
        if start() {
            let group: Arc<dyn Watched> = Arc::<LiveGroup>::clone(group);
            self.inner.watchdog.watch(Arc::downgrade(&group));
        }
    }

    /// A group was made with these settings.
    fn note_settings(&self, group: &Name, stamp: Option<u64>) {
        self.registry().cold().stamps.insert(group.clone(), stamp);
    }

    /// Whether a group that exists was made with other settings.
    fn settings_conflict(&self, group: &Name, stamp: Option<u64>) -> Option<String> {
        let cold = self.registry().cold();
        let made_with = cold.stamps.get(group).copied().flatten();
        (stamp.is_some() && stamp != made_with).then(|| {
            format!("group {group:?} exists already, with other settings: set them all where its first handler is registered")
        })
    }

    /// Whether a type's wire identity was refused, on this bus, at its first use.
    fn identity_refused<E: Event>(&self) -> bool {
        self.slot::<E>();
        self.registry()
            .cold()
            .refused
            .contains_key(&TypeId::of::<E>())
    }

    fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    fn defaults(&self) -> &GroupSettings {
        &self.inner.defaults
    }

    fn handler_layers(&self) -> &[Arc<dyn Middleware>] {
        &self.inner.handler_layers
    }
}

/// How many emits of one `emit_all` may be in flight.
const IN_FLIGHT: usize = 1_024;

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("service", &self.core().service)
            .field("transport", &self.core().transport.system())
            .finish_non_exhaustive()
    }
}

/// The last clone is gone: ends without blocking, and says what was unfinished (contract S3).
impl Drop for Inner {
    fn drop(&mut self) {
        let was_shut_down = self.core.closed.is_cancelled();
        self.core
            .closing
            .store(true, std::sync::atomic::Ordering::Release);
        self.core.closed.cancel();
        self.registry.clear();
        for group in self.registry.groups() {
            let unsettled = group.core.counters.stats().unsettled;
            if unsettled > 0 && !was_shut_down {
                tracing::warn!(
                    group = %group.core.name,
                    unsettled,
                    "bus dropped without shutdown: unsettled events are given back"
                );
            }
            group.abort();
            group.table.store(Arc::default());
        }
        let unstarted = self.core.capabilities.durable
            && !self.core.started.load(std::sync::atomic::Ordering::Acquire);
        if unstarted && !self.registry.groups().is_empty() {
            tracing::error!(
                "bus dropped with handlers that were never started: call `start` or `run`"
            );
        }
    }
}

use std::any::TypeId;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tidings_transport::{Mode, Name, Pattern as TopicPattern, Start};

use super::config::{AfterDeadLetter, GroupSettings};
use super::registry::{next_subscription, topic_of};
use super::{Bus, Subscription};
use crate::Event;
use crate::handler::{
    AnyHandler, Class, EventArg, Failure, Handler, HandlerWith, PatternHandler, Stated, Typed,
    Wanted,
};
use crate::pipeline::{Dedup, DedupPolicy, Middleware, PausePolicy, RetryPolicy};

/// A named, independent consumer: what one group does, fails at or lags behind with is invisible
/// in every other (contract D6).
///
/// Its name on the wire is `<service>.<group>`, so that two services with a group of one name
/// never share events; [`exact`](Self::exact) says otherwise. Settings are fixed by the first
/// handler that is registered.
///
/// ```
/// # use tidings::{Bus, Event, RetryPolicy};
/// # use serde::{Deserialize, Serialize};
/// # use std::time::Duration;
/// # #[derive(Debug, Clone, Serialize, Deserialize, Event)]
/// # #[event(name = "order.placed", version = 1)]
/// # struct OrderPlaced { order_id: String }
/// # async fn award(order: OrderPlaced) {}
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::builder("order-service").build().await?;
/// bus.group("loyalty-points")
///     .concurrency(64)
///     .retry(RetryPolicy::exponential().attempts(8))
///     .deadline(Duration::from_secs(5))
///     .on(award);
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a group does nothing until a handler is registered with `on`"]
pub struct Group {
    pub(super) bus: Bus,
    label: Label,
    pub(super) settings: GroupSettings,
    /// Which chain of settings this is; a group that exists takes no other.
    pub(super) stamp: Option<u64>,
    handler: Option<Name>,
    pub(super) replayable: bool,
}

#[derive(Clone)]
enum Label {
    /// The bus's own group, named like the service.
    Own,
    Named(Name),
}

/// A [`Group`] with state for its handlers: see [`Bus::with`].
#[derive(Clone)]
#[must_use = "state does nothing until a handler is registered with `on`"]
pub struct WithState<S> {
    group: Group,
    state: S,
}

macro_rules! settings {
    ($($(#[$meta:meta])* $name:ident($($arg:ident: $ty:ty),*) |$settings:ident| $set:expr;)*) => {
        $($(#[$meta])*
        pub fn $name(mut self, $($arg: $ty),*) -> Self {
            let $settings = &mut self.settings;
            $set;
            self.stamp = Some(next_subscription());
            self
        })*
    };
}

impl Group {
    pub(super) fn own(bus: &Bus) -> Self {
        Self::new(bus, Label::Own)
    }

    pub(super) fn named_group(bus: &Bus, name: Name) -> Self {
        Self::new(bus, Label::Named(name))
    }

    fn new(bus: &Bus, label: Label) -> Self {
        let settings = bus.defaults().clone();
        Self {
            bus: bus.clone(),
            label,
            settings,
            stamp: None,
            handler: None,
            replayable: false,
        }
    }

    settings! {
        /// How many attempts run at once, over all keys. Default 32. One key is always serial.
        concurrency(attempts: usize) |s| s.concurrency = attempts;

        /// How many deliveries may be unsettled at once: running, in backoff or behind their key.
        /// Default 256.
        window(deliveries: usize) |s| s.window = deliveries;

        /// How many bytes of encoded payload those may hold together. Default 64 MiB.
        window_bytes(bytes: usize) |s| s.window_bytes = bytes;

        /// How many events may wait in the group's queue, where queues live in this process.
        /// Default: the transport's, 1,024 in memory.
        queue(events: usize) |s| s.queue = Some(events);

        /// How failed attempts are repeated. Default: 5 attempts, 100 ms to 30 s, full jitter.
        retry(policy: RetryPolicy) |s| s.retry = policy;

        /// Which repeats are suppressed. Default: 100,000 ids for 10 minutes.
        dedup(policy: DedupPolicy) |s| s.dedup = policy;

        /// When the group stops taking events because all of them fail.
        pause(policy: PausePolicy) |s| s.pause = policy;

        /// How long one attempt may take. Default 30 s.
        deadline(per_attempt: Duration) |s| s.deadline = per_attempt;

        /// Whether events that cannot be handled are kept in `<group>.dead`. Default true. Without,
        /// such an event is gone after one log line at level error.
        dead_letters(keep: bool) |s| s.dead_letters = keep;

        /// What a dead letter does to what comes behind it. Default [`AfterDeadLetter::Continue`].
        after_dead_letter(policy: AfterDeadLetter) |s| s.after_dead_letter = policy;

        /// Gives up the order per key: events of one key run side by side, and on RabbitMQ the
        /// members of the group share its queue.
        unordered() |s| s.ordered = false;

        /// Gives up the order of a key when an event of it fails (contract O3): a failed attempt is not
        /// repeated in its key's lane, but put aside in the topic `<group>.retry`, so that the key's
        /// next events are handled meanwhile. When its wait is over the event is handled again, by the
        /// handler that failed alone, and still never beside another event of its key.
        ///
        /// What was put aside is safe with the transport: on a broker it outlives the process, with
        /// its count of attempts. How many wait for their turn at once is bounded: in memory by the
        /// [`window`](Self::window), and what fails then waits in its lane; on a broker by the window of
        /// each partition of `<group>.retry`, and what is behind those may be handled later than its
        /// wait asks. An event that cannot be written there waits in its lane too, which is logged. A group
        /// that gives the setting up leaves unread what is still in `<group>.retry`: let it run empty
        /// first, as [`Bus::lag`](crate::Bus::lag) tells.
        ///
        /// For handlers that do not mind the order: each event says all that they need to know.
        ///
        /// ```
        /// # use tidings::{Bus, Event};
        /// # #[derive(Clone, serde::Serialize, serde::Deserialize, Event)]
        /// # #[event(name = "invoice.issued", version = 1, key = customer)]
        /// # struct InvoiceIssued { customer: String }
        /// # async fn print(_: InvoiceIssued) -> anyhow::Result<()> { Ok(()) }
        /// # fn demo(bus: &Bus) {
        /// bus.group("printing").reordering_retry().on(print);
        /// # }
        /// ```
        reordering_retry() |s| s.reordering_retry = true;

        /// Takes each event over before it is handled, and makes one attempt (contract D9): a crash
        /// repeats nothing, and loses what was taken over and not handled, at most
        /// [`window`](Self::window) events. What fails goes to the dead letters, unless a crash comes
        /// between. With a retry policy of its own the group is refused: no second attempt is made.
        ///
        /// For effects that must not happen twice and may be missed: a text message, a push.
        ///
        /// ```
        /// # use tidings::{Bus, Event};
        /// # #[derive(Clone, serde::Serialize, serde::Deserialize, Event)]
        /// # #[event(name = "order.shipped", version = 1)]
        /// # struct OrderShipped { phone: String }
        /// # async fn text(_: OrderShipped) {}
        /// # fn demo(bus: &Bus) {
        /// bus.group("text-messages").at_most_once().on(text);
        /// # }
        /// ```
        at_most_once() |s| s.mode = Mode::AtMostOnce;

        /// Takes the group's name as it is on the wire, without the service's before it: other
        /// services may then be members of the same group.
        exact() |s| s.exact = true;

        /// Lets handlers emit while they replay (contract Y2). Default: such an emit is
        /// [`Reason::Replay`](crate::Reason::Replay), because what it would publish was published
        /// when the event was live.
        emits_in_replay() |s| s.emits_in_replay = true;

        /// Where the group starts if it is new (contract D7). Default [`Start::Earliest`].
        start_at(start: Start) |s| s.start = start;

        /// Adds middleware around every attempt of this group, inside the bus's own.
        around_handlers(middleware: impl Middleware) |s| s.layers.push(Arc::new(middleware));
    }

    /// Says what an error means, before the bus does: for handlers that return a type of their
    /// own. The first classifier whose type fits and that names a class wins.
    ///
    /// ```
    /// # use tidings::{Bus, Class};
    /// # #[derive(Debug)]
    /// # enum PaymentError { Declined, Busy }
    /// # async fn demo(bus: &Bus) {
    /// let payments = bus.group("payments").classify(|error: &PaymentError| match error {
    ///     PaymentError::Declined => Some(Class::Permanent),
    ///     PaymentError::Busy => None, // transient, as every error is
    /// });
    /// # }
    /// ```
    pub fn classify<E: 'static>(
        mut self,
        classify: impl Fn(&E) -> Option<Class> + Send + Sync + 'static,
    ) -> Self {
        let classify = move |failure: &Failure| failure.downcast_ref::<E>().and_then(&classify);
        self.settings.classifiers.push(Arc::new(classify));
        self.stamp = Some(next_subscription());
        self
    }

    /// Names the next handler: its dedup marks and dead letters carry the name, so it should
    /// outlive refactorings. Without it the name is the last two segments of the function's path,
    /// or, for a closure, the event's name.
    pub fn named(&self, name: impl Into<Name>) -> Self {
        Self {
            handler: Some(name.into()),
            ..self.clone()
        }
    }

    /// Lets a [`replay`](Self::replay) call the next handlers. A handler belongs here if seeing an
    /// event again does no harm: one that builds a projection, not one that sends mail.
    pub fn replayable(&self) -> Self {
        Self {
            replayable: true,
            ..self.clone()
        }
    }

    /// Gives the next handlers state: see [`Bus::with`].
    pub fn with<S: Clone + Send + Sync + 'static>(&self, state: S) -> WithState<S> {
        WithState {
            group: self.clone(),
            state,
        }
    }

    /// Registers a handler: see [`Bus::on`].
    #[track_caller]
    pub fn on<A: EventArg, H: Handler<A>>(&self, handler: H) -> Subscription {
        let site = Location::caller();
        if self.bus.identity_refused::<A::Event>() {
            return Subscription::refused(&self.bus);
        }
        let name = self.handler_name::<H>(A::Event::NAME);
        self.register(
            name,
            type_of::<A::Event>(),
            site,
            Some(TypeId::of::<A::Event>()),
            Typed::new(handler),
        )
    }

    /// Registers a handler of every event whose topic matches: see [`Bus::on_pattern`].
    #[track_caller]
    pub fn on_pattern<H: AnyHandler>(&self, pattern: &str, handler: H) -> Subscription {
        let site = Location::caller();
        let name = self.handler_name::<H>(pattern);
        match pattern.parse::<TopicPattern>() {
            Ok(parsed) => self.register(
                name,
                Wanted::Pattern(parsed),
                site,
                None,
                PatternHandler(handler),
            ),
            Err(error) => self.refuse(&format!("{error} (at {site})"), None),
        }
    }

    /// What the group has done so far; `None` before its first handler.
    #[must_use]
    pub fn stats(&self) -> Option<super::GroupStats> {
        let group = self.bus.registry().find_group(&self.wire_name())?;
        let mut stats = group.core.counters.stats();
        stats.dedup_forgotten = group.core.dedup.as_ref().map_or(0, Dedup::forgotten);
        Some(stats)
    }

    /// The group's name on the wire.
    #[must_use]
    pub fn wire_name(&self) -> Name {
        let service = &self.bus.core().service;
        match &self.label {
            Label::Own => service.clone(),
            Label::Named(name) if self.settings.exact => name.clone(),
            Label::Named(name) => Name::from(format!("{service}.{name}")),
        }
    }

    /// The handler's name, and whether it was made up for a closure.
    fn handler_name<H>(&self, fallback: &str) -> HandlerName {
        if let Some(name) = &self.handler {
            return HandlerName {
                name: name.clone(),
                made_up: false,
            };
        }
        let path = std::any::type_name::<H>();
        if path.contains("{{closure}}") {
            return HandlerName {
                name: Name::from(fallback),
                made_up: true,
            };
        }
        HandlerName {
            name: Name::from(last_two(path)),
            made_up: false,
        }
    }
}

impl<S: Clone + Send + Sync + 'static> WithState<S> {
    /// Names the next handler: see [`Group::named`].
    pub fn named(mut self, name: impl Into<Name>) -> Self {
        self.group = self.group.named(name);
        self
    }

    /// Registers a handler that takes the state first: see [`Bus::with`].
    #[track_caller]
    pub fn on<A: EventArg, H: HandlerWith<S, A>>(&self, handler: H) -> Subscription {
        let site = Location::caller();
        if self.group.bus.identity_refused::<A::Event>() {
            return Subscription::refused(&self.group.bus);
        }
        let name = self.group.handler_name::<H>(A::Event::NAME);
        let invoke = Stated::new(self.state.clone(), handler);
        let event = Some(TypeId::of::<A::Event>());
        self.group
            .register(name, type_of::<A::Event>(), site, event, invoke)
    }
}

pub(super) struct HandlerName {
    pub(super) name: Name,
    pub(super) made_up: bool,
}

fn type_of<E: Event>() -> Wanted {
    Wanted::Type {
        event: Name::from_static(E::NAME),
        version: E::VERSION,
        topic: topic_of::<E>(),
        shared: E::TOPIC.is_some(),
        type_name: std::any::type_name::<E>(),
    }
}

/// `app::payments::charge` → `payments::charge`; type arguments stay.
fn last_two(path: &str) -> &str {
    let plain = path.find('<').unwrap_or(path.len());
    let mut cuts = path[..plain].rmatch_indices("::").map(|(at, _)| at + 2);
    let _last = cuts.next();
    cuts.next().map_or(path, |at| &path[at..])
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.wire_name())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for WithState<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithState")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::last_two;

    #[test]
    fn a_handler_is_called_like_the_end_of_its_path() {
        assert_eq!(last_two("app::payments::charge"), "payments::charge");
        assert_eq!(last_two("app::charge"), "app::charge");
        assert_eq!(last_two("charge"), "charge");
        assert_eq!(last_two("app::a::any<app::b::C>"), "a::any<app::b::C>");
    }
}

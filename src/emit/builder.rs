use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tidings_transport::{BoxFuture, EventId, Headers, Name};

use super::context::{self, Current};
use super::error::{Chosen, Later, PublishError, Returned};
use super::listen::fire_apart;
use super::publish::{Patience, Plain, Step, call_in_turn, try_now, try_straight};
use super::receipt::Receipt;
use crate::Event;
use crate::bus::{Bus, BusCore};

/// An event about to be emitted; nothing happens until it is awaited.
///
/// What it continues (correlation, causation, trace) is captured when it is made.
///
/// ```
/// # use tidings::{Bus, Event};
/// # use serde::{Deserialize, Serialize};
/// # use std::time::Duration;
/// # #[derive(Debug, Clone, Serialize, Deserialize, Event)]
/// # #[event(name = "order.placed", version = 1)]
/// # struct OrderPlaced { order_id: String }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::builder("order-service").build().await?;
/// # let order = OrderPlaced { order_id: "ord-1".into() };
/// bus.emit(order).key("customer-7").id("ord-1").header("region", "eu").await?;
/// # Ok(()) }
/// ```
#[must_use = "an emit does nothing until it is awaited"]
pub struct Emit<'a, E: Event> {
    pub(crate) bus: &'a Bus,
    /// `None` once it is emitted.
    event: Option<E>,
    chosen: Option<Box<Chosen<E>>>,
}

/// What an emit here and now carries on, if anything.
#[inline(always)]
pub(super) fn carried_on<E>(core: &BusCore) -> Option<Box<Chosen<E>>> {
    match context::is_quiet() {
        true => None,
        false => inside(core),
    }
}

#[inline(never)]
fn inside<E>(core: &BusCore) -> Option<Box<Chosen<E>>> {
    let cause = Current::capture(&*core.clock)?;
    Some(Box::new(Chosen {
        cause: Some(cause),
        ..Chosen::default()
    }))
}

/// What an emit may choose.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) key: Option<Bytes>,
    pub(crate) id: Option<EventId>,
    pub(crate) headers: Headers,
    pub(crate) correlation: Option<EventId>,
    pub(crate) delay: Option<Duration>,
}

impl<'a, E: Event> Emit<'a, E> {
    #[inline(always)]
    pub(crate) fn first(bus: &'a Bus, event: E) -> Self {
        Self {
            bus,
            event: Some(event),
            chosen: carried_on(bus.core()),
        }
    }

    /// The same event again: its id, key, headers, delay, and what it carries on.
    pub(crate) fn again(bus: &'a Bus, failed: PublishError<E>) -> Self {
        let (id, event, mut chosen) = failed.into_parts();
        let event = match event {
            Returned::Owned(event) => Some(event),
            Returned::Shared(event) => {
                chosen.get_or_insert_default().again = Some(event);
                None
            }
        };
        Self { bus, event, chosen }.id(id)
    }

    /// Orders the event with others of this key, instead of the key that the event declares. The
    /// empty key is a key. At most 1,024 bytes.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.options().key = Some(Bytes::from(key.into()));
        self
    }

    /// The event's id, instead of a fresh one: two emits with one id are one event to dedup.
    pub fn id(mut self, id: impl Into<EventId>) -> Self {
        self.options().id = Some(id.into().reused());
        self
    }

    /// Adds a header; repeats are kept. Names are 1 to 255 bytes without control characters, not
    /// beginning with `tidings-`; all headers together at most 16 KiB.
    pub fn header(mut self, name: impl Into<Name>, value: impl Into<Bytes>) -> Self {
        self.options().headers.push(name, value);
        self
    }

    /// The correlation id, instead of the one that is carried on or the event's own.
    pub fn correlation(mut self, id: impl Into<EventId>) -> Self {
        self.options().correlation = Some(id.into().reused());
        self
    }

    /// Delivers the event no earlier than this after the publish. Local listeners run at once.
    pub fn after(mut self, delay: Duration) -> Self {
        self.options().delay = Some(delay);
        self
    }

    pub(crate) fn options(&mut self) -> &mut Options {
        &mut self.chosen.get_or_insert_default().options
    }

    /// Calls the listeners, if that is all there is to do.
    #[inline(always)]
    fn call_plainly(&self) -> Plain {
        match (&self.event, &self.chosen) {
            (Some(event), None) => self.bus.call_plainly(event, fire_apart),
            _ => Plain::No,
        }
    }

    /// The id that the fact itself gives.
    pub(super) fn natural_id(&self) -> Option<String> {
        match &self.event {
            Some(event) => event.natural_id(),
            None => self.chosen.as_ref()?.again.as_ref()?.natural_id(),
        }
    }
}

impl<'a, E: Event> IntoFuture for Emit<'a, E> {
    type Output = Result<Receipt, PublishError<E>>;
    type IntoFuture = Emitting<'a, E>;

    #[inline(always)]
    fn into_future(self) -> Emitting<'a, E> {
        Emitting(self)
    }
}

/// The future of an [`Emit`].
///
/// # Cancel safety
///
/// Dropped before its first poll, nothing was emitted. Dropped later the outcome is Unknown
/// (contract P4); nothing leaks and no later emit is blocked.
#[must_use = "an emit does nothing until it is awaited"]
pub struct Emitting<'a, E: Event>(Emit<'a, E>);

// Nothing in it is pinned in place: the event is moved out, and what waits is boxed.
impl<E: Event> Unpin for Emitting<'_, E> {}

impl<E: Event> Future for Emitting<'_, E> {
    type Output = Result<Receipt, PublishError<E>>;

    // Always, as for `try_emit`.
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0.call_plainly() {
            Plain::Heard => {
                self.0.event = None;
                Poll::Ready(Ok(Receipt::heard()))
            }
            other => self.poll_more(other, task),
        }
    }
}

impl<E: Event> Emitting<'_, E> {
    #[inline(never)]
    fn poll_more(
        &mut self,
        plain: Plain,
        task: &mut Context<'_>,
    ) -> Poll<Result<Receipt, PublishError<E>>> {
        if plain == Plain::Asked {
            // First: the event's own drop code may emit, and its listeners may ask too.
            let receipt = Receipt::asked();
            self.0.event = None;
            return Poll::Ready(Ok(receipt));
        }
        let Emit { bus, event, chosen } = &mut self.0;
        if event.is_some() && chosen.is_none() {
            let step = |cached: &_| try_straight(cached, event);
            if let Some(step) = bus.with_slot(step) {
                return self.take(step, task);
            }
        }
        self.poll_rare(task)
    }

    #[inline(never)]
    fn poll_rare(&mut self, task: &mut Context<'_>) -> Poll<Result<Receipt, PublishError<E>>> {
        let event = self.0.event.take().map(Returned::Owned).or_else(|| {
            let again = self.0.chosen.as_mut()?.again.take();
            again.map(Returned::Shared)
        });
        if let Some(event) = event {
            let chosen = self.0.chosen.take();
            let step = |cached: &_| {
                // What it carries on was settled when it was made, so not where a handler polls it.
                if let (Returned::Owned(event), None, true) = (&event, &chosen, context::is_quiet())
                    && let Some(heard) = call_in_turn(cached, event)
                {
                    return Ok(heard);
                }
                Err(try_now(cached, event, chosen, Patience::Wait))
            };
            return match self.0.bus.with_slot(step) {
                Ok(heard) => Poll::Ready(Ok(heard)),
                Err(step) => self.take(step, task),
            };
        }
        let chosen = self.0.chosen.as_mut();
        match chosen.and_then(|chosen| chosen.later.take()) {
            Some(Later::Waits(waits)) => {
                let waits = waits.into_inner().unwrap_or_else(PoisonError::into_inner);
                self.poll_waits(waits, task)
            }
            Some(Later::Yields(ended)) => Poll::Ready(ended),
            // Polled after it ended.
            None => Poll::Pending,
        }
    }

    #[inline(always)]
    fn take(
        &mut self,
        step: Step<E>,
        task: &mut Context<'_>,
    ) -> Poll<Result<Receipt, PublishError<E>>> {
        match step {
            Step::Ended(ended) => self.tell(ended, task),
            Step::Waits(waits) => self.poll_waits(waits, task),
        }
    }

    fn poll_waits(
        &mut self,
        mut waits: BoxFuture<'static, Result<Receipt, PublishError<E>>>,
        task: &mut Context<'_>,
    ) -> Poll<Result<Receipt, PublishError<E>>> {
        let polled = waits.as_mut().poll(task);
        if polled.is_pending() {
            self.0.chosen.get_or_insert_default().later = Some(Later::Waits(Mutex::new(waits)));
        }
        polled
    }

    /// A task that emits in a loop must not keep its thread from those that handle the events. The
    /// publish comes first, because emits of one key keep the order of their first polls (contract
    /// P5).
    #[inline(always)]
    fn tell(
        &mut self,
        ended: Result<Receipt, PublishError<E>>,
        task: &mut Context<'_>,
    ) -> Poll<Result<Receipt, PublishError<E>>> {
        match tokio::task::coop::poll_proceed(task) {
            Poll::Ready(coop) => {
                coop.made_progress();
                Poll::Ready(ended)
            }
            Poll::Pending => {
                self.0.chosen.get_or_insert_default().later = Some(Later::Yields(ended));
                Poll::Pending
            }
        }
    }
}

impl<E: Event> fmt::Debug for Emit<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emit")
            .field("event", &E::NAME)
            .field(
                "options",
                &self.chosen.as_ref().map(|chosen| &chosen.options),
            )
            .finish_non_exhaustive()
    }
}

impl<E: Event> fmt::Debug for Emitting<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitting")
            .field("event", &E::NAME)
            .finish_non_exhaustive()
    }
}

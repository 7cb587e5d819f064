use std::fmt;
use std::sync::Arc;

use tidings_transport::{EventId, Reason};

use super::builder::{Emit, carried_on};
use super::error::{PublishError, Returned};
use super::listen::fire;
use super::publish::{Patience, Plain, Step, call_in_turn, call_plainly, try_now};
use super::receipt::Receipt;
use crate::Event;
use crate::bus::{Bus, Cache, CachedSlot, Slot};

/// A handle for emitting one event type on a hot path: it caches who listens.
///
/// One per task: it is `Send` and `Clone`, not `Sync`. State that is shared between tasks holds
/// the [`Bus`].
///
/// ```
/// # use tidings::{Bus, Event};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Debug, Clone, Serialize, Deserialize, Event)]
/// # #[event(name = "order.placed", version = 1)]
/// # struct OrderPlaced { order_id: String }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::builder("order-service").build().await?;
/// let orders = bus.publisher::<OrderPlaced>();
/// orders.emit(OrderPlaced { order_id: "ord-1".into() }).await?;
/// orders.try_emit(OrderPlaced { order_id: "ord-2".into() })?;
/// # Ok(()) }
/// ```
pub struct Publisher<E: Event> {
    bus: Bus,
    slot: Arc<Slot<E>>,
    cache: Cache<E>,
}

impl<E: Event> Publisher<E> {
    pub(crate) fn new(bus: Bus) -> Self {
        let slot = bus.slot::<E>();
        Self {
            bus,
            slot,
            cache: Cache::new(),
        }
    }

    /// See [`Bus::emit`].
    #[inline]
    pub fn emit(&self, event: E) -> Emit<'_, E> {
        self.bus.emit(event)
    }

    /// See [`Bus::try_emit`].
    ///
    /// # Errors
    ///
    /// As [`Bus::try_emit`].
    // Always, so that the receipt of an emit that only listeners hear is never written anywhere.
    #[inline(always)]
    pub fn try_emit(&self, event: E) -> Result<Receipt, PublishError<E>> {
        match self.call_plainly(&event) {
            Plain::Heard => Ok(Receipt::heard()),
            other => self.try_more(other, event),
        }
    }

    #[inline(never)]
    fn try_more(&self, plain: Plain, event: E) -> Result<Receipt, PublishError<E>> {
        match plain {
            Plain::No => self.with_slot(|cached| try_emit(cached, event)),
            Plain::Heard | Plain::Asked => Ok(Receipt::asked()),
        }
    }

    #[inline(always)]
    fn call_plainly(&self, event: &E) -> Plain {
        call_plainly(
            self.cache.take(|_| true),
            |cached| self.cache.put(cached),
            #[inline(always)]
            |slot, snapshot, event| fire(slot, snapshot, event),
            event,
        )
    }

    fn with_slot<R>(&self, f: impl FnOnce(&CachedSlot<E>) -> R) -> R {
        self.cache
            .with(self.slot.core().id, || Arc::clone(&self.slot), f)
    }
}

impl<E: Event> Clone for Publisher<E> {
    fn clone(&self) -> Self {
        Self {
            bus: self.bus.clone(),
            slot: Arc::clone(&self.slot),
            cache: Cache::new(),
        }
    }
}

impl<E: Event> fmt::Debug for Publisher<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("event", &E::NAME)
            .finish_non_exhaustive()
    }
}

/// An emit that may not wait.
#[inline(never)]
pub(crate) fn try_emit<E: Event>(
    cached: &CachedSlot<E>,
    event: E,
) -> Result<Receipt, PublishError<E>> {
    if let Some(heard) = call_in_turn(cached, &event) {
        return Ok(heard);
    }
    let core = cached.slot.core();
    let refused = if !cached.snapshot.layers.is_empty() {
        Some("try_emit cannot pass a publish middleware, which is async: await emit")
    } else if core.capabilities.durable {
        Some("try_emit cannot wait for a broker's confirmation: await emit")
    } else {
        None
    };
    if let Some(why) = refused {
        let reason = Reason::Unsupported(String::from(why));
        // The id that its emit would have had, so that a later one is the same event.
        let id = event
            .natural_id()
            .map_or_else(|| EventId::fresh(core.clock.now()), EventId::from);
        return Err(PublishError::new(false, reason, id, Returned::Owned(event)));
    }
    let chosen = carried_on(core);
    let event = Returned::Owned(event);
    match try_now(cached, event, chosen, Patience::None) {
        Step::Ended(ended) => ended,
        Step::Waits(_) => unreachable!("nothing waits without patience"),
    }
}

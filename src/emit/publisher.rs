use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use tidings_transport::{EventId, Reason};

use super::builder::Emit;
use super::context::Current;
use super::error::{Again, PublishError, Returned};
use super::publish::{Patience, Plain, Step, call_plainly, try_now};
use super::receipt::Receipt;
use crate::Event;
use crate::bus::{Bus, Slot, Snapshot};

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
    cached: Cell<Option<Arc<Snapshot<E>>>>,
}

impl<E: Event> Publisher<E> {
    pub(crate) fn new(bus: Bus) -> Self {
        let slot = bus.slot::<E>();
        Self {
            bus,
            slot,
            cached: Cell::new(None),
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
            Plain::No => try_emit(&self.slot, &self.slot.snapshot(), event),
            Plain::Heard | Plain::Asked => Ok(Receipt::asked()),
        }
    }

    #[inline(always)]
    fn call_plainly(&self, event: &E) -> Plain {
        // Taken, not borrowed: a listener may emit through this very handle.
        let snapshot = match self.cached.take() {
            Some(snapshot) if snapshot.generation == self.slot.generation() => snapshot,
            stale => self.renewed(stale),
        };
        let plain = call_plainly(&self.slot, &snapshot, event);
        self.cached.set(Some(snapshot));
        plain
    }

    #[cold]
    #[inline(never)]
    fn renewed(&self, stale: Option<Arc<Snapshot<E>>>) -> Arc<Snapshot<E>> {
        drop(stale);
        self.slot.snapshot()
    }
}

impl<E: Event> Clone for Publisher<E> {
    fn clone(&self) -> Self {
        Self {
            bus: self.bus.clone(),
            slot: Arc::clone(&self.slot),
            cached: Cell::new(None),
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
    slot: &Arc<Slot<E>>,
    snapshot: &Snapshot<E>,
    event: E,
) -> Result<Receipt, PublishError<E>> {
    let core = slot.core();
    let refused = if !snapshot.layers.is_empty() {
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
    let chosen = Again {
        cause: Current::capture(&*core.clock),
        options: None,
    };
    let event = Returned::Owned(event);
    match try_now(slot, snapshot, event, chosen, Patience::None) {
        Step::Ended(ended) => ended,
        Step::Waits(_) => unreachable!("nothing waits without patience"),
    }
}

use super::{IntoOutcome, Outcome};
use crate::Event;

/// A function or closure that sees events of one type at once, inline, by reference.
///
/// ```
/// # use tidings::{Bus, Event};
/// # use serde::{Deserialize, Serialize};
/// # use std::sync::atomic::{AtomicU64, Ordering};
/// # #[derive(Debug, Clone, Serialize, Deserialize, Event)]
/// # #[event(name = "order.placed", version = 1)]
/// # struct OrderPlaced { total_cents: u64 }
/// # fn demo(bus: &Bus) {
/// static TOTAL: AtomicU64 = AtomicU64::new(0);
/// bus.listen(|order: &OrderPlaced| { TOTAL.fetch_add(order.total_cents, Ordering::Relaxed); });
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot listen for events",
    label = "not a listener",
    note = "write `|event: &MyEvent| ..`, where `MyEvent` derives `Event`; the result is `()` or `Result<(), E>`",
    note = "a listener is not async: it runs inside `emit`. Use `on` for async handlers"
)]
pub trait Listener<E: Event>: Send + Sync + 'static {
    /// Sees one event.
    fn hear(&self, event: &E) -> Outcome;
}

impl<F, E, R> Listener<E> for F
where
    F: Fn(&E) -> R + Send + Sync + 'static,
    E: Event,
    R: IntoOutcome,
{
    #[inline]
    fn hear(&self, event: &E) -> Outcome {
        self(event).into_outcome()
    }
}

use std::sync::Arc;

use tidings_transport::{Envelope, Inbound, Name};

use super::{Cancel, Delivery};
use crate::Event;

/// What a handler may take: the event, `Arc<Event>` or [`Delivery<Event>`](Delivery).
///
/// By value needs `Clone`: each attempt gets a copy. `Arc` and `Delivery` never copy.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a handler's argument",
    label = "not an event that a handler can take",
    note = "take `MyEvent`, `Arc<MyEvent>` or `Delivery<MyEvent>`, where `MyEvent` has `#[derive(Event)]`",
    note = "an event taken by value must be `Clone`, because every attempt gets its own copy: derive it, or take `Arc<MyEvent>`"
)]
pub trait EventArg: sealed::Sealed + Send + 'static {
    /// The event type.
    type Event: Event;

    #[doc(hidden)]
    fn extract(attempt: Attempt<'_, Self::Event>) -> Self;
}

mod sealed {
    pub trait Sealed {}
}

/// One attempt, as the pipeline sees it.
#[allow(
    missing_debug_implementations,
    reason = "hidden: only the pipeline makes and reads it"
)]
pub struct Attempt<'a, E> {
    pub(crate) event: Arc<E>,
    pub(crate) envelope: &'a Envelope,
    pub(crate) message: &'a Inbound,
    pub(crate) attempt: u32,
    pub(crate) group: &'a Name,
    pub(crate) cancel: &'a dyn Fn() -> Cancel,
}

impl<E: Event + Clone> sealed::Sealed for E {}

// Without this rustc would tell a `Box<MyEvent>` or a `&MyEvent` to derive `Event`.
#[diagnostic::do_not_recommend]
impl<E: Event + Clone> EventArg for E {
    type Event = E;

    fn extract(attempt: Attempt<'_, E>) -> Self {
        E::clone(&attempt.event)
    }
}

impl<E: Event> sealed::Sealed for Arc<E> {}

impl<E: Event> EventArg for Arc<E> {
    type Event = E;

    fn extract(attempt: Attempt<'_, E>) -> Self {
        attempt.event
    }
}

impl<E: Event> sealed::Sealed for Delivery<E> {}

impl<E: Event> EventArg for Delivery<E> {
    type Event = E;

    fn extract(attempt: Attempt<'_, E>) -> Self {
        Delivery::new(attempt)
    }
}

//! Handlers: what a user registers, and what the pipeline calls.

mod any;
mod arg;
mod delivery;
mod entry;
mod failure;
mod listener;
mod outcome;
mod replayable;

pub use any::{AnyEvent, AnyHandler};
pub use arg::EventArg;
pub use delivery::Delivery;
pub use failure::{BoxError, Class, Failure, permanent, rate_limited};
pub use listener::Listener;
pub use outcome::{IntoOutcome, Outcome};

pub(crate) use arg::Attempt;
pub(crate) use delivery::Cancel;
pub(crate) use entry::{
    Entry, ErasedHandler, HandlerInfo, Invoke, Pattern as PatternHandler, Stated, Typed, Wanted,
};
pub(crate) use replayable::Replayable;

use std::future::Future;

/// An async function or closure that handles one event type.
///
/// One blanket implementation covers every shape: an argument that is the event, `Arc<Event>` or
/// [`Delivery<Event>`](Delivery), and a result that is `()` or `Result<(), E>`.
///
/// ```
/// # use tidings::{Bus, Delivery, Event};
/// # use serde::{Deserialize, Serialize};
/// # use std::sync::Arc;
/// # #[derive(Debug, Clone, Serialize, Deserialize, Event)]
/// # #[event(name = "order.placed", version = 1)]
/// # struct OrderPlaced { order_id: String }
/// # async fn demo(bus: &Bus) {
/// async fn charge(order: OrderPlaced) -> Result<(), std::io::Error> { Ok(()) }
///
/// bus.on(charge);
/// bus.on(async |order: OrderPlaced| println!("{}", order.order_id));
/// bus.named("shared").on(async |order: Arc<OrderPlaced>| println!("{}", order.order_id));
/// # }
/// ```
///
/// A closure that owns captured state is no `Fn` once it is `async move`; give the state to
/// [`Bus::with`](crate::Bus::with), or clone it into an inner `async move` block.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot handle events",
    label = "not an event handler",
    note = "write `async fn handler(event: MyEvent)` or `async |event: MyEvent| {{ .. }}`, where `MyEvent` derives `Event`",
    note = "the argument may be `MyEvent` (needs `Clone`), `Arc<MyEvent>` or `Delivery<MyEvent>`; the result `()` or `Result<(), E>`",
    note = "for captured state use `bus.with(state).on(async |state, event: MyEvent| ..)`"
)]
pub trait Handler<A: EventArg>: Send + Sync + 'static {
    /// Runs the handler on one attempt's argument.
    fn call(&self, arg: A) -> impl Future<Output = Outcome> + Send + 'static + use<Self, A>;
}

impl<F, A, Fut> Handler<A> for F
where
    F: Fn(A) -> Fut + Send + Sync + 'static,
    A: EventArg,
    Fut: Future<Output: IntoOutcome> + Send + 'static,
{
    fn call(&self, arg: A) -> impl Future<Output = Outcome> + Send + 'static + use<F, A, Fut> {
        let future = self(arg);
        async move { future.await.into_outcome() }
    }
}

/// A [`Handler`] with state as its first argument; see [`Bus::with`](crate::Bus::with).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot handle events with the state `{S}`",
    label = "not an event handler with this state",
    note = "write `async fn handler(state: {S}, event: MyEvent)`, where `MyEvent` derives `Event`",
    note = "a method takes its state as `self: Arc<Self>`: pass an `Arc` to `with`"
)]
pub trait HandlerWith<S, A: EventArg>: Send + Sync + 'static {
    /// Runs the handler on one attempt's argument.
    fn call_with(
        &self,
        state: S,
        arg: A,
    ) -> impl Future<Output = Outcome> + Send + 'static + use<Self, S, A>;
}

impl<F, S, A, Fut> HandlerWith<S, A> for F
where
    F: Fn(S, A) -> Fut + Send + Sync + 'static,
    S: Clone + Send + Sync + 'static,
    A: EventArg,
    Fut: Future<Output: IntoOutcome> + Send + 'static,
{
    fn call_with(
        &self,
        state: S,
        arg: A,
    ) -> impl Future<Output = Outcome> + Send + 'static + use<F, S, A, Fut> {
        let future = self(state, arg);
        async move { future.await.into_outcome() }
    }
}

//! What a program hears of its own emits: listeners, taps, streams.

use std::panic::Location;
use std::sync::Arc;

use super::registry::next_subscription;
use super::{Bus, EventStream, Subscription, WaitFor};
use crate::Event;
use crate::emit::{Heard, Inline, Limited, Tap};
use crate::handler::Listener;

impl Bus {
    /// Registers a listener: sync, inline in the emit, in registration order, after the publish is
    /// Ok. It sees this process's emits on every transport; it neither settles nor retries. Its
    /// error or panic is logged and reaches neither the emitter nor its neighbours.
    #[track_caller]
    pub fn listen<E: Event, L: Listener<E>>(&self, listener: L) -> Subscription {
        self.listen_times(None, listener, Location::caller())
    }

    /// A [`listen`](Self::listen) for one event; it is removed before it runs.
    #[track_caller]
    pub fn once<E: Event, L: Listener<E>>(&self, listener: L) -> Subscription {
        self.listen_times(Some(1), listener, Location::caller())
    }

    /// A [`listen`](Self::listen) for this many events; before the last one it is removed.
    #[track_caller]
    pub fn many<E: Event, L: Listener<E>>(&self, times: usize, listener: L) -> Subscription {
        self.listen_times(Some(times), listener, Location::caller())
    }

    fn listen_times<E: Event, L: Listener<E>>(
        &self,
        times: Option<usize>,
        listener: L,
        site: &'static Location<'static>,
    ) -> Subscription {
        let slot = self.slot::<E>();
        let subscription = next_subscription();
        let heard = Heard::new(subscription, site);
        match times {
            None => slot.add_listener(Arc::new(Inline::new(self.core(), heard, listener))),
            Some(0) => {}
            Some(times) => {
                slot.add_listener(Arc::new(Limited::new(&slot, heard, times, listener)));
            }
        }
        Subscription::listener(self, slot, subscription)
    }

    /// Registers a tap: a listener over all types.
    #[track_caller]
    pub fn on_any(&self, tap: impl Fn(&Tap<'_>) + Send + Sync + 'static) -> Subscription {
        let subscription = next_subscription();
        let heard = Arc::new(Heard::new(subscription, Location::caller()));
        self.registry().add_tap(heard, Arc::new(tap));
        Subscription::tap(self, subscription)
    }

    /// This process's emits of one type as a stream, from now on.
    ///
    /// It is bounded: set [`capacity`](EventStream::capacity) and
    /// [`overflow`](EventStream::overflow). A reader that is too slow is told how many events it
    /// missed; a stream never makes an emit wait.
    ///
    /// ```
    /// # use tidings::{Bus, Event, Overflow};
    /// # use futures::StreamExt;
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Debug, Clone, Serialize, Deserialize, Event)]
    /// # #[event(name = "order.placed", version = 1)]
    /// # struct OrderPlaced { order_id: String }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::builder("order-service").build().await?;
    /// let mut orders = bus.stream::<OrderPlaced>().capacity(16).overflow(Overflow::DropOldest);
    /// bus.emit(OrderPlaced { order_id: "ord-1".into() }).await?;
    /// let order = orders.next().await.unwrap()?;
    /// assert_eq!(order.order_id, "ord-1");
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn stream<E: Event>(&self) -> EventStream<E> {
        EventStream::new(
            self.slot::<E>(),
            Heard::new(next_subscription(), Location::caller()),
        )
    }

    /// The first event from now on that fits. It listens from this call on, not only once it is
    /// awaited; put a `tokio::time::timeout` around it where the event may never come.
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
    /// let placed = bus.wait_for(|order: &OrderPlaced| order.order_id == "ord-1");
    /// bus.emit(OrderPlaced { order_id: "ord-1".into() }).await?;
    /// assert_eq!(placed.await?.order_id, "ord-1");
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn wait_for<E: Event>(
        &self,
        predicate: impl Fn(&E) -> bool + Send + Sync + 'static,
    ) -> WaitFor<E> {
        let heard = Heard::new(next_subscription(), Location::caller());
        WaitFor::new(self.slot::<E>(), heard, predicate)
    }
}

//! The test kit (feature `testing`): the production path on a virtual clock.
//!
//! Put it under `[dev-dependencies]`: `tidings = { version = "…", features = ["testing"] }`.
//!
//! # What is real
//!
//! Nothing is mocked. A [`TestBus`] is a [`Bus`](crate::Bus) over the real memory transport: the
//! pipeline, the retries, the deduplication and the dead letters are those of production. Three
//! things differ:
//!
//! - **Time is virtual.** The bus stops tokio's clock when it is built. Whenever every task waits,
//!   tokio moves the clock to the next timer, so backoffs, windows, deadlines and delays all
//!   happen, in order, and take no real time. Wall time moves with it, from 2026-01-01T00:00:00Z.
//! - **Events are encoded** at each publish and decoded for each handler, as on a broker, so what
//!   would not survive a broker fails here. [`TestBusBuilder::without_encoding`] turns that off.
//! - **Everything is noted**: [`published`](TestBus::published) and
//!   [`handled`](TestBus::handled) tell afterwards what happened, in order.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use tidings::testing::TestBus;
//! use tidings::{Delivery, Event};
//!
//! #[derive(Debug, Clone, Serialize, Deserialize, Event)]
//! #[event(name = "order.placed", version = 1, key = order_id)]
//! struct OrderPlaced {
//!     order_id: String,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Inside `#[tokio::test]`:
//! let bus = TestBus::new("order-service").await;
//! bus.on(async |order: Delivery<OrderPlaced>| match order.attempt() {
//!     1 | 2 => Err("the gateway is busy"),
//!     _ => Ok(()),
//! });
//! bus.emit(OrderPlaced { order_id: "ord-1".into() }).await?;
//! bus.settled().await;
//!
//! assert_eq!(bus.published::<OrderPlaced>()[0].key(), Some("ord-1"));
//! assert_eq!(bus.handled::<OrderPlaced>()[0].attempts, 3);
//! assert!(bus.dead_letters("order-service").await.is_empty());
//! # Ok(()) }
//! ```
//!
//! # Waiting
//!
//! A test waits for [`settled`](TestBus::settled), never for a time: it returns once every event
//! and everything that followed from it is final. To look at the bus halfway, let a known time pass
//! with [`advance`](TestBus::advance). What never settles is named by a panic, not by a test that
//! hangs.
//!
//! # Bad input
//!
//! [`raw`] makes a record as another program could have written it, and
//! [`inject`](TestBus::inject) hands it to the transport past every check;
//! [`encode`](TestBus::encode) begins with a sound one, to forge a single field:
//!
//! ```
//! # use serde::{Deserialize, Serialize};
//! # use tidings::Event;
//! # use tidings::testing::TestBus;
//! # #[derive(Debug, Clone, Serialize, Deserialize, Event)]
//! # #[event(name = "order.placed", version = 1, key = order_id)]
//! # struct OrderPlaced { order_id: String }
//! use tidings::testing::{Fate, raw};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bus = TestBus::new("order-service").await;
//! bus.on(async |_: OrderPlaced| ());
//! bus.inject(raw("order.placed").body("{oops")).await?;
//! bus.settled().await;
//!
//! assert_eq!(bus.handled::<OrderPlaced>()[0].fate, Fate::DeadLettered);
//! assert_eq!(bus.dead_letters("order-service").await[0].bytes(), "{oops");
//! # Ok(()) }
//! ```
//!
//! # Bounds
//!
//! It keeps 100,000 published and as many handled events ([`TestBusBuilder::keep`]). Beyond that
//! they are dropped with an error in the log, and the next look at them panics: half a list would
//! let a test pass that should fail. [`forget`](TestBus::forget) begins anew.
//!
//! # Runtime
//!
//! A clock can only be stopped on a current-thread runtime, which is what `#[tokio::test]` starts;
//! `start_paused = true` is allowed and changes nothing. While a handler waits for something
//! outside of tokio's timers, as a socket, tokio sees an idle runtime and moves the clock on, so
//! that deadlines pass early: give such a test generous deadlines, or a plain
//! [`Bus`](crate::Bus). `spawn_blocking` holds the clock.

mod builder;
mod bus;
mod handled;
mod log;
mod published;
mod raw;
mod recorder;
mod time;

pub use builder::TestBusBuilder;
pub use bus::TestBus;
pub use handled::{Fate, Handled};
pub use published::Published;
pub use raw::{Raw, raw};

pub(crate) use recorder::{Recorder, Recording};

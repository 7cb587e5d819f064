//! A typed event bus: in memory like an `EventEmitter`, on Kafka or RabbitMQ with no handler
//! touched.
//!
//! Put `#[derive(Event)]` on a struct, register a handler per type, emit. What the bus promises
//! (order per key, retries, dead letters, deduplication, context, shutdown) is the same on every
//! transport.
//!
//! # Quickstart
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use tidings::{Bus, Event};
//!
//! #[derive(Debug, Clone, Serialize, Deserialize, Event)]
//! #[event(name = "order.placed", version = 1, key = order_id)]
//! struct OrderPlaced {
//!     order_id: String,
//!     total_cents: u64,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bus = Bus::builder("order-service").build().await?;
//! bus.on(async |order: OrderPlaced| println!("{} costs {}", order.order_id, order.total_cents));
//! bus.emit(OrderPlaced { order_id: "ord-1".into(), total_cents: 5_999 }).await?;
//! bus.shutdown().await?;
//! # Ok(()) }
//! ```
//!
//! # Events
//!
//! An [`Event`] is a fact with a declared name and version; neither is ever taken from a Rust
//! path. `key` says what it is ordered by, `id` makes its id from a natural key, `upcast_from`
//! names the version before.
//!
//! # Handlers
//!
//! [`Bus::on`] takes an async function or closure over `E`, `Arc<E>` or [`Delivery<E>`]; its
//! result is `()` or `Result<(), E>`. [`Bus::with`] gives it state. [`Bus::listen`] registers a
//! sync listener that runs inside the emit, in nanoseconds. A [`Group`] is a named, independent
//! consumer with settings of its own.
//!
//! # What happens to a failing event
//!
//! It is tried again, five times with exponential backoff and full jitter unless a [`RetryPolicy`]
//! says otherwise, and keeps its place: later events of its key wait, others go on. [`permanent`]
//! errors, and events that cannot be decoded, go to the group's [`DeadLetters`] at once, with
//! their original bytes and the cause. When nearly everything fails the group pauses instead of
//! filling its dead letters: see [`PausePolicy`].
//!
//! A panic is a failed attempt. What ends the process is not caught: an overflowing stack, an
//! `exit`, a panic under `panic = "abort"`, or a second panic while the first one unwinds. A durable
//! transport then delivers the event again, and each delivery uses up an attempt; one that comes
//! back 100 times beyond its attempts is dead-lettered as `crash_loop`. In memory everything is
//! gone with the process. A handler that blocks its thread is reported within five seconds.
//!
//! # Context
//!
//! An emit inside a handler carries the correlation id, the causing event's id and the W3C trace
//! context, with no code. [`Bus::context`] carries them into spawned tasks.
//!
//! # Transports
//!
//! Memory is the default and a real transport: bounded queues, settling, redelivery, dead letters.
//! [`BusBuilder::transport`] takes any other; [`transport`] is what one implements.
//!
//! # Replay
//!
//! Where a transport keeps history, as Kafka does, [`Group::replay`] hands it once more to handlers
//! that are [`Group::replayable`]: to rebuild a projection. It has a cursor of its own and moves no
//! group.
//!
//! # Testing
//!
//! The feature `testing` brings a `TestBus`: a real bus on a virtual clock, which tells what it
//! published and handled. Backoffs and deadlines take no real time, and a test that waits for what
//! never comes fails instead of hanging. See the module `testing`.
//!
//! # Features
//!
//! | feature | default | what it brings |
//! |---|---|---|
//! | `derive` | yes | `#[derive(Event)]` |
//! | `json` | yes | the JSON codecs [`CloudEvents`], `CloudEventsStructured` and `PlainEnvelope` |
//! | `kafka` | no | Apache Kafka: the module `kafka`, and `kafka://` in URLs |
//! | `kafka-ssl` | no | TLS and SASL on Kafka, through the system's OpenSSL |
//! | `kafka-ssl-vendored` | no | the same, with an OpenSSL built from source |
//! | `testing` | no | the test kit: the production path on a virtual clock |

mod bus;
mod clock;
mod codec;
mod emit;
mod event;
mod handler;
mod pipeline;
mod recorder;
// Modules, not re-exports of crates: of these the compiler names the feature that is off.
#[cfg(feature = "kafka")]
pub mod kafka {
    //! Apache Kafka: the crate `tidings-kafka`.

    pub use tidings_kafka::{
        Compression, GroupProtocol, Kafka, KafkaBrowser, KafkaConfig, KafkaConsumer, NeedsSsl,
        Sasl, Tls,
    };
}
#[cfg(feature = "testing")]
pub mod testing;
mod text;

pub use async_trait::async_trait;
pub use bus::{
    AfterDeadLetter, BuildError, Bus, BusBuilder, EventStream, Explain, From, Group, GroupLag,
    GroupStats, Lagged, Mapping, NeverCame, Overflow, Replay, ReplayError, ReplayProgress,
    RunError, ShutdownError, ShutdownReport, StartError, Subscription, WaitFor, WithState,
    WouldDeadlock,
};
pub use clock::{Clock, SystemClock};
pub use codec::{CloudEvents, Codec};
#[cfg(feature = "json")]
pub use codec::{CloudEventsStructured, PlainEnvelope};
pub use emit::{
    CompletedError, Completion, Context, Emit, Emitting, Ended, HandlerOutcome, PublishError,
    Publisher, Receipt, Tap,
};
#[doc(hidden)]
pub use event::private as __private;
pub use event::{Body, DecodeError, DecodeErrorKind, Event, KeyPart, Lineage, LineageError};
pub use handler::{
    AnyEvent, AnyHandler, BoxError, Class, Delivery, EventArg, Failure, Handler, HandlerWith,
    IntoOutcome, Listener, Outcome, permanent, rate_limited,
};
pub use pipeline::{
    DeadLetter, DeadLetters, DeadReason, DedupPolicy, DeliveryInfo, Middleware, Next, NextPublish,
    PausePolicy, RetryPolicy,
};
#[cfg(feature = "derive")]
pub use tidings_derive::Event;
pub use tidings_memory as memory;
pub use tidings_transport as transport;
pub use tidings_transport::{
    Declare, EventId, Headers, Name, Reason, Start, Timestamp, TraceContext, TransportError,
};

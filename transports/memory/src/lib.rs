//! The in-memory transport of the tidings event bus: bounded, keyed, settling, dead-lettering.
//!
//! It is a transport like any other: groups have queues, messages are settled, what was given
//! back comes again, dead letters are kept. It differs in two points: it moves the program's own
//! values instead of encoding them, and nothing outlives the process.
//!
//! # Guarantee
//!
//! - Ok means that the message is in the bounded queue of every group subscribed now (P2). A
//!   publish takes a place in all of them or in none.
//! - Messages of one topic and key reach a group in the order of their publishes, over all its
//!   members (P5): while a member has an unsettled message of a key, the others get none of it.
//! - A message is delivered until it is acked (D2), in its old place, with a growing attempt.
//! - Groups never see each other's failures (D6).
//!
//! # Overload
//!
//! A full queue makes publishers wait, holding nothing, in the order they came, and only those of
//! the topics that the full group gets; after [`MemoryConfig::publish_deadline`] the answer is
//! NotPublished(Full). A handler that emits into its own group's full queue may overrun it by
//! [`MemoryConfig::spill`] messages and is then refused at once, because waiting there would be
//! waiting for itself. Dead-letter topics are kept up to [`MemoryConfig::dead_letters`] messages
//! and refuse more at once: nobody drains them but you.
//!
//! # Closing
//!
//! Each [`Memory`] value is a connection of its own to the store that its clones share, as two
//! clients of one broker are: closing one ends its consumers and its waiting publishers and
//! touches no other. Dropping the last one ends all consumers once they have drained; nothing
//! here needs a runtime to be dropped, or runs in the background.
//!
//! # Examples
//!
//! Publish, receive, settle:
//!
//! ```
//! use bytes::Bytes;
//! use tidings_memory::Memory;
//! use tidings_transport::{
//!     Batch, Carried, Consumer, GroupTopology, Headers, Message, Mode, Name, Origin, Payload,
//!     Received, Start, Subscribe, Topics, Transport,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let memory = Memory::new();
//! memory.attach(&GroupTopology {
//!     name: Name::from_static("billing"),
//!     topics: Topics::exact(["order.placed"]),
//!     ordered: true,
//!     start: Start::Earliest,
//!     dead_letters: Some(Name::from_static("billing.dead")),
//!     queue: None,
//! })?;
//!
//! let message = Message {
//!     topic: Name::from_static("order.placed"),
//!     key: Some(Bytes::from_static(b"ord-1")),
//!     envelope: Carried::Raw(Headers::new()),
//!     headers: Headers::new(),
//!     payload: Payload::Bytes(Bytes::from_static(b"{}")),
//!     delay: None,
//! };
//! let receipt = memory.publish(message, Origin::default()).await?;
//! assert_eq!(receipt.groups.names(), Some(&[Name::from_static("billing")][..]));
//!
//! let mut consumer = memory
//!     .subscribe(Subscribe {
//!         group: Name::from_static("billing"),
//!         topics: Topics::exact(["order.placed"]),
//!         start: Start::Earliest,
//!         mode: Mode::AtLeastOnce,
//!         window: 256,
//!         ordered: true,
//!     })
//!     .await?;
//! let mut batch = Batch::default();
//! consumer.receive(64, &mut batch).await?;
//! batch.drain().for_each(Received::release);
//! consumer.receive(64, &mut batch).await?;
//! for received in batch.drain() {
//!     assert_eq!(received.origination.attempt, 2);
//!     received.ack();
//! }
//! # Ok(()) }
//! ```
//!
//! A clone is another connection to the same store:
//!
//! ```
//! use std::time::Duration;
//! use tidings_memory::Memory;
//! use tidings_transport::{Health, Transport};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let orders = Memory::new().queue(256);
//! let billing = orders.clone();
//! orders.close(Duration::from_secs(1)).await?;
//! assert_eq!(orders.health(), Health::Closed);
//! assert_eq!(billing.health(), Health::Connected);
//! # Ok(()) }
//! ```

mod browse;
mod config;
mod consume;
mod error;
mod group;
mod hash;
mod headers;
mod line;
mod link;
mod publish;
mod recent;
mod route;
mod settle;
mod store;
mod sync;
mod transport;

pub use browse::MemoryBrowser;
pub use config::MemoryConfig;
pub use consume::MemoryConsumer;
pub use store::Counts;
pub use transport::Memory;

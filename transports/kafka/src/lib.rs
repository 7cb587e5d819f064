//! The Apache Kafka transport of the tidings event bus: confirmed publishes, order per key, and a
//! committed offset that never passes what is not final.
//!
//! Most programs use it through `tidings` with its feature `kafka`, where it is `tidings::kafka`.
//!
//! # Guarantee
//!
//! - Ok means that all in-sync replicas have the event (P2): the producer is idempotent and waits
//!   for `acks=all`. Before that the outcome is open: what had no answer by
//!   [`KafkaConfig::publish_deadline`] is Unknown, what the broker refused or what never left is
//!   NotPublished (P1).
//! - Events of one topic and key are written in the order of their publishes (P5), to the partition
//!   that Java's default partitioner chooses (O7). A full local queue makes publishes wait in a line.
//! - A group commits an offset only when everything before it is final (D3), and nothing for
//!   partitions that it has lost (D4). Out of order is fine within a partition's window: the bus
//!   keeps keys apart, the commit follows the slowest.
//! - Each member polls on a thread of its own, whatever handlers do, so a slow handler costs no
//!   membership. A partition that is full is paused while polling goes on (O2).
//! - A group that is new begins where it was asked to, and says so to the broker at once (D7). An
//!   offset that is no longer there is `DataLoss` and ends the member: nothing is skipped in silence.
//!
//! # Settings that are not yours
//!
//! Idempotence, `acks`, the partitioner, auto-commit and auto-store off, `auto.offset.reset=error`,
//! `read_committed`, CRC checks and cooperative-sticky assignment are what the guarantees rest on.
//! The first two can be given up, by [`Kafka::unsafe_acks_one`] and [`Kafka::unsafe_not_idempotent`];
//! the others cannot be set. What is yours is in [`KafkaConfig`], and what librdkafka has beside that
//! goes through [`Kafka::property`].
//!
//! # Leaving
//!
//! A member that closes commits what is final, and then leaves. A member that is dropped does the
//! same in the background. What is unsettled comes again, to whoever has the partition next. When a
//! rebalance takes a partition, its tokens fire, and what is being handled has
//! [`KafkaConfig::revoke_deadline`] to end.
//!
//! # On the wire
//!
//! CloudEvents 1.0 in binary mode: the value is the data as it is, each attribute a header `ce_…`,
//! the media type `content-type`. A plain JSON consumer in any language reads the value.
//!
//! # Example
//!
//! ```no_run
//! use tidings_kafka::Kafka;
//! use tidings_transport::{Name, Topology, Transport};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kafka = Kafka::new("localhost:9092").partitions(12).replication(3);
//! kafka
//!     .declare(&Topology {
//!         topics: vec![Name::from_static("order.placed")],
//!         ..Topology::default()
//!     })
//!     .await?;
//! # Ok(()) }
//! ```

mod admin;
mod browse;
mod config;
mod consume;
mod declare;
mod error;
mod headers;
mod poll;
mod positions;
mod properties;
mod publish;
mod rebalance;
mod replay;
mod reports;
mod security;
mod settle;
mod statistics;
mod status;
mod topic;
mod transport;

pub use browse::KafkaBrowser;
pub use config::{Compression, GroupProtocol, KafkaConfig};
pub use consume::KafkaConsumer;
pub use security::{NeedsSsl, Sasl, Tls};
pub use transport::Kafka;

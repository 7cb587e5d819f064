//! The Apache Kafka transport of the tidings event bus.

mod admin;
mod browse;
mod config;
mod consume;
mod error;
mod headers;
mod poll;
mod positions;
mod publish;
mod settle;
mod status;
mod topic;
mod transport;

pub use browse::KafkaBrowser;
pub use config::{Compression, KafkaConfig};
pub use consume::KafkaConsumer;
pub use transport::Kafka;

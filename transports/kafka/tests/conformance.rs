//! The Kafka transport keeps the contract, on a real broker.

use std::process::ExitCode;
use std::time::Duration;

use tidings_conformance::{Broker, Harness};
use tidings_kafka::Kafka;
use tidings_transport::TransportError;

struct KafkaHarness {
    servers: String,
}

impl Harness for KafkaHarness {
    type Transport = Kafka;

    async fn open(&self) -> Result<Kafka, TransportError> {
        Ok(Kafka::new(&self.servers).partitions(3))
    }

    /// A group has to be joined, and offsets to be fetched, before anything comes.
    fn quiet(&self) -> Duration {
        Duration::from_secs(2)
    }

    /// Groups agree on their members first, on two busy cores now and then not at once.
    fn time_limit(&self) -> Duration {
        Duration::from_secs(60)
    }
}

fn main() -> ExitCode {
    Broker::named_by("TIDINGS_TEST_KAFKA").suite(|url| KafkaHarness {
        servers: url.trim_start_matches("kafka://").to_owned(),
    })
}

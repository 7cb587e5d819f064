//! The Kafka transport keeps the contract, on a real broker.

mod harness;

use std::process::ExitCode;

use tidings_conformance::Broker;

use harness::KafkaHarness;

fn main() -> ExitCode {
    Broker::named_by("TIDINGS_TEST_KAFKA").suite(|url| KafkaHarness::new(&url))
}

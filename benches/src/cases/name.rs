//! The names of the cases that goals are about.

pub(crate) fn raw(listeners: usize) -> String {
    format!("Vec<Box<dyn Fn>>, {}", count(listeners))
}

pub(crate) fn handle(listeners: usize) -> String {
    format!("publisher.try_emit, {}", count(listeners))
}

pub(crate) fn try_emit(listeners: usize) -> String {
    format!("bus.try_emit, {}", count(listeners))
}

pub(crate) fn emit(listeners: usize) -> String {
    format!("bus.emit().await, {}", count(listeners))
}

fn count(listeners: usize) -> String {
    match listeners {
        1 => String::from("1 listener"),
        more => format!("{more} listeners"),
    }
}

pub(crate) const TRACING_OFF: &str = "Vec<Box<dyn Fn>> that asks whether tracing is on";
pub(crate) const UNUSED_TAP: &str = "publisher.try_emit after a tap came and went";
pub(crate) const UNUSED_LAYER: &str = "publisher.try_emit beside a handler middleware";
pub(crate) const TWO_THREADS: &str = "publisher.try_emit on two threads at once";

pub(crate) const MPSC: &str = "tokio mpsc, recv";
pub(crate) const MPSC_MANY: &str = "tokio mpsc, recv_many(64)";
pub(crate) const QUEUED: &str = "queued event, 1 handler";
pub(crate) const QUEUED_UNUSED: &str = "queued event after a tap and a listener came and went";
pub(crate) const QUEUED_LAYER: &str = "queued event, 1 handler middleware";
pub(crate) const QUEUED_KEYED: &str = "queued event with a key";
pub(crate) const QUEUED_TWO: &str = "queued event, 2 handlers";

pub(crate) const ENCODED_RAW: &str = "serde_json::from_slice, 200 bytes";
pub(crate) const ENCODED: &str = "encoded event, 1 handler";
pub(crate) const ENCODED_WAITS: &str = "encoded event, 1 handler that waits";

pub(crate) const LATENCY_RAW: &str = "tokio mpsc, send to receive, p50, busy runtime";
pub(crate) const LATENCY: &str = "emit to handler, p50, busy runtime";

pub(crate) const KAFKA_PUBLISH_RAW: &str = "FutureProducer, 10,000 reports awaited at once";
pub(crate) const KAFKA_PUBLISH: &str = "emit to Kafka, 10,000 at once";
pub(crate) const KAFKA_CONSUME_RAW: &str = "StreamConsumer, serde_json, each offset stored";
pub(crate) const KAFKA_CONSUME: &str = "handler on Kafka, a backlog";
pub(crate) const KAFKA_SLOW_RAW: &str = "sleep of 5 ms, 100 at once";
pub(crate) const KAFKA_SLOW: &str = "handler of 5 ms on Kafka, 100 lanes";

//! librdkafka's statistics, as far as they are read: they are long, and come every 5 s (trap 14).

use std::collections::HashMap;

use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Statistics {
    brokers: HashMap<String, Broker>,
    #[serde(default)]
    topics: HashMap<String, Topic>,
}

#[derive(Deserialize)]
struct Broker {
    state: String,
    nodeid: i32,
}

#[derive(Deserialize)]
struct Topic {
    partitions: HashMap<String, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    hi_offset: i64,
    committed_offset: i64,
}

impl Statistics {
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text)
            .inspect_err(
                |error| tracing::warn!(%error, "Kafka's client sent unreadable statistics"),
            )
            .ok()
    }

    /// Whether any broker can be reached.
    pub(crate) fn is_connected(&self) -> bool {
        // Logical brokers, of coordinators for one, have no number.
        let mut brokers = self.brokers.values();
        brokers.any(|broker| broker.nodeid >= 0 && broker.state == "UP")
    }

    /// Behind the last record of a partition, and what the group has committed there, as of the
    /// client's last fetch and commit; what it does not know yet is `None`.
    pub(crate) fn offsets(&self, topic: &str, number: i32) -> (Option<i64>, Option<i64>) {
        let topic = self.topics.get(topic);
        let known = topic.and_then(|topic| topic.partitions.get(&number.to_string()));
        // What is not known is a negative number.
        let offset = |of: fn(&Partition) -> i64| known.map(of).filter(|offset| *offset >= 0);
        (offset(|it| it.hi_offset), offset(|it| it.committed_offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_yet_is_none() {
        let text = r#"{"name": "x", "brokers": {"b": {"state": "UP", "nodeid": -1, "rtt": {}}},
            "topics": {"t": {"partitions": {
                "0": {"hi_offset": 9, "committed_offset": -1001, "ls_offset": 9},
                "-1": {"hi_offset": -1001, "committed_offset": -1001}}}}}"#;
        let statistics = Statistics::read(text.as_bytes()).expect("statistics");
        assert!(!statistics.is_connected(), "a logical broker");
        assert_eq!(statistics.offsets("t", 0), (Some(9), None));
        assert_eq!(statistics.offsets("t", 1), (None, None));
        assert_eq!(statistics.offsets("u", 0), (None, None));
        assert!(Statistics::read(b"{}").is_none());
    }
}

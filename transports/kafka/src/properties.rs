//! librdkafka's own properties, and what of the contract may be given up by name.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use crate::Kafka;

/// Properties that nobody sets, with their aliases, and what there is instead.
const OWNED: &[(&[&str], &str)] = &[
    (
        &["bootstrap.servers", "metadata.broker.list"],
        "name the servers in `Kafka::new`",
    ),
    (
        &["acks", "request.required.acks"],
        "Ok means that all in-sync replicas have the event; `unsafe_acks_one()` gives that up",
    ),
    (
        &["enable.idempotence"],
        "a retry writes no second copy; `unsafe_not_idempotent()` gives that up",
    ),
    (
        &[
            "max.in.flight.requests.per.connection",
            "max.in.flight",
            "enable.gapless.guarantee",
        ],
        "the order of a key rests on it",
    ),
    (
        &["retries", "message.send.max.retries"],
        "a publish is tried again until `publish_deadline`",
    ),
    (
        &["message.timeout.ms", "delivery.timeout.ms"],
        "use `publish_deadline`",
    ),
    (&["linger.ms", "queue.buffering.max.ms"], "use `linger`"),
    (
        &["compression.type", "compression.codec"],
        "use `compression`",
    ),
    (
        &["queue.buffering.max.messages"],
        "use `buffered_messages` of the config",
    ),
    (
        &["queue.buffering.max.kbytes"],
        "use `buffered_kib` of the config",
    ),
    (
        &[
            "message.max.bytes",
            "fetch.message.max.bytes",
            "max.partition.fetch.bytes",
        ],
        "use `max_payload` of the config",
    ),
    (
        &["queued.max.messages.kbytes"],
        "use `fetched_kib` of the config",
    ),
    (
        &["partitioner"],
        "keys go where Java's default partitioner puts them",
    ),
    (
        &["delivery.report.only.error"],
        "every publish waits for its report",
    ),
    // Trap 15: all its calls block, and each error is one of three kinds. It takes a producer, a thread
    // and a state machine of its own.
    (
        &["transactional.id", "transaction.timeout.ms"],
        "this version has no transactions",
    ),
    (
        &[
            "enable.auto.commit",
            "auto.commit.enable",
            "auto.commit.interval.ms",
            "enable.auto.offset.store",
            "offset.store.method",
        ],
        "an offset is committed when everything before it is final: see `commit_interval`; a group \
         that would rather lose than repeat is `at_most_once()`",
    ),
    (
        &["auto.offset.reset"],
        "where a new group begins is the group's `start_at`; an offset that is gone is never skipped \
         in silence",
    ),
    (
        &["isolation.level"],
        "what an aborted transaction wrote was never published",
    ),
    (&["check.crcs"], "a broken record is never handled"),
    (
        &["partition.assignment.strategy", "group.protocol"],
        "members of one group need the same: use `group_protocol`",
    ),
    (&["group.id"], "name the group on the bus"),
    (&["group.instance.id"], "use `static_member`"),
    (&["session.timeout.ms"], "use `session_timeout`"),
    (
        &["allow.auto.create.topics"],
        "topics are declared at start, see `Declare`",
    ),
    (
        &["topic.metadata.refresh.interval.ms"],
        "use `topic_refresh` of the config",
    ),
    (
        &["topic.blacklist", "enable.partition.eof"],
        "patterns and dead letters rest on it",
    ),
    (
        &["statistics.interval.ms"],
        "the state of the connection and the lag are read from them",
    ),
    (
        &[
            "security.protocol",
            "sasl.mechanism",
            "sasl.mechanisms",
            "sasl.username",
            "sasl.password",
        ],
        "use `sasl` and `tls`",
    ),
    (
        &[
            "ssl.ca.location",
            "ssl.certificate.location",
            "ssl.key.location",
        ],
        "use `tls`",
    ),
    (
        &["enable.ssl.certificate.verification"],
        "certificates are always verified: name their authority by `Tls::ca_file`",
    ),
    (
        &["ssl.endpoint.identification.algorithm"],
        "host names are always checked; `Tls::danger_accept_any_host_name()` gives that up",
    ),
];

/// Properties that code has set. Their values may be secrets and are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Properties(BTreeMap<String, String>);

impl Properties {
    pub(crate) fn apply(&self, client: &mut ClientConfig) {
        for (name, value) in &self.0 {
            client.set(name, value);
        }
    }

    /// What is wrong with each of them.
    pub(crate) fn problems(&self) -> Vec<String> {
        let wrong = |(name, value): (&String, &String)| {
            let owner = OWNED.iter().find(|(names, _)| names.contains(&&**name));
            if let Some((_, instead)) = owner {
                return Some(format!("client property {name} is not yours: {instead}"));
            }
            let mut alone = ClientConfig::new();
            match alone.set(name, value).create_native_config().err()? {
                KafkaError::ClientConfig(_, said, ..) => {
                    Some(format!("client property {name}: {}", said.trim()))
                }
                error => Some(format!("client property {name}: {error}")),
            }
        };
        self.0.iter().filter_map(wrong).collect()
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What only code can set: no URL has a key for it.
impl Kafka {
    /// A property of librdkafka, for every client of this transport. Each has its default there;
    /// librdkafka warns where one is of no use to a client.
    ///
    /// What the guarantees rest on, and what has a setting of its own, is refused by
    /// [`check`](Self::check) and by the first use, with what there is instead. The last value of a
    /// name counts. Values are never shown.
    ///
    /// ```
    /// use tidings_kafka::Kafka;
    ///
    /// let kafka = Kafka::new("localhost:9092").property("client.rack", "eu-west-1a");
    /// kafka.check().unwrap();
    ///
    /// let wrong = Kafka::new("localhost:9092").property("acks", "1");
    /// assert!(wrong.check().unwrap_err().to_string().contains("unsafe_acks_one"));
    /// ```
    #[must_use]
    pub fn property(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.set(|config| {
            config.properties.0.insert(name, value);
        })
    }

    /// Calls a publish Ok once the partition's leader has it, whatever its followers have. Default:
    /// off.
    ///
    /// P2 then means: what was Ok is lost when its leader is lost before a follower has copied it. It
    /// turns idempotence off as well, see [`unsafe_not_idempotent`](Self::unsafe_not_idempotent).
    #[must_use]
    pub fn unsafe_acks_one(self) -> Self {
        self.set(|config| config.unsafe_acks_one = true)
    }

    /// Publishes without a producer id, for brokers that refuse one. Default: off.
    ///
    /// P2 then means: what was Ok once may have been written twice, where librdkafka had to try again;
    /// both copies have one event id. The order of a key stays (P5), as no more than one request is on
    /// its way to a broker: fewer events go through.
    #[must_use]
    pub fn unsafe_not_idempotent(self) -> Self {
        self.set(|config| config.unsafe_not_idempotent = true)
    }
}

#[cfg(test)]
mod tests {
    use crate::KafkaConfig;
    use crate::config::Cluster;

    use super::*;

    /// Set by us, and good for others too.
    const FREE: [&str; 6] = [
        "client.id",
        "fetch.queue.backoff.ms",
        "heartbeat.interval.ms",
        "reconnect.backoff.max.ms",
        "socket.connection.setup.timeout.ms",
        "topic.metadata.propagation.max.ms",
    ];

    fn clients(config: &KafkaConfig) -> [ClientConfig; 2] {
        let cluster = Cluster::default();
        [config.producer(&cluster), config.consumer(&cluster, "g")]
    }

    #[test]
    fn what_we_set_is_ours_or_free() {
        let mut config = KafkaConfig::default();
        let mut all = clients(&config).to_vec();
        config.static_member = Some("replica-1".into());
        config.group_protocol = crate::GroupProtocol::Consumer;
        config.unsafe_acks_one = true;
        all.extend(clients(&config));
        for name in all
            .iter()
            .flat_map(|client| client.config_map().into_keys())
        {
            let owned = OWNED.iter().any(|(names, _)| names.contains(&name));
            assert!(owned != FREE.contains(&name), "{name}");
        }
    }

    #[test]
    fn what_is_owned_exists() {
        for name in OWNED.iter().flat_map(|(names, _)| *names) {
            let set = ClientConfig::new().set(*name, "?").create_native_config();
            let unknown = matches!(
                set,
                Err(KafkaError::ClientConfig(_, said, ..)) if said.starts_with("No such")
            );
            assert!(!unknown, "librdkafka knows no {name}");
        }
    }

    /// Traps 3 and 13: librdkafka's own choices are others.
    #[test]
    fn what_the_contract_rests_on_is_set() {
        let [producer, consumer] = clients(&KafkaConfig::default());
        let is = |client: &ClientConfig, name, value| assert_eq!(client.get(name), Some(value));
        is(&producer, "enable.idempotence", "true");
        is(&producer, "acks", "all");
        is(&producer, "partitioner", "murmur2_random");
        is(&consumer, "enable.auto.commit", "false");
        is(&consumer, "enable.auto.offset.store", "false");
        is(&consumer, "auto.offset.reset", "error");
        is(&consumer, "isolation.level", "read_committed");
        is(&consumer, "check.crcs", "true");
        is(&consumer, "allow.auto.create.topics", "false");
        let strategy = "partition.assignment.strategy";
        is(&consumer, strategy, "cooperative-sticky");
    }

    #[test]
    fn what_code_sets_counts() {
        let mut config = KafkaConfig::default();
        config
            .properties
            .0
            .insert("client.id".into(), "shop".into());
        for client in clients(&config) {
            assert_eq!(client.get("client.id"), Some("shop"));
        }
    }

    #[test]
    fn without_idempotence_one_request_is_on_its_way() {
        let cluster = Cluster::default();
        let default = KafkaConfig::default().producer(&cluster);
        assert_eq!(default.get("max.in.flight.requests.per.connection"), None);
        for (one, acks) in [(true, "1"), (false, "all")] {
            let config = KafkaConfig {
                unsafe_acks_one: one,
                unsafe_not_idempotent: !one,
                ..KafkaConfig::default()
            };
            let producer = config.producer(&cluster);
            assert_eq!(producer.get("acks"), Some(acks));
            assert_eq!(producer.get("enable.idempotence"), Some("false"));
            let in_flight = producer.get("max.in.flight.requests.per.connection");
            assert_eq!(in_flight, Some("1"));
        }
    }
}

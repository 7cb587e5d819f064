use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use tidings_transport::TransportError;

use crate::properties::Properties;
use crate::security::Security;
use crate::{Kafka, error};

/// What librdkafka may add around a payload: key, headers, framing. `message.max.bytes` of producers
/// and of created topics is larger than the payload's limit by this.
pub(crate) const OVERHEAD: usize = 64 * 1024;

/// How often a member tells its group that it lives, at the least.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Settings of a topic that follow from ours, with what there is instead.
const OWN_TOPIC_CONFIG: [(&str, &str); 2] = [
    (
        "max.message.bytes",
        "it follows from `max_payload`, set that",
    ),
    (
        "cleanup.policy",
        "a topic that is compacted forgets events of a key that nobody has read; leave it out, and \
         make such a topic yourself if that is what you want",
    ),
];

/// The settings of a [`Kafka`], with their units and defaults.
///
/// ```
/// use tidings_kafka::KafkaConfig;
///
/// let config = KafkaConfig::default();
/// assert_eq!(config.partitions, 6);
/// assert_eq!(config.max_payload, 1024 * 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KafkaConfig {
    /// How long connecting, and each question to the cluster, may take. Default 10 s.
    pub connect_timeout: Duration,
    /// How long a publish may take, waiting for room included. Default 30 s.
    pub publish_deadline: Duration,
    /// How long a publish waits for others to share its request. Default 1 ms: an awaited emit
    /// takes no less, and Kafka's own 5 ms would be felt.
    pub linger: Duration,
    /// How records are compressed. Default: not at all.
    pub compression: Compression,
    /// Publishes that may be on their way at once; more wait. Default 100,000.
    pub buffered_messages: usize,
    /// KiB of publishes that may be on their way at once; more wait. Default 64 MiB.
    pub buffered_kib: usize,
    /// Partitions of a topic that is created. Default 6.
    pub partitions: u32,
    /// Replicas of a topic that is created. Default: the broker's.
    pub replication: Option<u32>,
    /// Settings of a topic that is created, by the broker's names. Default: the broker's. See
    /// [`Kafka::topic_config`].
    pub topic_config: BTreeMap<String, String>,
    /// Bytes of one body. Default 1 MiB.
    pub max_payload: usize,
    /// Bytes of all headers of one message, names and values, the bus's own not counted; also the
    /// longest key. Default 16 KiB.
    pub max_headers: usize,
    /// KiB that each consumer fetches ahead. Default 16 MiB.
    pub fetched_kib: usize,
    /// How long a member may be silent before its partitions go to others. Default 45 s, as Kafka's
    /// own clients.
    pub session_timeout: Duration,
    /// How long a member that must give partitions back waits for their messages to be settled.
    /// Default 5 s.
    pub revoke_deadline: Duration,
    /// How often what is final is committed, at most. Default 1 s.
    pub commit_interval: Duration,
    /// After how many finals it is committed, at the latest. Default 5,000.
    pub commit_every: usize,
    /// How soon a group that follows a pattern sees a new topic. Default 10 s.
    pub topic_refresh: Duration,
    /// A name that this replica keeps over restarts: then a restart within the session time moves no
    /// partition. Default: none. Two live members of a group with one name fence each other, so each
    /// replica needs its own, and no more than one member of a group may live in a process.
    pub static_member: Option<String>,
    /// How members agree on their partitions. Default: classic.
    pub group_protocol: GroupProtocol,
    /// Whether Ok means no more than that the leader has it. Default: no. See
    /// [`Kafka::unsafe_acks_one`].
    pub unsafe_acks_one: bool,
    /// Whether a retry may write a second copy. Default: no. See [`Kafka::unsafe_not_idempotent`].
    pub unsafe_not_idempotent: bool,
    // What has no setting here: by `Kafka::property` only.
    pub(crate) properties: Properties,
}

/// How the members of a group agree on their partitions. All members of a group must use the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupProtocol {
    /// The members do, in rounds that all of them take part in.
    #[default]
    Classic,
    /// The broker does, member by member: KIP-848, from Kafka 4.0 on. The session time is the
    /// broker's then.
    ///
    /// Source: <https://cwiki.apache.org/confluence/x/HhD1D>.
    Consumer,
}

/// Where the brokers are, and how they are spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cluster {
    pub(crate) servers: String,
    pub(crate) security: Security,
}

/// How records are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
}

impl Compression {
    /// Reads the name that Kafka gives it: `none`, `gzip`, `snappy` or `lz4`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4];
        all.into_iter().find(|it| it.as_str() == name)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
        }
    }
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            publish_deadline: Duration::from_secs(30),
            linger: Duration::from_millis(1),
            compression: Compression::None,
            buffered_messages: 100_000,
            buffered_kib: 64 * 1024,
            partitions: 6,
            replication: None,
            topic_config: BTreeMap::new(),
            max_payload: 1024 * 1024,
            max_headers: 16 * 1024,
            fetched_kib: 16 * 1024,
            session_timeout: Duration::from_secs(45),
            revoke_deadline: Duration::from_secs(5),
            commit_interval: Duration::from_secs(1),
            commit_every: 5_000,
            topic_refresh: Duration::from_secs(10),
            static_member: None,
            group_protocol: GroupProtocol::Classic,
            unsafe_acks_one: false,
            unsafe_not_idempotent: false,
            properties: Properties::default(),
        }
    }
}

impl KafkaConfig {
    /// Checks all settings.
    ///
    /// # Errors
    ///
    /// `Config`, naming every setting that is out of its range.
    pub fn check(&self) -> Result<(), TransportError> {
        let millis = Duration::from_millis(1);
        let ranges = [
            (
                self.connect_timeout < millis,
                "connect_timeout is 0: use at least 1 ms",
            ),
            (
                self.publish_deadline < millis,
                "publish_deadline is 0: use at least 1 ms",
            ),
            (
                self.linger > Duration::from_secs(900),
                "linger is over 15 min: use less",
            ),
            (
                !(1..=10_000_000).contains(&self.buffered_messages),
                "buffered_messages: use 1 to 10,000,000 messages",
            ),
            (
                !(1..=2_097_151).contains(&self.buffered_kib),
                "buffered_kib: use 1 to 2,097,151 KiB",
            ),
            (self.partitions == 0, "partitions is 0: use at least 1"),
            (
                self.replication == Some(0),
                "replication is 0: use at least 1",
            ),
            (
                !(1..=1_000_000_000 - OVERHEAD).contains(&self.max_payload),
                "max_payload: use 1 to 999,934,464 bytes",
            ),
            (
                !(1..=OVERHEAD / 2).contains(&self.max_headers),
                "max_headers: use 1 to 32,768 bytes",
            ),
            (
                !(1..=2_097_151).contains(&self.fetched_kib),
                "fetched_kib: use 1 to 2,097,151 KiB",
            ),
            (
                !(millis..=Duration::from_secs(3600)).contains(&self.session_timeout),
                "session_timeout: use 1 ms to 1 h, within the broker's limits",
            ),
            (
                self.commit_interval < millis,
                "commit_interval is 0: use at least 1 ms",
            ),
            (self.commit_every == 0, "commit_every is 0: use at least 1"),
            (
                !(Duration::from_millis(10)..=Duration::from_secs(3600))
                    .contains(&self.topic_refresh),
                "topic_refresh: use 10 ms to 1 h",
            ),
            (
                self.static_member.as_deref() == Some(""),
                "static_member is empty: name this replica, or leave it out",
            ),
        ];
        let mut wrong = self.properties.problems();
        wrong.extend(self.topic_config.keys().filter_map(|name| {
            let (_, instead) = OWN_TOPIC_CONFIG.iter().find(|(own, _)| own == name)?;
            Some(format!("topic_config sets {name}: {instead}"))
        }));
        let out = ranges.into_iter().filter(|(is_out, _)| *is_out);
        wrong.extend(out.map(|(_, text)| text.to_owned()));
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(error::config(format!(
                "Kafka transport: {}",
                wrong.join("; ")
            )))
        }
    }

    /// The bytes that one record may have on the wire.
    pub(crate) fn message_bytes(&self) -> usize {
        self.max_payload + OVERHEAD
    }

    /// A client that only asks questions.
    pub(crate) fn client(&self, cluster: &Cluster) -> ClientConfig {
        let mut client = self.base(cluster);
        self.properties.apply(&mut client);
        client
    }

    /// What every client is made with.
    fn base(&self, cluster: &Cluster) -> ClientConfig {
        let mut client = ClientConfig::new();
        cluster.security.apply(&mut client);
        client
            .set("bootstrap.servers", &cluster.servers)
            .set("client.id", "tidings")
            // Off by default (trap 14).
            .set("statistics.interval.ms", "5000")
            .set("socket.connection.setup.timeout.ms", "10000")
            .set("reconnect.backoff.max.ms", "2000");
        client
    }

    /// A producer: idempotent, confirmed by all in-sync replicas, partitioned as Java does (O7).
    pub(crate) fn producer(&self, cluster: &Cluster) -> ClientConfig {
        let mut client = self.base(cluster);
        let acks = if self.unsafe_acks_one { "1" } else { "all" };
        // librdkafka has no idempotence without all acks.
        let idempotent = !(self.unsafe_acks_one || self.unsafe_not_idempotent);
        client
            .set("enable.idempotence", idempotent.to_string())
            .set("acks", acks)
            .set("partitioner", "murmur2_random")
            .set("compression.type", self.compression.as_str())
            .set("linger.ms", millis(self.linger))
            // Above our own deadline, which gives the verdict.
            .set(
                "message.timeout.ms",
                millis(self.publish_deadline + Duration::from_secs(1)),
            )
            // Below it, so that a topic that is missing is told apart from a broker that is slow.
            .set(
                "topic.metadata.propagation.max.ms",
                millis((self.publish_deadline / 2).min(Duration::from_secs(30))),
            )
            .set("message.max.bytes", self.message_bytes().to_string())
            .set(
                "queue.buffering.max.messages",
                self.buffered_messages.to_string(),
            )
            .set("queue.buffering.max.kbytes", self.buffered_kib.to_string());
        if !idempotent {
            // A retry would be overtaken by what is on its way behind it (P5).
            client.set("max.in.flight.requests.per.connection", "1");
        }
        self.properties.apply(&mut client);
        client
    }

    /// A member of a group: nothing is stored or committed but by us (traps 3 and 13), and where no
    /// offset is known we decide, not `auto.offset.reset` (D7).
    pub(crate) fn consumer(&self, cluster: &Cluster, group: &str) -> ClientConfig {
        let mut client = self.base(cluster);
        client
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .set("allow.auto.create.topics", "false")
            .set("queued.max.messages.kbytes", self.fetched_kib.to_string())
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.message.max.bytes", self.message_bytes().to_string());
        match self.group_protocol {
            GroupProtocol::Consumer => {
                client.set("group.protocol", "consumer");
            }
            GroupProtocol::Classic => {
                // Members learn of a rebalance by the answer to a heartbeat, and it takes two rounds.
                let heartbeat = (self.session_timeout / 10).min(HEARTBEAT);
                client
                    .set("partition.assignment.strategy", "cooperative-sticky")
                    .set("session.timeout.ms", millis(self.session_timeout))
                    .set("heartbeat.interval.ms", millis(heartbeat));
            }
        }
        if let Some(name) = &self.static_member {
            client.set("group.instance.id", name);
        }
        self.properties.apply(&mut client);
        client
    }
}

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

/// Settings. They come before the first use. A wrong value is reported by [`Kafka::check`] and by
/// the first call that needs the cluster, never by a panic.
impl Kafka {
    /// How long connecting, and each question to the cluster, may take. Default 10 s.
    #[must_use]
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.set(|config| config.connect_timeout = timeout)
    }

    /// How long a publish may take. Default 30 s.
    #[must_use]
    pub fn publish_deadline(self, deadline: Duration) -> Self {
        self.set(|config| config.publish_deadline = deadline)
    }

    /// How long a publish waits for others to share its request. Default 1 ms.
    #[must_use]
    pub fn linger(self, linger: Duration) -> Self {
        self.set(|config| config.linger = linger)
    }

    /// How records are compressed. Default: not at all.
    #[must_use]
    pub fn compression(self, compression: Compression) -> Self {
        self.set(|config| config.compression = compression)
    }

    /// Partitions of a topic that is created. Default 6.
    #[must_use]
    pub fn partitions(self, partitions: u32) -> Self {
        self.set(|config| config.partitions = partitions)
    }

    /// Replicas of a topic that is created. Default: the broker's.
    #[must_use]
    pub fn replication(self, replicas: u32) -> Self {
        self.set(|config| config.replication = Some(replicas))
    }

    /// A setting of topics that are created, by the broker's name for it, such as `retention.ms` or
    /// `min.insync.replicas`. It is for topics of events and of retries; those of dead letters keep
    /// what they hold. An existing topic is never altered; where topics are only verified, another
    /// value is an error.
    ///
    /// Source: <https://kafka.apache.org/documentation/#topicconfigs>.
    ///
    /// ```
    /// use tidings_kafka::Kafka;
    ///
    /// let kafka = Kafka::new("localhost:9092").topic_config("retention.ms", "604800000");
    /// assert!(kafka.check().is_ok());
    /// // A compacted topic would forget events that nobody has read.
    /// assert!(kafka.topic_config("cleanup.policy", "compact").check().is_err());
    /// ```
    #[must_use]
    pub fn topic_config(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.set(|config| {
            config.topic_config.insert(name.into(), value.into());
        })
    }

    /// A name that this replica keeps over restarts. Default: none.
    #[must_use]
    pub fn static_member(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.set(|config| config.static_member = Some(name))
    }

    /// How the members of a group agree on their partitions. Default: classic.
    #[must_use]
    pub fn group_protocol(self, protocol: GroupProtocol) -> Self {
        self.set(|config| config.group_protocol = protocol)
    }

    /// How long a member may be silent before its partitions go to others. Default 45 s.
    #[must_use]
    pub fn session_timeout(self, timeout: Duration) -> Self {
        self.set(|config| config.session_timeout = timeout)
    }
}

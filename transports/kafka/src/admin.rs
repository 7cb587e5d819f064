//! Questions to the cluster, and the topics that are made at start.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};
use tidings_transport::{
    Declare, ErrorKind, GroupTopology, Lag, Name, Start, Topics, Topology, TransportError,
};
use tokio::sync::oneshot;

use crate::config::{Cluster, KafkaConfig};
use crate::positions;
use crate::publish::Line;
use crate::security::Security;
use crate::status::{Asking, Status};
use crate::{error, topic};

/// A broker's setting that bounds a record.
const RECORD_BYTES: &str = "max.message.bytes";

/// How often it is looked whether the brokers turn us away.
const LOOK: Duration = Duration::from_millis(100);

/// How long a second handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(1);

pub(crate) struct Admin {
    cluster: Cluster,
    config: KafkaConfig,
    status: Arc<Status>,
    line: Arc<Line>,
    client: AdminClient<Asking>,
    // One for each group whose offsets are asked for: to make one takes longer than to ask.
    readers: Mutex<HashMap<Name, Arc<BaseConsumer<Asking>>>>,
}

/// Topics of the cluster with their numbers of partitions.
type Found = BTreeMap<String, i32>;

impl Admin {
    pub(crate) fn new(
        cluster: &Cluster,
        config: &KafkaConfig,
        status: &Arc<Status>,
        line: &Arc<Line>,
    ) -> Result<Self, TransportError> {
        let client = AdminClient::from_config_and_context(
            &config.client(cluster),
            Asking(Arc::clone(status)),
        )
        .map_err(|error| error::transport("making a Kafka client", error))?;
        Ok(Self {
            cluster: cluster.clone(),
            config: config.clone(),
            status: Arc::clone(status),
            line: Arc::clone(line),
            client,
            readers: Mutex::default(),
        })
    }

    /// All topics that the user may see. Blocks: call it where that is allowed.
    pub(crate) fn topics(&self) -> Result<Found, TransportError> {
        // The producer's client, whose thread hears why nobody answers.
        let client = self.line.client()?;
        let metadata = client
            .client()
            .fetch_metadata(None, self.config.connect_timeout)
            .map_err(|error| self.unanswered(error))?;
        self.status.connected();
        let topics = metadata.topics().iter();
        let usable = topics.filter(|topic| topic.error().is_none());
        Ok(usable
            .map(|topic| {
                let partitions = topic.partitions().iter();
                let led = partitions.filter(|it| it.leader() >= 0).count();
                (
                    topic.name().to_owned(),
                    i32::try_from(led).unwrap_or(i32::MAX),
                )
            })
            .collect())
    }

    /// Why the question for the topics had no answer. Blocks.
    fn unanswered(&self, error: KafkaError) -> TransportError {
        let fix =
            (self.status.is_unverified() && self.is_another_host()).then_some(error::ANOTHER_HOST);
        let doing = "asking Kafka for its topics";
        self.status
            .no_answer(doing, &self.cluster.servers, error, fix)
    }

    /// [`topics`](Self::topics), with an end as soon as the brokers turn us away: librdkafka would go
    /// on trying until the time is over.
    pub(crate) async fn ask_topics(self: &Arc<Self>) -> Result<Found, TransportError> {
        let (answer, mut answered) = oneshot::channel();
        let admin = Arc::clone(self);
        // A thread of its own, which a runtime that ends does not wait for.
        std::thread::Builder::new()
            .name("tidings-kafka-question".into())
            .spawn(move || {
                // Who asked may have had enough.
                let _ = answer.send(admin.topics());
            })
            .map_err(|error| {
                error::config(format!("no thread for a question to Kafka: {error}"))
                    .with_source(error)
            })?;
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                answered = &mut answered => {
                    return answered.unwrap_or_else(|_| {
                        Err(error::timeout("a question to Kafka did not end"))
                    });
                }
                _ = look.tick() => {
                    if let Some(code) = self.status.refusal() {
                        return self.ask(move |admin| {
                            Err(admin.unanswered(KafkaError::Global(code)))
                        }).await;
                    }
                }
            }
        }
    }

    /// Whether a certificate that could not be verified is good for another host: librdkafka does not
    /// tell. A second handshake finds out, one that does not look at the name; nobody logs in.
    fn is_another_host(&self) -> bool {
        let Some(tls) = self.cluster.security.tls.clone() else {
            return false;
        };
        let cluster = Cluster {
            servers: self.cluster.servers.clone(),
            security: Security {
                tls: Some(tls.danger_accept_any_host_name()),
                ..Security::default()
            },
        };
        let status = Arc::new(Status::default());
        let client: Result<BaseConsumer<Asking>, _> = BaseConsumer::from_config_and_context(
            &self.config.client(&cluster),
            Asking(Arc::clone(&status)),
        );
        let Ok(client) = client else {
            return false;
        };
        let until = Instant::now() + HANDSHAKE;
        while Instant::now() < until && !status.is_unverified() {
            // The event has no text; that of its code is the only one that matters here.
            if let Some(Err(error)) = client.poll(Duration::from_millis(50)) {
                status.failed(&error, "certificate verify failed");
            }
        }
        !status.is_unverified()
    }

    /// Makes, or only checks, what a topology names.
    pub(crate) async fn declare(
        self: &Arc<Self>,
        topology: &Topology,
    ) -> Result<(), TransportError> {
        let wanted = Wanted::of(topology)?;
        if topology.declare == Declare::Assume {
            return Ok(());
        }
        let found = self.ask_topics().await?;
        let missing: Vec<&str> = wanted
            .topics()
            .filter(|name| !found.contains_key(*name))
            .collect();
        if topology.declare == Declare::Verify {
            if !missing.is_empty() {
                return Err(TransportError::new(
                    ErrorKind::Missing,
                    format!("topics {missing:?} do not exist: create them, or let `declare` do it",),
                ));
            }
            return self.verify(&wanted).await;
        }
        self.create(&wanted, &missing, &found).await?;
        let start: Vec<GroupTopology> = topology
            .groups
            .iter()
            .filter(|group| group.start != Start::Earliest && !group.topics.exact.is_empty())
            .cloned()
            .collect();
        for group in start {
            self.ask(move |admin| admin.begin(&group)).await?;
        }
        Ok(())
    }

    async fn create(
        self: &Arc<Self>,
        wanted: &Wanted,
        missing: &[&str],
        found: &Found,
    ) -> Result<(), TransportError> {
        if missing.is_empty() {
            return Ok(());
        }
        let bytes = self.config.message_bytes().to_string();
        let replicas = self.config.replication.map_or(Ok(-1), i32::try_from);
        let partitions = i32::try_from(self.config.partitions);
        let (Ok(replicas), Ok(partitions)) = (replicas, partitions) else {
            return Err(error::config(
                "partitions or replication is over 2,147,483,647",
            ));
        };
        let topics: Vec<NewTopic<'_>> = missing
            .iter()
            .map(|name| {
                let dead = wanted.dead.contains(*name);
                // One partition has one order, in which dead letters are listed.
                let partitions = if dead { 1 } else { partitions };
                let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas))
                    .set(RECORD_BYTES, &bytes);
                match dead {
                    true => topic.set("cleanup.policy", "compact"),
                    false => topic,
                }
            })
            .collect();
        let options = AdminOptions::new()
            .request_timeout(Some(self.config.connect_timeout))
            .operation_timeout(Some(self.config.connect_timeout));
        let answers = self
            .client
            .create_topics(&topics, &options)
            .await
            .map_err(|error| {
                self.status
                    .no_answer("creating topics", &self.cluster.servers, error, None)
            })?;
        for answer in answers {
            match answer {
                // Somebody else was quicker.
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((name, Code::InvalidTopic)) => return Err(refused_name(&name, found)),
                Err((name, code)) => {
                    return Err(error::answer(&format!("creating topic {name:?}"), code));
                }
            }
        }
        self.await_leaders(missing).await
    }

    /// A topic that was just made is not known to every broker at once.
    async fn await_leaders(self: &Arc<Self>, topics: &[&str]) -> Result<(), TransportError> {
        let until = Instant::now() + self.config.connect_timeout;
        loop {
            let found = self.ask_topics().await?;
            let led = |name: &&str| found.get(*name).is_some_and(|partitions| *partitions > 0);
            if topics.iter().all(led) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(error::timeout(format!(
                    "topics {topics:?} were created, but have no leader after {:?}",
                    self.config.connect_timeout
                )));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether topics that exist can carry what is promised.
    async fn verify(&self, wanted: &Wanted) -> Result<(), TransportError> {
        let names: Vec<&str> = wanted.topics().collect();
        if names.is_empty() {
            return Ok(());
        }
        let asked: Vec<ResourceSpecifier<'_>> = names
            .iter()
            .map(|name| ResourceSpecifier::Topic(name))
            .collect();
        let options = AdminOptions::new().request_timeout(Some(self.config.connect_timeout));
        let answers = self
            .client
            .describe_configs(&asked, &options)
            .await
            .map_err(|error| {
                self.status.no_answer(
                    "asking for topic settings",
                    &self.cluster.servers,
                    error,
                    None,
                )
            })?;
        let mut differences = Vec::new();
        for (name, answer) in names.iter().zip(answers) {
            let settings = answer.map_err(|code| {
                error::answer(&format!("reading settings of topic {name:?}"), code)
            })?;
            let value = |key| settings.get(key).and_then(|entry| entry.value.as_deref());
            let bytes = value(RECORD_BYTES).and_then(|bytes| bytes.parse::<usize>().ok());
            if let Some(bytes) = bytes.filter(|bytes| *bytes < self.config.message_bytes()) {
                differences.push(format!(
                    "topic {name:?} has {RECORD_BYTES}={bytes}, {} are needed",
                    self.config.message_bytes()
                ));
            }
            let policy = value("cleanup.policy").unwrap_or_default();
            if wanted.dead.contains(*name) && !policy.contains("compact") {
                differences.push(format!(
                    "topic {name:?} has cleanup.policy={policy}, dead letters need compact"
                ));
            }
        }
        if differences.is_empty() {
            Ok(())
        } else {
            Err(TransportError::new(
                ErrorKind::Conflict,
                format!("{}: change the topics' settings", differences.join("; ")),
            ))
        }
    }

    /// Commits where a new group begins, so that what is published from here on is its own even
    /// before its first member has joined (D7). Blocks.
    fn begin(&self, group: &GroupTopology) -> Result<(), TransportError> {
        let doing = format!("finding where group {:?} begins", group.name.as_str());
        let failed = |error| error::transport(&doing, error);
        let consumer = self.reader(&group.name)?;
        let found = self.topics()?;
        let partitions = partitions_of(&found, &group.topics);
        let positions = positions::resolve(
            &consumer,
            &partitions,
            group.start,
            self.config.connect_timeout,
        )
        .map_err(failed)?;
        let mut marks = TopicPartitionList::new();
        for it in positions.iter().filter(|it| it.is_new) {
            if let Offset::Offset(_) = it.offset {
                marks
                    .add_partition_offset(&it.topic, it.partition, it.offset)
                    .map_err(failed)?;
            }
        }
        if marks.count() == 0 {
            return Ok(());
        }
        match consumer.commit(&marks, CommitMode::Sync) {
            // It has members: they know where they are, or find it as they are assigned.
            Err(KafkaError::ConsumerCommit(
                Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress,
            )) => Ok(()),
            committed => committed.map_err(failed),
        }
    }

    /// How far a group is behind. Blocks.
    pub(crate) fn lag(
        &self,
        group: &Name,
        topics: &Topics,
        marks: &BTreeMap<(Name, i32), i64>,
    ) -> Result<Vec<Lag>, TransportError> {
        let doing = format!("reading the lag of group {:?}", group.as_str());
        let failed = |error| error::transport(&doing, error);
        let consumer = self.reader(group)?;
        let found = self.topics()?;
        let timeout = self.config.connect_timeout;
        let committed = consumer
            .committed_offsets(partitions_of(&found, topics), timeout)
            .map_err(failed)?;
        let mut lags = Vec::new();
        for element in committed.elements() {
            element.error().map_err(failed)?;
            let (topic, partition) = (Name::from(element.topic()), element.partition());
            let (low, high) = consumer
                .fetch_watermarks(&topic, partition, timeout)
                .map_err(failed)?;
            let committed = element.offset().to_raw().filter(|offset| *offset >= 0);
            // What a member here has made final is committed within a moment.
            let mark = marks.get(&(topic.clone(), partition)).copied();
            let settled = committed.into_iter().chain(mark).max().unwrap_or(low);
            lags.push(Lag {
                topic,
                partition,
                end: u64::try_from(high).unwrap_or_default(),
                settled: u64::try_from(settled).unwrap_or_default(),
            });
        }
        Ok(lags)
    }

    /// A client that reads a group's offsets and is no member of it.
    fn reader(&self, group: &Name) -> Result<Arc<BaseConsumer<Asking>>, TransportError> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = readers.get(group) {
            return Ok(Arc::clone(reader));
        }
        let reader = Arc::new(self.consumer(&self.config.consumer(&self.cluster, group))?);
        readers.insert(group.clone(), Arc::clone(&reader));
        Ok(reader)
    }

    /// A client that reads whole topics, told of their ends. It joins no group, but librdkafka
    /// assigns nothing to who has none.
    pub(crate) fn browser(&self) -> Result<BaseConsumer<Asking>, TransportError> {
        let mut config = self.config.consumer(&self.cluster, "tidings-browse");
        config.set("enable.partition.eof", "true");
        self.consumer(&config)
    }

    fn consumer(&self, config: &ClientConfig) -> Result<BaseConsumer<Asking>, TransportError> {
        BaseConsumer::from_config_and_context(config, Asking(Arc::clone(&self.status)))
            .map_err(|error| error::transport("making a Kafka client", error))
    }

    /// How long a question may take.
    pub(crate) fn patience(&self) -> Duration {
        self.config.connect_timeout
    }

    /// Runs what blocks where that harms nobody.
    pub(crate) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Self) -> Result<T, TransportError> + Send + 'static,
    ) -> Result<T, TransportError> {
        let admin = Arc::clone(self);
        tokio::task::spawn_blocking(move || question(&admin))
            .await
            .map_err(|error| {
                TransportError::new(ErrorKind::Other, "a question to Kafka did not end")
                    .with_source(error)
            })?
    }
}

/// Kafka's metrics cannot tell `.` from `_`, so a topic may not differ from another in these only.
fn refused_name(name: &str, found: &Found) -> TransportError {
    let plain = |name: &str| name.replace('.', "_");
    let twin = found.keys().find(|other| plain(other) == plain(name));
    error::config(match twin {
        Some(twin) => format!(
            "topic {name:?} differs from {twin:?}, which exists, only in `.` and `_`: Kafka keeps \
             such names apart nowhere but in its topics; rename one"
        ),
        None => format!("Kafka refuses the topic name {name:?}"),
    })
}

/// The partitions of the topics that exist.
fn partitions_of(found: &Found, topics: &Topics) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (name, partitions) in found.iter().filter(|(name, _)| topics.contains(name)) {
        for partition in 0..*partitions {
            list.add_partition(name, partition);
        }
    }
    list
}

/// The topics of a topology, once each, their names checked.
struct Wanted {
    live: BTreeSet<String>,
    dead: BTreeSet<String>,
}

impl Wanted {
    fn of(topology: &Topology) -> Result<Self, TransportError> {
        let groups = topology.groups.iter();
        let live: BTreeSet<String> = topology
            .topics
            .iter()
            .chain(groups.clone().flat_map(|group| &group.topics.exact))
            .map(Name::to_string)
            .collect();
        let dead: BTreeSet<String> = groups
            .clone()
            .filter_map(|group| group.dead_letters.as_ref())
            .map(Name::to_string)
            .collect();
        let wrong: Vec<String> = live
            .iter()
            .chain(&dead)
            .filter_map(|name| topic::check(name).err())
            .chain(groups.filter_map(|group| topic::check_group(&group.name).err()))
            .collect();
        match wrong.is_empty() {
            true => Ok(Self { live, dead }),
            false => Err(error::config(wrong.join("; "))),
        }
    }

    fn topics(&self) -> impl Iterator<Item = &str> {
        self.live.union(&self.dead).map(String::as_str)
    }
}

//! Questions to the cluster.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminClient;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer;
use tidings_transport::{ErrorKind, Lag, Name, Topics, TransportError};
use tokio::sync::oneshot;

use crate::config::{Cluster, KafkaConfig};
use crate::error;
use crate::publish::Line;
use crate::security::Security;
use crate::status::{Asking, Status};

/// How often it is looked whether the brokers turn us away.
const LOOK: Duration = Duration::from_millis(100);

/// How long a second handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(1);

pub(crate) struct Admin {
    pub(crate) cluster: Cluster,
    pub(crate) config: KafkaConfig,
    pub(crate) status: Arc<Status>,
    line: Arc<Line>,
    pub(crate) client: AdminClient<Asking>,
    // One for each group whose offsets are asked for: to make one takes longer than to ask.
    readers: Mutex<HashMap<Name, Arc<BaseConsumer<Asking>>>>,
}

/// Topics of the cluster with their numbers of partitions.
pub(crate) type Found = BTreeMap<String, i32>;

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

    /// How many replicas each topic has, where that differs the fewest of a partition. Blocks.
    pub(crate) fn replicas(&self) -> Result<BTreeMap<String, usize>, TransportError> {
        let client = self.line.client()?;
        let metadata = client
            .client()
            .fetch_metadata(None, self.config.connect_timeout)
            .map_err(|error| self.unanswered(error))?;
        let topics = metadata.topics().iter();
        let counted = topics.filter_map(|topic| {
            let partitions = topic.partitions().iter();
            let fewest = partitions.map(|it| it.replicas().len()).min()?;
            Some((topic.name().to_owned(), fewest))
        });
        Ok(counted.collect())
    }

    /// What is said of topics that are not among those the user may see. Blocks.
    pub(crate) fn absent(&self, topics: &[Name], fix: &str) -> TransportError {
        self.kept_back(topics).unwrap_or_else(|| {
            TransportError::new(
                ErrorKind::Missing,
                format!("topics {topics:?} do not exist: {fix}"),
            )
        })
    }

    /// Topics that exist and that the user may not see: a list of all leaves them out, so each is
    /// asked for by its name. Blocks.
    pub(crate) fn kept_back(&self, topics: &[Name]) -> Option<TransportError> {
        // Asking makes none: this client has auto-create off.
        let client = self.browser().ok()?;
        let until = Instant::now() + self.config.connect_timeout;
        let is_kept_back = |topic: &&Name| {
            let left = until.saturating_duration_since(Instant::now());
            let answer = client.fetch_metadata(Some(topic.as_str()), left);
            answer.is_ok_and(|found| {
                let mut errors = found.topics().iter().filter_map(|topic| topic.error());
                errors.any(|error| error::kind(error.into()) == ErrorKind::Forbidden)
            })
        };
        let kept: Vec<&Name> = topics.iter().filter(is_kept_back).collect();
        let doing = format!("looking for topics {kept:?}");
        (!kept.is_empty()).then(|| error::answer(&doing, Code::TopicAuthorizationFailed))
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
    pub(crate) fn reader(&self, group: &Name) -> Result<Arc<BaseConsumer<Asking>>, TransportError> {
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

/// The partitions of the topics that exist.
pub(crate) fn partitions_of(found: &Found, topics: &Topics) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (name, partitions) in found.iter().filter(|(name, _)| topics.contains(name)) {
        for partition in 0..*partitions {
            list.add_partition(name, partition);
        }
    }
    list
}

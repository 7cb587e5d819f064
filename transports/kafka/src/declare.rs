//! What is made at start, or only checked: topics, and where new groups begin.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};
use tidings_transport::{Declare, ErrorKind, GroupTopology, Name, Start, Topology, TransportError};

use crate::admin::{Admin, Found, partitions_of};
use crate::{error, positions, topic};

/// How many replicas have a record before it is confirmed, at the least.
const IN_SYNC: &str = "min.insync.replicas";

/// A broker's setting that bounds a record.
const RECORD_BYTES: &str = "max.message.bytes";

impl Admin {
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
                let missing: Vec<Name> = missing.into_iter().map(Name::from).collect();
                let fix = "create them, or let `declare` do it";
                let asked = self.ask(move |admin| Err(admin.absent(&missing, fix)));
                return asked.await;
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
                let own = self.config.topic_config.iter();
                match dead {
                    true => topic.set("cleanup.policy", "compact"),
                    false => own.fold(topic, |topic, (name, value)| topic.set(name, value)),
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
        let mut existed = Vec::new();
        for answer in answers {
            match answer {
                Ok(_) => {}
                // Somebody else was quicker, or the user may not see it.
                Err((name, Code::TopicAlreadyExists)) => existed.push(Name::from(name)),
                Err((name, Code::InvalidTopic)) => return Err(refused_name(&name, found)),
                Err((name, code)) => {
                    return Err(error::answer(&format!("creating topic {name:?}"), code));
                }
            }
        }
        if !existed.is_empty() {
            self.ask(move |admin| admin.kept_back(&existed).map_or(Ok(()), Err))
                .await?;
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
        let settings = self.settings(&names).await?;
        let mut differences = Vec::new();
        for (name, settings) in names.iter().zip(&settings) {
            let value = |key| settings.get(key).and_then(|entry| entry.value.as_deref());
            let bytes = value(RECORD_BYTES).and_then(|bytes| bytes.parse::<usize>().ok());
            if let Some(bytes) = bytes.filter(|bytes| *bytes < self.config.message_bytes()) {
                differences.push(format!(
                    "topic {name:?} has {RECORD_BYTES}={bytes}, {} are needed",
                    self.config.message_bytes()
                ));
            }
            if !wanted.dead.contains(*name) {
                for (setting, wanted) in &self.config.topic_config {
                    let found = value(setting).unwrap_or("nothing of that name");
                    if found != wanted {
                        differences.push(format!(
                            "topic {name:?} has {setting}={found}, {wanted} is asked for"
                        ));
                    }
                }
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

    /// What of the topics loses events that were confirmed (misuse 27).
    ///
    /// Source: `min.insync.replicas` in <https://kafka.apache.org/documentation/#topicconfigs>.
    pub(crate) async fn examine(
        self: &Arc<Self>,
        topology: &Topology,
    ) -> Result<Vec<String>, TransportError> {
        let wanted = Wanted::of(topology)?;
        let mut findings = Vec::new();
        let copies = self.ask(|admin| admin.replicas()).await?;
        let names: Vec<&str> = wanted.topics().collect();
        let missing = names.iter().filter(|name| !copies.contains_key(**name));
        let missing: Vec<Name> = missing.map(|name| Name::from(*name)).collect();
        if !missing.is_empty() {
            let fix = "start the bus, or declare them first";
            let asked = self.ask(move |admin| Err(admin.absent(&missing, fix)));
            return asked.await;
        }
        if names.is_empty() {
            return Ok(findings);
        }
        let settings = self.settings(&names).await?;
        for (name, settings) in names.iter().zip(&settings) {
            let copies = copies.get(*name).copied().unwrap_or_default();
            let in_sync = settings.get(IN_SYNC).and_then(|it| it.value.as_deref());
            if copies < 2 {
                findings.push(format!(
                    "topic {name:?} has 1 replica: what it holds is lost with its broker; give it 3 \
                     (`Kafka::replication` does for topics that are created)"
                ));
            } else if in_sync == Some("1") {
                findings.push(format!(
                    "topic {name:?} has {IN_SYNC}=1: an emit can be Ok while a single broker has the \
                     event; set 2 (`Kafka::topic_config` does for topics that are created)"
                ));
            }
        }
        Ok(findings)
    }

    /// The settings of topics, as the broker has them.
    async fn settings(&self, names: &[&str]) -> Result<Vec<ConfigResource>, TransportError> {
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
        let read = names.iter().zip(answers).map(|(name, answer)| {
            let failed = |code| error::answer(&format!("reading settings of topic {name:?}"), code);
            answer.map_err(failed)
        });
        read.collect()
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

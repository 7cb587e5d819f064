use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tidings_transport::{
    Capabilities, CloseReport, Declare, ErrorKind, GroupTopology, Health, Interest, Lag, Message,
    Mode, Name, Origin, PublishError, Reason, Receipt, Subscribe, Topics, Topology, Transport,
    TransportError, TryPublish,
};

use crate::admin::Admin;
use crate::browse::KafkaBrowser;
use crate::config::{Cluster, KafkaConfig};
use crate::consume::{KafkaConsumer, Member};
use crate::publish::{self, Line};
use crate::security::Security;
use crate::status::Status;
use crate::{error, poll, replay, topic};

/// The Kafka transport: one producer, and a consumer for each member that is opened.
///
/// Nothing connects before the first use.
pub struct Kafka {
    cluster: Cluster,
    config: KafkaConfig,
    status: Arc<Status>,
    line: Arc<Line>,
    state: Mutex<State>,
    closed: AtomicBool,
    // What is wrong with the settings, looked at once, by the first use.
    wrong: OnceLock<Option<String>>,
}

#[derive(Default)]
struct State {
    admin: Option<Arc<Admin>>,
    members: Vec<Weak<Member>>,
    // What each group gets, as it was declared or opened here.
    groups: HashMap<Name, Topics>,
    // Those that were found or made by a declare.
    topics: HashSet<Name>,
}

impl Kafka {
    /// A transport to the cluster that these servers lead to: `host:port`, more of them parted by
    /// commas.
    #[must_use]
    pub fn new(servers: impl AsRef<str>) -> Self {
        Self::with_config(servers, KafkaConfig::default())
    }

    /// [`new`](Self::new) with these settings.
    #[must_use]
    pub fn with_config(servers: impl AsRef<str>, config: KafkaConfig) -> Self {
        let cluster = Cluster {
            servers: servers.as_ref().to_owned(),
            ..Cluster::default()
        };
        Self::make(cluster, config)
    }

    fn make(cluster: Cluster, config: KafkaConfig) -> Self {
        let status = Arc::<Status>::default();
        let line = Line::new(
            config.producer(&cluster),
            config.publish_deadline,
            Arc::clone(&status),
        );
        Self {
            cluster,
            config,
            status,
            line,
            state: Mutex::default(),
            closed: AtomicBool::new(false),
            wrong: OnceLock::new(),
        }
    }

    /// Checks the settings, as the first use does. Asks no broker.
    ///
    /// # Errors
    ///
    /// `Config`, naming every setting that is out of its range, or the server that is no
    /// `host:port`.
    pub fn check(&self) -> Result<(), TransportError> {
        let server = |server: &str| {
            let (host, port) = server.trim().rsplit_once(':')?;
            (!host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)).then_some(())
        };
        if let Some(wrong) = self
            .cluster
            .servers
            .split(',')
            .find(|it| server(it).is_none())
        {
            return Err(error::config(format!(
                "{wrong:?} is no Kafka server: write `host:port`, more of them parted by commas"
            )));
        }
        let problems = self.cluster.security.problems(&self.cluster.servers);
        if !problems.is_empty() {
            return Err(error::config(problems.join("; ")));
        }
        self.config.check()
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &KafkaConfig {
        &self.config
    }

    pub(crate) fn set(self, change: impl FnOnce(&mut KafkaConfig)) -> Self {
        let mut config = self.config.clone();
        change(&mut config);
        Self::make(self.cluster.clone(), config)
    }

    pub(crate) fn secure(self, change: impl FnOnce(&mut Security)) -> Self {
        let mut cluster = self.cluster.clone();
        change(&mut cluster.security);
        Self::make(cluster, self.config.clone())
    }

    fn usable(&self) -> Result<(), TransportError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(error::closed());
        }
        let wrong = self.wrong.get_or_init(|| {
            self.warn_if_unsafe();
            self.check().err().map(|error| error.to_string())
        });
        wrong
            .clone()
            .map_or(Ok(()), |text| Err(error::config(text)))
    }

    /// Says once what of the contract was given up.
    fn warn_if_unsafe(&self) {
        if self.config.unsafe_acks_one {
            tracing::warn!(
                "unsafe_acks_one: an event that is Ok is lost with its partition's leader"
            );
        }
        if self.config.unsafe_acks_one || self.config.unsafe_not_idempotent {
            tracing::warn!(
                "the Kafka producer is not idempotent: a retry may write an event twice"
            );
        }
    }

    fn admin(&self) -> Result<Arc<Admin>, TransportError> {
        let mut state = self.state();
        if let Some(admin) = &state.admin {
            return Ok(Arc::clone(admin));
        }
        let admin = Admin::new(&self.cluster, &self.config, &self.status, &self.line)?;
        Ok(Arc::clone(state.admin.insert(Arc::new(admin))))
    }

    /// Whether anything can be published at all.
    fn open(&self) -> Result<(), PublishError> {
        self.usable().map_err(|error| {
            PublishError::not_published(match error.kind() {
                ErrorKind::Closed => Reason::Closed,
                _ => Reason::Transport(error),
            })
        })
    }

    fn members(&self) -> Vec<Arc<Member>> {
        let mut state = self.state();
        state
            .members
            .retain(|member| member.upgrade().is_some_and(|it| !it.is_gone()));
        state.members.iter().filter_map(Weak::upgrade).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka")
            .field("cluster", &self.cluster)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Transport for Kafka {
    type Consumer = KafkaConsumer;
    type Browser = KafkaBrowser;

    fn system(&self) -> &'static str {
        "kafka"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            order: true,
            groups: true,
            retains: true,
            replay: true,
            confirms: true,
            browse: true,
            lag: true,
            durable: true,
            ..Capabilities::none(self.config.max_payload)
        }
    }

    async fn declare(&self, topology: &Topology) -> Result<(), TransportError> {
        self.usable()?;
        self.admin()?.declare(topology).await?;
        let mut state = self.state();
        if topology.declare != Declare::Assume {
            let groups = topology.groups.iter();
            let exact = groups.flat_map(|group| &group.topics.exact);
            state
                .topics
                .extend(topology.topics.iter().chain(exact).cloned());
        }
        for group in &topology.groups {
            state
                .groups
                .insert(group.name.clone(), group.topics.clone());
        }
        Ok(())
    }

    /// Nothing: groups of Kafka exist by their committed offsets.
    fn attach(&self, _: &GroupTopology) -> Result<(), TransportError> {
        self.usable()
    }

    /// Nothing: groups of Kafka outlive the process.
    fn detach(&self, _: &Name, _: &Topics) {}

    fn interest(&self, _: &Name) -> Interest {
        Interest::unknown()
    }

    /// What can be checked before the event is encoded; Ok needs a delivery report, so the rest is
    /// [`publish`](Self::publish).
    fn try_publish(&self, message: Message, _: &Origin) -> TryPublish {
        let checked = self.open();
        match checked.and_then(|()| publish::check(&message, &self.config)) {
            Ok(()) => TryPublish::Wait(message),
            Err(error) => TryPublish::Refused(error, message),
        }
    }

    async fn publish(&self, message: Message, _: Origin) -> Result<Receipt, PublishError> {
        self.open()?;
        let record = publish::record(message, &self.config)?;
        self.line.publish(record).await
    }

    /// Joins the group. Its partitions come once the group has agreed on them.
    async fn subscribe(&self, subscribe: Subscribe) -> Result<KafkaConsumer, TransportError> {
        self.usable()?;
        topic::check_group(&subscribe.group).map_err(error::config)?;
        let exact = subscribe.topics.exact.iter();
        let mut missing: Vec<&Name> = {
            let state = self.state();
            exact.filter(|name| !state.topics.contains(*name)).collect()
        };
        if !missing.is_empty() || !subscribe.topics.patterns.is_empty() {
            let found = self.admin()?.ask_topics().await?;
            missing.retain(|name| !found.contains_key(name.as_str()));
        }
        if !missing.is_empty() {
            let missing: Vec<Name> = missing.into_iter().cloned().collect();
            let admin = self.admin()?;
            let asked = admin.ask(move |admin| Err(admin.absent(&missing, "declare them first")));
            return asked.await;
        }
        let mut client = self.config.consumer(&self.cluster, &subscribe.group);
        if !subscribe.topics.patterns.is_empty() {
            let refresh = self.config.topic_refresh.as_millis().to_string();
            client
                .set(
                    "topic.blacklist",
                    topic::reserved_but(&subscribe.topics.exact),
                )
                .set("topic.metadata.refresh.interval.ms", refresh);
        }
        if let Mode::Replay { until } = subscribe.mode {
            let asked = subscribe.clone();
            let ranges = self
                .admin()?
                .ask(move |admin| admin.ranges(&asked, until))
                .await?;
            client.set("enable.partition.eof", "true");
            let (member, orders) = Member::new(subscribe);
            replay::start(&member, orders, ranges, &client, &self.status)?;
            self.state().members.push(Arc::downgrade(&member));
            return Ok(KafkaConsumer::new(member));
        }
        let (member, orders) = Member::new(subscribe);
        poll::start(&member, orders, &client, &self.config, &self.status)?;
        let mut state = self.state();
        let group = &member.subscribe.group;
        state
            .groups
            .insert(group.clone(), member.subscribe.topics.clone());
        // A group that is opened again and again leaves nothing behind.
        state.members.retain(|it| it.strong_count() > 0);
        state.members.push(Arc::downgrade(&member));
        drop(state);
        Ok(KafkaConsumer::new(member))
    }

    async fn browse(&self, topic: &Name) -> Result<KafkaBrowser, TransportError> {
        self.usable()?;
        KafkaBrowser::open(&self.admin()?, &self.line, topic).await
    }

    async fn lag(&self, group: &Name) -> Result<Vec<Lag>, TransportError> {
        self.usable()?;
        let members = self.members();
        let mut of_group = members.iter().filter(|it| it.subscribe.group == *group);
        let is_replay = |it: &&Arc<Member>| matches!(it.subscribe.mode, Mode::Replay { .. });
        // One that was dropped may take a while to go.
        if let Some(replay) = of_group.find(|it| is_replay(it) && !it.is_ended()) {
            return Ok(replay::lag(replay));
        }
        let topics = self.state().groups.get(group).cloned().ok_or_else(|| {
            TransportError::new(
                ErrorKind::Missing,
                format!("group {group:?} was neither declared nor opened here"),
            )
        })?;
        let mut marks = BTreeMap::new();
        for member in members.iter().filter(|it| it.subscribe.group == *group) {
            for partition in member.partitions().1 {
                if let Some(mark) = partition.mark() {
                    marks.insert((partition.topic.clone(), partition.number), mark);
                }
            }
        }
        let group = group.clone();
        self.admin()?
            .ask(move |admin| admin.lag(&group, &topics, &marks))
            .await
    }

    async fn examine(&self, topology: &Topology) -> Result<Vec<String>, TransportError> {
        self.usable()?;
        self.admin()?.examine(topology).await
    }

    fn health(&self) -> Health {
        self.status.health()
    }

    /// Ends all members once what they hold is settled, flushes the producer, commits, leaves.
    async fn close(&self, deadline: Duration) -> Result<CloseReport, TransportError> {
        let until = Instant::now() + deadline;
        let left = || until.saturating_duration_since(Instant::now());
        self.closed.store(true, Ordering::Release);
        let members = self.members();
        members.iter().for_each(|member| member.end(Ok(())));
        let settled = async {
            for member in &members {
                member.settled().await;
            }
        };
        // What is still held by then comes again; it is counted, not waited for.
        let _ = tokio::time::timeout(deadline / 2, settled).await;
        let unsettled: usize = members.iter().map(|member| member.unsettled()).sum();
        let flushed = self.line.close(left()).await;
        let mut failed = Vec::new();
        for member in &members {
            if let Err(error) = member.leave(left().max(LEAVING)).await {
                failed.push(error.to_string());
            }
        }
        self.status.closed();
        // Its threads end without us.
        let admin = self.state().admin.take();
        drop(tokio::task::spawn_blocking(move || drop(admin)));
        let unflushed = match flushed {
            Ok(unflushed) => unflushed,
            Err(error) => {
                failed.push(error.to_string());
                0
            }
        };
        if failed.is_empty() {
            Ok(CloseReport {
                unflushed,
                unsettled,
            })
        } else {
            Err(error::timeout(format!(
                "{unsettled} messages are unsettled and {unflushed} publishes Unknown; {}",
                failed.join("; ")
            )))
        }
    }
}

/// What is left for a member to leave, when a close has used up its time.
const LEAVING: Duration = Duration::from_millis(250);

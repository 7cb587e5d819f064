use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tidings_transport::{
    Capabilities, CloseReport, Declare, ErrorKind, GroupTopology, Health, Interest, Lag, Message,
    Mode, Name, Origin, PublishError, Receipt, Start, Subscribe, Topics, Topology, Transport,
    TransportError, TryPublish,
};

use crate::browse::MemoryBrowser;
use crate::config::MemoryConfig;
use crate::consume::MemoryConsumer;
use crate::error;
use crate::link::Link;
use crate::store::{Counts, Store};

/// The in-memory transport: one connection to a store that its clones share.
///
/// A clone, even of a closed one, is a new connection to the same topics and groups, so two buses
/// can talk through one store and end independently of each other.
pub struct Memory {
    pub(crate) store: Arc<Store>,
    pub(crate) link: Arc<Link>,
    valid: bool,
}

impl Memory {
    /// A transport with an empty store and the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::unchecked(MemoryConfig::default())
    }

    /// A transport with an empty store and these settings.
    ///
    /// # Errors
    ///
    /// `Config`, naming every setting that is zero and must not be.
    pub fn with_config(config: MemoryConfig) -> Result<Self, TransportError> {
        config.check()?;
        Ok(Self::unchecked(config))
    }

    /// Checks the settings, as the first use does.
    ///
    /// # Errors
    ///
    /// `Config`, naming every setting that is zero and must not be.
    pub fn check(&self) -> Result<(), TransportError> {
        self.config().check()
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &MemoryConfig {
        &self.store.config
    }

    /// What had no effect so far, over all connections to this store.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.store.counts()
    }

    pub(crate) fn unchecked(config: MemoryConfig) -> Self {
        let valid = config.check().is_ok();
        Self {
            store: Arc::new(Store::new(config)),
            link: Arc::default(),
            valid,
        }
    }

    #[inline]
    pub(crate) fn is_valid(&self) -> bool {
        self.valid
    }

    fn usable(&self) -> Result<(), TransportError> {
        if self.link.is_closed() {
            Err(error::closed())
        } else {
            self.check()
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Memory {
    /// Another connection to the same store.
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            link: Arc::default(),
            valid: self.valid,
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("config", self.config())
            .field("closed", &self.link.is_closed())
            .finish_non_exhaustive()
    }
}

impl Transport for Memory {
    type Consumer = MemoryConsumer;
    type Browser = MemoryBrowser;

    fn system(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            order: true,
            groups: true,
            delay: true,
            attempt_count: true,
            browse: true,
            lag: true,
            ..Capabilities::none(self.config().max_payload)
        }
    }

    /// Groups get their topics from here on, as after [`attach`](Transport::attach).
    async fn declare(&self, topology: &Topology) -> Result<(), TransportError> {
        self.usable()?;
        if topology.declare == Declare::Assume {
            return Ok(());
        }
        for topic in &topology.topics {
            if topology.declare == Declare::Create {
                self.store.entry(topic).map_err(error::config)?;
            } else if !self.store.table().contains_key(topic) {
                return Err(missing_topic(topic));
            }
        }
        for group in &topology.groups {
            if topology.declare == Declare::Create {
                self.link
                    .attached(&self.store.attach(group, ErrorKind::Conflict)?);
            } else {
                self.store.verify(group)?;
            }
        }
        Ok(())
    }

    fn attach(&self, group: &GroupTopology) -> Result<(), TransportError> {
        self.usable()?;
        self.link
            .attached(&self.store.attach(group, ErrorKind::Config)?);
        Ok(())
    }

    fn detach(&self, group: &Name, topics: &Topics) {
        self.store.detach(group, topics);
    }

    fn interest(&self, topic: &Name) -> Interest {
        // A name that is no topic: the publish says so.
        self.store.entry(topic).map_or_else(
            |_| Interest::unknown(),
            |entry| Interest::counted(Arc::clone(&entry.topic.interest)),
        )
    }

    #[inline(always)]
    fn try_publish(&self, message: Message, origin: &Origin) -> TryPublish {
        self.publish_now(message, origin)
    }

    #[allow(
        clippy::manual_async_fn,
        reason = "an async fn around another holds the message twice, and many may wait"
    )]
    fn publish(
        &self,
        message: Message,
        origin: Origin,
    ) -> impl Future<Output = Result<Receipt, PublishError>> + Send {
        self.publish_waiting(message, origin)
    }

    /// Opens a member of an attached group; the group gets what it was attached to. A queue starts
    /// with its group, so a start in the past is refused, as is a replay, and the other starts mean
    /// the same.
    async fn subscribe(&self, subscribe: Subscribe) -> Result<MemoryConsumer, TransportError> {
        self.usable()?;
        let name = &subscribe.group;
        if subscribe.window == 0 {
            return Err(error::config(format!(
                "the window of group {name:?} is 0: use at least 1 message"
            )));
        }
        if matches!(subscribe.start, Start::At(_) | Start::Offset(_)) {
            return Err(TransportError::new(
                ErrorKind::Unsupported,
                format!(
                    "group {name:?} cannot start in the past in memory: use earliest or latest"
                ),
            ));
        }
        if let Mode::Replay { .. } = subscribe.mode {
            return Err(TransportError::new(
                ErrorKind::Unsupported,
                format!("{name:?} cannot replay in memory, which keeps no history"),
            ));
        }
        let group = self.store.group(name)?;
        if group.ordered != subscribe.ordered {
            return Err(TransportError::new(
                ErrorKind::Conflict,
                format!(
                    "group {name:?} was attached with ordered = {}, not {}: subscribe as it was attached",
                    group.ordered, subscribe.ordered
                ),
            ));
        }
        let member = self.link.join(&group, subscribe.mode)?;
        Ok(MemoryConsumer::new(member, subscribe.window))
    }

    async fn browse(&self, topic: &Name) -> Result<MemoryBrowser, TransportError> {
        self.usable()?;
        let table = self.store.table();
        let retained = table
            .get(topic)
            .and_then(|entry| entry.route.retained.clone());
        retained
            .map(MemoryBrowser::new)
            .ok_or_else(|| missing_topic(topic))
    }

    async fn lag(&self, group: &Name) -> Result<Vec<Lag>, TransportError> {
        self.usable()?;
        let (end, settled) = self.store.group(group)?.lag();
        Ok(vec![Lag {
            topic: Name::from_static(""),
            partition: 0,
            end,
            settled,
        }])
    }

    fn health(&self) -> Health {
        if self.link.is_closed() {
            Health::Closed
        } else {
            Health::Connected
        }
    }

    /// Ends this connection's publishers and consumers and waits until what they hold is settled.
    /// The report counts what is still queued for the groups it attached.
    async fn close(&self, deadline: Duration) -> Result<CloseReport, TransportError> {
        self.link.shut();
        let topics: Vec<_> = self
            .store
            .table()
            .values()
            .map(|entry| Arc::clone(&entry.topic))
            .collect();
        topics.iter().for_each(|topic| topic.turn_away(&self.link));
        self.link.drained(deadline).await
    }
}

fn missing_topic(topic: &Name) -> TransportError {
    TransportError::new(
        ErrorKind::Missing,
        format!(
            "topic {topic:?} does not exist: declare it, or the group whose dead letters it keeps"
        ),
    )
}

use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fmt, future::Future, sync::Arc, time::Duration};

use crate::{
    Capabilities, Consumer, GroupTopology, Inbound, Message, Name, Origin, PublishError, Receipt,
    Subscribe, Topics, Topology, TryPublish, error::Result,
};

/// A way to move messages between processes, or within one.
///
/// Implement it with native `async fn`; the bus stores the sealed
/// [`DynTransport`](crate::DynTransport), which every implementation gets for free. All methods
/// take `&self` and may be called from many tasks at once.
pub trait Transport: Send + Sync + 'static {
    /// What [`subscribe`](Self::subscribe) opens.
    type Consumer: Consumer;
    /// What [`browse`](Self::browse) opens.
    type Browser: Browser;

    /// The value of OpenTelemetry's `messaging.system`: `memory`, `kafka`, `rabbitmq`.
    fn system(&self) -> &'static str;

    /// What it can do. Constant for the life of the transport.
    fn capabilities(&self) -> Capabilities;

    /// Makes sure that topics, groups and their dead-letter topics exist.
    /// # Contract
    /// Repeatable, and never alters or deletes what exists.
    /// # Errors
    /// `Missing`, `Conflict` with the difference, `Forbidden` naming the resource, `Config` for an
    /// illegal name (before any I/O).
    fn declare(&self, topology: &Topology) -> impl Future<Output = Result<()>> + Send;

    /// A group begins to get topics, now: for transports whose groups live in this process. A
    /// durable transport does nothing here and acts in [`declare`](Self::declare).
    /// # Contract
    /// Synchronous and repeatable: attaching twice is attaching once, attaching more adds. From
    /// its return on, publishes reach the group's queue, whether or not it has a consumer yet.
    /// # Errors
    /// `Closed`, or `Config` for settings that contradict an earlier attach.
    fn attach(&self, group: &GroupTopology) -> Result<()>;

    /// A group no longer gets these topics; with none left the group is removed with its queue. A
    /// durable transport does nothing here: its groups outlive the process.
    /// # Contract
    /// Synchronous and repeatable. What is already queued is still delivered.
    fn detach(&self, group: &Name, topics: &Topics);

    /// Whether anybody would get what is published to a topic. A transport that cannot know, as
    /// no broker can, answers [`Interest::unknown`].
    fn interest(&self, topic: &Name) -> Interest;

    /// Publishes without waiting, if that can be done for certain.
    /// # Contract
    /// Never overtakes a [`publish`](Self::publish) that waits (P5). All groups get the message
    /// or none does. Size, names and encoding are checked before any I/O (P6).
    fn try_publish(&self, message: Message, origin: &Origin) -> TryPublish;

    /// Publishes.
    /// # Contract
    /// Ok means what P2 says for this transport. Many may be in flight; messages of one key keep
    /// the order of their first polls (P5). It ends within the transport's own publish deadline.
    /// # Errors
    /// NotPublished or Unknown (P1).
    /// # Cancel safety
    /// A dropped future is Unknown; it leaks nothing and blocks no later publish (P4).
    fn publish(
        &self,
        message: Message,
        origin: Origin,
    ) -> impl Future<Output = Result<Receipt, PublishError>> + Send;

    /// Opens a member of a group.
    /// # Errors
    /// `Missing` when nothing was declared, `Unsupported` for a start or mode it lacks.
    fn subscribe(
        &self,
        subscribe: Subscribe,
    ) -> impl Future<Output = Result<Self::Consumer>> + Send;

    /// Opens a retained topic, such as a group's dead letters, for reading without consuming.
    /// # Errors
    /// `Unsupported` without the capability, `Missing`, or `Conflict` while another browser has it.
    fn browse(&self, topic: &Name) -> impl Future<Output = Result<Self::Browser>> + Send;

    /// How far a group is behind, per topic and partition.
    /// # Errors
    /// `Unsupported` without the capability.
    fn lag(&self, group: &Name) -> impl Future<Output = Result<Vec<Lag>>> + Send;

    /// What of these topics and groups weakens what is promised, each in a sentence with its
    /// consequence. Only asks.
    /// # Errors
    /// As [`declare`](Self::declare) where topics are only verified.
    fn examine(&self, _topology: &Topology) -> impl Future<Output = Result<Vec<String>>> + Send {
        async { Ok(Vec::new()) }
    }

    /// The state of the connection. Never blocks.
    fn health(&self) -> Health;

    /// Flushes publishes and closes everything. Harmless when repeated.
    /// # Errors
    /// When the deadline passed; the error's text says what was left.
    fn close(&self, deadline: Duration) -> impl Future<Output = Result<CloseReport>> + Send;
}

/// Whether anybody would get what is published to a topic, cheap enough to ask at each emit.
#[derive(Clone, Debug)]
pub struct Interest(Arc<AtomicUsize>);

impl Interest {
    /// The transport cannot know: publish.
    pub fn unknown() -> Self {
        Self(Arc::new(AtomicUsize::new(1)))
    }

    /// The number of groups attached now, kept up to date by the transport.
    pub fn counted(groups: Arc<AtomicUsize>) -> Self {
        Self(groups)
    }

    /// Whether it is certain that no group would get it.
    #[inline]
    pub fn is_none(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// Reads a retained topic, entry by entry.
pub trait Browser: Send + 'static {
    /// The next entry, oldest first; `None` at the end of what was there when it was asked.
    /// # Errors
    /// The connection's.
    /// # Cancel safety
    /// Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<Option<Entry>>> + Send;

    /// Removes an entry for good. Removing it twice is harmless.
    /// # Errors
    /// The connection's; then the entry is still there.
    fn remove(&mut self, entry: &Entry) -> impl Future<Output = Result<()>> + Send;
}

/// One message of a retained topic.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it is, for [`Browser::remove`].
    pub token: u64,
    /// The message.
    pub message: Inbound,
}

/// How far a group is behind in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The topic; empty where one queue holds all topics of the group.
    pub topic: Name,
    /// The partition; 0 where there are none.
    pub partition: i32,
    /// How many messages have been published for the group so far.
    pub end: u64,
    /// How many of them are final.
    pub settled: u64,
}

impl Lag {
    /// Messages not final yet.
    pub fn behind(&self) -> u64 {
        self.end.saturating_sub(self.settled)
    }
}

/// The state of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// All is well.
    Connected,
    /// Connecting, or connecting again; the text says since what.
    Connecting(String),
    /// Connected, but the broker takes no publishes; the text says why.
    Blocked(String),
    /// Closed.
    Closed,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected"),
            Self::Connecting(why) => write!(f, "connecting: {why}"),
            Self::Blocked(why) => write!(f, "blocked: {why}"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// What a closed transport left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseReport {
    /// Publishes whose outcome is unknown.
    pub unflushed: usize,
    /// Messages that had not been settled; they come again, where messages outlive the process.
    pub unsettled: usize,
}

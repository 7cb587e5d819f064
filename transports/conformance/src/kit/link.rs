use std::sync::Arc;
use std::time::Duration;

use tidings_transport::{
    Capability, CloseReport, Declare, DynTransport, GroupTopology, Message, Mode, Name, Origin,
    PublishError, Receipt, Start, Subscribe, Topics, Topology, TransportError,
};

use super::{Failure, Member, Scene, chain};

/// One handle of the transport, with the case's conveniences.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) scene: Scene,
    pub(crate) transport: Arc<dyn DynTransport>,
}

/// A group as a case wants it.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: Name,
    pub(crate) topics: Topics,
    pub(crate) ordered: bool,
    pub(crate) start: Start,
    pub(crate) mode: Mode,
    pub(crate) window: usize,
    pub(crate) queue: Option<usize>,
    pub(crate) dead_letters: Option<Name>,
}

impl Spec {
    /// An ordered group over some topics, from the earliest message, with a window of 64.
    pub(crate) fn new(name: Name, topics: &[&Name]) -> Self {
        Self {
            name,
            topics: Topics::exact(topics.iter().copied()),
            ordered: true,
            start: Start::Earliest,
            mode: Mode::AtLeastOnce,
            window: 64,
            queue: None,
            dead_letters: None,
        }
    }

    /// Members may share a key.
    pub(crate) fn unordered(mut self) -> Self {
        self.ordered = false;
        self
    }

    pub(crate) fn window(mut self, window: usize) -> Self {
        self.window = window;
        self
    }

    /// A queue of this length, where the transport owns queues.
    pub(crate) fn queue(mut self, length: usize) -> Self {
        self.queue = Some(length);
        self
    }

    /// A queue that takes this many messages before anybody consumes.
    pub(crate) fn room_for(self, count: usize) -> Self {
        self.queue(count.max(1_024))
    }

    pub(crate) fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    fn topology(&self) -> GroupTopology {
        GroupTopology {
            name: self.name.clone(),
            topics: self.topics.clone(),
            ordered: self.ordered,
            start: self.start,
            dead_letters: self.dead_letters.clone(),
            queue: self.queue,
        }
    }
}

impl Link {
    pub(super) fn new(scene: Scene, transport: Arc<dyn DynTransport>) -> Self {
        Self { scene, transport }
    }

    /// Declares topics without a group.
    pub(crate) async fn declare_topics(&self, topics: &[&Name]) -> Result<(), Failure> {
        self.declare_all(topics, &[]).await
    }

    /// Declares groups with their topics and attaches them: from here on publishes reach them.
    pub(crate) async fn declare(&self, groups: &[&Spec]) -> Result<(), Failure> {
        let mut topics: Vec<&Name> = groups.iter().flat_map(|spec| &spec.topics.exact).collect();
        topics.sort_unstable();
        topics.dedup();
        self.declare_all(&topics, groups).await
    }

    /// Declares topics and groups and attaches the groups.
    pub(crate) async fn declare_all(
        &self,
        topics: &[&Name],
        groups: &[&Spec],
    ) -> Result<(), Failure> {
        self.scene.step("topics and groups to be declared");
        let topology = Topology {
            topics: topics.iter().map(|topic| (*topic).clone()).collect(),
            groups: groups.iter().map(|spec| spec.topology()).collect(),
            declare: Declare::Create,
        };
        self.transport.declare(&topology).await?;
        for group in &topology.groups {
            self.transport.attach(group)?;
            self.scene
                .note_attached(&self.transport, &group.name, &group.topics);
        }
        Ok(())
    }

    /// Opens a member of a declared group.
    pub(crate) async fn join(&self, spec: &Spec) -> Result<Member, Failure> {
        Ok(self.try_join(spec).await?)
    }

    /// As [`join`](Self::join), with the transport's own error.
    pub(crate) async fn try_join(&self, spec: &Spec) -> Result<Member, TransportError> {
        self.scene
            .step(format!("a member of group {} to be opened", spec.name));
        let subscribe = Subscribe {
            group: spec.name.clone(),
            topics: spec.topics.clone(),
            start: spec.start,
            mode: spec.mode,
            window: spec.window,
            ordered: spec.ordered,
        };
        let consumer = self.transport.subscribe(subscribe).await?;
        Ok(Member::new(self.scene.clone(), spec.name.clone(), consumer))
    }

    /// Declares one group and opens its first member.
    pub(crate) async fn start(&self, spec: &Spec) -> Result<Member, Failure> {
        self.declare(&[spec]).await?;
        self.join(spec).await
    }

    /// Publishes outside of any handler.
    pub(crate) async fn publish(&self, message: Message) -> Result<Receipt, PublishError> {
        self.transport.publish(message, Origin::default()).await
    }

    /// Publishes what must be Ok.
    pub(crate) async fn send(&self, message: Message) -> Result<Receipt, Failure> {
        self.scene.step(format!("a publish to {}", message.topic));
        Ok(self.publish(message).await?)
    }

    /// Publishes one after the other what must be Ok.
    pub(crate) async fn send_all(
        &self,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<(), Failure> {
        for message in messages {
            self.send(message).await?;
        }
        Ok(())
    }

    /// How many messages of a group are not final yet.
    pub(crate) async fn behind(&self, group: &Name) -> Result<u64, Failure> {
        let lag = self.transport.lag(group).await?;
        Ok(lag.iter().map(|entry| entry.behind()).sum())
    }

    /// Closes the handle; an error becomes its text.
    pub(crate) async fn close(&self, deadline: Duration) -> Result<CloseReport, String> {
        self.scene.step("the transport to close");
        self.transport
            .close(deadline)
            .await
            .map_err(|error| chain(&error))
    }

    /// Loses a durable handle without closing it and opens another; keeps one whose messages would
    /// die with it.
    pub(crate) async fn crash(self) -> Result<Self, Failure> {
        if !self.scene.has(Capability::Durable) {
            return Ok(self);
        }
        let scene = self.scene.clone();
        scene.forget(&self.transport);
        drop(self);
        scene.open().await
    }
}

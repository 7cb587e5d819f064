//! A memory transport with one planted fault: what every wrapper shares.

pub(crate) mod broker;
pub(crate) mod consume;
pub(crate) mod delivery;
pub(crate) mod publishing;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tidings_conformance::{Harness, Load};
use tidings_memory::{Memory, MemoryBrowser};
use tidings_transport::{
    BoxFuture, Browser, Capabilities, CloseReport, Entry, GroupTopology, Health, Inbound, Interest,
    Lag, Message, Name, Origin, PublishError, Receipt, Received, Subscribe, Topics, Topology,
    Transport, TransportError, TryPublish,
};

use consume::PlantedConsumer;

/// What a fault does differently. Every default is what the memory transport itself does.
pub(crate) trait Plant: Default + Send + Sync + 'static {
    fn publish<'a>(
        &'a self,
        memory: &'a Memory,
        message: Message,
        origin: Origin,
    ) -> BoxFuture<'a, Result<Receipt, PublishError>> {
        Box::pin(memory.publish(message, origin))
    }

    fn group(&self, _group: &mut GroupTopology) {}

    fn subscribe(&self, _subscribe: &mut Subscribe) {}

    /// Looks at a batch before it is handed over.
    fn deliver(&self, _memory: &Memory, _batch: &mut Vec<Received>) {}

    /// What a delivery looks like.
    fn disguise(&self, _inbound: &mut Inbound) {}

    /// Acks before the hand-over.
    fn acks_early(&self) -> bool {
        false
    }

    fn ack(&self, received: Received) {
        received.ack();
    }

    fn release(&self, received: Received) {
        received.release();
    }

    /// Takes from the queue what a dropped future then loses.
    fn swallows_when_cancelled(&self) -> bool {
        false
    }

    /// A member has left its group.
    fn left(&self, _memory: &Memory, _subscribe: &Subscribe) {}

    fn interest(&self, memory: &Memory, topic: &Name) -> Interest {
        memory.interest(topic)
    }

    fn lag(&self, lag: Vec<Lag>) -> Vec<Lag> {
        lag
    }

    fn keep_entry(&self, _entry: &Entry) -> bool {
        false
    }

    fn close<'a>(
        &'a self,
        memory: &'a Memory,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<CloseReport, TransportError>> {
        Box::pin(memory.close(deadline))
    }
}

/// Opens memory transports with a fault.
pub(crate) struct PlantedHarness<P>(pub(crate) PhantomData<P>);

impl<P: Plant> Harness for PlantedHarness<P> {
    type Transport = Planted<P>;

    async fn open(&self) -> Result<Planted<P>, TransportError> {
        let memory = Memory::new().publish_deadline(Duration::from_secs(5));
        Ok(Planted {
            memory,
            plant: Arc::new(P::default()),
        })
    }

    fn resident_bound(&self, load: &Load) -> Option<usize> {
        Some((load.queue + load.window + load.publishers) * load.payload)
    }
}

pub(crate) struct Planted<P> {
    memory: Memory,
    plant: Arc<P>,
}

impl<P: Plant> Transport for Planted<P> {
    type Consumer = PlantedConsumer<P>;
    type Browser = PlantedBrowser<P>;

    fn system(&self) -> &'static str {
        "planted"
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    async fn declare(&self, topology: &Topology) -> Result<(), TransportError> {
        let mut topology = topology.clone();
        topology
            .groups
            .iter_mut()
            .for_each(|group| self.plant.group(group));
        self.memory.declare(&topology).await
    }

    fn attach(&self, group: &GroupTopology) -> Result<(), TransportError> {
        let mut group = group.clone();
        self.plant.group(&mut group);
        self.memory.attach(&group)
    }

    fn detach(&self, group: &Name, topics: &Topics) {
        self.memory.detach(group, topics);
    }

    fn interest(&self, topic: &Name) -> Interest {
        self.plant.interest(&self.memory, topic)
    }

    fn try_publish(&self, message: Message, origin: &Origin) -> TryPublish {
        // Only `publish` is planted, and asking for it is always right.
        let _ = origin;
        TryPublish::Wait(message)
    }

    async fn publish(&self, message: Message, origin: Origin) -> Result<Receipt, PublishError> {
        self.plant.publish(&self.memory, message, origin).await
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<PlantedConsumer<P>, TransportError> {
        PlantedConsumer::open(&self.memory, &self.plant, subscribe).await
    }

    async fn browse(&self, topic: &Name) -> Result<PlantedBrowser<P>, TransportError> {
        let browser = self.memory.browse(topic).await?;
        Ok(PlantedBrowser {
            browser,
            plant: Arc::clone(&self.plant),
        })
    }

    async fn lag(&self, group: &Name) -> Result<Vec<Lag>, TransportError> {
        Ok(self.plant.lag(self.memory.lag(group).await?))
    }

    fn health(&self) -> Health {
        self.memory.health()
    }

    async fn close(&self, deadline: Duration) -> Result<CloseReport, TransportError> {
        self.plant.close(&self.memory, deadline).await
    }
}

pub(crate) struct PlantedBrowser<P> {
    browser: MemoryBrowser,
    plant: Arc<P>,
}

impl<P: Plant> Browser for PlantedBrowser<P> {
    async fn next(&mut self) -> Result<Option<Entry>, TransportError> {
        self.browser.next().await
    }

    async fn remove(&mut self, entry: &Entry) -> Result<(), TransportError> {
        if self.plant.keep_entry(entry) {
            return Ok(());
        }
        self.browser.remove(entry).await
    }
}

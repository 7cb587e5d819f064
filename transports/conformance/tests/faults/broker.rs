//! A broker that can be disturbed, played by a memory transport: handles are connections to one
//! store that outlives them.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tidings_conformance::{Fault, FaultyHandle, Harness, Injected, Injector};
use tidings_memory::{Memory, MemoryBrowser, MemoryConsumer};
use tidings_transport::{
    Batch, BoxFuture, Capabilities, CloseReport, Consumer, ErrorKind, GroupTopology, Health,
    Interest, Lag, Message, Name, Origin, PublishError, Reason, Receipt, Signal, Subscribe, Topics,
    Topology, Transport, TransportError, TryPublish,
};
use tokio::sync::watch;

/// What the client of the broker gets wrong. Every default is right.
pub(crate) trait Client: Send + Sync + 'static {
    /// A publish whose confirm is lost.
    const UNCONFIRMED_IS_OK: bool = false;
    /// A publish that cannot reach the broker.
    const WAITS_FOR_EVER: bool = false;
    /// A publish on a connection that breaks is never sent, and yet Ok.
    const LOSES_ON_A_CUT: bool = false;
    /// A consumer that the broker ended.
    const IDLES_IN_SILENCE: bool = false;
}

pub(crate) struct Right;
impl Client for Right {}

pub(crate) struct CallsTheUnconfirmedOk;
impl Client for CallsTheUnconfirmedOk {
    const UNCONFIRMED_IS_OK: bool = true;
}

pub(crate) struct WaitsForEver;
impl Client for WaitsForEver {
    const WAITS_FOR_EVER: bool = true;
}

pub(crate) struct LosesOnACut;
impl Client for LosesOnACut {
    const LOSES_ON_A_CUT: bool = true;
}

pub(crate) struct IdlesInSilence;
impl Client for IdlesInSilence {
    const IDLES_IN_SILENCE: bool = true;
}

/// One broker; every case has topics of its own in it.
pub(crate) struct BrokerHarness<C>(Memory, PhantomData<C>);

impl<C> Default for BrokerHarness<C> {
    fn default() -> Self {
        Self(Memory::new(), PhantomData)
    }
}

impl<C: Client> Harness for BrokerHarness<C> {
    type Transport = Connection<C>;

    async fn open(&self) -> Result<Connection<C>, TransportError> {
        Ok(Connection {
            memory: self.0.clone(),
            wire: Arc::default(),
            client: PhantomData,
        })
    }

    fn faults(&self) -> &[Fault] {
        &[
            Fault::DropConnection,
            Fault::LoseConfirms,
            Fault::Unreachable,
            Fault::RestartBroker,
            Fault::CancelConsumer,
        ]
    }

    async fn open_faulty(&self) -> FaultyHandle<Connection<C>> {
        let connection = Harness::open(self).await?;
        let wire = Wire(Arc::clone(&connection.wire));
        Ok((connection, Box::new(wire)))
    }
}

/// The state of one connection's way to the broker.
#[derive(Default)]
pub(crate) struct State {
    unreachable: AtomicBool,
    loses_confirms: AtomicBool,
    // Publishes that find the connection broken.
    broken: AtomicUsize,
    // Counts up whenever consumers are ended.
    ended: watch::Sender<u64>,
}

struct Wire(Arc<State>);

impl Injector for Wire {
    fn inject<'a>(&'a self, fault: Fault, _group: &'a Name) -> BoxFuture<'a, Injected> {
        Box::pin(async move {
            match fault {
                Fault::LoseConfirms => self.0.loses_confirms.store(true, Ordering::SeqCst),
                Fault::Unreachable => self.0.unreachable.store(true, Ordering::SeqCst),
                Fault::CancelConsumer => self.0.ended.send_modify(|times| *times += 1),
                _ => {
                    self.0.broken.store(3, Ordering::SeqCst);
                    self.0.ended.send_modify(|times| *times += 1);
                }
            }
            Ok(())
        })
    }

    fn heal(&self) -> BoxFuture<'_, Injected> {
        Box::pin(async {
            self.0.unreachable.store(false, Ordering::SeqCst);
            self.0.loses_confirms.store(false, Ordering::SeqCst);
            Ok(())
        })
    }
}

pub(crate) struct Connection<C> {
    memory: Memory,
    wire: Arc<State>,
    client: PhantomData<C>,
}

impl<C: Client> Transport for Connection<C> {
    type Consumer = Subscription<C>;
    type Browser = MemoryBrowser;

    fn system(&self) -> &'static str {
        "broker"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            confirms: true,
            ..self.memory.capabilities()
        }
    }

    async fn declare(&self, topology: &Topology) -> Result<(), TransportError> {
        self.memory.declare(topology).await
    }

    fn attach(&self, _group: &GroupTopology) -> Result<(), TransportError> {
        Ok(())
    }

    fn detach(&self, _group: &Name, _topics: &Topics) {}

    fn interest(&self, _topic: &Name) -> Interest {
        Interest::unknown()
    }

    fn try_publish(&self, message: Message, _origin: &Origin) -> TryPublish {
        TryPublish::Wait(message)
    }

    async fn publish(&self, message: Message, origin: Origin) -> Result<Receipt, PublishError> {
        if self.wire.unreachable.load(Ordering::SeqCst) {
            if C::WAITS_FOR_EVER {
                std::future::pending::<()>().await;
            }
            return Err(PublishError::not_published(Reason::Timeout));
        }
        let breaks = |left: usize| left.checked_sub(1);
        let broken = self
            .wire
            .broken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, breaks);
        if let Ok(left) = broken {
            if C::LOSES_ON_A_CUT {
                return Ok(Receipt::default());
            }
            if left % 2 == 0 {
                return Err(PublishError::not_published(cut()));
            }
            self.memory.publish(message, origin).await?;
            return Err(PublishError::unknown(cut()));
        }
        if self.wire.loses_confirms.load(Ordering::SeqCst) {
            if C::UNCONFIRMED_IS_OK {
                return Ok(Receipt::default());
            }
            self.memory.publish(message, origin).await?;
            return Err(PublishError::unknown(Reason::Timeout));
        }
        self.memory.publish(message, origin).await
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Subscription<C>, TransportError> {
        let ended = self.wire.ended.subscribe();
        let consumer = self.memory.subscribe(subscribe).await?;
        Ok(Subscription {
            consumer,
            ended,
            client: PhantomData,
        })
    }

    async fn browse(&self, topic: &Name) -> Result<MemoryBrowser, TransportError> {
        self.memory.browse(topic).await
    }

    async fn lag(&self, group: &Name) -> Result<Vec<Lag>, TransportError> {
        self.memory.lag(group).await
    }

    fn health(&self) -> Health {
        self.memory.health()
    }

    async fn close(&self, deadline: Duration) -> Result<CloseReport, TransportError> {
        let report = self.memory.close(deadline).await?;
        // What is queued is the broker's, and safe there.
        Ok(CloseReport {
            unsettled: 0,
            ..report
        })
    }
}

pub(crate) struct Subscription<C> {
    consumer: MemoryConsumer,
    ended: watch::Receiver<u64>,
    client: PhantomData<C>,
}

impl<C: Client> Consumer for Subscription<C> {
    async fn receive(&mut self, max: usize, batch: &mut Batch) -> Result<Signal, TransportError> {
        tokio::select! {
            biased;
            // The connection may be gone before its consumers.
            Ok(()) = self.ended.changed() => {}
            signal = self.consumer.receive(max, batch) => return signal,
        }
        if C::IDLES_IN_SILENCE {
            std::future::pending::<()>().await;
        }
        Err(cut())
    }

    async fn close(self, deadline: Duration) -> Result<(), TransportError> {
        self.consumer.close(deadline).await
    }
}

fn cut() -> TransportError {
    TransportError::new(ErrorKind::Connection, "the connection broke")
}

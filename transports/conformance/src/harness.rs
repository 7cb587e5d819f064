use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tidings_transport::{BoxFuture, DynTransport, ErrorKind, Name, Transport, TransportError};

/// How the suite gets hold of a transport.
///
/// Only [`open`](Self::open) must be written. Each other method is a hook: a transport that leaves
/// one out sees the cases that need it *ignored*, with the hook's name, never passed.
///
/// ```
/// use tidings_conformance::Harness;
/// use tidings_memory::Memory;
/// use tidings_transport::TransportError;
///
/// struct MemoryHarness;
///
/// impl Harness for MemoryHarness {
///     type Transport = Memory;
///
///     async fn open(&self) -> Result<Memory, TransportError> {
///         Ok(Memory::new())
///     }
/// }
/// ```
pub trait Harness: Send + Sync + 'static {
    /// What is put to the test.
    type Transport: Transport;

    /// Opens a fresh handle. Handles of a durable transport all lead to the same broker; each case
    /// uses topics and groups of its own.
    ///
    /// # Errors
    ///
    /// The transport's; the case that asked fails with it.
    fn open(&self) -> impl Future<Output = Result<Self::Transport, TransportError>> + Send;

    /// The faults that [`open_faulty`](Self::open_faulty) can inject. Default: none.
    fn faults(&self) -> &[Fault] {
        &[]
    }

    /// Opens a handle whose way to its broker can be disturbed, a proxy of its own for example.
    ///
    /// # Errors
    ///
    /// The transport's; `Unsupported` by default.
    fn open_faulty(&self) -> impl Future<Output = FaultyHandle<Self::Transport>> + Send {
        async {
            Err(TransportError::new(
                ErrorKind::Unsupported,
                "the harness declares faults but opens no faulty handle: implement `open_faulty`",
            ))
        }
    }

    /// How many payload bytes may be resident in this process under a load (M1), whatever a
    /// consumer does. `None`, the default, ignores the case.
    fn resident_bound(&self, load: &Load) -> Option<usize> {
        let _ = load;
        None
    }

    /// How long silence lasts before the suite believes that nothing more comes. Default 100 ms.
    fn quiet(&self) -> Duration {
        Duration::from_millis(100)
    }

    /// How long one case may take in the short mode. Default 30 s.
    fn time_limit(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// A handle and the means to disturb it.
pub type FaultyHandle<T> = Result<(T, Box<dyn Injector>), TransportError>;

/// Disturbs one handle's way to its broker.
pub trait Injector: Send + Sync + 'static {
    /// Starts a fault, at once. `group` is the consumer to hit, where the fault hits one.
    fn inject<'a>(&'a self, fault: Fault, group: &'a Name) -> BoxFuture<'a, Injected>;

    /// Ends whatever was started; returns when a new connection would be let through.
    fn heal(&self) -> BoxFuture<'_, Injected>;
}

/// Whether a fault could be injected.
pub type Injected = Result<(), TransportError>;

/// A fault that a harness may be able to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The connection breaks and a new one is accepted at once.
    DropConnection,
    /// The broker takes publishes, but its answers are lost until healed.
    LoseConfirms,
    /// Nothing reaches the broker until healed.
    Unreachable,
    /// The broker stops and starts again. Cases that ask for it run alone.
    RestartBroker,
    /// The broker ends the consumers of a group, which exists on.
    CancelConsumer,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::DropConnection => "drop connection",
            Self::LoseConfirms => "lose confirms",
            Self::Unreachable => "unreachable",
            Self::RestartBroker => "restart broker",
            Self::CancelConsumer => "cancel consumer",
        })
    }
}

/// What the memory case does to a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The group's [`queue`](tidings_transport::GroupTopology::queue).
    pub queue: usize,
    /// The consumer's [`window`](tidings_transport::Subscribe::window).
    pub window: usize,
    /// Publishes in flight at once.
    pub publishers: usize,
    /// Bytes of each payload.
    pub payload: usize,
}

/// A [`Harness`], object-safe: what the suite stores.
pub(crate) trait World: Send + Sync + 'static {
    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn DynTransport>, TransportError>>;
    fn open_faulty(&self) -> BoxFuture<'_, FaultyHandle<Arc<dyn DynTransport>>>;
    fn faults(&self) -> &[Fault];
    fn resident_bound(&self, load: &Load) -> Option<usize>;
    fn quiet(&self) -> Duration;
}

impl<H: Harness> World for H {
    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn DynTransport>, TransportError>> {
        Box::pin(async {
            let transport = Harness::open(self).await?;
            Ok(Arc::new(transport) as Arc<dyn DynTransport>)
        })
    }

    fn open_faulty(&self) -> BoxFuture<'_, FaultyHandle<Arc<dyn DynTransport>>> {
        Box::pin(async {
            let (transport, injector) = Harness::open_faulty(self).await?;
            Ok((Arc::new(transport) as Arc<dyn DynTransport>, injector))
        })
    }

    fn faults(&self) -> &[Fault] {
        Harness::faults(self)
    }

    fn resident_bound(&self, load: &Load) -> Option<usize> {
        Harness::resident_bound(self, load)
    }

    fn quiet(&self) -> Duration {
        Harness::quiet(self)
    }
}

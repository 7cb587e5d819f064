use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tidings_memory::Memory;
use tidings_transport::{Declare, DynTransport, Name, Topology};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::config::{BusConfig, GroupSettings, Mapping};
use super::core::{BusCore, Declared, Idle};
use super::error::BuildError;
use super::registry::{Registry, interned};
use super::{Bus, Inner};
use crate::clock::{Clock, SystemClock};
use crate::codec::{CloudEvents, Codec};
use crate::emit::Completions;
use crate::pipeline::{DedupPolicy, Middleware, PausePolicy, RetryPolicy, Watchdog};
use crate::recorder::Recorder;

/// Settings of a [`Bus`], all with defaults: see [`Bus::builder`].
#[must_use = "a builder does nothing until `build` is awaited"]
pub struct BusBuilder {
    service: Name,
    transport: Option<Arc<dyn DynTransport>>,
    codec: Arc<dyn Codec>,
    usual_codec: bool,
    clock: Arc<dyn Clock>,
    config: BusConfig,
    defaults: GroupSettings,
    handler_layers: Vec<Arc<dyn Middleware>>,
    publish_layers: Vec<Arc<dyn Middleware>>,
    /// The transport where none is set.
    memory: Memory,
    recorder: Recorder,
}

impl BusBuilder {
    pub(super) fn new(service: Name) -> Self {
        Self {
            service: interned(&service),
            transport: None,
            codec: Arc::new(CloudEvents),
            usual_codec: true,
            clock: Arc::new(SystemClock),
            config: BusConfig::default(),
            defaults: GroupSettings::default(),
            handler_layers: Vec::new(),
            publish_layers: Vec::new(),
            memory: Memory::new(),
            recorder: Recorder::off(),
        }
    }

    /// The transport; memory unless this is called. No handler changes with it.
    pub fn transport(mut self, transport: impl DynTransport) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// How events are written; [`CloudEvents`] binary mode unless this is called.
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.codec = Arc::new(codec);
        self.usual_codec = false;
        self
    }

    /// Encodes every event and decodes it again, in memory too: for tests, and to find events that
    /// could not move to a broker. No effect together with [`transport`](Self::transport), whose
    /// own setting counts.
    pub fn force_encoding(mut self) -> Self {
        if !self.memory.config().encoded {
            self.memory = self.memory.encoded(true);
        }
        self
    }

    /// Where wall time is read.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Adds middleware around every attempt of every handler. The first added is the outermost.
    pub fn around_handlers(mut self, middleware: impl Middleware) -> Self {
        self.handler_layers.push(Arc::new(middleware));
        self
    }

    /// Adds middleware around every publish. The first added is the outermost.
    pub fn around_publish(mut self, middleware: impl Middleware) -> Self {
        self.publish_layers.push(Arc::new(middleware));
        self
    }

    /// How long [`Bus::shutdown`] lets handlers run on. Default 30 s.
    pub fn drain(mut self, deadline: Duration) -> Self {
        self.config.drain = deadline;
        self
    }

    /// How many handlers in a row may lead to an event. Default 64.
    pub fn max_hops(mut self, hops: u16) -> Self {
        self.config.max_hops = hops;
        self
    }

    /// Beyond how many listeners, or handlers, of one type a warning is logged, with the place of
    /// the registration; and again each time they have doubled since. Default 10.
    pub fn warn_handlers(mut self, count: usize) -> Self {
        self.config.warn_handlers = count;
        self
    }

    /// What to do about topics and groups that are missing on a broker. Default
    /// [`Declare::Create`].
    pub fn declare(mut self, declare: Declare) -> Self {
        self.config.declare = declare;
        self
    }

    /// Reads a foreign producer's records: see [`Mapping`].
    pub fn mapping(mut self, mapping: Mapping) -> Self {
        self.config.mappings.push(mapping);
        self
    }

    /// The default of [`Group::concurrency`](crate::Group::concurrency).
    pub fn concurrency(mut self, attempts: usize) -> Self {
        self.defaults.concurrency = attempts;
        self
    }

    /// The default of [`Group::retry`](crate::Group::retry).
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.defaults.retry = policy;
        self
    }

    /// The default of [`Group::dedup`](crate::Group::dedup).
    pub fn dedup(mut self, policy: DedupPolicy) -> Self {
        self.defaults.dedup = policy;
        self
    }

    /// The default of [`Group::pause`](crate::Group::pause).
    pub fn pause(mut self, policy: PausePolicy) -> Self {
        self.defaults.pause = policy;
        self
    }

    /// The default of [`Group::deadline`](crate::Group::deadline).
    pub fn deadline(mut self, per_attempt: Duration) -> Self {
        self.defaults.deadline = per_attempt;
        self
    }

    /// The default of [`Group::queue`](crate::Group::queue).
    pub fn queue(mut self, events: usize) -> Self {
        self.defaults.queue = Some(events);
        self
    }

    /// Builds the bus; emitting works at once.
    ///
    /// # Errors
    ///
    /// Everything wrong with the settings, all at once; no runtime; the transport's error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future builds nothing.
    pub async fn build(self) -> Result<Bus, BuildError> {
        let mut problems = self.problems();
        let runtime = match Handle::try_current() {
            Ok(runtime) => Some(runtime),
            Err(_) => {
                problems.push(String::from(
                    "there is no tokio runtime here: build the bus inside `#[tokio::main]` or `Runtime::block_on`",
                ));
                None
            }
        };
        let transport = match self.transport {
            Some(transport) => transport,
            None => {
                problems.extend(self.memory.check().err().map(|error| error.to_string()));
                Arc::new(self.memory)
            }
        };
        let Some(runtime) = runtime.filter(|_| problems.is_empty()) else {
            return Err(BuildError::listed(problems));
        };
        // Nothing to declare yet: this checks the transport's settings and connects it.
        let nothing = Topology {
            declare: self.config.declare,
            ..Topology::default()
        };
        transport.declare(&nothing).await?;
        let core = Arc::new(BusCore {
            id: next_bus(),
            service: self.service,
            capabilities: transport.capabilities(),
            transport,
            codec: self.codec,
            usual_codec: self.usual_codec,
            clock: self.clock,
            config: self.config,
            publish_layers: self.publish_layers.into(),
            completions: Completions::default(),
            idle: Idle::default(),
            declared: Declared::default(),
            recorder: self.recorder,
            runtime,
            closing: AtomicBool::new(false),
            started: AtomicBool::new(false),
            waits_for_start: AtomicBool::new(false),
            closed: CancellationToken::new(),
        });
        Ok(Bus {
            id: core.id,
            inner: Arc::new(Inner {
                core,
                registry: Registry::new(),
                defaults: self.defaults,
                handler_layers: self.handler_layers.into(),
                watchdog: Watchdog::default(),
            }),
        })
    }

    /// The memory transport to use where no other is set.
    #[cfg(feature = "testing")]
    pub(crate) fn memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Who takes note of what the bus does.
    #[cfg(feature = "testing")]
    pub(crate) fn recorder(mut self, recorder: Recorder) -> Self {
        self.recorder = recorder;
        self
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let name = &self.service;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 128 || !name.chars().all(allowed) {
            problems.push(format!(
                "service name {name:?} is not allowed: use 1 to 128 letters, digits, dots, dashes or underscores"
            ));
        }
        problems.extend(self.config.check());
        problems.extend(self.config.mappings.iter().flat_map(Mapping::check));
        problems.extend(self.defaults.check(name, &self.defaults.retry));
        problems
    }
}

fn next_bus() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl fmt::Debug for BusBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusBuilder")
            .field("service", &self.service)
            .field("config", &self.config)
            .field("defaults", &self.defaults)
            .finish_non_exhaustive()
    }
}
